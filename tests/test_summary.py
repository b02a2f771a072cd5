"""Shapes, parameters, MACs and memory, against torchvision's own figures, torch's
counter, and sums by hand. Receptive fields have a file of their own.
"""

import re
import sys
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib import (
    VGG,
    AlexNet,
    GoogLeNet,
    LeNet,
    NiN,
    ResNet,
    ZFNet,
    count_parameters,
    summarize,
)

LENET = """\
LeNet
stage   output shape  parameters     MACs   memory  receptive field
input   1 x 28 x 28
c1      6 x 28 x 28          156  117,600  18.8 kB                5
s2      6 x 14 x 14            0        0  14.1 kB                6
c3      16 x 10 x 10       2,416  240,000   6.4 kB               14
s4      16 x 5 x 5             0        0   4.8 kB               16
c5      120               48,120   48,000    480 B              all
f6      84                10,164   10,080    336 B              all
output  10                   850      840      0 B              all
total                     61,706  416,520  44.9 kB"""

#: All that torchvision has of the course's families, and others.
FAMILIES = ("alexnet", "vgg", "googlenet", "resnet", "resnext", "wide_resnet")
OTHERS = (
    *("densenet121", "densenet161", "mobilenet_v2", "mobilenet_v3_small"),
    *("efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "regnet_x_400mf"),
    *("convnext_tiny", "vit_b_16", "swin_t", "shufflenet_v2_x1_0", "squeezenet1_1"),
    *("mnasnet1_0", "inception_v3"),
)
THEIRS = [
    name
    for name in torchvision.models.list_models(module=torchvision.models)
    if name.startswith(FAMILIES) or name in OTHERS
]


def on_meta(name):
    """A network of torchvision, as its weights need it."""
    build = torchvision.models.get_model_builder(name)
    # Both would initialize from a truncated normal distribution, for seconds.
    quick = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if name.startswith("regnet"):
        return build().to("meta")  # initializes weights while it is built
    with torch.device("meta"):
        return build(**quick)


#: Larger ones of those that are there too, or in between.
LARGE = (
    *("densenet161", "efficientnet_v2_s", "resnext101_32x8d", "resnext101_64x4d"),
    *("wide_resnet101_2", "resnet34", "resnet101", "resnet152", "regnet_y_400mf"),
    *("vgg11", "vgg13", "vgg13_bn", "vgg16_bn", "vgg19", "vgg19_bn"),
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else [])
        for name in THEIRS
    ],
)
def test_equals_the_metadata_of_torchvisions_weights(name):
    weights = torchvision.models.get_model_weights(name).DEFAULT
    size = weights.transforms().crop_size[0]
    net = on_meta(name)
    # The figure of GoogLeNet leaves out the auxiliary classifiers, that of Inception v3
    # does not: torchvision removes the first when it loads the weights.
    auxiliary = (
        count_parameters(nn.ModuleList([net.aux1, net.aux2]))
        if name == "googlenet"
        else 0
    )
    summary = summarize(net, (3, size, size))
    assert summary.parameters - auxiliary == weights.meta["num_params"]
    assert round(summary.macs / 1e9, 3) == weights.meta["_ops"]
    assert sum(row.parameters for row in summary.layers) == summary.parameters
    assert sum(row.parameters for row in summary.stages) == summary.parameters
    for what in ("macs", "activations", "saved_bytes"):
        assert sum(getattr(row, what) for row in summary.layers) == getattr(
            summary, what
        )


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("alexnet", lambda: AlexNet("torchvision")),
        ("vgg16", lambda: VGG(16)),
        ("vgg11_bn", lambda: VGG(11, batch_norm=True)),
        ("googlenet", lambda: GoogLeNet("torchvision", aux=True)),
        ("resnet18", lambda: ResNet(18)),
        ("resnet50", lambda: ResNet(50)),
        pytest.param("resnet152", lambda: ResNet(152), marks=pytest.mark.slow),
    ],
)
def test_ours_cost_what_torchvisions_cost(name, ours):
    with torch.device("meta"):
        net = ours()
    one, two = summarize(net, (3, 224, 224)), summarize(on_meta(name), (3, 224, 224))
    for what in ("parameters", "macs", "saved_bytes"):
        assert getattr(one, what) == getattr(two, what)


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "densenet121", "googlenet"])
def test_macs_are_those_of_torchs_counter(name):
    net = on_meta(name).eval()
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, 224, 224, device="meta"))
    assert 2 * summarize(net, (3, 224, 224)).macs == counter.get_total_flops()


def test_table():
    assert str(summarize(LeNet("modern"), (1, 28, 28))) == LENET


LAYERS = """\
Sequential
layer  type               output shape  parameters  MACs  activations  memory  receptive field  stride   center
input                     1 x 5 x 7
0      Conv2d             2 x 3 x 5             20   270        120 B   120 B                3       1        1
1      ReLU               2 x 3 x 5              0     0          0 B     0 B                3       1        1
2      AdaptiveAvgPool2d  2 x 2 x 2              0     0         32 B     0 B            4 x 5   1 x 2  1.5 x 2
total                                           20   270        152 B   120 B"""  # noqa: E501


def test_table_of_layers():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2)
    )
    assert summarize(net, (1, 5, 7)).table("layers") == LAYERS


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (lambda: LeNet("paper"), (1, 32, 32)),
        (lambda: AlexNet("merged"), (3, 227, 227)),
        (lambda: ZFNet("wide"), (3, 224, 224)),
        (lambda: NiN("imagenet"), (3, 227, 227)),
        (lambda: VGG("E"), (3, 224, 224)),
        (lambda: GoogLeNet("paper", aux=True), (3, 224, 224)),
        (lambda: ResNet(152), (3, 224, 224)),
        (lambda: ResNet("cifar-110"), (3, 32, 32)),
    ],
)
def test_table_fits_the_page(build, size):
    with torch.device("meta"):
        net = build()
    assert max(map(len, str(summarize(net, size)).splitlines())) <= 88


class Cells(HTMLParser):
    """The texts of the cells, row by row, and all attributes."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.attributes, self.inside = [], set(), False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.attributes |= set(attrs)
        self.inside = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self.inside:
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data.strip()


def test_html_is_the_same_table():
    summary = summarize(LeNet("modern"), (1, 28, 28))
    cells = Cells(summary._repr_html_())
    lines = [re.split(r"\s{2,}", line) for line in LENET.splitlines()[1:]]
    assert [[c for c in row if c] for row in cells.rows] == lines
    # Nothing that runs, and no colors, which would not follow a dark page.
    assert cells.attributes == {
        ("style", "text-align: left"),
        ("style", "text-align: right"),
    }
    assert repr(summary) == str(summary) == summary.table()


def test_html_escapes_names_and_notes():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("<b>", nn.Linear(2, 2))

        def forward(self, x):
            return x

    html = summarize(Unused(), (2,)).html("layers")
    assert "<p>never used: &lt;b&gt; (6 parameters)</p>" in html


def test_pandas():
    summary = summarize(ResNet("small"), (1, 28, 28))
    layers, stages = summary.to_pandas(), summary.to_pandas("stages")
    assert len(layers) == len(summary.layers)
    assert layers["macs"].sum() == stages["macs"].sum() == summary.macs
    assert layers.set_index("name").loc["stem.0", "size"] == (3, 3)
    assert list(stages["name"]) == ["stem", "conv2_x", "conv3_x", "conv4_x", "head"]


def test_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        summarize(nn.ReLU(), (3,)).to_pandas()


def test_plot():
    summary = summarize(LeNet("modern"), (1, 28, 28))
    _, (layers, stages) = plt.subplots(1, 2)
    summary.plot(layers, "macs")
    summary.plot(stages, "saved_bytes", "stages")
    # Flatten has nothing to show; the others have parameters, MACs or memory.
    assert len(layers.patches) == len(summary.layers) - 1
    assert sum(bar.get_width() for bar in layers.patches) == 416_520
    assert [bar.get_width() for bar in stages.patches][:2] == [18_816, 14_112]
    assert stages.get_yticklabels()[0].get_text() == "c1"
    assert stages.get_ylim() == (6.5, -0.5)
    plt.close()


def test_rows_by_name():
    summary = summarize(LeNet("modern"), (1, 28, 28))
    assert summary["c3"] is summary.stages[2]
    assert summary["c3.0"].kind == "Conv2d"
    with pytest.raises(
        ValueError, match="no row has the name 'c4'; the stages are c1, s2, c3"
    ):
        summary["c4"]


def test_arguments_that_are_not_among_those_that_there_are():
    summary = summarize(nn.ReLU(), (3,))
    with pytest.raises(ValueError, match="rows must be one of 'stages', 'layers'"):
        summary.table("blocks")
    with pytest.raises(ValueError, match="what must be one of 'parameters', 'macs'"):
        summary.plot(None, "flops")


def test_leaves_the_network_unchanged():
    net = ResNet("small").train()
    net.conv2_x.eval()
    net.head[2].weight.requires_grad_(False)
    net(torch.zeros(2, 1, 28, 28)).sum().backward()
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    before = {name: value.detach().clone() for name, value in tensors.items()}
    versions = {name: value._version for name, value in tensors.items()}
    gradients = {name: p.grad for name, p in net.named_parameters()}
    modes = [module.training for module in net.modules()]
    torch.manual_seed(0)
    draws = torch.rand(3)
    torch.manual_seed(0)
    summarize(net, (1, 28, 28))
    summarize(net, torch.zeros(1, 28, 28))
    torch.testing.assert_close(torch.rand(3), draws, rtol=0, atol=0)
    assert modes == [module.training for module in net.modules()]
    after = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for name, tensor in after.items():
        assert tensor is tensors[name]
        assert torch.equal(tensor, before[name])
        assert tensor._version == versions[name]
    assert {name: p.grad for name, p in net.named_parameters()} == gradients
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


def test_leaves_the_network_unchanged_after_an_error():
    net = nn.Sequential(nn.Dropout(), nn.Linear(4, 4)).train()
    with pytest.raises(ValueError, match="Sequential cannot take an input of size 3"):
        summarize(net, (3,))
    assert all(module.training for module in net.modules())
    assert not nn.modules.module._global_forward_hooks


def test_wherever_the_weights_are():
    with torch.device("meta"):
        net = ResNet("small")
    there = summarize(net, (1, 28, 28))
    assert there == summarize(ResNet("small").double().float(), (1, 28, 28))
    with torch.inference_mode():
        assert there == summarize(ResNet("small"), (1, 28, 28))
    twice = summarize(ResNet("small").double(), (1, 28, 28))
    assert twice.saved_bytes == 2 * there.saved_bytes
    assert twice.macs == there.macs


def test_any_module_and_stages_in_the_order_they_run():
    class Crossed(nn.Module):
        def __init__(self):
            super().__init__()
            self.second = nn.Linear(3, 2)
            self.first = nn.Linear(4, 3)

        def forward(self, x):
            return self.second(self.first(x.flatten(1)))

    stages = summarize(Crossed(), (1, 2, 2)).stages
    assert [stage.name for stage in stages] == ["first", "second"]


def test_shared_parameters_count_once():
    layer = nn.Linear(4, 4)
    assert count_parameters(nn.Sequential(layer, layer)) == 20


def test_a_shared_layer_stays_as_it_is():
    layer = nn.Linear(4, 4)
    weight, bias = layer.weight, layer.bias
    assert summarize(nn.Sequential(layer, layer), (4,)).macs == 32
    assert layer.weight is weight
    assert layer.bias is bias


def test_an_input_that_does_not_fit():
    with pytest.raises(ValueError, match="smallest image that works is 28x28"):
        summarize(LeNet("modern"), (1, 8, 8))
    with pytest.raises(ValueError, match="Linear cannot take an input of size 3"):
        summarize(nn.Linear(4, 4), (3,))


@pytest.mark.parametrize("size", [224, (3, 0), (3, 2.5), "224"])
def test_a_size_that_is_none(size):
    with pytest.raises(ValueError, match=r"input_size must be \(C, H, W\), integers"):
        summarize(nn.ReLU(), size)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.layer = nn.Embedding(10, 4), nn.Linear(3, 4)
        self.layer.bias.requires_grad_(False)

    def forward(self, x, words, scale=1.0):
        return self.layer(x) + self.words(words).mean(1) * scale


def test_several_inputs():
    net, words = TwoInputs(), torch.zeros(2, 5, dtype=torch.long)
    sized = summarize(net, ((3,), (5,)), dtypes=[torch.float, torch.long])
    given = summarize(net, input_data=[torch.rand(2, 3), words])
    named = summarize(
        net, input_data={"x": torch.rand(2, 3), "words": words, "scale": 2.0}
    )
    assert sized == given == named
    assert sized.table().splitlines()[2].split(maxsplit=1) == ["input", "3, 5"]
    assert (sized.macs, sized.parameters, sized.frozen_parameters) == (12, 52, 4)


def test_either_a_size_or_data():
    with pytest.raises(ValueError, match="either input_size must be given or"):
        summarize(nn.ReLU(), (3,), input_data=torch.rand(1, 3))
    with pytest.raises(ValueError, match="only modules can be summarized, got 'x'"):
        summarize("x", (3,))


def test_a_name_with_dollars_is_no_formula():
    net = nn.Sequential()
    net.add_module("$\\frac{1$", nn.Conv2d(1, 1, 1))
    figure, axes = plt.subplots()
    summarize(net, (1, 4, 4)).plot(axes, "macs", "stages")
    figure.canvas.draw()
    plt.close()


def frozen():
    blocks = [nn.Sequential(nn.Conv1d(2, 2, 3, padding=1), nn.ReLU()) for _ in range(3)]
    net = nn.Sequential(nn.Conv1d(1, 2, 1), *blocks, nn.Flatten(), nn.Linear(8, 2))
    net[0].requires_grad_(False)
    net[1][0].bias.requires_grad_(False)
    return net


def test_tree():
    """Equal modules one after the other are one line."""
    lines = summarize(frozen(), (1, 4)).table("tree").splitlines()
    net = frozen()
    net[1][0].bias.requires_grad_(True)
    same = summarize(net, (1, 4)).table("tree").splitlines()
    first = [line.split()[0] for line in lines]
    assert first[3:] == ["Sequential", *"01012014", "5", "total"]
    assert [line.split("  ")[1].strip() for line in lines[4:6]] == ["0", "1"]
    assert "  1 to 3, 3 times  Sequential  2 x 4" in same[5]
    assert len(same) == 11
    flat = summarize(frozen(), (1, 4)).table(depth=1).splitlines()
    assert [line.split()[0] for line in flat[4:]] == ["0", "1", "2", "4", "5", "total"]
    tree = summarize(frozen(), (1, 4)).modules
    assert tree[0].macs == sum(row.macs for row in summarize(frozen(), (1, 4)).layers)
    assert tree[2][3:5] == (12, 48)


def test_choice_of_columns():
    summary = summarize(frozen(), (1, 4))
    chosen = ["kernel", "input shape", "trainable", "frozen", "percent", "calls"]
    lines = summary.table("layers", columns=chosen).splitlines()
    assert lines[3].split() == ["0", "1", "1", "x", "4", "no", "4", "6.2%", "1"]
    assert lines[4].split() == ["1.0", "3", "2", "x", "4", "partly", "2", "21.9%", "1"]
    assert lines[-1].split() == ["total", "yes", "6", "100.0%"] or "partly" in lines[-1]
    assert "<th" in summary.html("layers", columns=["MACs"])
    with pytest.raises(ValueError, match="columns must be one of 'type', 'kernel'"):
        summary.table(columns=["flops"])


def test_bytes_of_training():
    summary = summarize(frozen().half(), (1, 4))
    assert (summary.parameters, summary.frozen_parameters) == (58, 6)
    assert summary.parameter_bytes == 2 * 64
    assert summary.gradient_bytes == 2 * 58
    weights = {"sgd": 244, "momentum": 360, "adam": 476}
    for optimizer, expected in weights.items():
        there = summary.training_bytes(8, optimizer=optimizer)
        assert there == expected + 8 * summary.saved_bytes
    unknown = summarize(nn.Bilinear(2, 2, 2), input_data=[torch.rand(1, 2)] * 2)
    assert unknown.training_bytes(1) > 0
    with pytest.raises(ValueError, match="optimizer must be one of 'sgd', 'momentum'"):
        summary.training_bytes(1, "adamw8bit")


def test_parameters_only():
    summary = summarize(frozen())
    assert (summary.parameters, summary.frozen_parameters) == (58, 6)
    assert summary.notes == ("no input was given: only parameters are counted",)
    assert not summary.complete
    assert summary.saved_bytes is None
    assert summary.training_bytes() is None
    assert [row.name for row in summary.layers] == ["0", "1.0", "2.0", "3.0", "5"]
    assert summary.table().splitlines()[1].split() == ["stage", "parameters", "percent"]
    assert "MACs" not in summary.table("tree")
    assert list(summary.to_pandas("tree")["name"])[:4] == [
        "Sequential",
        "0",
        "1",
        "1.0",
    ]
    with pytest.raises(ValueError, match=r"0\.weight has no shape yet; give the size"):
        summarize(nn.Sequential(nn.LazyLinear(3)))


def test_a_list_of_modules_is_in_the_tree():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return x

    kinds = [row.kind for row in summarize(Net(), (np.int64(2),)).modules]
    assert kinds == ["Net", "ModuleList", "Linear", "Linear"]
