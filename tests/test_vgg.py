import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib import count_parameters, summarize
from course_lib.vgg import VARIANTS, VGG, vgg_block

DEPTHS = (11, 13, 16, 19)
LETTERS = ("A", "A-LRN", "B", "C", "D", "E")


def on_meta(*args, **kwargs):
    with torch.device("meta"):
        return VGG(*args, **kwargs)


def convs(net):
    return [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]


def pair(depth, batch_norm):
    """Ours and torchvision's on the same memory, with random weights and, unlike fresh
    ones, biases and statistics that matter.
    """
    torch.manual_seed(depth)
    ours = VGG(depth, batch_norm=batch_norm, dropout=0.0)
    state = ours.state_dict()
    for value in state.values():
        if value.dim() == 1:
            value.uniform_(0.1, 1)
    with torch.device("meta"):
        name = f"vgg{depth}_bn" if batch_norm else f"vgg{depth}"
        theirs = getattr(torchvision.models, name)(dropout=0.0)
    state = dict(zip(theirs.state_dict(), state.values(), strict=True))
    theirs.load_state_dict(state, assign=True)
    return ours, theirs


@pytest.mark.parametrize(
    ("variant", "count", "millions"),
    [
        ("A", 132_863_336, 133),
        ("A-LRN", 132_863_336, 133),
        ("B", 133_047_848, 133),
        ("C", 133_638_952, 134),
        ("D", 138_357_544, 138),
        ("E", 143_667_240, 144),
    ],
)
def test_parameters_of_table_2(variant, count, millions):
    assert count_parameters(on_meta(variant)) == count
    assert round(count / 1e6) == millions


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("suffix", ["", "_BN"])
def test_numbers_that_torchvision_publishes(depth, suffix):
    meta = getattr(torchvision.models, f"VGG{depth}{suffix}_Weights").IMAGENET1K_V1.meta
    net = on_meta(depth, batch_norm=bool(suffix))
    assert count_parameters(net) == meta["num_params"]
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, 224, 224, device="meta"))
    assert round(counter.get_total_flops() / 2e9, 3) == meta["_ops"]


@pytest.mark.parametrize(
    ("depth", "letter"), [(11, "A"), (13, "B"), (16, "D"), (19, "E")]
)
def test_a_depth_is_a_letter(depth, letter):
    assert VARIANTS[depth] is VARIANTS[letter]


@pytest.mark.parametrize(
    ("variant", "kernels"),
    [
        ("A", "3 3 33 33 33"),
        ("A-LRN", "3 3 33 33 33"),
        ("B", "33 33 33 33 33"),
        ("C", "33 33 331 331 331"),
        ("D", "33 33 333 333 333"),
        ("E", "33 33 3333 3333 3333"),
        ("small", "3 3 33 33"),
    ],
)
def test_convolutions_of_table_1(variant, kernels):
    """Their kernels, block by block; three fully connected layers follow."""
    blocks = on_meta(variant)[:-3]
    assert kernels == " ".join(
        "".join(str(layer.kernel_size[0]) for layer in convs(block)) for block in blocks
    )


@pytest.mark.parametrize("variant", LETTERS)
def test_stage_sizes_of_table_1(variant):
    stages = summarize(on_meta(variant), (3, 224, 224)).stages
    assert {stage.name: stage.shape for stage in stages} == {
        "conv1": (64, 112, 112),
        "conv2": (128, 56, 56),
        "conv3": (256, 28, 28),
        "conv4": (512, 14, 14),
        "conv5": (512, 7, 7),
        "fc6": (4096,),
        "fc7": (4096,),
        "fc8": (1000,),
    }


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_equals_torchvision(depth, batch_norm):
    ours, theirs = pair(depth, batch_norm)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        logits = ours.eval()(x)
        torch.testing.assert_close(logits, theirs.eval()(x), rtol=1e-5, atol=1e-5)
    assert (logits[0] - logits[1]).abs().max() > 0.1


@pytest.mark.usefixtures("narrow")
def test_gradients_and_statistics_equal_torchvision():
    ours, theirs = pair(11, batch_norm=True)
    for buffer in theirs.buffers():
        buffer.data = buffer.clone()
    x, y = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 3])
    for net in (ours, theirs):
        F.cross_entropy(net(x), y).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def theirs_with(state, depth):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"vgg{depth}")()
    theirs.load_state_dict(
        dict(zip(theirs.state_dict(), state, strict=True)), assign=True
    )
    return theirs.eval()


@pytest.mark.usefixtures("narrow")
def test_c_is_d_with_kernels_of_one_pixel():
    """A 1x1 kernel is a 3x3 kernel of zeros around it: torchvision's vgg16 with such
    kernels is configuration C.
    """
    torch.manual_seed(0)
    ours = VGG("C").eval()
    theirs = theirs_with(
        [
            F.pad(value, (1, 1, 1, 1)) if value.shape[2:] == (1, 1) else value
            for value in ours.state_dict().values()
        ],
        16,
    )
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("narrow")
def test_a_lrn_is_a_with_one_normalization():
    """It stands behind the first ReLU, with the constants of AlexNet."""
    torch.manual_seed(0)
    ours = VGG("A-LRN").eval()
    theirs = theirs_with(ours.state_dict().values(), 11)
    norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    x = 100 * torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        without = theirs(x)
        theirs.features.insert(2, norm)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(ours(x), without, rtol=1e-2)


@pytest.mark.usefixtures("narrow")
def test_dropout_falls_where_torchvision_has_it():
    """The same seed drops the same units: half of those of fc6 and fc7."""
    logits = []
    ours, theirs = pair(11, batch_norm=False)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        for net in (ours, theirs):
            for layer in net.modules():
                if isinstance(layer, nn.Dropout):
                    layer.p = 0.5
            torch.manual_seed(1)
            logits.append(net(x))
        torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(logits[0], ours.eval()(x), rtol=1e-2)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_normalization_is_after_each_convolution_or_nowhere(variant, batch_norm):
    net = on_meta(variant, batch_norm=batch_norm, dropout=0.25)
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [
        conv.out_channels for conv in convs(net) if batch_norm
    ]
    assert [net.fc6[-1].p, net.fc7[-1].p] == [0.25, 0.25]


def test_block():
    """Two 3x3 convolutions by hand."""
    block, x = vgg_block(2, 3, 8), torch.randn(2, 3, 9, 9)
    first, second = convs(block)
    y = F.conv2d(x, first.weight, first.bias, padding=1).relu()
    y = F.conv2d(y, second.weight, second.bias, padding=1).relu()
    torch.testing.assert_close(block(x), F.max_pool2d(y, 2))


def test_order_of_everything_a_block_can_have():
    block = vgg_block(2, 3, 8, batch_norm=True, lrn=True, pointwise=True)
    assert [type(layer).__name__ for layer in block] == [
        *("Conv2d", "BatchNorm2d", "ReLU", "LocalResponseNorm"),
        *("Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"),
    ]
    assert [conv.kernel_size for conv in convs(block)] == [(3, 3), (1, 1)]


def test_weights_begin_as_he_s():
    torch.manual_seed(0)
    net = VGG("small")
    for layer, fan in ((net.conv4[0], 128 * 9), (net.fc7[0], 256)):
        torch.testing.assert_close(
            layer.weight.std().item(), (2 / fan) ** 0.5, rtol=0.05, atol=0
        )
        assert layer.bias.count_nonzero() == 0


def test_small_net_is_small():
    net = on_meta("small")
    shapes = [stage.shape for stage in summarize(net, (1, 28, 28)).stages]
    assert shapes == [
        *((16, 14, 14), (32, 7, 7), (64, 3, 3), (128, 1, 1)),
        *((256,), (256,), (10,)),
    ]
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 1, 28, 28, device="meta"))
    assert 5e6 < counter.get_total_flops() / 2 < 12e6


@pytest.mark.parametrize("batch_norm", [False, True])
def test_classes_channels_and_gradients(batch_norm):
    torch.manual_seed(0)
    net = VGG("small", num_classes=7, in_channels=2, batch_norm=batch_norm)
    logits = net(torch.randn(4, 2, 28, 28))
    assert logits.shape == (4, 7)
    logits.logsumexp(1).sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0
        for parameter in net.parameters()
    )


@pytest.mark.parametrize("variant", LETTERS)
def test_classes_and_channels_of_table_1(variant):
    net = on_meta(variant, num_classes=7, in_channels=2)
    assert net(torch.empty(2, 2, 64, 64, device="meta")).shape == (2, 7)


def test_gradients_pass_the_normalization_of_a_lrn():
    block, x = vgg_block(1, 3, 8, lrn=True), torch.randn(1, 3, 4, 4)
    block, x = block.double(), x.double().requires_grad_()
    assert torch.autograd.gradcheck(block, x)


def test_slices_are_plain():
    net, x = VGG("small", batch_norm=True).eval(), torch.randn(2, 1, 28, 28)
    assert type(net[:2]) is nn.Sequential
    torch.testing.assert_close(net[2:](net[:2](x)), net(x))


@pytest.mark.parametrize(("variant", "smallest"), [(16, 32), ("small", 16)])
def test_too_small(variant, smallest):
    """32 is what torchvision publishes, too."""
    net, size = on_meta(variant), smallest - 1
    channels = convs(net)[0].in_channels
    with pytest.raises(ValueError, match=f"works is {smallest}x{smallest}$"):
        net(torch.empty(1, channels, size, size, device="meta"))
    if variant == 16:
        meta = torchvision.models.VGG16_Weights.IMAGENET1K_V1.meta
        assert meta["min_size"] == (smallest, smallest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": 12}, "VGG has the variants 'A', .*, 11, 13, 16, 19; got 12"),
        ({"variant": 11, "num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"variant": 11, "in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"variant": "small", "dropout": 1.5}, "from 0 to 1, got 1.5"),
        ({"variant": "small", "dropout": -0.1}, "from 0 to 1, got -0.1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        VGG(**arguments)


def test_a_block_has_a_convolution():
    with pytest.raises(ValueError, match="convs must be at least 1, got 0"):
        vgg_block(0, 3, 8)
