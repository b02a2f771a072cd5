import re

import pytest
import torch
import torchvision

from course_lib import draw, summarize
from course_lib.regnet import VARIANTS, RegNet, quantized_widths, regnet_branch, stages
from course_lib.resnet import SqueezeExcitation
from tests.parity import assert_parity

#: Parameters and MACs of torchvision's networks.
COUNTS = {
    "x_400mf": (5_495_976, 413_812_608),
    "x_800mf": (7_259_656, 799_699_712),
    "x_1_6gf": (9_190_136, 1_602_849_792),
    "x_3_2gf": (15_296_552, 3_176_621_952),
    "x_8gf": (39_572_648, 7_995_132_416),
    "y_400mf": (4_344_144, 401_842_848),
    "y_800mf": (6_432_512, 833_856_256),
    "y_1_6gf": (11_202_430, 1_612_076_160),
    "y_3_2gf": (19_436_338, 3_176_482_752),
}


@pytest.mark.parametrize("variant", COUNTS)
def test_counts(variant):
    with torch.device("meta"):
        summary = summarize(RegNet(variant), (3, 224, 224))
    assert (summary.parameters, summary.macs) == COUNTS[variant]


def test_the_counts_are_those_that_torchvision_publishes():
    assert COUNTS.keys() == VARIANTS.keys()
    for variant, (parameters, macs) in COUNTS.items():
        weights = torchvision.models.get_model_weights(f"regnet_{variant}")
        meta = weights.IMAGENET1K_V1.meta
        assert parameters == meta["num_params"]
        assert macs / 1e9 == pytest.approx(meta["_ops"], abs=6e-4)


def test_stages_of_the_smallest():
    assert stages(VARIANTS["x_400mf"]) == [(1, 32), (2, 64), (7, 160), (12, 400)]
    assert stages(VARIANTS["y_400mf"]) == [(1, 48), (3, 104), (6, 208), (6, 440)]
    assert stages(VARIANTS["x_8gf"])[0] == (2, 80)  # below the group width of 120


def in_our_order(theirs):
    """The names of torchvision's tensors, where a shortcut is in front of its branch:
    behind it, as ours is.
    """
    names = list(theirs.state_dict())
    block = {name: re.split(r"\.(?:f|proj)\.", name)[0] for name in names}
    place = {each: index for index, each in enumerate(block.values())}
    return sorted(names, key=lambda name: (place[block[name]], ".proj." in name))


@pytest.mark.parametrize("variant", ["x_400mf", "x_800mf", "y_400mf", "y_800mf"])
def test_equals_torchvision(variant):
    theirs = getattr(torchvision.models, f"regnet_{variant}")()
    assert_parity(RegNet(variant), theirs, in_our_order(theirs))


def test_widths_follow_the_line():
    """Each is the power that is nearest to the line, in the logarithm."""
    widths = quantized_widths(22, 24, 24.48, 2.54)
    assert widths == sorted(widths)
    assert all(width % 8 == 0 for width in widths)
    for block, width in enumerate(widths):
        line = 24 + 24.48 * block
        assert line / 2.54**0.5 - 4 <= width <= line * 2.54**0.5 + 4


def test_a_branch():
    branch = regnet_branch(8, 16, 2, 4)
    assert branch[1][0].groups == 4
    assert branch(torch.zeros(1, 8, 5, 5)).shape == (1, 16, 3, 3)
    assert not any(isinstance(each, SqueezeExcitation) for each in branch)


def test_squeeze_and_excitation_stands_behind_the_3x3():
    """It reduces to a quarter of the channels of the block's input, not of its own."""
    with torch.device("meta"):
        net = RegNet("y_400mf")
    first, second = (net.stage2[index].body for index in (0, 1))
    assert isinstance(first[2], SqueezeExcitation)
    assert first[2].scales[2].weight.shape == (48 // 4, 104)
    assert second[2].scales[2].weight.shape == (104 // 4, 104)


def test_it_is_drawn():
    with torch.device("meta"):
        drawing = draw(RegNet("x_400mf"), (3, 224, 224))
    assert "stage4" in drawing.svg


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 24, 1.0, 2.0), "depth must be"),
        ((3, 0, 1.0, 2.0), "initial_width must be"),
        ((3, 24, -1.0, 2.0), "slope must be at least 0, got -1.0"),
        ((3, 24, 1.0, 1.0), "factor must be above 1, got 1.0"),
    ],
)
def test_bad_numbers(numbers, message):
    with pytest.raises(ValueError, match=message):
        quantized_widths(*numbers)


def test_unknown_variant():
    with pytest.raises(ValueError, match="RegNet has the variants 'x_400mf'"):
        RegNet("z_400mf")
