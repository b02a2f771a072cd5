"""Figures with a number and a caption, from plain Markdown.

A chapter says `**Figure 3.** What to see.` in the paragraph under the cell that draws
the figure, and `Figure 3` wherever it refers to it. So it reads on Colab, on GitHub and
in an editor. On a page of the book, what is above that paragraph and the paragraph
become one `<figure>` with its `<figcaption>`, and each mention becomes a link to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

#: How a caption begins, and how the text refers to figures of its own page. Those of
#: papers are written small: "figure 2 of the paper".
LABEL = re.compile(r"Figure (\d+)\.")
MENTION = re.compile(r"\bFigures? \d+(?:(?:, | and | to )\d+)*")


class BookFigure(nodes.General, nodes.Element):  # type: ignore[misc]
    """What is shown, and its caption."""


class BookCaption(nodes.Part, nodes.TextElement):  # type: ignore[misc]
    """The words under a figure."""


class Captions(SphinxTransform):
    """Make figures of captions and what stands above them, and links of mentions."""

    default_priority = 700  # before MyST resolves links

    def apply(self, **_: Any) -> None:
        """Change the page."""
        numbers = {int(number) for number in map(self._caption, self._captions())}
        for text in list(self.document.findall(nodes.Text)):
            if numbers and not _within(
                text, nodes.title | nodes.reference | nodes.literal | nodes.strong
            ):
                _link(text, numbers)

    def _captions(self) -> list[nodes.paragraph]:
        return [
            paragraph
            for paragraph in self.document.findall(nodes.paragraph)
            if number_of(paragraph)
        ]

    def _caption(self, paragraph: nodes.paragraph) -> str:
        """Wrap what `paragraph` is the caption of, and say which number it has."""
        number = number_of(paragraph)
        parent = paragraph.parent
        above = parent[parent.index(paragraph) - 1]
        shown = _shown(above)
        figure = BookFigure(ids=[f"figure-{number}"])
        shown.replace_self(figure)
        caption = BookCaption("", "", *paragraph.children)
        parent.remove(paragraph)
        figure += [shown, caption]
        return number


def number_of(paragraph: nodes.Element) -> str:
    """The number of the figure whose caption `paragraph` is, or nothing."""
    # MyST puts an empty text before what is bold.
    first = next((node for node in paragraph.children if node.astext()), None)
    found = LABEL.fullmatch(first.astext()) if isinstance(first, nodes.strong) else None
    return found[1] if found else ""


def _shown(above: nodes.Element) -> nodes.Element:
    """The output of a cell; of anything else, all of it."""
    if "cell" in above.get("classes", []):
        for part in above.children:
            if "cell_output" in part.get("classes", []):
                return part
    return above


def _within(node: nodes.Node, kinds: Any) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def _link(text: nodes.Text, numbers: set[int]) -> None:
    """Make each number that `text` mentions a link to that figure."""
    parts = list(_parts(text.astext(), numbers))
    if len(parts) > 1 or isinstance(parts[0], nodes.reference):
        text.parent.replace(text, parts)


def _parts(text: str, numbers: set[int]) -> Iterator[nodes.Node]:
    end = 0
    for mention in MENTION.finditer(text):
        for found in re.finditer(r"(?:Figures? )?(\d+)", mention[0]):
            if int(found[1]) not in numbers:
                continue
            start = mention.start() + found.start()
            if text[end:start]:
                yield nodes.Text(text[end:start])
            end = mention.start() + found.end()
            yield nodes.reference(
                "", text[start:end], internal=True, refid=f"figure-{found[1]}"
            )
    if text[end:] or not end:
        yield nodes.Text(text[end:])


def _visit_figure(self: Any, node: BookFigure) -> None:
    self.body.append(self.starttag(node, "figure", CLASS="book-figure"))


def _depart_figure(self: Any, _: BookFigure) -> None:
    self.body.append("</figure>\n")


def _visit_caption(self: Any, node: BookCaption) -> None:
    self.body.append(self.starttag(node, "figcaption", ""))


def _depart_caption(self: Any, _: BookCaption) -> None:
    self.body.append("</figcaption>\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect it."""
    app.add_node(BookFigure, html=(_visit_figure, _depart_figure))
    app.add_node(BookCaption, html=(_visit_caption, _depart_caption))
    app.add_transform(Captions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
