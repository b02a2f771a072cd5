"""Write a page with the drawings of all networks, to look at: _build/gallery.html, and
_build/gallery_dark.html with the colours of dark mode.
"""

from __future__ import annotations

from pathlib import Path

import torch

from course_lib import (
    VGG,
    AlexNet,
    GoogLeNet,
    Inception,
    LeNet,
    NiN,
    Residual,
    ResNet,
    ZFNet,
    basic_block,
    bottleneck,
    nin_block,
    vgg_block,
)
from course_lib.diagram import Drawing, draw, draw_side_by_side
from course_lib.googlenet import TABLE_1
from course_lib.resnet import make_shortcut

ROOT = Path(__file__).parents[1]
PHOTO = (3, 224, 224)


def drawings() -> dict[str, Drawing]:
    """What the chapters draw."""
    blocks = {
        "VGG block": vgg_block(2, 192, 192),
        "NiN block": nin_block(192, 192, 3, padding=1),
        "Inception": Inception(192, TABLE_1["3a"]),
        "Residual block": Residual(basic_block(192, 192, stride=1)),
    }
    shortcuts = {
        f"Shortcut {kind}": Residual(
            basic_block(64, 128, stride=2), make_shortcut(kind, 64, 128, 2)
        )
        for kind in "AB"
    }
    alexnet, vgg = AlexNet("paper"), VGG(16)
    return {
        "LeNet-5": draw(LeNet("paper"), (1, 32, 32)),
        "LeNet": draw(LeNet("modern"), (1, 28, 28)),
        "AlexNet": draw(alexnet, (3, 227, 227), level="blocks"),
        "AlexNet in stages": draw(alexnet, (3, 227, 227)),
        "ZFNet": draw(ZFNet("paper"), PHOTO),
        "VGG block": draw(vgg_block(2, 64, 128), (64, 112, 112)),
        "VGG-16": draw(vgg, PHOTO),
        "VGG-16, all of it": draw(vgg, PHOTO, level="blocks"),
        "NiN block": draw(nin_block(3, 96, 11, 4), PHOTO),
        "NiN": draw(NiN("imagenet"), PHOTO),
        "Inception": draw(Inception(192, TABLE_1["3a"]), (192, 28, 28)),
        "GoogLeNet": draw(GoogLeNet("paper", aux=True), PHOTO),
        "Residual block": draw(Residual(basic_block(64, 64, stride=1)), (64, 56, 56)),
        "Bottleneck": draw(Residual(bottleneck(256, 64, stride=1)), (256, 56, 56)),
        "Shortcuts": draw_side_by_side(shortcuts, (64, 56, 56)),
        "ResNet-18": draw(ResNet(18), PHOTO),
        "ResNet-18, all of it": draw(ResNet(18), PHOTO, level="blocks"),
        "ResNet-50": draw(ResNet(50), PHOTO),
        "Four blocks": draw_side_by_side(blocks, (192, 28, 28)),
    }


def main() -> None:
    css = (ROOT / "book/_static/course.css").read_text()
    with torch.device("meta"):
        body = "".join(
            f"<h2>{name}</h2>\n{drawing._repr_html_()}"
            for name, drawing in drawings().items()
        )
    for theme, colours in (
        ("light", "#fff;color:#111"),
        ("dark", "#121212;color:#eee"),
    ):
        page = (
            f'<!doctype html><html lang="en" data-theme="{theme}">'
            '<meta charset="utf-8"><title>Drawings</title>'
            f"<style>{css}body{{font-family:sans-serif;"
            "max-width:690px;margin:1rem auto;padding:0 12px;"
            f"background:{colours}}}</style>{body}"
        )
        name = "gallery.html" if theme == "light" else f"gallery_{theme}.html"
        target = ROOT / "_build" / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(page, encoding="utf-8")
        print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
