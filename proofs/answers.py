"""Answers to the exercises, each with fifty draws of the cases that it is tried on.

    python -m proofs.answers                   the exercises not tried with this code
    python -m proofs.answers lenet.subsample   these

Every right answer of tests/answers has to pass, and no wrong one may, each time; nine
wrong ones of ten get a hint. Then the answers of tests/test_checks_hostile.py, which do
not end, or cheat: each has to get a result within twenty seconds, and the next answer
is judged as if they had not been. A row for each exercise, with the seconds of a check
of a right answer, and one for the hostile.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from course_lib.checks import judge
from course_lib.checks.core import Check
from proofs.common import ROOT, Table, fingerprint
from tools import exercises

SEEDS = range(50)

#: The judge, without the answer keys.
JUDGE = sorted((ROOT / "course_lib/checks").glob("*.py"))

#: Seconds in which even a hostile answer has its result.
LIMIT = 20.0

Row = dict[str, Any]


def main() -> int:
    sys.path.insert(0, str(ROOT / "tests"))
    names = [row[0] for row in judge.rows([text.stem for text in exercises.texts()])]
    asked = sys.argv[1:] or [*names, "hostile"]
    table = Table("answers", ("exercise",))
    code = {name: fingerprint(*files(name)) for name in [*names, "hostile"]}
    known = {
        row["exercise"]
        for row in table.rows()
        if row["code"] == code.get(row["exercise"])
    }
    check = Check()
    for name in asked:
        if name in known and not sys.argv[1:]:
            continue
        found = hostile(check) if name == "hostile" else tried(check, name)
        table.add({"exercise": name, "code": code[name], **found})
        print(name, *(f"{key} {value}" for key, value in found.items()), flush=True)
    check.close()
    rows = [row for row in table.rows() if row["code"] == code.get(row["exercise"])]
    totals = {key: sum(int(row[key]) for row in rows) for key in COUNTS}
    print(*(f"{key} {value}" for key, value in totals.items()))
    missed = len({*names, "hostile"} - {row["exercise"] for row in rows})
    hinted = totals["hinted"] >= 0.9 * totals["wrong"]
    slow = max(float(row["slowest"] or 0) for row in rows) > 3.0
    bad = totals["refused"] or totals["passed"] or not hinted or slow or missed
    return int(bool(bad))


def files(name: str) -> list[Path]:
    """What a row depends on: the judge, with the key and the answers of the chapter."""
    if name == "hostile":
        return [*JUDGE, ROOT / "tests/test_checks_hostile.py"]
    chapter = f"{name.partition('.')[0]}.py"
    own = ("course_lib/checks/keys", "tests/answers")
    return [*JUDGE, *(ROOT / folder / chapter for folder in own)]


#: What is added up: answers that are right, and how often one was refused; answers that
#: are wrong, how often one passed, and how many of them get a hint.
COUNTS = ("right", "refused", "wrong", "passed", "hinted")


def tried(check: Check, name: str) -> Row:
    """The answers to one exercise, with all seeds."""
    answers = importlib.import_module(f"answers.{name.partition('.')[0]}")
    right, wrong = answers.RIGHT[name], answers.WRONG[name]
    refused, passed, seconds = 0, 0, []
    hinted = {i for i, _ in enumerate(wrong)}
    for check.seed in SEEDS:
        for answer in right:
            begun = time.perf_counter()
            refused += not check(name, answer).passed
            seconds.append(time.perf_counter() - begun)
        for i, (answer, hint) in enumerate(wrong):
            result = check(name, answer)
            passed += result.passed
            if not result.hint or hint.lower() not in repr(result).lower():
                hinted.discard(i)
    return {
        "right": len(right),
        "refused": refused,
        "wrong": len(wrong),
        "passed": passed,
        "hinted": len(hinted),
        "median": round(statistics.median(seconds[1:]), 3),
        "slowest": round(max(seconds[1:]), 3),  # the first waits for the judge
    }


def hostile(check: Check) -> Row:
    """The answers that do not end, or cheat, each before a right one."""
    from test_checks_hostile import ENDLESS, TRICKS, right

    cases: list[tuple[Callable[..., Any], str]] = [*ENDLESS, *TRICKS]
    name, passed, refused, seconds = "convolution.output_size", 0, 0, []
    check.seconds = 1.0
    for answer, _ in cases:
        begun = time.perf_counter()
        passed += check(name, answer).passed
        seconds.append(time.perf_counter() - begun)
        refused += not check(name, right).passed
    check.seconds = 5.0
    late = sum(each > LIMIT for each in seconds)
    return {
        "right": len(cases),
        "refused": refused,
        "wrong": len(cases),
        "passed": passed + late,
        "hinted": len(cases),
        "median": "",
        "slowest": "",
    }


if __name__ == "__main__":
    sys.exit(main())
