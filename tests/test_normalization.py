import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.normalization import (
    BatchNorm2d,
    LocalResponseNorm,
    batch_norm,
    local_response_norm,
)

drawn = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)
#: (N, C) or (N, C, H, W), at least two values per channel.
shapes = st.tuples(st.integers(2, 5), st.integers(1, 4)) | st.tuples(
    st.integers(1, 3), st.integers(1, 4), st.integers(2, 4), st.integers(1, 4)
)


def channels(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1)


def layers(features, **arguments):
    """Ours and PyTorch's, for images and for rows, with the same random state."""
    ours = BatchNorm2d(features, **arguments).double()
    for value in ours.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 2)
    theirs = [
        kind(features, **arguments).double()
        for kind in (nn.BatchNorm2d, nn.BatchNorm1d)
    ]
    for layer in theirs:
        layer.load_state_dict(ours.state_dict())
    return ours, *theirs


def test_example_by_the_formula():
    """(k, n, alpha, beta) = (0, 2, 1, 1): each channel over the squares of three."""
    y = local_response_norm(channels(1, 2, 3, 4), size=2, alpha=1, beta=1, k=0)
    expected = channels(1 / 5, 2 / 14, 3 / 29, 4 / 25)
    torch.testing.assert_close(y, expected)
    assert [round(v, 4) for v in y.flatten().tolist()] == [0.2, 0.1429, 0.1034, 0.16]


def test_pytorch_has_another_window_and_the_mean():
    """The paper sums, Caffe and PyTorch average: PyTorch's pull request 4667, Caffe's
    issue 1453. For size=2 PyTorch's window is the channel and the one before.
    """
    x = channels(1, 2, 3, 4)
    shifted = F.local_response_norm(x, 2, alpha=1, beta=1, k=0)
    assert [round(v, 4) for v in shifted.flatten().tolist()] == [2, 0.8, 0.4615, 0.32]
    torch.testing.assert_close(
        F.local_response_norm(x, 3, alpha=3, beta=1, k=0),
        local_response_norm(x, 2, alpha=1, beta=1, k=0),
    )


@drawn
@given(
    shape=st.lists(st.integers(1, 6), min_size=3, max_size=5),
    size=st.integers(1, 8),
    alpha=st.sampled_from([1e-4, 0.1, 2.0]),
    beta=st.sampled_from([0.0, 0.5, 0.75, 1.0]),
    k=st.sampled_from([0.5, 1.0, 2.0]),
    seed=seeds,
)
def test_equals_pytorch_with_alpha_times_the_maps_of_a_window(
    shape, size, alpha, beta, k, seed
):
    torch.manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64)
    maps = size + 1 if size % 2 == 0 else size
    torch.testing.assert_close(
        local_response_norm(x, size, alpha, beta, k),
        F.local_response_norm(x, maps, maps * alpha, beta, k),
        rtol=1e-10,
        atol=1e-10,
    )


def test_rows_are_normalized_like_images():
    x = torch.randn(3, 7)
    y = local_response_norm(x[:, :, None, None], alpha=1.0)
    torch.testing.assert_close(local_response_norm(x, alpha=1.0), y[:, :, 0, 0])


def test_the_layer_has_the_defaults_of_the_paper():
    """k = 2, n = 5, alpha = 1e-4, beta = 0.75: section 3.3."""
    x = 30 * torch.randn(2, 8, 3, 3, dtype=torch.float64)
    layer = LocalResponseNorm()
    assert repr(layer) == "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=2.0)"
    torch.testing.assert_close(layer(x), F.local_response_norm(x, 5, 5e-4, 0.75, 2.0))
    assert layer(x.to("meta")).shape == x.shape


def test_the_layer_uses_its_parameters():
    layer = LocalResponseNorm(2, alpha=1.0, beta=1.0, k=0.0)
    expected = channels(1 / 5, 2 / 14, 3 / 29, 4 / 25)
    torch.testing.assert_close(layer(channels(1, 2, 3, 4)), expected)


def test_gradient_of_local_response_norm():
    x = torch.randn(2, 5, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: local_response_norm(x, 4, alpha=0.5, beta=0.75, k=1.0), x
    )


@pytest.mark.parametrize("beta", [0.5, 0.75, 1.0, 1.5])
def test_nothing_over_nothing_is_nothing(beta):
    """Three dead channels beside each other, as a ReLU leaves them, and k = 0."""
    x = channels(0, 0, 0, 2).requires_grad_()
    y = local_response_norm(x, size=2, alpha=1, beta=beta, k=0)
    torch.testing.assert_close(y, channels(0, 0, 0, 2 / 4**beta))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isfinite().all()
    assert gradient.flatten()[:2].tolist() == [0, 0]
    theirs = F.local_response_norm(x, 3, alpha=3, beta=beta, k=0)
    assert theirs.isnan().flatten().tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be an integer of at least 1, got 0"),
        ({"size": 2.5}, "size must be an integer of at least 1, got 2.5"),
        ({"alpha": 0.0}, "alpha must be more than 0, got 0.0"),
        ({"beta": -0.5}, "beta must be at least 0, got -0.5"),
        ({"k": -1.0}, "k must be at least 0, got -1.0"),
        ({"k": float("nan")}, "k must be at least 0, got nan"),
    ],
)
def test_bad_parameters_of_local_response_norm(arguments, message):
    with pytest.raises(ValueError, match=message):
        LocalResponseNorm(**arguments)
    with pytest.raises(ValueError, match=message):
        local_response_norm(channels(1), **arguments)


def test_local_response_norm_wants_channels():
    with pytest.raises(ValueError, match=r"x must be \(N, C, ...\), got \(4,\)"):
        local_response_norm(torch.zeros(4))


def test_algorithm_1_by_hand():
    x = torch.tensor([[1.0], [3.0]])
    y = batch_norm(x, *torch.tensor([[2.0], [0.75], [10.0], [5.0]]), eps=0.25)
    assert y.tolist() == [[-5], [15]]


@drawn
@given(
    shape=shapes,
    eps=st.sampled_from([1e-5, 1e-3]),
    momentum=st.sampled_from([None, 0.0, 0.1, 1.0]),
    seed=seeds,
)
@example(shape=(1, 3, 1, 2), eps=1e-5, momentum=None, seed=0)
def test_batch_norm_equals_pytorch(shape, eps, momentum, seed):
    """Outputs, gradients and state over three mini-batches, then in evaluation."""
    torch.manual_seed(seed)
    ours, *theirs = layers(shape[1], eps=eps, momentum=momentum)
    theirs = theirs[0] if len(shape) == 4 else theirs[1]
    for training in (True, True, True, False):
        x = 3 * torch.randn(shape, dtype=torch.float64) + 1
        factors = torch.randn(shape, dtype=torch.float64)
        results = []
        for layer in (ours, theirs):
            y = layer.train(training)(x.requires_grad_())
            inputs = [x, *layer.parameters()]
            results.append([y, *torch.autograd.grad((y * factors).sum(), inputs)])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(
                ours.state_dict()[name], value, rtol=1e-10, atol=1e-10
            )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2, 2)])
def test_gradcheck_of_batch_norm(training, shape):
    layer = layers(3)[0].train(training)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def call(x, weight, bias):
        state = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, state, x)

    assert torch.autograd.gradcheck(call, (x, *parameters))


@pytest.mark.parametrize("eps", [1e-300, 1e-5])
def test_gradient_by_the_formula_of_the_chapter(eps):
    layer = layers(3, eps=eps)[0]
    x = torch.randn(4, 3, 5, 2, dtype=torch.float64, requires_grad=True)
    g = torch.randn_like(x)
    layer(x).backward(g)
    dims = (0, 2, 3)
    deviation = x.detach() - x.detach().mean(dims, keepdim=True)
    s = (deviation.square().mean(dims, keepdim=True) + eps).sqrt()
    x_hat = deviation / s
    along = (g * x_hat).mean(dims, keepdim=True)
    inner = g - g.mean(dims, keepdim=True) - x_hat * along
    torch.testing.assert_close(x.grad, layer.weight.detach().view(-1, 1, 1) / s * inner)
    torch.testing.assert_close(layer.weight.grad, (g * x_hat).sum(dims))
    torch.testing.assert_close(layer.bias.grad, g.sum(dims))


@given(scale=st.floats(1e-3, 1e3), seed=seeds)
@drawn
def test_the_scale_of_the_weights_before_it_does_not_matter(scale, seed):
    """The loss stays, its gradient is perpendicular to the weights of each channel and
    shrinks as they grow, and a step of gradient descent makes them longer.
    """
    torch.manual_seed(seed)
    layer = layers(4, eps=1e-300)[0]
    x, target = torch.randn(2, 8, 3, 6, 6, dtype=torch.float64)
    w = torch.randn(4, 3, 3, 3, dtype=torch.float64)

    def loss_and_gradient(w):
        w = w.clone().requires_grad_()
        loss = (layer(F.conv2d(x, w)) * target[:, :1, :4, :4]).square().sum()
        return loss, *torch.autograd.grad(loss, w)

    loss, gradient = loss_and_gradient(w)
    scaled_loss, scaled_gradient = loss_and_gradient(scale * w)
    torch.testing.assert_close(scaled_loss, loss)
    torch.testing.assert_close(scale * scaled_gradient, gradient)
    for channel, step in zip(w, gradient, strict=True):
        cosine = F.cosine_similarity(channel.flatten(), step.flatten(), dim=0)
        assert cosine.abs() < 1e-10
        longer = channel.norm() ** 2 + step.norm() ** 2
        torch.testing.assert_close((channel - step).norm() ** 2, longer)


def test_training_gives_mean_0_and_variance_1():
    y = BatchNorm2d(3)(5 * torch.randn(8, 3, 4, 4) + 2)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    variance = y.var((0, 2, 3), correction=0)
    torch.testing.assert_close(variance, torch.ones(3), atol=1e-4, rtol=0)


def test_in_evaluation_neighbors_do_not_matter():
    layer, x = layers(3)[0], torch.randn(4, 3, 2, 2, dtype=torch.float64)
    assert not torch.allclose(layer(x)[:1], layer(x[:1]))
    layer.eval()
    before = copy.deepcopy(layer.state_dict())
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]))
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


def test_state_moves_between_ours_and_pytorch():
    """Strictly, both ways: the running averages are buffers and part of it."""
    ours, theirs = BatchNorm2d(3), nn.BatchNorm2d(3)
    ours(torch.randn(4, 3, 2, 2))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    theirs.train()(x)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    torch.testing.assert_close(ours(x), theirs.eval()(x))
    assert ours.num_batches_tracked.item() == 2
    assert sum(p.numel() for p in ours.parameters()) == 6


def test_a_new_layer_has_the_state_of_a_new_one_of_pytorch():
    theirs = nn.BatchNorm2d(3).state_dict()
    for name, value in BatchNorm2d(3).state_dict().items():
        assert torch.equal(value, theirs[name])
        assert value.dtype == theirs[name].dtype


def test_training_keeps_the_buffers_and_their_history_short():
    layer = BatchNorm2d(2)
    buffers = dict(layer.named_buffers())
    layer(torch.randn(3, 2, requires_grad=True))
    assert all(value is buffers[name] for name, value in layer.named_buffers())
    assert not any(value.requires_grad for value in buffers.values())


@pytest.mark.parametrize("momentum", [None, 0.1])
def test_batch_norm_on_the_meta_device(momentum):
    with torch.device("meta"):
        y = BatchNorm2d(3, momentum=momentum)(torch.empty(2, 3, 5, 5))
    assert y.shape == (2, 3, 5, 5)


def test_repr():
    expected = "BatchNorm2d(3, eps=1e-05, momentum=0.1)"
    assert repr(BatchNorm2d(3)) == expected


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (0, 3, 4, 4)])
def test_one_value_a_channel_is_its_own_mean(shape):
    """PyTorch refuses it as well."""
    layer, x = BatchNorm2d(3), torch.zeros(shape)
    message = rf"at least two values per channel.*got \({', '.join(map(str, shape))}\)"
    with pytest.raises(ValueError, match=message):
        layer(x)
    assert layer.num_batches_tracked.item() == 0
    assert layer.eval()(x).shape == shape


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 4), (2, 4, 3, 3)])
def test_batch_norm_wants_its_features(shape):
    message = rf"\(N, 3, H, W\) or \(N, 3\), got \({', ?'.join(map(str, shape))}"
    with pytest.raises(ValueError, match=message):
        BatchNorm2d(3)(torch.zeros(shape))


def test_batch_norm_wants_a_feature():
    with pytest.raises(ValueError, match="num_features must be at least 1, got 0"):
        BatchNorm2d(0)
