"""The lab: networks that run in the reader's page.

A module is exported as a program of operations (`program`) with weights of eight bits
(`weights`), which ``book/_static/lab-run.js`` carries out in a browser. What is
exported is what runs: the tracer that the X-ray and the drawings read records every
operation of PyTorch. Chapter: Lab.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib.arguments import check_one_of
from course_lib.catalog import NETWORKS
from course_lib.lab.program import program
from course_lib.lab.weights import quantize, quantized, unpacked, weight_of
from course_lib.pages.results import recorded

__all__ = [
    "NETS",
    "export",
    "network",
    "program",
    "quantize",
    "quantized",
    "read",
    "trained",
]

#: The networks of the page: what addresses and files call them -> the catalog's name.
NETS = {
    "lenet": "LeNet modern",
    "alexnet": "AlexNet small",
    "zfnet": "ZFNet small",
    "vgg": "VGG small",
    "nin": "NiN small",
    "googlenet": "GoogLeNet small",
    "plain": "ResNet small plain",
    "resnet": "ResNet small",
}

#: Where their files are: in an installed package, and in the repository.
FOLDERS = (
    Path(__file__).parents[1] / "_book/_static/lab",
    Path(__file__).parents[2] / "book/_static/lab",
)


def export(
    net: nn.Module,
    path: str | Path,
    *,
    input_size: tuple[int, int, int] = (1, 28, 28),
    title: str | None = None,
) -> Path:
    """Write `net` as a file that the page of the chapter Lab opens; the path of it.

    `title` is what the page calls it, by default the name of its class. Its weights are
    stored with 8 bits, see `quantized`; `net` itself is left unchanged.

    Raises: ValueError for a network in training mode, for one that cannot take an image
        of `input_size` (C, H, W), and for what the page has no operation for, with the
        module that does it.
    """
    found = program(net, input_size)
    path = Path(path)
    name = re.sub(r"\W+", "-", path.stem.lower()) or "network"
    text = written({"name": name, "title": title or type(net).__name__, **found})
    path.write_text(text, encoding="utf-8")
    return path


def written(found: dict[str, Any]) -> str:
    """A program as a script that hands it to the page, in UTF-8."""
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    return f"lab.add({text});\n"


def read(path: str | Path) -> dict[str, Any]:
    """The program in a file that `export` wrote.

    Raises: ValueError for another file.
    """
    text = Path(path).read_text(encoding="utf-8").strip()
    if not (text.startswith("lab.add({") and text.endswith("});")):
        raise ValueError(f"{path} is no network for the page: it begins {text[:20]!r}")
    found: dict[str, Any] = json.loads(text.removeprefix("lab.add(")[:-2])
    if "weights" not in found:
        raise ValueError(f"{path} is of an older form: export the network again")
    return found


def network(name: str) -> nn.Module:
    """A network of the page, with the very weights that it has there, in evaluation
    mode. Its batch normalization has only a factor and an offset: a mean of 0 and a
    variance of 1.

    Shape: (N, 1, 28, 28) -> (N, 10), logits.
    Raises: ValueError for another name.
    """
    check_one_of(tuple(NETS), name=name)
    folder = next(each for each in FOLDERS if each.is_dir())
    net = NETWORKS[NETS[name]].build().eval()
    restore(net, read(folder / f"{name}.js"))
    return net


def trained(name: str) -> dict[str, str]:
    """How a network of the page was trained: its row in the table of the experiment,
    with the settings "laptop", or else with those of the longest training there is.

    Raises: ValueError for another name.
    """
    check_one_of(tuple(NETS), name=name)
    rows = recorded("lab", net=NETS[name])
    return min(rows, key=lambda row: row["settings"])  # "laptop" before "quick"


def restore(net: nn.Module, found: dict[str, Any]) -> None:
    """Give the layers of `net` the weights of the program `found`, which was made of
    such a network.
    """
    floats, whole = unpacked(found)
    with torch.no_grad():
        for op in found["ops"]:
            if op["kind"] not in ("conv", "full", "norm"):
                continue
            layer: Any = net.get_submodule(op["path"])
            channels = op["shape"][0]
            if op["kind"] == "norm":
                layer.running_mean.zero_()
                layer.running_var.fill_(1 - layer.eps)
                layer.weight.copy_(floats[op["factor"] :][:channels])
                layer.bias.copy_(floats[op["offset"] :][:channels])
                continue
            weight = weight_of(op, channels, floats, whole)
            layer.weight.copy_(weight.reshape(layer.weight.shape))
            if op["bias"] >= 0:
                layer.bias.copy_(floats[op["bias"] :][:channels])
