"""A convolution to play with: a drawing of one position of the window, which the script
of the book, ``book/_static/convolution.js``, turns into one that readers can change.
Chapter: Convolution.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from html import escape

import torch
from torch import Tensor

from course_lib.convolution import corr2d

#: The images by their names, three channels of 7x7 values each. Which number a letter
#: means is in `LEVELS`.
_PATTERNS = {
    "a boot": (
        "..##... ..##... ..##... ..###.. ..####. .=====. .......",
        "..--... ..--... ..--... ..---.. ..----. .=====. .......",
        "--..--- --..--- --..--- --...-- --....- -.....- -------",
    ),
    "one pixel": (
        "....... ....... ....... ...1... ....... ....... .......",
        "....... .1..... ....... ....... ....... ....... .......",
        "....... ....... ....... ....... ....... .....1. .......",
    ),
}
LEVELS = {".": 0, "1": 1, "-": 4, "=": 6, "#": 9}

IMAGES: dict[str, list[list[list[int]]]] = {
    name: [[[LEVELS[c] for c in row] for row in rows.split()] for rows in channels]
    for name, channels in _PATTERNS.items()
} | {
    "a ramp": [
        [list(range(7)) for _ in range(7)],
        [[i] * 7 for i in range(7)],
        [list(range(6, -1, -1)) for _ in range(7)],
    ]
}

#: The classic kernels by their names.
KERNELS: dict[str, list[list[float]]] = {
    "vertical edges": [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
    "horizontal edges": [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
    "blur": [[1 / 9] * 3] * 3,
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "all edges": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
}

KERNEL = "vertical edges"  # that it opens with
ROW, COLUMN = 2, 2  # where the window is in the drawing
CELL = 26  # the side of a box, in pixels


class Playground:
    """A small image, a kernel and the output, with the window at one position."""

    def __init__(self) -> None:
        self.image = torch.tensor(IMAGES["a boot"][0])
        self.kernel = torch.tensor(KERNELS[KERNEL]).long()
        self.output = corr2d(self.image, self.kernel)

    def __repr__(self) -> str:
        return f"Playground with {len(IMAGES)} images and {len(KERNELS)} kernels"

    def _repr_html_(self) -> str:
        data = {"images": IMAGES, "kernels": KERNELS, "at": [ROW, COLUMN]}
        attributes = "".join(
            f" data-{name}='{json.dumps(value, separators=(',', ':'))}'"
            for name, value in data.items()
        )
        return (
            f"<div class=\"playground\" data-kernel='{KERNEL}'{attributes}>\n"
            f"{self.svg()}\n</div>"
        )

    def svg(self) -> str:
        """The drawing, which says its numbers in its description, too."""
        size = len(self.kernel)
        inside = {(ROW + u, COLUMN + v) for u in range(size) for v in range(size)}
        whole = {(u, v) for u in range(size) for v in range(size)}
        parts = [
            *_grid(self.image, 2, 2, "image", inside),
            *_grid(self.kernel, 11, 4, "kernel", whole),
            *_grid(self.output, 16, 3, "output", {(ROW, COLUMN)}),
            _text(9.9, 5.5, "*"),
            _text(15, 5.5, "="),
            *(
                _text(11.5, 10.3 + number, line)
                for number, line in enumerate(self.products())
            ),
        ]
        width, height = 23 * CELL, 14 * CELL
        return (
            f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}"'
            ' style="max-width: 100%; height: auto" font-family="sans-serif"'
            ' font-size="13" xmlns="http://www.w3.org/2000/svg">\n'
            "<title>A kernel of three by three on an image of seven by seven values:"
            f" {escape(' '.join(self.products()))}</title>\n"
            + "\n".join(parts)
            + "\n</svg>"
        )

    def products(self) -> list[str]:
        """The products under the window, a line for each row of the kernel."""
        size = len(self.kernel)
        patch = self.image[ROW : ROW + size, COLUMN : COLUMN + size]
        lines = [
            " + ".join(
                f"({w})\N{MULTIPLICATION SIGN}{x}"
                if w < 0
                else f"{w}\N{MULTIPLICATION SIGN}{x}"
                for w, x in zip(weights, values, strict=True)
            )
            for weights, values in zip(
                self.kernel.tolist(), patch.tolist(), strict=True
            )
        ]
        lines[1:] = [f"+ {line}" for line in lines[1:]]
        lines[-1] += f" = {int(self.output[ROW, COLUMN])}"
        return [line.replace("-", "\N{MINUS SIGN}") for line in lines]


def _grid(
    values: Tensor, left: int, top: int, title: str, marked: Iterable[tuple[int, int]]
) -> Iterator[str]:
    """Boxes with their values, some of them `marked`."""
    marked = set(marked)
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            color = "#0072b2" if (i, j) in marked else "none"
            yield (
                f'<rect x="{(left + j) * CELL}" y="{(top + i) * CELL}" width="{CELL}"'
                f' height="{CELL}" fill="{color}" fill-opacity="0.25"'
                ' stroke="currentColor"/>'
            )
            text = str(value).replace("-", "\N{MINUS SIGN}")
            yield _text(left + j + 0.5, top + i + 0.5, text)
    yield _text(left + values.shape[1] / 2, top - 0.6, title)


def _text(left: float, top: float, text: str) -> str:
    return (
        f'<text x="{left * CELL:g}" y="{top * CELL + 4:g}" text-anchor="middle"'
        f' fill="currentColor">{text}</text>'
    )
