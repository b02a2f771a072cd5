import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import count_parameters, summarize
from course_lib.nin import VARIANTS, NiN, nin_block


@pytest.mark.parametrize(
    ("variant", "counts"),
    [
        ("cifar", [60_928, 535_104, 370_954, 0]),
        ("imagenet", [53_568, 746_240, 1_180_800, 5_614_568, 0]),
    ],
)
def test_parameters(variant, counts):
    """The totals are those of the authors' Caffe models, 966,986 and 7,595,176: the
    head, global average pooling, adds nothing to them.
    """
    with torch.device("meta"):
        net = NiN(variant)
    assert [count_parameters(stage) for stage in net] == counts
    assert sum(counts) == {"cifar": 966_986, "imagenet": 7_595_176}[variant]


def test_a_fully_connected_layer_would_cost_more_than_the_network():
    """Section 3.2: what global average pooling saves, had AlexNet's first fully
    connected layer the last feature maps as its input.
    """
    with torch.device("meta"):
        assert not list(NiN("imagenet").head.parameters())
        full = nn.Linear(1000 * 6 * 6, 4096)
    assert count_parameters(full) > 19 * 7_595_176


@pytest.mark.parametrize(
    ("variant", "size", "shapes"),
    [
        (
            "cifar",
            (3, 32, 32),
            {"mlpconv1": (96, 16, 16), "mlpconv2": (192, 8, 8), "mlpconv3": (10, 8, 8)},
        ),
        (
            "imagenet",
            (3, 224, 224),
            {
                "mlpconv1": (96, 27, 27),
                "mlpconv2": (256, 13, 13),
                "mlpconv3": (384, 6, 6),
                "mlpconv4": (1000, 6, 6),
            },
        ),
        (
            "small",
            (1, 28, 28),
            {"mlpconv1": (48, 7, 7), "mlpconv2": (64, 3, 3), "mlpconv3": (10, 3, 3)},
        ),
    ],
)
def test_stage_sizes(variant, size, shapes):
    """Caffe rounds the size of a pooled feature map up: 32 -> 16, not 15."""
    with torch.device("meta"):
        stages = summarize(NiN(variant), size).stages
    classes = 1000 if variant == "imagenet" else 10
    assert {stage.name: stage.shape for stage in stages} == {
        **shapes,
        "head": (classes,),
    }


def test_pooling_and_dropout_of_the_authors():
    with torch.device("meta"):
        kinds = [
            [type(layer) for layer in stage if not isinstance(layer, nn.Conv2d)][3:]
            for stage in NiN("cifar")[:3]
        ]
    assert kinds == [[nn.MaxPool2d, nn.Dropout], [nn.AvgPool2d, nn.Dropout], []]


def test_block_is_a_perceptron_on_every_pixel():
    """Section 3.1: what the 1x1 convolutions do to one pixel is two layers of a
    multilayer perceptron.
    """
    block = nin_block(3, (8, 6, 4), kernel_size=5, padding=2)
    first, second, third = (layer for layer in block if isinstance(layer, nn.Conv2d))
    x = torch.randn(2, 3, 7, 9)
    pixels = F.relu(F.conv2d(x, first.weight, first.bias, padding=2)).movedim(1, -1)
    for layer in (second, third):
        pixels = F.relu(F.linear(pixels, layer.weight[:, :, 0, 0], layer.bias))
    torch.testing.assert_close(block(x), pixels.movedim(-1, 1))


def test_one_number_is_three():
    same = [str(nin_block(3, channels, 3)) for channels in (16, (16, 16, 16))]
    assert same[0] == same[1]
    assert nin_block(3, 16, 11, stride=4)(torch.randn(1, 3, 51, 51)).shape == (
        (1, 16, 11, 11)
    )


def test_batch_norm_stands_between_convolution_and_relu():
    kinds = [type(layer) for layer in nin_block(3, 16, 3, batch_norm=True)]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 3
    with torch.device("meta"):
        net = NiN("cifar", batch_norm=True)
    convs = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert all(conv.bias is None for conv in convs)
    widths = sum(conv.out_channels for conv in convs)
    assert count_parameters(net) == 966_986 + widths  # two for a channel, not one


def test_head_is_the_mean_of_each_map():
    net = NiN("small").eval()
    maps = net[:-1](torch.randn(2, 1, 28, 28))
    torch.testing.assert_close(net.head(maps), maps.mean(dim=(2, 3)))
    assert maps.min() >= 0  # the last block ends with a ReLU


def test_signal_arrives():
    """He initialization keeps it; PyTorch's shrinks it at each of twelve layers."""
    torch.manual_seed(0)
    x, spread = torch.randn(8, 3, 224, 224), {}
    net = NiN("imagenet").eval()
    for name in ("he", "default"):
        with torch.inference_mode():
            maps = net[:-1](x[:2])
        spread[name] = (maps - maps.mean(dim=0)).std()
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()
    assert spread["he"] > 100 * spread["default"]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("variant", ["cifar", "small"])
def test_classes_channels_and_gradients(variant, batch_norm):
    torch.manual_seed(0)
    net = NiN(variant, num_classes=7, in_channels=2, batch_norm=batch_norm)
    logits = net(torch.randn(4, 2, 32, 32))
    assert logits.shape == (4, 7)
    logits.logsumexp(1).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_slice_works(variant):
    with torch.device("meta"):
        net = NiN(variant)
        x = torch.empty(1, 1 if variant == "small" else 3, 224, 224)
        assert type(net[:2]) is nn.Sequential
        assert net[2:](net[:2](x)).shape == net(x).shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"variant": "mnist"},
            "NiN has the variants 'cifar', 'imagenet', 'small'; got 'mnist'",
        ),
        ({"variant": "cifar", "num_classes": 0}, "num_classes must be at least 1"),
        ({"variant": "cifar", "in_channels": 0}, "in_channels must be at least 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        NiN(**arguments)


def test_a_block_has_three_convolutions():
    with pytest.raises(ValueError, match=r"one number or three, got \(8, 8\)"):
        nin_block(3, (8, 8), 3)


def test_input_too_small():
    with pytest.raises(ValueError, match="the smallest image that works is 39x39"):
        NiN("imagenet")(torch.zeros(1, 3, 38, 38))
