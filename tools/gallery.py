"""Write a page with the drawings of all networks, to look at: _build/gallery.html, and
_build/gallery_dark.html with the colors of dark mode.
"""

from __future__ import annotations

from pathlib import Path

import torch

from course_lib import (
    Inception,
    Residual,
    basic_block,
    bottleneck,
    nin_block,
    vgg_block,
)
from course_lib.catalog import NETWORKS
from course_lib.diagram import Drawing, draw, draw_side_by_side
from course_lib.googlenet import TABLE_1
from course_lib.pages.cheatsheet import blocks
from course_lib.resnet import make_shortcut

ROOT = Path(__file__).parents[1]


def drawings() -> dict[str, Drawing]:
    """The blocks as chapters draw them, and every network: in stages, and the smaller
    ones in all their blocks.
    """
    shortcuts = {
        f"Shortcut {kind}": Residual(
            basic_block(64, 128, stride=2), make_shortcut(kind, 64, 128, 2)
        )
        for kind in "AB"
    }
    made = {
        "Four blocks": blocks(),
        "VGG block": draw(vgg_block(2, 64, 128), (64, 112, 112)),
        "NiN block": draw(nin_block(3, 96, 11, 4), (3, 224, 224)),
        "Inception": draw(Inception(192, TABLE_1["3a"]), (192, 28, 28)),
        "Residual block": draw(Residual(basic_block(64, 64, stride=1)), (64, 56, 56)),
        "Bottleneck": draw(Residual(bottleneck(256, 64, stride=1)), (256, 56, 56)),
        "Shortcuts": draw_side_by_side(shortcuts, (64, 56, 56)),
    }
    for name, entry in NETWORKS.items():
        net, size = entry.build(), entry.input_size
        made[name] = draw(net, size)
        if len([*net.modules()]) < 80:
            made[f"{name}, all of it"] = draw(net, size, level="blocks")
    return made


def main() -> None:
    css = (ROOT / "book/_static/course.css").read_text()
    with torch.device("meta"):
        body = "".join(
            f"<h2>{name}</h2>\n{drawing._repr_html_()}"
            for name, drawing in drawings().items()
        )
    for theme, colors in (
        ("light", "#fff;color:#111"),
        ("dark", "#121212;color:#eee"),
    ):
        page = (
            f'<!doctype html><html lang="en" data-theme="{theme}">'
            '<meta charset="utf-8"><title>Drawings</title>'
            f"<style>{css}body{{font-family:sans-serif;"
            "max-width:690px;margin:1rem auto;padding:0 12px;"
            f"background:{colors}}}</style>{body}"
        )
        name = "gallery.html" if theme == "light" else f"gallery_{theme}.html"
        target = ROOT / "_build" / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(page, encoding="utf-8")
        print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
