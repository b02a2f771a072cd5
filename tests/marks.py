"""Coverage without tracing, for `python -m pytest -p tests.marks --cov`.

A function that traces is called for every line of PyTorch as well, and tests take half
as long again. SlipCover writes marks into the byte code of course_lib when it is
imported, and uses `sys.monitoring` from Python 3.12 on. coverage.py keeps what was
seen, and reports as it always does.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import coverage.control
from coverage.core import Core
from coverage.python import PythonFileReporter
from slipcover import FileMatcher, ImportManager, Slipcover
from slipcover.branch import preinstrument
from slipcover.importer import SlipcoverLoader

SEEN = Slipcover(branch=True, d_miss_threshold=-1)  # marks stay: to remove them is slow
COURSE = FileMatcher([Path(__file__).parents[1] / "course_lib"])
ImportManager(SEEN, COURSE).__enter__()  # for as long as this process lives


class Marks:
    """What coverage.py asks for what was seen, in the place of a tracer."""

    def start(self):
        self.data: dict[str, set[tuple[int, int]]]  # which coverage.py gives it

    def stop(self): ...

    def get_stats(self): ...

    def reset_activity(self): ...

    def activity(self) -> bool:
        """A line is an arc that begins nowhere, a branch is one between two lines."""
        for file, seen in SEEN._get_newly_seen().items():
            arcs = {each if isinstance(each, tuple) else (-1, each) for each in seen}
            self.data.setdefault(file, set()).update(arcs)
        return True


class Marked(Core):
    def __init__(self, **options):
        super().__init__(**options)
        self.tracer_class, self.packed_arcs, self.systrace = Marks, False, False


def get_code(self, name):
    """What `runpy` asks for, which SlipCover leaves without marks."""
    tree = preinstrument(ast.parse(self.origin.read_bytes()))
    return SEEN.instrument(compile(tree, str(self.origin), "exec"))


plain = PythonFileReporter.translate_arcs


def translate_arcs(self, arcs) -> set[tuple[int, int]]:
    return {*routes(self, plain(self, arcs))}


def routes(file: PythonFileReporter, arcs) -> Iterator[tuple[int, int]]:
    """SlipCover's branches as coverage.py knows them. They agree on those into a body,
    which is the first line that follows; any other is the exit that is left. Of a
    `match`, coverage.py has branches from each `case`.
    """
    exits, words = defaultdict(set), [""]
    words += [
        line.split(" ", 1)[0] for line in map(str.strip, file.source().splitlines())
    ]
    for start, end in file.arcs():
        exits[start].add(end)
    for start, end in arcs:
        if words[max(start, 0)] == "match":
            start = min(exits[start])  # the first `case`
        while start > 0 and end not in exits[start] and len(exits[start]) == 2:
            body = min(filter(start.__lt__, exits[start]))
            (other,) = exits[start] - {body}
            yield start, other
            if words[max(other, 0)] != "case":
                break
            start = other
        else:
            yield start, end


SlipcoverLoader.get_code = get_code
# pytest-cov reports twice, for the sum and for the table: each file is read once.
coverage.control.Coverage._get_file_reporter = cache(
    coverage.control.Coverage._get_file_reporter
)
coverage.control.Core = Marked
PythonFileReporter.translate_arcs = translate_arcs
