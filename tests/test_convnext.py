import pytest
import torch
import torchvision
from torch import nn

from course_lib import count_parameters, summarize
from course_lib.convnext import ChannelNorm, ConvNeXt, ConvNeXtBlock
from tests.parity import assert_parity


def test_counts():
    with torch.device("meta"):
        summary = summarize(ConvNeXt("tiny"), (3, 224, 224))
    assert (summary.parameters, summary.macs) == (28_589_128, 4_455_531_264)


def test_stage_sizes_of_table_9():
    with torch.device("meta"):
        stages = summarize(ConvNeXt("tiny"), (3, 224, 224)).stages
    assert {stage.name: stage.shape for stage in stages} == {
        "stem": (96, 56, 56),
        "res2": (96, 56, 56),
        "res3": (192, 28, 28),
        "res4": (384, 14, 14),
        "res5": (768, 7, 7),
        "head": (1000,),
    }


def test_equals_torchvision():
    assert_parity(ConvNeXt("tiny"), torchvision.models.convnext_tiny())


def test_channel_norm_normalizes_each_position():
    torch.manual_seed(0)
    x = torch.randn(2, 16, 3, 3) * 5 + 2
    y = ChannelNorm(16)(x)
    theirs = nn.LayerNorm(16, eps=1e-6)(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(y, theirs)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 3), atol=1e-5, rtol=0)


def test_a_block_begins_as_the_identity():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 9, 9)
    torch.testing.assert_close(ConvNeXtBlock(8)(x), x, atol=1e-4, rtol=0)


def test_small_network():
    net = ConvNeXt("small")
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert count_parameters(net) == 413_162


def test_unknown_variant():
    with pytest.raises(ValueError, match="ConvNeXt has the variants 'tiny', 'small'"):
        ConvNeXt("huge")
