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


class _Sides(NamedTuple):
    size: tuple[int, ...]
    stride: tuple[int | None, ...]
    center: tuple[float | None, ...]


class Field(_Sides):
    """A receptive field, along each axis of the image: its size in pixels; how far
    apart those of neighbors are, 0 if all are the same and None if it varies; the
    center of the first, 0 being the middle of the first pixel.

    As usual, windows count in full where they reach into the padding, so that the size
    does not depend on that of the image: it may be larger, also that of a convolution
    over a single position, of which only the middle of the kernel sees any. Channels
    are not told apart: the widest window of all of them counts, also for a part.
    """

    #: Whether pixels within the image are left out.
    gaps: bool = False

    def covers(self, image: Sequence[int]) -> bool:
        """Whether each element depends on all of an image of this size."""
        return not self.gaps and all(
            stride == 0 and center is not None and abs(2 * center - n + 1) <= size - n
            for size, stride, center, n in zip(*self, image, strict=True)
        )


class Factor(NamedTuple):
    """`positions`, each `jump` pixels after the one before. If they are `uneven`,
    that says how many pixels each is after the first, or is an object for telling them
    from others, and `jump` the pixels from the first to the last.
    """

    #: How many positions.
    positions: int
    #: From each to the next, in pixels; if uneven, from the first to the last.
    jump: int = 0
    #: How many pixels each is after the first; or an object, if that is unknown.
    uneven: object = None
    #: Of a single position, the dimension that it was before a reshape.
    home: int | None = None

    @property
    def reach(self) -> int:
        """The pixels from the first position to the last."""
        return self.jump if self.uneven else self.jump * (self.positions - 1)

    @property
    def places(self) -> int:
        """Where the positions are, as bits; if unknown, the first and the last."""
        offsets = self.offsets or (0, self.jump)
        return sum(1 << offset for offset in {*offsets})

    @property
    def offsets(self) -> tuple[int, ...] | None:
        """How many pixels each position is after the first; None if unknown."""
        if self.uneven:
            return self.uneven if isinstance(self.uneven, tuple) else None
        return tuple(self.jump * index for index in range(self.positions))


@dataclass(frozen=True)
class ReceptiveWindow:
    """What a tensor depends on along one axis: the factors of each of its dimensions,
    the outer ones first, and the window of its first element.
    """

    #: For each dimension of the tensor the factors that it has of this axis.
    dims: tuple[tuple[Factor, ...], ...]
    #: The first pixel of the window.
    start: int
    #: How many pixels it has.
    size: int
    #: Which pixels of the window count, as bits, the first one last.
    bits: int
    #: Those of the image that any element depends on are among these.
    seen: range
    #: The pixels of the image.
    pixels: int

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
        bits = spread(self.bits, self.places(dim))
        return replace(self._with(dim, Factor(count)), size=size, bits=bits)

    def places(self, *dims: int) -> int:
        """Where the windows begin, along `dims`, as bits."""
        bits = 1
        for dim in dims:
            for factor in self.dims[dim]:
                if factor.jump:
                    bits = spread(bits, factor.places)
        return bits

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
        if len(self.dims[dim]) > 1 or any(f.uneven for f in self.dims[dim]):
            reach, n = (kernel - 1) * dilation, self.shape[dim]
            firsts = [index * stride - padding for index in range(count)]
            return self.pick(
                dim,
                [
                    (min(max(at, 0), n - 1), max(min(at + reach, n - 1), 0))
                    for at in firsts
                ],
            )
        jump = self._jump(dim)
        taps = sum(1 << tap * dilation * jump for tap in range(kernel)) if jump else 1
        last = (count - 1) * stride - padding + (kernel - 1) * dilation
        return replace(
            self._with(dim, Factor(count, jump * stride)),
            start=self.start - padding * jump,
            size=self.size + (kernel - 1) * dilation * jump,
            bits=spread(self.bits, taps),
            seen=self._seen_from(dim, -padding * jump, last * jump),
        )

    def pick(self, dim: int, spans: Sequence[tuple[int, int]]) -> ReceptiveWindow:
        """Elements along `dim` that depend on the positions from the first to the last
        of each of `spans`.
        """
        at = self._offsets(dim)
        if at is None:
            raise UnknownReceptiveField("a window over unevenly spaced positions")
        pixels = [(at[first], at[last]) for first, last in spans]
        factors, start, more = _even(pixels, at[0])
        taps = {
            at[tap] - at[first]
            for first, last in spans
            for tap in range(first, last + 1)
        }
        if min(taps) < 0:
            raise UnknownReceptiveField("a window over positions out of order")
        dims = list(self.dims)
        dims[dim] = factors
        return replace(
            self,
            dims=tuple(dims),
            start=self.start + start,
            size=self.size + more,
            bits=spread(self.bits, sum(1 << tap for tap in taps)),
            seen=self._seen_from(dim, start, max(last for _, last in pixels)),
        )

    def _offsets(self, dim: int) -> list[int] | None:
        """How many pixels the position of each element is after the first."""
        offsets = [0]
        for factor in self.dims[dim]:
            if factor.offsets is None:
                return None
            offsets = [one + more for one in offsets for more in factor.offsets]
        return offsets

    def _seen_from(self, dim: int, first: int, last: int) -> range:
        """The pixels that are still seen if only some positions along `dim` are, in
        pixels from the first one.
        """
        others = self.reach(*range(len(self.dims))) - self.reach(dim)
        end = self.start + min(last, self.reach(dim)) + others + self.size
        begin = self.start + max(first, 0)
        return range(max(self.seen.start, begin), min(self.seen.stop, end))

    def adapt(self, dim: int, count: int) -> ReceptiveWindow:
        """Adaptive pooling to `count` windows."""
        n = self.shape[dim]
        if count == 1:
            return self.whole(dim, 1)
        if n % count == 0:
            return self.window(dim, count, n // count, n // count)
        return self.pick(
            dim,
            [(i * n // count, -(-(i + 1) * n // count) - 1) for i in range(count)],
        )

    def scatter(self, dim: int, count: int) -> ReceptiveWindow:
        """`count` positions between the first and the last, unevenly spaced."""
        reach = self.reach(dim)
        return self._with(dim, Factor(count, reach, object() if reach else None))

    def reshape(self, shape: Sequence[int]) -> ReceptiveWindow:
        """The same elements in the same order, in other dimensions."""
        if prod(shape) != prod(self.shape):
            raise UnknownReceptiveField("view")
        left, dims = self._at_home(), list[tuple[Factor, ...]]()
        for index, count in enumerate(shape):
            dim: list[Factor] = []
            while count > 1 or (not dim and left and _stays(left[0], index, shape)):
                factor = left.pop(0)
                if factor.home == index:
                    factor = factor._replace(home=None)
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

    def _at_home(self) -> list[Factor]:
        """All factors; of single positions with the dimensions that they are."""
        return [
            factor._replace(home=index)
            if factor.positions == 1 and factor.home is None
            else factor
            for index, dim in enumerate(self.dims)
            for factor in dim
        ]

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
        start = min(self.start, other.start)
        seen = range(
            min(self.seen.start, other.seen.start), max(self.seen.stop, other.seen.stop)
        )
        if self.dims == other.dims:
            stop = max(self.start + self.size, other.start + other.size)
            bits = self.bits << self.start - start | other.bits << other.start - start
            return replace(self, start=start, size=stop - start, bits=bits, seen=seen)
        for one, two in ((self, other), (other, self)):
            dims = [d for d, dim in enumerate(one.dims) if dim != two.dims[d]]
            stop = two.start + two.size + two.reach(*dims)
            inside = one.start <= two.start and stop <= one.start + one.size
            if inside and not one.reach(*dims):
                more = spread(two.bits, two.places(*dims)) << two.start - one.start
                return replace(one, bits=one.bits | more, seen=seen)
        return self._beside(other, seen)

    def _beside(self, other: ReceptiveWindow, seen: range) -> ReceptiveWindow | None:
        """What either depends on, element by element along the one dimension in which
        their positions differ.
        """
        dims = [d for d, dim in enumerate(self.dims) if dim != other.dims[d]]
        one, two = (each._offsets(dims[0]) for each in (self, other))
        if len(dims) > 1 or one is None or two is None:
            return None
        wide = max(self, other, key=lambda each: each.size)
        spans = [
            (
                min(self.start + first, other.start + second),
                max(self.start + first + self.size, other.start + second + other.size),
            )
            for first, second in zip(one, two, strict=True)
        ]
        factors, start, size = _even(spans, min(self.start, other.start))
        together = list(self.dims)
        together[dims[0]] = factors
        bits = wide.bits << max(wide.start - start, 0)
        return ReceptiveWindow(tuple(together), start, size, bits, seen, self.pixels)

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


def _stays(factor: Factor, index: int, shape: Sequence[int]) -> bool:
    """Whether a factor goes into dimension `index` of one element: a single position
    does, unless the dimension that it was comes later, behind others of one element.
    """
    if factor.positions > 1:
        return False
    home = factor.home or 0
    later = shape[index : home + 1] if index < home < len(shape) else ()
    return not later or any(count > 1 for count in later)


def _even(
    spans: Sequence[tuple[int, int]], least: int
) -> tuple[tuple[Factor, ...], int, int]:
    """Windows from the first to the last pixel of each of `spans`, made equally wide:
    their positions, the first one, and how much wider than a pixel they are.
    """
    more = max(last - first for first, last in spans)
    starts = [max(min(first, last - more), least) for first, last in spans]
    count, begin = len(starts), starts[0]
    offsets = tuple(start - begin for start in starts)
    times = offsets.count(0)
    step = offsets[times] if times < count else 0
    repeated = tuple(step * (index // times) for index in range(count))
    if offsets == repeated and count % times == 0:
        return _tidy([Factor(count // times, step), Factor(times)]), begin, more
    return (Factor(count, offsets[-1], offsets),), begin, more


def spread(bits: int, places: int) -> int:
    """All of `bits`, from each of `places`."""
    if bits == 1 or places == 1:
        return bits * places
    found = 0
    while places:
        lowest = places & -places
        found |= bits * lowest
        places ^= lowest
    return found


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
            tuple(_tidy([Factor(n, int(d == axis))]) for d, n in dims),
            start=0,
            size=1,
            bits=1,
            seen=range(shape[axis]),
            pixels=shape[axis],
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
    windows = [window for (window,) in state]
    along = [_along(window, windows) for window in windows]
    found = Field(
        tuple(size for size, _, _ in along),
        tuple(stride for _, stride, _ in along),
        tuple(center for _, _, center in along),
    )
    found.gaps = any(map(_has_gaps, windows))
    return found


def _has_gaps(window: ReceptiveWindow) -> bool:
    """Whether pixels of the image are left out within the first window."""
    whole = (1 << window.pixels) - 1
    start = window.start
    bits = window.bits << start if start > 0 else window.bits >> -start
    inside = (1 << len(window.seen)) - 1 << max(window.seen.start, 0)
    return bits & inside & whole != whole


def _along(
    window: ReceptiveWindow, windows: Sequence[ReceptiveWindow]
) -> tuple[int, int | None, float | None]:
    """Size, stride and center along one axis, of the windows along all."""
    maps = [factor for dim in window.dims[2:] for factor in dim if factor.jump]
    moving = maps or [factor for factor in window.factors if factor.jump]
    if any(factor.uneven for factor in window.factors if factor.jump):
        return window.size, None, None
    stride = min((factor.jump for factor in moving), default=0)
    center = window.start + (window.size - 1) / 2
    several = [dim for dim, factors in enumerate(window.dims) if len(factors) > 1]
    if any(_repeats(window, windows, dim) for dim in several):
        return window.size, None, center
    return window.size, stride, center


def _repeats(
    window: ReceptiveWindow, windows: Sequence[ReceptiveWindow], dim: int
) -> bool:
    """Whether some neighbors along `dim` have the same window: between two factors that
    move along this axis, or behind one, is one that moves along none.
    """
    spans = [span for each in windows for span in _spans(each.dims[dim])]
    outermost = max((stop for _, stop in _spans(window.dims[dim])), default=1)
    inner = 1
    while inner < outermost:
        inner = max((stop for start, stop in spans if start <= inner), default=inner)
        if not any(start <= inner < stop for start, stop in spans):
            return inner < outermost
    return False


def _spans(factors: Sequence[Factor]) -> list[tuple[int, int]]:
    """The factors that move: what is inside of each, and what with it."""
    spans, inner = [], 1
    for factor in reversed(factors):
        if factor.jump:
            spans.append((inner, inner * factor.positions))
        inner *= factor.positions
    return spans
