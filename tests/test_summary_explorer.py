"""The numbers of the explorer are those of `summarize`. Its script runs here, in an
engine for JavaScript that comes as a package.
"""

import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from py_mini_racer import JSEvalException, MiniRacer
from torch import nn

from course_lib import (
    Network,
    alexnet,
    convnext,
    densenet,
    googlenet,
    mobilenet,
    nin,
    resnet,
    summarize,
    vgg,
    zfnet,
)
from course_lib.catalog import FAMILIES, NETWORKS
from course_lib.summary.explorer import EXPLORED, Explorer, plan, stages
from tools import explorer as tool

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "book/_static"
SCRIPT = (STATIC / "explorer.js").read_text(encoding="utf-8")

tool.network = cache(tool.network)  # it is asked for the file, and one by one


@pytest.fixture(scope="module")
def call():
    """Call a function of the script on a network of the page, with more arguments."""
    with MiniRacer() as engine:
        engine.eval(SCRIPT)
        engine.eval((STATIC / "networks.js").read_text(encoding="utf-8"))
        engine.eval(
            "const call = (code, name, ...more) =>"
            " JSON.stringify(eval(code)(xray.networks[name], ...more))"
        )

        def call(function, name, *more):
            arguments = ", ".join(map(json.dumps, (function, name, *more)))
            return json.loads(engine.eval(f"call({arguments})"))

        yield call


def built(name):
    with torch.device("meta"):
        return NETWORKS[name].build()


def of_summarize(net, channels, size):
    """The stages as the script writes them."""
    return [
        {
            "name": row.name,
            "parameters": row.parameters,
            "macs": row.macs,
            "activations": row.activations,
            "saved_bytes": row.saved_bytes,
            "shape": list(row.shape),
            "field": row.field.size[0],
            "stride": row.field.stride[0],
            "center": row.field.center[0],
            "all": row.field.covers((size, size)),
        }
        for row in summarize(net, (channels, size, size)).stages
    ]


def of_script(rows):
    """Where strides vary, there is no center."""
    return [row | ({"center": None} if row["stride"] is None else {}) for row in rows]


#: More of the steps of ResNet-50.
DEEP = ("ResNet-101", "ResNet-152")
#: One of each family.
FIRST = {entry.family.name: name for name, entry in reversed(EXPLORED.items())}


@pytest.mark.parametrize(
    ("name", "others"),
    [
        *(
            (name, 3 if name in FIRST.values() else 0 if name in DEEP else 1)
            for name in EXPLORED
        ),
        *(
            pytest.param(name, 3, marks=pytest.mark.slow)
            for name in EXPLORED
            if name not in FIRST.values()
        ),
    ],
)
def test_every_number_is_that_of_summarize(call, name, others):
    """For its own size, and for up to three `others`: the first of a family is tried
    with all of them, the rest with one that is not the same for all.
    """
    net, (channels, size, _) = built(name), NETWORKS[name].input_size
    smallest, largest = call("xray.sizes", name)
    sizes = {smallest, size + 1, min(largest, 2 * size)} - {size}
    assert len(sizes) >= 2
    if name.startswith("ConvNeXt"):
        # Of a map with a single position, `summarize` loses the field in a block, where
        # positions and channels change places.
        sizes.remove(smallest)
    turn = [*EXPLORED].index(name) % len(sizes)
    order = [*sorted(sizes)[turn:], *sorted(sizes)[:turn]]
    for pixels in (size, *order[:others]):
        rows = of_script(call("xray", name, pixels))
        assert rows == of_summarize(net, channels, pixels)


@pytest.mark.parametrize("name", EXPLORED)
def test_the_sizes_that_a_network_takes(call, name):
    net = nn.Sequential(*built(name))  # does not search for words for its errors
    channels = NETWORKS[name].input_size[0]
    smallest, largest = call("xray.sizes", name)
    sizes = [smallest - 1] if smallest > 1 else []
    for size in (*sizes, *([largest + 1] if largest < 1024 else [])):
        with pytest.raises(JSEvalException, match="RangeError"):
            call("xray", name, size)
        with pytest.raises(ValueError, match="cannot take an input"):
            summarize(net, (channels, size, size))


def half(numbers):
    return tuple(number // 2 for number in numbers)


def halve_alexnet(row):
    convs = tuple(c._replace(out_channels=c.out_channels // 2) for c in row.convs)
    return row._replace(convs=convs, hidden=row.hidden // 2)


def halve_googlenet(row):
    first, *channels = row.stem
    modules = {
        name: googlenet.InceptionChannels(*half(each))
        for name, each in row.modules.items()
    }
    return row._replace(stem=(first, *half(channels)), modules=modules)


def halve_nin(row):
    data, rows = row
    return data, tuple(each._replace(channels=half(each.channels)) for each in rows)


def halve_vgg(row):
    blocks = tuple((convs, channels // 2) for convs, channels in row.blocks)
    return row._replace(blocks=blocks, hidden=row.hidden // 2)


def halve_zfnet(row):
    return row._replace(channels=half(row.channels), units=row.units // 2)


def halve_densenet(row):
    return row._replace(growth=row.growth // 2, channels=row.channels // 2)


def halve_convnext(row):
    return row._replace(channels=row.channels // 2)


def halve_mobilenet(rows):
    return tuple(row._replace(channels=row.channels // 2) for row in rows)


def halve_resnet(row):
    return row._replace(channels=row.channels // 2)


@pytest.mark.parametrize(
    ("name", "module", "variant", "halve"),
    [
        ("AlexNet", alexnet, "paper", halve_alexnet),
        ("ZFNet", zfnet, "paper", halve_zfnet),
        ("NiN", nin, "imagenet", halve_nin),
        ("VGG-16", vgg, 16, halve_vgg),
        ("GoogLeNet", googlenet, "paper", halve_googlenet),
        ("GoogLeNet of torchvision", googlenet, "torchvision", halve_googlenet),
        ("ResNet-50", resnet, 50, halve_resnet),
        ("ResNet-20 for CIFAR-10", resnet, "cifar-20", halve_resnet),
        ("ResNeXt-50", resnet, "resnext50_32x4d", halve_resnet),
        ("SE-ResNet-50", resnet, "se_resnet50", halve_resnet),
        ("DenseNet-121", densenet, 121, halve_densenet),
        ("ConvNeXt-T", convnext, "tiny", halve_convnext),
        ("MobileNetV2", mobilenet, "v2", halve_mobilenet),
    ],
)
def test_half_as_many_channels(call, monkeypatch, name, module, variant, halve):
    """The table of a family with half the channels, built and counted by Python."""
    half_as_wide = halve(module.VARIANTS[variant])
    monkeypatch.setitem(module.VARIANTS, variant, half_as_wide)
    for constant in ("STEM", "LAST"):  # channels that are in no row
        if hasattr(module, constant):
            monkeypatch.setattr(module, constant, getattr(module, constant) // 2)
    channels, size, _ = NETWORKS[name].input_size
    rows = of_script(call("xray", name, size, 0.5))
    assert rows == of_summarize(built(name), channels, size)


def test_a_network_whose_channels_cannot_be_scaled_is_marked():
    fixed = {name for name, family in FAMILIES.items() if not family.scalable}
    assert fixed == {"LeNet"}


def test_the_file_of_networks_is_that_of_the_library():
    content = (STATIC / "networks.js").read_text(encoding="utf-8")
    assert content == tool.content(), "run: python -m tools.explorer"


@pytest.mark.parametrize("name", EXPLORED)
def test_every_stage_is_drawn(name):
    """The script finds the drawing of a stage by its number."""
    with torch.device("meta"):
        network = tool.network(NETWORKS[name])
    assert network["svg"].count('class="bb-stage"') == len(network["stages"])
    titles = re.findall(r'font-weight="600"[^>]*>([^<]*)<', network["svg"])
    assert [title for title in titles if title in network["stages"]] == [
        *network["stages"]
    ]


def test_the_script_is_small_and_asks_no_other_host():
    assert len(SCRIPT.encode()) < 19_000
    content = SCRIPT + (STATIC / "networks.js").read_text(encoding="utf-8")
    assert "//" not in re.sub(r"(?m)(^|\s)// .*$", "", content)


def test_without_the_script_it_is_a_table(monkeypatch):
    """Of a few networks; that each can be summarized is seen above."""
    few = {name: EXPLORED[name] for name in ("LeNet-5", "AlexNet", "VGG-16")}
    monkeypatch.setattr("course_lib.summary.explorer.EXPLORED", few)
    explorer = Explorer()
    html = explorer._repr_html_()
    assert repr(explorer) == "Explorer of 3 networks"
    assert html.count("<tr>") == 1 + 3
    assert '<th scope="row">VGG-16</th><td>3×224×224</td><td>138,357,544</td>' in html  # noqa: RUF001
    assert not re.search(r"<script|\son\w+\s*=", html)


def test_a_module_without_a_plan():
    with pytest.raises(ValueError, match=r"no plan is known for Softplus"):
        plan(nn.Sequential(nn.Softplus()))


def test_equal_blocks_are_one_step():
    block = [nn.Conv2d(4, 4, 3), nn.ReLU()]
    net = Network()
    net.add_module("stage", nn.Sequential(*(nn.Sequential(*block) for _ in range(3))))
    steps = [["conv", 4, 3, 1, 0, 1, 1], ["relu"]]
    assert stages(net) == {"stage": [["times", 3, steps]]}
