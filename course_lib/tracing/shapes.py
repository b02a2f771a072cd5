"""Shapes without the batch, which is not always their first dimension."""

from __future__ import annotations

Shape = tuple[int, ...]


def without_batch(
    one: Shape | None, two: Shape | None, four: Shape | None, *, alone: bool = False
) -> Shape:
    """The shape for one image, from those for one, two and four: the dimension that
    counts images is left out. If images are taken `alone`, one at a time, that is none.
    """
    first = one or two or ()
    if two and four and len(first) == len(two) == len(four):
        steps = [(more - less) // 2 for less, more in zip(two, four, strict=True)]
        at_one = tuple(n - step for n, step in zip(two, steps, strict=True))
        if one in (None, at_one) and (any(steps) or not alone):
            return tuple(
                n for n, step in zip(at_one, steps, strict=True) if not step == n == 1
            )
    return first[1:] if first[:1] in ((1,), (2,)) else first
