"""All networks on one sheet: when, why, what, how, and what it costs.

The costs are computed, for one picture of the size that the paper's net was made for;
the rest is in the papers that each row cites. Chapter: Cheat sheet.
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

import torch

from course_lib.diagram import Drawing, draw_side_by_side
from course_lib.googlenet import TABLE_1, Inception
from course_lib.nin import nin_block
from course_lib.resnet import Residual, basic_block
from course_lib.summary import Summary, summarize
from course_lib.summary.explorer import NETWORKS
from course_lib.vgg import vgg_block


class Entry(NamedTuple):
    """One network: year and address of its paper, the problem that it was made for, the
    idea, how it was trained.
    """

    year: int
    url: str
    why: str
    what: str
    how: str


#: By their names in `course_lib.summary.explorer`. Sections of the papers: LeCun et
#: al. II and III, Krizhevsky et al. 3 to 5, Zeiler and Fergus 3 and 4, Lin et al. 3 and
#: 4, Simonyan and Zisserman 2 and 3, Szegedy et al. 4 to 6, He et al. 3.
SHEET = {
    "LeNet-5": Entry(
        1998,
        "https://doi.org/10.1109/5.726791",
        "Recognise digits without features made by hand",
        "Convolution and subsampling in turn: the same small kernels everywhere,"
        " smaller maps, more of them",
        "Gradient descent, picture by picture; tanh; codes of the digits as targets",
    ),
    "AlexNet": Entry(
        2012,
        "https://papers.nips.cc/paper/2012/hash/"
        "c399862d3b9d6b76c8436e924a68c45b-Abstract.html",
        "A thousand classes, more than a million photographs",
        "ReLU, dropout, overlapping pooling, response normalisation; two towers for"
        " two GPUs",
        "SGD with momentum and weight decay, the rate cut by hand; random crops,"
        " reflections and colours",
    ),
    "ZFNet": Entry(
        2013,
        "https://arxiv.org/abs/1311.2901",
        "See what the layers of AlexNet respond to",
        "A net run backwards shows it; smaller kernels and strides at the beginning"
        " repair what is seen",
        "As AlexNet, on one GPU, without towers",
    ),
    "NiN": Entry(
        2013,
        "https://arxiv.org/abs/1312.4400",
        "Better features at each pixel, and no full layers that overfit",
        "1x1 convolutions: a perceptron at every pixel; the mean of the last maps is"
        " the answer",
        "As AlexNet, with dropout between the blocks",
    ),
    "VGG-16": Entry(
        2014,
        "https://arxiv.org/abs/1409.1556",
        "What depth alone does",
        "Nothing but 3x3: two see as much as a 5x5, and cost less; half the size,"
        " twice the channels",
        "As AlexNet; the deeper nets begin with layers of a shallow one; photographs"
        " at several scales",
    ),
    "GoogLeNet": Entry(
        2014,
        "https://arxiv.org/abs/1409.4842",
        "Accuracy within a budget of operations",
        "Windows of several sizes side by side, thinned out by 1x1; the mean instead"
        " of full layers",
        "SGD with momentum on many machines; two auxiliary classifiers, which are"
        " thrown away",
    ),
    "ResNet-50": Entry(
        2015,
        "https://arxiv.org/abs/1512.03385",
        "Deeper nets became worse, even in training",
        "Layers learn what to add to their input; batch normalisation after every"
        " convolution; 1x1 around the 3x3",
        "SGD with momentum and weight decay, the rate cut at plateaus; He's"
        " initialisation; no dropout",
    ),
}


class CheatSheet:
    """`SHEET` with the costs, as a table that prints on one page."""

    def __init__(self) -> None:
        with torch.device("meta"):
            self.costs = {
                name: _costs(
                    summarize(NETWORKS[name].build(), NETWORKS[name].input_size)
                )
                for name in SHEET
            }
        self.blocks = _blocks()

    def __repr__(self) -> str:
        return "\n".join(
            f"{name} ({entry.year}): {', '.join(self.costs[name])}"
            for name, entry in SHEET.items()
        )

    def _repr_html_(self) -> str:
        titles = ("When", "Why", "What", "How", "Cost")
        head = "".join(f'<th scope="col">{title}</th>' for title in titles)
        rows = "\n".join(self._row(name, entry) for name, entry in SHEET.items())
        return (
            '<div class="cheatsheet">\n<table>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n"
            f"{self.blocks._repr_html_()}</div>"
        )

    def _row(self, name: str, entry: Entry) -> str:
        link = f'<a href="{entry.url}">{entry.year}</a>'
        words = "".join(f"<td>{escape(text)}</td>" for text in entry[2:])
        return (
            f'<tr><th scope="row">{name}<br>{link}</th>{words}'
            f"<td>{'<br>'.join(self.costs[name])}</td></tr>"
        )


def _costs(summary: Summary) -> list[str]:
    """What a net costs, in words."""
    assert summary.kept is not None
    fields = [row.field for row in summary.stages if row.field]
    seen = [field.size[0] for field in fields if field.stride[0]][-1]
    return [
        f"{_short(summary.parameters)} parameters",
        f"{_short(summary.macs)} MACs",
        f"{_short(summary.kept)}B kept in training",
        f"sees {seen} pixels, of {summary.input_size[-1]}",
    ]


def _short(number: int) -> str:
    """61,100,000 -> "61.1 M"."""
    power = (len(str(number)) - 1) // 3
    return f"{number / 1000**power:.3g} {('', 'k', 'M', 'G')[power]}"


def _blocks() -> Drawing:
    """The ideas side by side, each for 192 maps of 28 by 28 pixels."""
    with torch.device("meta"):
        blocks = {
            "VGG block": vgg_block(2, 192, 192),
            "NiN block": nin_block(192, 192, 3, padding=1),
            "Inception": Inception(192, TABLE_1["3a"]),
            "Residual block": Residual(basic_block(192, 192, stride=1)),
        }
        return draw_side_by_side(blocks, (192, 28, 28))
