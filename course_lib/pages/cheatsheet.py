"""All networks on one sheet: when, why, what, how, and what it costs. On its back is
what came after ResNet.

The costs are computed, for one image of the size that the paper's network was made for;
the rest is in `IDEAS`, from the papers that each row cites. Chapter: Cheat sheet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import torch

from course_lib.catalog import FAMILIES, LATER, NETWORKS, Family
from course_lib.convnext import ConvNeXtBlock
from course_lib.densenet import dense_block
from course_lib.diagram import Drawing, draw_side_by_side
from course_lib.googlenet import TABLE_1, Inception
from course_lib.mobilenet import inverted_residual
from course_lib.nin import nin_block
from course_lib.resnet import Residual, basic_block, bottleneck
from course_lib.summary import Summary, summarize
from course_lib.vgg import vgg_block


@dataclass(frozen=True)
class Idea:
    """What the sheet says of a family."""

    #: The network that stands for it, by its name in the catalog.
    example: str
    #: The problem that it was made for.
    why: str
    #: What was new.
    what: str
    #: How the paper trained it.
    how: str


#: Family -> its idea. What is said here is in these sections of the papers: LeCun et
#: al. II and III, Krizhevsky et al. 3 to 5, Zeiler and Fergus 3 and 4, Simonyan and
#: Zisserman 2 and 3, Lin et al. 3 and 4, Szegedy et al. 4 to 6, He et al. 3; Zagoruyko
#: and Komodakis 2 and 3, Huang et al. 3 and 4, Xie et al. 3 and 4, Hu et al. 3 and 5,
#: Sandler et al. 3 and 6, Radosavovic et al. 3 and 5, Liu et al. 2 and 3.
IDEAS = {
    "LeNet": Idea(
        example="LeNet-5",
        why="Recognize digits without features made by hand",
        what="Convolution and subsampling in turn: kernels shared by all positions,"
        " feature maps smaller and more numerous",
        how="SGD, image by image; tanh; codes of the digits as targets",
    ),
    "AlexNet": Idea(
        example="AlexNet",
        why="A thousand classes, more than a million photographs",
        what="ReLU, dropout, overlapping pooling, local response normalization; grouped"
        " convolutions on two GPUs",
        how="SGD with momentum and weight decay, learning rate cut by hand; augmented"
        " by crops, reflections, colors",
    ),
    "ZFNet": Idea(
        example="ZFNet",
        why="Understand what the layers of AlexNet respond to",
        what="A deconvnet visualizes it; smaller kernels and strides in the first"
        " layers correct what it revealed",
        how="As AlexNet, on one GPU, without groups",
    ),
    "VGG": Idea(
        example="VGG-16",
        why="What depth alone does",
        what="3x3 only: two have the receptive field of a 5x5 and cost less; half the"
        " size, twice the channels",
        how="As AlexNet; deeper networks initialized with layers of a shallow one;"
        " images at several scales",
    ),
    "NiN": Idea(
        example="NiN",
        why="Better local features, and no fully connected layers that overfit",
        what="1x1 convolutions: an MLP at every position; global average pooling gives"
        " the class scores",
        how="As AlexNet, with dropout between the blocks",
    ),
    "GoogLeNet": Idea(
        example="GoogLeNet",
        why="Accuracy within a budget of computation",
        what="Parallel kernels of several sizes, channels first reduced by 1x1; global"
        " average pooling",
        how="Asynchronous SGD with momentum; two auxiliary classifiers, removed after"
        " training",
    ),
    "ResNet": Idea(
        example="ResNet-50",
        why="Deeper networks had a higher error, even in training",
        what="Skip connections: layers learn a residual; batch normalization after"
        " every convolution; bottlenecks",
        how="SGD with momentum and weight decay, learning rate cut at plateaus; He"
        " initialization; no dropout",
    ),
    "Wide ResNet": Idea(
        example="Wide ResNet-50-2",
        why="Very deep residual networks gain little with each layer, and are slow",
        what="Fewer and wider blocks; in a bottleneck, the 3x3 has twice the channels",
        how="SGD with Nesterov momentum and weight decay, learning rate cut in steps;"
        " for some, dropout inside the blocks",
    ),
    "DenseNet": Idea(
        example="DenseNet-121",
        why="Information should reach every layer, and nothing be learned twice",
        what="Each layer reads the concatenated feature maps of all before it in its"
        " block, and appends a few of its own",
        how="SGD with Nesterov momentum and weight decay, learning rate cut in steps;"
        " He initialization",
    ),
    "ResNeXt": Idea(
        example="ResNeXt-50",
        why="More accuracy at the same cost, by neither depth nor width",
        what="Cardinality: the 3x3 of a bottleneck in 32 groups, which pays for twice"
        " the channels",
        how="As ResNet",
    ),
    "SENet": Idea(
        example="SE-ResNet-50",
        why="Weight the channels by what is in the image",
        what="Squeeze and excitation: global average pooling, two fully connected"
        " layers, and a sigmoid for each channel",
        how="SGD with momentum, learning rate cut in steps; He initialization",
    ),
    "MobileNet": Idea(
        example="MobileNetV2",
        why="Accuracy within the means of a phone",
        what="Inverted residuals: wide inside with a depthwise 3x3, narrow where the"
        " skip connection joins them; no ReLU there",
        how="RMSprop with momentum and weight decay, learning rate lowered each epoch",
    ),
    "RegNet": Idea(
        example="RegNet-Y-400MF",
        why="How many blocks, and how wide? A rule in place of a search",
        what="Widths along a line, rounded to a few stages; blocks of ResNeXt, in kind"
        " Y with squeeze and excitation",
        how="SGD with momentum and a cosine schedule: many networks briefly, to compare"
        " designs, few for long",
    ),
    "ConvNeXt": Idea(
        example="ConvNeXt-T",
        why="What does a convolutional network lack beside a vision transformer?",
        what="Depthwise 7x7, inverted bottleneck, layer normalization and GELU once in"
        " a block, patches as stem",
        how="AdamW, cosine schedule, 300 epochs; mixup, CutMix, random erasing, label"
        " smoothing, stochastic depth",
    ),
}


def _rows(families: Iterable[Family]) -> dict[str, Family]:
    """The network of each row and its family, the oldest first."""
    oldest = sorted(families, key=lambda family: family.year)
    return {IDEAS[family.name].example: family for family in oldest}


#: The rows of the front and of the back: network -> family.
FRONT, BACK = _rows(FAMILIES.values()), _rows(LATER.values())
SHEET = FRONT | BACK


class CheatSheet:
    """`SHEET` with the costs, as tables that print on the front and back of a page."""

    def __init__(self) -> None:
        with torch.device("meta"):
            self.costs = {
                name: _costs(
                    summarize(NETWORKS[name].build(), NETWORKS[name].input_size)
                )
                for name in SHEET
            }
        self.blocks, self.later_blocks = blocks(), later_blocks()

    def __repr__(self) -> str:
        return "\n".join(
            f"{name} ({family.year}): {', '.join(self.costs[name])}"
            for name, family in SHEET.items()
        )

    def _repr_html_(self) -> str:
        front = self._side("From LeNet to ResNet", FRONT, self.blocks)
        return f"{front}\n{self._side('After ResNet', BACK, self.later_blocks)}"

    def _side(self, title: str, rows: dict[str, Family], drawing: Drawing) -> str:
        """A table, and the drawing below it."""
        titles = ("When", "Why", "What", "How", "Cost")
        head = "".join(f'<th scope="col">{title}</th>' for title in titles)
        body = "\n".join(self._row(name, family) for name, family in rows.items())
        return (
            f'<div class="cheatsheet">\n<table>\n<caption>{title}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
            f"{drawing._repr_html_()}</div>"
        )

    def _row(self, name: str, family: Family) -> str:
        link = f'<a href="{family.url}">{family.year}</a>'
        idea = IDEAS[family.name]
        texts = (idea.why, idea.what, idea.how)
        words = "".join(f"<td>{escape(text)}</td>" for text in texts)
        return (
            f'<tr><th scope="row">{name}<br>{link}</th>{words}'
            f"<td>{'<br>'.join(self.costs[name])}</td></tr>"
        )


def _costs(summary: Summary) -> list[str]:
    """What a network costs, in words."""
    assert summary.saved_bytes is not None
    maps = [row for row in summary.stages if len(row.shape) == 3 and row.shape[-1] > 1]
    sides = [row.field.size[0] for row in maps if row.field and row.field.stride[0]]
    # With squeeze and excitation, even a map of many positions depends on all pixels.
    side = sides[-1] if len(sides) == len(maps) else "all"
    return [
        f"{_short(summary.parameters)} parameters",
        f"{_short(summary.macs)} MACs",
        f"{_short(summary.saved_bytes)}B saved for backward",
        f"receptive field {side}, image {summary.input_size[-1]}",
    ]


def _short(number: int) -> str:
    """61,100,000 -> "61.1 M"."""
    power = (len(str(number)) - 1) // 3
    return f"{number / 1000**power:.3g} {('', 'k', 'M', 'G')[power]}"


def blocks() -> Drawing:
    """The ideas side by side, each for 192 feature maps of 28 by 28 pixels."""
    with torch.device("meta"):
        ideas = {
            "VGG block": vgg_block(2, 192, 192),
            "NiN block": nin_block(192, 192, 3, padding=1),
            "Inception": Inception(192, TABLE_1["3a"]),
            "Residual block": Residual(basic_block(192, 192, stride=1)),
        }
        return draw_side_by_side(ideas, (192, 28, 28))


def later_blocks() -> Drawing:
    """What came after ResNet, each for 256 feature maps of 28 by 28 pixels; without the
    block of SENet, which is higher than all others.
    """
    with torch.device("meta"):
        ideas = {
            "DenseNet": dense_block(1, 256, 32),
            "ResNeXt": Residual(bottleneck(256, 64, 1, groups=32, width_per_group=4)),
            "MobileNetV2": inverted_residual(256, 256, 1, expansion=6),
            "ConvNeXt": ConvNeXtBlock(256),
        }
        return draw_side_by_side(ideas, (256, 28, 28))
