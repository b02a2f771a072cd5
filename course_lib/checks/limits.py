"""Running what a student wrote: on time, without a trace, and with no surprise."""

from __future__ import annotations

import copy
import ctypes
import random
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

#: Seconds that one call may take.
SECONDS = 5.0

#: Bytes that one result may have.
LARGEST = 2**30


class TimeUp(BaseException):
    """The time is up. No `Exception`, so that ``except Exception`` does not hide it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeUp` in the body after `seconds`, and again until it has gone through.

    In the main thread of Linux and macOS an alarm does it, elsewhere a second thread;
    both wait for a call into C to return.
    """
    if threading.current_thread() is threading.main_thread() and hasattr(
        signal, "setitimer"
    ):
        yield from _alarm(seconds)
    else:  # pragma: no cover
        yield from _watchdog(seconds)


def _alarm(seconds: float) -> Iterator[None]:
    def ring(_signal: int, frame: FrameType | None) -> None:
        while frame is not None:  # a module cut off in its import stays broken: wait
            if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
                return
            frame = frame.f_back
        raise TimeUp

    handler = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        yield
    finally:
        _retry_through_timeout(
            lambda: signal.setitimer(signal.ITIMER_REAL, left, interval)
        )
        signal.signal(signal.SIGALRM, handler)


# Tested in a process without coverage: its tracer and exceptions from another thread do
# not go together.
def _watchdog(seconds: float) -> Iterator[None]:  # pragma: no cover
    done: list[bool] = []
    thread = ctypes.c_ulong(threading.get_ident())
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def watch() -> None:
        end = time.monotonic() + seconds
        while not done:
            time.sleep(0.02)
            if time.monotonic() > end and not done:
                throw(thread, ctypes.py_object(TimeUp))
                end += 0.1

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:

        def end() -> None:
            done.append(True)
            watcher.join()
            throw(thread, None)  # what has not arrived is taken back

        _retry_through_timeout(end)


def _retry_through_timeout(end: Callable[[], object]) -> None:
    """Call `end`, again if the time is up in the middle of it."""
    while True:
        try:
            end()
        except TimeUp:
            continue
        return


@contextmanager
def preserved_state() -> Iterator[None]:
    """Restore, after the body, what it may have changed for everybody: random numbers,
    the default type of tensors, whether gradients are recorded.
    """
    drawn = random.getstate()
    grad = torch.is_grad_enabled()
    dtype = torch.get_default_dtype()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(drawn)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)


def copied(value: Any) -> Any:
    """A copy that shares nothing with `value`."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, tuple | list):
        return type(value)(copied(each) for each in value)
    return copy.deepcopy(value)


def size(value: Any) -> int:
    """The bytes of all tensors in `value`, each as large as its shape says."""
    if nn.parameter.is_lazy(value):
        return 0
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, nn.Module):
        return sum(map(size, value.state_dict().values()))
    if isinstance(value, tuple | list):
        return sum(map(size, value))
    if isinstance(value, dict):
        return sum(map(size, value.values()))
    return 0
