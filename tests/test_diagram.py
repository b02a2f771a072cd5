import copy
import hashlib
import itertools
import json
import math
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter, OrderedDict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
import torch.nn.functional as F
import torchvision
from matplotlib.ft2font import FT2Font
from torch import nn

from course_lib import (
    GoogLeNet,
    Inception,
    LeNet,
    Residual,
    ResNet,
    basic_block,
    bottleneck,
    diagram,
    nin_block,
    vgg_block,
)
from course_lib.catalog import NETWORKS
from course_lib.diagram import draw, draw_side_by_side
from course_lib.diagram.marks import text_width
from course_lib.diagram.ops import DRAWN_GROUPS, Op
from course_lib.diagram.structure import read
from course_lib.diagram.svg import LEGEND, PALETTE
from course_lib.googlenet import TABLE_1
from course_lib.lenet import PartialConv2d
from course_lib.normalization import BatchNorm2d
from course_lib.resnet import make_shortcut
from course_lib.tracing import inputs_of_size

ROOT = Path(__file__).parents[1]
TIMES = "\N{MULTIPLICATION SIGN}"


def residual(kind, body, in_channels, out_channels, stride):
    return Residual(body, make_shortcut(kind, in_channels, out_channels, stride))


#: Everything that a chapter draws, and what it takes.
#: Two networks of a family are drawn alike: one of each kind, the first in the catalog.
NETS = {
    (entry.family.name, entry.data, entry.compared): (name, entry)
    for name, entry in reversed(NETWORKS.items())
}
MODULES = {
    **{name: (entry.build, entry.input_size) for name, entry in NETS.values()},
    "GoogLeNet, aux": (lambda: GoogLeNet("paper", aux=True), (3, 224, 224)),
    "GoogLeNet small, aux": (lambda: GoogLeNet("small", aux=True), (1, 28, 28)),
    "ResNet-50": (lambda: ResNet(50), (3, 224, 224)),
    "ResNet-34 C": (lambda: ResNet(34, shortcut="C"), (3, 224, 224)),
    "plain": (lambda: ResNet("small-20", shortcut="none"), (1, 28, 28)),
    "vgg_block": (lambda: vgg_block(2, 64, 128), (64, 56, 56)),
    "nin_block": (lambda: nin_block(3, 96, 11, 4), (3, 224, 224)),
    "Inception": (lambda: Inception(192, TABLE_1["3a"]), (192, 28, 28)),
    "residual": (lambda: Residual(basic_block(64, 64, 1)), (64, 56, 56)),
    "bottleneck": (lambda: Residual(bottleneck(256, 64, 1)), (256, 56, 56)),
    **{
        f"shortcut {kind}": (
            lambda kind=kind: residual(kind, basic_block(64, 128, 2), 64, 128, 2),
            (64, 56, 56),
        )
        for kind in "ABC"
    },
    "SqueezeNet": (torchvision.models.squeezenet1_1, (3, 224, 224)),
    "torchvision's ResNet-18": (torchvision.models.resnet18, (3, 224, 224)),
    "torchvision's GoogLeNet": (
        lambda: torchvision.models.googlenet(init_weights=False),
        (3, 224, 224),
    ),
    "MobileNet": (torchvision.models.mobilenet_v3_small, (3, 224, 224)),
    "ShuffleNet": (torchvision.models.shufflenet_v2_x0_5, (3, 224, 224)),
    "DenseNet": (torchvision.models.densenet121, (3, 224, 224)),
}
#: What is drawn here alone.
DEEP = {
    f"ResNet-{depth}": (lambda depth=depth: ResNet(depth), (3, 224, 224))
    for depth in (34, 152)
}
FORMS = [*itertools.product(("stages", "blocks"), ("right", "down"))]


@cache
def module(name):
    """On the meta device: nothing is allocated."""
    build, size = (MODULES | DEEP)[name]
    with torch.device("meta"):
        return build(), size


@cache
def plan(name):
    net, size = module(name)
    return read(net, inputs_of_size(net, size))


@cache
def drawn(name, level=None, direction=None):
    """Forms are laid out from one plan, as a module is read the same for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagram, "read", lambda *_: plan(name))
        return draw(*module(name), level=level, direction=direction)


every_module = pytest.mark.parametrize("name", MODULES)
every_form = pytest.mark.parametrize(("level", "direction"), FORMS)


def each_form_of(names):
    """Both levels and both directions of each, in turn the one way around and the
    other; the remaining two forms are slow.
    """
    return pytest.mark.parametrize(
        ("name", "level", "direction"),
        [
            pytest.param(name, *form, marks=[] if quick else [pytest.mark.slow])
            for number, name in enumerate(names)
            for form in FORMS
            for quick in [(form in (FORMS[0], FORMS[3])) == (number % 2 == 0)]
        ],
    )


# -- reading a drawing back


@dataclass(frozen=True)
class Area:
    left: float
    top: float
    right: float
    bottom: float
    what: str
    owner: int = 0

    def meets(self, other, by=0.11):
        """Whether the two have more in common than rounding explains."""
        return (
            self.left < other.right - by
            and other.left < self.right - by
            and self.top < other.bottom - by
            and other.top < self.bottom - by
        )

    def holds(self, other, by=0.11):
        return (
            self.left <= other.left + by
            and self.top <= other.top + by
            and self.right >= other.right - by
            and self.bottom >= other.bottom - by
        )


@cache
def parse(svg):
    root = ET.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def style(element):
    return element.get("class", "").removeprefix("bb-")


@cache
def font(bold):
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return FT2Font(Path(mpl.get_data_path()) / "fonts/ttf" / name)


@cache
def true_width(character, bold=False):
    """In thousandths of the size, in the widest of the usual fonts."""
    face = font(bold)
    face.set_size(100, 72)
    return face.load_char(ord(character)).linearHoriAdvance / 65536 * 10


def rectangle(element):
    x, y, width, height = (
        float(element.get(key)) for key in ("x", "y", "width", "height")
    )
    return Area(x, y, x + width, y + height, style(element))


def words(element):
    x, y, size = (float(element.get(key)) for key in ("x", "y", "font-size"))
    bold = element.get("font-weight") is not None
    width = sum(true_width(character, bold) for character in element.text)
    width *= size / 1000
    before = {"start": 0, "middle": width / 2, "end": width}
    left = before[element.get("text-anchor")]
    sides = (left, size * 0.42, width - left, size * 0.42)
    if element.get("transform"):
        sides = (sides[1], sides[2], sides[3], sides[0])
    return Area(x - sides[0], y - sides[1], x + sides[2], y + sides[3], element.text)


def boxes(svg):
    """The rectangles, without the paper."""
    return [rectangle(element) for element in [*parse(svg).iter("rect")][1:]]


def texts(svg):
    return [words(element) for element in parse(svg).iter("text")]


def lines(svg):
    """The straight parts of the lines between boxes."""
    for path in parse(svg).iter("path"):
        if style(path) == "line":
            numbers = re.findall(r"[MLQ]([^MLQZ]*)", path.get("d"))
            points = []
            for part in numbers:
                values = [float(value) for value in part.split()]
                points += zip(values[::2], values[1::2], strict=True)
            for (x, y), (u, v) in itertools.pairwise(points):
                yield Area(min(x, u), min(y, v), max(x, u), max(y, v), "line")


def layers(svg):
    """The kind of each layer and what is written of it, as often as it is there."""
    found = []

    def look(element, times):
        if style(element) == "repeat" and element.tag == "g":
            direct = [text.text for text in element if text.tag == "text"]
            (count,) = (text for text in direct if text.startswith(f"{TIMES} "))
            times *= int(count.split()[1])
        if style(element) == "box":
            written = [text for text in element if text.tag == "text"]
            line = ", ".join(t.text for t in written if t.get("font-size") != "10")
            found.extend([(style(element[0]), line)] * times)
        else:
            for child in element:
                look(child, times)

    look(parse(svg), 1)
    return found


def labels(svg):
    """The shapes on the edges; (64, 2) for two lanes."""
    found = []
    for element in parse(svg).iter("text"):
        text = element.text.removesuffix(" each")
        if style(element) == "label" and re.fullmatch(rf"\d+({TIMES}\d+)*", text):
            found.append(tuple(map(int, text.split(TIMES))))
    return found


# -- what is drawn is what is there


def written(text):
    """Kernel, channels and stride of the convolutions in a box, as a reader takes them:
    of each group where a drawing may have a box for each, and this one has not.
    """
    kernel = re.search(rf"(\d+){TIMES}(\d+)", text)
    channels = re.search(r", (\d+)", text)
    stride = re.search(r"(?:/|stride )(\d+)", text)
    said = re.search(r"(\d+) groups", text)
    groups = int(said[1]) if said and int(said[1]) in DRAWN_GROUPS else 1
    one = (
        (int(kernel[1]), int(kernel[2])),
        int(channels[1]) // groups,
        int(stride[1]) if stride else 1,
    )
    return [one] * groups


def convolutions(net):
    """The same from the live modules."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            groups = layer.groups if layer.groups in DRAWN_GROUPS else 1
            channels = layer.out_channels // groups
            yield from [(layer.kernel_size, channels, layer.stride[0])] * groups
        elif isinstance(layer, PartialConv2d):
            yield tuple(layer.weight.shape[1:]), layer.out_channels, 1


@each_form_of(
    [name for name in MODULES if name != "DenseNet"],  # folds layers that are not equal
)
def test_every_convolution_has_its_kernel_channels_and_stride(name, level, direction):
    net, _ = module(name)
    boxes = layers(drawn(name, level, direction).svg)
    shown = Counter(
        conv for kind, text in boxes if kind == "conv" for conv in written(text)
    )
    assert shown == Counter(convolutions(net))


@each_form_of([name for name in MODULES if name != "DenseNet"])
def test_every_other_layer(name, level, direction):
    net, _ = module(name)
    boxes = layers(drawn(name, level, direction).svg)
    full = [
        int(re.search(r", (\d+)", text)[1]) for kind, text in boxes if kind == "full"
    ]
    assert sorted(full) == sorted(
        layer.out_features if isinstance(layer, nn.Linear) else len(layer.codes)
        for layer in net.modules()
        if isinstance(layer, nn.Linear) or hasattr(layer, "codes")
    )
    pools = Counter(
        (int(re.match(r"\d+", text)[0]), int((re.findall(r"\d+$", text) or [1])[0]))
        for kind, text in boxes
        if kind == "pool" and text[0].isdigit() and "subsampling" not in text
    )
    groups = 2 if name == "AlexNet" else 1  # that of conv5 is in both
    expected = Counter(
        (layer.kernel_size, layer.stride)
        for path, layer in net.named_modules()
        if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d)
        for _ in range(groups if path.startswith("conv5") else 1)
    )
    assert pools == expected


@cache
def measured(name):
    """The output shape of each layer, from running it with real values."""
    net, size = module(name)
    # Whatever values there are: it is about shapes. LeNet's tables matter, though.
    empty = copy.deepcopy(net).to_empty(device="cpu")
    net = LeNet("paper") if name == "LeNet-5" else empty
    shapes = {}

    def record(path):
        def hook(_layer, _input, output):
            if isinstance(output, torch.Tensor):
                shapes[path] = tuple(output.shape[1:])

        return hook

    for path, layer in net.named_modules():
        layer.register_forward_hook(record(path))
    with torch.no_grad():
        net(torch.zeros(2, *size))
    return shapes


#: Their fully connected layers take seconds to be filled.
LARGE = ("VGG-11", "VGG-13")
OURS = [name for name in list(MODULES)[:-6] if name not in (*LARGE, "ResNet-34 C")]


@each_form_of(OURS)
def test_shapes_on_the_edges_are_those_of_real_values(name, level, direction):
    _, size = module(name)
    real = {size, *measured(name).values()}
    if name == "AlexNet":
        real |= {(channels // 2, *pixels) for channels, *pixels in real}
    found = labels(drawn(name, level, direction).svg)
    assert found[0] == size
    assert {*found} <= real


@pytest.mark.parametrize("name", [name for name in OURS if "Net" in name])
def test_between_stages_every_shape_is_written(name):
    net, size = module(name)
    shapes = measured(name)
    stages = [path for path, _ in net.named_children() if path in shapes]
    aside = [path for path in shapes if re.fullmatch(r"aux\.\w+", path)]
    expected = {size, *(shapes[path] for path in (*stages, *aside))}
    assert {*labels(drawn(name, "stages", "down").svg)} == expected


def nodes(chain):
    for node in chain:
        yield node
        for part in (*getattr(node, "branches", ()), getattr(node, "body", ())):
            yield from nodes(part)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in LARGE])
def test_every_shape_of_a_plan_is_that_of_real_values(name):
    shapes = measured(name)
    ops = [node for node in nodes(plan(name)) if isinstance(node, Op)]
    assert sum(op.path in shapes for op in ops) > 1
    for op in ops:
        if op.path:
            assert op.shape == shapes[op.path]


# -- structure


def test_lenet_in_words():
    assert drawn("LeNet modern").alt.replace(TIMES, "x") == (
        "Input 1x28x28. c1: 5x5 conv, 6, ReLU. s2: 2x2 max pool, /2."
        " c3: 5x5 conv, 16, ReLU. s4: 2x2 max pool, /2."
        " c5: flatten; FC, 120, ReLU. f6: FC, 84, ReLU."
        " output: FC, 10. output 10."
    )


def test_lenet_of_1998_is_drawn_with_its_parts():
    kinds = Counter(layers(drawn("LeNet-5").svg))
    assert kinds == {
        ("conv", f"5{TIMES}5 conv, 6"): 1,
        ("pool", f"2{TIMES}2 subsampling, /2"): 2,
        ("conv", f"5{TIMES}5 partial conv, 16"): 1,
        ("conv", f"5{TIMES}5 conv, 120"): 1,
        ("other", "flatten"): 1,
        ("full", "FC, 84"): 1,
        ("full", "RBF, 10"): 1,
    }
    assert drawn("LeNet-5").alt.count("scaled tanh") == 6


def test_groups_of_alexnet():
    svg = drawn("AlexNet", "blocks", "down").svg
    root = parse(svg)
    stages = {
        group.get("id").rpartition("-")[2]: [
            rectangle(rect) for rect in group.iter("rect") if style(rect) == "conv"
        ]
        for group in root.iter("g")
        if style(group) == "stage"
    }
    assert [len(stages[f"conv{number}"]) for number in range(1, 6)] == [1, 2, 1, 2, 2]
    for number in (2, 4, 5):
        left, right = stages[f"conv{number}"]
        assert left.top == right.top
        assert left.right < right.left
    (whole,) = stages["conv3"]  # its input is of both
    assert (whole.left, whole.right) == pytest.approx((left.left, right.right), abs=0.2)
    one, other = stages["conv4"], stages["conv5"]
    assert [box.left for box in one] == [box.left for box in other]


def test_merged_alexnet_has_no_groups():
    svg = drawn("AlexNet merged", "blocks", "down").svg
    assert len([kind for kind, _ in layers(svg) if kind == "conv"]) == 5


def test_inception_is_figure_2b():
    """Four branches, the thin ones in the upper row, all four ends in the lower."""
    svg = drawn("Inception").svg
    upper, lower = {}, {}
    groups = [group for group in parse(svg).iter("g") if style(group) == "box"]
    found = [(rectangle(group[0]), group[1].text) for group in groups[:-1]]
    tops = sorted({area.top for area, _ in found})
    for area, text in found:
        (upper if area.top == tops[0] else lower)[area.left] = text
    assert len(tops) == 2
    assert [lower[x] for x in sorted(lower)] == [
        f"{size}{TIMES}{size} conv" for size in (1, 3, 5, 1)
    ]
    assert [upper[x] for x in sorted(upper)] == [
        f"1{TIMES}1 conv",
        f"1{TIMES}1 conv",
        f"3{TIMES}3",
    ]
    assert sorted(lower)[1:] == sorted(upper)
    assert groups[-1].find("text").text == "concat"


@pytest.mark.parametrize(
    ("depth", "counts"),
    [(18, [2]), (34, [3, 3, 5, 2]), (50, [2, 3, 5, 2]), (152, [2, 7, 35, 2])],
)
@every_form
def test_equal_blocks_are_folded(depth, counts, level, direction):
    svg = drawn(f"ResNet-{depth}", level, direction).svg
    found = re.findall(rf">{TIMES} (\d+)<", svg)
    assert [int(count) for count in found] == counts


@pytest.mark.parametrize("direction", ["right", "down"])
def test_shortcuts(direction):
    stride = ", /2" if direction == "down" else "stride 2"
    around = {
        "residual": "identity",
        "shortcut A": f"64 zero channels{stride}",
        "shortcut B": f"1{TIMES}1 conv",
        "shortcut C": f"1{TIMES}1 conv",
    }
    for name, words_of_it in around.items():
        svg = drawn(name, direction=direction).svg
        found = "".join(text.text for text in parse(svg).iter("text"))
        assert words_of_it in found
        assert "+" in found


def test_auxiliary_classifiers_are_drawn_in_training_mode():
    net = GoogLeNet("small", aux=True)
    training = draw(net, (1, 28, 28))
    assert "aux.inception_3b" in training.svg
    assert "aux.inception_4a" in training.svg
    assert training.svg.count(">10<") == 3
    evaluation = draw(net.eval(), (1, 28, 28))
    assert "aux" not in evaluation.svg
    assert evaluation == draw(GoogLeNet("small").eval(), (1, 28, 28))


def test_what_changes_in_a_module_changes_its_drawing():
    drawings = [
        draw(net, (1, 28, 28)).svg
        for net in (
            LeNet("modern"),
            LeNet("small"),
            LeNet("modern", activation=nn.Tanh),
            LeNet("modern", pool=nn.AvgPool2d),
            LeNet("modern", num_classes=100),
        )
    ]
    net = LeNet("modern")
    net.c1[0].stride = (2, 2)
    drawings.append(draw(net[:1], (1, 28, 28)).svg)
    net.c1[0].stride = (1, 1)
    drawings.append(draw(net[:1], (1, 28, 28)).svg)
    assert len({*drawings}) == len(drawings)


# -- modules that are not the course's


class Block(nn.Module):
    """As a chapter writes it by hand."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.norm1 = BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.conv2(y)
        y += x
        return F.relu(y)


def test_a_block_by_hand_is_followed_through_its_python():
    assert draw(Block(), (4, 8, 8)).alt.replace(TIMES, "x") == (
        "Input 4x8x8; (3x3 conv, 4, BN, ReLU; 3x3 conv, 4) + (input); ReLU;"
        " output 4x8x8."
    )
    assert "identity" in draw(Block(), (4, 8, 8)).svg


class Function(nn.Module):
    """Whatever a function makes of a layer and an input."""

    def __init__(self, function, layer=None):
        super().__init__()
        self.layer = layer or nn.Conv2d(4, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 4, 1)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def before_and_after(net, x):
    y = net.layer(x)
    x[:, :1] = 0
    return y + x


def two_joins(net, x):
    """Paths cross: the middle is neither in one branch nor in the other."""
    a, b = net.layer(x), net.other(x)
    middle = a + b
    return torch.cat([a, middle, b, x], 1)


def dense(net, x):
    """Two paths to one join, from different layers."""
    y = net.layer(x)
    return torch.cat([x, y, F.relu(y)], 1)


class Reader(nn.Module):
    """Takes a tensor from where no argument brings it."""

    def __init__(self, store):
        super().__init__()
        self.store, self.act = store, nn.ReLU()

    def forward(self, x):
        return self.act(x) + self.store[-1]


class Writer(nn.Module):
    def __init__(self):
        super().__init__()
        self.store = []
        self.layer, self.reader = nn.Conv2d(4, 4, 1), Reader(self.store)

    def forward(self, x):
        self.store.append(self.layer(x))
        return self.reader(x)


class Outlet(nn.Module):
    """Reads what a child made and did not return."""

    def __init__(self):
        super().__init__()
        self.writer = Writer()

    def forward(self, x):
        return self.writer(x) + self.writer.store[-1]


class Two(nn.Module):
    """Returns two values."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.one(x), self.other(x)


class Sum(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        one, other = self.part(x)
        return one + other


def test_modules_that_return_or_take_more_than_one_value_are_boxes():
    assert layers(draw(Sum(Two()), (4, 8, 8)).svg) == [
        ("other", "Two"),
        ("other", "add"),
    ]
    parts = nn.Sequential(nn.ReLU(), Two())
    assert layers(draw(parts, (4, 8, 8)).svg) == [("act", "ReLU"), ("other", "Two")]


@pytest.mark.parametrize("level", ["stages", "blocks"])
def test_branches_in_branches(level):
    """An Inception module in a branch of another, in a stage."""
    part = TABLE_1["3a"]._replace(pool_proj=64)
    inner = Inception(192, part)
    outer = Inception(192, part)
    outer.conv1x1 = inner
    net = nn.Sequential(OrderedDict(stage=nn.Sequential(outer)))
    drawing = draw(net, (192, 8, 8), level=level, direction="down")
    check_geometry(drawing.svg)
    boxes = layers(drawing.svg)
    shown = Counter(
        conv for kind, text in boxes if kind == "conv" for conv in written(text)
    )
    assert shown == Counter(convolutions(net))
    assert [text for kind, text in layers(drawing.svg) if kind == "join"] == (
        ["concat, 288", "concat, 512"] if level == "stages" else ["concat", "concat"]
    )


def test_other_layers():
    net = nn.Sequential(
        nn.ConvTranspose2d(4, 6, 2, stride=2),
        nn.PReLU(),
        nn.Conv2d(6, 6, 3, dilation=2, groups=6),
        nn.Conv2d(6, 12, (3, 1), stride=(2, 1), groups=2, bias=False),
        nn.AdaptiveMaxPool2d((1, 3)),
        nn.Sigmoid(),
        nn.Softmax(1),
    )
    assert draw(net, (4, 8, 8), direction="down").alt.replace(TIMES, "x") == (
        "Input 4x8x8; 2x2 transposed conv, 6, x2, PReLU;"
        " 3x3 depthwise conv, 6, dilation 2; 3x1 conv, 12, /2x1, 2 groups;"
        " max pool to 1x3, sigmoid, Softmax; output 12x1x3."
    )


def test_data_that_passes_by_is_noticed():
    assert layers(draw(Outlet(), (4, 8, 8)).svg) == [("other", "Outlet")]
    svg = draw(Writer(), (4, 8, 8)).svg
    assert layers(svg) == [("other", "Writer")]
    around = draw(nn.Sequential(nn.ReLU(), Writer()), (4, 8, 8)).svg
    assert layers(around) == [("act", "ReLU"), ("other", "Writer")]


def no_input(_net, x):
    return torch.zeros(2, 4, device=x.device)


def nothing(_net, _x):
    return None


@pytest.mark.parametrize(
    "function",
    [
        before_and_after,
        two_joins,
        dense,
        lambda net, x: (net.layer(x), net.other(x)),
        no_input,
        nothing,
    ],
)
def test_what_cannot_be_followed_is_one_box(function):
    svg = draw(Function(function), (4, 8, 8)).svg
    assert layers(svg) == [("other", "Function")]
    assert labels(svg)[0] == (4, 8, 8)


def test_torchvisions_transformer():
    with torch.device("meta"):
        net = torchvision.models.vit_b_16()
    alt = draw(net, (3, 224, 224)).alt.replace(TIMES, "x")
    block = (
        "12 times ((layer norm; MultiheadAttention; dropout 0) + (input); (input) +"
        " (layer norm; FC, 3072, GELU, dropout 0; FC, 768, dropout 0)); layer norm"
    )
    assert block in alt
    assert alt.startswith("Input 3x224x224. 16x16 conv, 768, /16. ")


def test_dense_blocks_are_drawn():
    """Each layer is given a list of all that came before it, which it concatenates."""
    found = Counter(layers(drawn("DenseNet", "blocks").svg))
    assert not found["other", "_DenseBlock"]
    net = torchvision.models.DenseNet(4, (2, 3), 8, num_classes=2)
    words = draw(net.features.denseblock1, (8, 8, 8)).alt
    layer = "(BN; ReLU; 1\N{MULTIPLICATION SIGN}1 conv, 16, BN, ReLU;"
    assert words.count(f"2 times (concat of (input), {layer}") == 1


def test_trees_of_sums_and_modules_of_several_inputs():
    class Up(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x, skip):
            return self.layer(torch.cat([x, skip], 1))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(nn.Linear(4, 4) for _ in range(6))
            self.up = Up()

        def forward(self, x):
            a, b, c, d, e, f = self.parts
            y, z = a(x), b(x)
            y, z = c(y) + d(y), e(z) + f(z)
            y = y + z
            return self.up(y.relu(), y)

    assert draw(Net(), (4,)).alt == (
        "Input 4; (FC, 4; (FC, 4) + (FC, 4)) + (FC, 4; (FC, 4) + (FC, 4)); concat of"
        " (ReLU), (input); FC, 4; output 4."
    )


# -- joins of any number, parts, constants, types


class Branches(nn.Module):
    """What a function makes of layers and an input."""

    def __init__(self, count, function):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(count))
        self.function = function

    def forward(self, x):
        return self.function(x, *self.layers)


def concatenated(x, *layers):
    return torch.cat([layer(x) for layer in layers], 1)


@every_form
@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 9])
def test_joins_of_any_number(count, level, direction):
    net = Branches(count, concatenated)
    drawing = draw(net, (8, 16, 16), level=level, direction=direction)
    check_geometry(drawing.svg)
    assert drawing.alt.count(f"1{TIMES}1 conv, 8") == count


def dense_by_hand(x, one, two, three):
    y = one(x)
    z = two(torch.cat([x, y], 1)[:, :8])
    w = three(torch.cat([x, y, z], 1)[:, :8])
    return torch.cat([x, y, z, w], 1)


@pytest.mark.parametrize(
    ("count", "function", "words_"),
    [
        (3, lambda x, a, b, c: a(x) + b(x) + c(x), "(C) + (C) + (C)"),
        (3, lambda x, a, b, c: c(x) + (a(x) + b(x)), "(C) + (C) + (C)"),
        (2, lambda x, a, b: x + a(x) + b(x), "(input) + (C) + (C)"),
        (4, lambda x, a, b, c, d: a(x) + b(x) + c(x) + d(x), "(C) + (C) + (C) + (C)"),
        (
            2,
            lambda x, a, b: torch.cat([x, a(x), b(x)], 1),
            "concat of (input), (C), (C)",
        ),
        (
            3,
            dense_by_hand,
            "concat of (input), (C); 2 times (concat of (input), (getitem; C)),"
            " each with 8 channels more",
        ),
    ],
)
def test_sums_of_sums_and_dense_connections(count, function, words_):
    drawing = draw(Branches(count, function), (8, 16, 16))
    check_geometry(drawing.svg)
    text = drawing.alt.replace(f"1{TIMES}1 conv, 8", "C")
    assert text.split("; ", 1)[1].rpartition("; output")[0] == words_


def test_a_sum_that_is_used_again_is_one_of_its_own():
    def function(x, a, b, c):
        y = a(x) + b(x)
        return y + c(y)

    text = draw(Branches(3, function), (8, 4, 4)).alt.replace(f"1{TIMES}1 conv, 8", "C")
    assert "(C) + (C); (input) + (C)" in text


@pytest.mark.parametrize("build", [torchvision.models.inception_v3])
@every_form
def test_branches_that_fork_again(build, level, direction):
    with torch.device("meta"):
        net = build(init_weights=False).eval()
    svg = draw(net, (3, 299, 299), level=level, direction=direction).svg
    check_geometry(svg)
    if level == "stages":  # what forks again stands further right
        start = svg.index(">Mixed_7b<")
        found = re.findall(r'<text x="([\d.]+)"[^>]*>([^<]+)<', svg[start:])[:5]
        first, before, one, other, join = (float(x) for x, _ in found)
        assert first < before < one == other < join  # which has no tags


@pytest.mark.parametrize(
    ("function", "words_"),
    [
        (lambda x, a: a(x).chunk(2, 1)[0], "C; first half"),
        (lambda x, a: torch.cat(a(x).split(2, 1)[1:3], 1), None),
        (
            lambda x, a: (lambda p: p[0] * p[1])(a(x).chunk(2, 1)),
            f"C; (first half) {TIMES} (second half)",
        ),
        (
            lambda x, a: (lambda p: p[0] + p[2])(a(x).unbind(1)),
            "C; (part 1 of 8) + (part 3 of 8)",
        ),
        (
            lambda x, a: torch.cat(a(x).tensor_split(3, 1), 1),
            "C; concat of (part 1 of 3), (part 2 of 3), (part 3 of 3)",
        ),
    ],
)
def test_parts_of_a_tensor_are_told_apart(function, words_):
    drawing = draw(Branches(1, function), (8, 16, 16))
    check_geometry(drawing.svg)
    text = drawing.alt.replace(f"1{TIMES}1 conv, 8", "C")
    assert "half" in text or "part" in text
    if words_:
        assert text.split("; ", 1)[1].rpartition("; output")[0] == words_


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.double])
def test_networks_of_any_precision(dtype):
    assert draw(LeNet("modern").to(dtype), (1, 28, 28)) == drawn("LeNet modern")


class Made(nn.Module):
    """Uses tensors that it makes, and one that is no buffer."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(8, 8), function
        self.mean, self.table = torch.zeros(8), [torch.ones(8)]

    def forward(self, x):
        return self.function(self, x)


@pytest.mark.parametrize(
    ("function", "words_"),
    [
        (lambda n, x: n.layer(x) + torch.arange(8).float(), "FC, 8; add"),
        (lambda n, x: n.layer(x - n.mean), "sub; FC, 8"),
        (lambda n, x: n.layer(x) * torch.ones(8, device=x.device), "FC, 8; mul"),
        (lambda n, x: n.layer(x) + n.layer(torch.zeros(1, 8)), "FC, 8; add"),
        (lambda n, x: n.layer(x) * n.table[0].exp(), "FC, 8; mul"),
    ],
)
def test_tensors_that_a_module_makes_or_holds(function, words_):
    assert draw(Made(function), (8,)).alt == f"Input 8; {words_}; output 8."


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (
            lambda x, *_: x.flatten(2).permute(2, 0, 1).unsqueeze(0).squeeze(0),
            [(8, 3, 5), (8, 15), (15, 8), (1, 15, 8), (15, 8)],
        ),
        (
            lambda x, *_: x.unflatten(1, (2, 4)).transpose(0, 1).relu(),
            [(8, 3, 5), (2, 4, 3, 5)],
        ),
        (lambda x, *_: x.flatten(0, 1).mT, [(8, 3, 5), (8, 5, 3)]),
    ],
)
def test_labels_where_the_batch_is_not_in_front(function, shapes):
    found = labels(draw(Branches(1, function), (8, 3, 5)).svg)
    assert [s for s, _ in itertools.groupby(found)] == shapes


def test_a_module_for_one_image():
    def function(x, *_):
        assert len(x) == 1
        return x * 2

    assert draw(Branches(1, function), (3, 8, 8)).alt.replace(TIMES, "x") == (
        "Input 3x8x8; mul; output 3x8x8."
    )


def test_an_image_instead_of_a_size():
    def function(x, *_):
        return torch.relu(x) if x.mean() > 0 else torch.tanh(x)

    net = Branches(1, function)
    with pytest.raises(ValueError, match="Branches calls item; give a tensor"):
        draw(net, (3,))
    assert "ReLU" in draw(net, torch.ones(3)).alt
    assert "tanh" in draw(net, -torch.ones(3)).alt


def test_a_module_that_takes_two_images_but_not_four():
    def function(x, *_):
        assert len(x) < 3
        return x.relu()

    assert (
        draw(Branches(1, function), (3, 8)).alt
        == f"Input 3{TIMES}8; ReLU; output 3{TIMES}8."
    )


def test_a_u_net():
    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 8, 3, 2, 1)
            self.u, self.d = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 1, 1)

        def forward(self, x):
            a = self.a(x)
            return self.d(torch.cat([self.u(self.b(a)), a], 1))

    assert draw(UNet(), (1, 16, 16)).alt.replace(TIMES, "x") == (
        "Input 1x16x16; 3x3 conv, 4; concat of (3x3 conv, 8, /2; 2x2 transposed conv,"
        " 4, x2), (input); 1x1 conv, 1; output 1x16x16."
    )


# -- what it looks like


@each_form_of(MODULES)
def test_nothing_overlaps_and_nothing_is_cut(name, level, direction):
    check_geometry(drawn(name, level, direction).svg)


def check_geometry(svg):
    page = rectangle_of_page(svg)
    around = ("panel", "repeat")
    areas, written = boxes(svg), texts(svg)
    circles = [
        Area(
            *(
                float(c.get(k)) + s * float(c.get("r"))
                for s in (-1, 1)
                for k in ("cx", "cy")
            ),
            "join",
        )
        for c in parse(svg).iter("circle")
    ]
    areas += circles
    for area in (*areas, *written):
        assert page.holds(area), area
    for one, other in itertools.combinations(areas, 2):
        if one.meets(other):  # then one is in the other, as a tag is in a box
            assert one.holds(other) or other.holds(one), (one, other)
    for one, other in itertools.combinations(written, 2):
        assert not one.meets(other), (one, other)
    for text, area in itertools.product(written, areas):
        if text.meets(area):
            assert area.holds(text), (text, area)
    solid = [area for area in areas if area.what not in around]
    for line in lines(svg):
        for area in solid:
            assert not line.meets(area, by=1), (line, area)
        for text in written:
            assert not line.meets(text, by=0.5), (line, text)


def rectangle_of_page(svg):
    _, _, width, height = map(float, parse(svg).get("viewBox").split())
    return Area(0, 0, width, height, "page")


@pytest.mark.parametrize("form", ["svg", "narrow"])
def test_nothing_overlaps_side_by_side(form):
    drawing = draw_side_by_side(FOUR, (192, 28, 28))
    check_geometry(getattr(drawing, form))
    titles = [words(t) for t in parse(drawing.svg).iter("text") if t.text in FOUR]
    assert [title.what for title in titles] == [*FOUR]
    assert len({title.top for title in titles}) == 1
    assert [title.left for title in titles] == sorted(title.left for title in titles)


FOUR = {
    "VGG block": vgg_block(2, 192, 192),
    "NiN block": nin_block(192, 192, 3, padding=1),
    "Inception": Inception(192, TABLE_1["3a"]),
    "Residual block": Residual(basic_block(192, 192, 1)),
}


@every_module
def test_a_drawing_fits_the_page(name):
    drawing = drawn(name)
    assert rectangle_of_page(drawing.svg).right <= 700
    phone = rectangle_of_page(drawing.narrow or drawing.svg).right
    assert phone * 0.75 <= 330  # as far as a phone may shrink it


def test_letters_are_not_wider_than_they_are_taken_for():
    printable = "".join(map(chr, range(32, 127))) + TIMES
    for character in printable:
        assert text_width(character, 1000) >= true_width(character) - 1
    for text in (
        f"3{TIMES}3 conv",
        "inception_3a",
        "average pool",
        "max pool",
        "fully connected",
    ):
        true = sum(true_width(character, bold=True) for character in text)
        assert text_width(text, 1000, bold=True) >= true


def test_to_the_right_and_down():
    for direction, axis in (("right", "left"), ("down", "top")):
        svg = draw(vgg_block(2, 3, 8), (3, 8, 8), direction=direction, legend=False).svg
        places = [
            getattr(area, axis) for area in boxes(svg) if area.what in ("conv", "pool")
        ]
        assert places == sorted(places)


def test_legend():
    found = [text.text for text in parse(drawn("Inception").svg).iter("text")]
    assert found[-4:] == ["convolution", "pooling", "activation", "join"]
    without = draw(*module("Inception"), legend=False)
    assert "convolution" not in without.svg
    assert "/2: stride 2" in drawn("VGG-11").svg


def luminance(color):
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """That of WCAG 2."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def dark_palette():
    css = (ROOT / "book/_static/course.css").read_text()
    found = dict(re.findall(r"--bb-([a-z-]+): (?:var\(.+, )?(#[0-9a-f]{6})", css))
    return {
        name: (found.get(name, "none"), found.get(f"{name}-line", "none"))
        for name in PALETTE
    }


@pytest.mark.parametrize("palette", [PALETTE, dark_palette()], ids=["light", "dark"])
def test_words_can_be_read_on_every_color(palette):
    assert {(name, line == "none") for name, (_, line) in palette.items()} == {
        (name, line == "none") for name, (_, line) in PALETTE.items()
    }
    for kind in (*LEGEND, "panel", "paper"):
        assert contrast(palette["ink"][0], palette[kind][0]) >= 4.5
    for kind in ("panel", "paper"):
        assert contrast(palette["label"][0], palette[kind][0]) >= 4.5
        assert contrast(palette["line"][1], palette[kind][0]) >= 3
    for kind in LEGEND:
        assert contrast(palette[kind][1], palette["paper"][0]) >= 3


#: What dichromats see: Machado, Oliveira and Fernandes (2009), severity 1.
VISIONS = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritan": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))


def lab(color, vision):
    """CIELAB of a color as someone with `vision` sees it."""

    def times(matrix, vector):
        return [sum(map(float.__mul__, map(float, row), vector)) for row in matrix]

    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    seen = [min(max(part, 0.0), 1.0) for part in times(VISIONS[vision], linear)]
    white = (0.9505, 1.0, 1.089)
    x, y, z = (
        math.cbrt(part / full)
        if part / full > 0.008856
        else 7.787 * part / full + 16 / 116
        for part, full in zip(times(XYZ, seen), white, strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("palette", [PALETTE, dark_palette()], ids=["light", "dark"])
def test_kinds_are_told_apart_by_color_blind_readers(palette, vision):
    for one, other in itertools.combinations(LEGEND, 2):
        first, second = (lab(palette[kind][0], vision) for kind in (one, other))
        assert math.dist(first, second) >= 10, (one, other)


# -- the file


@each_form_of(MODULES)
def test_a_plain_file(name, level, direction):
    svg = drawn(name, level, direction).svg
    root = parse(svg)
    elements = [*root.iter()]
    assert {element.tag for element in elements} <= {
        "svg",
        "title",
        "desc",
        "style",
        "g",
        "rect",
        "circle",
        "path",
        "text",
    }
    ids = [element.get("id") for element in elements if element.get("id")]
    assert len({*ids}) == len(ids)
    assert root.get("aria-labelledby").split() == ids[:2]
    assert root.get("role") == "img"
    assert root.find("title").text == type(module(name)[0]).__name__
    assert root.find("desc").text == drawn(name).alt
    assert not re.search(r"<script|\son\w+=|href|url\(", svg)
    # Editors that do not know CSS variables find the same colors as attributes.
    for element in elements:
        if element.tag in ("rect", "circle", "path", "text"):
            assert (element.get("fill"), element.get("stroke")) == PALETTE[
                style(element)
            ]
    for name_, colors in PALETTE.items():
        assert f".bb-{name_}{{" in root.find("style").text
        for color in colors:
            assert color in root.find("style").text


def test_ids_of_two_drawings_do_not_clash():
    one, other = drawn("ResNet-18").svg, drawn("ResNet-50").svg
    assert not {*re.findall(r' id="([^"]*)"', one)} & {
        *re.findall(r' id="([^"]*)"', other)
    }


def test_groups_have_the_names_of_modules():
    ids = re.findall(r' id="bb-\w{8}-([^"]*)"', drawn("AlexNet", "blocks").svg)
    assert ids[2:9] == [
        "conv1",
        "conv1.0",
        "conv1.2",
        "conv1.3",
        "conv2",
        "conv2.0",
        "conv2.0-2",
    ]


@pytest.mark.slow
def test_the_same_bytes_in_another_process():
    """As in test_summary_explorer.py and in test_pages.py, where drawings are compared
    that another process has written into a file.
    """
    program = (
        "import hashlib, json, torch\n"
        "from course_lib import GoogLeNet, ResNet\n"
        "from course_lib.diagram import draw\n"
        "with torch.device('meta'):\n"
        "    nets = GoogLeNet('small', aux=True), ResNet('small-20', shortcut='none')\n"
        "pages = [draw(net, (1, 28, 28))._repr_html_() for net in nets]\n"
        "digests = [hashlib.sha256(page.encode()).hexdigest() for page in pages]\n"
        "print(json.dumps(digests))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    pages = [drawn(name)._repr_html_() for name in ("GoogLeNet small, aux", "plain")]
    assert json.loads(result.stdout) == [
        hashlib.sha256(page.encode()).hexdigest() for page in pages
    ]


def test_in_a_notebook(tmp_path):
    drawing = drawn("LeNet modern")
    bundle = drawing._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == repr(drawing) == "Drawing of LeNet"
    assert bundle["image/svg+xml"] == drawing.svg
    assert drawing.svg in bundle["text/html"]
    assert drawing.narrow in bundle["text/html"]
    block = drawn("residual")
    assert not block.narrow
    assert block._repr_html_().count("<svg") == 1
    drawing.save(tmp_path / "lenet.svg")
    saved = ET.parse(tmp_path / "lenet.svg").getroot()
    assert ET.tostring(saved) == ET.tostring(ET.fromstring(drawing.svg))


# -- what it leaves alone, and what it refuses


def test_leaves_the_module_and_random_numbers_unchanged():
    net = GoogLeNet("small", aux=True)
    net.inception_3a.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [layer.training for layer in net.modules()]
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draw(net, (1, 28, 28))
    assert torch.equal(torch.rand(3), expected)
    assert [layer.training for layer in net.modules()] == modes
    assert all(
        torch.equal(value, before[name]) for name, value in net.state_dict().items()
    )
    for layer in net.modules():
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("LeNet", (1, 28, 28)), "only modules can be drawn, got 'LeNet'"),
        ((nn.ReLU(), 28), r"like \(3, 224, 224\), got 28"),
        ((nn.ReLU(), (0, 28, 28)), r"got \(0, 28, 28\)"),
        ((nn.ReLU(), ()), r"got \(\)"),
        ((nn.Linear(3, 4), (5,)), "Linear cannot take an input of size 5: "),
        ((LeNet("modern"), (1, 8, 8)), "smallest image that works is 28x28"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(*arguments)


def test_errors_leave_no_hooks():
    net = LeNet("modern")
    with pytest.raises(ValueError, match="LeNet cannot take"):
        draw(net, (1, 8, 8))
    assert not any(layer._forward_hooks for layer in net.modules())


def test_errors_of_words():
    with pytest.raises(
        ValueError, match="level must be one of 'stages', 'blocks'; got 'x'"
    ):
        draw(nn.ReLU(), (3,), level="x")
    with pytest.raises(
        ValueError, match="direction must be one of 'right', 'down'; got 'up'"
    ):
        draw(nn.ReLU(), (3,), direction="up")
    with pytest.raises(ValueError, match="there must be modules to draw"):
        draw_side_by_side({}, (3, 28, 28))


class OneByOne(nn.Module):
    """It goes through the images of a batch one by one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return torch.cat([self.conv(image[None]) for image in x])


def test_what_runs_once_an_image_is_drawn():
    drawing = draw(nn.Sequential(OneByOne(), nn.ReLU()), (3, 8, 8))
    assert "conv, 4" in drawing.alt
    assert "; ReLU; output 4" in drawing.alt


class Appending(nn.Module):
    """A layer whose output is appended to its input."""

    def __init__(self, channels: int, growth: int, kernel_size: int = 3) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(channels, growth, kernel_size, padding=padding)

    def forward(self, x):
        return torch.cat((x, self.conv(x)), 1)


def test_layers_that_append_are_folded():
    net = nn.Sequential(*(Appending(channels, 4) for channels in (3, 7, 11)))
    (node,) = read(net, inputs_of_size(net, (3, 8, 8)))
    assert (node.count, node.growth, node.shape) == (3, 4, (15, 8, 8))
    drawing = draw(net, (3, 8, 8))
    assert drawing.alt.count("conv") == 1
    assert "3 times (concat of (input), (3\u00d73 conv, 4)), each with 4" in drawing.alt
    assert "15\u00d78\u00d78" in drawing.svg


@pytest.mark.parametrize(
    "layers",
    [
        [Appending(3, 4), Appending(7, 5), Appending(12, 6)],
        [Appending(3, 4), Appending(7, 4, kernel_size=5)],
        [Appending(4, 4), Appending(8, 8)],
    ],
)
def test_layers_that_append_otherwise_are_not(layers):
    net = nn.Sequential(*layers)
    nodes = read(net, inputs_of_size(net, (layers[0].conv.in_channels, 8, 8)))
    assert len(nodes) == len(layers)


def test_dense_blocks_of_others_are_folded():
    """torchvision's, which keeps a list and joins it anew for each layer."""
    with torch.device("meta"):
        net = torchvision.models.DenseNet(8, (3, 2), 16)
    drawing = draw(net, (3, 64, 64))
    assert "3 times" in drawing.alt
    assert "2 times" in drawing.alt
    assert drawing.alt.count("each with 8 channels more") == 2


def test_sizes_in_lists():
    """As PyTorch's pooling layers keep them, if they are given so."""
    lists = nn.Sequential(nn.MaxPool2d([3, 2], [2, 1], [1, 0]), nn.AvgPool2d([2, 2]))
    tuples = nn.Sequential(nn.MaxPool2d((3, 2), (2, 1), (1, 0)), nn.AvgPool2d((2, 2)))
    assert draw(lists, (3, 8, 8)).svg == draw(tuples, (3, 8, 8)).svg
