"""Draw what the first page shows: book/front/block.html and book/front/bubbles.html.

python -m tools.front            write them
python -m tools.front --check    fail if they are not what would be written
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
import torchvision

from course_lib import (
    VGG,
    AlexNet,
    GoogLeNet,
    Network,
    Residual,
    ResNet,
    basic_block,
    draw,
    summarize,
)
from course_lib.diagram import Drawing
from course_lib.diagram.marks import Circle, Line, Mark, Words
from course_lib.diagram.svg import svg

FRONT = Path(__file__).parents[1] / "book/front"

#: Name -> the net, the pixels of its pictures, its colour, and on which side its name
#: stands.
NETS: dict[str, tuple[Callable[..., Network], object, int, str, str]] = {
    "AlexNet": (AlexNet, "paper", 227, "full", "right"),
    "VGG-11": (VGG, 11, 224, "pool", "below"),
    "VGG-16": (VGG, 16, 224, "pool", "below"),
    "VGG-19": (VGG, 19, 224, "pool", "above"),
    "GoogLeNet": (GoogLeNet, "paper", 224, "norm", "left"),
    "ResNet-18": (ResNet, 18, 224, "conv", "right"),
    "ResNet-34": (ResNet, 34, 224, "conv", "right"),
    "ResNet-50": (ResNet, 50, 224, "conv", "left"),
    "ResNet-101": (ResNet, 101, 224, "conv", "below"),
    "ResNet-152": (ResNet, 152, 224, "conv", "above"),
}
ALT = (
    "ImageNet accuracy against operations, each network a bubble as large as its"
    " parameters. The ResNets and GoogLeNet lie above AlexNet and to the left of the"
    " VGGs, whose bubbles are by far the largest."
)
LEFT, RIGHT = math.log10(0.55), math.log10(32)  # GMAC
BOTTOM, TOP = 54, 81  # percent


def top1(name: str) -> float:
    """The accuracy on ImageNet that torchvision reports for its first weights."""
    weights = torchvision.models.get_model_weights(name.lower().replace("-", ""))
    return float(weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]["acc@1"])


@cache
def costs(name: str) -> tuple[float, float]:
    """Operations and parameters, both in thousand millions."""
    family, variant, size, *_ = NETS[name]
    with torch.device("meta"):
        summary = summarize(family(variant), (3, size, size))
    return summary.macs / 1e9, summary.parameters / 1e9


def bubbles(width: float, height: float) -> tuple[Mark, ...]:
    """The chart, its axes `width` by `height`."""

    def place(gmac: float, accuracy: float) -> tuple[float, float]:
        return (
            (math.log10(gmac) - LEFT) / (RIGHT - LEFT) * width,
            (TOP - accuracy) / (TOP - BOTTOM) * height,
        )

    marks: list[Mark] = []
    for percent in range(55, TOP, 5):
        _, y = place(1, percent)
        marks.append(Line(((0, y), (width, y)), head=False, style="panel"))
        marks.append(Words(-6, y, f"{percent}%", 11, "label", "end"))
    for tick in (1, 2, 5, 10, 20):
        x, _ = place(tick, TOP)
        marks.append(Line(((x, height), (x, height + 4)), head=False))
        marks.append(Words(x, height + 14, f"{tick}", 11, "label"))
    marks.append(Line(((0, height), (width, height)), head=False))
    axis = "thousand million operations for one picture"
    marks.append(Words(width / 2, height + 32, axis, 11.5, "label"))
    marks.append(Words(-34, -8, "ImageNet accuracy", 11.5, "label", "start"))
    names: list[Mark] = []
    scale = 60 + width / 30
    for name in sorted(NETS, key=lambda name: -costs(name)[1]):
        gmac, parameters = costs(name)
        x, y = place(gmac, top1(name))
        radius = scale * math.sqrt(parameters)
        marks.append(Circle(x, y, radius, NETS[name][3]))
        names.append(beside(x, y, radius, name))
    return (*marks, *names)


def beside(x: float, y: float, radius: float, name: str) -> Words:
    """The name of a bubble, on its side."""
    away = radius + 4
    dx, dy, anchor = {
        "left": (-away, 0.0, "end"),
        "right": (away, 0.0, "start"),
        "above": (0.0, -away - 5, "middle"),
        "below": (0.0, away + 6, "middle"),
    }[NETS[name][4]]
    return Words(x + dx, y + dy, name, 12, anchor=anchor)


def drawings() -> dict[str, Drawing]:
    """Each drawing by its name."""
    block = Residual(basic_block(64, 64, stride=1))
    title = "Accuracy and operations"
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
