"""Marks find the same lines and branches as a function that traces."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: Of each construct a part runs: of some lines all, of some branches one.
CODE = '''
from contextlib import suppress

def kinds(x):
    """A docstring."""
    match x:
        case int() if x > 100:
            return "large"
        case int():
            y = "int"
        case str() | bytes():
            y = "text"
        case [first, *_]:
            y = first
        case {"a": 1}:
            y = "map"
    if x == "never":
        y = 1
    return y

def last(x):
    match x:
        case 1:
            return 1
        case _:
            return 2

def loops(n, *, stop=None):
    for i in range(n):
        if i == stop:
            break
        if (
            i % 2
            and i % 3
        ):
            continue
    else:
        n = -n
    while n > 0:
        n -= 1
        while True:
            if n % 2:
                break
            n -= 1
            if n < 0:
                return n
    return n

def blocks(i):
    with suppress(ValueError):
        if i == 7:
            raise ValueError
        if i > 100:
            i += 1
    try:
        if i == 5:
            i += int("x")
        elif i == 6:
            i += 1
    except ValueError:
        i += 10
    finally:
        if i > 5:
            i -= 1

def ends(x):
    if x:
        x += 1

def within(x):
    def f(y):
        if y:
            return 1
    if x:
        @suppress(KeyError)
        def g():
            pass
    for _ in []:
        pass
    return [f(i) for i in range(x) if i]

class Kept:
    if True:
        z = 1

    async def b(self):
        async for x in self:
            print(x)

def excluded(x):
    if x:  # pragma: no cover
        return 1
    if not x:
        return 2
    else:  # pragma: no cover
        return 3

for x in (1, 300, "a", [2]):
    kinds(x)
last(1)
loops(9)
loops(3, stop=1)
for i in (0, 5, 7):
    blocks(i)
ends(1)
within(0)
excluded(0)
'''

RUN = """
import coverage, json, sys
{marks}
cov = coverage.Coverage(branch=True, source=["course_lib"], data_file=None)
cov.start()
import course_lib
cov.stop()
found = cov._analyze(course_lib.__file__)
branches = found.missing_branch_arcs(), found.executed_branch_arcs()
print(json.dumps([sorted(found.executed), sorted(found.missing), *branches]))
"""


@pytest.fixture
def found(tmp_path):
    """What coverage.py finds, with marks or without."""
    (tmp_path / "course_lib").mkdir()
    (tmp_path / "course_lib/__init__.py").write_text(CODE)
    (tmp_path / "tests").mkdir()
    shutil.copy(Path(__file__).parent / "marks.py", tmp_path / "tests")

    def run(marks):
        command = [sys.executable, "-c", RUN.format(marks=marks)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert not done.stderr
        return json.loads(done.stdout)

    return run


def test_marks_find_what_tracing_finds(found):
    marked, traced = found("import tests.marks"), found("")
    assert marked == traced
    assert min(map(len, traced)) > 10  # lines and branches, of both kinds
