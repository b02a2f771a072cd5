"""All figures of the book in one archive, for other people's slides.

    python -m tools.figures

Writes `_build/figures.zip`: drawings as SVG, plots as PNG, as they stand on the pages,
and a table with the page, the number, the caption, the alt text and the license of
each. An `index.html` in it shows them all.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import yaml

from tools.teaching import inline

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
TARGET = ROOT / "_build/figures.zip"
LICENSE = "CC BY 4.0, The authors of Block by Block"
WHEN = (2026, 1, 1, 0, 0, 0)  # the same archive of the same figures
CAPTION = re.compile(r"\*\*Figure (\d+)\.\*\*\s*(.*)", flags=re.DOTALL)
SVG = re.compile(r"<svg\b.*?</svg>", flags=re.DOTALL)
NOTICE = """\
Figures: {license}. https://creativecommons.org/licenses/by/4.0/
Name the course when you show one: "Block by Block, chapter, figure number".

Images of clothes in them are from Fashion-MNIST (MIT License, Zalando SE). The
photograph in the chapter on convolution comes with matplotlib.
"""


@dataclass(frozen=True)
class Figure:
    """A figure of the book."""

    #: The name of its file in the archive.
    file: str
    #: The page that it is on, and its number there.
    page: str
    number: int
    #: The words below it, and the description for who cannot see it.
    caption: str
    alt: str
    license: str
    #: What is in the file.
    content: bytes


def main() -> None:
    """Write the archive, and say what is in it."""
    found = [*figures()]
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(archive(found))
    drawings = sum(each.file.endswith(".svg") for each in found)
    print(f"{len(found)} figures, {drawings} of them SVG: {TARGET}")


def pages() -> list[str]:
    """The names of the pages of the book that may have figures, in their order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [toc["root"], *(e["file"] for p in toc["parts"] for e in p["chapters"])]
    return [Path(file).stem for file in files if Path(file).parent.name == "book"]


def figures() -> Iterator[Figure]:
    """The figures of all pages."""
    for page in pages():
        if (BOOK / f"{page}.ipynb").exists():
            yield from of_notebook(page)
        else:
            yield from of_text(page)


def of_notebook(page: str) -> Iterator[Figure]:
    """The figures of a chapter: what is shown by the cell above each caption."""
    cells = nbformat.read(BOOK / f"{page}.ipynb", as_version=4).cells
    for cell, below in pairwise(cells):
        found = CAPTION.match(below.source)
        if found and cell.cell_type == "code":
            yield figure(page, found, *shown(cell))


def shown(cell: Any) -> tuple[str, str, bytes]:
    """Ending, alt text and content of the figure of a cell.

    Raises: ValueError if there is none.
    """
    for output in cell.outputs:
        data = output.get("data", {})
        for kind, ending in (("image/png", "png"), ("image/jpeg", "jpg")):
            if kind in data:
                alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
                return ending, alt, base64.b64decode(data[kind])
        drawn = SVG.findall("".join(data.get("text/html", "")))
        if drawn:
            return "svg", *drawing(drawn[0])
    raise ValueError(f"{cell.id} shows no figure")


def of_text(page: str) -> Iterator[Figure]:
    """The figures of a page without code, which stand in files of their own."""
    blocks = (BOOK / f"{page}.md").read_text(encoding="utf-8").split("\n\n")
    for above, below in pairwise(blocks):
        found = CAPTION.match(below)
        file = re.search(r":file: (\S+)", above)
        if found and file:
            text = (BOOK / file[1]).read_text(encoding="utf-8")
            yield figure(page, found, "svg", *drawing(SVG.findall(text)[0]))


def drawing(svg: str) -> tuple[str, bytes]:
    """The alt text of a drawing, its title and its description, and its file."""
    words = []
    for tag in ("title", "desc"):
        found = re.search(rf"<{tag}\b[^>]*>(.*?)</{tag}>", svg, flags=re.DOTALL)
        words.append(html.unescape(found[1]) if found else "")
    if "xmlns=" not in svg:
        svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return ": ".join(filter(None, words)), svg.encode()


def figure(
    page: str, found: re.Match[str], ending: str, alt: str, content: bytes
) -> Figure:
    """A figure, with the name of its file; `found` is its caption."""
    number, caption = int(found[1]), " ".join(found[2].split())
    file = f"{page}-{number:02}.{ending}"
    return Figure(file, page, number, caption, alt, LICENSE, content)


def archive(found: list[Figure]) -> bytes:
    """The archive as bytes, the same for the same figures."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in (
            ("LICENSE.txt", NOTICE.format(license=LICENSE).encode()),
            ("figures.csv", table(found).encode()),
            ("index.html", overview(found).encode()),
            *((each.file, each.content) for each in found),
        ):
            info = zipfile.ZipInfo(f"figures/{name}", WHEN)
            file.writestr(info, content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def table(found: list[Figure]) -> str:
    """What is known of each figure, a line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Figure)[:-1])
    writer.writerows(astuple(each)[:-1] for each in found)
    return text.getvalue()


def overview(found: list[Figure]) -> str:
    """A page that shows all figures."""
    shown = "\n".join(
        f'<figure><img src="{each.file}" alt="{html.escape(each.alt)}" loading="lazy">'
        f"<figcaption><b>{each.page}, figure {each.number}</b> ({each.file})."
        f" {inline(each.caption)}</figcaption></figure>"
        for each in found
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<title>Figures of Block by Block</title><style>"
        "body{font:16px/1.5 sans-serif;margin:2rem auto;max-width:70rem}"
        "figure{margin:0 0 2rem}img{max-width:100%}</style></head>\n"
        f"<body><h1>Figures of Block by Block</h1>\n<p>{LICENSE}</p>\n{shown}\n"
        "</body></html>\n"
    )


if __name__ == "__main__":
    main()
