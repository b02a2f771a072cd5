"""Sensitivity of the tests: a hundred small changes of course_lib, drawn at random.

    python -m proofs.mutants           those that were not tried with this code
    python -m proofs.mutants --list    only say what they are

A mutant is killed if the tests of its module fail, or do not end in time. Those that
survive are to be read: some change nothing that can be seen, and the others are tests
that are missing.
"""

from __future__ import annotations

import ast
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from proofs.common import ROOT, Table, copy_tree, fingerprint, pytest, together

TABLE = Table("mutants", ("file", "line", "place", "old", "new"))
COUNT, SEED, LIMIT = 100, 0, 600

SWAPS: dict[type, str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}

#: Modules whose tests have another name than they.
TESTS = {"checks": ("test_checks.py", "test_exercises.py")}


#: What has a place in the text.
Node: TypeAlias = ast.expr | ast.stmt | ast.keyword


class Mutant(NamedTuple):
    """What stands from `start` to `end` in `file`, made `new`."""

    file: str
    line: int
    start: int
    end: int
    old: str
    new: str


class Source:
    """A module as text and tree: from the places of the tree to those of the text."""

    def __init__(self, path: Path) -> None:
        self.bytes = path.read_bytes()
        self.file = path.relative_to(ROOT).as_posix()
        self._starts = [0]
        for line in self.bytes.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def start(self, node: Node) -> int:
        """Where `node` begins."""
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node: Node) -> int:
        """Where `node` ends."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def mutant(self, start: int, end: int, new: str) -> Mutant:
        """The mutant that has `new` from `start` to `end`."""
        line = self.bytes[:start].count(b"\n") + 1
        old = self.bytes[start:end].decode()
        return Mutant(self.file, line, start, end, old, new)

    def mutants(self) -> Iterator[Mutant]:
        """All mutants of the module, but those of its messages and annotations."""
        for node in _code(ast.parse(self.bytes)):
            yield from self._of(node)

    def _of(self, node: ast.AST) -> Iterator[Mutant]:
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in SWAPS:
                yield self._between(left, right, SWAPS[type(op)])
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                yield self._between(left, right, SWAPS[type(op)])
            case ast.BoolOp(op=op, values=[left, right]):
                yield self._between(left, right, _other(op))
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
                yield self.mutant(self.start(node), self.start(operand), "")
            case ast.Constant(value=bool() as value):
                yield self.mutant(self.start(node), self.end(node), str(not value))
            case ast.Constant(value=int() | float() as value):
                yield self.mutant(self.start(node), self.end(node), str(value + 1))
            case ast.IfExp(body=body, orelse=orelse):
                text = self.bytes[self.start(orelse) : self.end(orelse)].decode()
                yield self.mutant(self.start(body), self.end(body), text)
            case ast.If(test=test):
                yield self.mutant(self.start(test), self.end(test), "False")
            case ast.Expr(value=ast.Call()) | ast.AugAssign():
                yield self.mutant(self.start(node), self.end(node), "pass")
            case ast.Call(keywords=[*_, ast.keyword(arg=str()) as last]):
                # The last keyword goes, so that a default takes its place.
                begin = self.bytes.rfind(b",", 0, self.start(last))
                if begin > self.start(node):
                    yield self.mutant(begin, self.end(last), "")

    def _between(self, left: ast.expr, right: ast.expr, new: str) -> Mutant:
        """Another operator between two operands; their brackets stay."""
        start, end = self.end(left), self.start(right)
        gap = self.bytes[start:end].decode()
        closing, opening = gap.count(")"), gap.count("(")
        sides = ")" * closing, "(" * opening
        return self.mutant(start, end, f"{sides[0]} {new} {sides[1]}")


def _other(op: ast.boolop) -> str:
    return "or" if isinstance(op, ast.And) else "and"


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of what runs: no annotations, no f-strings, no `raise`."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "type_comment"):
            continue
        for node in value if isinstance(value, list) else [value]:
            quiet = (ast.JoinedStr, ast.Raise, ast.Assert)
            if isinstance(node, ast.AST) and not isinstance(node, quiet):
                if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(
                    node.test
                ):
                    continue
                yield node
                yield from _code(node)


def drawn() -> list[Mutant]:
    """The mutants, drawn from all that there are; each is Python."""
    paths = sorted((ROOT / "course_lib").rglob("*.py"))
    sources = {path.relative_to(ROOT).as_posix(): Source(path) for path in paths}
    every = [mutant for source in sources.values() for mutant in source.mutants()]
    random.Random(SEED).shuffle(every)
    found: list[Mutant] = []
    for mutant in every:
        try:
            compile(applied(mutant, sources[mutant.file].bytes), mutant.file, "exec")
        except SyntaxError:
            continue
        found.append(mutant)
        if len(found) == COUNT:
            break
    return sorted(found)


def applied(mutant: Mutant, content: bytes) -> bytes:
    """`content` with the mutant in it."""
    return content[: mutant.start] + mutant.new.encode() + content[mutant.end :]


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
    if path.parent.name != "checks" or not (ROOT / f"book/{path.stem}.md").exists():
        return []
    return ["-k", f"[{path.stem} or not [ or not test_exercises.py"]


def attempt(mutant: Mutant) -> dict[str, str]:
    """The row of a mutant, measured unless it is known."""
    tests = tests_of(mutant.file)
    known = ROOT / "tests/answers"  # which the tests of the checks read
    files = (ROOT / "course_lib", known, *(ROOT / name for name in tests))
    place = {"line": str(mutant.line), "place": str(mutant.start)}
    key = {"file": mutant.file} | place
    key |= {"old": mutant.old, "new": mutant.new, "code": fingerprint(*files)}
    if row := TABLE.find(key):
        return row
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        path = tree / mutant.file
        path.write_bytes(applied(mutant, path.read_bytes()))
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
    changes = [f"{m.file}:{m.line}: {m.old!r} -> {m.new!r}" for m in mutants]
    if "--list" in sys.argv:
        print(*changes, sep="\n")
        return 0
    for change, row in zip(changes, together(attempt, mutants), strict=True):
        rows.append(row)
        line = f"{len(rows):3} {row['result']:10} {row['seconds']:>4} s  {change}"
        print(line, flush=True)
    survived = sum(row["result"] == "survived" for row in rows)
    print(f"{len(rows) - survived} of {len(rows)} mutants were noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
