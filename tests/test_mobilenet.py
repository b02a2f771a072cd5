import pytest
import torch
import torchvision
from torch import nn

from course_lib import MobileNet, draw, summarize
from course_lib.mobilenet import InvertedResidual, inverted_residual
from tests.parity import assert_parity


def test_counts():
    """The paper says 3.4 M parameters and 300 M multiply-adds."""
    with torch.device("meta"):
        summary = summarize(MobileNet("v2"), (3, 224, 224))
    assert (summary.parameters, summary.macs) == (3_504_872, 300_774_272)


def test_stage_sizes_of_table_2():
    with torch.device("meta"):
        stages = summarize(MobileNet("v2"), (3, 224, 224)).stages
    assert {stage.name: stage.shape for stage in stages} == {
        "stem": (32, 112, 112),
        "stage1": (16, 112, 112),
        "stage2": (24, 56, 56),
        "stage3": (32, 28, 28),
        "stage4": (64, 14, 14),
        "stage5": (96, 14, 14),
        "stage6": (160, 7, 7),
        "stage7": (320, 7, 7),
        "conv": (1280, 7, 7),
        "head": (1000,),
    }


def test_equals_torchvision():
    assert_parity(MobileNet("v2"), torchvision.models.mobilenet_v2())


def test_a_block_is_wide_inside():
    block = inverted_residual(8, 8, 1, expansion=6)
    assert isinstance(block, InvertedResidual)
    convs = [each for each in block.modules() if isinstance(each, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [48, 48, 8]
    assert [conv.groups for conv in convs] == [1, 48, 1]
    last = [each for each in block.modules() if not any(each.children())][-1]
    assert isinstance(last, nn.BatchNorm2d)  # nothing follows it but the sum


def test_the_input_is_added_where_the_shapes_agree():
    for arguments in ((8, 8, 2, 6), (8, 16, 1, 6)):
        assert not isinstance(inverted_residual(*arguments), InvertedResidual)
    zero = InvertedResidual(nn.Conv2d(4, 4, 1))
    nn.init.zeros_(zero.body.weight)
    nn.init.zeros_(zero.body.bias)
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(zero(x), x)  # of both signs: no ReLU follows the sum


def test_it_is_drawn():
    with torch.device("meta"):
        drawing = draw(MobileNet("v2"), (3, 224, 224))
    assert "stage7" in drawing.svg


def test_unknown_variant():
    with pytest.raises(ValueError, match="MobileNet has the variants 'v2'; got 'v1'"):
        MobileNet("v1")
