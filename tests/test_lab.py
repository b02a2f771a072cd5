"""What the page computes is what PyTorch computes with the same weights: each operation
of each network, each change that readers can make, and what is done to images. The
scripts run here in an engine for JavaScript that comes as a package;
tests/browser/lab.py opens the page.
"""

import json
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import quickjs
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib import fashion_mnist
from course_lib.data.fashion import normalize
from course_lib.lab import (
    NETS,
    network,
    read,
)

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "book/_static"
SCRIPT = STATIC / "lab-run.js"

#: Images that the networks are compared on; `python -m proofs.lab` takes ten.
IMAGES = (0, 17)

#: The largest difference, of the largest number that an operation makes.
TOLERANCE = 1e-5


class Engine:
    """The scripts, with networks that are opened by the names in their files."""

    def __init__(self) -> None:
        self.context = quickjs.Context()
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
    made = Engine()
    for name in NETS:
        made.open((STATIC / f"lab/{name}.js").read_text(encoding="utf-8"), name)
    return made


@cache
def file_of(name: str):
    return read(STATIC / f"lab/{name}.js")


@cache
def image(number: int) -> Tensor:
    """An image of the gallery, as networks read it."""
    place = json.loads((STATIC / "lab/images.js").read_text(encoding="utf-8")[14:-3])[
        "places"
    ][number]
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
