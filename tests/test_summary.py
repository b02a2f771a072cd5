import pytest
import torch
from torch import nn

from course_lib import LeNet, ResNet, count_parameters, summarize


def test_table():
    assert str(summarize(LeNet("modern"), (1, 28, 28))) == (
        "LeNet\n"
        "stage   output shape  parameters\n"
        "input   1 x 28 x 28\n"
        "c1      6 x 28 x 28          156\n"
        "s2      6 x 14 x 14            0\n"
        "c3      16 x 10 x 10       2,416\n"
        "s4      16 x 5 x 5             0\n"
        "c5      120               48,120\n"
        "f6      84                10,164\n"
        "output  10                   850\n"
        "total                     61,706"
    )


def test_leaves_the_net_as_it_was():
    net = ResNet("small").train()
    net.conv2_x.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    summarize(net, (1, 28, 28))
    assert net.training
    assert not net.conv2_x.training
    assert all(
        torch.equal(value, before[name]) for name, value in net.state_dict().items()
    )
    assert not any(module._forward_hooks for module in net.modules())


def test_any_module_and_stages_in_the_order_they_run():
    class Crossed(nn.Module):
        def __init__(self):
            super().__init__()
            self.second = nn.Linear(3, 2)
            self.first = nn.Linear(4, 3)

        def forward(self, x):
            return self.second(self.first(x.flatten(1)))

    assert [stage.name for stage in summarize(Crossed(), (1, 2, 2)).stages] == [
        "first",
        "second",
    ]


def test_shared_parameters_count_once():
    layer = nn.Linear(4, 4)
    assert count_parameters(nn.Sequential(layer, layer)) == 20


def test_an_input_that_does_not_fit():
    with pytest.raises(ValueError, match="smallest picture that works is 28x28"):
        summarize(LeNet("modern"), (1, 8, 8))
    with pytest.raises(ValueError, match="Linear cannot take an input of size 3"):
        summarize(nn.Linear(4, 4), (3,))
