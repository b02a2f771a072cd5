"""On a GPU that is there, or pretended: what other tests can say of a stand-in only.

python -m tools.gpu --out FOLDER test:training_gpu
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from course_lib import FashionMNIST, Settings, Split, fit, occlusion
from course_lib import runtime as runtime_of
from course_lib.attribution import integrated_gradients
from course_lib.catalog import NETWORKS
from course_lib.degradation import watch_gradients
from course_lib.training import loop

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no GPU here"
)

SMALL = [name for name, each in NETWORKS.items() if "laptop" in each.settings]
SHORT = Settings(epochs=2, batch_size=50, lr=0.02)


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))


def train(net, data, settings=SHORT, precision="float32", **more):
    here = runtime_of("cuda", precision)
    return fit(net, data, settings, runtime=here, progress=False, **more)


@pytest.mark.parametrize("name", SMALL)
def test_a_graph_does_what_the_step_does(name, sample):
    """Without a warning, which would be an error here."""
    parts = (sample.train, sample.validation, sample.test)
    few = (Split(part.images[:64], part.labels[:64]) for part in parts)
    data, entry, losses = FashionMNIST(*few, ""), NETWORKS[name], []
    settings = replace(entry.settings["laptop"], epochs=1, batch_size=8, lr=0.01)
    for captured in (False, True):
        torch.manual_seed(0)
        net = entry.build(num_classes=10, in_channels=1)
        losses.append(train(net, data, settings, captured=captured).losses)
    torch.testing.assert_close(*losses, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_nothing_waits_within_an_epoch(sample, monkeypatch, captured, precision):
    """After its first five batches, in which a graph is recorded."""
    batches = loop.Loader.batches

    def watched(self, epoch):
        for number, batch in enumerate(batches(self, epoch)):
            torch.cuda.set_sync_debug_mode("default" if number < 5 else "error")
            yield batch
        torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop.Loader, "batches", watched)
    settings = replace(SHORT, augment=True)
    try:
        train(linear(), sample, settings, precision, captured=captured)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("captured", [False, True])
def test_float16_trains_as_float32_does(sample, captured):
    half = train(linear(), sample, precision="float16", captured=captured)
    whole = train(linear(), sample)
    torch.testing.assert_close(half.losses, whole.losses, rtol=0.05, atol=0.02)


def test_what_a_reader_gets_is_on_the_cpu(sample):
    net = linear()
    norms = watch_gradients(net)
    history = train(net, sample, replace(SHORT, epochs=1))
    assert {x.device.type for each in norms.values() for x in each} == {"cpu"}
    assert isinstance(history.losses[0], float)
    x, _ = next(sample.test.batches(1))
    x = x.to("cuda")
    seen = occlusion(net, x, 3, size=7, stride=7), integrated_gradients(net, x, 3)
    assert {each.device.type for each in seen} == {"cpu"}


def test_a_checkpoint_goes_on_without_a_gpu(sample, tmp_path, monkeypatch):
    path, whole = tmp_path / "run.pt", train(linear(), sample)
    evaluate = loop.evaluate

    def interrupted(*args, **kwargs):
        monkeypatch.setattr(loop, "evaluate", stopped)
        return evaluate(*args, **kwargs)

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(linear(), sample, checkpoint=path)
    monkeypatch.setattr(loop, "evaluate", evaluate)
    here = runtime_of("cpu", "float32")
    again = fit(linear(), sample, SHORT, runtime=here, checkpoint=path, progress=False)
    torch.testing.assert_close(again.losses, whole.losses, rtol=1e-3, atol=1e-3)
