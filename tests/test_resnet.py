import re

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from course_lib import (
    Residual,
    ResNet,
    basic_block,
    bottleneck,
    count_parameters,
    summarize,
)
from course_lib.convolution import receptive_field
from course_lib.resnet import VARIANTS, SqueezeExcitation, ZeroPad, make_shortcut
from tests.parity import assert_parity, same_weights, sized

DEPTHS = (18, 34, 50, 101, 152)
#: Later networks that torchvision has, and their parameters there.
LATER = {
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "wide_resnet50_2": 68_883_240,
}


def torchvisions(variant):
    """torchvision's network of that name or depth."""
    name = f"resnet{variant}" if isinstance(variant, int) else variant
    return getattr(torchvision.models, name)()


@pytest.mark.parametrize(
    ("variant", "count"),
    [
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        (101, 44_549_160),
        (152, 60_192_808),
        *LATER.items(),
        ("se_resnet50", 28_088_024),
    ],
)
def test_parameters_of_table_1(variant, count):
    with torch.device("meta"):
        assert count_parameters(ResNet(variant)) == count


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_parameters_of_table_6(depth, millions):
    with torch.device("meta"):
        count = count_parameters(ResNet(f"cifar-{depth}"))
    assert round(count / 1e6, 1 if depth == 110 else 2) == millions


@pytest.mark.parametrize("depth", sized(DEPTHS))
def test_stage_sizes_of_table_1(depth):
    with torch.device("meta"):
        stages = summarize(ResNet(depth), (3, 224, 224)).stages
    wide = 4 if depth >= 50 else 1
    assert {stage.name: stage.shape for stage in stages} == {
        "stem": (64, 112, 112),
        "conv2_x": (64 * wide, 56, 56),
        "conv3_x": (128 * wide, 28, 28),
        "conv4_x": (256 * wide, 14, 14),
        "conv5_x": (512 * wide, 7, 7),
        "head": (1000,),
    }


@pytest.mark.parametrize("variant", sized([*DEPTHS, *LATER]))
def test_equals_torchvision(variant):
    assert_parity(ResNet(variant), torchvisions(variant))


class _SEBottleneck(torchvision.models.resnet.Bottleneck):
    """torchvision's block, with its own squeeze-and-excitation before the sum."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        channels = self.bn3.num_features
        gate = torchvision.ops.SqueezeExcitation(channels, channels // 16)
        self.bn3 = nn.Sequential(self.bn3, gate)


def test_se_resnet_equals_torchvision_with_gates():
    theirs = torchvision.models.ResNet(_SEBottleneck, [3, 4, 6, 3])
    # 50 gates add up their rounding.
    assert_parity(ResNet("se_resnet50"), theirs, dtype=torch.double)


def test_what_resnext_and_senet_change_in_a_block():
    """Table 1 of ResNeXt: a block has as many weights with 32 groups of 4 as without
    groups, to 1%; SENet adds 2 C^2 / r weights and the biases.
    """

    def weights(**kwargs):
        layers = bottleneck(256, 64, 1, **kwargs).modules()
        return sum(
            layer.weight.numel()
            for layer in layers
            if isinstance(layer, nn.Conv2d | nn.Linear)
        )

    assert weights() == 69_632
    assert weights(groups=32, width_per_group=4) == 70_144
    assert weights(reduction=16) == 69_632 + 2 * 256**2 // 16


def test_squeeze_excitation_multiplies_each_channel_by_one_number():
    torch.manual_seed(0)
    gate, x = SqueezeExcitation(32, 4), torch.randn(3, 32, 5, 5)
    scales = gate(x) / x
    torch.testing.assert_close(scales, scales[:, :, :1, :1].expand_as(x))
    assert 0 < scales.min() < scales.max() < 1
    with torch.no_grad():
        gate.scales[4].weight.zero_()
        gate.scales[4].bias.fill_(50.0)
    torch.testing.assert_close(gate(x), x)


@pytest.mark.parametrize("reduction", [0, 33, -2])
def test_a_reduction_that_leaves_nothing(reduction):
    with pytest.raises(ValueError, match=f"from 1 to .* 32; got {reduction}"):
        SqueezeExcitation(32, reduction)


@pytest.mark.parametrize("name", ["groups", "width_per_group"])
def test_no_group_and_no_width(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        bottleneck(64, 64, 1, **{name: 0})


def test_gradients_and_statistics_equal_torchvision():
    ours, theirs = (net.train() for net in same_weights(ResNet(18), torchvisions(18)))
    x, y = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 3])
    for net in (ours, theirs):
        F.cross_entropy(net(x), y).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", sized(VARIANTS))
def test_depth_counts_layers(variant):
    """The number in the name: convolutions of the residual branches and the stem,
    and one fully connected layer.
    """
    with torch.device("meta"):
        net = ResNet(variant, shortcut="none")
    layers = sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in net.modules())
    gates = sum(isinstance(layer, SqueezeExcitation) for layer in net.modules())
    depth = re.search(r"\d+$|\d+(?=_)", str(variant))
    small = 8 if variant == "small" else 11  # of basic blocks, or of bottlenecks
    assert layers - 2 * gates == (int(depth.group()) if depth else small)


def test_stride_of_the_original():
    def strides(**kwargs):
        with torch.device("meta"):
            first = ResNet(50, **kwargs).conv3_x[0]
        return [
            layer.stride[0]
            for layer in first.body.modules()
            if isinstance(layer, nn.Conv2d)
        ]

    assert strides() == [1, 2, 1]
    assert strides(stride_in="1x1") == [2, 1, 1]


@pytest.mark.parametrize(
    ("variant", "stride_in", "field"),
    [(18, "3x3", 435), (50, "3x3", 427), (50, "1x1", 483)],
)
def test_receptive_field_of_the_longest_way(variant, stride_in, field):
    """Araujo, Norris and Sim (2019) give 435 for ResNet-18 and 483 for ResNet-50, which
    is the original's, with the stride in the first 1x1; torchvision's is smaller.
    """
    with torch.device("meta"):
        net = ResNet(variant, stride_in=stride_in)
    way = [
        (layer.kernel_size, layer.stride)
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d) and "shortcut" not in name
    ]
    pairs = [(k if isinstance(k, int) else k[0], s) for k, s in way]
    pairs = [(k, s if isinstance(s, int) else s[0]) for k, s in pairs]
    assert receptive_field(pairs) == (field, 32)


def test_shortcuts_differ_in_parameters_as_they_should():
    with torch.device("meta"):
        counts = {
            kind: count_parameters(ResNet(34, shortcut=kind))
            for kind in ("none", "A", "B", "C")
        }
    assert counts["none"] == counts["A"] < counts["B"] < counts["C"]
    projections = sum(i * o + 2 * o for i, o in ((64, 128), (128, 256), (256, 512)))
    assert counts["B"] - counts["A"] == projections


def test_shortcut_kinds_in_a_net():
    def kinds(kind):
        net = ResNet("small", shortcut=kind)
        return [type(m.shortcut) for m in net.modules() if isinstance(m, Residual)]

    assert kinds("A") == [nn.Identity, ZeroPad, ZeroPad]
    assert kinds("B") == [nn.Identity, nn.Sequential, nn.Sequential]
    assert kinds("C") == [nn.Sequential] * 3
    assert kinds("none") == []


def test_zero_padding_is_subsampling_and_zeros():
    x = torch.randn(2, 3, 5, 6)
    y = ZeroPad(2, stride=2)(x)
    assert y.shape == (2, 5, 3, 3)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])
    assert y[:, 3:].abs().max() == 0


@pytest.mark.parametrize("arguments", [(-1, 1), (0, 0)])
def test_zeros_take_no_channel_away(arguments):
    with pytest.raises(ValueError, match=r"at least [01], got (-1|0)"):
        ZeroPad(*arguments)


@pytest.mark.parametrize("kind", ["none", "nonsense"])
def test_a_shortcut_that_there_is_not(kind):
    with pytest.raises(ValueError, match=f"one of 'A', 'B', 'C'; got '{kind}'"):
        make_shortcut(kind, 3, 8, 1)


def test_shortcut_a_cannot_shrink():
    with pytest.raises(ValueError, match="cannot make 4 channels of 8"):
        make_shortcut("A", 8, 4, 1)
    x = torch.randn(1, 8, 5, 5)
    assert make_shortcut("B", 8, 4, 1)(x).shape == (1, 4, 5, 5)
    assert make_shortcut("A", 8, 8, 2)(x).shape == (1, 8, 3, 3)


@pytest.mark.parametrize("kind", ["A", "B", "C"])
@pytest.mark.parametrize("stride", [1, 2])
def test_shortcut_fits_its_residual_branch(kind, stride):
    body = bottleneck(32, 16, stride)
    y = Residual(body, make_shortcut(kind, 32, 64, stride))(torch.randn(2, 32, 7, 7))
    assert y.shape == (2, 64, -(-7 // stride), -(-7 // stride))


def test_a_zero_residual_branch_passes_a_positive_input_through():
    block = Residual(basic_block(8, 8, 1))
    nn.init.zeros_(block.body[-1][1].weight)
    x = torch.rand(2, 8, 5, 5)
    torch.testing.assert_close(block(x), x)


def test_residual_refuses_to_broadcast():
    block = Residual(nn.AdaptiveAvgPool2d(1))
    with pytest.raises(
        ValueError, match=r"\(2, 8, 1, 1\) and the shortcut \(2, 8, 5, 5\)"
    ):
        block(torch.rand(2, 8, 5, 5))


def test_a_plain_net_has_no_way_around():
    """Zero residual branches stop everything in a plain network and nothing in a
    residual one.
    """
    for kind, passes in (("A", True), ("none", False)):
        net = ResNet("small-20", shortcut=kind)
        for layer in net.conv2_x.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.zeros_(layer.weight)
        assert (net.conv2_x(torch.rand(1, 16, 8, 8)).abs().sum() > 0) == passes


@pytest.mark.parametrize("variant", ["small", "small-20", "cifar-20", 18])
def test_classes_channels_and_gradients(variant):
    net = ResNet(variant, num_classes=7, in_channels=2)
    logits = net(torch.randn(2, 2, 32, 32))
    assert logits.shape == (2, 7)
    logits.logsumexp(1).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": 20}, "ResNet has the variants 18, 34.*got 20"),
        ({"variant": 18, "num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"variant": 18, "in_channels": 0}, "in_channels must be at least 1, got 0"),
        (
            {"variant": 18, "shortcut": "D"},
            "shortcut must be one of 'A', 'B', 'C', 'none'; got 'D'",
        ),
        (
            {"variant": 50, "stride_in": "5x5"},
            "stride_in must be one of '1x1', '3x3'; got '5x5'",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**arguments)
