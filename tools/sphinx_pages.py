"""What the pages of the book need beyond Sphinx and its theme.

`{chapters}` makes cards of a part of the table of contents. Names of the library in the
text become links to the API part. A link to a paper says on hovering what it leads to.
Figures follow dark mode, and are loaded when they are near.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from pybtex.database import Entry, parse_file
from pybtex.richtext import Text
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).parents[1]
LIBRARY = "course_lib"


class Chapters(SphinxDirective):
    """`{chapters} CAPTION`: a card for each page of that part, which says its question.

    A page that is called "LeNet: what of 1998 is still needed?" has both in its title.
    """

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Write the cards as MyST, and parse that in place."""
        lines = ["::::{grid} 1 2 2 3", ":gutter: 3", ":class-container: chapters", ""]
        for page in self._pages():
            name, _, question = self._title(page).partition(": ")
            lines += [f":::{{grid-item-card}} {name}", f":link: /{page}"]
            lines += [":link-type: doc", "", question[:1].upper() + question[1:], ":::"]
        node = nodes.container()
        text = StringList([*lines, "::::"], "cards")
        self.state.nested_parse(text, self.content_offset, node)
        return node.children

    def _pages(self) -> list[str]:
        parts = self.config.external_site_map.root.subtrees
        part = next(part for part in parts if part.caption == self.arguments[0])
        return [str(item).removesuffix(".ipynb") for item in part.items]

    def _title(self, page: str) -> str:
        text = ROOT / f"{page}.md"
        self.env.note_dependency(str(text))
        found = re.search(r"^# (.+)$", text.read_text(encoding="utf-8"), flags=re.M)
        if not found:
            raise self.error(f"{page}.md has no title")
        return found[1]


class LinkNames(SphinxPostTransform):
    """Make `fit` in the text a link to what the API part says about it."""

    default_priority = 400

    def run(self, **_: Any) -> None:
        """Replace what is exactly one name, but not in titles and links.

        The first column of a table is left alone: it names what the row is about.
        """
        objects = self.env.get_domain("py").objects  # type: ignore[attr-defined]
        for node in list(self.document.findall(nodes.literal)):
            name = target(node.astext(), objects)
            if name is None or self._is_name_of_something(node):
                continue
            docname, anchor = objects[name].docname, objects[name].node_id
            here, builder = self.env.docname, self.app.builder
            link = make_refnode(builder, here, docname, anchor, node.deepcopy(), name)
            node.replace_self(link)

    def _is_name_of_something(self, node: nodes.Node) -> bool:
        while node.parent is not None:
            if isinstance(node, nodes.title | nodes.reference | nodes.term):
                return True
            if isinstance(node, nodes.entry) and node.parent.index(node) == 0:
                return True
            node = node.parent
        return False


def target(text: str, objects: Any) -> str | None:
    """The documented name that `text` means, or None: `fit`, `fit()`, `course_lib.fit`,
    and `make_shortcut` if one module alone has one.

    What the library does not export and is a plain word, like `layers`, is a word.
    """
    name = text.removesuffix("()")
    for full in (name, f"{LIBRARY}.{name}"):
        if full in objects:
            return full
    if "." in name or (name == text and re.fullmatch("[a-z]+", name)):
        return None
    found = [
        full
        for full, entry in objects.items()
        if full.endswith(f".{name}") and not entry.aliased
        if entry.objtype in ("class", "data", "exception", "function")
    ]
    return found[0] if len(found) == 1 else None


class Figures(SphinxPostTransform):
    """Tell curves, whose colors dark mode may turn over, from images, whose it may
    not: there "dark" in the text means dark.
    """

    default_priority = 400

    def run(self, **_: Any) -> None:
        """Mark each image of a cell; `dark-light` tells the theme to keep off."""
        for cell in self.document.findall(nodes.container):
            if "cell" not in cell["classes"]:
                continue
            source = " ".join(
                each.astext() for each in cell.findall(nodes.literal_block)
            )
            shown = re.search(r"\b(imshow|show_images|show_photographs)\(", source)
            for image in cell.findall(nodes.image):
                image["classes"] += ["dark-light", "images" if shown else "plot"]


class CitePapers(SphinxPostTransform):
    """Say on hovering over the link to a paper who wrote it, and what it is called."""

    default_priority = 400

    def run(self, **_: Any) -> None:
        """Look up each link in the bibliography."""
        papers = _papers(*self.config.bibtex_bibfiles)
        for link in self.document.findall(nodes.reference):
            key = link.get("refuri", "").rstrip("/")
            if key in papers:
                link["reftitle"] = papers[key]


@cache
def _papers(*files: str) -> dict[str, str]:
    """Address -> what a paper is, for all addresses of all papers."""
    return {
        address: describe(entry)
        for file in files
        for entry in parse_file(ROOT / file).entries.values()
        for address in addresses(entry)
    }


def addresses(entry: Entry) -> Iterator[str]:
    """Where a paper is found: its `url`, its `doi`, and its number at arXiv."""
    fields = entry.fields
    if "url" in fields:
        yield fields["url"].rstrip("/")
    if "doi" in fields:
        yield f"https://doi.org/{fields['doi']}"
    if "eprint" in fields:
        yield f"https://arxiv.org/abs/{fields['eprint']}"


def describe(entry: Entry) -> str:
    """Authors, title, place and year, in one line."""
    authors = [" ".join(person.last_names) for person in entry.persons["author"]]
    several = len(authors) > 3 or "others" in authors
    who = f"{authors[0]} et al." if several else ", ".join(authors)
    fields = entry.fields
    place = fields.get("booktitle") or fields.get("journal") or fields.get("publisher")
    parts = [f"{who} ({fields['year']})", fields["title"], place]
    text = ". ".join(part for part in parts if part)
    return str(Text.from_latex(text)).replace("\xa0", " ")


#: What Sphinx writes, and what is better for readers.
REPAIRS = {
    # The size in a style cannot shrink in proportion; images load when they are near.
    r'style="width: (\d+)px; height: (\d+)px;"': (
        r'width="\1" height="\2" loading="lazy"'
    ),
    # What chapters fold has a title (tools/folds.py); solutions have none, nor has the
    # first cell, the only one that hides all of itself.
    r"(Show|Hide) code cell source": r"\1 the solution",
    r"(Show|Hide) code cell content": r"\1 what installs the library on Colab",
    # These roles say "list", but no entry says "list item".
    r' role="(list|doc-biblioentry)"': "",
}


def repair(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: Any
) -> None:
    """Apply the repairs to what a page says."""
    for pattern, better in REPAIRS.items():
        context["body"] = re.sub(pattern, better, context.get("body", ""))


def leave_thebe_out(app: Sphinx, _config: Config) -> None:
    """Jupyter Book has an extension that runs cells in the page, which this book does
    not do; its script is put into each page twice, and the second fails. Its style
    sheet would be asked for in vain.
    """
    for listeners in app.events.listeners.values():
        for listener in list(listeners):
            if listener.handler.__module__ == "sphinx_thebe":
                app.disconnect(listener.id)
    files = app.registry.css_files
    files[:] = [each for each in files if each[0] != "sphinx-thebe.css"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect all of this."""
    app.add_directive("chapters", Chapters)
    for transform in (LinkNames, Figures, CitePapers):
        app.add_post_transform(transform)
    app.connect("html-page-context", repair)
    app.connect("config-inited", leave_thebe_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
