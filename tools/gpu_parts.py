"""What `tools.gpu` does on a GPU, a part at a time: a notebook compared with
its stored outputs, a network trained with its settings for a GPU, a step of training
timed.

Each of these runs in a process of its own, and returns the columns of a row. What they
know of the course's networks is `recipes`.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import course_lib
from course_lib import FashionMNIST, Settings, Split, fit
from course_lib.catalog import NETWORKS, CatalogEntry
from experiments.reach import Code
from experiments.rows import Row
from proofs.common import NBVAL, fingerprint

ROOT = Path(__file__).parents[1]

#: Where a run of training that was stopped goes on from; nothing else is kept there.
CHECKPOINTS = ROOT / "_build/gpu"

#: What a GPU must not do in a notebook that is compared, as in `make nbval`.
CARD = {
    "NVIDIA_TF32_OVERRIDE": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONSTARTUP": str(ROOT / "tests/kernel.py"),
    "OMP_NUM_THREADS": "2",
}

#: nbval on a machine that was made for something else, with its versions and plug-ins.
PYTEST = (
    *(sys.executable, "-m", "pytest", "-q", "--color=no", "--nbval-cell-timeout=300"),
    *(f"-pno:{name}" for name in ("cacheprovider", "benchmark", "xdist", "anyio")),
    "-pno:hypothesispytest",
    *("-W", "ignore::DeprecationWarning", *NBVAL),
)


@dataclass(frozen=True)
class Recipe:
    """How one network is trained."""

    #: What it is in the catalog.
    entry: CatalogEntry
    #: How it is trained.
    settings: Settings
    #: Whether the settings are those for a GPU; the small networks' are for a laptop.
    large: bool

    def build(self) -> nn.Module:
        """The network, for Fashion-MNIST."""
        return self.entry.build(num_classes=10, in_channels=1)


class Rounds(NamedTuple):
    """How a step is timed: steps before, rounds, and the seconds that one takes."""

    warm_up: int = 20
    number: int = 7
    seconds: float = 1.0


@dataclass(frozen=True)
class Task:
    """What a part has to know of the run that it is a part of."""

    #: What is worked on: the notebook's path below ROOT, or the name of a recipe.
    name: str
    #: Whether the GPU is pretended: two images and a single epoch are enough then.
    pretend: bool = False
    #: Where to go on from, and what to leave behind if it is stopped.
    checkpoint: Path | None = None


@functools.cache
def recipes() -> dict[str, Recipe]:
    """The networks by their names in the catalog: those with settings for a GPU, and
    the small ones, with those of the recorded accuracies.
    """
    found: dict[str, Recipe] = {}
    for run in ("gpu", "laptop"):
        for name, entry in NETWORKS.items():
            if run in entry.settings:
                recipe = Recipe(entry, entry.settings[run], large=run == "gpu")
                found.setdefault(name, recipe)
    return found


def names() -> dict[str, list[str]]:
    """Kind of part -> what there is of it, the most valuable first: whether the book is
    right on a GPU, how fast it is there, what its networks reach.
    """
    book = ROOT / "book"
    notebooks = [*sorted(book.glob("*.ipynb")), *sorted(book.glob("solutions/*.ipynb"))]
    large = [name for name, recipe in recipes().items() if recipe.large]
    return {
        "notebook": [
            path.relative_to(book).with_suffix("").as_posix() for path in notebooks
        ],
        "step": [*large, *(name for name in recipes() if name not in large)],
        "row": large,
    }


def code(kind: str, name: str) -> str:
    """The fingerprint of what a part rests on: a row with another one is stale."""
    if kind == "notebook":
        library = ROOT / "course_lib"
        return fingerprint(library, ROOT / "tests/notebooks", _notebook(name))
    return _repository().fingerprint(__name__, kind, (name,))


@functools.cache
def _repository() -> Code:
    return Code(ROOT)


def _notebook(name: str) -> Path:
    return ROOT / f"book/{name}.ipynb"


def card() -> Row | None:
    """What is here: the GPU, its driver and the versions; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    here = course_lib.runtime("cuda")
    query = ("--query-gpu=driver_version", "--format=csv,noheader")
    try:
        asked = subprocess.run(("nvidia-smi", *query), capture_output=True, text=True)
        driver = asked.stdout.split()[0] if asked.stdout.split() else "unknown"
    except OSError:
        driver = "unknown"
    return {
        "card": torch.cuda.get_device_name(),
        "precision": str(here).rpartition(", ")[2],
        "driver": driver,
        "cuda": torch.version.cuda or "none",
        "torch": torch.__version__.split("+")[0],
        "python": ".".join(map(str, sys.version_info[:2])),
    }


def notebook(task: Task) -> Row:
    """Run a notebook and compare it; which cells failed, and why."""
    env = os.environ | CARD | {"COLUMNS": "200"}
    if task.pretend:
        env["PYTHONSTARTUP"] = str(ROOT / "proofs/pretend.py")
    places = (str(ROOT), os.environ.get("PYTHONPATH"))
    env["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    command = (*PYTEST, str(_notebook(task.name)))
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    return compared(done.returncode, done.stdout + done.stderr)


def compared(code: int, output: str) -> Row:
    """The columns that an output of nbval comes to."""
    counts = dict.fromkeys(("passed", "failed"), 0)
    for number, what in re.findall(r"\b(\d+) (passed|failed)\b", output):
        counts[what] = int(number)
    row = {"cells": str(sum(counts.values())), "failed_cells": str(counts["failed"])}
    if code == 0 and counts["passed"]:
        return {"result": "ok", **row}
    cells = re.findall(r"^\S+, (code cell \d+): .*\n +(.+)", output, re.MULTILINE)
    said = [f"{cell}: {why}" for cell, why in cells]
    last = output.strip().splitlines()[-1:] or ["no output"]
    message = "; ".join(said[:5]) or f"pytest ended with {code}: {last[0]}"
    return {"result": "failed", **row, "message": message}


def row(task: Task) -> Row:
    """Train a network as its recipe says: what it reached, and what that took.

    `fit` reads its clock when the losses of an epoch have come from the card.
    """
    recipe, data = recipes()[task.name], _data(task)
    settings = recipe.settings
    if task.pretend:
        settings = replace(settings, epochs=1, batch_size=2)
    torch.manual_seed(0)
    net = recipe.build()
    history = fit(net, data, settings, progress=False, checkpoint=task.checkpoint)
    assert history.test is not None  # it has come to its end
    return {
        "result": "ok",
        "settings": json.dumps(asdict(settings)),
        "parameters": str(course_lib.count_parameters(net)),
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "validation": " ".join(f"{e.validation.accuracy:.4f}" for e in history.epochs),
        "train_loss": f"{history.epochs[-1].minimized_loss:.4f}",
        "training_seconds": f"{history.seconds:.1f}",
        "peak_gib": _peak(),
    }


def step(task: Task) -> Row:
    """Time a step of training, as `fit` does it, in the runtime's precision."""
    recipe, data = recipes()[task.name], _data(task)
    rounds = Rounds(1, 2, 0) if task.pretend else Rounds()
    batch = 2 if task.pretend else recipe.settings.batch_size
    size = recipe.settings.size
    torch.manual_seed(0)
    steps = _steps(recipe.build(), data.train, batch, size)
    measured = timed(lambda: next(steps), torch.cuda.synchronize, rounds)
    layout = str(course_lib.runtime().memory_format).removeprefix("torch.")
    if not math.isfinite(loss := float(next(steps))):
        raise ValueError(f"the loss is {loss}: what was timed was not training")
    speeds = [batch / seconds for seconds in measured.seconds]
    low, middle, high = _quartiles(speeds)
    return {
        "result": "ok",
        "settings": json.dumps({"batch_size": batch, "size": size, "format": layout}),
        "images_per_second": f"{middle:.5g}",
        "images_low": f"{low:.5g}",
        "images_high": f"{high:.5g}",
        "host_share": f"{measured.host_share:.2f}",
        "rounds": str(len(speeds)),
        "peak_gib": _peak(),
    }


class Times(NamedTuple):
    """Of a step: its seconds in each round, and the share of them that the host needs
    to say what is to be done. Near 1, the GPU waits for Python.
    """

    seconds: list[float]
    host_share: float


def timed(
    step: Callable[[], object], synchronize: Callable[[], object], rounds: Rounds
) -> Times:
    """Time `step` in rounds of many, after which the device is waited for.

    What the host needs is timed from an idle device, a single step at a time: in a long
    row its queue is full, and the host waits there as well.
    """
    for _ in range(rounds.warm_up):
        step()
    synchronize()
    start = time.perf_counter()
    step()
    synchronize()
    steps = max(1, round(rounds.seconds / (time.perf_counter() - start)))
    seconds, issued = [], []
    for _ in range(rounds.number):
        start = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize()
        seconds.append((time.perf_counter() - start) / steps)
        start = time.perf_counter()
        step()
        issued.append(time.perf_counter() - start)
        synchronize()
    share = statistics.median(issued) / statistics.median(seconds)
    return Times(seconds, min(share, 1.0))


def _steps(
    net: nn.Module, train: Split, batch_size: int, size: int | None
) -> Iterator[Tensor]:
    """Steps of training without end, as those of `fit`; each gives its loss, which is
    still on the device.
    """
    here = course_lib.runtime()
    here.prepare(net).train()
    images, scaler = train.to(here.device), here.scaler()
    optimizer = torch.optim.SGD(
        net.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True, fused=True
    )
    for epoch in itertools.count():
        for x, y in images.batches(batch_size, seed=0, epoch=epoch, size=size):
            with here.autocast():
                loss = _loss(net(here.to_device(x)), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            yield loss.detach()


def _loss(outputs: Any, y: Tensor) -> Tensor:
    """As in `fit`; GoogLeNet weighs the losses of its auxiliary classifiers itself."""
    if hasattr(outputs, "loss"):
        return outputs.loss(y, 0.1)
    return F.cross_entropy(outputs, y, label_smoothing=0.1)


def _data(task: Task) -> FashionMNIST:
    """Fashion-MNIST; of a pretended GPU, its sample's first images."""
    if not task.pretend:
        return course_lib.fashion_mnist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nobody takes them for more
        data = course_lib.fashion_mnist(sample=True)
    few = Split(data.train.images[:4], data.train.labels[:4])
    return FashionMNIST(few, few, few, "")


def _peak() -> str:
    """The most memory of the GPU that this process has had, in GiB."""
    return f"{torch.cuda.max_memory_allocated() / 2**30:.2f}"


def _quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive")


#: Kind of part -> what does it.
WORK: dict[str, Callable[[Task], Row]] = {
    "notebook": notebook,
    "step": step,
    "row": row,
}
