import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib import count_parameters, summarize
from course_lib.alexnet import VARIANTS, AlexNet
from course_lib.blocks import response_norm

META = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta


def on_meta(*args, **kwargs):
    with torch.device("meta"):
        return AlexNet(*args, **kwargs)


def pair():
    """Ours and torchvision's, with the same random weights and, unlike fresh ones,
    biases that matter.
    """
    torch.manual_seed(0)
    ours = AlexNet("torchvision", dropout=0.0)
    with torch.no_grad():
        for parameter in ours.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(-0.5, 0.5)
    theirs = torchvision.models.alexnet(dropout=0.0)
    theirs.load_state_dict(
        dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True))
    )
    return ours, theirs


@pytest.mark.parametrize(
    ("variant", "convs", "total"),
    [
        ("paper", (34_944, 307_456, 885_120, 663_936, 442_624), 60_965_224),
        ("merged", (34_944, 614_656, 885_120, 1_327_488, 884_992), 62_378_344),
        ("torchvision", (23_296, 307_392, 663_936, 884_992, 590_080), 61_100_840),
    ],
)
def test_parameters_of_each_stage(variant, convs, total):
    """The totals are those of Caffe's bvlc_alexnet, of the same network without groups,
    and of torchvision.
    """
    net = on_meta(variant)
    counts = {name: count_parameters(child) for name, child in net.named_children()}
    names = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    full = (37_752_832, 16_781_312, 4_097_000)
    assert counts == dict(zip(names, convs + full, strict=True))
    assert count_parameters(net) == total
    if variant == "torchvision":
        assert total == META["num_params"]


def test_multiplications_are_those_that_torchvision_publishes():
    with FlopCounterMode(display=False) as counter:
        on_meta("torchvision")(torch.empty(1, 3, 224, 224, device="meta"))
    assert round(counter.get_total_flops() / 2e9, 3) == META["_ops"]


@pytest.mark.parametrize("variant", ["paper", "merged"])
@pytest.mark.parametrize("overlapping", [True, False])
def test_sizes_of_figure_2(variant, overlapping):
    """Section 3.4 says that pooling without overlap gives the same dimensions."""
    net = on_meta(variant, overlapping=overlapping)
    assert {
        stage.name: stage.shape for stage in summarize(net, (3, 227, 227)).stages
    } == {
        "conv1": (96, 27, 27),
        "conv2": (256, 13, 13),
        "conv3": (384, 13, 13),
        "conv4": (384, 13, 13),
        "conv5": (256, 6, 6),
        "fc6": (4096,),
        "fc7": (4096,),
        "fc8": (1000,),
    }


def neurons(net, size):
    """The outputs of every layer with weights."""
    shapes = []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda *args: shapes.append(args[2].shape[1:]))
    net(torch.empty(1, 3, size, size, device="meta"))
    return shapes, [shape.numel() for shape in shapes]


def test_650_000_neurons():
    """Section 3.5 gives 253,440 for conv1, which is not 96 square feature maps; 55x55
    makes 290,400, and with it the convolutions alone make the 650,000 of the abstract.
    """
    shapes, counts = neurons(on_meta("paper"), 227)
    assert shapes[0] == (96, 55, 55)
    assert counts == [290_400, 186_624, 64_896, 64_896, 43_264, 4_096, 4_096, 1_000]
    assert sum(counts[:5]) == 650_080
    assert sum(counts) == 659_272
    assert 253_440 == 96 * 48 * 55
    assert 253_440 + sum(counts[1:5]) == 613_120


def test_224_or_227_pixels():
    """The text says 224, Caffe's bvlc_alexnet crops 227 without padding, torchvision
    pads 224 by 2: both of these give 55, and 224 without padding gives 54.
    """

    def conv1(variant, size):
        x = torch.empty(1, 3, size, size, device="meta")
        return on_meta(variant).conv1[0](x).shape[2:]

    assert conv1("paper", 227) == conv1("torchvision", 224) == (55, 55)
    assert conv1("paper", 224) == (54, 54)
    with pytest.raises(ValueError, match="smallest image that works is 227x227"):
        on_meta("paper")(torch.empty(1, 3, 224, 224, device="meta"))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("size", [63, 130, 224])
def test_equals_torchvision(size):
    """63 is the smallest size that torchvision gives."""
    ours, theirs = pair()
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        logits = ours(x)
        torch.testing.assert_close(logits, theirs(x), rtol=1e-5, atol=1e-5)
    assert (logits[0] - logits[1]).abs().max() > 0.1


@pytest.mark.usefixtures("narrow")
def test_gradients_equal_torchvision():
    ours, theirs = pair()
    x, y = torch.randn(4, 3, 96, 96), torch.tensor([0, 1, 2, 3])
    for net in (ours, theirs):
        F.cross_entropy(net(x), y).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("narrow")
def test_dropout_falls_where_torchvision_has_it():
    """The same seed drops the same units: those that enter fc6 and fc7."""
    ours, theirs = pair()
    x, logits = torch.randn(2, 3, 63, 63), []
    for net in (ours, theirs):
        for layer in net.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.5
        torch.manual_seed(1)
        logits.append(net(x))
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", ["paper", "merged", "small"])
def test_dropout_of_the_paper_leaves_half_of_fc6_and_fc7(variant):
    """Section 4.2: outputs are set to zero, not inputs or weights."""
    net = on_meta(variant, dropout=0.25)
    for stage in (net.fc6, net.fc7):
        assert [type(layer) for layer in stage][-3:] == [nn.Linear, nn.ReLU, nn.Dropout]
        assert stage[-1].p == 0.25
    assert not any(isinstance(layer, nn.Dropout) for layer in net.fc8.modules())


def test_normalization_of_section_3_3():
    """The formula, written out: a sum over five channels; PyTorch takes a mean."""
    a = 10 * torch.randn(2, 9, 3, 3)
    b = torch.empty_like(a)
    for i in range(9):
        window = a[:, max(0, i - 2) : i + 3]
        b[:, i] = a[:, i] / (2 + 1e-4 * window.square().sum(dim=1)) ** 0.75
    torch.testing.assert_close(response_norm()(a), b)
    mean = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)
    assert not torch.allclose(mean(a), b, rtol=1e-3)


@pytest.mark.usefixtures("narrow")
def test_two_groups_are_a_network_with_block_diagonal_weights():
    """With zeros between the groups, the network without groups computes the same; the
    input of conv3, which has no groups, are the channels of both.
    """
    torch.manual_seed(0)
    grouped, merged = AlexNet("paper").eval(), AlexNet("merged").eval()
    groups = {}
    for name, layer in grouped.named_children():
        theirs = merged.get_submodule(name)
        if name.startswith("conv"):
            layer, theirs = layer[0], theirs[0]
            groups[name] = layer.groups
        if groups.get(name) == 2:
            upper, lower = layer.weight.chunk(2)
            zeros = torch.zeros_like(upper)
            rows = torch.cat([upper, zeros], 1), torch.cat([zeros, lower], 1)
            state = {"weight": torch.cat(rows), "bias": layer.bias}
            theirs.load_state_dict(state)
        else:
            theirs.load_state_dict(layer.state_dict())
    assert [name for name in groups if groups[name] == 2] == ["conv2", "conv4", "conv5"]
    x = torch.randn(2, 3, 227, 227)
    with torch.inference_mode():
        torch.testing.assert_close(grouped(x), merged(x), rtol=1e-5, atol=1e-5)


def kinds(net, kind):
    return [
        name
        for name, child in net.named_children()
        if any(isinstance(layer, kind) for layer in child.modules())
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_choices(variant):
    """Each choice of section 3 can be made for every variant."""
    lrn = variant in ("paper", "merged")
    plain = on_meta(variant)
    assert kinds(plain, nn.LocalResponseNorm) == (["conv1", "conv2"] if lrn else [])
    assert kinds(plain, nn.MaxPool2d) == ["conv1", "conv2", "conv5"]
    assert kinds(on_meta(variant, lrn=True), nn.LocalResponseNorm) == ["conv1", "conv2"]
    assert kinds(on_meta(variant, lrn=False), nn.LocalResponseNorm) == []
    assert kinds(plain, nn.ReLU) == [*(f"conv{n}" for n in range(1, 6)), "fc6", "fc7"]
    tanh = on_meta(variant, activation=nn.Tanh)
    assert kinds(tanh, nn.Tanh) == kinds(plain, nn.ReLU)
    assert not kinds(tanh, nn.ReLU)
    for overlapping, size in ((True, 3), (False, 2)):
        net = on_meta(variant, overlapping=overlapping)
        pools = [layer for layer in net.modules() if isinstance(layer, nn.MaxPool2d)]
        assert [(pool.kernel_size, pool.stride) for pool in pools] == [(size, 2)] * 3


def test_normalization_follows_the_activation_and_precedes_pooling():
    assert [type(layer) for layer in on_meta("paper").conv1] == [
        nn.Conv2d,
        nn.ReLU,
        nn.LocalResponseNorm,
        nn.MaxPool2d,
    ]


@pytest.mark.parametrize("overlapping", [True, False])
def test_small_net_is_small(overlapping):
    net = on_meta("small", overlapping=overlapping)
    shapes = [stage.shape for stage in summarize(net, (1, 28, 28)).stages]
    assert shapes[:5] == [(16, 11, 11), (64, 5, 5), (96, 5, 5), (96, 5, 5), (64, 2, 2)]
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 1, 28, 28, device="meta"))
    assert 5e6 < counter.get_total_flops() / 2 < 12e6


def test_weights_begin_as_he_s():
    """Their deviation is sqrt(2 / fan), not the paper's 0.01; all biases are zero,
    where the paper has some ones.
    """
    torch.manual_seed(0)
    net = AlexNet("small")
    for layer, fan in ((net.conv2[0], 64 * 25), (net.fc7[0], 256)):
        torch.testing.assert_close(
            layer.weight.std().item(), (2 / fan) ** 0.5, rtol=0.05, atol=0
        )
    for name, parameter in net.named_parameters():
        assert not name.endswith("bias") or parameter.count_nonzero() == 0


def test_the_paper_s_weights_are_too_small_for_the_small_net():
    """Why: section 5's standard deviation of 0.01 and its ones for biases leave nothing
    of the image in the logits, nor of the loss in the gradient of conv1.
    """
    torch.manual_seed(0)
    net, x = AlexNet("small").eval(), torch.randn(8, 1, 28, 28)

    def differences_and_gradient():
        logits = net(x)
        (gradient,) = torch.autograd.grad(
            F.cross_entropy(logits, torch.arange(8)), net.conv1[0].weight
        )
        return logits.std(dim=0).mean(), gradient.norm()

    he = differences_and_gradient()
    for name, parameter in net.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(parameter, std=0.01)
        elif name.startswith(("conv2", "conv4", "conv5", "fc6", "fc7")):
            nn.init.ones_(parameter)
    paper = differences_and_gradient()
    assert all(a < 1e-4 * b for a, b in zip(paper, he, strict=True))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("variant", "size", "activation"),
    [
        ("paper", 227, nn.ReLU),
        ("torchvision", 64, nn.Sigmoid),
        ("small", 28, nn.ReLU),
        ("small", 28, nn.Tanh),
    ],
)
def test_classes_channels_and_gradients(variant, size, activation):
    torch.manual_seed(0)
    net = AlexNet(variant, num_classes=7, in_channels=2, activation=activation)
    logits = net(torch.randn(2, 2, size, size))
    assert logits.shape == (2, 7)
    logits.logsumexp(1).sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0
        for parameter in net.parameters()
    )


def test_slices_are_plain():
    net, x = AlexNet("small"), torch.randn(2, 1, 28, 28)
    assert type(net[:2]) is nn.Sequential
    torch.testing.assert_close(net[2:].eval()(net[:2](x)), net.eval()(x))


def test_too_small():
    message = f"smallest image that works is {META['min_size'][0]}x"
    with pytest.raises(ValueError, match=message):
        on_meta("torchvision")(torch.empty(1, 3, 62, 62, device="meta"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "one"}, "'paper', 'merged', 'torchvision', 'small'; got 'one'"),
        (
            {"variant": "small", "num_classes": 0},
            "num_classes must be at least 1, got 0",
        ),
        (
            {"variant": "small", "in_channels": 0},
            "in_channels must be at least 1, got 0",
        ),
        ({"variant": "small", "dropout": 1.5}, "from 0 to 1, got 1.5"),
        ({"variant": "small", "dropout": -0.1}, "from 0 to 1, got -0.1"),
        (
            {"variant": "small", "activation": nn.Tanh()},
            r"a class like nn.Tanh, got Tanh\(\)",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AlexNet(**arguments)
