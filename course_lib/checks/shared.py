"""What the answer keys of several chapters need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from course_lib.checks.compare import Mistakes, WrongAnswer


@contextmanager
def case(named: str, hint: str = "") -> Iterator[None]:
    """Put the name of a case in front of what turns out to be wrong in the body, and
    give `hint` where there is none that fits better.

    Raises: WrongAnswer if the body does.
    """
    try:
        yield
    except WrongAnswer as wrong:
        raise WrongAnswer(f"{named}{wrong.message}", wrong.hint or hint) from None


def refuse(when: object, message: str, hint: str = "") -> None:
    """Say what is wrong `when` it is so.

    Raises: WrongAnswer then.
    """
    if when:
        raise WrongAnswer(message, hint)


def all_with(hint: str, values: Iterable[Any]) -> Mistakes:
    """Several mistakes that one hint is for."""
    return [(value, hint) for value in values]


def without_each(net: nn.Sequential, kind: type[nn.Module]) -> list[nn.Module]:
    """Copies of a network, each without one of its layers of a kind."""
    return [
        nn.Sequential(*(layer for layer in net if layer is not gone))
        for gone in net
        if isinstance(gone, kind)
    ]
