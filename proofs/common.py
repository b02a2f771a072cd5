"""What the proofs share: a table that remembers what was measured, a copy of the tree
to break, and pytest on it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from experiments.rows import CsvTable, Row, today
from experiments.syntax import without_words

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "proofs/results"

#: What a copy of the tree does without.
LEFT_OUT = (
    ".git",
    ".venv",
    ".card",
    "_build",
    "dist",
    "*.egg-info",
    ".*_cache",
    "__pycache__",
)

#: How pytest runs a notebook.
NBVAL = ("--nbval", "--nbval-current-env", "-p", "tests.notebooks.plugin")

#: What decides whether the outputs of a notebook are as they were; not its own tests.
GATE = (
    ROOT / "course_lib",
    *sorted({*ROOT.glob("tests/notebooks/*.py")} - {*ROOT.glob("tests/**/test_*.py")}),
    ROOT / "tools/notebooks.py",
)


Item = TypeVar("Item")
Result = TypeVar("Result")


def together(
    function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """What `function` returns for each of `items`, in their order; `PROOF_JOBS` of them
    at a time, one if that is not set.

    Raises: ValueError if `PROOF_JOBS` is not a whole number above 0.
    """
    jobs = os.environ.get("PROOF_JOBS", "1")
    if not jobs.isdecimal() or int(jobs) < 1:
        raise ValueError(f"PROOF_JOBS must be a whole number above 0, not {jobs!r}")
    with ThreadPoolExecutor(int(jobs)) as pool:
        yield from pool.map(function, items)


class Table(CsvTable):
    """Rows of measurements in ``proofs/results/NAME.csv``, each found by its `keys` and
    by the fingerprint of the code that it was measured with.
    """

    def __init__(self, name: str, keys: tuple[str, ...]) -> None:
        super().__init__(RESULTS / f"{name}.csv", keys)

    def add(self, *new: Row) -> None:
        """Write rows, with the date, in the place of older ones with their keys."""
        super().add(*(row | today() for row in new))


def fingerprint(*parts: Path | str) -> str:
    """Twelve digits that change with any of these texts, files, or folders of them;
    comments, docstrings and what a notebook says around its code do not count.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
            continue
        files = sorted(part.rglob("*")) if part.is_dir() else [part]
        for file in files:
            if file.suffix in (".py", ".ipynb", ".yml", ".csv"):
                digest.update(file.relative_to(ROOT).as_posix().encode())
                state = file.stat()
                digest.update(_without_prose(file, state.st_mtime_ns, state.st_size))
    return digest.hexdigest()[:12]


@functools.cache
def _without_prose(file: Path, *_state: int) -> bytes:
    """What counts in `file`, which is read once in each state."""
    match file.suffix:
        case ".py":
            return without_words(ast.parse(file.read_bytes())).encode()
        case ".ipynb":
            cells = json.loads(file.read_bytes())["cells"]
            code = [cell for cell in cells if cell["cell_type"] == "code"]
            return json.dumps(code, sort_keys=True).encode()
    return file.read_bytes()


def copy_tree(folder: Path) -> Path:
    """A copy of the repository in `folder`, without what is made from it."""
    target = folder / "tree"
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return target


class Outcome(NamedTuple):
    """How a run of pytest ended: its exit code (1 if a test failed, 0 if none did, -1
    after the time limit), the first test that failed with its reason, the seconds.
    """

    code: int
    failed: str
    seconds: float

    @property
    def reason(self) -> str:
        """One line, for a table."""
        return self.failed.replace("\n", " ")[:200]

    def columns(self) -> Row:
        """What a table says of it."""
        return {
            "result": {0: "passes", 1: "FAILS"}.get(self.code, f"exit {self.code}"),
            "noticed": self.reason,
            "seconds": f"{self.seconds:.0f}",
        }


def pytest(
    tree: Path,
    *arguments: str,
    env: dict[str, str] | None = None,
    python: str = sys.executable,
    limit: float = 3600,
) -> Outcome:
    """Run pytest in `tree`, on the course_lib that is there, up to the first failure or
    to the `limit` in seconds.

    Raises: RuntimeError if it is stopped from outside, which says nothing of the tree.
    """
    command = [python, "-m", "pytest", "-x", "-q", "-rfE", "--color=no", *arguments]
    own = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    start = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=tree,
        env=os.environ | own | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # kernels and processes of tests end with it
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return Outcome(-1, "time limit", time.perf_counter() - start)
            raise
    if -process.returncode in (signal.SIGHUP, signal.SIGKILL, signal.SIGTERM):
        raise RuntimeError(f"stopped by signal {-process.returncode}: {command}")
    seconds = time.perf_counter() - start
    return Outcome(process.returncode, _first_failure(output), seconds)


def _first_failure(output: str) -> str:
    """Which cell or test failed, and the first line of why."""
    # A cell says so itself, in words that say more than its name.
    if cell := re.search(r"^(\S+\.ipynb, code cell .+)\n +(.+)", output, re.MULTILINE):
        return f"{cell[1]} - {cell[2]}"
    named = re.search(r"^(?:FAILED|ERROR) (.+)$", output, re.MULTILINE)
    return named[1] if named else ""
