import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib import Network, count_parameters, summarize
from course_lib.zfnet import SMALL_STEMS, VARIANTS, ZFNet, conv_stage


def small_written_out(conv1, conv2):
    def normalize():
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)

    layers = [conv1, nn.ReLU(), nn.MaxPool2d(3, 2, 1), normalize()]
    layers += [conv2, nn.ReLU(), normalize()]
    layers += [nn.Conv2d(48, 64, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(64, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Flatten(), nn.Linear(48 * 3 * 3, 256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


@pytest.mark.parametrize(
    ("variant", "count", "millions"),
    [("paper", 62_357_608, 1_168), ("wide", 107_627_624, 2_477)],
)
def test_parameters_and_operations(variant, count, millions):
    """The counts are those that osmr/imgclsmob asserts for its zfnet and zfnetb."""
    with torch.device("meta"):
        net, x = ZFNet(variant), torch.empty(1, 3, 224, 224)
        with FlopCounterMode(display=False) as counter:
            net(x)
    assert count_parameters(net) == count
    assert round(counter.get_total_flops() / 2e6) == millions


@pytest.mark.parametrize(
    ("variant", "channels"),
    [("paper", (384, 384, 256)), ("wide", (512, 1024, 512))],
)
def test_stages_of_figure_3(variant, channels):
    with torch.device("meta"):
        stages = summarize(ZFNet(variant), (3, 224, 224)).stages
    assert {stage.name: stage.shape for stage in stages} == {
        "conv1": (96, 55, 55),
        "conv2": (256, 13, 13),
        "conv3": (channels[0], 13, 13),
        "conv4": (channels[1], 13, 13),
        "conv5": (channels[2], 6, 6),
        "fc6": (4096,),
        "fc7": (4096,),
        "fc8": (1000,),
    }


def test_sizes_of_figure_3():
    """What the figure prints below its boxes: after each convolution and pooling."""
    sizes = []
    with torch.device("meta"):
        net, y = ZFNet("paper"), torch.empty(1, 3, 224, 224)
        for stage in net[:5]:
            for layer in stage:
                y = layer(y)
                if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                    sizes.append(y.shape[2])
    assert sizes == [110, 55, 26, 13, 13, 13, 13, 6]
    assert net.fc6[1].in_features == 6 * 6 * 256 == 9216


@pytest.mark.parametrize("variant", VARIANTS)
def test_dropout_is_in_layers_6_and_7(variant):
    with torch.device("meta"):
        net = ZFNet(variant)
    rates = [
        (name, layer.p)
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Dropout)
    ]
    assert rates == [("fc6.3", 0.5), ("fc7.2", 0.5)]


@pytest.mark.parametrize(
    ("stem", "conv1", "conv2"),
    [
        (None, (7, 1, 3), (5, 2, 2)),
        ("7x7/1", (7, 1, 3), (5, 2, 2)),
        ("11x11/2", (11, 2, 5), (5, 1, 2)),
    ],
)
def test_small_is_what_it_says(stem, conv1, conv2):
    """The network in a few lines of PyTorch, with the same weights: the same logits."""
    net = ZFNet("small", stem=stem).eval()
    plain = small_written_out(nn.Conv2d(1, 16, *conv1), nn.Conv2d(16, 48, *conv2))
    plain.load_state_dict(
        dict(zip(plain.state_dict(), net.state_dict().values(), strict=True))
    )
    x = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(net(x), plain(x))


@pytest.mark.parametrize("stem", SMALL_STEMS)
def test_small_is_small(stem):
    with torch.device("meta"):
        net, x = ZFNet("small", stem=stem), torch.empty(1, 1, 28, 28)
        with FlopCounterMode(display=False) as counter:
            net(x)
    assert 5e6 < counter.get_total_flops() / 2 < 12e6


def test_stems_change_only_the_first_two_layers():
    with torch.device("meta"):
        shapes = [
            [stage.shape for stage in summarize(net, (1, 28, 28)).stages]
            for net in (ZFNet("small", stem=stem) for stem in SMALL_STEMS)
        ]
    assert shapes[0][1:] == shapes[1][1:]
    assert (shapes[0][0], shapes[1][0]) == ((16, 14, 14), (16, 7, 7))


def test_normalization_is_alexnets_formula():
    """Section 3.3 of Krizhevsky et al. (2012): k = 2, n = 5, alpha = 1e-4, beta =
    0.75, and a sum over neighbors where PyTorch has a mean.
    """
    x = 100 * torch.rand(2, 8, 3, 3)
    neighbors = torch.stack(
        [x[:, max(i - 2, 0) : i + 3].square().sum(dim=1) for i in range(8)], dim=1
    )
    torch.testing.assert_close(
        conv_stage(3, 8, lrn=True)[-1](x), x / (2 + 1e-4 * neighbors) ** 0.75
    )


@pytest.mark.parametrize(("lrn", "count"), [(True, 2), (False, 0)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_lrn(variant, lrn, count):
    with torch.device("meta"):
        net = ZFNet(variant, lrn=lrn)
    kinds = [type(layer) for layer in net.modules()]
    assert kinds.count(nn.LocalResponseNorm) == count
    if lrn:
        assert isinstance(net.conv1[-1], nn.LocalResponseNorm)
        assert isinstance(net.conv2[-1], nn.LocalResponseNorm)


def test_weights_are_hes():
    net = ZFNet("small")
    torch.testing.assert_close(
        net.conv4[0].weight.std().item(), (2 / (64 * 9)) ** 0.5, rtol=0.05, atol=0
    )
    assert all(
        layer.bias.abs().sum() == 0
        for layer in net.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    )


def test_classes_channels_and_gradients():
    net = ZFNet("small", num_classes=7, in_channels=3)
    logits = net(torch.randn(2, 3, 28, 28))
    assert logits.shape == (2, 7)
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0
        for parameter in net.parameters()
    )


def test_a_slice_is_a_plain_sequence():
    net, x = ZFNet("small"), torch.randn(2, 1, 28, 28)
    part = net[:2]
    assert type(part) is nn.Sequential
    assert isinstance(net, Network)
    torch.testing.assert_close(part(x), net.conv2(net.conv1(x)))


@pytest.mark.parametrize("size", [24, 33])
def test_an_image_that_does_not_fit(size):
    with pytest.raises(
        ValueError, match="smallest image that works is 25x25, the largest 32x32"
    ):
        ZFNet("small")(torch.zeros(1, 1, size, size))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "big"}, "ZFNet has the variants 'paper', 'wide', 'small'; got"),
        ({"variant": "small", "num_classes": 0}, "num_classes must be at least 1"),
        ({"variant": "small", "in_channels": -1}, "in_channels must be at least 1"),
        (
            {"variant": "small", "stem": "7x7/2"},
            "stem must be one of '7x7/1', '11x11/2'; got '7x7/2'",
        ),
        (
            {"variant": "paper", "stem": "11x11/2"},
            r"ZFNet\('paper'\) has its own stem.*got '11x11/2'",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ZFNet(**arguments)
