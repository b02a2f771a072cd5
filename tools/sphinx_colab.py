"""A link to a notebook that is no page of the book gets a button that opens Colab.

Chapters link to their exercises as to any file, ``[text](exercises/lenet.ipynb)``. On
GitHub, on Colab and in Jupyter that leads there. The book has no such page: here the
link downloads the notebook. Where the repository is, _config.yml says; while that is a
placeholder, there is no button.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms import SphinxTransform

TEXT = "Open the exercises on Colab"
CLASSES = ["sd-btn", "sd-btn-outline-primary"]


def address(config: Config, file: str) -> str:
    """Where Colab opens `file`, a path from the root of the book."""
    theme = config.html_theme_options
    parts = (
        theme["launch_buttons"]["colab_url"],
        "github",
        theme["repository_url"].partition("github.com/")[2],
        "blob",
        theme["repository_branch"],
        theme.get("path_to_docs", ""),
        file,
    )
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


class NotebookLinks(SphinxTransform):
    """Make links to notebooks that are no pages downloads, and add the buttons."""

    default_priority = 5  # before Sphinx collects the downloads

    def apply(self, **_: Any) -> None:
        """Sphinx calls this for each page."""
        for link in list(self.document.findall(addnodes.pending_xref)):
            file = f"{link['reftarget']}.ipynb"
            if (
                link["refdomain"] != "doc"
                or link["reftarget"] in self.env.found_docs
                or not Path(self.env.srcdir, file).exists()
            ):
                continue
            if "colab_url" in self.config.html_theme_options["launch_buttons"]:
                button = nodes.reference(
                    "", TEXT, refuri=address(self.config, file), classes=CLASSES
                )
                paragraph = link.parent
                place = paragraph.parent.index(paragraph) + 1
                paragraph.parent.insert(place, nodes.paragraph("", "", button))
            download = addnodes.download_reference(reftarget=f"/{file}")
            download += link.children
            link.replace_self(download)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(NotebookLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
