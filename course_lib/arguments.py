"""What arguments may be: checks that several networks make, with the value received."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    for name, value in {"num_classes": num_classes, "in_channels": in_channels}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    return num_classes, in_channels


def check_one_of(accepted: tuple[str, ...], **values: str) -> None:
    """Raise the ValueError of a value that is not among `accepted`."""
    for name, value in values.items():
        if value not in accepted:
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, accepted))}; got {value!r}"
            )
