"""The bridge to d2l, against whichever release is installed: 0.17.0 here, and 1.0.3 in
proofs/d2l.py. What d2l itself computes is the oracle.
"""

import importlib
import os
import runpy
import subprocess
import sys
import types

import matplotlib.pyplot as plt
import pytest
import torch

from course_lib import LeNet, evaluate, runtime
from course_lib.d2l_bridge import Batches, classifier, data_module, iterators, load


@pytest.fixture(scope="module")
def d2l():
    return load()


@pytest.fixture
def net():
    torch.manual_seed(0)
    return LeNet("modern")


@pytest.fixture
def stand_in(monkeypatch):
    """As little of d2l 1.0.3 as the bridge touches, where 0.17.0 is installed."""
    module = types.ModuleType("d2l.torch")
    module.Trainer = module.DataModule = module.Classifier = types.SimpleNamespace
    monkeypatch.setitem(sys.modules, "d2l.torch", module)
    return module


@pytest.fixture
def modern(d2l):
    if not hasattr(d2l, "Trainer"):
        pytest.skip("d2l 1.0.3 is proven by proofs/d2l.py")
    return d2l


def test_it_is_the_release_that_is_proven():
    wanted = os.environ.get("D2L", "0.17.0")
    assert importlib.import_module("d2l").__version__ == wanted


def test_its_training_loop_takes_our_data(d2l, net, sample, capsys):
    """How many images are classified correctly, d2l counts as we do."""
    weights = [p.detach().clone() for p in net.parameters()]
    train, test = iterators(sample, 64)
    d2l.train_ch6(net, train, test, 2, 0.1, "cpu")
    plt.close("all")
    assert "test acc" in capsys.readouterr().out
    assert train.epoch == 2
    assert all(
        not torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True)
    )
    float32 = runtime("cpu", "float32")
    ours = evaluate(net, sample.test, runtime=float32).accuracy
    assert d2l.evaluate_accuracy_gpu(net, test) == pytest.approx(ours)


def test_an_epoch_is_every_image_once_and_shuffled_anew(sample):
    train, test = iterators(sample, 64)
    assert (len(train), len(test)) == (7, 3)
    first, second = (torch.cat([y for _, y in train]) for _ in range(2))
    assert torch.equal(first.sort().values, second.sort().values)
    assert not torch.equal(first, second)
    assert torch.equal(torch.cat([y for _, y in test]), sample.test.labels)
    assert len(list(train)) == len(train)


def test_images_are_resized(sample):
    x, _ = next(iter(Batches(sample.test, 8, size=32)))
    assert x.shape == (8, 1, 32, 32)


def test_too_few_batches(sample):
    with pytest.raises(ValueError, match="400 images at batch_size=100 make 4"):
        iterators(sample, 100)


IN_IPYTHON = """\
import sys, matplotlib, matplotlib.figure, IPython.display
matplotlib.use("agg")
import course_lib
from course_lib.d2l_bridge import load
print("needed" if "d2l" in sys.modules else "not needed")
import d2l.torch as d2l
try:
    d2l.use_svg_display()
except AttributeError:
    print("broken" if not hasattr(IPython.display, "set_matplotlib_formats") else "?")
load().set_figsize()
formatter = get_ipython().display_formatter.formatters["image/svg+xml"]
print(matplotlib.figure.Figure in formatter)
"""


def test_figures_are_svg_where_there_is_a_notebook(d2l, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "matplotlib_inline.backend_inline.set_matplotlib_formats", asked.append
    )
    with plt.rc_context():
        for shell in (None, types.SimpleNamespace()):
            monkeypatch.setattr("IPython.get_ipython", lambda shell=shell: shell)
            d2l.set_figsize()
            assert asked == ([] if shell is None else ["svg"])


def test_the_bridge_does_not_import_d2l(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "d2l"]:
        monkeypatch.delitem(sys.modules, name)
    path = importlib.import_module("course_lib.d2l_bridge").__file__
    runpy.run_path(path)
    assert not {"d2l", "d2l.torch"} & sys.modules.keys()


@pytest.mark.slow
def test_figures_are_svg_again_in_ipython(d2l):
    """As in `test_figures_are_svg_where_there_is_a_notebook`, and before `load` they
    are not.
    """
    command = [sys.executable, "-m", "IPython", "--quick", "-c", IN_IPYTHON]
    said = subprocess.run(command, capture_output=True, text=True).stdout.split("\n")
    was = [] if hasattr(d2l, "Trainer") else ["broken"]
    assert said[: len(was) + 2] == ["not needed", *was, "True"]


def test_outside_of_a_notebook_nothing_is_asked_of_ipython(d2l):
    d2l.set_figsize((3, 2))
    assert plt.rcParams["figure.figsize"] == [3, 2]
    plt.rcdefaults()


def test_d2l_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "d2l.torch", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install d2l==0\.17\.0"):
        load()


def test_an_old_d2l_has_no_trainer(monkeypatch):
    monkeypatch.setitem(sys.modules, "d2l.torch", types.ModuleType("d2l.torch"))
    with pytest.raises(RuntimeError, match=r"has no Trainer: pip install --no-deps"):
        classifier(torch.nn.Identity(), 0.1)


def test_what_is_handed_over(stand_in, sample, net):
    module, model = data_module(sample, 64, size=32), classifier(net, 0.1)
    assert len(module.train_dataloader()) == 7
    x, y = next(iter(module.val_dataloader()))
    assert x.shape == (40, 1, 32, 32)
    assert torch.equal(y, sample.validation.labels[:40])
    assert (model.net, model.lr) == (net, 0.1)


def test_its_trainer_takes_our_net(modern, sample, net):
    """One epoch, and the validation accuracy that d2l plots is what we count."""
    data, model = data_module(sample, 80), classifier(net, 0.1)
    before = net[0][0].weight.detach().clone()
    trainer = modern.Trainer(max_epochs=1)
    model.board.display = False
    trainer.fit(model, data)
    assert trainer.train_batch_idx == 5
    assert not torch.equal(before, net[0][0].weight)
    drawn = model.board.data["val_acc"][0].y
    float32 = runtime("cpu", "float32")
    assert evaluate(net, sample.validation, runtime=float32).accuracy == pytest.approx(
        float(drawn)
    )
