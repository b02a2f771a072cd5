"""What arguments may be: checks that several networks make, with the value received."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_variant(net: str, variant: object, variants: Iterable[object]) -> None:
    """Raise the ValueError of an unknown `variant`, with those that there are."""
    known = list(variants)
    if variant not in known:
        raise ValueError(
            f"{net} has the variants {', '.join(map(repr, known))}; got {variant!r}"
        )


#: The data that a network was made for -> classes and channels.
DATA = {
    "imagenet": (1000, 3),
    "mnist": (10, 1),
    "cifar": (10, 3),
    "fashion": (10, 1),
}


def data_shape(
    data: str, num_classes: int | None, in_channels: int | None
) -> tuple[int, int]:
    """`num_classes` and `in_channels`, those of `data` where they are None.

    Raises: ValueError for other `data`, or if one of them is less than 1.
    """
    check_one_of(tuple(DATA), data=data)
    num_classes = DATA[data][0] if num_classes is None else num_classes
    in_channels = DATA[data][1] if in_channels is None else in_channels
    return whole("num_classes", num_classes, 1), whole("in_channels", in_channels, 1)


def check_one_of(accepted: tuple[str, ...], **values: str) -> None:
    """Raise the ValueError of a value that is not among `accepted`."""
    for name, value in values.items():
        if value not in accepted:
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, accepted))}; got {value!r}"
            )


def whole(name: str, value: Any, least: int | None = None) -> int:
    """`value` as Python's int: an integer of Python, NumPy or PyTorch.

    Raises: ValueError for anything else, True and 2.0 among it, and below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name} must be an integer, got {value!r}") from error
    if isinstance(value, bool):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def share(name: str, value: Any) -> float:
    """`value` as Python's float, from 0 to 1: the share that dropout sets to zero.

    Raises: ValueError for anything else.
    """
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must be from 0 to 1, got {value!r}")
    return number


def check_batches(
    batch_size: Any, size: Any, seed: Any, epoch: Any, shard: Any
) -> tuple[int, int | None, int | None, int, tuple[int, int]]:
    """The arguments of a split's ``batches``, as Python's own numbers.

    Raises: ValueError for one that it cannot be.
    """
    try:
        which, shards = (whole("shard", each) for each in shard)
    except (TypeError, ValueError) as error:
        raise ValueError(f"shard must be (i, n), two integers, got {shard!r}") from (
            error
        )
    if not 0 <= which < shards:
        raise ValueError(f"shard must be (i, n) with 0 <= i < n, got {shard}")
    return (
        whole("batch_size", batch_size, 1),
        None if size is None else whole("size", size, 1),
        None if seed is None else whole("seed", seed),
        whole("epoch", epoch, 0),
        (which, shards),
    )
