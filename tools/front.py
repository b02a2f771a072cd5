"""Draw what the first page shows: book/front/block.html and book/front/bubbles.html.

python -m tools.front            write them
python -m tools.front --check    fail if they are not what would be written
"""

from __future__ import annotations

import math
import sys
from functools import cache
from pathlib import Path

import torch

from course_lib import Residual, basic_block, draw, summarize
from course_lib.catalog import NETWORKS
from course_lib.diagram import Drawing
from course_lib.diagram.marks import Circle, Element, Label, Line
from course_lib.diagram.svg import svg

FRONT = Path(__file__).parents[1] / "book/front"

#: The networks of the chart, with their accuracy on ImageNet.
NETS = {
    name: (entry, accuracy)
    for name, entry in NETWORKS.items()
    if entry.compared and (accuracy := entry.imagenet_accuracy())
}

#: Family -> the style of its bubbles: the color of the drawings that is nearest to the
#: family's color in the chart of the comparison chapter.
COLORS = dict(
    zip(
        dict.fromkeys(entry.family.name for entry, _ in NETS.values()),
        ("conv", "pool", "norm", "full", "act", "join"),
        strict=False,
    )
)

#: Where a bubble's name does not stand on its right, because another one is there.
SIDES = {
    "VGG-11": "below",
    "VGG-16": "below",
    "VGG-19": "above",
    "GoogLeNet": "left",
    "ResNet-50": "left",
    "ResNet-101": "below",
    "ResNet-152": "above",
}
ALT = (
    "Top-1 accuracy on ImageNet against MACs, each network a bubble whose area is its"
    " number of parameters. The ResNets and GoogLeNet lie above AlexNet and to the left"
    " of the VGGs, whose bubbles are by far the largest."
)
LEFT, RIGHT = math.log10(0.55), math.log10(32)  # GMAC
BOTTOM, TOP = 54, 81  # percent


@cache
def costs(name: str) -> tuple[float, float]:
    """MACs and parameters, both in billions."""
    entry, _ = NETS[name]
    with torch.device("meta"):
        summary = summarize(entry.build(), entry.input_size)
    return summary.macs / 1e9, summary.parameters / 1e9


def bubbles(width: float, height: float) -> tuple[Element, ...]:
    """The chart, its axes `width` by `height`."""

    def position(gmac: float, accuracy: float) -> tuple[float, float]:
        return (
            (math.log10(gmac) - LEFT) / (RIGHT - LEFT) * width,
            (TOP - accuracy) / (TOP - BOTTOM) * height,
        )

    marks: list[Element] = []
    for percent in range(55, TOP, 5):
        _, y = position(1, percent)
        marks.append(Line(((0, y), (width, y)), head=False, style="panel"))
        marks.append(Label(-6, y, f"{percent}%", 11, "label", "end"))
    for tick in (1, 2, 5, 10, 20):
        x, _ = position(tick, TOP)
        marks.append(Line(((x, height), (x, height + 4)), head=False))
        marks.append(Label(x, height + 14, f"{tick}", 11, "label"))
    marks.append(Line(((0, height), (width, height)), head=False))
    axis = "multiply-accumulates (MACs) per image, billions"
    marks.append(Label(width / 2, height + 32, axis, 11.5, "label"))
    marks.append(Label(-34, -8, "ImageNet top-1 accuracy", 11.5, "label", "start"))
    names: list[Element] = []
    scale = 60 + width / 30
    for name in sorted(NETS, key=lambda name: -costs(name)[1]):
        gmac, parameters = costs(name)
        x, y = position(gmac, NETS[name][1])
        radius = scale * math.sqrt(parameters)
        marks.append(Circle(x, y, radius, COLORS[NETS[name][0].family.name]))
        names.append(beside(x, y, radius, name))
    return (*marks, *names)


def beside(x: float, y: float, radius: float, name: str) -> Label:
    """The name of a bubble, on its side."""
    away = radius + 4
    dx, dy, anchor = {
        "left": (-away, 0.0, "end"),
        "right": (away, 0.0, "start"),
        "above": (0.0, -away - 5, "middle"),
        "below": (0.0, away + 6, "middle"),
    }[SIDES.get(name, "right")]
    return Label(x + dx, y + dy, name, 12, anchor=anchor)


def drawings() -> dict[str, Drawing]:
    """Each drawing by its name."""
    block = Residual(basic_block(64, 64, stride=1))
    title = "Accuracy and MACs"
    wide, narrow = (
        svg(bubbles(*size), title, ALT, legend=False)
        for size in ((590, 300), (280, 300))
    )
    return {
        "block": draw(block, (64, 56, 56)),
        "bubbles": Drawing(title, ALT, wide, narrow),
    }


def main() -> None:
    stale = []
    FRONT.mkdir(exist_ok=True)
    for name, drawing in drawings().items():
        path, html = FRONT / f"{name}.html", drawing._repr_html_()
        if "--check" not in sys.argv:
            path.write_text(html, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != html:
            stale.append(path.name)
    sys.exit(f"{', '.join(stale)}: run python -m tools.front" if stale else 0)


if __name__ == "__main__":
    main()
