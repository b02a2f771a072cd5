"""The X-ray and the drawings on networks of others: torchvision's, and one of each
family of timm's.

    python -m proofs.xray               the networks that were not tried with this code
    python -m proofs.xray NAME ...      these

For each: parameters, multiply-accumulates by torch's own counter, what autograd saves
by its hooks on a real run (below 150 million parameters), whether it is drawn, and
whether the module computes the same afterwards. A row for each network, with a limit to
the memory of the process that measures it; images of 96 pixels where it takes them, of
its own size where it does not. Then ResNet-152 beside torchinfo, in time and added
memory.

What torch's counter and autograd's hooks say rests on none of the course's code, and
takes most of the time. It stays in its row as long as the functions here that measure
it and the versions stay; what rests on other code than before is the X-ray's side,
which is then measured anew, several networks in a process. What is not equal to a value
that has stayed is measured anew on both sides.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from course_lib import draw, summarize
from experiments.syntax import without_words
from proofs.common import ROOT, Row, Table, fingerprint

TABLE = Table("xray", ("network",))

EXPLORER = ROOT / "course_lib/summary/explorer.py"

#: What the X-ray and the drawings rest on; the explorer has its own counts.
CODE = (
    *sorted({*(ROOT / "course_lib/summary").glob("*.py")} - {EXPLORER}),
    *(ROOT / "course_lib" / part for part in ("diagram", "tracing")),
)

#: The columns of real runs.
REAL = ("macs_by_torch", "saved_by_hooks")
#: How many networks have a process together, of which only the X-ray's side is missing.
TOGETHER = 12

KINDS = ("", "detection", "segmentation", "video")
#: Up to how many parameters a network is also run with values.
LARGEST = 150_000_000
#: What a run of six images may keep, in bytes; a larger network gets smaller images.
ROOM = 2_000_000_000
#: The address space of a process, in bytes.
MEMORY = 12 * 2**30
#: Parts of names of small networks, the smallest first.
LITTLE = (
    *("atto", "femto", "pico", "nano", "_xxs", "_xs", "tiny", "mini", "small"),
    *("_t0", "_s0", "18", "_b0", "_s_", "_t_"),
)
#: The height and width of images, and the frames of a film, for who takes any.
SMALL, FRAMES = 96, 8


class Kind(NamedTuple):
    """A network of others."""

    #: Makes it, with random weights.
    build: Callable[[], nn.Module]
    #: The size of its own images.
    size: tuple[int, ...]
    #: Whether its path depends on the image.
    image: bool = False


def networks() -> Iterator[tuple[str, Kind]]:
    """All of torchvision's that classify, detect, segment or see films, and of each of
    timm's modules a small one.
    """
    for kind in KINDS:
        module = getattr(torchvision.models, kind) if kind else torchvision.models
        for name in torchvision.models.list_models(module=module):
            builder = torchvision.models.get_model_builder(name)
            weights = torchvision.models.get_model_weights(name).DEFAULT
            plain = {"weights_backbone": None} if kind in KINDS[1:3] else {}
            side = getattr(weights.transforms(), "crop_size", [128])
            side = side[0] if isinstance(side, list | tuple) else side
            if name.startswith("vit_"):  # which take images of one size only
                plain = {"image_size": side}
            size = (3, 16, side, side) if kind == "video" else (3, side, side)
            yield (
                name,
                Kind(
                    partial(builder, weights=None, **plain),
                    size,
                    kind == "detection",
                ),
            )
    try:
        timm = import_module("timm")
    except ImportError:
        return
    for module in timm.list_modules():
        for name in sorted(timm.list_models(module=module), key=_little)[:1]:
            config = timm.get_pretrained_cfg(name)
            size = tuple(config.input_size) if config else (3, 224, 224)
            build = partial(timm.create_model, name, pretrained=False)
            yield f"timm/{name}", Kind(build, size)


def _little(name: str) -> tuple[int, str]:
    """To sort a family of timm's: one that is called small comes first."""
    words = (i for i, word in enumerate(LITTLE) if word in name)
    return next(words, len(LITTLE)), name


def size_for(net: nn.Module, kind: Kind) -> tuple[int, ...]:
    """A small size if `net` takes that, else its own."""
    small = (3, *((FRAMES,) if len(kind.size) == 4 else ()), SMALL, SMALL)
    try:
        with torch.no_grad():
            net.eval()(torch.rand(1, *small))
            if not kind.image:  # some take more than that in training
                copy.deepcopy(net).train()(torch.rand(2, *small))
    except (AssertionError, RuntimeError, ValueError, IndexError):
        return kind.size
    return min(small, kind.size)


def saved_for_real(net: nn.Module, size: tuple[int, ...]) -> int:
    """What an image adds to what autograd saves on the processor, in bytes."""
    totals = []
    for batch in (2, 4):
        x = torch.randn(batch, *size)
        given = {
            t.untyped_storage()._cdata for t in (x, *net.parameters(), *net.buffers())
        }
        found: dict[int, int] = {}
        alive: list[Tensor] = []

        def save(tensor: Tensor, found: Any = found, alive: Any = alive) -> Tensor:
            alive.append(tensor)
            storage = tensor.untyped_storage()
            found[storage._cdata] = storage.nbytes()
            return tensor

        with saved_tensors_hooks(save, lambda tensor: tensor):
            y = net(x)
        totals.append(sum(n for key, n in found.items() if key not in given))
        alive.clear()  # these tensors hold the graph, which holds `save`
        del y
    return (totals[1] - totals[0]) // 2


def saved_by_both(
    net: nn.Module, size: tuple[int, ...], saved: Any, known: str | None
) -> tuple[Any, str]:
    """What an image adds, by the X-ray and by a run, on images that fit in memory; only
    the former if the network takes no such images. The latter is what is `known`.
    """
    while isinstance(saved, int) and 6 * saved > ROOM and size[-1] > 64:
        size = (*size[:-2], size[-2] // 64 * 32, size[-1] // 64 * 32)
        try:
            saved = summarize(net, size).saved_bytes
        except ValueError:
            return saved, ""
    if known is None:
        known = str(saved_for_real(net.train(), size))
    return saved, known


def verdict(name: str, known: Row | None) -> Row:
    """What was found of a network: the last column says what is not as it should be.
    What is `known` is not measured anew, unless the X-ray says something else.
    """
    kind = next(kind for other, kind in networks() if other == name)
    torch.manual_seed(0)
    net = kind.build().eval()
    parameters = sum(p.numel() for p in net.parameters())
    small = parameters < LARGEST
    size = size_for(net, kind) if small else kind.size
    if known and known["size"] != " x ".join(map(str, size)):
        known = None
    x = torch.rand(1, *size)
    before = run(net, x) if small else None
    given = x[0] if kind.image else size
    summary = summarize(net, given)
    drawn = bool(draw(net, given).svg)
    same = before is None or repr(before) == repr(run(net, x))
    theirs = known["macs_by_torch"] if known else None
    if theirs is None:
        # The counter knows nothing of the processor's own kernel for an LSTM.
        with torch.backends.mkldnn.flags(enabled=False):
            theirs = str(macs_by_torch(net if small else net.to("meta"), x))
    saved, real = summary.saved_bytes, ""
    if small and not kind.image:
        by_hooks = known["saved_by_hooks"] if known else None
        saved, real = saved_by_both(net, size, saved, by_hooks)
    reasons = [note for note in summary.notes if note.startswith("memory: unknown")]
    checks = {
        "parameters": summary.parameters + summary.frozen_parameters == parameters,
        "MACs": str(summary.macs) == theirs,
        "saved": real in ("", str(saved)) or (saved is None and bool(reasons)),
        "drawing": drawn,
        "output": same,
    }
    if known and not all(checks.values()):
        return verdict(name, None)
    return {
        "size": " x ".join(map(str, size)),
        "parameters": str(parameters),
        "macs": str(summary.macs),
        "macs_by_torch": theirs,
        "saved": str(saved),
        "saved_by_hooks": real,
        "notes": "; ".join(summary.notes),
        "wrong": ", ".join(what for what, right in checks.items() if not right),
    }


@torch.no_grad()
def run(net: nn.Module, x: Tensor) -> Any:
    """What `net` makes of `x`, by the same kernels whatever it has seen before."""
    torch.manual_seed(0)
    return net(x)


def macs_by_torch(net: nn.Module, x: Tensor) -> int:
    """The multiply-accumulates of a run, by torch's counter."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whose products are not counted
    trained = [each for each in net.parameters() if each.requires_grad]
    net.requires_grad_(False)  # or it fails where a module is given a parameter
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(x.to(next(net.parameters()).device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for each in trained:
            each.requires_grad_(True)
    return int(counter.get_total_flops() // 2)


def sources(*functions: Callable[..., Any]) -> list[str]:
    """What functions do, without comments and docstrings."""
    texts = map(inspect.getsource, functions)
    return [without_words(ast.parse(text)) for text in texts]


def stamps() -> Row:
    """What a row rests on: the code, what measures real runs, and the versions."""
    versions = {
        module.__name__: module.__version__.partition("+")[0]
        for module in (torch, torchvision)
    }
    real = fingerprint(*sources(run, macs_by_torch, saved_for_real))
    code = fingerprint(*CODE, *sources(verdict, saved_by_both, size_for))
    return {"code": code, "real": real, **versions}


def known_of(name: str, stamp: Row) -> Row | None:
    """The row of a network, whatever code of the course it rests on, if what was
    measured in real runs still counts and is all there.
    """
    same = {name: text for name, text in stamp.items() if name != "code"}
    row = TABLE.find({"network": name, "wrong": "", **same})
    return row if row and row["macs_by_torch"] else None


def measure(names: list[str], stamp: Row) -> Iterator[Row]:
    """The rows of some networks, from one process, in which nothing else has run; of
    the first that failed, what it said, and none of those behind it.
    """
    command = [sys.executable, "-m", "proofs.xray", "--these", *names]
    start = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        left = [*names]
        for line in process.stdout or ():
            end = time.perf_counter()
            row = json.loads(line) | {"seconds": f"{end - start:.0f}"}
            start = end
            left.remove(row["network"])
            yield row | stamp
        process.wait()
        said.seek(0)
        errors = said.read().strip().splitlines()
    if process.returncode < 0 and not errors:
        raise RuntimeError(f"stopped by signal {-process.returncode}: {left[:1]}")
    if process.returncode:
        columns = "size parameters macs macs_by_torch saved saved_by_hooks notes"
        words = (errors or ["no reason given"])[-1][:200]
        empty = dict.fromkeys(columns.split(), "")
        yield {"network": left[0], **empty, "wrong": words, "seconds": "", **stamp}


def rows(names: list[str]) -> Iterator[Row]:
    """The row of each network, measured unless it is known."""
    stamp = stamps()
    fresh = (row for row in TABLE.rows() if stamp.items() <= row.items())
    found = {row["network"]: row for row in fresh}
    missing = [name for name in names if name not in found]
    cheap = [name for name in missing if known_of(name, stamp)]
    while group := cheap[:TOGETHER]:
        for row in measure(group, stamp):
            TABLE.add(row)
            found[row["network"]] = row
        cheap = [name for name in cheap if name not in found]
    for name in missing:
        if name not in found:
            (row,) = measure([name], stamp)
            TABLE.add(row)
            found[name] = row
        yield found[name]
    yield from (found[name] for name in names if name not in missing)


def beside_torchinfo() -> bool:
    """Time and memory of ResNet-152 by both, the best of five runs."""
    torchinfo = import_module("torchinfo")
    net = torchvision.models.resnet152()

    def by_torchinfo() -> None:
        torchinfo.summary(net, (1, 3, 224, 224), verbose=0)

    figures = []
    for look in (lambda: summarize(net, (3, 224, 224)), by_torchinfo):
        look()
        times = []
        for _ in range(5):
            start = time.process_time()
            look()
            times.append(time.process_time() - start)
        tracemalloc.start()
        look()
        figures.append((min(times), tracemalloc.get_traced_memory()[1] / 1e6))
        tracemalloc.stop()
    for name, (seconds, peak) in zip(("X-ray", "torchinfo"), figures, strict=True):
        print(
            f"ResNet-152, {name}: {seconds:.2f} s of a processor,"
            f" {peak:.1f} MB of Python objects"
        )
    return figures[0][0] <= figures[1][0]


def main() -> int:
    """Try what was not tried, and print the table; 1 if any row is wrong."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    chosen = sys.argv[1:]
    if chosen[:1] == ["--these"]:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        stamp = stamps()
        for name in chosen[1:]:
            row = {"network": name, **verdict(name, known_of(name, stamp))}
            print(json.dumps(row), flush=True)
        return 0
    known = [name for name, _ in networks()]
    if unknown := {*chosen} - {*known}:
        sys.exit(f"no such networks: {', '.join(sorted(unknown))}")
    wrong = []
    for row in rows(chosen or known):
        counted = f"{row['parameters']:>12} parameters  {row['macs']:>14} MACs"
        print(f"{row['network']:<36}{counted}  {row['wrong'] or 'ok'}", flush=True)
        if row["wrong"]:
            wrong.append(row["network"])
    print(f"not as it should be: {', '.join(wrong) or 'none'}")
    if chosen:
        return int(bool(wrong))
    try:
        faster = beside_torchinfo()
    except ImportError:
        print("torchinfo is not installed")
        return int(bool(wrong))
    return int(bool(wrong) or not faster)


if __name__ == "__main__":
    sys.exit(main())
