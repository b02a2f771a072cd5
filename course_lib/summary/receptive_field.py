"""Receptive fields, traced through the operations that a network runs.

Along an axis of the image, element i of a tensor depends on `size` pixels, beginning at
`start` + `jump` * i. A sliding window over the tensor widens `size` and multiplies
`jump`: the recursion of Araujo, Norris and Sim (2019), "Computing receptive fields of
convolutional neural networks", doi:10.23915/distill.00021. Where paths meet, the widest
window counts. Reshaping moves elements and nothing else, so each dimension is
represented by its factors. What no rule covers is `UnknownReceptiveField`, never
guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class UnknownReceptiveField(Exception):  # noqa: N818 - where a trace ends; nothing went wrong
    """Why a receptive field cannot be traced any further."""


class Field(NamedTuple):
    """A receptive field, along each axis of the image: its size in pixels; how far
    apart those of neighbors are, 0 if all are the same and None if it varies; the
    center of the first, 0 being the middle of the first pixel.

    As usual, windows count in full where they reach into the padding. Channels are not
    told apart: the widest window of all of them counts, also for a part of them.
    """

    size: tuple[int, ...]
    stride: tuple[int | None, ...]
    center: tuple[float | None, ...]

    def covers(self, image: Sequence[int]) -> bool:
        """Whether each element depends on all of an image of this size."""
        return all(
            stride == 0 and center is not None and abs(2 * center - n + 1) <= size - n
            for size, stride, center, n in zip(*self, image, strict=True)
        )


class Factor(NamedTuple):
    """`positions`, each `jump` pixels after the one before. If they are `uneven`,
    that is an object for telling them from others, and `jump` the pixels from the first
    to the last.
    """

    positions: int
    jump: int = 0
    uneven: object = None

    @property
    def reach(self) -> int:
        """The pixels from the first position to the last."""
        return self.jump if self.uneven else self.jump * (self.positions - 1)


@dataclass(frozen=True)
class ReceptiveWindow:
    """What a tensor depends on along one axis: the factors of each of its dimensions,
    the outer ones first, and the window of its first element.
    """

    dims: tuple[tuple[Factor, ...], ...]
    start: int
    size: int

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return tuple(prod(factor.positions for factor in dim) for dim in self.dims)

    @property
    def factors(self) -> list[Factor]:
        """The factors of all dimensions."""
        return [factor for dim in self.dims for factor in dim]

    def reach(self, *dims: int) -> int:
        """The pixels from the first window to the last, along `dims`."""
        return sum(factor.reach for dim in dims for factor in self.dims[dim])

    def whole(self, dim: int, count: int) -> ReceptiveWindow:
        """`count` elements, each of which depends on what all along `dim` did."""
        size = self.size + self.reach(dim)
        return replace(self._with(dim, Factor(count)), size=size)

    def window(
        self,
        dim: int,
        count: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
    ) -> ReceptiveWindow:
        """`count` windows along `dim`."""
        if (count, kernel, stride, padding) == (self.shape[dim], 1, 1, 0):
            return self
        jump = self._jump(dim)
        return replace(
            self._with(dim, Factor(count, jump * stride)),
            start=self.start - padding * jump,
            size=self.size + (kernel - 1) * dilation * jump,
        )

    def adapt(self, dim: int, count: int) -> ReceptiveWindow:
        """Adaptive pooling to `count` windows."""
        n = self.shape[dim]
        if count == 1:
            return self.whole(dim, 1)
        if n % count == 0:
            return self.window(dim, count, n // count, n // count)
        widest = max(-(-(i + 1) * n // count) - i * n // count for i in range(count))
        more = (widest - 1) * self._jump(dim)
        return replace(self.scatter(dim, count, more), size=self.size + more)

    def scatter(self, dim: int, count: int, less: int = 0) -> ReceptiveWindow:
        """`count` positions between the first and the last, unevenly spaced."""
        reach = self.reach(dim) - less
        return self._with(dim, Factor(count, reach, object() if reach else None))

    def reshape(self, shape: Sequence[int]) -> ReceptiveWindow:
        """The same elements in the same order, in other dimensions."""
        if prod(shape) != prod(self.shape):
            raise UnknownReceptiveField("view")
        left, dims = self.factors, []
        for count in shape:
            dim: list[Factor] = []
            while count > 1 or (not dim and left and left[0].positions == 1):
                factor = left.pop(0)
                if count % factor.positions:
                    if factor.positions % count or factor.uneven:
                        raise UnknownReceptiveField("view")
                    inner = factor.positions // count
                    left.insert(0, Factor(inner, factor.jump))
                    factor = Factor(count, factor.jump * inner)
                dim.append(factor)
                count //= factor.positions
            dims.append(_tidy(dim))
        return replace(self, dims=tuple(dims))

    def permute(self, order: Iterable[int]) -> ReceptiveWindow:
        """The dimensions in another order."""
        return replace(self, dims=tuple(self.dims[dim] for dim in order))

    def expand(self, shape: Sequence[int]) -> ReceptiveWindow:
        """Broadcast to `shape`."""
        more = len(shape) - len(self.dims)
        dims = [
            dim if have == want else (Factor(want),)
            for dim, have, want in zip(
                ((),) * more + self.dims, (1,) * more + self.shape, shape, strict=True
            )
        ]
        return replace(self, dims=tuple(dims))

    def join(self, other: ReceptiveWindow) -> ReceptiveWindow | None:
        """What either depends on; None if that does not have the form of a window."""
        if self.dims == other.dims:
            start = min(self.start, other.start)
            stop = max(self.start + self.size, other.start + other.size)
            return replace(self, start=start, size=stop - start)
        for one, two in ((self, other), (other, self)):
            dims = [d for d, dim in enumerate(one.dims) if dim != two.dims[d]]
            stop = two.start + two.size + two.reach(*dims)
            inside = one.start <= two.start and stop <= one.start + one.size
            if inside and not one.reach(*dims):
                return one
        return None

    def _jump(self, dim: int) -> int:
        """The jump along `dim`, where that is one number."""
        factors = self.dims[dim] or (Factor(1),)
        if len(factors) > 1 or factors[0].uneven:
            raise UnknownReceptiveField("a window over unevenly spaced positions")
        return factors[0].jump

    def _with(self, dim: int, factor: Factor) -> ReceptiveWindow:
        dims = list(self.dims)
        dims[dim] = _tidy([factor])
        return replace(self, dims=tuple(dims))


def _tidy(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """The shortest way to write the same positions. A single position has a jump as
    well: that of a feature map which happens to be of one pixel.
    """
    tidy: list[Factor] = []
    for factor in factors:
        outer = tidy[-1] if tidy else None
        if (
            outer
            and outer.jump == factor.jump * factor.positions
            and not outer.uneven
            and not factor.uneven
        ):
            tidy[-1] = Factor(outer.positions * factor.positions, factor.jump)
        elif factor.positions > 1:
            tidy.append(factor)
    return tuple(tidy or [factor for factor in factors if factor.jump][:1])


#: For each axis, windows that count together: more than one where paths have met that
#: differ in their strides, as those of queries and keys until the sum over all keys.
State: TypeAlias = tuple[tuple[ReceptiveWindow, ...], ...]


def image(shape: Sequence[int]) -> State:
    """The state of the input (N, C, ...): each pixel depends on itself."""

    def along(axis: int) -> ReceptiveWindow:
        dims = enumerate(shape)
        return ReceptiveWindow(
            tuple(_tidy([Factor(n, int(d == axis))]) for d, n in dims), 0, 1
        )

    return tuple((along(axis),) for axis in range(2, len(shape)))


def unite(windows: Iterable[ReceptiveWindow]) -> tuple[ReceptiveWindow, ...]:
    """The same windows in fewer windows."""
    united: list[ReceptiveWindow] = []
    for window in windows:
        new = window
        for old in tuple(united):
            if joined := old.join(new):
                united.remove(old)
                new = joined
        united.append(new)
    return tuple(united)


def field(state: State) -> Field:
    """The field of a state. Raises: UnknownReceptiveField if it has no single one."""
    if any(len(windows) > 1 for windows in state):
        raise UnknownReceptiveField("paths that diverge")
    along = [_along(window) for (window,) in state]
    return Field(
        tuple(size for size, _, _ in along),
        tuple(stride for _, stride, _ in along),
        tuple(center for _, _, center in along),
    )


def _along(window: ReceptiveWindow) -> tuple[int, int | None, float | None]:
    """Size, stride and center."""
    moving = [factor for factor in window.factors if factor.jump]
    if any(factor.uneven for factor in moving):
        return window.size, None, None
    stride = min((factor.jump for factor in moving), default=0)
    return window.size, stride, window.start + (window.size - 1) / 2
