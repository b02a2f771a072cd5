"""Write book/_static/lab: the networks of the chapter Lab, with the weights that
``python -m experiments.lab`` has trained, their drawings, and test images.

    python -m tools.lab            all whose weights are here, and the images
    python -m tools.lab resnet     one of them

Without their weights here, networks stay what they are, and get new drawings.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib import fashion_mnist
from course_lib.catalog import NETWORKS
from course_lib.diagram import draw
from course_lib.lab import NETS, network, program, trained, written
from course_lib.pages.lab import places

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "book/_static/lab"
WEIGHTS = ROOT / "_build/lab"

INPUT = (1, 28, 28)

#: Test images of each class: in the file of all, and in the one that comes at once.
IMAGES, FIRST = 20, 2


def content(name: str) -> str:
    """The file of a network: its program, and its accuracy."""
    entry, net = NETWORKS[NETS[name]], weighted(name)
    found = {
        "name": name,
        "title": TITLES[name],
        "year": entry.year,
        "accuracy": float(trained(name)["int8_accuracy"]),
    }
    return written(found | program(net, INPUT))


#: What the page calls the networks.
TITLES = {
    name: "Plain twin of ResNet" if name == "plain" else catalog.removesuffix(" small")
    for name, catalog in NETS.items()
}


def weighted(name: str) -> nn.Module:
    """The network as it was trained, or else as it is in its file."""
    settings = trained(name)["settings"]
    path = WEIGHTS / f"{NETS[name]}, {settings}, seed 0, 55000 images.pt"
    if not path.exists():
        return network(name)
    net = NETWORKS[NETS[name]].build().eval()
    state: Any = torch.load(path, weights_only=True)
    net.load_state_dict(state["state"]["net"])
    return net


def drawing(name: str) -> str:
    """The file with the drawing of a network, for wide pages and for narrow ones."""
    made = draw(network(name), INPUT, legend=False)
    forms = {"wide": slim(made.svg), "narrow": slim(made.narrow)}
    text = json.dumps(forms, separators=(",", ":"), ensure_ascii=False)
    return f"lab.drawings.{name} = {text};\n"


def slim(svg: str) -> str:
    """A drawing without its texts and its colors for programs without style sheets; the
    ids of its boxes are the names of modules, and become what the page can look for.
    """
    svg = re.sub(r"<(title|desc|style).*?</\1>\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="bb-[0-9a-f]{8}-([\w.-]+?)(-\d+)?"', r' data-path="\1"', svg)
    svg = re.sub(r' (role|aria-labelledby|xmlns)="[^"]*"', "", svg)
    svg = re.sub(r'(class="bb-[^"]*") fill="[^"]*" stroke="[^"]*"', r"\1", svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" ').replace("\n", "")


def images(per_class: int) -> str:
    """The first test images of each class, one of each class in turn."""
    test, chosen = fashion_mnist().test, places(per_class)
    pixels = test.images[chosen].flatten().tolist()
    found = {
        "labels": test.labels[chosen].tolist(),
        "places": chosen.tolist(),
        "data": base64.b64encode(packed(pixels)).decode(),
    }
    return f"lab.addImages({json.dumps(found, separators=(',', ':'))});\n"


def packed(pixels: list[int]) -> bytes:
    """Bytes, each zero followed by how many more there are, at most 255."""
    found = bytearray()
    more = -1
    for pixel in [*pixels, -1]:
        if pixel == 0 and more < 255:
            more += 1
            continue
        if more >= 0:
            found += bytes([0, more])
        more = 0 if pixel == 0 else -1
        if pixel > 0:
            found.append(pixel)
    return bytes(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", choices=[[], *NETS])
    names = parser.parse_args().names or [*NETS]
    (TARGET / "drawings").mkdir(parents=True, exist_ok=True)
    for name in names:
        (TARGET / f"{name}.js").write_text(content(name), encoding="utf-8")
        (TARGET / f"drawings/{name}.js").write_text(drawing(name), encoding="utf-8")
        print(f"{name}.js")
    for name, count in {"first": FIRST, "images": IMAGES}.items():
        (TARGET / f"{name}.js").write_text(images(count), encoding="utf-8")


if __name__ == "__main__":
    main()
