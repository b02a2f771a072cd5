"""All proofs, one after another: `python -m proofs`, or `python -m proofs NAME ...`.

A proof is a module in this folder, run as ``python -m proofs.NAME`` from the root of
the repository. It prints what it finds, writes a row to proofs/results/NAME.csv as soon
as it knows one, goes on where it was when it is started again, and ends with 0 if what
it claims is proven, with 1 if it is not, and with 2 if it cannot be tried here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent

#: What the proofs are made with.
TOOLS = (
    "__init__",
    "__main__",
    "calibrate",
    "clean",
    "common",
    "planted",
    "pretend",
    "seeds",
)

VERDICTS = {0: "proven", 2: "not tried: it cannot be, here"}


def main() -> int:
    """Run the proofs that are named, or all."""
    known = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in TOOLS)
    names = sys.argv[1:] or known
    if unknown := set(names) - set(known):
        sys.exit(
            f"no proofs {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    verdicts = {}
    for name in names:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"proofs.{name}"]
        done = subprocess.run(command, cwd=FOLDER.parent)
        verdicts[name] = VERDICTS.get(done.returncode, "NOT proven")
    print("==", *(f"{name}: {verdict}" for name, verdict in verdicts.items()), sep="\n")
    return int("NOT proven" in verdicts.values())


if __name__ == "__main__":
    sys.exit(main())
