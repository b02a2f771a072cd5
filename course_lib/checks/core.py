"""`check`: it sends an answer to the judge, says what came back, and remembers."""

from __future__ import annotations

import atexit
import importlib
import inspect
import io
import linecache
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import cloudpickle
import torch

from course_lib.checks import wire
from course_lib.checks.report import Progress, Result

#: Where this library is, for the process of the judge.
HOME = Path(__file__).parents[2]

#: How the processes of answers begin: from one that is loaded, where that is safe.
START = "forkserver" if sys.platform == "linux" else "spawn"

#: Seconds after which it is said that something is being loaded.
PATIENCE = 1.0


class NoJudge(Exception):  # noqa: N818, it is caught where it is raised
    """The process of the judge is no more."""


@dataclass
class Check:
    """`check`, and what it remembers of this session."""

    #: Seconds that one call of an answer may compute. By the clock, all calls together
    #: may take three times as many.
    seconds: float = 5.0
    #: How the processes of answers begin: ``"forkserver"`` or ``"spawn"``.
    start: str = START
    #: What the judge draws its cases from; None for others each time.
    seed: int | None = None
    #: The last result of each exercise, by its name.
    results: dict[str, Result] = field(default_factory=dict)
    #: The process that judges, once there is one.
    _judge: Judge | None = None

    def __call__(self, name: object = None, answer: object = None) -> Result:
        """Check `answer`, a function or class, against the exercise ``"chapter.name"``;
        never raises.
        """
        text = name if isinstance(name, str) else wire.text_of(name)
        if name is None:
            return Result("check", False, *HOW)
        if answer is None:
            return Result(text, False, "there is nothing to check.", HOW[1])
        if not callable(answer):
            return Result(
                text,
                False,
                f"a function is wanted, and this is {wire.text_of(answer, 40)}.",
                "Hand over the function itself, by its name, without calling it.",
            )
        try:
            data = packed(answer)
        except BaseException as error:  # it may hold anything
            return Result(text, False, *_not_sent(error))
        said = self._asked(
            {
                "name": text,
                "seconds": self.seconds,
                "seed": self.seed,
                "path": [os.fspath(Path(each).absolute()) for each in sys.path],
            },
            data,
        )
        if "unknown" in said:
            return Result(text, False, said["unknown"])
        sys.stdout.write(said.get("printed", ""))
        message = said["message"]
        if said.get("frames") is not None:
            message += f"{_location(said['frames'], answer)}."
        result = Result(text, said["passed"], message, said["hint"])
        self.results[text] = result
        return result

    def progress(self, chapter: str | None = None) -> Progress:
        """How far you are: in `chapter`, or in those that you have begun."""
        begun = dict.fromkeys(name.split(".")[0] for name in self.results)
        chapters = [chapter] if chapter else list(begun)
        rows = self._asked({"chapters": chapters}).get("rows", [])
        return Progress([tuple(row) for row in rows], self.results)

    def _asked(self, header: dict[str, Any], data: bytes = b"") -> dict[str, Any]:
        """What the judge says; a new one if there is none."""
        try:
            if self._judge is None:
                self._judge = Judge(self.start)
            return self._judge.asked(header, data)
        except (NoJudge, OSError):
            message = "The check was ended from outside, or by the answer."
        except KeyboardInterrupt:
            message = "It was interrupted."
        self.close()
        return {"passed": False, "message": message, "hint": ""}

    def close(self) -> None:
        """End the process of the judge; the next check starts another."""
        if self._judge is not None:
            self._judge.close()
        self._judge = None


#: What to write.
HOW = (
    "it wants the name of an exercise, and your function.",
    'Write `check("convolution.output_size", output_size)`.',
)


class Judge:
    """The process of the judge, which is alive as long as this session."""

    def __init__(self, start: str) -> None:
        path = os.pathsep.join(filter(None, (str(HOME), os.environ.get("PYTHONPATH"))))
        own: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":  # pragma: no cover
            own = {"creationflags": 0x200}  # CREATE_NEW_PROCESS_GROUP
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "course_lib.checks", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path, "MPLBACKEND": "agg"},
            **own,
        )
        self.ready = False
        atexit.register(self.close)

    def asked(self, header: dict[str, Any], data: bytes) -> dict[str, Any]:
        """The reply to a request.

        Raises: NoJudge or OSError if the process has ended.
        """
        requests: Any = self.process.stdin
        replies: Any = self.process.stdout
        if not self.ready:
            with _said_to_load():
                _received(replies)
            self.ready = True
        wire.send(requests, header, data)
        return _received(replies)

    def close(self) -> None:
        """End it: it goes when nobody can ask for more, or else is made to."""
        atexit.unregister(self.close)
        requests: Any = self.process.stdin
        replies: Any = self.process.stdout
        with suppress(OSError):
            requests.close()
        try:
            self.process.wait(PATIENCE if self.ready else 0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        replies.close()


def _received(replies: Any) -> dict[str, Any]:
    got = wire.receive(replies)
    if got is None:
        raise NoJudge
    return got[0]


@contextmanager
def _said_to_load() -> Iterator[None]:
    """Say that something is loading if the body takes long."""
    text = "Loading the checks, once per session ..."
    timer = threading.Timer(PATIENCE, print, [text], {"file": sys.stderr})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def packed(answer: object) -> bytes:
    """An answer as bytes, with what it uses of the notebook.

    Raises: whatever what it uses raises when it is copied.
    """
    target = io.BytesIO()
    with _by_value(sys.modules.get(str(getattr(answer, "__module__", None)))):
        _FunctionPickler(target).dump(answer)
    return target.getvalue()


@contextmanager
def _by_value(module: ModuleType | None) -> Iterator[None]:
    """Send what stands in this file as it is here, if it is a file of the student's."""
    file = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "__main__")
    ours = {"__main__", "course_lib", *sys.stdlib_module_names}
    if (
        file is None
        or name.partition(".")[0] in ours
        or {"site-packages", "dist-packages"} & {*Path(file).parts}
        or name in cloudpickle.list_registry_pickle_by_value()
    ):
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


class _FunctionPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """A pickler of functions, for a process that computes on the CPU."""

    def reducer_override(self, value: Any) -> Any:
        """How something is made again there."""
        if isinstance(value, ModuleType) and sys.modules.get(value.__name__) is value:
            return importlib.import_module, (value.__name__,)
        if isinstance(value, CodeType):  # cloudpickle forgets where it was written
            make, parts = self.dispatch_table[CodeType](value)
            return _code, (value.co_filename, make, *parts)
        if isinstance(value, torch.Tensor) and value.device.type == "cuda":
            here = value.detach().cpu()
            if isinstance(value, torch.nn.Parameter):
                here = torch.nn.Parameter(here)
            return here.requires_grad_(value.requires_grad).__reduce_ex__(2)
        if isinstance(value, torch.device):
            return torch.device, ("cpu",)
        if isinstance(value, torch.jit.ScriptFunction | torch.jit.ScriptModule):
            saved = io.BytesIO()
            torch.jit.save(value, saved)
            return _scripted, (saved.getvalue(),)
        return super().reducer_override(value)


# These two run in the process of an answer.
def _code(  # pragma: no cover
    file: str, make: Callable[..., CodeType], *parts: Any
) -> CodeType:
    return make(*parts).replace(co_filename=file)


def _scripted(data: bytes) -> Any:  # pragma: no cover
    return torch.jit.load(io.BytesIO(data))


def _not_sent(error: BaseException) -> tuple[str, str]:
    text = wire.first_line(error)
    return (
        f"it uses something that cannot be copied: {type(error).__name__}: {text}.",
        "An answer runs in a process of its own. What is open or running, such as a"
        " file, a generator or a thread, is to be made inside it.",
    )


def _location(frames: list[list[Any]], answer: object) -> str:
    """The last line of their own file or cell that an error went through."""
    file = _file(answer)
    lines = [number for name, number in frames if name == file]
    if not lines:
        return ""
    line = linecache.getline(str(file), lines[-1]).strip()
    return f", in line {lines[-1]}" + (f": `{line}`" if line else "")


def _file(answer: object) -> str | None:
    """Where it was written, if that is known: also the name of a cell."""
    function = inspect.unwrap(answer) if inspect.isfunction(answer) else answer
    code = getattr(function, "__code__", None)
    if code is not None:
        return str(code.co_filename)
    if inspect.isclass(function):
        for method in vars(function).values():
            if inspect.isfunction(method):
                return method.__code__.co_filename
    module = inspect.getmodule(type(function))
    return getattr(module, "__file__", None)
