import copy
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import (
    AlexNet,
    GoogLeNet,
    LeNet,
    ResNet,
    Settings,
    Split,
    TrainingError,
    evaluate,
    fit,
    runtime,
)
from course_lib.data import FashionMNIST, normalize
from course_lib.training import loop
from course_lib.training.processes import Processes

RUN_ON = runtime("cpu", "float32")


def trained(sample, *, runtime=None, compiled=False, progress=False, **settings):
    torch.manual_seed(0)
    net = LeNet("modern")
    asked = Settings(**({"epochs": 2, "batch_size": 50} | settings))
    how = {"runtime": runtime, "compiled": compiled, "progress": progress}
    return net, fit(net, sample, asked, **how)


def test_learns(sample):
    net, history = trained(sample, epochs=15)
    assert history.test.accuracy > 0.6
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss
    assert len(history.epochs) == 15
    assert len(history.losses) == 15 * 8
    assert history.seconds > 0
    assert not net.training
    assert evaluate(net, sample.test) == history.test


def test_the_same_seed_gives_the_same(sample):
    (_, a), (_, b), (_, c) = (
        trained(sample, seed=seed, runtime=RUN_ON, augment=True) for seed in (1, 1, 2)
    )
    assert a.losses == b.losses
    assert a.losses != c.losses


@pytest.mark.parametrize(
    ("momentum", "cycle"),
    [
        (0.9, {}),  # PyTorch's own cycle, from 0.95 to 0.85 and back
        (0.5, {"base_momentum": 0.45, "max_momentum": 0.55}),
        (0.0, {"cycle_momentum": False}),
    ],
)
def test_the_loop_is_one_cycle_sgd(sample, momentum, cycle):
    """Four steps, written out: the same weights to the last bit but rounding."""
    arguments = {"epochs": 1, "batch_size": 100, "momentum": momentum}
    net, _ = trained(sample, runtime=RUN_ON, **arguments)
    torch.manual_seed(0)
    twin = LeNet("modern").to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        twin.parameters(),
        0.1,
        momentum=momentum,
        weight_decay=5e-4,
        nesterov=momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=4, pct_start=0.2, **cycle
    )
    for x, y in sample.train.batches(100, seed=0):
        loss = nn.functional.cross_entropy(twin(x), y, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("steps", range(1, 13))
def test_a_run_of_few_steps_trains(sample, steps, momentum):
    """Each of its steps has a learning rate, and the network follows it."""
    settings = Settings(epochs=1, lr=0.1, momentum=momentum)
    optimizer, schedule = loop.one_cycle(nn.Linear(2, 1), settings, steps)
    rates = []
    for _ in range(steps):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    peak = rates.index(max(rates))
    assert peak == (steps - 1) // 5
    assert 0.05 < rates[peak] <= 0.1
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)

    one = replace(sample, train=Split(sample.train.images[:1], sample.train.labels[:1]))
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    before = net[1].weight.clone()
    settings = replace(settings, epochs=steps)
    assert len(fit(net, one, settings, runtime=RUN_ON, progress=False).losses) == steps
    assert (net[1].weight - before).norm() > 0.01


def test_auxiliary_classifiers_count_in_training_alone(sample):
    torch.manual_seed(0)
    net = GoogLeNet("small", aux=True)
    twin = copy.deepcopy(net).train()
    Processes().seed(3, epoch=0)
    x, y = next(sample.train.batches(400, seed=3))
    expected = twin(x.contiguous(memory_format=torch.channels_last)).loss(y, 0.1)
    settings = Settings(epochs=1, batch_size=400, seed=3)
    history = fit(net, sample, settings, runtime=RUN_ON, progress=False)
    assert history.losses == [pytest.approx(expected.item(), rel=1e-4)]
    assert history.test.loss < 10


def test_the_test_set_is_read_once_and_at_the_end(sample, monkeypatch):
    seen = []
    original = loop.evaluate

    def watched(net, split, **kwargs):
        seen.append("test" if split is sample.test else "validation")
        return original(net, split, **kwargs)

    monkeypatch.setattr(loop, "evaluate", watched)
    trained(sample, epochs=3)
    assert seen == ["validation"] * 3 + ["test"]


def test_evaluate_is_in_evaluation_mode_and_restores(sample):
    net = ResNet("small").train()
    before = net.stem[1].running_mean.clone()
    score = evaluate(net, sample.test, runtime=RUN_ON)
    assert net.training
    assert torch.equal(net.stem[1].running_mean, before)
    x, y = next(sample.test.batches(160))
    logits = net.eval()(x)
    right = (logits.argmax(1) == y).sum().item()
    assert score.accuracy == pytest.approx(right / 160, rel=1e-6)  # it is a float32
    assert score.loss == pytest.approx(
        nn.functional.cross_entropy(logits, y).item(), rel=1e-5
    )


def test_evaluate_does_not_depend_on_the_batches(sample):
    net = LeNet("modern")
    a, b = (
        evaluate(net, sample.test, batch_size=size, runtime=RUN_ON) for size in (7, 160)
    )
    assert a.accuracy == b.accuracy
    assert a.loss == pytest.approx(b.loss, rel=1e-5)


def test_progress_bar(sample, capsys):
    trained(sample, progress=True)
    captured = capsys.readouterr()
    assert "16/16" in captured.err
    assert captured.out == ""


# What stops it


def test_a_loss_that_is_no_number(sample):
    with pytest.raises(
        TrainingError,
        match=r"epoch 1 of 2: the training loss is nan.*learning rate below 1e\+08",
    ):
        trained(sample, lr=1e8)


def test_more_processes_than_images_in_a_batch(sample, monkeypatch):
    monkeypatch.setattr(loop, "processes", lambda: Processes(0, 3))
    message = "batch_size must be at least 3, one image per process, got 2"
    with pytest.raises(ValueError, match=message):
        trained(sample, batch_size=2)


@pytest.mark.parametrize(
    ("settings", "more", "message"),
    [
        ([], {"epochs": 4, "lr": 0.5}, "Settings(epochs=4, lr=0.5), after"),
        ([{"epochs": 4, "lr": 0.5}], {}, "Settings(epochs=4, lr=0.5), after"),
        ([Settings(epochs=4)], {"lr": 0.5}, "got {'lr': 0.5}"),
        ([4], {}, "Settings(epochs=1), after the network and the data; got 4"),
        ([], {}, "got None"),
        ([], {"settings": (4, 0.5)}, "got (4, 0.5)"),
    ],
)
def test_settings_are_one_object(sample, settings, more, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        fit(LeNet("modern"), sample, *settings, **more)
    with pytest.raises(TypeError, match="takes its settings as one object"):
        fit()


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_an_empty_split(sample, name):
    empty = Split(sample.train.images[:0], sample.train.labels[:0])
    splits = {
        part: getattr(sample, part) for part in ("train", "validation", "test")
    } | {name: empty}
    with pytest.raises(ValueError, match=rf"data\.{name} is empty"):
        trained(FashionMNIST(**splits, source=""))
    with pytest.raises(ValueError, match="nothing to score"):
        evaluate(LeNet("modern"), empty)


@pytest.mark.parametrize("classes", [9, 11])
def test_a_net_for_other_classes(sample, classes):
    with pytest.raises(
        ValueError, match=rf"shape \(2, {classes}\), but the data has 10 classes"
    ):
        fit(
            LeNet("modern", num_classes=classes),
            sample,
            Settings(epochs=1, batch_size=50),
            progress=False,
        )


# What it goes on from


def test_goes_on_from_its_checkpoint_as_if_nothing_had_been(
    sample, tmp_path, monkeypatch
):
    """With dropout, momentum and augmentation: each of them has a state."""
    path = tmp_path / "run.pt"

    def train(checkpoint):
        torch.manual_seed(0)
        net = AlexNet("small")
        settings = Settings(epochs=3, batch_size=100, augment=True, seed=5)
        history = fit(
            net,
            sample,
            settings,
            checkpoint=checkpoint,
            runtime=RUN_ON,
            progress=False,
        )
        return net, history

    whole, expected = train(None)
    batches, epochs = Split.batches, []

    def killed(self, *args, epoch=0, **kwargs):
        if kwargs.get("seed") is not None:
            epochs.append(epoch)
            if len(epochs) == 3:
                raise KeyboardInterrupt
        return batches(self, *args, epoch=epoch, **kwargs)

    monkeypatch.setattr(Split, "batches", killed)
    with pytest.raises(KeyboardInterrupt):
        train(path)
    resumed, history = train(path)
    assert epochs == [0, 1, 2, 2]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert history.losses == expected.losses
    assert history.test == expected.test
    assert [row[:2] for row in history.epochs] == [row[:2] for row in expected.epochs]
    again, finished = train(path)  # nothing is left to do
    assert len(epochs) == 4
    assert finished.test == expected.test
    assert not again.training


def test_compiled_is_what_learns(sample, monkeypatch):
    """As an option. What torch makes of the network is trained, the network has its
    weights.
    """
    compiled = []

    def compile_(net):
        compiled.append(net)
        return nn.Sequential(net, nn.Tanh())

    monkeypatch.setattr(torch, "compile", compile_)
    plain, a = trained(sample, epochs=1, runtime=RUN_ON)
    assert compiled == []
    net, b = trained(sample, epochs=1, runtime=RUN_ON, compiled=True)
    assert compiled == [net]
    assert a.losses != b.losses
    assert list(plain.state_dict()) == list(net.state_dict())


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which(os.environ.get("CXX", "g++")),
    reason="torch generates C++ here, and there is no compiler for it",
)
def test_compiled(sample):
    """What it computes is the same: the mechanism of `test_compiled_is_what_learns`."""
    plain, a = trained(sample, epochs=1, runtime=RUN_ON)
    compiled, b = trained(sample, epochs=1, runtime=RUN_ON, compiled=True)
    assert a.losses == pytest.approx(b.losses, rel=1e-3)
    assert list(plain.state_dict()) == list(compiled.state_dict())


@pytest.mark.parametrize("seed", [*np.arange(3, 5), torch.tensor(3), np.uint8(3)])
def test_a_seed_of_numpy_is_a_seed(sample, seed):
    ours, plain = (
        torch.cat([y for _, y in sample.train.batches(100, seed=each)])
        for each in (seed, int(seed))
    )
    assert torch.equal(ours, plain)


def test_the_loss_of_an_epoch_is_the_mean_over_its_images(sample):
    """Of three images in batches of two and one; the steps are next to nothing."""
    few = Split(sample.train.images[:3], sample.train.labels[:3])
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).double()
    before = copy.deepcopy(net)
    settings = Settings(
        epochs=1, batch_size=2, lr=1e-30, momentum=0, weight_decay=0, label_smoothing=0
    )
    here = runtime("cpu", "float64")
    data = replace(sample, train=few)
    history = fit(net, data, settings, runtime=here, progress=False)
    want = nn.functional.cross_entropy(
        before(normalize(few.images).double()), few.labels
    ).item()
    assert history.epochs[0].train_loss == pytest.approx(want, abs=1e-6)
    assert history.epochs[0].minimized_loss == history.epochs[0].train_loss


def test_the_printed_loss_has_no_label_smoothing(sample):
    """What is minimized is a share of it, and has a floor that it has not."""
    few = Split(sample.train.images[:64], sample.train.labels[:64])
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    before = copy.deepcopy(net)
    settings = Settings(epochs=1, batch_size=64, lr=1e-30, label_smoothing=0.1)
    data, here = replace(sample, train=few), runtime("cpu", "float32")
    history = fit(net, data, settings, runtime=here, progress=False)
    logits = before(normalize(few.images))
    plain = nn.functional.cross_entropy(logits, few.labels).item()
    smooth = nn.functional.cross_entropy(logits, few.labels, label_smoothing=0.1).item()
    assert history.epochs[0].train_loss == pytest.approx(plain, abs=1e-5)
    assert history.epochs[0].minimized_loss == pytest.approx(smooth, abs=1e-5)
    assert history.losses == pytest.approx([smooth], abs=1e-5)
    assert abs(plain - smooth) > 1e-3
