"""Write book/_static/networks.js: the plans and the drawings of the networks that
readers explore on the page of the comparison.

    python -m tools.explorer
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

from course_lib.catalog import CatalogEntry
from course_lib.diagram import draw
from course_lib.summary.explorer import EXPLORED, stages

TARGET = Path(__file__).parents[1] / "book/_static/networks.js"


def content() -> str:
    """The file: a network a line."""
    with torch.device("meta"):
        lines = [
            f"{json.dumps(name)}: {_compact(network(entry))}"
            for name, entry in EXPLORED.items()
        ]
    return (
        "/* Made by tools/explorer.py. */\nxray.networks = {\n"
        + ",\n".join(lines)
        + "\n};\n"
    )


def network(entry: CatalogEntry) -> dict[str, object]:
    """What explorer.js wants to know of a network."""
    net = entry.build()
    drawing = draw(net, entry.input_size, direction="right", legend=False).svg
    return {
        "input": entry.input_size,
        "classes": entry.num_classes,
        "scalable": entry.family.scalable,
        "stages": stages(net),
        "svg": _slim(drawing),
    }


def _slim(svg: str) -> str:
    """A drawing without what the table says and without colors for programs that do
    not know style sheets.
    """
    svg = re.sub(r"<title.*?</title>\n|<desc.*?</desc>\n", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (id|role|aria-labelledby|xmlns)="[^"]*"', "", svg)
    svg = re.sub(r'(class="bb-[^"]*") fill="[^"]*" stroke="[^"]*"', r"\1", svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" ').replace("\n", "")


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def main() -> None:
    TARGET.write_text(content(), encoding="utf-8")
    print(TARGET.name)


if __name__ == "__main__":
    main()
