"""All networks on one sheet: when, why, what, how, and what it costs.

The costs are computed, for one picture of the size that the paper's net was made for;
the rest is in `course_lib.catalog`, from the papers that each row cites. Chapter: Cheat
sheet.
"""

from __future__ import annotations

from html import escape

import torch

from course_lib.catalog import FAMILIES, NETWORKS, Family
from course_lib.diagram import Drawing, draw_side_by_side
from course_lib.googlenet import TABLE_1, Inception
from course_lib.nin import nin_block
from course_lib.resnet import Residual, basic_block
from course_lib.summary import Summary, summarize
from course_lib.vgg import vgg_block

#: The family that each row is about, the oldest first.
SHEET = {
    family.example: family
    for family in sorted(FAMILIES.values(), key=lambda family: family.year)
}


class CheatSheet:
    """`SHEET` with the costs, as a table that prints on one page."""

    def __init__(self) -> None:
        with torch.device("meta"):
            self.costs = {
                name: _costs(
                    summarize(NETWORKS[name].build(), NETWORKS[name].input_size)
                )
                for name in SHEET
            }
        self.blocks = blocks()

    def __repr__(self) -> str:
        return "\n".join(
            f"{name} ({family.year}): {', '.join(self.costs[name])}"
            for name, family in SHEET.items()
        )

    def _repr_html_(self) -> str:
        titles = ("When", "Why", "What", "How", "Cost")
        head = "".join(f'<th scope="col">{title}</th>' for title in titles)
        rows = "\n".join(self._row(name, family) for name, family in SHEET.items())
        return (
            '<div class="cheatsheet">\n<table>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n"
            f"{self.blocks._repr_html_()}</div>"
        )

    def _row(self, name: str, family: Family) -> str:
        link = f'<a href="{family.url}">{family.year}</a>'
        texts = (family.why, family.what, family.how)
        words = "".join(f"<td>{escape(text)}</td>" for text in texts)
        return (
            f'<tr><th scope="row">{name}<br>{link}</th>{words}'
            f"<td>{'<br>'.join(self.costs[name])}</td></tr>"
        )


def _costs(summary: Summary) -> list[str]:
    """What a net costs, in words."""
    assert summary.kept is not None
    fields = [row.field for row in summary.stages if row.field]
    seen = [field.size[0] for field in fields if field.stride[0]][-1]
    return [
        f"{_short(summary.parameters)} parameters",
        f"{_short(summary.macs)} MACs",
        f"{_short(summary.kept)}B kept in training",
        f"sees {seen} pixels, of {summary.input_size[-1]}",
    ]


def _short(number: int) -> str:
    """61,100,000 -> "61.1 M"."""
    power = (len(str(number)) - 1) // 3
    return f"{number / 1000**power:.3g} {('', 'k', 'M', 'G')[power]}"


def blocks() -> Drawing:
    """The ideas side by side, each for 192 maps of 28 by 28 pixels."""
    with torch.device("meta"):
        ideas = {
            "VGG block": vgg_block(2, 192, 192),
            "NiN block": nin_block(192, 192, 3, padding=1),
            "Inception": Inception(192, TABLE_1["3a"]),
            "Residual block": Residual(basic_block(192, 192, stride=1)),
        }
        return draw_side_by_side(ideas, (192, 28, 28))
