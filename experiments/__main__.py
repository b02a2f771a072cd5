"""All experiments, or those that are named.

    python -m experiments --stale [NAME ...]   the rows whose code has changed, and how
    python -m experiments confirm [NAME ...]   stamp them anew if old and new code agree

``python -m experiments.NAME`` measures what is missing or stale.
"""

import argparse
import sys

from experiments.confirm import NotConfirmed, confirm
from experiments.record import every, stale_lines


def main() -> None:
    """Do what is asked for; exit with 1 if something stays stale."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="confirm | NAME")
    parser.add_argument("--stale", action="store_true", help="only list")
    arguments, experiments = parser.parse_args(), every()
    confirming, names = arguments.words[:1] == ["confirm"], arguments.words
    names = names[confirming:] or [*experiments]
    if unknown := set(names) - {*experiments}:
        parser.error(f"no {', '.join(unknown)}; there are {', '.join(experiments)}")
    if confirming == arguments.stale:
        parser.error("say either --stale or confirm")
    stale = False
    for name in names:
        if arguments.stale:
            lines = [*stale_lines(experiments[name])]
            stale |= bool(lines)
            print("\n".join(lines) or f"{name}: nothing is stale")
            continue
        try:
            print(confirm(experiments[name]), flush=True)
        except NotConfirmed as error:
            stale = True
            print(error, flush=True)
    sys.exit(stale)


if __name__ == "__main__":
    main()
