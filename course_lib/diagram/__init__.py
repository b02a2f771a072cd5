"""Drawings of live modules, as a textbook would draw them.

What is drawn is what runs: a module is recorded as it runs (`trace`), its plan is read
from the record (`structure`), laid out (`flow`) and written as SVG (`svg`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from course_lib.arguments import check_one_of
from course_lib.diagram.alt import alt_text
from course_lib.diagram.flow import lay_out
from course_lib.diagram.marks import Element, Group, Label, bounds
from course_lib.diagram.structure import Chain, Stage, read
from course_lib.diagram.svg import svg
from course_lib.tracing import inputs_of_size, unwrapped
from course_lib.tracing.shapes import Shape

__all__ = ["Drawing", "draw", "draw_side_by_side"]

#: Below this width of a page, a drawing shows its narrow form, if it has one.
PHONE = "600px"
GAP = 12  # between two drawings


@dataclass(frozen=True, repr=False)
class Drawing:
    """A drawing as the text of an SVG file, which a notebook shows."""

    #: What is drawn: the name of a class, or the titles of several blocks.
    title: str
    #: What is on it, in words.
    alt: str
    #: The text of the file.
    svg: str
    #: The same drawing for phones, or empty if that is not needed.
    narrow: str = ""

    def __repr__(self) -> str:
        return f"Drawing of {self.title}"

    def _repr_html_(self) -> str:
        """Inline, so that text can be selected and a page can set the colors."""
        scroll = 'class="drawing" style="overflow-x:auto"'
        if not self.narrow:
            return f"<div {scroll}>\n{self.svg}</div>\n"
        return (
            f"<style>@media(max-width:{PHONE}){{.bb-wide{{display:none}}}}"
            f"@media not all and (max-width:{PHONE}){{.bb-narrow{{display:none}}}}"
            f"</style>\n<div {scroll}>\n"
            f'<div class="bb-wide">\n{self.svg}</div>\n'
            f'<div class="bb-narrow">\n{self.narrow}</div>\n</div>\n'
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {
            "text/plain": repr(self),
            "text/html": self._repr_html_(),
            "image/svg+xml": self.svg,
        }

    def save(self, path: str | Path) -> None:
        """Write an SVG file, which Inkscape can edit."""
        header = '<?xml version="1.0" encoding="UTF-8"?>\n'
        Path(path).write_text(header + self.svg, encoding="utf-8")


def draw(
    module: nn.Module,
    input_size: Shape | Tensor,
    *,
    level: str | None = None,
    direction: str | None = None,
    legend: bool = True,
) -> Drawing:
    """Draw `module` as it runs on an input of `input_size` (C, H, W).

    `level` is "stages" for a card with the layers of each stage, or "blocks" for a box
    for each layer; by default, what has stages is drawn in stages. `direction` is
    "right", in rows, or "down"; by default, what has stages goes right, but down on
    phones, and all else goes down. An edge without a shape has that of the edge before.
    What runs only in training, like auxiliary classifiers, is drawn for a module in
    training mode.

    Raises: ValueError for anything but a module, an unknown `level` or `direction`, and
        an input that `module` cannot take.
    """
    module, chain, shape = _read(module, input_size)
    staged = any(isinstance(node, Stage) for node in chain)
    level = ("stages" if staged else "blocks") if level is None else level
    check_one_of(("stages", "blocks"), level=level)
    if direction is not None:
        check_one_of(("right", "down"), direction=direction)
    directions = ["right", "down"] if staged else ["down"]
    title, text = type(module).__name__, alt_text(chain, shape)
    forms = [
        lay_out(chain, shape, down=each == "down", cards=level == "stages")
        for each in ([direction] if direction else directions)
    ]
    return Drawing(title, text, *(svg(form, title, text, legend) for form in forms))


def draw_side_by_side(
    modules: Mapping[str, nn.Module], input_size: Shape | Tensor
) -> Drawing:
    """Draw blocks by their titles, for the same input, beside each other; on
    phones below each other.

    Raises: ValueError as `draw`, and if there is no module.
    """
    if not isinstance(modules, Mapping) or not modules:
        raise ValueError(
            f"there must be modules to draw, each with a title; got {modules!r}"
        )
    beside: list[Element] = []
    below: list[Element] = []
    texts = []
    for title, module in modules.items():
        _, chain, shape = _read(module, input_size)
        texts.append(f"{title}: {alt_text(chain, shape)}")
        heading = Label(0, -16, title, 13, bold=True)
        marks = heading, *lay_out(chain, shape, narrow=True)
        group = Group(marks, "module", title)
        area = group.bounds()
        right = bounds(beside).right + GAP if beside else 0
        beside.append(group.moved(right - area.left, 0))
        bottom = bounds(below).bottom + 2 * GAP if below else 0
        below.append(group.moved(-area.left, bottom - area.top))
    title, text = ", ".join(modules), " ".join(texts)
    forms = [svg(tuple(marks), title, text) for marks in (beside, below)]
    return Drawing(title, text, *forms)


def _read(module: object, input_size: object) -> tuple[nn.Module, Chain, Shape]:
    """What is drawn of `module`, its plan, and the shape that goes in."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"only modules can be drawn, got {module!r}")
    module = unwrapped(module)
    try:
        inputs = inputs_of_size(module, input_size)
    except ValueError:
        raise _no_size(input_size) from None
    shape = inputs.shapes[0]
    if not shape:
        raise _no_size(input_size)
    return module, read(module, inputs), shape


def _no_size(input_size: object) -> ValueError:
    return ValueError(f"input_size must be like (3, 224, 224), got {input_size!r}")
