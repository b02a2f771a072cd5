"""What the course does on a GPU, a part at a time: compare the notebooks, run the tests
of training, time its steps, train the networks with their settings for a GPU, with
three seeds, and time d2l's loop beside ours.

    python -m tools.gpu --list                   what is done, and what is missing
    python -m tools.gpu --out FOLDER             what is missing
    python -m tools.gpu --out FOLDER --limit 540 row step:ResNet-18
                                                 these, in so many seconds
    python -m tools.gpu --record FOLDER          its rows into book/results/gpu.csv
    python -m tools.gpu --prepare                .card/: what a machine with a GPU but
                                                 without a network needs beside the tree

A part is done when FOLDER or the table has a row of the code as it is. Each row is
written as soon as it is there, so that a run may be stopped, and goes on with what is
missing. A part that would not fit into the time left is not begun; one that is still
at work at the end is stopped, and said to be unfinished. What fails is a row, too.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__" and not __package__:  # as a script: as the module that it is
    places = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    os.execv(sys.executable, [sys.executable, "-m", "tools.gpu", *sys.argv[1:]])

import torch

from experiments.rows import CsvTable, Row
from tools import gpu_parts
from tools.gpu_parts import CHECKPOINTS, ROOT, WORK, Task

#: Recorded rows; `course_lib.recorded("gpu")` reads them.
TABLE = CsvTable(ROOT / "book/results/gpu.csv", ("part", "card"), ordered=True)

#: Seconds that a part is given credit for until it has been measured.
GUESS = {"notebook": 40.0, "test": 40.0, "step": 30.0, "row": 60.0, "d2l": 90.0}

#: How many notebooks go at a time: they are compared, not timed. Other parts are alone.
TOGETHER = max(1, min(10, (os.cpu_count() or 1) * 5 // 8))

PRETENDED = "a pretended card"

#: How many parts are named that there was no time for.
NAMED = 8

#: What every row says of where it is from.
ABOUT = (
    *("seconds", "card", "precision", "driver", "cuda", "torch", "python"),
    *("date", "commit", "code"),
)

#: All columns; each kind of part fills its own.
COLUMNS = (
    *("part", "result", "message", "cells", "failed_cells", "settings", "seed"),
    *("images_per_second", "images_low", "images_high", "images_host_share"),
    *("captured_per_second", "captured_low", "captured_high", "captured_host_share"),
    *("loss_gap", "rounds", "d2l_per_second", "peak_share"),
    *("seconds_to_accuracy", "d2l_seconds_to_accuracy"),
    *("parameters", "test_accuracy", "validation", "train_loss", "training_seconds"),
    "d2l_accuracy",
    *("peak_gib", *ABOUT),
)

#: Kind of part -> columns of numbers, and the least and most that they may be.
NUMBERS: dict[str, dict[str, tuple[float, float]]] = {
    "notebook": {"cells": (1, math.inf)},
    "test": {"cells": (1, math.inf)},
    "step": {
        "images_per_second": (1e-9, math.inf),
        "images_host_share": (0, 1),
        "captured_per_second": (1e-9, math.inf),
        "loss_gap": (0, 0.01),
    },
    "row": {
        "test_accuracy": (0, 1),
        "training_seconds": (0, math.inf),
        "peak_gib": (0, 14),  # what a T4 has
    },
    "d2l": {
        "images_per_second": (1e-9, math.inf),
        "d2l_per_second": (1e-9, math.inf),
        "seconds_to_accuracy": (0, math.inf),
    },
}

_FORK = multiprocessing.get_context("fork")  # what is imported here need not be again


class Part(NamedTuple):
    """Something to do, such as ``step`` of ``ResNet-18``."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def parts() -> list[Part]:
    """All there are, the most valuable first."""
    return [
        Part(kind, name) for kind, names in gpu_parts.names().items() for name in names
    ]


def chosen(asked: Iterable[str]) -> list[Part]:
    """The parts that are named, by kind or in full; all if none is."""
    known = parts()
    names = {str(part) for part in known} | {part.kind for part in known}
    if unknown := sorted(set(asked) - names):
        raise SystemExit(
            f"no part {', '.join(unknown)}; python -m tools.gpu --list names them all"
        )
    return [p for p in known if not asked or {p.kind, str(p)} & set(asked)]


class Results:
    """The rows of a folder, and those that are recorded."""

    def __init__(self, folder: Path | None, pretend: bool = False) -> None:
        self.table = CsvTable(folder / "gpu.csv", ("part",)) if folder else None
        self.pretend = pretend

    def rows(self) -> dict[str, Row]:
        """Part -> its newest row; a pretended GPU and real ones know nothing of each
        other.
        """
        rows = TABLE.rows() + (self.table.rows() if self.table else [])
        return {
            row["part"]: row
            for row in rows
            if (row["card"] == PRETENDED) is self.pretend
        }

    def settled(self, part: Part) -> bool:
        """Whether it has come to an end, good or bad, with the code as it is."""
        row = self.rows().get(str(part))
        return (
            row is not None
            and row["result"] != "unfinished"
            and row["code"] == gpu_parts.code(*part)
        )

    def estimate(self, part: Part) -> float:
        """The seconds that it took, or did not suffice, or a guess."""
        row = self.rows().get(str(part))
        if row is None or ((file := self.checkpoint(part)) and file.exists()):
            return GUESS[part.kind]
        return float(row["seconds"])

    def checkpoint(self, part: Part) -> Path | None:
        """Where training goes on from if it was stopped."""
        if part.kind != "row":
            return None
        code = "pretended" if self.pretend else gpu_parts.code(*part)
        return CHECKPOINTS / f"{part.name}-{code}.pt"

    def add(self, new: Row) -> None:
        """Write a row in the place of an older one."""
        assert self.table is not None  # there is a folder where there is a run
        self.table.add(new)


class Job:
    """A process that does one thing; what it returns comes through a pipe."""

    def __init__(self, work: Callable[[Task], Row | None], task: Task) -> None:
        self.start = time.monotonic()
        self.result: Connection
        self.result, theirs = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=_child, args=(theirs, work, task))
        self.process.start()
        theirs.close()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.start

    def outcome(self) -> Row | None:
        """What it came to; waits for it."""
        try:
            return self.result.recv()
        except EOFError:
            self.process.join()
            ended = f"its process ended with {self.process.exitcode}"
            return {"result": "failed", "message": ended}
        finally:
            self.stop()

    def stop(self) -> None:
        """End it, with all that it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid or 0, number)
            self.process.join(2)
        self.result.close()


def _child(result: Connection, work: Callable[[Task], Row | None], task: Task) -> None:
    os.setpgid(0, 0)  # so that what it starts can be ended with it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if task.pretend:
        torch.set_num_threads(1)  # a pool of threads does not survive a fork
        importlib.import_module("proofs.pretend").pretend()
    try:
        made = work(task)
    except Exception as error:  # out of memory is a result
        lines = str(error).strip().splitlines() or [""]
        made = {"result": "failed", "message": f"{type(error).__name__}: {lines[0]}"}
    result.send(made)


def _end_with(parent: int) -> None:
    """Leave nothing at work when the run itself was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)


class Run:
    """Parts that are worked off until the time is over."""

    def __init__(self, results: Results, about: Row, limit: float) -> None:
        self.results, self.about = results, about
        self.end = time.monotonic() + limit
        self.running: dict[Part, Job] = {}

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    def go(self, todo: list[Part]) -> bool:
        """Work `todo` off; whether nothing has failed."""
        waiting, good = list(todo), True
        try:
            while True:
                while self._begin(waiting):
                    pass
                if not self.running:
                    break
                good &= self._collect()
        finally:
            for job in self.running.values():
                job.stop()
        if waiting:
            shortest = min(map(self.results.estimate, waiting))
            names = [*map(str, waiting[:NAMED])]
            if more := waiting[NAMED:]:
                names.append(f"and {len(more)} more")
            said = f"no time for {', '.join(names)}; the shortest takes about"
            print(f"{said} {shortest:.0f} s", flush=True)
        return good

    def _begin(self, waiting: list[Part]) -> bool:
        """Begin the first part of `waiting` that there is time for, if one may."""
        part = next((p for p in waiting if self.results.estimate(p) <= self.left), None)
        others = {other.kind for other in self.running}
        if part is None or (others and not others == {part.kind} == {"notebook"}):
            return False
        if len(self.running) == TOGETHER:
            return False
        waiting.remove(part)
        checkpoint = self.results.checkpoint(part)
        if checkpoint:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
        task = Task(part.name, self.results.pretend, checkpoint)
        self.running[part] = Job(WORK[part.kind], task)
        return True

    def _collect(self) -> bool:
        """Wait for a part to end, or the time, and write down what there is then."""
        good = True
        jobs = [job.result for job in self.running.values()]
        ready = wait(jobs, min(max(self.left, 0), 3600))
        for part, job in list(self.running.items()):
            if job.result in ready:
                row = job.outcome() or {}
                if checkpoint := self.results.checkpoint(part):
                    checkpoint.unlink(missing_ok=True)
            elif self.left <= 0:
                job.stop()
                row = {"result": "unfinished"}
            else:
                continue
            del self.running[part]
            good &= row["result"] != "failed"
            self._write(part, job.seconds, row)
        return good

    def _write(self, part: Part, seconds: float, row: Row) -> None:
        row = {"part": str(part), "seconds": f"{seconds:.1f}", **self.about, **row}
        row["code"] = gpu_parts.code(*part)
        row["message"] = row.get("message", "")[:1000]
        self.results.add({name: row.get(name, "") for name in COLUMNS})
        said = f"{part}: {row['result']}, {seconds:.1f} s {row['message']}"
        print(said.rstrip(), flush=True)


def commit() -> str:
    """The commit that is checked out, or that `--prepare` wrote down."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    with contextlib.suppress(OSError):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.stdout.strip():
            return done.stdout.strip()
    written = ROOT / ".card/commit"
    return written.read_text("utf-8").strip() if written.exists() else "unknown"


def run(
    folder: Path, limit: float, asked: list[str], pretend: bool, again: bool
) -> int:
    """Do what is missing; 1 if something failed or had to be left out, 2 if there is no
    card or are no data, or the rows cannot be written.
    """
    if why := _unusable(folder):
        print(why, file=sys.stderr)
        return 2
    results = Results(folder, pretend)
    todo = [part for part in chosen(asked) if again or not results.settled(part)]
    about = Job(lambda _: gpu_parts.card(), Task("", pretend)).outcome()
    if about is None or "card" not in about:
        why = about["message"] if about else "torch.cuda.is_available() is false"
        print(f"there is no GPU here: {why}", file=sys.stderr)
        return 2
    if why := _no_data(todo, pretend):
        print(why, file=sys.stderr)
        return 2
    about["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
    about["commit"] = commit()
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    lacking = {part: names for part in todo if (names := gpu_parts.absent(*part))}
    for part, names in lacking.items():
        print(f"left out, without {', '.join(names)}: {part}", flush=True)
    todo = [part for part in todo if part not in lacking]
    until = "no limit" if limit == math.inf else f"{limit:g} seconds"
    print(f"{len(todo)} parts to do, {until}", flush=True)
    good = Run(results, about, limit).go(todo)
    return 0 if good and not lacking else 1


def _unusable(folder: Path) -> str:
    """Why rows cannot be added to `folder`, if there is a reason."""
    here = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if here.is_dir() and os.access(here, os.W_OK):
        return ""
    why = "may not be written" if here.is_dir() else "is not a folder"
    return f"the rows cannot be written to {folder}: {here} {why}"


def _foreign(folder: Path) -> str:
    """Why what is in `folder` are no rows of this command, if there is a reason."""
    table = CsvTable(folder / "gpu.csv", ("part",))
    try:
        rows = table.rows()
    except (OSError, ValueError) as error:
        return f"{table.path} cannot be read: {error}"
    known = all({"part", "result", *ABOUT} <= row.keys() for row in rows)
    return "" if known else f"{table.path} is a table of something else"


def _no_data(todo: list[Part], pretend: bool) -> str:
    """Why Fashion-MNIST cannot be had, if a part needs it."""
    kinds = {"notebook"} if pretend else {"notebook", "step", "row", "d2l"}
    return gpu_parts.no_data() if kinds & {part.kind for part in todo} else ""


def show(folder: Path | None, asked: list[str], pretend: bool) -> int:
    """Print what is done and what is missing."""
    results = Results(folder, pretend)
    rows, done = results.rows(), 0
    for part in chosen(asked):
        row = rows.get(str(part))
        settled = results.settled(part)
        done += settled
        if row is None:
            print(f"missing     {part}")
            continue
        state = row["result"] if settled or row["result"] == "unfinished" else "stale"
        where = f"{row['seconds']} s, {row['card']}, {row['date']}, {row['commit']}"
        print(f"{state:11} {part}: {where} {row['message']}".rstrip())
    print(f"{done} of {len(chosen(asked))} parts are done")
    return 0


def record(folder: Path) -> int:
    """Put the good rows of a folder into the table; 1 if a row is not what it should
    be.
    """
    table = CsvTable(folder / "gpu.csv", ("part",))
    if not (rows := table.rows()):
        print(f"there are no rows in {table.path}", file=sys.stderr)
        return 1
    wrong = {row["part"]: why for row in rows if (why := objection(row))}
    ended = [row for row in rows if row["part"] not in wrong]
    new = [row for row in ended if row["result"] == "ok"]
    if new:
        TABLE.add(*new)
    for row in ended:
        if row["result"] != "ok":
            print(f"not recorded: {row['part']}, {row['result']} {row['message']}")
    for part, why in wrong.items():
        print(f"refused: {part}: {why}", file=sys.stderr)
    print(f"{len(new)} rows recorded in {TABLE.path}")
    return 1 if wrong else 0


def objection(row: Row) -> str:
    """Why a row may not be recorded, if there is a reason."""
    kind, _, name = row["part"].partition(":")
    if Part(kind, name) not in parts():
        return "there is no such part"
    if row["card"] == PRETENDED:
        return "the card was a pretended one"
    if missing := [column for column in ABOUT if not row.get(column)]:
        return f"it does not say its {', '.join(missing)}"
    if row["code"] != gpu_parts.code(kind, name):
        return "the code has changed since: measure it again"
    if row["result"] not in ("ok", "failed", "unfinished"):
        return f"its result is {row['result']!r}"
    for column, (least, most) in NUMBERS[kind].items():
        value = row.get(column, "")
        try:
            good = least <= float(value) <= most
        except ValueError:
            good = False
        if row["result"] == "ok" and not good:
            return f"{column} must be from {least:g} to {most:g}, got {value!r}"
    return ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help="a kind, or a part as --list names it")
    add("--out", type=Path, metavar="FOLDER", help="where the rows go")
    add("--limit", type=seconds, default=math.inf, metavar="SECONDS", help="for all")
    add("--again", action="store_true", help="what is done, too")
    add("--pretend", action="store_true", help="on a card that is not there")
    add("--list", action="store_true", help="what is done, and what is missing")
    add("--record", type=Path, metavar="FOLDER", help="its rows into the table")
    add("--prepare", action="store_true", help="make .card/")
    given = parser.parse_args(arguments)
    if given.prepare:
        from tools.gpu_prepare import prepare

        return prepare()
    folder = given.record or given.out
    if folder and (why := _foreign(folder)):
        print(why, file=sys.stderr)
        return 2
    if given.record:
        return record(given.record)
    if given.list:
        return show(given.out, given.parts, given.pretend)
    if not given.out:
        parser.error("--out FOLDER is where the rows go")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return run(given.out, given.limit, given.parts, given.pretend, given.again)
    except KeyboardInterrupt:
        print("stopped: the same command goes on with what is missing")
        return 128 + signal.SIGINT


def seconds(text: str) -> float:
    """A limit of time.

    Raises: ArgumentTypeError if it is none.
    """
    if not (limit := float(text)) > 0:  # nor is "nan"
        raise argparse.ArgumentTypeError(f"must be more than 0 seconds, got {text}")
    return limit


if __name__ == "__main__":
    sys.exit(main())
