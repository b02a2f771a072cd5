"""What is wrong with an answer, in the words of the subject."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

#: What known mistakes would give, each with the hint that helps there.
Mistakes: TypeAlias = Sequence[tuple[Any, str]]


class WrongAnswer(Exception):  # noqa: N818, it is no error of ours
    """An answer is wrong: a message without its full stop, and a hint that fits."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def compare(
    got: Any,
    want: Any,
    *,
    on: str = "",
    secret: bool = False,
    mistakes: Mistakes = (),
    tolerance: float = 1e-4,
) -> None:
    """Compare what came with what is wanted: tensors, numbers, strings, tuples of them.

    `on` says for which input, `mistakes` what known mistakes would have given, each
    with its hint. Of a `secret` value nothing is told but on which side it lies.

    Raises: WrongAnswer if they differ.
    """
    if got is None and want is not None:
        raise WrongAnswer(f"it returns nothing{_at(on)}", "Does it end with `return`?")
    if not _kind(got, want):
        raise WrongAnswer(
            f"it returns {_name(got)}{_at(on)}, where {_name(want)} is wanted"
        )
    if _equal(got, want, tolerance):
        return
    hint = next((hint for other, hint in mistakes if _same(got, other, tolerance)), "")
    raise WrongAnswer(_difference(got, want, on, secret, tolerance), hint)


def same_function(
    got: Any,
    want: nn.Module,
    *inputs: Tensor,
    mistakes: Sequence[tuple[nn.Module, str]] = (),
    tolerance: float = 1e-4,
) -> None:
    """Check that a module computes what `want` does once it has its parameters, however
    it is written and named.

    `mistakes` are modules that wrong answers would build. Both are compared in training
    and evaluation mode, as copies would be: the modes they were in come back.

    Raises: WrongAnswer if it is no module, has parameters of other shapes, or other
        outputs.
    """
    if not isinstance(got, nn.Module):
        raise WrongAnswer(f"it returns {_name(got)}, where a module is wanted")
    shapes = _shapes(got)
    if shapes != _shapes(want):
        hint = next((hint for other, hint in mistakes if shapes == _shapes(other)), "")
        raise WrongAnswer(_other_parameters(got, want), hint)
    for x in inputs:
        outcomes = [
            _try(got, order, want, x, tolerance) for order in _orders(got, want)
        ]
        if None not in outcomes:
            built = (
                hint
                for other, hint in mistakes
                if shapes == _shapes(other) and _computes(got, other, x, tolerance)
            )
            raise WrongAnswer(str(outcomes[0]), next(built, ""))


def _computes(got: nn.Module, other: nn.Module, x: Tensor, tolerance: float) -> bool:
    """Whether `got` computes what `other` does, with its parameters in some order."""
    return any(
        _try(got, order, other, x, tolerance) is None for order in _orders(got, other)
    )


def _shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return sorted(tuple(each.shape) for each in module.parameters())


def _orders(got: nn.Module, want: nn.Module) -> list[list[int]]:
    """Ways to pair the parameters of both: in their order if the shapes agree, else
    each shape's in every order, as far as there are few.
    """
    ours = [tuple(each.shape) for each in want.parameters()]
    theirs = [tuple(each.shape) for each in got.parameters()]
    groups = {
        shape: [i for i, each in enumerate(ours) if each == shape]
        for shape in dict.fromkeys(theirs)
    }
    straight = {shape: list(group) for shape, group in groups.items()}
    orders = [[straight[shape].pop(0) for shape in theirs]]
    choices = [
        list(itertools.islice(itertools.permutations(group), 24))
        for group in groups.values()
    ]
    for chosen in itertools.islice(itertools.product(*choices), 1, 96):
        left = {shape: list(order) for shape, order in zip(groups, chosen, strict=True)}
        orders.append([left[shape].pop(0) for shape in theirs])
    return orders


def _try(
    got: nn.Module, order: list[int], want: nn.Module, x: Tensor, tolerance: float
) -> str | None:
    """What differs if `got` has the parameters of `want` in this order; None if nothing
    does.
    """
    theirs = copy.deepcopy(got)
    ours = copy.deepcopy(want)
    source = [each.detach() for each in ours.parameters()]
    with torch.no_grad():
        for each, index in zip(theirs.parameters(), order, strict=True):
            each.copy_(source[index])
    for training in (True, False):
        theirs.train(training)
        ours.train(training)
        mode = "training" if training else "evaluation"
        torch.manual_seed(0)
        wanted = ours(x.clone())
        torch.manual_seed(0)
        try:
            came = theirs(x.clone())
        except RuntimeError as error:
            return (
                f"it cannot take an input of shape {tuple(x.shape)}:"
                f" {str(error).splitlines()[0]}"
            )
        if not isinstance(came, Tensor):
            return f"its output is {_name(came)}, where a tensor is wanted"
        if not _equal(came, wanted, tolerance):
            on = f"for an input of shape {tuple(x.shape)}, in {mode} mode"
            return _difference(came, wanted, on, False, tolerance)
    return None


def _other_parameters(got: nn.Module, want: nn.Module) -> str:
    ours, theirs = (
        sum(each.numel() for each in module.parameters()) for module in (want, got)
    )
    if ours != theirs:
        more = "more" if theirs > ours else "fewer"
        return (
            f"its {theirs:,} parameters are {abs(theirs - ours):,} {more} than wanted"
        )
    return "its parameters have other shapes than wanted"


def _kind(got: Any, want: Any) -> bool:
    """Whether `got` is the kind of thing that can be compared with `want`."""
    if isinstance(want, bool | str):
        return isinstance(got, type(want))
    if isinstance(want, int | float):
        return _number(got) is not None
    if isinstance(want, Tensor):
        return isinstance(got, Tensor)
    if isinstance(want, tuple | list):
        return isinstance(got, tuple | list)
    return isinstance(got, type(want))


def _number(value: Any) -> float | None:
    """`value` as a number, if it is one, also in a tensor or array."""
    if isinstance(value, bool | str):
        return None
    if isinstance(value, int | float):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return _number(value.item())
    return None


def _same(got: Any, other: Any, tolerance: float) -> bool:
    return _kind(got, other) and _equal(got, other, tolerance)


def _equal(got: Any, want: Any, tolerance: float) -> bool:
    if isinstance(want, Tensor):
        return got.shape == want.shape and torch.allclose(
            got.detach().double(), want.detach().double(), tolerance, tolerance
        )
    if isinstance(want, int | float) and not isinstance(want, bool):
        number = _number(got)
        return number is not None and math.isclose(
            number, want, rel_tol=tolerance * 0.01
        )
    if isinstance(want, tuple | list):
        return len(got) == len(want) and all(
            _same(a, b, tolerance) for a, b in zip(got, want, strict=True)
        )
    return bool(got == want)


def _difference(got: Any, want: Any, on: str, secret: bool, tolerance: float) -> str:
    """In words, how `got` differs."""
    if isinstance(want, Tensor):
        return _tensors(got, want, on, tolerance)
    if secret:
        number = _number(got)
        if isinstance(want, int | float) and number is not None:
            return f"{got} is too {'small' if number < want else 'large'}"
        return f"{got!r} is not right"
    if isinstance(want, tuple | list) and len(got) == len(want):
        return f"expected {tuple(want)}, got {tuple(got)}{_at(on)}"
    return f"expected {want!r}, got {got!r}{_at(on)}"


def _tensors(got: Tensor, want: Tensor, on: str, tolerance: float) -> str:
    if got.shape != want.shape:
        return f"expected shape {tuple(want.shape)}, got {tuple(got.shape)}{_at(on)}"
    came = got.detach().double()
    wanted = want.detach().double()
    if not want.dim():
        return f"expected {wanted.item():.4g}, got {came.item():.4g}{_at(on)}"
    wrong = ~torch.isclose(came, wanted, tolerance, tolerance)
    index = tuple(int(i) for i in wrong.nonzero()[0])
    share = wrong.double().mean().item()
    return (
        f"the shape is right, but {share:.0%} of the values are not: at {list(index)}"
        f" expected {wanted[index]:.4g}, got {came[index]:.4g}{_at(on)}"
    )


def _at(on: str) -> str:
    return f" {on}" if on else ""


def _name(value: Any) -> str:
    """A kind of thing, in words."""
    names = {
        "int": "an integer",
        "float": "a number",
        "bool": "True or False",
        "str": "a string",
        "NoneType": "nothing",
        "Tensor": "a tensor",
        "tuple": "a tuple",
        "list": "a list",
    }
    if isinstance(value, nn.Module):
        return f"the module {type(value).__name__}"
    kind = type(value).__name__
    return names.get(kind, f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}")
