import pytest
import torch
import torchvision
from torch import nn

from course_lib import count_parameters, draw, summarize
from course_lib.densenet import VARIANTS, Concatenated, DenseNet, dense_block
from tests.parity import assert_parity, sized

#: Parameters and MACs of torchvision's networks, which are the authors'.
COUNTS = {
    121: (7_978_856, 2_834_161_664),
    161: (28_681_000, 7_727_907_072),
    169: (14_149_480, 3_359_843_328),
    201: (20_013_928, 4_291_365_888),
}


@pytest.mark.parametrize("depth", COUNTS)
def test_counts(depth):
    with torch.device("meta"):
        summary = summarize(DenseNet(depth), (3, 224, 224))
    assert (summary.parameters, summary.macs) == COUNTS[depth]


@pytest.mark.parametrize("depth", sized(COUNTS))
def test_depth_counts_layers(depth):
    with torch.device("meta"):
        net = DenseNet(depth)
    layers = sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in net.modules())
    assert layers == depth


def test_stage_sizes_of_table_1():
    with torch.device("meta"):
        stages = summarize(DenseNet(121), (3, 224, 224)).stages
    assert {stage.name: stage.shape for stage in stages} == {
        "stem": (64, 56, 56),
        "dense1": (256, 56, 56),
        "transition1": (128, 28, 28),
        "dense2": (512, 28, 28),
        "transition2": (256, 14, 14),
        "dense3": (1024, 14, 14),
        "transition3": (512, 7, 7),
        "dense4": (1024, 7, 7),
        "head": (1000,),
    }


@pytest.mark.parametrize("depth", sized(COUNTS))
def test_equals_torchvision(depth):
    assert_parity(DenseNet(depth), getattr(torchvision.models, f"densenet{depth}")())


def test_each_layer_reads_all_before_it():
    """A change in what the first layer adds reaches all later layers, and what a layer
    appended is not changed by those after it.
    """
    torch.manual_seed(0)
    block, x = dense_block(4, 6, growth=2).eval(), torch.randn(1, 6, 5, 5)
    with torch.inference_mode():
        y = block(x)
        first = block[0](x)
    assert y.shape == (1, 14, 5, 5)
    assert torch.equal(y[:, :6], x)
    assert torch.equal(y[:, :8], first)
    assert [layer.body[0].num_features for layer in block] == [6, 8, 10, 12]


def test_an_output_of_another_size_cannot_be_joined():
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 3\) for \(1, 1, 5, 5\)"):
        Concatenated(nn.Conv2d(1, 2, 3))(torch.zeros(1, 1, 5, 5))


def test_small_network():
    net = DenseNet("small")
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert count_parameters(net) < 200_000


def test_drawing_is_short():
    with torch.device("meta"):
        drawing = draw(DenseNet(121), (3, 224, 224))
    assert len(drawing.alt) < 1500


def test_unknown_variant():
    known = ", ".join(map(repr, VARIANTS))
    with pytest.raises(ValueError, match=f"DenseNet has the variants {known}; got 122"):
        DenseNet(122)
