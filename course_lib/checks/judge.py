"""The judge: a process that reads answers, lets them run elsewhere, and compares.

It is started by the first `check` of a session, as ``python -m course_lib.checks``, and
shares nothing with the notebook: what an answer, or a cell, does to PyTorch or to this
library is not done here. An answer runs in a third process, which knows nothing of what
is wanted, and which is ended with the check; the next one is ready by then.
"""

from __future__ import annotations

import difflib
import importlib
import multiprocessing
import pkgutil
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import torch

from course_lib.checks import keys, sandbox, wire
from course_lib.checks.compare import WrongAnswer
from course_lib.checks.exercises import EXERCISES, Answer, Exercise
from course_lib.checks.link import AnswerRaised, Ended, Link, TimeUp

#: Seconds between two tries to begin a process.
PAUSE = 0.2


def find(name: str) -> Exercise | str:
    """The exercise of that name, or what to say if there is none."""
    chapter = name.partition(".")[0]
    known = {module.name for module in pkgutil.iter_modules(keys.__path__)}
    if chapter in known:
        importlib.import_module(f"{keys.__name__}.{chapter}")
    if name in EXERCISES:
        return EXERCISES[name]
    names = [each for each in EXERCISES if each.startswith(f"{chapter}.")]
    close = difflib.get_close_matches(name, names or sorted(known), n=3)
    meant = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"there is no exercise {name!r}.{meant}"


def judged(
    asked: Exercise, link: Link, data: bytes, path: Sequence[str] = ()
) -> dict[str, Any]:
    """What there is to say of an answer, which `link` leads to: whether it `passed`, a
    `message`, a `hint`, and the `frames` of an error.
    """

    def no(message: str, hint: str = "", **more: Any) -> dict[str, Any]:
        return {"passed": False, "message": message, "hint": hint} | more

    try:
        link.load(data, path, asked.banned, asked.instead)
        asked.checker(Answer(link))
    except WrongAnswer as wrong:
        return no(f"{wrong.message}.", wrong.hint)
    except TimeUp as up:
        return no(
            f"It was still running after {up.seconds:.2g} seconds.",
            "Is there a loop whose end is never reached?",
        )
    except Ended as end:
        return no(f"{end}.", "Return a result, and leave the rest to the check.")
    except AnswerRaised as error:
        if error.is_stub:
            return no("Not started.", asked.first_hint)
        return no(f"Your code raised {error}", frames=error.frames)
    except Exception as error:  # what a check cannot handle is no right answer
        return no(f"The check cannot handle what it returns: {wire.first_line(error)}.")
    return {"passed": True, "message": asked.moral, "hint": ""}


def rows(chapters: list[str]) -> list[tuple[str, int, str]]:
    """Name, minutes and goal of the exercises of these chapters."""
    for chapter in chapters:
        find(f"{chapter}.")  # which imports its exercises
    return [
        (each.name, each.minutes, each.goal)
        for each in EXERCISES.values()
        if each.name.partition(".")[0] in chapters
    ]


class Bench:
    """Processes in which answers run: one is always ready."""

    def __init__(self, start: str) -> None:
        self.context: Any = multiprocessing.get_context(start)
        self.ready = self._begin()

    @contextmanager
    def one(self, seconds: float) -> Iterator[Link]:
        """A process for one answer, which ends with the body."""
        process, connection = self.ready
        if not process.is_alive():  # an answer before this one did that
            process, connection = self._begin()
        self.ready = self._begin()
        link = Link(connection, process, seconds)
        try:
            yield link
        finally:
            link.end()

    def _begin(self) -> tuple[Any, Any]:
        """A process and the way to it; an answer may have ended the one that it would
        have come from, which is noticed at the second try.

        Raises: OSError or EOFError if none can be had.
        """
        tries = 3
        while True:
            here, there = self.context.Pipe()
            process = self.context.Process(
                target=sandbox.serve, args=[there], daemon=True
            )
            try:
                process.start()
                return process, here
            except (OSError, EOFError):
                tries -= 1
                if not tries:
                    raise
                time.sleep(PAUSE)
            finally:
                there.close()

    def close(self) -> None:
        """End the one that is ready."""
        process, connection = self.ready
        Link(connection, process, 0).end()


def serve(requests: BinaryIO, replies: BinaryIO, start: str) -> None:
    """Answer requests until there are no more."""
    torch.set_num_threads(1)
    bench = Bench(start)
    wire.send(replies, {"ready": True})
    try:
        while (request := wire.receive(requests)) is not None:
            header, data = request
            wire.send(replies, _reply(bench, header, data))
    finally:
        bench.close()


def _reply(bench: Bench, header: dict[str, Any], data: bytes) -> dict[str, Any]:
    if "chapters" in header:
        return {"rows": rows(header["chapters"])}
    asked = find(header["name"])
    if isinstance(asked, str):
        return {"unknown": asked}
    torch.seed()
    random.seed()
    if header.get("seed") is not None:
        torch.manual_seed(header["seed"])
        random.seed(header["seed"])
    with bench.one(header["seconds"]) as link:
        said = judged(asked, link, data, header["path"])
    return said | {"printed": "".join(link.printed)}
