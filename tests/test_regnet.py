import pytest
import torch
import torchvision

from course_lib import Residual, draw, summarize
from course_lib.regnet import VARIANTS, RegNet, RegNetBlock, quantized_widths, stages
from tests.parity import same_weights

#: Parameters and MACs of torchvision's networks.
COUNTS = {
    "x_400mf": (5_495_976, 413_812_608),
    "x_800mf": (7_259_656, 799_699_712),
    "x_1_6gf": (9_190_136, 1_602_849_792),
    "x_3_2gf": (15_296_552, 3_176_621_952),
    "x_8gf": (39_572_648, 7_995_132_416),
}


@pytest.mark.parametrize("variant", COUNTS)
def test_counts(variant):
    with torch.device("meta"):
        summary = summarize(RegNet(variant), (3, 224, 224))
    assert (summary.parameters, summary.macs) == COUNTS[variant]


def test_stages_of_the_smallest():
    assert stages(VARIANTS["x_400mf"]) == [(1, 32), (2, 64), (7, 160), (12, 400)]
    assert stages(VARIANTS["x_8gf"])[0] == (2, 80)  # below the group width of 120


@pytest.mark.parametrize("variant", ["x_400mf", "x_800mf"])
def test_equals_torchvision(variant):
    theirs = getattr(torchvision.models, f"regnet_{variant}")()
    ours, theirs = same_weights(RegNet(variant), theirs)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        a, b = ours(x), theirs(x)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=float(1e-5 * b.abs().max()))


def test_widths_follow_the_line():
    """Each is the power that is nearest to the line, in the logarithm."""
    widths = quantized_widths(22, 24, 24.48, 2.54)
    assert widths == sorted(widths)
    assert all(width % 8 == 0 for width in widths)
    for block, width in enumerate(widths):
        line = 24 + 24.48 * block
        assert line / 2.54**0.5 - 4 <= width <= line * 2.54**0.5 + 4


def test_a_block_is_a_residual_block():
    block = RegNetBlock(8, 16, 2, 4)
    assert isinstance(block, Residual)
    assert block.body[1][0].groups == 4
    assert block(torch.zeros(1, 8, 5, 5)).shape == (1, 16, 3, 3)
    assert [name for name, _ in block.named_children()] == ["shortcut", "body"]


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
        RegNet("y_400mf")
