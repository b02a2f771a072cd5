"""The X-ray and the drawings on networks of others: torchvision's, and sixty of timm's.

For each: parameters, multiply-accumulates by torch's own counter, what autograd saves
by its hooks on a real run (below 150 million parameters), whether it is drawn, and
whether the module computes the same afterwards. Then ResNet-152 beside torchinfo, in
time and added memory. `python -m proofs.xray NAME ...` tries the named ones.
"""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from course_lib import draw, summarize

KINDS = ("", "detection", "segmentation", "video")
#: Up to how many parameters a network is also run with values.
LARGEST = 150_000_000
#: What a run of six images may keep, in bytes; a larger network gets smaller images.
ROOM = 2_000_000_000
WIDTHS = (34, 12, 16, 16, 16, 16, 6)


def networks() -> Iterator[tuple[str, Any, tuple[int, ...], bool]]:
    """Names, builders, input sizes, and whether an image is needed."""
    for kind in KINDS:
        module = getattr(torchvision.models, kind) if kind else torchvision.models
        for name in torchvision.models.list_models(module=module):
            builder = torchvision.models.get_model_builder(name)
            weights = torchvision.models.get_model_weights(name).DEFAULT
            plain = {"weights_backbone": None} if kind in KINDS[1:3] else {}
            side = getattr(weights.transforms(), "crop_size", [128])
            side = side[0] if isinstance(side, list | tuple) else side
            size = (3, 16, side, side) if kind == "video" else (3, side, side)
            yield (
                name,
                lambda b=builder, p=plain: b(weights=None, **p),
                size,
                (kind == "detection"),
            )
    try:
        timm = import_module("timm")
    except ImportError:
        return
    families: dict[str, str] = {}
    for name in timm.list_models(exclude_filters=["*_large*", "*huge*", "*giant*"]):
        families.setdefault(name.split("_")[0].rstrip("0123456789"), name)
    for name in list(families.values())[:60]:
        config = timm.get_pretrained_cfg(name)
        size = tuple(config.input_size) if config else (3, 224, 224)
        yield name, lambda n=name: timm.create_model(n, pretrained=False), size, False


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


def saved_by_both(net: nn.Module, size: tuple[int, ...], saved: Any) -> tuple[Any, int]:
    """What an image adds, by the X-ray and by a run, on images that fit in memory."""
    while isinstance(saved, int) and 6 * saved > ROOM and size[-1] > 64:
        size = (*size[:-2], size[-2] // 64 * 32, size[-1] // 64 * 32)
        saved = summarize(net, size).saved_bytes
    return saved, saved_for_real(net.train(), size)


def verdict(build: Any, size: tuple[int, ...], image: bool) -> tuple[str, ...]:
    """A row of the table: the last cell says whether all is as it should be."""
    torch.manual_seed(0)
    net = build().eval()
    x = torch.rand(1, *size)
    parameters = sum(p.numel() for p in net.parameters())
    small = parameters < LARGEST
    with torch.no_grad():
        before = net(x) if small else None
    given = x[0] if image else size
    summary = summarize(net, given)
    drawn = bool(draw(net, given).svg)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whose products are not counted
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(x)
    torch.backends.mha.set_fastpath_enabled(fused)
    with torch.no_grad():
        after = net(x)
    same = not small or repr(before) == repr(after)
    theirs = counter.get_total_flops() // 2
    saved, real = summary.saved_bytes, None
    if small and not image:
        saved, real = saved_by_both(net, size, saved)
    ok = (
        summary.parameters + summary.frozen_parameters == parameters
        and summary.macs == theirs
        and (real is None or real == saved)
        and drawn
        and same
    )
    cells = (parameters, summary.macs, theirs, saved, real)
    return (*map(str, cells), "ok" if ok else "NOT")


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
    """Print the table; 1 if any row is not as it should be."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    chosen = sys.argv[1:]
    wrong = []
    heads = ("network", "parameters", "MACs", "by torch", "saved", "measured", "")
    print(*(f"{head:<{w}}" for head, w in zip(heads, WIDTHS, strict=True)))
    for name, build, size, image in networks():
        if chosen and name not in chosen:
            continue
        try:
            cells = verdict(build, size, image)
        except Exception as error:
            cells = ("", "", "", "", "", f"{type(error).__name__}: {error}"[:160])
        if cells[-1] != "ok":
            wrong.append(name)
        row = zip((name, *cells), WIDTHS, strict=True)
        print(*(f"{cell:<{w}}" for cell, w in row), flush=True)
    print(f"not as it should be: {', '.join(wrong) or 'none'}")
    try:
        faster = beside_torchinfo()
    except ImportError:
        print("torchinfo is not installed")
        return int(bool(wrong))
    return int(bool(wrong) or not faster)


if __name__ == "__main__":
    sys.exit(main())
