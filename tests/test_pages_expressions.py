import pytest
import torch
import torchvision
from torch import nn

from course_lib import AlexNet, GoogLeNet, LeNet, ResNet, summarize
from course_lib.pages.expressions import (
    COURSE,
    cost,
    evaluate_expression,
    kernels,
    layers,
    values,
)


@pytest.mark.parametrize(
    ("net", "weights"),
    [
        (lambda: ResNet(18), "ResNet18_Weights.IMAGENET1K_V1"),
        (lambda: GoogLeNet("torchvision"), "GoogLeNet_Weights.IMAGENET1K_V1"),
        (lambda: AlexNet("torchvision"), "AlexNet_Weights.IMAGENET1K_V1"),
    ],
)
def test_cost_is_what_torchvision_says(net, weights):
    meta = torchvision.models.get_weight(weights).meta
    with torch.device("meta"):
        total = cost(net(), 224)
    assert total.parameters == meta["num_params"]
    assert round(total.macs / 1e9, 3) == meta["_ops"]


def test_layers_in_the_order_in_which_they_run():
    rows = layers(LeNet("modern"), (1, 28, 28))
    assert [row.name for row in rows][:3] == ["c1.0", "c1.1", "s2"]
    assert rows[0][:5] == ("c1.0", "Conv2d", (6, 28, 28), 156, 6 * 28 * 28 * 25)
    assert rows[1][:5] == ("c1.1", "ReLU", (6, 28, 28), 0, 0)
    assert rows[-1][:5] == ("output", "Linear", (10,), 850, 840)


def test_layers_are_those_of_the_x_ray():
    with torch.device("meta"):
        net = ResNet(18)
    assert layers(net, 224) == [*summarize(net, (3, 224, 224)).layers]


def test_cost_of_some_kinds():
    with torch.device("meta"):
        net = AlexNet("paper")
    parts = [cost(net, 227, kind) for kind in ("Conv", "Linear")]
    assert sum(part.macs for part in parts) == cost(net, 227).macs
    assert cost(net, 227, "Conv", "Linear").activations == sum(
        part.activations for part in parts
    )
    # The abstract's 650,000 neurons: the outputs of the five convolutions.
    assert parts[0].activations == 650_080


def test_kernels():
    net = nn.Sequential(nn.Conv2d(1, 1, 5, 2), nn.ReLU(), nn.MaxPool2d(3, 1))
    assert kernels(net) == [(5, 2), (3, 1)]
    assert kernels(net, "Pool") == [(3, 1)]


def test_values_are_numbers_even_on_the_meta_device():
    with torch.device("meta"):
        assert values(1, 2).flatten().tolist() == [1, 2]


def test_value():
    assert evaluate_expression('count_parameters(LeNet("paper"))') == 60_000
    assert evaluate_expression("{k: (k, s) for k, s in [(1, 2)]}") == {1: [1, 2]}
    assert evaluate_expression(" output_size(224, 7, stride=2, padding=3)\n") == 112


@pytest.mark.parametrize(
    "expression",
    [
        "open('/etc/hostname')",
        "__import__('os')",
        "LeNet.__init__.__globals__",
        "(lambda: 1)()",
        "f'{1}'",
        "torch",
        "(x := 1)",
    ],
)
def test_what_cannot_stand_in_an_expression(expression):
    with pytest.raises(ValueError, match="cannot stand in an expression"):
        evaluate_expression(expression)


def test_names_are_those_of_the_course():
    assert all(
        thing.__module__.startswith("course_lib.")
        for thing in COURSE.values()
        if callable(thing)
    )
