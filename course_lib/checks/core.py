"""`check`: it finds an exercise, judges an answer, and remembers."""

from __future__ import annotations

import difflib
import importlib
import inspect
import linecache
import pkgutil
import traceback
from dataclasses import dataclass, field

from course_lib.checks import keys
from course_lib.checks.compare import WrongAnswer
from course_lib.checks.exercises import EXERCISES, Answer, Exercise, short_repr
from course_lib.checks.limits import SECONDS, TimeUp, preserved_state
from course_lib.checks.report import Progress, Result


@dataclass
class Check:
    """`check`, and what it remembers of this session."""

    results: dict[str, Result] = field(default_factory=dict)

    def __call__(self, name: str, answer: object) -> Result:
        """Check `answer`, a function or class, against the exercise ``"chapter.name"``;
        never raises.
        """
        found = _find(name)
        if isinstance(found, str):
            return Result(str(name), False, found)
        result = _judge(found, answer)
        self.results[name] = result
        return result

    def progress(self, chapter: str | None = None) -> Progress:
        """How far you are: in `chapter`, or in those that you have begun."""
        begun = [name.split(".")[0] for name in self.results]
        chapters = [chapter] if chapter else begun
        for each in chapters:
            _find(f"{each}.")  # which imports its exercises
        asked = [
            exercise
            for name, exercise in EXERCISES.items()
            if name.split(".")[0] in chapters
        ]
        return Progress(asked, self.results)


def _find(name: object) -> Exercise | str:
    """The exercise of that name, or what to say if there is none."""
    chapter = str(name).split(".")[0]
    known = {module.name for module in pkgutil.iter_modules(keys.__path__)}
    if chapter in known:
        importlib.import_module(f"{keys.__name__}.{chapter}")
    if str(name) in EXERCISES:
        return EXERCISES[str(name)]
    names = [each for each in EXERCISES if each.startswith(f"{chapter}.")]
    close = difflib.get_close_matches(str(name), names or sorted(known), n=3)
    meant = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"there is no exercise {name!r}.{meant}"


def _judge(asked: Exercise, answer: object) -> Result:
    """Run the checker, and put what happens in words."""

    def no(message: str, hint: str = "") -> Result:
        return Result(asked.name, False, message, hint)

    if not callable(answer):
        return no(
            f"a function is wanted, and this is {short_repr(answer)}.",
            "Hand over the function itself, by its name, without calling it.",
        )
    try:
        with preserved_state():
            asked.checker(Answer(answer))
    except WrongAnswer as wrong:
        return no(f"{wrong.message}.", wrong.hint)
    except TimeUp:
        return no(
            f"It was still running after {SECONDS:g} seconds.",
            "Is there a loop whose end is never reached?",
        )
    except KeyboardInterrupt:
        return no("It was interrupted.")
    except BaseException as error:  # whatever theirs does, we do not
        if type(error) is NotImplementedError and not error.args:  # a stub's
            return no("Not started.", asked.first_hint)
        return no(f"Your code raised {_error(error)}{_location(error, answer)}.")
    return Result(asked.name, True, "")


def _error(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return type(error).__name__ + (f": {text[0]}" if text else "")


def _location(error: BaseException, answer: object) -> str:
    """The last line of their own file or cell that the error went through."""
    file = _file(answer)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    if not frames or frames[-1].lineno is None:
        return ""
    number = frames[-1].lineno
    line = linecache.getline(frames[-1].filename, number).strip()
    return f", in line {number}" + (f": `{line}`" if line else "")


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
