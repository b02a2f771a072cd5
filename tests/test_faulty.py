"""Faulty input: what each call is given, and what it says. Nothing is trained, written
or changed before, and no error comes from inside of torch, NumPy or Python.
"""

import copy
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from course_lib import (
    VGG,
    AlexNet,
    DataError,
    GoogLeNet,
    LeNet,
    NiN,
    ResNet,
    Settings,
    Split,
    ZFNet,
    draw,
    draw_side_by_side,
    evaluate,
    fit,
    runtime,
    summarize,
)
from course_lib.training.errors import CheckpointError

NAN, INF = float("nan"), float("inf")
CPU = runtime("cpu", "float32")
SHORT = Settings(epochs=1, batch_size=16)
LENET = summarize(LeNet("modern"), (1, 28, 28))


def split(n=20, labels=None, images=None):
    if images is None:
        numbers = torch.arange(n * 784) * 97 % 256
        images = numbers.view(n, 1, 28, 28).to(torch.uint8)
    return Split(images, torch.arange(n) % 10 if labels is None else labels)


def data(**other):
    parts = {name: split() for name in ("train", "validation", "test")}
    return SimpleNamespace(**(parts | {"classes": tuple("0123456789")} | other))


def without(name):
    made = data()
    delattr(made, name)
    return made


def linear(outputs=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, outputs))


@dataclass
class Dealt:
    """A split that deals what it is told to."""

    x: object
    y: object
    number: int = 4

    def __len__(self):
        return self.number

    def to(self, _device):
        return self

    def fingerprint(self):
        return "dealt"

    def batches(self, batch_size, *, seed, epoch, augment, size, shard):
        yield self.x, self.y


class Nothing(Dealt):
    def batches(self, batch_size, **_):
        return iter(())


def dealt(x=None, y=None):
    x = torch.rand(4, 1, 28, 28) if x is None else x
    return data(train=Dealt(x, torch.arange(4) if y is None else y))


class Returns(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.weight, self.value = nn.Parameter(torch.ones(1)), value

    def forward(self, x):
        return self.value(x * self.weight)


def with_value(value, at=(0, 0, 0, 0)):
    x = torch.rand(4, 1, 28, 28)
    x[at] = value
    return x


def settings(**given):
    return lambda: Settings(**({"epochs": 1} | given))


def trains(net=linear, given=data, settings=SHORT, **how):
    return lambda: fit(net(), given(), settings, runtime=CPU, progress=False, **how)


def takes(build, x):
    """A network of the course on an input."""
    return lambda: build()(x)


def meta(net):
    with torch.device("meta"):
        return net()


def frozen():
    return linear().requires_grad_(False)


def labels(*values, dtype=torch.int64):
    return torch.tensor(values, dtype=dtype)


NETS = {
    "LeNet": lambda **how: LeNet("modern", **how),
    "AlexNet": lambda **how: AlexNet("small", **how),
    "ZFNet": lambda **how: ZFNet("small", **how),
    "VGG": lambda **how: VGG("small", **how),
    "NiN": lambda **how: NiN("small", **how),
    "GoogLeNet": lambda **how: GoogLeNet("small", **how),
    "ResNet": lambda **how: ResNet("small", **how),
}
SIZES = [0, -3, 2.5, 2.0, True, "ten", None, [10], NAN, np.float64(3)]

#: What is given -> the call, and words of the error.
FAULTY = {
    # Settings.
    **{
        f"epochs={value!r}": (settings(epochs=value), "epochs must be an integer")
        for value in (0, -1, 1.5, True, None, "3", NAN, INF, [1], np.float64(2))
    },
    **{
        f"lr={value!r}": (settings(lr=value), "lr must be a finite number above 0")
        for value in (0, -0.1, NAN, INF, -INF, "0.1", None, True, [0.1], 1j)
    },
    **{
        f"batch_size={value!r}": (
            settings(batch_size=value),
            "batch_size must be an in",
        )
        for value in (0, -8, 12.5, True, None, "128", (16,))
    },
    **{
        f"momentum={value!r}": (settings(momentum=value), r"momentum must be 0 or in")
        for value in (-0.1, 0.01, 0.95, 1, NAN, INF, "0.9", None)
    },
    **{
        f"weight_decay={value!r}": (
            settings(weight_decay=value),
            "weight_decay must be",
        )
        for value in (-1e-4, NAN, INF, "0", None)
    },
    **{
        f"label_smoothing={value!r}": (
            settings(label_smoothing=value),
            "label_smoothing must be in",
        )
        for value in (-0.1, 1.1, NAN, "0.1", None)
    },
    **{
        f"size={value!r}": (settings(size=value), "size must be None or an integer")
        for value in (0, -28, 28.5, (28, 28), "28", True)
    },
    **{
        f"seed={value!r}": (settings(seed=value), "seed must be an integer")
        for value in (-1, 2**32, 0.5, None, "0", True)
    },
    **{
        f"augment={value!r}": (settings(augment=value), "augment must be True or False")
        for value in (1, 0, "yes", None)
    },
    # The network of a run.
    "no network": (trains(lambda: "ResNet"), "net must be a torch.nn.Module, got str"),
    "a class": (trains(lambda: LeNet), "net must be a torch.nn.Module, got type"),
    "no parameters": (trains(nn.Flatten), "net has no parameters: a Flatten cannot"),
    "all frozen": (trains(frozen), "net has 2 parameters, and none requires a grad"),
    "on meta": (
        trains(lambda: meta(linear)),
        r"net\.1\.weight is on the meta device, which has shapes and no numbers",
    ),
    "lazy": (
        trains(lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10))),
        r"net\.1\.weight has no shape yet: it is of a lazy layer",
    ),
    "nine outputs": (
        trains(lambda: linear(9)),
        r"outputs of shape \(2, 9\), but the data has 10 classes; .*num_classes=10",
    ),
    "maps as outputs": (
        trains(lambda: nn.Conv2d(1, 10, 3)),
        r"outputs of shape \(2, 10, 26, 26\), but the data has 10 classes",
    ),
    "a list as outputs": (
        trains(lambda: Returns(lambda x: [x])),
        "net gives a list in training, and must give logits",
    ),
    "a dict as outputs": (
        trains(lambda: Returns(lambda x: {"logits": x})),
        "net gives a dict in training",
    ),
    "nothing as outputs": (
        trains(lambda: Returns(lambda _: None)),
        "net gives a NoneType in training",
    ),
    "torchvision's GoogLeNet": (
        trains(
            lambda: models.googlenet(num_classes=10, init_weights=False),
            lambda: dealt(torch.rand(4, 3, 64, 64)),
        ),
        "net gives a GoogLeNetOutputs in training",
    ),
    "three channels wanted": (
        trains(lambda: ResNet(18, num_classes=10)),
        r"ResNet cannot take an input of shape \(2, 1, 28, 28\): it wants \(N, 3,",
    ),
    "other layers": (
        trains(lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 10))),
        r"net cannot take images of data\.train, of shape \(2, 1, 28, 28\): .*mat1",
    ),
    # The data of a run.
    **{
        f"no {name}": (trains(given=lambda name=name: without(name)), f"without {name}")
        for name in ("train", "validation", "test", "classes")
    },
    **{
        f"{name} is empty": (
            trains(given=lambda name=name: data(**{name: split(0)})),
            rf"data\.{name} is empty",
        )
        for name in ("train", "validation", "test")
    },
    "one class": (trains(given=lambda: data(classes=["cat"])), "nothing to tell apart"),
    "a split without a length": (
        trains(given=lambda: data(train=iter([]))),
        r"data\.train must know how many images it has",
    ),
    "a split that deals nothing": (
        trains(given=lambda: data(validation=Nothing(None, None))),
        r"data\.validation\.batches gives no batch",
    ),
    "a split without batches": (
        trains(given=lambda: data(test=[1, 2])),
        r"data\.test must have batches\(batch_size, \*, seed",
    ),
    "a label too large": (
        trains(given=lambda: data(train=split(4, labels(0, 9, 10, 11)))),
        r"data\.train\.labels\[2\] is 10, and there are 10 classes, 0 to 9; 2 labels",
    ),
    "a label below 0": (
        trains(given=lambda: data(test=split(3, labels(0, -1, 2)))),
        r"data\.test\.labels\[1\] is -1",
    ),
    "labels of float": (
        trains(given=lambda: dealt(y=torch.rand(4))),
        r"labels of data\.train\.batches must be int64 of shape \(N,\).*float32",
    ),
    "one-hot labels": (
        trains(given=lambda: dealt(y=torch.eye(10, dtype=torch.int64)[:4])),
        r"must be int64 of shape \(N,\), a class for each image, got int64 of shape",
    ),
    "labels as a list": (
        trains(given=lambda: dealt(y=[0, 1, 2, 3])),
        r"data\.train\.batches must give tensors, got list for labels",
    ),
    "too few labels": (
        trains(given=lambda: dealt(y=torch.arange(3))),
        r"data\.train\.batches gives 4 images and 3 labels",
    ),
    "images of NumPy": (
        trains(given=lambda: dealt(np.zeros((4, 1, 28, 28), np.float32))),
        r"must give tensors, got ndarray for images",
    ),
    "images as bytes": (
        trains(given=lambda: dealt(torch.zeros(4, 1, 28, 28, dtype=torch.uint8))),
        r"floating-point numbers, got uint8 of shape \(4, 1, 28, 28\)",
    ),
    "flat images": (
        trains(given=lambda: dealt(torch.rand(4, 784))),
        r"images \(N, C, H, W\) of floating-point numbers, got float32 of shape",
    ),
    **{
        f"a pixel of {value}": (
            trains(given=lambda value=value: dealt(with_value(value, (2, 0, 3, 3)))),
            r"image 2 of data\.train has values that are not finite",
        )
        for value in (NAN, INF, -INF)
    },
    "a number of classes": (
        trains(given=lambda: data(classes=10)),
        r"data\.classes must be a sequence of two or more names, got 10",
    ),
    # Splits.
    **{
        f"batches of {value!r}": (
            lambda value=value: next(split().batches(value)),
            "batch_size must be",
        )
        for value in (0, -1, 2.5, "8", None, True, NAN)
    },
    **{
        f"shard {value!r}": (
            lambda value=value: next(split().batches(4, shard=value)),
            "shard must be",
        )
        for value in ((2, 2), (-1, 2), (0,), (0.5, 2), 3, "12")
    },
    **{
        f"pixels {value!r}": (
            lambda value=value: next(split().batches(4, size=value)),
            "size must be",
        )
        for value in (0, -4, 27.5, "28")
    },
    **{
        f"batches with seed {value!r}": (
            lambda value=value: next(split().batches(4, seed=value)),
            "seed must be an integer",
        )
        for value in (0.5, "0", NAN)
    },
    # Networks.
    **{
        f"{name}, num_classes={value!r}": (
            lambda net=net, value=value: net(num_classes=value),
            "num_classes must be",
        )
        for name, net in NETS.items()
        for value in SIZES
        if value is not None
    },
    **{
        f"{name}, in_channels={value!r}": (
            lambda net=net, value=value: net(in_channels=value),
            "in_channels must be",
        )
        for name, net in NETS.items()
        for value in (0, 1.5, "1", True)
    },
    **{
        f"{name}, dropout={value!r}": (
            lambda net=net, value=value: net(dropout=value),
            "dropout must be from 0 to 1, got",
        )
        for name, net in (("VGG", NETS["VGG"]), ("AlexNet", NETS["AlexNet"]))
        for value in (-0.1, 1.5, NAN, "0.5", None, True, [0.5])
    },
    **{
        f"{name} of {what}": (
            takes(net, x),
            f"{name} cannot take an input of .*{words}",
        )
        for name, net in NETS.items()
        for what, x, words in (
            ("five axes", torch.rand(1, 1, 1, 28, 28), r"it wants \(N, 1, H, W\)"),
            ("two channels", torch.rand(1, 2, 28, 28), r"it wants \(N, 1, H, W\)"),
            ("bytes", torch.zeros(1, 1, 28, 28, dtype=torch.uint8), "not torch.uint8"),
            ("a list", [[0.0]], "list: it wants a tensor"),
            (
                "float64",
                torch.rand(2, 1, 28, 28).double(),
                "the input is torch.float64",
            ),
        )
    },
    # Scoring and counting.
    "score an empty split": (
        lambda: evaluate(linear(), split(0), runtime=CPU),
        "the split is empty",
    ),
    "score no network": (
        lambda: evaluate("net", split(), runtime=CPU),
        "net must be a torch.nn.Module, got str",
    ),
    "score labels that are no classes": (
        lambda: evaluate(linear(), split(3, labels(0, 1, 12)), runtime=CPU),
        r"the labels\[2\] is 12, and there are 10 classes",
    ),
    "score on meta": (
        lambda: evaluate(meta(linear), split(), runtime=CPU),
        "is on the meta device",
    ),
    **{
        f"summarize for {value!r}": (
            lambda value=value: summarize(LeNet("modern"), value),
            "input_size|cannot take an input",
        )
        for value in (
            *((1, 28), (1, 0, 28), (1, 28, -1), (3, 28, 28), (1, 28.5, 28), (), "28"),
            *(28, (1, None, 28), (1, NAN, 28), (1, 10**9, 10**9), torch.ones(28, 28)),
            *(np.array([1.5, 28, 28]), torch.ones(1, 28, 28, dtype=torch.long)),
        )
    },
    **{
        f"summarize {kind}": (
            lambda module=module: summarize(module, (1, 28, 28)),
            "only modules can be summarized, got",
        )
        for kind, module in {
            "a class": LeNet,
            "nothing": None,
            "a function": len,
            "a tensor": torch.ones(3),
        }.items()
    },
    **{
        f"summarize with data {kind}": (
            lambda value=value: summarize(LeNet("modern"), input_data=value),
            "input_data must be|cannot take an input",
        )
        for kind, value in {
            "that are a text": "x",
            "that are none": [],
            "of no batch": torch.tensor(1.0),
            "of no image": torch.ones(0, 1, 28, 28),
            "of three channels": torch.ones(2, 3, 28, 28),
            "for another argument": {"y": torch.ones(1, 1, 28, 28)},
            "for no name": {1: torch.ones(1, 1, 28, 28)},
        }.items()
    },
    **{
        f"summarize for types {value!r}": (
            lambda value=value: summarize(LeNet("modern"), (1, 28, 28), dtypes=value),
            "dtypes must be types of tensors|wants floating-point numbers",
        )
        for value in (
            *(["float32"], [torch.float32] * 2, torch.float32, [torch.int64], 3, []),
        )
    },
    "summarize for a size and data": (
        lambda: summarize(LeNet("modern"), (1, 28, 28), input_data=torch.ones(1)),
        "either input_size must be given or input_data",
    ),
    **{
        f"a tree to the depth {value!r}": (
            lambda value=value: LENET.table("tree", depth=value),
            "depth must be",
        )
        for value in (-1, 1.5, "two", True)
    },
    "a table of other rows": (lambda: LENET.table("all"), "rows must be one of"),
    "a column that is none": (
        lambda: LENET.table(columns=["size"]),
        "columns must be one of",
    ),
    "a stage that is none": (lambda: LENET["conv9"], "no row has the name 'conv9'"),
    **{
        f"draw {kind}": (lambda module=module: draw(module, (1, 28, 28)), "drawn, got")
        for kind, module in {"a class": LeNet, "nothing": None}.items()
    },
    **{
        f"draw for {value!r}": (
            lambda value=value: draw(LeNet("modern"), value),
            "input_size must be|cannot take an input",
        )
        for value in ("28", 28, (3, 28, 28), (1, 0, 28), None)
    },
    **{
        f"draw side by side {value!r}": (
            lambda value=value: draw_side_by_side(value, (1, 28, 28)),
            "modules to draw|can be drawn",
        )
        for value in ({}, [nn.ReLU()], {"a": None}, None)
    },
    # Runtimes.
    **{
        f"device {value!r}": (lambda value=value: runtime(value), "device")
        for value in ("gpu", "cuda:99", "nonsense", "tpu")
    },
    "precision 'half'": (lambda: runtime("cpu", "half"), "precision must be one of"),
}


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch):
    def step(*_, **__):
        pytest.fail("a step was taken before the error")

    monkeypatch.setattr(torch.optim.SGD, "step", step)


@pytest.mark.parametrize("given", FAULTY)
def test_it_says_what_came(given):
    call, words = FAULTY[given]
    with pytest.raises(ValueError, match=words):
        call()


def test_there_are_many():
    assert len(FAULTY) >= 120


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: 3, "checkpoint must be a path, got 3"),
        (lambda folder: folder, "is a folder; name a file in it"),
        (lambda folder: str(folder), "is a folder; name a file in it"),
        (lambda folder: folder / "no/run.pt", "there is no folder .*no; make it first"),
        (lambda folder: f"{folder}/no/run.pt", "there is no folder"),
        (lambda folder: file_in(folder) / "run.pt", "there is no folder"),
        (lambda folder: file_in(folder), "is not a checkpoint that `fit` wrote"),
    ],
)
def test_a_checkpoint_that_cannot_be(tmp_path, make, words):
    path = make(tmp_path)
    before = {each.name for each in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=words):
        fit(linear(), data(), SHORT, runtime=CPU, checkpoint=path, progress=False)
    assert {each.name for each in tmp_path.iterdir()} == before


def file_in(folder):
    path = folder / "a file"
    path.write_text("text")
    return path


def state_of(net):
    """All that a user could have set."""
    return [
        *(
            (name, x.dtype, x.device, x.stride())
            for name, x in net.state_dict().items()
            if isinstance(x, torch.Tensor)
        ),
        *(x.requires_grad for x in net.parameters()),
        *(module.training for module in net.modules()),
    ]


@pytest.mark.parametrize(
    "given", [lambda: data(train=split(0)), lambda: dealt(torch.rand(4, 2, 28, 28))]
)
def test_a_net_that_is_refused_is_as_it_was(given):
    net = LeNet("modern").double()
    net.c1.eval()
    before, values = state_of(net), copy.deepcopy(net.state_dict())
    bad, random = given(), torch.get_rng_state()
    with pytest.raises(ValueError, match=r"empty|cannot take"):
        fit(net, bad, SHORT, runtime=CPU, progress=False)
    assert state_of(net) == before
    assert all(torch.equal(x, values[name]) for name, x in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_scoring_leaves_everything_as_it_was(precision):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten()
    )
    net.append(nn.Linear(4 * 26 * 26, 10)).double()
    net[1].eval()  # frozen, as for fine-tuning
    before, values = state_of(net), copy.deepcopy(net.state_dict())
    random = torch.get_rng_state()
    evaluate(net, split(), runtime=runtime("cpu", precision))
    assert state_of(net) == before
    assert all(torch.equal(x, values[name]) for name, x in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_the_first_look_leaves_no_trace():
    """Neither in what batch norm notes, nor in what dropout draws."""
    from course_lib.training.checks import first_look

    net = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), *linear())
    net[1].eval()
    before, values = state_of(net), copy.deepcopy(net.state_dict())
    random = torch.get_rng_state()
    first_look(net, data(), SHORT, CPU)
    assert state_of(net) == before
    assert all(torch.equal(x, values[name]) for name, x in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_file_with_a_label_that_is_no_class():
    class Files(list):
        files = (("a.png", 0), ("b.png", 12))

    with pytest.raises(
        ValueError, match=r"data\.train\.files\[1\], b\.png, has the la"
    ):
        fit(linear(), data(train=Files([1, 2])), SHORT, runtime=CPU, progress=False)


def test_errors_have_one_parent():
    assert issubclass(CheckpointError, ValueError)
    assert issubclass(CheckpointError, OSError)
    assert issubclass(DataError, Exception)


class Remembers(nn.Sequential):
    """Has more to save than tensors."""

    def get_extra_state(self):
        return {"version": 1}

    def set_extra_state(self, state):
        assert state == {"version": 1}


def normed():
    """Its weight is computed anew for each call, and cannot be copied."""
    net = linear()
    nn.utils.weight_norm(net[1])
    return net


def tied():
    net = nn.Sequential(nn.Flatten(), *(nn.Linear(784, n) for n in (784, 784, 10)))
    net[2].weight = net[1].weight
    return net


OTHERS = {
    "scripted": lambda: torch.jit.script(linear()),
    "extra state": lambda: Remembers(*linear()),
    "weight norm": normed,
    "a layer twice": lambda: nn.Sequential(
        nn.Flatten(), *[nn.Linear(784, 784)] * 2, nn.Linear(784, 10)
    ),
    "a weight in two layers": tied,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("kind", OTHERS)
def test_networks_of_others_are_trained_kept_and_scored(kind, tmp_path, monkeypatch):
    monkeypatch.undo()  # steps may be taken here
    net, path = OTHERS[kind](), tmp_path / "run.pt"
    for _ in range(2):  # the second time, there is nothing left to train
        again = fit(net, data(), SHORT, runtime=CPU, checkpoint=path, progress=False)
    assert len(again.losses) == 2
    before = state_of(net)
    exact = evaluate(net, split(), runtime=runtime("cpu", "float64"))
    assert exact.loss == pytest.approx(again.test.loss, rel=1e-4)
    assert state_of(net) == before


def test_a_split_that_no_checkpoint_would_know_again(tmp_path):
    class Plain(Dealt):
        fingerprint = property()

    given = data(train=Plain(torch.rand(4, 1, 28, 28), torch.arange(4)))
    path = tmp_path / "run.pt"
    with pytest.raises(CheckpointError, match=r"data\.train has no method fingerprint"):
        fit(linear(), given, SHORT, runtime=CPU, checkpoint=path, progress=False)
