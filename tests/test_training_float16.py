"""Training in float16: gradients are scaled, and steps with infinite ones left out."""

import torch
from torch import nn

from course_lib import Settings, fit
from course_lib import runtime as runtime_of
from course_lib.training import loop

HALF = runtime_of("cpu", "float16")
SHORT = Settings(epochs=2, batch_size=200, lr=0.05)


def train(net, data, settings=SHORT, runtime=HALF, **more):
    return fit(net, data, settings, runtime=runtime, progress=False, **more)


def linear():
    """A small network whose products are quick in float16 on any processor."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))


def test_losses_are_those_of_float32(sample):
    half = train(linear(), sample)
    whole = train(linear(), sample, runtime=runtime_of("cpu", "float32"))
    torch.testing.assert_close(half.losses, whole.losses, rtol=0.02, atol=0)
    assert half.losses != whole.losses


def test_small_gradients_are_not_lost():
    """A gradient of 1e-8 is zero in float16; multiplied by the scale, it is not."""
    x = torch.ones(1, requires_grad=True)
    with HALF.autocast():
        (1e-8 * torch.nn.functional.linear(x, torch.ones(1, 1))).sum().backward()
    assert x.grad == 0
    x.grad = None
    with HALF.autocast():
        loss = (1e-8 * torch.nn.functional.linear(x, torch.ones(1, 1))).sum()
    HALF.scaler().scale(loss).backward()
    assert x.grad > 0


def test_a_step_with_an_infinite_gradient_is_left_out(sample, monkeypatch):
    """So is the first of all, and the momentum begins at zero all the same."""
    steps = []
    scaler = HALF.scaler()
    scaler._init_scale = 2.0**24  # float16 ends at 2**16

    def weights(optimizer):
        return [p.detach().clone() for p in optimizer.param_groups[0]["params"]]

    def seen(optimizer):
        before = weights(optimizer)
        result = type(scaler).step(scaler, optimizer)
        after = weights(optimizer)
        steps.append(not all(map(torch.equal, before, after)))
        return result

    scaler.step = seen
    monkeypatch.setattr(type(HALF), "scaler", lambda _: scaler)
    settings = Settings(epochs=10, batch_size=200, lr=0.05)
    history = train(linear(), sample, settings)
    assert steps[:3] == [False] * 3
    assert steps[-5:] == [True] * 5
    assert history.losses[-1] < history.losses[0]


def test_it_goes_on_after_a_first_step_that_was_left_out(sample, monkeypatch):
    """PyTorch's fused SGD would go on with momentum that was never written: here it is
    written, with what is no number.
    """
    scaler = HALF.scaler()
    scaler._init_scale = 2.0**24
    monkeypatch.setattr(type(HALF), "scaler", lambda _: scaler)
    torch.use_deterministic_algorithms(True)  # fills what is not initialized
    try:
        losses = train(linear(), sample, Settings(epochs=10, batch_size=200)).losses
    finally:
        torch.use_deterministic_algorithms(False)
    assert losses[-1] < losses[0]


def test_momentum_from_zero_is_that_of_pytorch():
    nets = [linear(), linear()]
    plain = torch.optim.SGD(nets[1].parameters(), 0.1, 0.9, nesterov=True)
    ours, _ = loop.one_cycle(nets[0], Settings(epochs=1, weight_decay=0), 10)
    for optimizer, net in zip((ours, plain), nets, strict=True):
        for seed in range(3):
            torch.manual_seed(seed)
            for group in optimizer.param_groups:
                group.update(lr=0.1, momentum=0.9)
            optimizer.zero_grad()
            net(torch.randn(4, 1, 28, 28)).square().sum().backward()
            optimizer.step()
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_without_momentum_there_is_none_to_begin():
    optimizer, _ = loop.one_cycle(linear(), Settings(epochs=1, momentum=0), 10)
    assert not optimizer.state


def test_the_scale_is_in_the_checkpoint(sample, tmp_path):
    path = tmp_path / "run.pt"
    whole = train(linear(), sample)
    calls = []
    evaluate = loop.evaluate

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*args, **kwargs)

    loop.evaluate = interrupted
    try:
        train(linear(), sample, checkpoint=path)
    except KeyboardInterrupt:
        pass
    finally:
        loop.evaluate = evaluate
    scale = torch.load(path, weights_only=True)["state"]["scaler"]
    assert scale["scale"] > 1
    again = train(linear(), sample, checkpoint=path)
    assert again.losses == whole.losses


def test_a_run_may_go_on_in_another_precision(sample, tmp_path):
    path = tmp_path / "run.pt"
    train(linear(), sample, checkpoint=path, runtime=runtime_of("cpu", "float32"))
    assert train(linear(), sample, checkpoint=path).losses  # nothing is left to do
