"""Sensitivity of the tests: a hundred random mutants of course_lib, by Cosmic Ray.

    python -m proofs.mutants           those that were not tried with this code
    python -m proofs.mutants --list    only say what they are

A mutant is a change of one operator, number, condition, loop or decorator. It is killed
if the tests of its module fail, or do not end in time. Those that survive are to be
read: some change nothing that can be seen, and the others are tests that are missing.
proofs/survivors.yml says why each that is left may live; one that is not there fails
this proof.
"""

from __future__ import annotations

import ast
import random
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import yaml
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from proofs.common import ROOT, Table, copy_tree, fingerprint, pytest, together

TABLE = Table("mutants", ("file", "line", "column", "operator"))
COUNT, SEED, LIMIT = 100, 0, 600

#: Modules whose tests have another name than they.
TESTS = {
    "checks": (
        *(path.name for path in sorted((ROOT / "tests").glob("test_checks*.py"))),
        "test_exercises.py",
    )
}


class Mutant(NamedTuple):
    """What `operator` does to the place in `file` that it comes to after so many
    others.
    """

    file: str
    line: int
    column: int
    operator: str
    occurrence: int

    def applied(self, source: str) -> str:
        """`source`, which is that of the file, with the mutant in it."""
        operator = get_operator(f"core/{self.operator}")()
        mutated = mutate_code(source, operator, self.occurrence)
        if mutated is None:
            raise ValueError(f"no place for {self}")
        return mutated

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.operator}"


def mutants(path: Path) -> Iterator[Mutant]:
    """All mutants of a module, but those of its annotations, which nobody evaluates,
    and of the stars before keyword-only arguments, which are no products.
    """
    source = path.read_text(encoding="utf-8")
    nodes = [*ast_nodes(get_ast(source))]
    spans = [*_annotations(source), *_stars(source)]
    file = path.relative_to(ROOT).as_posix()
    for name in operator_names():
        if get_operator(name).arguments():  # wants to be told what to put there
            continue
        operator = get_operator(name)()
        places = [at for node in nodes for at in operator.mutation_positions(node)]
        for occurrence, (start, _) in enumerate(places):
            if not any(first <= start < last for first, last in spans):
                yield Mutant(file, *start, name.removeprefix("core/"), occurrence)


def _annotations(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where each annotation begins and ends."""
    for node in ast.walk(ast.parse(source)):
        for name in ("annotation", "returns"):
            if isinstance(expression := getattr(node, name, None), ast.expr):
                assert expression.end_lineno is not None
                assert expression.end_col_offset is not None
                yield (
                    (expression.lineno, expression.col_offset),
                    (expression.end_lineno, expression.end_col_offset),
                )


def _stars(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where what stands before the first keyword-only argument ends, and it begins."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arguments) and node.kwonlyargs:
            first = node.kwonlyargs[0]
            before: list[ast.expr | ast.arg] = [*node.posonlyargs, *node.args]
            ends = [
                (each.end_lineno or 0, each.end_col_offset or 0)
                for each in [*before, *node.defaults]
            ]
            begin = (first.lineno, first.col_offset)
            yield max(ends, default=(begin[0] - 1, 0)), begin


def drawn() -> list[Mutant]:
    """The mutants: places drawn from all that there are, and one change of each that
    leaves a program.
    """
    places: dict[tuple[str, int, int], list[Mutant]] = {}
    for path in sorted((ROOT / "course_lib").rglob("*.py")):
        for mutant in mutants(path):
            places.setdefault(mutant[:3], []).append(mutant)
    lots = random.Random(SEED)
    order = lots.sample(sorted(places), len(places))
    chosen = (lots.choice(sorted(places[place])) for place in order)
    return sorted(islice(filter(_is_program, chosen), COUNT))


def _is_program(mutant: Mutant) -> bool:
    """Whether it can be read: a number at the beginning of a line moves up behind what
    stands there, and be it a comment.
    """
    try:
        ast.parse(mutant.applied((ROOT / mutant.file).read_text(encoding="utf-8")))
    except SyntaxError:
        return False
    return True


def tests_of(file: str) -> list[str]:
    """The tests of a module, and its own examples."""
    parts = Path(file).with_suffix("").parts
    if parts[1] == "__init__":
        return ["tests/test_house.py"]
    parts = parts[1:2] if parts[1] in TESTS else parts[1:]
    names = [pattern for part in parts for pattern in _tests(part)]
    found = {path for pattern in names for path in (ROOT / "tests").glob(pattern)}
    return [*sorted(path.relative_to(ROOT).as_posix() for path in found), file]


def _tests(name: str) -> tuple[str, ...]:
    return TESTS.get(name, (f"test_{name}.py", f"test_{name}_*.py"))


def chosen(file: str) -> list[str]:
    """Of the tests of all exercises, those of the chapter whose checks these are."""
    path = Path(file)
    if path.parent.name != "keys" or not (ROOT / f"book/{path.stem}.md").exists():
        return []
    return ["-k", f"[{path.stem} or not [ or not test_exercises.py"]


def attempt(mutant: Mutant) -> dict[str, str]:
    """The row of a mutant, measured unless it is known."""
    tests = tests_of(mutant.file)
    answers = ROOT / "tests/answers"
    if chosen(mutant.file):
        answers /= Path(mutant.file).name
    known = [answers] if "tests/test_exercises.py" in tests else []  # which it reads
    files = (ROOT / "course_lib", *known, *(ROOT / name for name in tests))
    key = {name: str(getattr(mutant, name)) for name in TABLE.keys}
    key["code"] = fingerprint(*files)
    if row := TABLE.find(key):
        return row
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        path = tree / mutant.file
        source = path.read_text(encoding="utf-8")
        path.write_text(mutant.applied(source), encoding="utf-8")
        outcome = pytest(tree, *tests, *chosen(mutant.file), limit=LIMIT)
    results = {0: "survived", -1: "time limit"}
    row = key | {
        "result": results.get(outcome.code, "killed"),
        "noticed": outcome.reason,
        "seconds": f"{outcome.seconds:.0f}",
    }
    TABLE.add(row)
    return row


def main() -> int:
    """Try the mutants, and print those that survive."""
    mutants, rows = drawn(), []
    if "--list" in sys.argv:
        print(*mutants, sep="\n")
        return 0
    for mutant, row in zip(mutants, together(attempt, mutants), strict=True):
        rows.append(row)
        line = f"{len(rows):3} {row['result']:10} {row['seconds']:>4} s  {mutant}"
        print(line, flush=True)
    survived = survivors(rows)
    print(f"{len(rows) - len(survived)} of {len(rows)} mutants were noticed")
    unread = [name for name in survived if name not in excused()]
    print(*(f"to be read: {name}" for name in unread), sep="\n")
    return int(bool(unread))


def survivors(rows: list[dict[str, str]]) -> list[str]:
    """The names of the mutants that survived."""
    return [
        "{file}:{line}:{column}: {operator}".format_map(row)
        for row in rows
        if row["result"] == "survived"
    ]


def excused() -> dict[str, str]:
    """Mutant -> why it may live."""
    text = (ROOT / "proofs/survivors.yml").read_text(encoding="utf-8")
    return {each["mutant"]: each["why"] for each in yaml.safe_load(text) or []}


if __name__ == "__main__":
    sys.exit(main())
