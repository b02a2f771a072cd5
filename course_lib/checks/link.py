"""The judge's end of the line to an answer."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil

from course_lib.checks import wire
from course_lib.checks.compare import WrongAnswer
from course_lib.checks.remote import Remote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

#: How much longer than it may compute an answer may take by the clock, all calls
#: together: a machine may have other things to do.
PATIENCE = 3

#: Seconds in which another process has to begin.
START = 120.0

#: Bytes of memory that an answer may take, and those that it has to leave to others.
MEMORY = 4 * 2**30
LEFT = 2**29

#: Seconds between two looks at the memory.
LOOK = 0.05


class TimeUp(Exception):  # noqa: N818, it is no error of ours
    """An answer was still running after so many `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Ended(Exception):  # noqa: N818, it is no error of ours
    """The process of an answer is no more, and why."""


class AnswerRaised(Exception):  # noqa: N818, it is no error of ours
    """An error in the code of an answer."""

    def __init__(
        self, kinds: list[str], text: str, frames: list[tuple[str, int]]
    ) -> None:
        super().__init__(kinds[0] + (f": {text}" if text else ""))
        self.kinds = kinds
        self.text = text
        self.frames = frames

    @property
    def is_stub(self) -> bool:
        """Whether it is what stubs raise."""
        return self.kinds[0] == "NotImplementedError" and not self.text


class Link:
    """What the judge asks an answer for, and what comes back, in time."""

    def __init__(self, connection: Connection, process: Any, seconds: float) -> None:
        self.connection = connection
        self.process = process
        self.seconds = seconds
        self.left = PATIENCE * seconds
        self.printed: list[str] = []
        self.names: list[str] = []
        self.instead = ""

    def load(
        self,
        data: bytes,
        path: Sequence[str],
        banned: Sequence[str] = (),
        instead: str = "",
    ) -> None:
        """Send an answer there, once somebody is there: its bytes, where its imports
        are found, what it may not call, and what it should use instead.

        Raises: what `ask` does.
        """
        self.instead = instead
        self.connection.poll(START)
        self._receive()
        self.names = self.ask("load", data, list(path), list(banned))

    def ask(self, verb: str, *data: Any) -> Any:
        """What came of it there.

        Raises: AnswerRaised, TimeUp or Ended if nothing did; WrongAnswer if something
            was used that may not be, or it is too much.
        """
        with contextlib.suppress(OSError):  # then there is nothing to receive, either
            self.connection.send_bytes(wire.dumps((verb, *data)))
        status, *got = self._receive()
        if status == "raised":
            raise AnswerRaised(*got)
        if status == "refused":
            raise WrongAnswer(*got)
        if status == "banned":
            raise WrongAnswer(f"`{got[0]}` does it for you", self.instead)
        return self._here(got[0])

    def _receive(self) -> tuple[Any, ...]:
        begun = time.monotonic()
        computed = self._computed()
        try:
            while True:
                while not self.connection.poll(LOOK):
                    took = time.monotonic() - begun
                    if took > self.left or self._computed() - computed > self.seconds:
                        self.end()
                        raise TimeUp(took)
                    self._look_at_memory()
                got = self._message(self.left)
                if got[0] != "printed":
                    return got
                self.printed.append(got[1])
        except (OSError, EOFError):
            raise Ended("It ended the process that it runs in") from None
        finally:
            self.left -= time.monotonic() - begun

    def _computed(self) -> float:
        """Seconds that the other process has computed."""
        if self.process is None:
            return 0.0
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def _message(self, allowed: float) -> tuple[Any, ...]:
        """The next one. It may be half of one, whose end never comes.

        Raises: OSError or EOFError if there is none, and WrongAnswer if it is no data.
        """
        late = threading.Timer(allowed, self._kill)
        late.daemon = True
        late.start()
        try:
            return tuple(wire.loads(self.connection.recv_bytes(2 * wire.LARGEST)))
        except (pickle.UnpicklingError, TypeError, ValueError, AttributeError):
            raise WrongAnswer("it returns nothing that can be compared") from None
        finally:
            late.cancel()

    def _look_at_memory(self) -> None:
        if self.process is None:
            return
        with contextlib.suppress(psutil.Error):
            took = psutil.Process(self.process.pid).memory_info().rss
            if took > MEMORY or psutil.virtual_memory().available < LEFT < took - LEFT:
                self.end()
                raise Ended(f"It takes more than {took / 2**30:.1f} GiB of memory")

    def _here(self, value: Any) -> Any:
        """Make modules of what is held elsewhere."""
        if isinstance(value, wire.Held):
            return Remote.of(self, value)
        if type(value) in (tuple, list):
            return type(value)(self._here(each) for each in value)
        if type(value) is dict:
            return {key: self._here(each) for key, each in value.items()}
        return value

    def end(self) -> None:
        """End the other process, and all that it has begun."""
        self.connection.close()
        self._kill()
        if self.process is not None:
            self.process.join()

    def _kill(self) -> None:
        if self.process is None:
            return
        if hasattr(os, "killpg") and self.process.pid != os.getpid():
            with contextlib.suppress(OSError):
                if os.getpgid(self.process.pid) == self.process.pid:
                    os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
