"""What the page computes is what PyTorch computes with the same weights: each operation
of each network, each change that readers can make, and what is done to images. The
scripts run here in an engine for JavaScript that comes as a package;
tests/browser/lab.py opens the page.
"""

import base64
import gzip
import json
import os
import re
from contextlib import ExitStack
from functools import cache
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from py_mini_racer import JSEvalException, MiniRacer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib import fashion_mnist, recorded
from course_lib.data.fashion import normalize
from course_lib.lab import (
    NETS,
    export,
    network,
    program,
    quantized,
    read,
    trained,
)
from course_lib.lab.weights import packed, unpacked
from proofs.lab import FAULTS
from tools import lab as writer

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "book/_static"
SCRIPT = STATIC / "lab-run.js"
FIXTURE = ROOT / "tests/browser/lab.json"

#: Images that the networks are compared on; `python -m proofs.lab` takes ten.
IMAGES = range(0, 19 * int(os.environ.get("LAB_IMAGES", "2")), 19)

#: The largest difference, of the largest number that an operation makes.
TOLERANCE = 1e-5


#: What browsers have: the bytes of a text in base64, a character each.
ATOB = """globalThis.atob = (text) => {
  const large = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const letters = [...`${large}${large.toLowerCase()}0123456789+/`];
  const digit = Object.fromEntries(letters.map((letter, k) => [letter, k]));
  let [bits, count, found] = [0, 0, []];
  for (const letter of text.replace(/=+$/, "")) {
    bits = ((bits << 6) | digit[letter]) & 0xffff;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    found.push(String.fromCharCode((bits >> count) & 255));
  }
  return found.join("");
};"""


class Engine:
    """The scripts, with networks that are opened by the names in their files."""

    def __init__(self, context: MiniRacer) -> None:
        self.context = context
        self.context.eval(ATOB)
        self.context.eval(SCRIPT.read_text(encoding="utf-8"))
        self.context.eval("globalThis.nets = {}")

    def call(self, function: str, *arguments):
        text = ", ".join(map(json.dumps, arguments))
        return json.loads(self.context.eval(f"JSON.stringify({function}({text}))"))

    def open(self, text: str, name: str) -> None:
        self.context.eval(f"{text}\nnets[{name!r}] = lab.open(lab.programs[{name!r}]);")

    def run(self, name: str, x: Tensor, changes=(), **more) -> list[np.ndarray]:
        """What each operation made."""
        self.context.eval(f"globalThis.x = {json.dumps(x.flatten().tolist())}")
        call = f"lab.run(nets[{name!r}], Float32Array.from(x), {json.dumps(changes)})"
        text = self.context.eval(
            f"JSON.stringify({call}.map((y) => Array.from(y, (v) =>"
            " Number.isFinite(v) ? v : null)))"
        )
        return [np.array(each, dtype=float) for each in json.loads(text)]


@pytest.fixture(scope="module")
def engine():
    with MiniRacer() as context:
        made = Engine(context)
        for name in NETS:
            made.open((STATIC / f"lab/{name}.js").read_text(encoding="utf-8"), name)
        yield made


@cache
def file_of(name: str):
    return read(STATIC / f"lab/{name}.js")


@cache
def image(number: int) -> Tensor:
    """An image of the gallery, as networks read it."""
    place = gallery()["places"][number]
    return normalize(fashion_mnist().test.images[place : place + 1])


class Recorder(TorchDispatchMode):
    """Keeps what each operation returned, but for those that only show a tensor anew;
    local response normalization is several.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Tensor] = []
        self.inside = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        views = ("view", "t", "detach", "empty", "alias", "squeeze", "unsqueeze")
        if not self.inside and name not in views:
            first = result[0] if isinstance(result, tuple) else result
            self.made.append(first.detach().clone())
        return result


def by_pytorch(net: nn.Module, x: Tensor) -> list[np.ndarray]:
    """What each operation makes in PyTorch itself."""
    recorder = Recorder()

    def enter(*_):
        recorder.inside = True

    def leave(module, _, output):
        recorder.made.append(output.detach().clone())
        recorder.inside = False

    with ExitStack() as stack:
        for layer in net.modules():
            if isinstance(layer, nn.LocalResponseNorm):
                before = layer.register_forward_pre_hook(enter)
                after = layer.register_forward_hook(leave)
                stack.callback(before.remove)
                stack.callback(after.remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(recorder)
        net(x)
    return [each[0].flatten().double().numpy() for each in recorder.made]


def agree(found, expected):
    """All operations of a run, each by its largest number."""
    assert len(found) == len(expected)
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        largest = np.abs(theirs).max() or 1
        worst = max(worst, np.abs(ours - theirs).max() / largest)
    assert worst < TOLERANCE
    return worst


@pytest.mark.parametrize("name", NETS)
def test_each_operation_is_that_of_pytorch(engine, name):
    net = network(name)
    for number in IMAGES:
        x = image(number)
        agree(engine.run(name, x), by_pytorch(net, x))


# ---- The changes. ----


def zero(_, __, output):
    return torch.zeros_like(output)


def same(_, inputs, __):
    return inputs[0]


def without(channels):
    """A hook that makes these channels zero."""

    def hook(_, __, output):
        output = output.clone()
        output[:, channels] = 0
        return output

    return hook


def plain_relu(net):
    """The net with its ReLUs out of place, so that a hook still finds their input."""
    for layer in net.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return net


def place_of(name, kind, path):
    """The number of an operation."""
    ops = file_of(name)["ops"]
    return next(
        i for i, op in enumerate(ops) if (op["kind"], op["path"]) == (kind, path)
    )


#: Network, the modules that get a hook with it, and the operation with its change.
CHANGES = {
    "a map": (
        *("lenet", {"c1.0": without([2])}),
        ("conv", "c1.0", {"off": [2]}),
    ),
    "several maps": (
        *("vgg", {"conv3.2": without([0, 5, 63])}),
        ("relu", "conv3.2", {"off": [0, 5, 63]}),
    ),
    "all maps but one": (
        *("nin", {"mlpconv2.2": without([c for c in range(64) if c != 7])}),
        ("relu", "mlpconv2.2", {"only": [7]}),
    ),
    "units": (
        *("alexnet", {"fc6.2": without([*range(64)])}),
        ("relu", "fc6.2", {"off": [*range(64)]}),
    ),
    "a branch": (
        *("googlenet", {"inception_3b.conv3x3": zero}),
        ("cat", "inception_3b", {"drop": [1]}),
    ),
    "two branches": (
        *(
            "googlenet",
            {"inception_4b.conv1x1": zero, "inception_4b.pool_proj": zero},
        ),
        ("cat", "inception_4b", {"drop": [0, 3]}),
    ),
    "an identity shortcut": (
        *("resnet", {"conv2_x.0.shortcut": zero}),
        ("add", "conv2_x.0", {"drop": [1]}),
    ),
    "a projection": (
        *("resnet", {"conv4_x.0.shortcut": zero}),
        ("add", "conv4_x.0", {"drop": [1]}),
    ),
    "a residual branch": (
        *("resnet", {"conv3_x.0.body": zero}),
        ("add", "conv3_x.0", {"drop": [0]}),
    ),
    "a stage": (
        *("resnet", {"conv2_x": same}),
        ("relu", "conv2_x.0", {"pass": "stem.2"}),
    ),
    "a stage of the plain twin": (
        *("plain", {"conv2_x": same}),
        ("relu", "conv2_x.0.2", {"pass": "stem.2"}),
    ),
    "a fully connected stage": (
        *("vgg", {"fc7": same}),
        ("relu", "fc7.1", {"pass": "fc6.3"}),
    ),
    "batch normalization": (
        *("vgg", {"conv1.1": same}),
        ("norm", "conv1.1", {"pass": "conv1.0"}),
    ),
    "local response normalization": (
        *("zfnet", {"conv1.3": same}),
        ("lrn", "conv1.3", {"pass": "conv1.2"}),
    ),
    "an activation": (
        *("lenet", {"c3.1": same}),
        ("relu", "c3.1", {"pass": "c3.0"}),
    ),
}


def as_change(name, kind, path, change):
    """The change as the page has it: what is passed is given by its last operation."""
    if "pass" in change:
        ops = file_of(name)["ops"]
        last = [i for i, op in enumerate(ops) if op["path"] == change["pass"]][-1]
        change = {"pass": last}
    return {"op": place_of(name, kind, path), **change}


@pytest.mark.parametrize("what", CHANGES)
def test_each_change_is_what_hooks_do(engine, what):
    """A hook on a residual branch whose shortcut is an identity of the same tensor."""
    name, hooks, change = CHANGES[what]
    net = plain_relu(network(name))
    for path, hook in hooks.items():
        net.get_submodule(path).register_forward_hook(hook)
    x = image(17)
    with torch.no_grad():
        expected = net(x)[0].double().numpy()
    found = engine.run(name, x, [as_change(name, *change)])[-1]
    plain = engine.run(name, x)[-1]
    assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()
    assert np.abs(found - plain).max() > TOLERANCE * np.abs(plain).max()


def test_several_changes_at_once(engine):
    """The order in which they were made is of no importance."""
    net = plain_relu(network("resnet"))
    net.get_submodule("conv2_x.0.shortcut").register_forward_hook(zero)
    net.get_submodule("conv3_x.0.body.0.1").register_forward_hook(same)
    net.get_submodule("stem.2").register_forward_hook(without([1, 4]))
    x = image(3)
    with torch.no_grad():
        expected = net(x)[0].double().numpy()
    changes = [
        as_change("resnet", "add", "conv2_x.0", {"drop": [1]}),
        as_change(
            "resnet", "norm", "conv3_x.0.body.0.1", {"pass": "conv3_x.0.body.0.0"}
        ),
        {"op": 2, "off": [1, 4]},
    ]
    for order in (changes, changes[::-1]):
        found = engine.run("resnet", x, order)[-1]
        assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", ["lenet", "googlenet"])
def test_a_run_from_an_operation_on_is_that_of_all(engine, name):
    x = image(5)
    context = engine.context
    engine.run(name, x)
    for start in (0, 3, len(file_of(name)["ops"]) - 1):
        change = json.dumps([{"op": start, "off": [0]}])
        equal = context.eval(
            f"""(() => {{
              const image = Float32Array.from(x);
              const before = lab.run(nets[{name!r}], image);
              const one = lab.run(nets[{name!r}], image, {change});
              const two = lab.run(nets[{name!r}], image, {change}, {start}, before);
              return one.length === two.length && one.every((values, i) =>
                values.every((value, k) => value === two[i][k]));
            }})()"""
        )
        assert equal


# ---- Single operations, of any size. ----


class Alone(nn.Module):
    """One layer, and what makes logits of it."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.end = layer, nn.Flatten()

    def forward(self, x):
        return self.end(self.layer(x))


def compare(engine, net, x):
    """A small network, in the engine and in PyTorch."""
    net = quantized(net.eval())
    found = program(net, tuple(x.shape[1:]))
    text = json.dumps({"name": "alone", "title": "alone", **found})
    engine.open(f"lab.add({text})", "alone")
    with torch.no_grad():
        expected = net(x)[0].flatten().double().numpy()
    ours = engine.run("alone", x)[-1]
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= TOLERANCE * (np.abs(expected).max() or 1)


sides = st.integers(1, 4)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(5, 9), st.integers(5, 9)),
    channels=st.integers(1, 7),
    kernel=st.tuples(sides, sides),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    bias=st.booleans(),
    seed=st.integers(0, 9),
)
def test_convolutions(engine, size, channels, kernel, stride, padding, bias, seed):
    torch.manual_seed(seed)
    layer = nn.Conv2d(size[0], channels, kernel, stride, padding, bias=bias)
    compare(engine, Alone(layer), torch.randn(1, *size))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]),
    size=st.tuples(st.integers(1, 3), st.integers(4, 9), st.integers(4, 9)),
    kernel=st.integers(2, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
    ceil=st.booleans(),
    include=st.booleans(),
)
def test_pooling(engine, kind, size, kernel, stride, padding, ceil, include):
    torch.manual_seed(0)
    more = {"count_include_pad": include} if kind is nn.AvgPool2d else {}
    layer = kind(kernel, stride, padding, ceil_mode=ceil, **more)
    compare(engine, Alone(layer), torch.randn(1, *size))


def test_batch_normalization_without_weights(engine):
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(4, affine=False, eps=0.1)
    layer(3 * torch.randn(8, 4, 5, 5) + 1)
    compare(engine, Alone(layer), torch.randn(1, 4, 6, 5))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_local_response_normalization(engine, size):
    torch.manual_seed(0)
    layer = nn.LocalResponseNorm(size, alpha=0.7, beta=0.6, k=1.5)
    compare(engine, Alone(layer), 3 * torch.randn(1, 6, 4, 5))


class Functions(nn.Module):
    """What is written with functions, and without modules."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.full = nn.Linear(11, 5, bias=False)

    def forward(self, x):
        a, b = F.relu(self.one(x)), self.two(x).relu_()
        a = F.max_pool2d(a + b, 2)
        b = F.avg_pool2d(b, 3, stride=2, padding=1)
        means = [a.mean((2, 3)), b.mean(dim=(-1, -2)), F.adaptive_avg_pool2d(x, 1)]
        return self.full(
            F.dropout(torch.cat([*means[:2], means[2].flatten(1)], 1), 0.0)
        )


def test_functions(engine):
    torch.manual_seed(0)
    compare(engine, Functions(), torch.randn(1, 3, 8, 8))


# ---- The exporter. ----


class Block(nn.Module):
    """A residual block as others write it."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(x + y)


class Stranger(nn.Module):
    """A network that is not of the course."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(8 * 6 * 6, 10)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.norm(self.conv(x))), 2)
        x = self.blocks(x)
        return self.fc(self.drop(x.view(x.size(0), -1)))


def warmed(net):
    """With other statistics than those that batch normalization begins with."""
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(3):
            net.train()(2 * torch.randn(16, 1, 28, 28) + 1)
    return net.eval()


def test_a_network_of_a_stranger(engine, tmp_path):
    net = warmed(Stranger())
    path = export(net, tmp_path / "mine.js", title="Mine")
    found = read(path)
    assert (found["name"], found["title"]) == ("mine", "Mine")
    assert [op["kind"] for op in found["ops"]].count("add") == 2
    engine.open(path.read_text(encoding="utf-8"), "mine")
    x = image(2)
    agree(engine.run("mine", x), by_pytorch(quantized(net), x))
    stages = (
        engine.call("lab.stages(nets.mine).map", None)
        if False
        else json.loads(
            engine.context.eval(
                "JSON.stringify(lab.stages(nets.mine).map((stage) => [stage.name,"
                " lab.switches(nets.mine, stage).map(({ text }) => text)]))"
            )
        )
    )
    switches = dict(stages)
    assert [*switches] == ["conv", "norm", "blocks", "fc"]
    assert "shortcut (0)" in switches["blocks"]
    assert "batch normalization" in switches["norm"]


def test_exporting_changes_nothing(tmp_path):
    net = warmed(Stranger())
    before = {name: x.clone() for name, x in net.state_dict().items()}
    state = torch.get_rng_state()
    export(net, tmp_path / "mine.js")
    assert not net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.SiLU(), r"SiLU \(1\).*silu"),
        (nn.GroupNorm(2, 4), r"GroupNorm \(1\)"),
        (nn.Conv2d(4, 4, 3, groups=2), r"Conv2d \(1\).*groups"),
        (nn.Conv2d(4, 4, 3, dilation=2), r"Conv2d \(1\).*dilation"),
        (nn.ConvTranspose2d(4, 4, 3), r"ConvTranspose2d \(1\).*transposed"),
        (nn.MaxPool2d(2, dilation=2), r"MaxPool2d \(1\).*dilation"),
        (nn.AvgPool2d(2, divisor_override=3), r"AvgPool2d \(1\).*divisor"),
        (nn.BatchNorm2d(4, track_running_stats=False), r"BatchNorm2d \(1\).*batch"),
        (nn.AdaptiveAvgPool2d(3), r"AdaptiveAvgPool2d \(1\)"),
        (nn.Sequential(nn.Tanh()), r"Tanh \(1.0\)"),
    ],
)
def test_what_there_is_no_operation_for(layer, words):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), layer, nn.Flatten()).eval()
    with pytest.raises(ValueError, match=words):
        program(net, (1, 9, 9))


class Odd(nn.Module):
    """Does something to what a convolution makes."""

    def __init__(self, does):
        super().__init__()
        self.conv, self.does = nn.Conv2d(1, 4, 3), does

    def forward(self, x):
        return self.does(self.conv(x))


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (lambda x: (x + 1).flatten(1), "a sum of anything but two"),
        (lambda x: (x + x[:, :1]).flatten(1), "slice"),
        (lambda x: (x + x.mean((2, 3), keepdim=True)).flatten(1), "of one shape"),
        (lambda x: torch.cat([x, x], 2).flatten(1), "anything but channels"),
        (lambda x: torch.cat([x, x]).flatten(1), "anything but channels"),
        (lambda x: x.mean(1).flatten(1), "other dimensions"),
        (lambda x: x.transpose(2, 3).flatten(1), "transpose"),
        (lambda x: x.view(2, 2, 2, -1).flatten(1), "view"),
        (lambda x: x, "no list of logits"),
        (lambda x: (x.flatten(1), x.flatten(1)), "2 outputs"),
        (lambda x: torch.zeros(2, 3) + 0, "cannot run"),
        (lambda x: x.flatten(1) @ torch.ones(196, 3), "cannot run"),
        (lambda x: x.flatten(), "cannot run"),
        (lambda x: (x + torch.ones(2, 4, 7, 7)).flatten(1), "not come from the image"),
        (lambda x: F.conv2d(x, torch.ones(4, 4, 1, 1)).flatten(1), "that is computed"),
        (lambda x: F.relu(torch.zeros(3)), "relu of a tensor without a batch"),
    ],
)
def test_what_a_module_of_ones_own_cannot_do(does, words):
    with pytest.raises(ValueError, match=words):
        program(Odd(does).eval(), (1, 9, 9))


def test_training_mode_is_refused():
    net = Stranger().eval()
    net.drop.train()
    with pytest.raises(ValueError, match=r"Stranger is in training mode \(drop\)"):
        program(net, (1, 28, 28))
    with pytest.raises(ValueError, match=r"in training mode, .* call net.eval\(\)"):
        program(Stranger(), (1, 28, 28))


def test_what_is_no_network():
    with pytest.raises(ValueError, match="only modules can be exported, got 3"):
        program(3, (1, 28, 28))
    with pytest.raises(ValueError, match="cannot take an input of size 3 x 28 x 28"):
        program(Stranger().eval(), (3, 28, 28))
    with pytest.raises(ValueError, match="input_size must be"):
        program(Stranger().eval(), 28)


def test_what_is_no_file_of_a_network(tmp_path):
    path = tmp_path / "other.js"
    path.write_text("alert(1)")
    with pytest.raises(ValueError, match=r"is no network for the page: .*'alert\(1\)'"):
        read(path)
    path.write_text('lab.add({"floats":4,"data":"AAAA"});')
    with pytest.raises(ValueError, match="of an older form: export the network again"):
        read(path)


def test_there_is_no_such_network():
    with pytest.raises(ValueError, match=r"name must be one of .*lenet.*; got 'vit'"):
        network("vit")


def test_weights_as_a_text(engine):
    """All of eight bits; nothing is escaped, and what is frequent takes one byte."""
    every = torch.arange(-128, 128, dtype=torch.int8)
    found = packed([0.1, -2.5], every.numpy().tobytes())
    text = found["weights"]
    assert len(text) == len({*text}) == 256
    assert json.dumps(text, ensure_ascii=False) == f'"{text}"'
    pairs = zip(every.tolist(), text, strict=True)
    assert [q for q, each in pairs if len(each.encode()) == 1] == [*range(-46, 47)]
    floats, whole = unpacked(found)
    assert torch.equal(whole, every)
    assert torch.equal(floats, torch.tensor([0.1, -2.5]))
    in_page = f"JSON.stringify(Array.from(lab.signed({json.dumps(text)})))"
    assert json.loads(engine.context.eval(in_page)) == every.tolist()


# ---- What is told of a network. ----


@pytest.mark.parametrize("name", ["lenet", "nin", "googlenet", "resnet"])
def test_the_pixels_that_a_number_sees(engine, name):
    """Noise in all others leaves it what it is, to the last bit, and the gradient in
    PyTorch reaches to the edges.
    """
    ops, x = file_of(name)["ops"], image(4)
    random = torch.Generator().manual_seed(0)
    inner = [
        i for i, op in enumerate(ops) if len(op["shape"]) == 3 and op["shape"][1] > 1
    ]
    for index in (inner[0], inner[len(inner) // 2], inner[-1]):
        channels, rows, columns = ops[index]["shape"]
        row, column = rows // 2, columns // 3
        seen = json.loads(
            engine.context.eval(
                f"JSON.stringify(lab.field(nets.{name}, {index}, {row}, {column}))"
            )
        )
        top, bottom, left, right = seen
        noisy = x + torch.randn(x.shape, generator=random)
        noisy[..., top : bottom + 1, left : right + 1] = x[
            ..., top : bottom + 1, left : right + 1
        ]
        place = (slice(None), row, column)
        before, after = (
            engine.run(name, each)[index].reshape(channels, rows, columns)[place]
            for each in (x, noisy)
        )
        assert (before == after).all()
        assert reaches(network(name), ops, index, row, column) == seen


def reaches(net, ops, index, row, column, maps=slice(None)):
    """The same by autograd: where all weights are positive, all that is seen counts."""
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.fill_(1.0)
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.fill_(1.0)
                layer.bias.zero_()
    made = {}
    keep = [
        layer.register_forward_hook(
            lambda _, __, output, path=path: made.setdefault(path, output)
        )
        for path, layer in net.named_modules()
    ]
    x = torch.rand(1, 1, 28, 28).double().requires_grad_()
    plain_relu(net.double())(x)
    path = ops[index]["path"]
    made[path][0, maps, row, column].sum().backward()
    # Max pooling takes one of the pixels: of many images, each is taken once.
    seen = x.grad[0, 0] != 0
    for _ in range(60):
        made.clear()
        x = torch.rand(1, 1, 28, 28).double().requires_grad_()
        net(x)
        made[path][0, maps, row, column].sum().backward()
        seen |= x.grad[0, 0] != 0
    for each in keep:
        each.remove()
    across, down = seen.any(0).nonzero(), seen.any(1).nonzero()
    return [
        down.min().item(),
        down.max().item(),
        across.min().item(),
        across.max().item(),
    ]


#: Network, the modules that get a hook with it, the changes, the operation that is
#: looked at, and its maps.
SEEN = {
    "two branches off": (
        *("googlenet", {f"inception_3a.{n}": zero for n in ("conv5x5", "pool_proj")}),
        *([("cat", "inception_3a", {"drop": [2, 3]})], ("cat", "inception_3a"), None),
    ),
    "maps of one branch": (*("googlenet", {}, [], ("cat", "inception_3a"), slice(16)),),
    "a residual branch off": (
        *("resnet", {"conv3_x.0.body": zero}),
        *([("add", "conv3_x.0", {"drop": [0]})], ("relu", "conv3_x.0"), None),
    ),
    "a shortcut off": (
        *("resnet", {"conv2_x.0.shortcut": zero}),
        *([("add", "conv2_x.0", {"drop": [1]})], ("relu", "conv3_x.0"), None),
    ),
    "a stage passed by": (
        *("resnet", {"conv2_x": same}),
        *([("relu", "conv2_x.0", {"pass": "stem.2"})], ("relu", "conv3_x.0"), None),
    ),
    "all maps of two branches off": (
        *("googlenet", {f"inception_3a.{n}": zero for n in ("conv5x5", "pool_proj")}),
        [("cat", "inception_3a", {"off": [*range(48, 80)]})],
        *(("cat", "inception_3a"), None),
    ),
}


@pytest.mark.parametrize("what", SEEN)
def test_what_is_off_is_not_seen(engine, what):
    """The pixels that a value depends on are those of the network as it is changed."""
    name, hooks, changes, place, maps = SEEN[what]
    net = plain_relu(network(name))
    for path, hook in hooks.items():
        net.get_submodule(path).register_forward_hook(hook)
    ops, index = file_of(name)["ops"], place_of(name, *place)
    _, rows, columns = ops[index]["shape"]
    spot = index, rows // 2, columns // 3
    here = [as_change(name, *change) for change in changes]
    text = f"lab.field(nets.{name}, {', '.join(map(str, spot))}, {json.dumps(here)}"
    chosen = "" if maps is None else f", {maps.stop - 1}"
    seen = json.loads(engine.context.eval(f"JSON.stringify({text}{chosen}))"))
    assert seen == reaches(net, ops, *spot, slice(None) if maps is None else maps)
    plain = f"lab.field(nets.{name}, {', '.join(map(str, spot))})"
    whole = json.loads(engine.context.eval(f"JSON.stringify({plain})"))
    # The residual branch sees what the shortcut sees.
    assert (seen == whole) == (what == "a shortcut off")


@pytest.mark.parametrize(
    ("change", "index", "maps"),
    [
        ({"op": 0, "off": [2]}, 1, [2]),
        ({"op": 0, "only": [3]}, 2, [0, 1, 2, 4, 5]),
        ({"op": 0, "off": [*range(6)]}, 4, [*range(16)]),
    ],
)
def test_maps_that_depend_on_nothing(engine, change, index, maps):
    """Another image leaves them what they are, to the last bit."""
    op = file_of("lenet")["ops"][index]
    values = [
        engine.run("lenet", image(k), [change])[index].reshape(op["shape"])
        for k in (0, 5)
    ]
    for c in range(op["shape"][0]):
        call = f"lab.field(nets.lenet, {index}, 1, 1, [{json.dumps(change)}], {c})"
        assert engine.context.eval(f"{call} === undefined") == (c in maps)
        assert (values[0][c] == values[1][c]).all() == (c in maps)


def test_what_the_answer_depends_on(engine):
    """All operations but those that lead nowhere else than to what is off."""

    def needed(name, changes):
        last = len(file_of(name)["ops"]) - 1
        call = f"lab.sources(nets.{name}, {last}, 0, 0, {json.dumps(changes)})"
        return {*json.loads(engine.context.eval(f"JSON.stringify([...{call}.keys()])"))}

    ops = file_of("resnet")["ops"]
    everything = {*range(-1, len(ops))}
    assert needed("resnet", []) == everything
    body = {i for i, op in enumerate(ops) if op["path"].startswith("conv2_x.0.body")}
    assert body
    off = as_change("resnet", *("add", "conv2_x.0"), {"drop": [0]})
    assert needed("resnet", [off]) == everything - body
    passed = as_change("resnet", "relu", "conv2_x.0", {"pass": "stem.2"})
    stage = {i for i, op in enumerate(ops) if op["path"].startswith("conv2_x")}
    assert needed("resnet", [passed]) == everything - stage
    first = {"op": 0, "off": [*range(ops[0]["shape"][0])]}
    assert needed("resnet", [first]) == everything - {-1, 0}


@pytest.mark.parametrize(("name", "kind"), [("lenet", 1), ("resnet", 2), ("vgg", 1)])
def test_the_products_of_a_number(engine, name, kind):
    """They are those of the window in PyTorch, and sum to what the engine has."""
    x = image(8)
    net = network(name)
    values = engine.run(name, x)
    convs = [i for i, op in enumerate(file_of(name)["ops"]) if op["kind"] == "conv"]
    index = convs[kind]
    op = file_of(name)["ops"][index]
    channel, row, column = op["shape"][0] - 1, 0, op["shape"][2] - 1
    found = json.loads(
        engine.context.eval(
            f"""(() => {{
              const image = Float32Array.from(x);
              const values = lab.run(nets.{name}, image);
              return JSON.stringify(lab.terms(nets.{name}, values, image, {index},
                {channel}, {row}, {column}));
            }})()"""
        )
    )
    layer = net.get_submodule(op["path"])
    kernels = [each["kernel"] for each in found["inputs"]]
    torch.testing.assert_close(torch.tensor(kernels), layer.weight[channel].detach())
    source = values[op["inputs"][0]].reshape(
        file_of(name)["ops"][op["inputs"][0]]["shape"]
    )
    padded = F.pad(torch.tensor(source), [op["padding"][0]] * 4)
    (high, wide), stride = op["kernel"], op["stride"][0]
    window = padded[
        :, row * stride : row * stride + high, column * stride : column * stride + wide
    ]
    windows = torch.tensor([each["window"] for each in found["inputs"]]).double()
    torch.testing.assert_close(windows, window)
    total = sum(each["sum"] for each in found["inputs"]) + found["bias"]
    value = values[index].reshape(op["shape"])[channel, row, column]
    assert abs(total - value) < TOLERANCE * np.abs(values[index]).max()


def test_switches(engine):
    """What can be switched off, stage by stage."""

    def of(name):
        text = f"""JSON.stringify(lab.stages(nets.{name}).map((stage) => [stage.name,
          lab.switches(nets.{name}, stage).map((each) => [each.text, each.change])]))"""
        return dict(json.loads(engine.context.eval(text)))

    switches = {name: of(name) for name in ("resnet", "googlenet", "plain", "alexnet")}
    resnet = dict(
        map(tuple, [(t, json.dumps(c)) for t, c in switches["resnet"]["conv2_x"]])
    )
    assert json.loads(resnet["shortcut"]) == {"op": 8, "drop": [1]}
    assert json.loads(resnet["residual branch"]) == {"op": 8, "drop": [0]}
    assert json.loads(resnet["the whole stage"]) == {"op": 9, "pass": 2}
    texts = [text for text, _ in switches["resnet"]["conv3_x"]]
    assert "the whole stage" not in texts  # its shape changes
    assert "shortcut" in texts
    texts = [text for text, _ in switches["googlenet"]["inception_3a"]]
    assert texts[-4:] == [
        f"branch {name}" for name in ("conv1x1", "conv3x3", "conv5x5", "pool_proj")
    ]
    assert "the whole stage" in [text for text, _ in switches["plain"]["conv2_x"]]
    assert "the whole stage" in [text for text, _ in switches["alexnet"]["fc7"]]
    assert "the whole stage" not in [text for text, _ in switches["alexnet"]["fc8"]]


# ---- The images. ----


@cache
def gallery():
    text = (STATIC / "lab/images.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("lab.addImages(").strip()[:-2])


def test_the_images_are_those_of_the_test_set(engine):
    found = gallery()
    test = fashion_mnist().test
    assert found["labels"] == [*range(10)] * 20
    assert test.labels[torch.tensor(found["places"])].tolist() == found["labels"]
    engine.context.eval(f"globalThis.packed = {json.dumps(found['data'])}")
    pixels = json.loads(
        engine.context.eval(
            "JSON.stringify(lab.images(packed, 784).map((each) => Array.from(each)))"
        )
    )
    assert pixels == test.images[torch.tensor(found["places"])].flatten(1).tolist()
    first = (STATIC / "lab/first.js").read_text(encoding="utf-8")
    few = json.loads(first.removeprefix("lab.addImages(").strip()[:-2])
    assert few["places"] == found["places"][:20]


def altered(engine, x, **settings):
    text = engine.context.eval(
        f"JSON.stringify(Array.from(lab.altered({json.dumps(x.flatten().tolist())},"
        f" {json.dumps(settings)})))"
    )
    return np.array(json.loads(text)).reshape(28, 28)


def pixels_of(number):
    place = gallery()["places"][number]
    return fashion_mnist().test.images[place, 0].numpy().astype(float)


def normal(values):
    return (values - 0.2858) / 0.3529


def test_an_image_as_it_is(engine):
    found = altered(engine, pixels_of(7))
    expected = normalize(torch.tensor(pixels_of(7))[None, None].byte())[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, -5), (-14, 14), (2, 1)])
def test_a_shift(engine, right, down):
    x = pixels_of(3) / 255
    expected = np.zeros((28, 28))
    for i in range(28):
        for j in range(28):
            if 0 <= i - down < 28 and 0 <= j - right < 28:
                expected[i, j] = x[i - down, j - right]
    found = altered(engine, pixels_of(3), right=right, down=down)
    np.testing.assert_allclose(found, normal(expected), atol=1e-6)


@pytest.mark.parametrize(("turn", "times"), [(90, -1), (-90, 1), (180, 2), (-180, 2)])
def test_a_quarter_turn(engine, turn, times):
    expected = np.rot90(pixels_of(5) / 255, times)
    found = altered(engine, pixels_of(5), turn=turn)
    np.testing.assert_allclose(found, normal(expected), atol=1e-5)


@pytest.mark.parametrize("turn", [15, -40, 100])
def test_a_turn(engine, turn):
    """As PyTorch samples a grid."""
    angle = np.deg2rad(turn)
    rows = [[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0]]
    x = torch.tensor(pixels_of(9) / 255)[None, None]
    grid = F.affine_grid(torch.tensor([rows]).double(), [1, 1, 28, 28], False)
    expected = F.grid_sample(x, grid, "bilinear", "zeros", False)[0, 0].numpy()
    found = altered(engine, pixels_of(9), turn=turn)
    np.testing.assert_allclose(found, normal(expected), atol=1e-4)


@pytest.mark.parametrize("contrast", [-1, 0, 0.5, 1.7])
def test_contrast(engine, contrast):
    expected = np.clip(0.5 + contrast * (pixels_of(2) / 255 - 0.5), 0, 1)
    found = altered(engine, pixels_of(2), contrast=contrast)
    np.testing.assert_allclose(found, normal(expected), atol=1e-6)


def test_a_square(engine):
    expected = pixels_of(1) / 255
    expected[4:10, 20:26] = 0.5
    cover = {"row": 4, "column": 20, "size": 6, "shade": 0.5}
    found = altered(engine, pixels_of(1), cover=cover)
    np.testing.assert_allclose(found, normal(expected), atol=1e-6)


def test_noise(engine):
    """Added to what networks read: of the right size, another for another seed."""
    plain = altered(engine, pixels_of(6))
    one, again, two = (
        altered(engine, pixels_of(6), noise=0.5, seed=seed) - plain
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert abs(np.corrcoef(one.flatten(), two.flatten())[0, 1]) < 0.15
    for noise in (one, two):
        assert abs(noise.mean()) < 0.06  # three deviations of the mean of 784
        assert 0.46 < noise.std() < 0.54
    by_python = 0.5 * gauss(1, 784).reshape(28, 28)
    np.testing.assert_allclose(one, by_python, atol=1e-6)


def gauss(seed, count):
    """The generator again, in Python: Mulberry32, and the method of Box and Muller."""
    state, found = seed, []

    def multiply(a, b):
        return (a * b) & 0xFFFFFFFF

    def uniform():
        nonlocal state
        state = (state + 0x6D2B79F5) & 0xFFFFFFFF
        t = multiply(state ^ (state >> 15), state | 1)
        t ^= (t + multiply(t ^ (t >> 7), t | 61)) & 0xFFFFFFFF
        return (t ^ (t >> 14)) / 2**32

    for _ in range(count):
        length = np.sqrt(-2 * np.log(1 - uniform()))
        found.append(length * np.cos(2 * np.pi * uniform()))
    return np.array(found)


def test_measuring(engine):
    """The answers on the first ten images are those of PyTorch, before and after."""
    net = network("lenet")
    hooked = plain_relu(network("lenet"))
    hooked.c1[0].register_forward_hook(without([2]))
    labels = torch.tensor(gallery()["labels"][:10])
    with torch.no_grad():
        x = torch.cat([image(k) for k in range(10)])
        shifted = torch.full_like(x, normal(0.0))
        shifted[..., 4:] = x[..., :-4]
        before, after = net(x).argmax(1), hooked(shifted).argmax(1)
    engine.context.eval(f"globalThis.packed = {json.dumps(gallery()['data'])}")
    found = json.loads(
        engine.context.eval(
            """(() => {
              const images = lab.images(packed, 784).slice(0, 10)
                .map((bytes, k) => ({ bytes, label: k % 10 }));
              const all = [...lab.measure(nets.lenet, images, [{ op: 0, off: [2] }],
                { right: 4 })];
              return JSON.stringify([all.length, all.at(-1)]);
            })()"""
        )
    )
    count, last = found
    assert count == last["done"] == 10
    assert last["answers"] == after.tolist()
    assert last["before"] == (before == labels).sum()
    assert last["after"] == (after == labels).sum()
    assert last["lost"] == ((before == labels) & (after != labels)).sum()
    assert last["gained"] == ((before != labels) & (after == labels)).sum()
    assert last["changed"] == (before != after).nonzero().flatten().tolist()
    assert last["lost"] > 0
    shares = hooked(shifted).softmax(1).max(1).values.detach()
    right = after == labels
    sums = [shares[~right].sum().item(), shares[right].sum().item()]
    assert last["sure"] == pytest.approx(sums, rel=1e-4)


def test_uncertainty(engine):
    assert engine.call("lab.deviation", 0.8, 100) == pytest.approx(0.04)
    before = np.array([1] * 150 + [0] * 50)
    after = before.copy()
    after[:30], after[150:160] = 0, 1
    expected = (after - before).std() / np.sqrt(200)
    assert engine.call("lab.difference", 30, 10, 200) == pytest.approx(expected)


def test_probabilities(engine):
    logits = [1000.0, 999.0, -5.0]
    expected = torch.tensor(logits, dtype=torch.float64).softmax(0).tolist()
    assert engine.call("lab.softmax", logits) == pytest.approx(expected)
    assert engine.call("lab.answer", logits) == 0
    assert engine.context.eval("lab.answer([1, NaN])") == -1


# ---- An image of one's own. ----


def by_numpy(pixels, square, invert, stretch):
    """A photograph as 28 by 28 bytes, by matrices that average along rows and columns.

    Shape: (H, W, 4) -> (28, 28).
    """
    height, width = pixels.shape[:2]
    side = min(height, width)

    def means(start, length, lines):
        edges = start + np.arange(29) * length / 28
        line = np.arange(lines)
        ends = np.minimum(edges[1:, None], line + 1) - np.maximum(
            edges[:-1, None], line
        )
        return np.maximum(ends, 0) * 28 / length

    top, down = ((height - side) / 2, side) if square else (0, height)
    left, across = ((width - side) / 2, side) if square else (0, width)
    gray = pixels[..., :3] @ np.array([0.299, 0.587, 0.114])
    small = means(top, down, height) @ gray @ means(left, across, width).T
    small = 255 - small if invert else small
    if stretch:
        small = 255 * (small - small.min()) / max(np.ptp(small), 1)
    return small


@pytest.mark.parametrize("size", [(28, 28), (50, 33), (31, 90), (20, 28), (57, 57)])
@pytest.mark.parametrize(
    "steps", [(True, True, True), (False, False, False), (True, False, True)]
)
def test_a_photograph(engine, size, steps):
    random = np.random.default_rng(0)
    pixels = random.integers(20, 230, (*size, 4))
    names = ("square", "invert", "stretch")
    asked = json.dumps(dict(zip(names, steps, strict=True)))
    text = engine.context.eval(
        f"JSON.stringify(Array.from(lab.photograph({pixels.flatten().tolist()},"
        f" {size[1]}, {size[0]}, {asked})))"
    )
    found = np.array(json.loads(text)).reshape(28, 28)
    assert np.abs(found - by_numpy(pixels, *steps)).max() <= 0.5 + 1e-9


def test_a_photograph_of_one_gray(engine):
    pixels = [100, 100, 100, 255] * 30 * 40
    for asked, value in (({}, 0), ({"stretch": False}, 100)):
        call = f"lab.photograph({pixels}, 40, 30, {json.dumps(asked)})"
        assert (
            json.loads(engine.context.eval(f"JSON.stringify([...{call}])"))
            == [value] * 784
        )


@given(pixels=st.lists(st.tuples(st.sampled_from([0, 119, 238]), st.integers(1, 99))))
def test_a_drawing_as_a_text(engine, pixels):
    """For addresses, and back; empty or full, it is not long."""
    drawn = [shade for shade, times in pixels for _ in range(times)]
    drawn = (drawn + [0] * 784)[:784]
    text = engine.call("lab.packed", drawn)
    assert re.fullmatch(r"\w{11,262}", text)
    call = f"JSON.stringify([...lab.unpacked({json.dumps(text)})])"
    assert json.loads(engine.context.eval(call)) == drawn


def test_what_is_no_drawing(engine):
    assert engine.context.eval(f"lab.packed({[0] * 783 + [120]}) === undefined")
    empty = engine.call("lab.packed", [0] * 784)
    for text in ("", "zz", empty[:-1], f"{empty}0", f"r{empty[1:]}"):
        assert engine.context.eval(f"lab.unpacked({json.dumps(text)}) === undefined")
        found = engine.call("lab.parse", f"own={text}")
        assert found == {**PLAIN, "unknown": [f"own={text}"]}


def test_the_map_of_the_evidence(engine):
    """In three of its positions, as PyTorch has it with the same square."""
    net, x = network("lenet"), image(8)
    engine.context.eval(f"globalThis.bytes = {pixels_of(8).flatten().tolist()}")
    found = json.loads(
        engine.context.eval(
            """JSON.stringify((([...all]) => [all.length, Array.from(all.at(-1).map)])(
              lab.occlusion(nets.lenet, bytes, {}, [], { size: 6, shade: 1 }, 8)))"""
        )
    )
    count, shares = found
    assert count == len(shares) == 196
    for place in (0, 97, 195):
        row, column = (2 * at + 1 - 3 for at in divmod(place, 14))
        covered = x.clone()
        covered[..., max(row, 0) : row + 6, max(column, 0) : column + 6] = normal(1.0)
        with torch.no_grad():
            expected = net(covered).softmax(1)[0, 8].item()
        assert shares[place] == pytest.approx(expected, abs=1e-5)


# ---- The state in the address. ----

FULL = {
    "net": "resnet",
    "image": 9,
    "turn": -45,
    "right": 3,
    "down": -2,
    "contrast": 0.5,
    "noise": 1.5,
    "cover": {"row": 3, "column": 4, "size": 5, "shade": 0.5},
    "changes": [{"op": 8, "drop": [1]}, {"op": 9, "pass": 2}, {"op": 5, "off": [0, 7]}],
    "at": [5, 3, 4, 4],
}
PLAIN = {
    "net": "lenet",
    "image": 0,
    "turn": 0,
    "right": 0,
    "down": 0,
    "contrast": 1,
    "noise": 0,
    "changes": [],
}


def test_a_state_as_a_text(engine):
    text = engine.call("lab.write", FULL)
    assert text == (
        "net=resnet&image=9&turn=-45&right=3&down=-2&contrast=0.5&noise=1.5"
        "&cover=3_4_5_0.5&changes=8d1.9p2.5o0.5o7&at=5_3_4_4"
    )
    assert engine.call("lab.parse", text) == {**FULL, "unknown": []}
    drawn = {**PLAIN, "own": engine.call("lab.packed", [238] * 784)}
    text = engine.call("lab.write", drawn)
    assert engine.call("lab.parse", text) == {**drawn, "unknown": []}
    assert engine.call("lab.write", PLAIN) == "net=lenet&image=0"
    assert engine.call("lab.parse", "") == {**PLAIN, "unknown": []}


@pytest.mark.parametrize(
    ("text", "found", "unknown"),
    [
        ("net=vgg&color=red", {"net": "vgg"}, ["color=red"]),
        ("image=-3", {}, ["image=-3"]),
        ("turn=500&noise=-1", {"turn": 180, "noise": 0}, []),
        ("right=far", {}, ["right=far"]),
        ("cover=1_2", {}, ["cover=1_2"]),
        ("at=1_2_3", {}, ["at=1_2_3"]),
        ("changes=1o2.zz.3d", {"changes": [{"op": 1, "off": [2]}]}, ["zz", "3d"]),
        ("changes=2p-1", {"changes": [{"op": 2, "pass": -1}]}, []),
        ("changes=2k3.2k4", {"changes": [{"op": 2, "only": [3, 4]}]}, []),
    ],
)
def test_an_address_with_something_else(engine, text, found, unknown):
    assert engine.call("lab.parse", text) == {**PLAIN, **found, "unknown": unknown}


def test_changes_are_made_and_taken_back(engine):
    result = engine.context.eval(
        """(() => {
          const all = [];
          lab.change(all, 3, "off", 1, true);
          lab.change(all, 3, "off", 2, true);
          lab.change(all, 4, "pass", 3, true);
          const there = [lab.changed(all, 3, "off", 2), lab.changed(all, 3, "off", 0)];
          const before = JSON.stringify(all);
          lab.change(all, 3, "off", 1, false);
          lab.change(all, 3, "off", 2, false);
          lab.change(all, 4, "pass", 3, false);
          lab.change(all, 4, "drop", 0, false);
          return JSON.stringify([there, JSON.parse(before), all]);
        })()"""
    )
    assert json.loads(result) == [
        [True, False],
        [{"op": 3, "off": [1, 2]}, {"op": 4, "pass": 3}],
        [],
    ]


@pytest.mark.parametrize(
    ("change", "possible"),
    [
        ({"op": 0, "off": [5]}, True),
        ({"op": 0, "off": [6]}, False),
        ({"op": 0, "only": [-1]}, False),
        ({"op": 99, "off": [0]}, False),
        ({"op": 1, "pass": 0}, True),
        ({"op": 1, "pass": 1}, False),
        ({"op": 1, "pass": -1}, False),
        ({"op": 1, "drop": [0]}, True),
        ({"op": 1, "drop": [1]}, False),
    ],
)
def test_changes_that_a_network_cannot_make(engine, change, possible):
    text = f"JSON.stringify(lab.possible(nets.lenet, [{json.dumps(change)}]))"
    found = json.loads(engine.context.eval(text))
    assert found == {"good": [change] * possible, "bad": 1 - possible}


def test_the_other_half_off(engine):
    """Of maps, and of what a join reads; all else that is off stays so."""

    def exchanged(name, op, changes, what="off"):
        call = f"((...all) => lab.exchanged(nets.{name}.ops[{op}], ...all))"
        return engine.call(call, changes, what)

    some, others = ([{"op": 0, "off": each}] for each in ([1, 4], [0, 2, 3, 5]))
    assert exchanged("lenet", 0, some) == others
    assert exchanged("lenet", 0, others) == some
    assert exchanged("lenet", 0, [{"op": 0, "only": [4]}]) == [{"op": 0, "off": [4]}]
    assert exchanged("lenet", 0, []) == [{"op": 0, "off": [*range(6)]}]
    assert exchanged("lenet", 0, [{"op": 0, "off": [*range(6)]}]) == []
    join = place_of("googlenet", "cat", "inception_3b")
    rest = [{"op": 3, "off": [0]}, {"op": join, "off": [2]}]
    found = exchanged("googlenet", join, [*rest, {"op": join, "drop": [1]}], "drop")
    assert found == [*rest, {"op": join, "drop": [0, 2, 3]}]


@pytest.mark.parametrize(("name", "step"), [("zfnet", 3), ("resnet", 6)])
def test_what_each_part_costs(engine, name, step):
    """Each switch, off alone beside two other changes, as a run of all says."""
    x, last = image(17), len(file_of(name)["ops"]) - 2
    changes = [{"op": 0, "off": [1]}, {"op": last, "off": [0, 1, 2]}]
    engine.run(name, x)
    found = engine.call(
        f"((all, k) => lab.costs(nets.{name}, Float32Array.from(x), all, k))",
        changes,
        7,
    )
    count = f"lab.stages(nets.{name}).flatMap((s) => lab.switches(nets.{name}, s))"
    assert len(found) == engine.context.eval(f"{count}.length") > 8
    for each in found[::step]:
        logits = engine.run(name, x, [*changes, each["change"]])[-1]
        assert each["answer"] == logits.argmax()
        shares = torch.tensor(logits).softmax(0)
        assert each["share"] == pytest.approx(shares[7].item(), abs=1e-6)


def test_changes_in_words(engine):
    def words(name, change):
        text = f"JSON.stringify(lab.described(nets.{name}, {json.dumps(change)}))"
        return json.loads(engine.context.eval(text))

    assert words("resnet", {"op": 8, "drop": [1]}) == ["conv2_x: shortcut"]
    assert words("resnet", {"op": 9, "pass": 2}) == ["conv2_x: the whole stage"]
    assert words("resnet", {"op": 1, "pass": 0}) == ["stem: batch normalization (1)"]
    assert words("lenet", {"op": 0, "off": [1, 3]}) == [
        "c1, convolution 5\u00d75 (0): map 1, 3"
    ]
    assert words("lenet", {"op": 0, "only": [4]}) == [
        "c1, convolution 5\u00d75 (0): all maps but 4"
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "tanh"}, "there is no operation tanh"),
        ({"inputs": [5]}, "reads what is not there yet"),
        ({"inputs": [-2]}, "reads what is not there yet"),
    ],
)
def test_a_file_that_cannot_be_run(engine, change, words):
    found = dict(file_of("lenet"))
    found["ops"] = [{**found["ops"][0], **change}]
    with pytest.raises(JSEvalException, match=words):
        engine.context.eval(f"lab.open({json.dumps(found)})")


def linked():
    """The states that texts link to, and those that parts of the page open with."""
    for path in sorted((ROOT / "book").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for state in re.findall(r'lab\.html\?([^"]+)"', text):
            yield pytest.param(unescape(state), id=f"{path.stem}: {unescape(state)}")
        for net, state in re.findall(r'Lab\(\s*"(\w+)",\s+"([^"]+)"', text):
            yield pytest.param(f"net={net}&{state}", id=f"{path.stem}: {net} {state}")


@pytest.mark.parametrize("text", list(linked()))
def test_a_state_that_a_text_links_to(engine, text):
    state = engine.call("lab.parse", text)
    assert state["unknown"] == []
    changes = json.dumps(state["changes"])
    found = f"JSON.stringify(lab.possible(nets.{state['net']}, {changes}))"
    assert json.loads(engine.context.eval(found))["bad"] == 0
    assert state["image"] < 200
    if "at" in state:
        op, *place = state["at"]
        shape = file_of(state["net"])["ops"][op]["shape"]
        assert all(at < size for at, size in zip(place, shape, strict=False))
    assert {*engine.call("lab.write", state).split("&")} >= {*text.split("&")}


# ---- The files. ----


@pytest.mark.parametrize("name", NETS)
def test_the_files_are_those_of_the_networks(name):
    """`python -m tools.lab` writes them anew; what is written of a network with the
    weights of a file is that file.
    """
    ours, found = program(network(name), (1, 28, 28)), file_of(name)
    assert ours["input"] == found["input"]
    assert ours["ops"] == found["ops"]
    for one, other in zip(unpacked(ours), unpacked(found), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", NETS)
def test_the_drawings_are_those_of_the_networks(name):
    path = STATIC / f"lab/drawings/{name}.js"
    assert path.read_text(encoding="utf-8") == writer.drawing(name)


def test_what_eight_bits_change():
    """On all 10,000 test images; and what was trained is what the comparison has."""
    for row in recorded("lab"):
        own, stored = float(row["float32_accuracy"]), float(row["int8_accuracy"])
        assert abs(own - stored) <= 0.002
        assert abs(own - float(row["test_accuracy"])) <= 0.002
        assert float(row["changed"]) <= 0.005
        table = [each for each in recorded("accuracy") if each["net"] == row["net"]]
        if row["settings"] == "laptop" and table:
            means = [float(each["test_accuracy"]) for each in table]
            assert abs(own - sum(means) / len(means)) <= 0.005, row["net"]


def test_how_they_were_trained():
    rows = recorded("lab")
    for name, title in NETS.items():
        kinds = {row["settings"] for row in rows if row["net"] == title}
        assert trained(name)["settings"] == ("laptop" if "laptop" in kinds else "quick")
        assert trained(name)["net"] == title
        assert f"{float(trained(name)['int8_accuracy']):.4f}" == (
            f"{file_of(name)['accuracy']:.4f}"
        )


def test_the_files_are_small():
    """The page before a click, with its text, and what a part adds to another page, are
    limited in tests/browser; here is what these limits are kept by."""
    sizes = {path.stem: path.stat().st_size for path in (STATIC / "lab").glob("*.js")}
    assert {*sizes} == {*NETS, "images", "first"}
    page = (STATIC / "lab-page.js").read_text(encoding="utf-8")
    for name in NETS:
        said = int(page.split(f"  {name}: [")[1].split(",")[0])
        assert abs(1000 * said - sizes[name]) < 2000, f"{name} has {sizes[name]} bytes"
    assert sum(sizes[name] for name in NETS) < 2_700_000
    scripts = b"".join(path.read_bytes() for path in sorted(STATIC.glob("lab*.js")))
    assert len(gzip.compress(scripts)) < 25_000
    part = len(scripts) + sizes["first"] + max(sizes[name] for name in NETS)
    assert part < 600_000
    assert len(scripts) + sizes["first"] + sizes["lenet"] < 180_000


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_planted_fault_has_one_place(fault):
    assert (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old) == 1


def test_the_browser_compares_with_pytorch():
    """`python tests/test_lab.py` writes the file anew."""
    written = json.loads(FIXTURE.read_text(encoding="utf-8"))
    assert [*written] == [*NETS]
    for name, text in fixture().items():
        ours, theirs = (
            np.frombuffer(base64.b64decode(each), "<f4")
            for each in (text, written[name])
        )
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE * np.abs(ours).max())


def fixture():
    """The logits of all networks for all images, as 32 bits in base64."""
    x = normalize(fashion_mnist().test.images[torch.tensor(gallery()["places"])])
    with torch.no_grad():
        logits = {name: network(name)(x).numpy() for name in NETS}
    return {
        name: base64.b64encode(each.astype("<f4").tobytes()).decode()
        for name, each in logits.items()
    }


if __name__ == "__main__":
    FIXTURE.write_text(json.dumps(fixture(), indent=0) + "\n", encoding="utf-8")
