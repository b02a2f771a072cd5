"""What the answer keys of several chapters need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, TypeAlias

from torch import Tensor, nn

from course_lib.blocks import he_init
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


#: What one number of an answer may be, the right one first, and the hint for each.
Number: TypeAlias = Sequence[tuple[float, str]]


def combined(*numbers: Number) -> Mistakes:
    """What an answer of several numbers is if one of them is wrong, or more."""
    return [
        (
            tuple(value for value, _ in each),
            next((hint for _, hint in each if hint), ""),
        )
        for each in product(*numbers)
    ][1:]


def init_all(net: nn.Module) -> None:
    """Parameters with which no layer, and no bias, goes unnoticed."""
    he_init(net)
    for parameter in net.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, -0.3, 0.3)


def refuse(when: object, message: str, hint: str = "") -> None:
    """Say what is wrong `when` it is so.

    Raises: WrongAnswer then.
    """
    if when:
        raise WrongAnswer(message, hint)


def output_of(layer: nn.Module, x: Tensor) -> Tensor:
    """The output of a layer that an answer made.

    Raises: WrongAnswer if it cannot take `x`.
    """
    try:
        made: Tensor = layer(x)
    except RuntimeError as error:
        said = str(error).partition(", but")[0]
        raise WrongAnswer(f"it cannot take {tuple(x.shape)}: {said}") from None
    return made


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
