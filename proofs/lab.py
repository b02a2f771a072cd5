"""The networks that run in the page: ten images through all of them, and faults that
are planted in their script.

    python -m proofs.lab            all that was not tried with this code
    python -m proofs.lab NAME ...   these faults, or "ten images"

Every operation of the eight networks is compared with PyTorch's on ten images. Then
each fault is put into a copy of the tree, and tests/test_lab.py runs there up to the
first failure.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from proofs.common import ROOT, Table, copy_tree, fingerprint, pytest, together
from proofs.faults import plant
from proofs.planted import Fault

TABLE = Table("lab", ("name",))
TESTS = "tests/test_lab.py"
SCRIPT = "book/_static/lab-run.js"

#: What is compared without a fault.
TEN = "ten images"

#: Name, what stands in the script, and what takes its place.
PLANTED = [
    ("padding the wrong way", "(i * down + u - top) | 0", "(i * down + u + top) | 0"),
    ("one stride for both", "(k * right + v - left) | 0", "(k * down + v - left) | 0"),
    ("biases lost", "op.bias < 0 ? new", "op.bias < 1e9 ? new"),
    ("factors of inputs", "factors[Math.floor(i / op.size)]", "factors[i % op.size]"),
    (
        "an output too few",
        "Math.min(o + more, outputs - 1)",
        "Math.min(o, outputs - 1)",
    ),
    ("old windows kept", "lab.scratch.fill(0, 0, length)", "lab.scratch"),
    ("an offset lost", "x[i] * factor + offset", "x[i] * factor"),
    ("LRN off by a map", "Math.floor(op.size / 2)", "Math.ceil(op.size / 2)"),
    ("LRN of a sum", "(op.alpha * sum) / op.size", "op.alpha * sum"),
    ("a ReLU with a step", "x[i] < 0 ? 0", "x[i] < 0.01 ? 0"),
    ("no maximum below zero", "y, -Infinity, (m, v)", "y, 0, (m, v)"),
    ("padding not averaged", "op.include ?", "op.include > 1 ?"),
    ("a mean beyond the border", "Math.min(r + high, rows + top)", "r + high"),
    ("a difference for a sum", "x[i] + other[i]", "x[i] - other[i]"),
    ("branches in another order", "parts.reduce(", "[...parts].reverse().reduce("),
    ("the other branch off", "dropped.includes(index)", "dropped.includes(1 - index)"),
    (
        "alone means off",
        "change.only && !change.only.includes(k)",
        "change.only?.includes(k)",
    ),
    ("a stage not passed by", "value(passed.pass)", "value(op.inputs[0])"),
    ("begun a step late", "values.slice(0, from)", "values.slice(0, from + 1)"),
    ("a pixel too many seen", "last + op.kernel[k] - 1", "last + op.kernel[k]"),
    (
        "a branch that is off seen",
        " || dropped.includes(input)) continue",
        ") continue",
    ),
    ("a map that is off seen", "filter((c) => !gone.includes(c))", "slice()"),
    ("another branch seen", "maps.map((c) => c - start)", "maps.map((c) => c)"),
    ("a stage that is off seen", "passed ? [passed.pass] : op.inputs", "op.inputs"),
    ("a drawing garbled", "a + 3 * b + 9 * c", "b + 3 * a + 9 * c"),
    ("turned the other way", "middle - x * sin", "middle + x * sin"),
    ("noise above zero only", "noise * random()", "noise * Math.abs(random())"),
    ("a square too large", "place < start + cover.size", "place <= start + cover.size"),
    ("lost and gained swapped", "found.lost += was && !is", "found.lost += is && !was"),
    ("a black pixel lost", "more = bytes[i + 1]", "more = bytes[i + 1] - 1"),
    ("powers too large", "Math.exp(logit - largest)", "Math.exp(logit)"),
    ("another shade of gray", "[0.2858, 0.3529]", "[0.2868, 0.3529]"),
    ("changes forgotten", '"changes") {', '"change") {'),
    ("a weight misread", "code - 0xc0 + 93", "code - 0xc0 + 94"),
    ("the same half off", "changes, name, false)", "changes, name, true)"),
    ("costs without the rest", "[each.change, ...changes]", "[each.change]"),
]
FAULTS = [Fault(name, TESTS, SCRIPT, old, new) for name, old, new in PLANTED]


def attempt(name: str) -> dict[str, str]:
    """The row of a fault, or of the ten images, measured unless it is known."""
    fault = next((each for each in FAULTS if each.name == name), None)
    script = (ROOT / SCRIPT).read_text(encoding="utf-8")
    parts = ROOT / "course_lib/lab", ROOT / TESTS, script, *map(str, fault or ())
    key = {"name": name, "code": fingerprint(*parts)}
    if row := TABLE.find(key):
        return row
    if fault is None:
        ten = {"OMP_NUM_THREADS": "1", "LAB_IMAGES": "10"}
        outcome = pytest(ROOT, TESTS, "-k", "each_operation", env=ten)
    else:
        with tempfile.TemporaryDirectory() as folder:
            tree = copy_tree(Path(folder))
            plant(fault, tree)
            outcome = pytest(tree, TESTS, env={"OMP_NUM_THREADS": "1"})
    results = {0: "missed", 1: "caught"} if fault else {0: "agree", 1: "DIFFER"}
    row = key | {
        "result": results.get(outcome.code, f"exit {outcome.code}"),
        "noticed": outcome.reason,
        "seconds": f"{outcome.seconds:.0f}",
    }
    TABLE.add(row)
    return row


def main() -> int:
    """Try what was not tried, and print the table."""
    known = [TEN, *(fault.name for fault in FAULTS)]
    names = sys.argv[1:] or known
    if unknown := {*names} - {*known}:
        sys.exit(f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    good = 0
    for row in together(attempt, names):
        good += row["result"] in ("caught", "agree")
        print(f"{row['result']:7} {row['seconds']:>4} s  {row['name']}", flush=True)
    print(f"{good} of {len(names)} as they should be")
    return int(good < len(names))


if __name__ == "__main__":
    sys.exit(main())
