"""An exercise, and an answer to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.checks.compare import Mistakes, WrongAnswer, compare
from course_lib.checks.limits import (
    LARGEST,
    SECONDS,
    copied,
    preserved_state,
    size,
    time_limit,
)

#: What an exercise asks for.
KINDS = ("implement", "predict", "repair", "investigate")


@dataclass(frozen=True)
class Exercise:
    """One exercise."""

    #: ``"chapter.name"``, as `check` is asked for it.
    name: str
    #: What it asks for: one of `KINDS`.
    kind: str
    #: What is learned, from its verb on: "tell parameters from connections".
    goal: str
    #: How long it takes, in minutes.
    minutes: int
    #: What to do first: the hint for those who have not begun.
    first_hint: str
    #: It raises `WrongAnswer` if an `Answer` is.
    checker: Callable[[Answer], None]


#: All exercises whose module has been imported.
EXERCISES: dict[str, Exercise] = {}


def exercise(
    name: str, *, kind: str, goal: str, minutes: int, first_hint: str
) -> Callable[[Callable[[Answer], None]], Callable[[Answer], None]]:
    """Register the decorated checker as the exercise ``"chapter.name"``.

    Raises: ValueError if the name is taken or the kind is not one of `KINDS`.
    """
    if name in EXERCISES or kind not in KINDS:
        raise ValueError(
            f"an exercise needs a new name and a kind of {KINDS}, got {name}, {kind}"
        )

    def register(checker: Callable[[Answer], None]) -> Callable[[Answer], None]:
        EXERCISES[name] = Exercise(
            name, kind, goal, minutes=minutes, first_hint=first_hint, checker=checker
        )
        return checker

    return register


class Answer:
    """What a student wrote, handed to a checker: it can be called like theirs.

    Every call gets copies of its arguments, has `SECONDS` of time, and leaves nothing
    behind.
    """

    def __init__(self, value: Callable[..., Any]) -> None:
        self.value = value

    def __call__(self, *arguments: Any) -> Any:
        """What theirs returns for `arguments`.

        Raises: WrongAnswer if it does not take them or returns too much, and whatever
            theirs raises.
        """
        self._takes(arguments)
        with preserved_state(), time_limit(SECONDS):
            got = self.value(*copied(arguments))
        if size(got) > LARGEST:
            raise WrongAnswer(
                f"what it returns takes {size(got) / 2**30:.1f} GiB",
                "Something grew far beyond what is asked for; look at its shape.",
            )
        return got

    def expect(
        self,
        want: Any,
        *arguments: Any,
        on: str | None = None,
        mistakes: Mistakes = (),
        tolerance: float = 1e-4,
    ) -> None:
        """Check that theirs returns `want` for `arguments`.

        `on` says in words what the arguments are. `mistakes` are what wrong answers
        would return, each with the hint that fits. Without arguments nothing is said
        about `want`: it would be the solution.

        Raises: WrongAnswer if it does not.
        """
        if on is None:
            on = ", ".join(map(short_repr, arguments))
        compare(
            self(*arguments),
            want,
            on=f"for {on}" if on else "",
            secret=not arguments,
            mistakes=mistakes,
            tolerance=tolerance,
        )

    def _takes(self, arguments: Sequence[Any]) -> None:
        try:
            signature = inspect.signature(self.value)
        except (TypeError, ValueError):
            return  # some functions of C have none
        try:
            signature.bind(*arguments)
        except TypeError:
            raise WrongAnswer(
                f"it takes {signature}, and the check calls it with {len(arguments)}"
                " arguments",
                "Leave the line with `def` as it was.",
            ) from None


def short_repr(value: object) -> str:
    """A value in a few words."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"an input of shape {tuple(shape)}"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
