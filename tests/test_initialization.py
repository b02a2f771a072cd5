import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.initialization import (
    INITS,
    Skip,
    deep_mlp,
    deep_residual_mlp,
    gradient_growth,
    init_linear,
    next_moments,
    relu_cosine,
    watch_signal,
    weight_variance,
)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(64, 1, 28, 28, dtype=torch.float64), torch.arange(64) % 10


@pytest.mark.parametrize("init", INITS)
def test_weights_have_the_variance(init):
    torch.manual_seed(0)
    layer = nn.Linear(400, 900)
    init_linear(layer, init)
    variance = weight_variance(init, 400, 900)
    assert layer.weight.var().item() == pytest.approx(variance, rel=0.02)
    assert layer.weight.mean().abs() < 4 * math.sqrt(variance / layer.weight.numel())
    assert bool(layer.bias.any()) == (init == "default")


@pytest.mark.parametrize(
    ("init", "fill"),
    [
        ("Xavier", nn.init.xavier_normal_),
        ("He", lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu")),
        ("default", lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5))),
    ],
)
def test_variances_are_those_of_pytorch(init, fill):
    torch.manual_seed(0)
    weight = fill(torch.empty(900, 400))
    variance = weight_variance(init, 400, 900)
    assert weight.var().item() == pytest.approx(variance, rel=0.02)


def test_unknown_initialization():
    for call in (
        lambda: weight_variance("he", 2, 3),
        lambda: init_linear(nn.Linear(2, 3), "he"),
        lambda: deep_mlp(3, 4, init="he"),
    ):
        with pytest.raises(ValueError, match="'he'"):
            call()


@pytest.mark.parametrize("build", [deep_mlp, deep_residual_mlp])
def test_sizes(build):
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        build(0, 5)
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        build(4, 0)


@pytest.mark.parametrize(
    ("net", "layers"),
    [
        (deep_mlp(1, 5), 1),
        (deep_mlp(7, 5, init="default"), 7),
        (deep_mlp(4, 5, batch_norm=True), 4),
        (deep_residual_mlp(2, 5), 2),
        (deep_residual_mlp(8, 5), 8),
    ],
)
def test_depth_and_shape(net, layers):
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    assert len(linear) == layers
    assert net(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_batch_norm_is_before_each_relu():
    kinds = [type(layer) for layer in deep_mlp(4, 5, batch_norm=True)]
    assert kinds == [
        nn.Flatten,
        *(nn.Linear, nn.BatchNorm1d, nn.ReLU) * 3,
        nn.Linear,
    ]


def test_an_odd_depth_has_no_pairs():
    with pytest.raises(ValueError, match="even, for blocks of two layers; got 5"):
        deep_residual_mlp(5, 4)


def test_a_branch_of_zeros_is_the_identity():
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    for zero in (False, True):
        blocks = [m for m in deep_residual_mlp(8, 6, zero=zero) if isinstance(m, Skip)]
        assert len(blocks) == 3
        for block in blocks:
            assert torch.equal(block(x), x + block.branch(x))
            assert torch.equal(block(x), x) == zero


def test_signal_against_autograd(batch):
    x, y = batch
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 9), nn.ReLU(), nn.Linear(9, 10))
    net = net.double()
    z = net[1](x.flatten(1))
    signal = watch_signal(net, x, y)
    (gradient,) = torch.autograd.grad(F.cross_entropy(net[3](z.relu()), y), z)
    assert signal.rms == [z.square().mean().sqrt().item()]
    spread = z.std(0, correction=0).square().mean().sqrt().item()
    assert signal.spread == pytest.approx([spread])
    assert signal.gradient == pytest.approx([gradient.square().mean().sqrt().item()])
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not net[2]._forward_pre_hooks


def test_hooks_are_removed_after_an_error(batch):
    net = deep_mlp(3, 5)
    with pytest.raises(RuntimeError):
        watch_signal(net, torch.zeros(2, 1, 5, 5), torch.zeros(2).long())
    assert not any(layer._forward_pre_hooks for layer in net)


def test_one_image_has_no_spread(batch):
    with pytest.raises(ValueError, match="at least two images, got 1"):
        watch_signal(deep_mlp(3, 5), batch[0][:1], batch[1][:1])


def test_cosines_of_relu():
    """Against the ReLUs of many normally distributed values."""
    torch.manual_seed(0)
    u, other = torch.randn(2, 1_000_000, dtype=torch.float64)
    for c in (-0.9, 0.0, 0.3, 0.99):
        v = c * u + math.sqrt(1 - c**2) * other
        want = F.cosine_similarity(u.relu(), v.relu(), dim=0)
        got = relu_cosine(torch.tensor(c, dtype=torch.float64))
        torch.testing.assert_close(got, want, atol=3e-3, rtol=0)
    ends = relu_cosine(torch.tensor([-1.0, 0.0, 1.0, 1.0 + 1e-7]))
    torch.testing.assert_close(ends, torch.tensor([0, 1 / math.pi, 1, 1]))


@pytest.mark.parametrize("init", INITS)
def test_moments_are_those_of_a_wide_network(batch, init):
    """Four wide layers against the prediction, without any weights."""
    x, y = batch
    torch.manual_seed(1)
    signal = watch_signal(deep_mlp(5, 800, init=init).double(), x, y)
    flat = x.flatten(1)
    moments, n = flat @ flat.T / 784, 784
    for layer in range(4):
        weight = n * weight_variance(init, n, 800)
        bias = weight / n if init == "default" else 0.0
        if layer == 0:
            moments = weight * moments + bias
        else:
            moments = next_moments(moments, weight, bias)
        n = 800
        rms = moments.diagonal().mean().sqrt().item()
        spread = (moments.diagonal().mean() - moments.mean()).sqrt().item()
        assert signal.rms[layer] == pytest.approx(rms, rel=0.1)
        assert signal.spread[layer] == pytest.approx(spread, rel=0.1)


def test_growth_of_gradients():
    """The limit of Theorem 8, and two values against wide random networks."""
    assert gradient_growth(10**6) == pytest.approx(math.pi / (math.pi - 1), rel=1e-5)
    torch.manual_seed(0)
    for size in (8, 32):
        x, y = torch.randn(size, 1, 28, 28), torch.randint(10, (size,))
        net = deep_mlp(21, 300, batch_norm=True).double()
        gradient = watch_signal(net, x.double(), y).gradient
        measured = (gradient[4] / gradient[19]) ** (2 / 15)
        assert measured == pytest.approx(gradient_growth(size), rel=0.05)
    with pytest.raises(ValueError, match="at least 4, got 3"):
        gradient_growth(3)
