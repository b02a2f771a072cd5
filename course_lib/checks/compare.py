"""What is wrong with an answer, in the words of the subject."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from course_lib.checks.wire import Opaque

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
    What means the same is the same: a tensor with one element is a number, a list is a
    tuple, and an array a tensor.

    `on` says for which input, `mistakes` what known mistakes would have given, each
    with its hint. Of a `secret` value nothing is told but on which side it lies.
    Tensors may differ by `tolerance`, numbers by that many percent.

    Raises: WrongAnswer if they differ.
    """
    if got is None and want is not None:
        raise WrongAnswer(f"it returns nothing{_at(on)}", "Does it end with `return`?")
    came = meant(got, want)
    if came is None and want is not None:
        raise WrongAnswer(
            f"it returns {name_of(got)}{_at(on)}, where {name_of(want)} is wanted"
        )
    if _equal(came, want, tolerance):
        return
    hint = next((hint for other, hint in mistakes if _same(got, other, tolerance)), "")
    raise WrongAnswer(_difference(came, want, on, secret, tolerance), hint)


def meant(got: Any, want: Any) -> Any:
    """`got` as the kind of thing that `want` is; None if it means none."""
    if isinstance(want, bool):
        one = got.item() if isinstance(got, Tensor) and got.numel() == 1 else got
        return one if isinstance(one, bool) else None
    if isinstance(want, int | float):
        return _number(got)
    if isinstance(want, Tensor):
        return _tensor(got)
    if isinstance(want, tuple | list):
        several = list(got) if isinstance(got, Tensor) and got.dim() else got
        return several if isinstance(several, tuple | list) else None
    return got if isinstance(got, type(want)) else None


def same_data(a: Any, b: Any) -> bool:
    """Whether two arguments are the same to the last bit; modes of modules aside."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        same = a.shape == b.shape and a.dtype == b.dtype
        return same and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, nn.Module) and isinstance(b, nn.Module):
        return type(a) is type(b) and same_data(a.state_dict(), b.state_dict())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and same_data([*a.values()], [*b.values()])
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same_data, a, b))
    return bool(a == b or a != a)


def difference(got: Tensor, want: Tensor, on: str, tolerance: float) -> str | None:
    """In words, how two tensors differ; None if they do not."""
    came = got
    if not isinstance(came, Tensor) or came.is_complex():
        return f"its output is {name_of(got)}, where a tensor is wanted"
    if _equal(came, want, tolerance):
        return None
    return _tensors(came, want, on, tolerance)


def _number(value: Any) -> int | float | None:
    """`value` as a number, if it is one, also in a tensor."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    return value if type(value) in (int, float) else None


def _tensor(value: Any) -> Tensor | None:
    """`value` as a real tensor, if it is one."""
    if type(value) in (int, float):
        value = torch.tensor(value)
    if isinstance(value, tuple | list):
        try:
            value = torch.stack([*map(torch.as_tensor, value)])
        except (TypeError, ValueError, RuntimeError):
            return None
    real = isinstance(value, Tensor) and not value.is_complex()
    return value if real else None


def _same(got: Any, other: Any, tolerance: float) -> bool:
    came = meant(got, other)
    return (came is None) == (other is None) and _equal(came, other, tolerance)


def _equal(got: Any, want: Any, tolerance: float) -> bool:
    """Whether they are equal, where `got` is what is `meant`."""
    if isinstance(want, Tensor):
        return got.shape == want.shape and torch.allclose(
            got.detach().double(), want.detach().double(), tolerance, tolerance
        )
    if isinstance(want, int | float) and not isinstance(want, bool):
        return math.isclose(got, want, rel_tol=tolerance * 0.01, abs_tol=1e-9)
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
        return _secret(got, want, tolerance)
    came, wanted = _shown(got, want)
    return f"expected {wanted}, got {came}{_at(on)}"


def _secret(got: Any, want: Any, tolerance: float) -> str:
    """Which of several numbers are not right, and on which side."""
    if isinstance(want, int | float) and not isinstance(want, bool):
        return f"{_digits(got)} is too {'small' if got < want else 'large'}"
    if not isinstance(want, tuple | list):
        return f"{got!r} is not right"
    if len(got) != len(want):
        return f"it returns {len(got)} values, where {len(want)} are wanted"
    numbers: list[Any] = [_number(each) for each in got]
    both = (*numbers, *want)
    if all(type(each) in (int, float) for each in both) and _equal(
        sorted(numbers), sorted(want), tolerance
    ):
        return "these are the right values, in another order"
    wrong = [
        f"{_ordinal(i)} value, {_secret(meant(a, b), b, tolerance)}"
        if meant(a, b) is not None
        else f"{_ordinal(i)} value is {name_of(a)}, where {name_of(b)} is wanted"
        for i, (a, b) in enumerate(zip(got, want, strict=True))
        if not _same(a, b, tolerance)
    ]
    return f"the {'; the '.join(wrong)}"


def _ordinal(index: int) -> str:
    names = ("first", "second", "third", "fourth", "fifth", "sixth")
    return names[index] if index < len(names) else f"{index + 1}th"


def _shown(got: Any, want: Any) -> tuple[str, str]:
    """Both with as many digits as it takes to tell them apart, four at least."""
    for digits in (4, 6, 9, 17):
        came = _digits(got, digits)
        wanted = _digits(want, digits)
        if came != wanted:
            break
    return came, wanted


def _digits(value: Any, digits: int = 4) -> str:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if type(value) is float and math.isfinite(value):
        short = f"{value:.{digits}g}"
        return f"{value:,.0f}" if "e+" in short and value.is_integer() else short
    if type(value) in (tuple, list):
        inside = ", ".join(_digits(each, digits) for each in value)
        if type(value) is list:
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    text = value.text if isinstance(value, Opaque) else repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


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


def name_of(value: Any) -> str:
    """A kind of thing, in words."""
    names = {
        "int": "an integer",
        "float": "a number",
        "bool": "True or False",
        "str": "a string",
        "NoneType": "nothing",
        "Tensor": "a tensor",
        "Parameter": "a tensor",
        "tuple": "a tuple",
        "list": "a list",
        "type": "a class",
    }
    if isinstance(value, nn.Module):
        return f"the module {getattr(value, 'kind', type(value).__name__)}"
    if isinstance(value, Tensor) and value.is_complex():
        return "a tensor of complex numbers"
    kind = value.kind if isinstance(value, Opaque) else type(value).__name__
    return names.get(kind, f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}")
