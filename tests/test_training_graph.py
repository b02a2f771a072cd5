"""A step as a CUDA graph: what is recorded, and what is not, with a stand-in for the
graph that carries the same operators out again on the same memory; and what waits for
the GPU in an epoch, on one that is pretended.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from course_lib import FashionMNIST, Runtime, Settings, Split, fit
from course_lib import runtime as runtime_of
from course_lib.catalog import NETWORKS
from course_lib.training import loop
from course_lib.training.checks import can_capture
from course_lib.training.graph import Captured
from course_lib.training.processes import Processes
from course_lib.training.step import Step
from proofs.pretend import GRAPHS, Done, Graph

ROOT = Path(__file__).parents[1]
WHOLE = runtime_of("cpu", "float32")
SHORT = Settings(epochs=2, batch_size=50, lr=0.05)
CARD = Runtime(torch.device("cuda"), torch.float32, torch.channels_last)


@pytest.fixture
def graphs(monkeypatch):
    """Graphs on the processor, and how many there are of each."""
    counts = {"plain": 0, "replayed": 0}

    def counted(function, name):
        def call(*args):
            counts[name] += 1
            return function(*args)

        return call

    for name, stand_in in GRAPHS.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(loop, "can_capture", lambda *_: True)
    monkeypatch.setattr(Step, "__call__", counted(Step.__call__, "plain"))
    monkeypatch.setattr(Graph, "replay", counted(Graph.replay, "replayed"))
    with Done():
        yield counts


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))


def both(build, data, settings=SHORT, runtime=WHOLE, **more):
    """The histories of a plain run and of a captured one, and the networks."""
    nets, histories = [], []
    for captured in (False, True):
        torch.manual_seed(0)
        nets.append(build())
        history = fit(
            nets[-1],
            data,
            settings,
            runtime=runtime,
            captured=captured,
            progress=False,
            **more,
        )
        histories.append(history)
    return *histories, nets


def assert_same(plain, captured, nets):
    torch.testing.assert_close(captured.losses, plain.losses, rtol=1e-3, atol=1e-4)
    for a, b in zip(*(net.state_dict().values() for net in nets), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


#: One of each family, as it trains in its chapter; with all that there is to record:
#: dropout, batch normalization, LRN, and losses of its own.
SMALL = ("AlexNet small", "ZFNet small", "VGG small", "NiN small", "LeNet batch norm")
LARGER = ("GoogLeNet small", "ResNet small")


def few(data, number):
    def first(split):
        return Split(split.images[:number], split.labels[:number])

    return FashionMNIST(*map(first, (data.train, data.validation, data.test)), "")


@pytest.mark.parametrize("name", [*SMALL, *LARGER])
def test_a_graph_does_what_the_step_does(name, sample, graphs):
    """After three steps; and its dropout draws what theirs would have drawn."""
    entry = NETWORKS[name]
    settings = replace(entry.settings["laptop"], epochs=1, batch_size=8, lr=0.01)
    *histories, nets = both(entry.build, few(sample, 48), settings)
    assert_same(*histories, nets)
    assert graphs == {"plain": 6 + 3, "replayed": 3}


def test_each_shape_has_a_graph(sample, graphs):
    """400 images in batches of 134, 133 and 133; the first has two epochs, then."""
    settings = Settings(epochs=5, batch_size=150, lr=0.05)
    *histories, nets = both(linear, sample, settings)
    assert_same(*histories, nets)
    assert graphs == {"plain": 15 + 3 + 3, "replayed": 2 + 7}


@pytest.mark.parametrize("changed", [{"momentum": 0}, {"weight_decay": 0.1}])
def test_sgd_is_the_same(changed, sample, graphs):
    *histories, nets = both(linear, sample, replace(SHORT, **changed))
    assert_same(*histories, nets)
    assert graphs["replayed"] == 13


def test_what_is_frozen_stays(sample, graphs):
    def build():
        net = linear()
        net[1].weight.requires_grad_(False)
        return net

    *histories, nets = both(build, sample)
    assert_same(*histories, nets)
    assert torch.equal(nets[0][1].weight, nets[1][1].weight)


def test_float16_leaves_out_the_same_steps(sample, graphs, monkeypatch):
    """The first ones, and then none: the scale is halved as in plain steps."""
    scalers = []

    def scaler(_):
        scalers.append(torch.amp.GradScaler("cpu", init_scale=2.0**24))
        return scalers[-1]

    monkeypatch.setattr(Runtime, "scaler", scaler)
    settings = Settings(epochs=3, batch_size=50, lr=0.05)
    plain, captured, _ = both(linear, sample, settings, runtime_of("cpu", "float16"))
    torch.testing.assert_close(captured.losses, plain.losses, rtol=0.02, atol=0.01)
    scales = [each.get_scale() for each in scalers]
    assert scales[0] == scales[1] <= 2.0**20  # the fourth step is left out, too
    assert captured.losses[-1] < captured.losses[0]


def test_it_goes_on_from_a_checkpoint(sample, graphs, tmp_path, monkeypatch):
    """Of a plain run, with graphs of its own."""

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    plain, _, _ = both(linear, sample)
    torch.manual_seed(0)
    more = {"checkpoint": tmp_path / "run.pt", "runtime": WHOLE, "progress": False}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_means", lambda *a: (patch.undo(), loop._means(*a))[1])
        patch.setattr(Captured, "_record", stopped)
        with pytest.raises(KeyboardInterrupt):
            fit(linear(), sample, SHORT, captured=True, **more)
    torch.manual_seed(0)
    again = fit(linear(), sample, SHORT, captured=True, **more)
    torch.testing.assert_close(again.losses, plain.losses, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_recorded_is_trained_step_by_step(sample, graphs):
    class Stubborn(nn.Linear):
        def forward(self, x):
            if Graph.recording:
                raise RuntimeError("operation not permitted when stream is capturing")
            return super().forward(x)

    def build():
        return nn.Sequential(nn.Flatten(), Stubborn(784, 10))

    with pytest.warns(UserWarning, match="no CUDA graph: operation not permitted"):
        plain, captured, _ = both(build, sample)
    assert captured.losses == plain.losses
    assert not graphs["replayed"]


def hooked(how):
    net = linear()
    if how == "module":
        net[1].register_forward_hook(lambda *_: None)
    else:
        net[1].weight.register_post_accumulate_grad_hook(lambda _: None)
    return net


@pytest.mark.parametrize(
    ("net", "here", "group", "why"),
    [
        (linear(), WHOLE, Processes(), "the device is cpu"),
        (linear(), CARD, Processes(0, 2), "several processes"),
        (hooked("module"), CARD, Processes(), "would not call the hooks"),
        (hooked("parameter"), CARD, Processes(), "would not call the hooks"),
    ],
)
def test_why_there_is_none(net, here, group, why):
    with pytest.warns(UserWarning, match=f"there is no CUDA graph: .*{why}"):
        assert not can_capture(net, here, group)


def test_otherwise_there_is_one():
    assert can_capture(linear(), CARD, Processes())


def test_asked_for_without_a_gpu_the_run_is_the_same(sample):
    with pytest.warns(UserWarning, match="there is no CUDA graph: the device is cpu"):
        plain, captured, _ = both(linear, sample)
    assert captured.losses == plain.losses


#: On a pretended GPU, how often an epoch and an evaluation wait for it.
WAITING = """\
import json, torch
from torch import nn
from proofs.pretend import WAITS, Graph, pretend
pretend()
from course_lib import Settings, Split, evaluate, fashion_mnist, fit
from course_lib.training import loop
data = fashion_mnist(sample=True)
found = {}
batches = loop.Loader.batches
def watched(self, epoch):
    for number, batch in enumerate(batches(self, epoch)):
        if number == 0:
            WAITS.clear()
        yield batch
    inside.extend(WAITS)
loop.Loader.batches = watched
def linear(layer=nn.Linear):
    return nn.Sequential(nn.Flatten(), layer(784, 8), nn.ReLU(), nn.Linear(8, 10))
def train(*layer, **more):
    global inside
    inside, settings = [], Settings(epochs=2, batch_size=50, augment=True, lr=0.01)
    torch.manual_seed(0)
    return fit(linear(*layer), data, settings, progress=False, **more).losses
for captured in (False, True):
    losses = train(captured=captured)
    found[f"captured {captured}"] = inside, losses
class Waits(nn.Linear):
    def forward(self, x):
        return super().forward(x) / max(1.0, x.abs().max().item() / 1e9)
train(Waits)
found["waits"] = inside
for batch_size in (10, 40):
    WAITS.clear()
    evaluate(linear(), data.test, batch_size=batch_size)
    found[f"evaluated by {batch_size}"] = list(WAITS)
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    train(Waits, captured=True)
found["warned"] = [str(each.message) for each in caught]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def waiting():
    command = [sys.executable, "-W", "ignore", "-c", WAITING]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_nothing_waits_for_the_gpu_within_an_epoch(waiting):
    """But where a network itself does, which is seen."""
    assert waiting["captured False"][0] == []
    assert waiting["waits"] == ["_local_scalar_dense"] * 16


def test_nor_while_a_graph_is_replayed(waiting):
    """What `torch.cuda.graph` waits for, once a shape, is not in the stand-in."""
    inside, losses = waiting["captured True"]
    assert inside == []
    torch.testing.assert_close(
        losses, waiting["captured False"][1], rtol=1e-3, atol=1e-4
    )


def test_an_evaluation_waits_for_its_result_and_not_for_its_batches(waiting):
    assert waiting["evaluated by 10"] == waiting["evaluated by 40"]
    assert waiting["evaluated by 10"].count("tolist") == 1


def test_a_network_that_waits_is_not_recorded(waiting):
    (warned,) = waiting["warned"]
    assert "operation not permitted when stream is capturing" in warned
