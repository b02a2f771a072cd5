import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import LeNet, count_parameters, summarize
from course_lib.lenet import C3_TABLE, RBF, PartialConv2d, ScaledTanh, Subsampling


@pytest.mark.parametrize(
    ("variant", "counts"),
    [
        (
            "paper",
            {
                "c1": 156,
                "s2": 12,
                "c3": 1_516,
                "s4": 32,
                "c5": 48_120,
                "f6": 10_164,
                "output": 0,
            },
        ),
        (
            "modern",
            {
                "c1": 156,
                "s2": 0,
                "c3": 2_416,
                "s4": 0,
                "c5": 48_120,
                "f6": 10_164,
                "output": 850,
            },
        ),
    ],
)
def test_parameters_of_each_stage(variant, counts):
    """Section II-B of the paper gives the numbers of its layers; the total of the
    rebuild is the well-known 61,706.
    """
    with torch.device("meta"):
        net = LeNet(variant)
    assert {
        name: count_parameters(child) for name, child in net.named_children()
    } == counts
    assert count_parameters(net) == {"paper": 60_000, "modern": 61_706}[variant]


def test_sizes_of_figure_2():
    shapes = [stage.shape for stage in summarize(LeNet("paper"), (1, 32, 32)).stages]
    assert shapes == [
        (6, 28, 28),
        (6, 14, 14),
        (16, 10, 10),
        (16, 5, 5),
        (120,),
        (84,),
        (10,),
    ]
    assert [
        stage.shape for stage in summarize(LeNet("modern"), (1, 28, 28)).stages
    ] == shapes


def test_modern_is_what_everybody_builds():
    """The rebuild written out in one line, with the same weights: the same logits."""
    net = LeNet("modern", activation=nn.Sigmoid, pool=nn.AvgPool2d)
    layers = [
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Sigmoid(),
    ]
    layers += [
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Sigmoid(),
        nn.Linear(120, 84),
        nn.Sigmoid(),
    ]
    usual = nn.Sequential(*layers, nn.Linear(84, 10))
    usual.load_state_dict(
        dict(zip(usual.state_dict(), net.state_dict().values(), strict=True))
    )
    x = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(net(x), usual(x))


def test_modern_by_default_has_relu_and_maximum():
    kinds = {type(layer) for layer in LeNet("modern").modules()}
    assert {nn.ReLU, nn.MaxPool2d} <= kinds


def test_table_1():
    """Six feature maps read three neighbors, nine read four, one reads all; row sums
    are paper's ten of sixteen.
    """
    assert [len(inputs) for inputs in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert len({frozenset(inputs) for inputs in C3_TABLE}) == 16
    assert [sum(seen in inputs for inputs in C3_TABLE) for seen in range(6)] == [10] * 6
    assert {frozenset(inputs) for inputs in C3_TABLE[12:15]} == {
        frozenset({0, 1, 3, 4}),
        frozenset({1, 2, 4, 5}),
        frozenset({0, 2, 3, 5}),
    }


def test_partial_convolution_is_one_convolution_a_map():
    layer = PartialConv2d(6, C3_TABLE, 5)
    x = torch.randn(2, 6, 14, 14)
    start, maps = 0, []
    for inputs, bias in zip(C3_TABLE, layer.bias, strict=True):
        kernels = layer.weight[start : start + len(inputs)]
        maps.append(F.conv2d(x[:, list(inputs)], kernels[None], bias[None]))
        start += len(inputs)
    torch.testing.assert_close(layer(x), torch.cat(maps, dim=1))


def test_what_is_not_in_the_table_does_not_matter():
    layer, x = PartialConv2d(6, C3_TABLE, 5), torch.randn(1, 6, 14, 14)
    changed = x.clone()
    changed[:, 5] += 1
    same = (layer(x) == layer(changed)).flatten(2).all(2)[0]
    assert same.tolist() == [5 not in inputs for inputs in C3_TABLE]


def test_subsampling_starts_as_average():
    x = torch.randn(2, 3, 6, 6)
    layer = Subsampling(3)
    torch.testing.assert_close(layer(x), F.avg_pool2d(x, 2))
    with torch.no_grad():
        layer.coefficient.fill_(1)
        layer.bias.fill_(2)
    torch.testing.assert_close(layer(x), 4 * F.avg_pool2d(x, 2) + 2)


def test_scaled_tanh_meets_its_targets():
    y = ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0]))
    torch.testing.assert_close(y, torch.tensor([-1.0, 0.0, 1.0]), atol=1e-4, rtol=0)


def test_rbf_is_a_fixed_linear_layer_to_a_softmax():
    layer, x = RBF(10), torch.randn(4, 84)
    assert set(layer.codes.unique().tolist()) == {-1.0, 1.0}
    assert layer.codes.unique(dim=0).shape == (10, 84)
    assert not list(layer.parameters())
    torch.testing.assert_close(layer(x).softmax(1), (x @ layer.codes.T).softmax(1))
    assert layer(layer.codes).argmax(1).tolist() == list(range(10))
    torch.testing.assert_close(layer(layer.codes).diagonal(), torch.zeros(10))


def test_rbf_for_more_and_fewer_classes():
    assert torch.equal(RBF(3).codes, RBF(10).codes[:3])
    more = RBF(40).codes
    assert torch.equal(more, RBF(40).codes)
    assert more.unique(dim=0).shape == (40, 84)


@pytest.mark.parametrize("variant", ["paper", "modern", "small"])
def test_every_variant_takes_classes_channels_and_learns(variant):
    net = LeNet(variant, num_classes=7, in_channels=3)
    logits = net(torch.randn(2, 3, *((32, 32) if variant == "paper" else (28, 28))))
    assert logits.shape == (2, 7)
    logits.logsumexp(1).sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0
        for parameter in net.parameters()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "lenet-4"}, "'paper', 'modern', 'small'; got 'lenet-4'"),
        (
            {"variant": "modern", "num_classes": 0},
            "num_classes must be at least 1, got 0",
        ),
        (
            {"variant": "modern", "in_channels": -1},
            "in_channels must be at least 1, got -1",
        ),
        ({"variant": "paper", "activation": nn.ReLU}, "cannot be chosen"),
        ({"variant": "paper", "pool": nn.MaxPool2d}, "cannot be chosen"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LeNet(**arguments)
