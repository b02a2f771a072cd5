"""An exercise, and an answer to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from course_lib.checks import guard, wire
from course_lib.checks.compare import Mistakes, WrongAnswer, compare, same_data

if TYPE_CHECKING:
    from course_lib.checks.link import Link

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
    #: What may not be called: see `guard.FAMILIES`.
    banned: tuple[str, ...] = ()
    #: What to write it with instead.
    instead: str = ""

    @property
    def moral(self) -> str:
        """What is said of a right answer. The goal of a repair is not said before."""
        return f"What this was about: {self.goal}." if self.kind == "repair" else ""

    @property
    def line(self) -> str:
        """What its text begins with, in Markdown."""
        goal = "" if self.kind == "repair" else f" Goal: {self.goal}."
        plural = "" if self.minutes == 1 else "s"
        kind = self.kind.capitalize()
        line = f"*{kind}.{goal} About {self.minutes} minute{plural}.*"
        if not self.banned:
            return line
        named = [guard.WORDS.get(name, f"`{name}`") for name in self.banned]
        return f"{line}\n\nNot to be used: {', '.join(named)}. {self.instead}"


#: All exercises whose module has been imported.
EXERCISES: dict[str, Exercise] = {}


def exercise(
    name: str,
    *,
    kind: str,
    goal: str,
    minutes: int,
    first_hint: str,
    banned: tuple[str, ...] = (),
    instead: str = "",
) -> Callable[[Callable[[Answer], None]], Callable[[Answer], None]]:
    """Register the decorated checker as the exercise ``"chapter.name"``.

    Raises: ValueError if the name is taken, the kind is not one of `KINDS`, or it is
        not said what to write `instead` of what is `banned`.
    """
    if name in EXERCISES or kind not in KINDS or bool(banned) != bool(instead):
        raise ValueError(
            f"an exercise needs a new name, a kind of {KINDS}, and `instead` if"
            f" something is banned, got {name}, {kind}, {banned}, {instead!r}"
        )

    def register(checker: Callable[[Answer], None]) -> Callable[[Answer], None]:
        EXERCISES[name] = Exercise(
            name,
            kind,
            goal,
            minutes=minutes,
            first_hint=first_hint,
            checker=checker,
            banned=banned,
            instead=instead,
        )
        return checker

    return register


class Answer:
    """What a student wrote, handed to a checker: it can be called like theirs.

    It runs in a process of its own, with copies of the arguments and for a few seconds;
    a module that it returns stays there if it has code of the student's.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        #: What became of the arguments of the last call.
        self.arguments: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any, changes: Sequence[int] = ()) -> Any:
        """What theirs returns for `arguments`, of which it may change some.

        Raises: WrongAnswer if it does not take them, changes others, or returns too
            much; AnswerRaised, TimeUp and Ended if theirs does not return.
        """
        got, self.arguments = self.link.ask("call", arguments)
        self._left_alone(arguments, changes)
        return got

    def compare_gradients(self, want: Sequence[Tensor], on: str, hint: str) -> None:
        """Check the gradients of what the last call returned with respect to its
        arguments and their parameters, of those that need gradients.

        Raises: WrongAnswer, with this hint, if they differ.
        """
        got = self.link.ask("gradients")
        wrong = "it has no gradient"
        if len(got) == len(want) and any(each is not None for each in got):
            wrong = "its gradient is not"
            pairs = [(0 if a is None else a, b) for a, b in zip(got, want, strict=True)]
            if all(torch.allclose(b * 0 + a, b, 1e-3, 1e-6) for a, b in pairs):
                return
        raise WrongAnswer(f"its value is right{on}, but {wrong}", hint)

    def _left_alone(self, before: Sequence[Any], changes: Sequence[int] = ()) -> None:
        for index, (then, now) in enumerate(zip(before, self.arguments, strict=True)):
            if index not in changes and not same_data(now, then):
                raise WrongAnswer(
                    f"it changes its argument {self._named(index)}",
                    "Whoever calls it may need that again: work on a copy.",
                )

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
            named = enumerate(arguments)
            on = ", ".join(f"{self._named(i)} {short_repr(x)}" for i, x in named)
        compare(
            self(*arguments, changes=range(len(arguments))),
            want,
            on=f"for {on}" if on else "",
            secret=not arguments,
            mistakes=mistakes,
            tolerance=tolerance,
        )
        self._left_alone(arguments)

    def _named(self, index: int) -> str:
        names = self.link.names
        return f"`{names[index]}`" if index < len(names) else f"number {index + 1}"


def short_repr(value: object) -> str:
    """A value in a few words."""
    if isinstance(value, Tensor):
        return f"of shape {tuple(value.shape)}"
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return wire.text_of(value, 60)
