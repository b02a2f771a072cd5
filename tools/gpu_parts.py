"""What `tools.gpu` does on a GPU, a part at a time: a notebook compared with its stored
outputs, a file of tests, a step of training timed, plain and as a CUDA graph, a network
trained with its settings for a GPU, d2l's loop beside `fit`.

Each of these runs in a process of its own, and returns the columns of a row. What they
know of the course's networks is `recipes`.
"""

from __future__ import annotations

import functools
import importlib.util
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
from typing import NamedTuple

import torch
from torch import Tensor, nn

import course_lib
from course_lib import FashionMNIST, Settings, Split, fit
from course_lib.catalog import NETWORKS, CatalogEntry
from course_lib.data.files import VARIABLE, DataError, find_files
from course_lib.photographs import NEEDED
from course_lib.training.graph import Captured
from course_lib.training.loop import Loader, one_cycle
from course_lib.training.processes import processes
from course_lib.training.step import Step
from experiments.reach import Code
from experiments.rows import Row
from proofs.common import NBVAL, fingerprint

ROOT = Path(__file__).parents[1]

#: Whose networks are trained first, for each of these seeds; all others come last.
FAMILIES = ("NiN", "VGG", "AlexNet", "ZFNet", "LeNet", "GoogLeNet", "ResNet", "SENet")
SEEDS = 3

#: The tests that are there for a GPU, or see one: tests/test_NAME.py.
TESTS = (
    *("training_gpu", "training_graph", "training", "training_runtime"),
    *("training_float16", "training_checkpoint"),
)

#: How many steps a plain and a captured run are compared over.
COMPARED = 20

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
    *(sys.executable, "-m", "pytest", "-q", "--color=no"),
    *(f"-pno:{name}" for name in ("cacheprovider", "benchmark", "xdist", "anyio")),
    *("-pno:hypothesispytest", "-W", "ignore::DeprecationWarning"),
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


#: d2l's families: the network of ours that is trained to the accuracy of each, and the
#: accuracy that d2l publishes, as in benchmarks/d2l_here.py, which needs d2l.
D2L = {
    "LeNet": ("LeNet modern", 0.800),
    "AlexNet": ("AlexNet small", 0.882),
    "VGG": ("VGG small", 0.921),
    "NiN": ("NiN small", 0.867),
    "GoogLeNet": ("GoogLeNet small", 0.887),
    "ResNet": ("ResNet small", 0.903),
}


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
    ranks = {family: rank for rank, family in enumerate(FAMILIES)}
    large.sort(key=lambda name: ranks.get(NETWORKS[name].family.name, len(ranks)))
    return {
        "notebook": [
            path.relative_to(book).with_suffix("").as_posix() for path in notebooks
        ],
        "test": [*TESTS],
        "step": [*(name for name in recipes() if name not in large), *large],
        "row": [f"{name} seed {seed}" for seed in range(SEEDS) for name in large],
        "d2l": [*D2L],
    }


def code(kind: str, name: str) -> str:
    """The fingerprint of what a part rests on: a row with another one is stale."""
    library = ROOT / "course_lib"
    if kind == "notebook":
        return fingerprint(library, ROOT / "tests/notebooks", _notebook(name))
    if kind == "test":
        return fingerprint(library, ROOT / "proofs/pretend.py", _tests(name))
    if kind == "d2l":
        return _repository().fingerprint(__name__, kind, (name, D2L[name][0]))
    return _repository().fingerprint(__name__, kind, (_seeded(name)[0],))


def _seeded(name: str) -> tuple[str, int]:
    """The network and the seed that the name of a row says."""
    net, _, seed = name.partition(" seed ")
    return net, int(seed or 0)


@functools.cache
def _repository() -> Code:
    return Code(ROOT)


def _notebook(name: str) -> Path:
    return ROOT / f"book/{name}.ipynb"


def _tests(name: str) -> Path:
    return ROOT / f"tests/test_{name}.py"


def absent(kind: str, name: str) -> list[str]:
    """The modules that a part needs and that are not installed here."""
    if kind == "notebook":
        cells = json.loads(_notebook(name).read_bytes())["cells"]
        codes = ("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        text = "\n".join(codes)
        needs = {"nbval", "ipykernel", *_imported(text)}
        if "require_photographs()" in text:
            needs |= NEEDED.keys()
        if "course_lib.d2l_bridge" in text:
            needs.add("d2l")
    elif kind == "test":
        needs = {"pytest", *_imported(_tests(name).read_text(encoding="utf-8"))}
    else:
        needs = {"d2l"} if kind == "d2l" else set()
    return sorted(name for name in needs if importlib.util.find_spec(name) is None)


def _imported(code: str) -> list[str]:
    """The modules that are imported at the top."""
    return re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE)


def no_data() -> str:
    """Why Fashion-MNIST cannot be had here, if there is a reason."""
    if os.environ.get(VARIABLE) == "sample":
        return f"{VARIABLE}=sample, and what is measured here needs all images"
    try:
        find_files()
    except DataError as error:
        return str(error)
    return ""


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
    options = "--nbval-cell-timeout=300", *NBVAL
    command = (*PYTEST, *options, str(_notebook(task.name)))
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
    said += re.findall(r"^(?:FAILED|ERROR) \S+::(test_.*)", output, re.MULTILINE)
    last = output.strip().splitlines()[-1:] or ["no output"]
    message = "; ".join(said[:5]) or f"pytest ended with {code}: {last[0]}"
    return {"result": "failed", **row, "message": message}


def test(task: Task) -> Row:
    """Run a file of tests."""
    command = [*PYTEST, "-pno:nbval", str(_tests(task.name))]
    if task.pretend:
        begin = "from proofs.pretend import pretend; pretend()\n"
        end = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
        command[1:3] = ["-c", begin + end]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return compared(done.returncode, done.stdout + done.stderr)


def row(task: Task) -> Row:
    """Train a network as its recipe says: what it reached, and what that took.

    `fit` reads its clock when the losses of an epoch have come from the card.
    """
    name, seed = _seeded(task.name)
    recipe, data = recipes()[name], _data(task)
    settings = replace(recipe.settings, seed=seed)
    if task.pretend:
        settings = replace(settings, epochs=1, batch_size=2)
    torch.manual_seed(seed)
    net = recipe.build()
    history = fit(net, data, settings, progress=False, checkpoint=task.checkpoint)
    assert history.test is not None  # it has come to its end
    images = settings.epochs * len(data.train)
    _, published = D2L.get(recipe.entry.family.name, ("", None))
    return {
        "result": "ok",
        "seed": str(seed),
        "d2l_accuracy": "" if published is None else f"{published:.3f}",
        "settings": json.dumps(asdict(settings)),
        "parameters": str(course_lib.count_parameters(net)),
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "validation": " ".join(f"{e.validation.accuracy:.4f}" for e in history.epochs),
        "train_loss": f"{history.epochs[-1].minimized_loss:.4f}",
        "training_seconds": f"{history.seconds:.1f}",
        "images_per_second": f"{images / history.seconds:.5g}",
        "peak_gib": _peak(),
    }


def step(task: Task) -> Row:
    """Time a step of training as `fit` does it, in the runtime's precision: plain, and
    as a CUDA graph. They go by turns, and their losses are compared.
    """
    recipe, data = recipes()[task.name], _data(task)
    rounds = Rounds(6, 2, 0) if task.pretend else Rounds()
    batch = 2 if task.pretend else recipe.settings.batch_size
    settings = replace(recipe.settings, batch_size=batch, epochs=100_000)
    plain, captured = (steps(recipe, data, settings, k) for k in (Step, Captured))
    gap = max(
        abs(float(a) / float(b) - 1)
        for a, b in itertools.islice(zip(captured, plain, strict=True), COMPARED)
    )
    if not math.isfinite(gap):
        raise ValueError("the loss is not finite: what was timed was not training")
    columns = {"result": "ok", "loss_gap": f"{gap:.1g}"}
    for name, each in (("images", plain), ("captured", captured)):
        measured = timed(functools.partial(next, each), torch.cuda.synchronize, rounds)
        speeds = [batch / seconds for seconds in measured.seconds]
        low, middle, high = _quartiles(speeds)
        columns |= {
            f"{name}_per_second": f"{middle:.5g}",
            f"{name}_low": f"{low:.5g}",
            f"{name}_high": f"{high:.5g}",
            f"{name}_host_share": f"{measured.host_share:.2f}",
        }
    layout = str(course_lib.runtime().memory_format).removeprefix("torch.")
    about = {"batch_size": batch, "size": settings.size, "format": layout}
    return {
        **columns,
        "settings": json.dumps(about),
        "rounds": str(rounds.number),
        "peak_gib": _peak(),
    }


def d2l(task: Task) -> Row:
    """d2l's loop and loader beside `fit`: images a second of d2l's network, and the
    seconds until the accuracy that d2l publishes, of a network of ours.
    """
    from benchmarks import gpu, time_to_accuracy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of d2l's workers, and of the sample
        results = {each.against: each for each in gpu.measure(task.name, task.pretend)}
        (soon,) = time_to_accuracy.measure(task.name, task.pretend)
    plain, captured = (results[f"d2l, by {way}"] for way in ("fit", "a CUDA graph"))
    shares = (results[f"the peak, by {way}"].ratio for way in ("fit", "a CUDA graph"))
    return {
        "result": "ok",
        "images_per_second": f"{plain.ours:.5g}",
        "captured_per_second": f"{captured.ours:.5g}",
        "d2l_per_second": f"{plain.theirs:.5g}",
        "peak_share": " ".join(f"{share:.3f}" for share in shares),
        "seconds_to_accuracy": f"{soon.ours:.4g}",
        "d2l_seconds_to_accuracy": f"{soon.theirs:.4g}",
        "settings": soon.note,
        "rounds": str(plain.rounds),
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


def steps(
    recipe: Recipe, data: FashionMNIST, settings: Settings, kind: type[Step]
) -> Iterator[Tensor]:
    """Steps of training without end, as those of `fit`; each gives its loss, which is
    still on the device.
    """
    here = course_lib.runtime()
    torch.manual_seed(0)
    net = here.prepare(recipe.build()).train()
    train = Loader(data.train.to(here.device), settings, here, processes())
    optimizer, schedule = one_cycle(net, settings, len(train))
    take = kind(net, data, settings, here, optimizer, here.scaler())
    for epoch in itertools.count():
        for x, y, weight in train.batches(epoch):
            loss = take(x, y, weight)[0]
            schedule.step()
            yield loss


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
    "test": test,
    "step": step,
    "row": row,
    "d2l": d2l,
}
