import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib import count_parameters, summarize
from course_lib.googlenet import (
    AUX_WEIGHT,
    PAPER_TABLE_1,
    TABLE_1,
    VARIANTS,
    GoogLeNet,
    Inception,
    InceptionChannels,
    Outputs,
)

WEIGHTS = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1


def pair(aux):
    """Our network and torchvision's with the same random weights, and no dropout."""
    torch.manual_seed(1)
    ours = GoogLeNet("torchvision", aux=aux)
    for layer in ours.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as new, it would hide an exchange
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    theirs = torchvision.models.googlenet(
        aux_logits=aux, init_weights=False, transform_input=False
    )
    theirs.load_state_dict(
        dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True))
    )
    for layer in (*ours.modules(), *theirs.modules()):
        if isinstance(layer, nn.Dropout):
            layer.p = 0
    return ours, theirs


@pytest.mark.parametrize(
    ("variant", "aux", "count"),
    [
        ("paper", False, 6_998_552),
        ("paper", True, 13_378_280),
        ("torchvision", False, WEIGHTS.meta["num_params"]),
        ("torchvision", True, 13_004_888),
    ],
)
def test_parameters(variant, aux, count):
    """The paper's are those of Caffe's bvlc_googlenet, which has its biases."""
    with torch.device("meta"):
        assert count_parameters(GoogLeNet(variant, aux=aux)) == count


@pytest.mark.parametrize("variant", ["paper", "torchvision"])
def test_output_sizes_of_table_1(variant):
    with torch.device("meta"):
        stages = summarize(GoogLeNet(variant), (3, 224, 224)).stages
    assert [(stage.name, *stage.shape) for stage in stages] == [
        ("conv1", 64, 112, 112),
        ("pool1", 64, 56, 56),
        ("conv2", 192, 56, 56),
        ("pool2", 192, 28, 28),
        ("inception_3a", 256, 28, 28),
        ("inception_3b", 480, 28, 28),
        ("pool3", 480, 14, 14),
        ("inception_4a", 512, 14, 14),
        ("inception_4b", 512, 14, 14),
        ("inception_4c", 512, 14, 14),
        ("inception_4d", 528, 14, 14),
        ("inception_4e", 832, 14, 14),
        ("pool4", 832, 7, 7),
        ("inception_5a", 832, 7, 7),
        ("inception_5b", 1024, 7, 7),
        ("head", 1000),
    ]


def weights_and_operations():
    """Row of Table 1 -> weights without biases, multiply-accumulates at 224x224."""
    with torch.device("meta"):
        net = GoogLeNet("paper").eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 224, 224))
    flops = counter.get_flop_counts()
    computed = {}
    for name, stage in net.named_children():
        weights = sum(p.numel() for p in stage.parameters() if p.dim() > 1)
        if weights:
            row = {"head": "linear"}.get(name, name.removeprefix("inception_"))
            operations = sum(flops[f"GoogLeNet.{name}"].values()) // 2
            computed[row] = weights, operations
    return computed


def test_table_1_as_computed():
    computed = weights_and_operations()
    assert list(computed) == list(PAPER_TABLE_1)
    assert computed["conv1"] == (7 * 7 * 3 * 64, 7 * 7 * 3 * 64 * 112 * 112)
    assert computed["linear"] == (1_024_000, 1_024_000)
    total = sum(operations for _, operations in computed.values())
    assert round(total / 1e9, 2) == 1.58  # section 1 speaks of 1.5 billion


def deviations(column, unit):
    """Row of Table 1 -> how far its printed number is from the computed one, in %."""
    return {
        name: round(100 * (PAPER_TABLE_1[name][column] * unit / values[column] - 1), 1)
        for name, values in weights_and_operations().items()
    }


def test_parameters_of_table_1_that_do_not_follow_from_it():
    """With K for 1024 and no biases, five rows are right to the last digit or next to
    it, 4a and 4e nearly are, and the others cannot come from the row that they are in.
    """
    off = deviations(column=0, unit=1024)
    assert {name for name, percent in off.items() if abs(percent) < 0.5} == {
        "conv2",
        "3a",
        "3b",
        "4b",
        "linear",
    }
    assert {name: percent for name, percent in off.items() if abs(percent) >= 0.5} == {
        "conv1": -70.6,
        "4a": -0.7,
        "4c": -6.9,
        "4d": -1.8,
        "4e": -0.8,
        "5a": 5.3,
        "5b": -1.5,
    }


def test_operations_of_table_1_that_do_not_follow_from_it():
    """Multiply-accumulates: all but two are right, one of them cut, not rounded."""
    off = deviations(column=1, unit=1e6)
    clear = {name: percent for name, percent in off.items() if abs(percent) >= 1}
    assert {name: clear.pop(name) for name in ("conv1", "5a")} == {
        "conv1": -71.2,
        "5a": 5.7,
    }
    assert clear == {"linear": -2.3}  # 1.024 million, printed without decimals


@pytest.mark.parametrize("aux", [False, True])
def test_equals_torchvision(aux):
    """In number and order of the weights, and in logits."""
    ours, theirs = (net.eval() for net in pair(aux))
    x = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_training_equals_torchvision():
    """Three outputs, the gradients of their loss, and the running statistics."""
    ours, theirs = pair(aux=True)
    x, y = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 3])
    outputs, expected = ours(x), theirs(x)
    assert isinstance(outputs, Outputs)
    for a, b in zip(outputs, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    main, aux2, aux1 = (F.cross_entropy(logits, y) for logits in expected)
    torch.testing.assert_close(outputs.loss(y), main + 0.3 * aux1 + 0.3 * aux2)
    outputs.loss(y).backward()
    (main + 0.3 * aux1 + 0.3 * aux2).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_operations_equal_torchvision():
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        GoogLeNet("torchvision").eval()(torch.empty(1, 3, 224, 224))
    assert round(counter.get_total_flops() / 2e9, 3) == WEIGHTS.meta["_ops"]


def test_what_sets_the_paper_apart():
    """Section 5 and Table 1: real 5x5 kernels with biases, local response
    normalization, no batch normalization, 40% and 70% dropout, 5x5/3 average pooling.
    """
    with torch.device("meta"):
        layers = list(GoogLeNet("paper", aux=True).modules())
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert sum(conv.kernel_size == (5, 5) for conv in convs) == 9
    assert all(conv.bias is not None for conv in convs)
    assert sum(isinstance(layer, nn.LocalResponseNorm) for layer in layers) == 2
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in layers)
    drops = [layer.p for layer in layers if isinstance(layer, nn.Dropout)]
    assert drops == [0.7, 0.7, 0.4]
    pools = [layer for layer in layers if isinstance(layer, nn.AvgPool2d)]
    assert [(pool.kernel_size, pool.stride) for pool in pools] == [(5, 3)] * 2


def test_22_layers():
    """Section 5 counts layers with parameters on the longest path: 22."""
    with torch.device("meta"):
        net = GoogLeNet("paper")
    modules = sum(isinstance(stage, Inception) for stage in net)
    assert 1 + 2 + 2 * modules + 1 == 22
    assert {f"inception_{name}" for name in TABLE_1} <= dict(
        net.named_children()
    ).keys()


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_inception_is_four_branches(kernel_size, batch_norm):
    """Written out with PyTorch's functions."""
    block = Inception(
        8,
        InceptionChannels(2, 3, 4, 5, 6, 7),
        kernel_size=kernel_size,
        batch_norm=batch_norm,
    ).eval()
    x = torch.randn(2, 8, 9, 11)

    def conv(stage, y):
        y = F.conv2d(y, stage[0].weight, stage[0].bias, padding="same")
        return F.relu(stage[1](y) if batch_norm else y)

    views = [
        conv(block.conv1x1, x),
        conv(block.conv3x3[1], conv(block.conv3x3[0], x)),
        conv(block.conv5x5[1], conv(block.conv5x5[0], x)),
        conv(block.pool_proj[1], F.max_pool2d(x, 3, 1, 1)),
    ]
    torch.testing.assert_close(block(x.clone()), torch.cat(views, dim=1))
    assert (
        block(x).shape[1]
        == InceptionChannels(2, 3, 4, 5, 6, 7).out_channels
        == 2 + 4 + 6 + 7
    )
    assert block.conv5x5[1][0].kernel_size == (kernel_size, kernel_size)


def test_classifiers_are_only_for_training():
    net = GoogLeNet("small", aux=True)
    x = torch.randn(2, 1, 28, 28)
    assert [logits.shape for logits in net(x)] == [(2, 10)] * 3
    net.eval()
    assert net(x).shape == (2, 10)
    plain = GoogLeNet("small").eval()
    plain.load_state_dict(
        {k: v for k, v in net.state_dict().items() if not k.startswith("aux.")}
    )
    torch.testing.assert_close(net(x), plain(x))


def test_each_classifier_reads_its_module():
    """What comes after a module cannot reach its classifier."""
    net = GoogLeNet("small", aux=True)
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0
    x, changed = torch.randn(2, 1, 28, 28), copy.deepcopy(net)
    with torch.no_grad():
        changed.inception_4a.conv1x1[0].weight.add_(1)
    before, after = net(x), changed(x)
    assert torch.equal(before.aux1, after.aux1)
    assert not torch.equal(before.aux2, after.aux2)
    assert not torch.equal(before.logits, after.logits)


def test_loss_weighs_the_classifiers():
    logits, y = torch.randn(3, 4, 10), torch.tensor([1, 2, 3, 4])
    outputs = Outputs(*logits)
    parts = [F.cross_entropy(each, y, label_smoothing=0.1) for each in logits]
    expected = parts[0] + AUX_WEIGHT * (parts[1] + parts[2])
    torch.testing.assert_close(outputs.loss(y, label_smoothing=0.1), expected)
    assert AUX_WEIGHT == 0.3


def test_a_slice_works():
    net = GoogLeNet("small", aux=True).train()
    x = torch.randn(2, 1, 28, 28)
    assert type(net[:4]) is nn.Sequential
    assert net[:4](x).shape == (2, 80, 7, 7)
    assert net[:-1](x).shape == (2, 224, 3, 3)


@pytest.mark.parametrize("batch_norm", [False, True, None])
@pytest.mark.parametrize("variant", VARIANTS)
def test_classes_channels_and_normalization(variant, batch_norm):
    with torch.device("meta"):
        net = GoogLeNet(variant, num_classes=7, in_channels=2, batch_norm=batch_norm)
        assert net(torch.empty(2, 2, 64, 64)).shape == (2, 7)
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
    convs = sum(isinstance(layer, nn.Conv2d) for layer in net.modules())
    wanted = variant != "paper" if batch_norm is None else batch_norm
    assert norms == (convs if wanted else 0)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_everything_learns(batch_norm):
    net = GoogLeNet("small", aux=True, batch_norm=batch_norm)
    net(torch.randn(4, 1, 28, 28)).loss(torch.arange(4)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_signal_keeps_its_size():
    """Without batch normalization, nine modules neither blow it up nor lose it."""
    torch.manual_seed(0)
    net = GoogLeNet("paper").eval()
    with torch.inference_mode():
        first = net[:4](torch.randn(2, 3, 64, 64))
        last = net[4:-1](first)
    assert 0.3 < last.square().mean() / first.square().mean() < 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"variant": "v3"},
            "GoogLeNet has the variants 'paper', 'torchvision', 'small'; got 'v3'",
        ),
        ({"variant": "small", "num_classes": 0}, "num_classes must be at least 1"),
        ({"variant": "small", "in_channels": 0}, "in_channels must be at least 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GoogLeNet(**arguments)


SMALLEST = "the smallest image that works is"  # which takes a second to be found


@pytest.mark.parametrize(
    ("aux", "shape", "message"),
    [
        (False, (2, 3, 28, 28), r"it wants \(N, 1, H, W\)"),
        (True, (2, 3, 28, 28), r"it wants \(N, 1, H, W\)"),
        pytest.param(False, (2, 1, 3, 3), SMALLEST, marks=pytest.mark.slow),
        (True, (2, 1, 3, 3), SMALLEST),
    ],
)
def test_bad_inputs(aux, shape, message):
    with pytest.raises(ValueError, match=message):
        GoogLeNet("small", aux=aux)(torch.zeros(shape))


@pytest.mark.parametrize("size", [222, 223, 270, 271])
def test_sizes_that_the_classifiers_take(size):
    with torch.device("meta"):
        net, x = GoogLeNet("paper", aux=True), torch.empty(1, 3, size, size)
        if 223 <= size <= 270:
            assert net(x).aux1.shape == (1, 1000)
        else:
            with pytest.raises(ValueError, match=f"classifiers cannot take .*{size}"):
                net(x)


def test_local_response_normalization_over_five_channels():
    """Figure 3 has it before and after conv2; the paper does not say over how many
    channels, Caffe's bvlc_googlenet has local_size 5, as AlexNet.
    """
    layers = GoogLeNet("paper").conv2
    norms = [layer for layer in layers if isinstance(layer, nn.LocalResponseNorm)]
    assert norms == [layers[0], layers[-1]]
    assert [norm.size for norm in norms] == [5, 5]
