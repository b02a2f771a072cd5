"""A whole network to scale: the volume of its feature maps from stage to stage.

Blocks are drawn by `course_lib.diagram`, where all boxes have one size. Here sizes are
what is shown: heights and widths shrink while channels grow, as in the figures that
lectures have of these networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from course_lib.summary import Summary

#: Inches of the drawing: its width, the height of the largest feature map, the least
#: distance from one volume to the next, and what a depth is drawn slanted by.
WIDTH, TALLEST, GAP, SLANT = 6.1, 1.6, 0.48, 0.35


class Volume(NamedTuple):
    """The feature maps of one stage."""

    #: Its name in the network.
    name: str
    #: Shape of its output: channels, height and width.
    shape: tuple[int, int, int]


def volumes(summary: Summary, stages: Sequence[str] | None = None) -> list[Volume]:
    """The image and the feature maps of these `stages`, or of all that have any.

    Raises: ValueError if a stage has another name, or none has feature maps.
    """
    rows = summary.stages if stages is None else [summary[name] for name in stages]
    shapes = [(row.name, row.shape) for row in rows if len(row.shape) == 3]
    if not shapes:
        raise ValueError(f"{summary.name} has no stage with feature maps (C, H, W)")
    every = [("image", summary.input_size), *shapes]
    return [Volume(name, (c, h, w)) for name, (c, h, w) in every]


def draw_volumes(
    axes: Axes,
    summary: Summary,
    color: str,
    *,
    stages: Sequence[str] | None = None,
) -> None:
    """Draw a box for the image and for the output of each stage: its height and its
    slanted depth are height and width of the feature maps, and its length the number of
    channels, each with one scale for the whole network.

    Raises: ValueError if a stage has another name, or none has feature maps.
    """
    found = volumes(summary, stages)
    pixel = TALLEST / max(volume.shape[1] for volume in found)
    free = WIDTH - sum(_gap(volume, pixel) for volume in found)
    channel = free / sum(volume.shape[0] for volume in found)
    x = 0.0
    for number, volume in enumerate(found):
        channels, height, width = volume.shape
        box = channels * channel, height * pixel, width * pixel * SLANT
        _draw_box(axes, x, box, color if number else "#767676")
        label = (
            volume.name + "\n" + "\n".join(map(str, (channels, f"{height}x{width}")))
        )
        axes.text(x, -0.55 * TALLEST, label, ha="left", va="top", fontsize=8)
        x += box[0] + _gap(volume, pixel)
    _draw_scales(axes, pixel, channel, max(v.shape[1] for v in found))
    axes.set(xlim=(-0.1, WIDTH + 0.1), ylim=(-1.05 * TALLEST, 1.05 * TALLEST))
    axes.set_aspect("equal")
    axes.axis("off")


def _gap(volume: Volume, pixel: float) -> float:
    return max(GAP, volume.shape[2] * pixel * SLANT + 0.12)


def _draw_box(
    axes: Axes, x: float, box: tuple[float, float, float], color: str
) -> None:
    """The front of a box, centered at the height of zero, its top and its side."""
    from matplotlib.patches import Polygon

    length, height, depth = box
    low, high = -height / 2, height / 2
    right = x + length
    faces = (
        ([(x, low), (right, low), (right, high), (x, high)], 0.35),
        (
            [
                (x, high),
                (right, high),
                (right + depth, high + depth),
                (x + depth, high + depth),
            ],
            0.15,
        ),
        (
            [
                (right, low),
                (right, high),
                (right + depth, high + depth),
                (right + depth, low + depth),
            ],
            0.6,
        ),
    )
    for corners, alpha in faces:
        axes.add_patch(Polygon(corners, facecolor=color, alpha=alpha, linewidth=0))
        axes.add_patch(Polygon(corners, fill=False, edgecolor=color, linewidth=0.8))


def _draw_scales(axes: Axes, pixel: float, channel: float, tallest: int) -> None:
    """A bar of pixels and a bar of channels, round numbers, at the upper right."""
    pixels = _round(tallest / 4)
    channels = _round(0.6 / channel)
    right, top = WIDTH, 1.0 * TALLEST
    axes.plot(
        [right, right],
        [top - pixels * pixel, top],
        color="black",
        linestyle="-",
        linewidth=1.5,
    )
    axes.text(
        right - 0.08,
        top - pixels * pixel / 2,
        f"{pixels} pixels",
        ha="right",
        va="center",
        fontsize=8,
    )
    low = top - pixels * pixel - 0.12
    axes.plot(
        [right - channels * channel, right],
        [low, low],
        color="black",
        linestyle="-",
        linewidth=1.5,
    )
    axes.text(
        right, low - 0.06, f"{channels} channels", ha="right", va="top", fontsize=8
    )


def _round(value: float) -> int:
    """The nearest of 1, 2, 4, 8, ... that is not above, and at least 1."""
    return 1 << max(int(value).bit_length() - 1, 0)
