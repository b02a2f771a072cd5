import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import ResNet, Settings, fit
from course_lib.degradation import identity_init, remove_batch_norm, watch_gradients


def plain(depth=20):
    torch.manual_seed(0)
    return ResNet(f"small-{depth}", shortcut="none")


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(8, 1, 28, 28), torch.arange(8)


def test_norms_are_those_of_autograd(batch):
    net = plain()
    norms, relative = watch_gradients(net), watch_gradients(net, relative=True)
    x, y = batch
    weights = {
        name: module.weight
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    loss = F.cross_entropy(net(x), y)
    gradients = torch.autograd.grad(loss, weights.values(), retain_graph=True)
    assert list(norms) == list(weights)
    assert not any(norms.values()), "autograd.grad accumulates nothing"
    loss.backward()
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        (seen,), (scaled,) = norms[name], relative[name]
        torch.testing.assert_close(seen, gradient.norm())
        torch.testing.assert_close(scaled, gradient.norm() * weight.detach().norm())
        assert not seen.requires_grad
        assert not scaled.requires_grad


def test_relative_norms_do_not_see_a_scale_that_normalization_takes_back(batch):
    """Batch normalization after a layer: c times the weight, 1/c of the gradient."""
    x, y = batch
    found = []
    for scale in (1.0, 8.0):
        net = plain()
        with torch.no_grad():
            net.stem[0].weight *= scale
        norms, relative = watch_gradients(net), watch_gradients(net, relative=True)
        F.cross_entropy(net(x), y).backward()
        found.append((norms["stem.0"][0], relative["stem.0"][0]))
    (norm, relative), (norm_8, relative_8) = found
    torch.testing.assert_close(norm_8, norm / 8, rtol=1e-2, atol=0)
    torch.testing.assert_close(relative_8, relative, rtol=1e-2, atol=0)


def test_watches_training_step_by_step(sample):
    net = ResNet("small")
    norms = watch_gradients(net)
    history = fit(net, sample, Settings(epochs=2), progress=False)
    assert {len(seen) for seen in norms.values()} == {len(history.losses)}


def test_without_batch_norm(batch):
    """A new batch normalization that does not look at the batch is nearly no change."""
    net = plain().eval()
    logits = net(batch[0])
    remove_batch_norm(net)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
    torch.testing.assert_close(net.train()(batch[0]), logits, rtol=1e-3, atol=1e-3)


def test_a_bias_for_each_batch_norm():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU())
    remove_batch_norm(net)
    assert isinstance(net[1], nn.Identity)
    assert net[0].bias.shape == (2,)
    net(torch.randn(1, 1, 5, 5)).sum().backward()
    assert net[0].bias.grad is not None


def test_gradients_vanish_where_they_should(batch):
    """The instrument shows vanishing gradients: PyTorch's own weights shrink what
    passes a ReLU, and without normalization nothing takes that back.
    """
    net = plain(depth=44)
    remove_batch_norm(net)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    norms = watch_gradients(net)
    x, y = batch
    F.cross_entropy(net(x), y).backward()
    assert norms["stem.0"][0] < 1e-9 * norms["head.2"][0]


def test_identity_passes_a_positive_input_through():
    net = plain().eval()
    identity_init(net[1:], std=0)
    remove_batch_norm(net)
    x = torch.rand(2, 16, 14, 14)
    torch.testing.assert_close(net.conv2_x(x), x)
    y = net.conv3_x(x)
    torch.testing.assert_close(y[:, :16], x[:, :, ::2, ::2])
    assert not y[:, 16:].any()


def test_identity_noise_and_what_is_left_alone():
    net, same = plain(), plain()
    identity_init(net[1:])
    assert torch.equal(net.stem[0].weight, same.stem[0].weight)
    assert torch.equal(net.head[2].weight, same.head[2].weight)
    weight = net.conv2_x[0][0][0].weight.detach()
    noise = weight - nn.init.dirac_(torch.empty_like(weight))
    assert 0.009 < noise.std() < 0.011


def test_trains_on_from_the_identity(sample):
    """What it is for: 44 plain layers learn, where random weights do not yet."""
    losses, settings = [], Settings(epochs=2, batch_size=32, lr=0.05)
    for init in (identity_init, lambda _: None):
        net = plain(depth=44)
        init(net[1:])
        history = fit(net, sample, settings, progress=False)
        losses.append(history.epochs[-1].train_loss)
    assert losses[0] < losses[1] - 0.3
