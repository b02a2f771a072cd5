import pytest
import torch
from torch import nn

from course_lib import LeNet, Network, ResNet, conv_bn, conv_bn_relu, he_init


def test_conv_bn():
    net = conv_bn(3, 8, 5, stride=2)
    assert [type(layer) for layer in net] == [nn.Conv2d, nn.BatchNorm2d]
    assert net[0].bias is None
    assert net(torch.zeros(2, 3, 7, 9)).shape == (2, 8, 4, 5)


def test_conv_bn_relu():
    net = conv_bn_relu(3, 8, 3)
    assert [type(layer) for layer in net] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    y = net(torch.randn(2, 3, 6, 6))
    assert y.shape == (2, 8, 6, 6)
    assert y.min() == 0


def test_he_init_keeps_the_size_of_gradients():
    """Through twenty layers, forward and back; PyTorch's own initialization loses a
    factor of ten thousand.
    """

    def gradient(net):
        torch.manual_seed(0)
        x = torch.randn(32, 256, requires_grad=True)
        net(x).square().mean().sqrt().backward()
        return x.grad.norm().item()

    def deep():
        torch.manual_seed(0)
        return nn.Sequential(
            *(layer for _ in range(20) for layer in (nn.Linear(256, 256), nn.ReLU()))
        )

    usual, he = deep(), deep()
    he_init(he)
    assert gradient(he) > 1e3 * gradient(usual)
    assert all(
        layer.bias.abs().max() == 0 for layer in he if isinstance(layer, nn.Linear)
    )


def test_he_init_variances():
    layer = nn.Conv2d(16, 64, 3, bias=False)
    he_init(layer)
    assert layer.weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.05)


@pytest.mark.parametrize(
    ("net", "size"),
    [(LeNet("modern"), 28), (LeNet("paper"), 32), (ResNet("small"), 28)],
)
def test_a_slice_is_a_plain_sequential_that_shares(net, size):
    net.eval()
    first, rest = net[:2], net[2:]
    assert type(first) is nn.Sequential
    assert first[0] is net[0]
    assert list(dict(net.named_children())) == list(
        dict(first.named_children())
    ) + list(dict(rest.named_children()))
    x = torch.randn(1, 1, size, size)
    torch.testing.assert_close(rest(first(x)), net(x))


def test_index_and_negative_index():
    net = LeNet("modern")
    assert net[0] is net.c1
    assert net[-1] is net.output


@pytest.mark.parametrize(
    ("net", "shape", "reason"),
    [
        (
            LeNet("modern"),
            (1, 1, 20, 28),
            r"smallest image that works is 28x28, the largest 31x31",
        ),
        (
            LeNet("modern"),
            (1, 1, 32, 32),
            r"smallest image that works is 28x28, the largest 31x31",
        ),
        (
            LeNet("paper"),
            (1, 1, 28, 28),
            r"smallest image that works is 32x32, the largest 35x35",
        ),
        (LeNet("modern"), (1, 3, 28, 28), r"wants \(N, 1, H, W\)"),
        (LeNet("modern"), (1, 28, 28), r"wants \(N, 1, H, W\)"),
        (ResNet("small"), (1, 3, 28, 28), r"wants \(N, 1, H, W\)"),
    ],
)
def test_an_input_that_does_not_fit(net, shape, reason):
    with pytest.raises(ValueError, match=reason) as error:
        net(torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_bytes_do_not_fit():
    with pytest.raises(ValueError, match=r"floating-point numbers, not torch\.uint8"):
        LeNet("modern")(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))


class Broken(nn.Module):
    def forward(self, x):
        raise RuntimeError("my own trouble")


def test_other_errors_come_through():
    net = Network(nn.Conv2d(1, 1, 3), Broken())
    with pytest.raises(RuntimeError, match="my own trouble"):
        net(torch.zeros(1, 1, 8, 8))
    with pytest.raises(RuntimeError, match="my own trouble"):
        Network(Broken())(torch.zeros(1, 1, 8, 8))


class Picky(nn.Module):
    def forward(self, x):
        if x.is_meta:
            return x
        raise RuntimeError("only on this device")


def test_trouble_with_a_size_that_fits_comes_through():
    with pytest.raises(RuntimeError, match="only on this device"):
        Network(nn.Conv2d(1, 1, 3), Picky())(torch.zeros(1, 1, 8, 8))
