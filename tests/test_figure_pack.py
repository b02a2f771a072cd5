"""The archive of figures has each figure of the book, as it is on its page."""

import base64
import csv
import io
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest

from tools import figures

BOOK = Path(__file__).parents[1] / "book"
CAPTION = re.compile(r"^\*\*Figure (\d+)\.\*\*", flags=re.M)


@pytest.fixture(scope="module")
def found():
    return [*figures.figures()]


def test_each_figure_of_the_book_is_in_it(found):
    captions = {
        (text.stem, int(number))
        for text in BOOK.glob("*.md")
        for number in CAPTION.findall(text.read_text())
    }
    assert len(captions) > 100
    assert {(each.page, each.number) for each in found} == captions
    assert len({each.file for each in found}) == len(found)


def test_each_has_words_and_a_license(found):
    for each in found:
        assert len(each.alt) > 20, each.file
        assert len(each.caption) > 20, each.file
        assert "CC BY" in each.license


def test_contents_are_those_of_the_notebooks(found):
    images = {
        base64.b64decode(output.data["image/png"])
        for notebook in BOOK.glob("*.ipynb")
        for cell in nbformat.read(notebook, as_version=4).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    }
    plots = {each.content for each in found if each.file.endswith(".png")}
    assert plots
    assert plots <= images


def test_drawings_are_files_of_their_own(found):
    drawings = [each for each in found if each.file.endswith(".svg")]
    assert drawings
    for each in drawings:
        root = ElementTree.fromstring(each.content)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("viewBox"), each.file


def test_a_cell_without_a_figure_is_an_error():
    cell = nbformat.v4.new_code_cell("1 + 1")
    with pytest.raises(ValueError, match="shows no figure"):
        figures.shown(cell)


def test_the_archive(found, tmp_path, monkeypatch, capsys):
    target = tmp_path / "deeper/figures.zip"
    monkeypatch.setattr(figures, "TARGET", target)
    figures.main()
    assert f"{len(found)} figures" in capsys.readouterr().out
    assert figures.archive(found) == target.read_bytes()
    with zipfile.ZipFile(target) as file:
        for each in found:
            assert file.read(f"figures/{each.file}") == each.content
        rows = csv.DictReader(io.StringIO(file.read("figures/figures.csv").decode()))
        assert [row["caption"] for row in rows] == [each.caption for each in found]
        page = file.read("figures/index.html").decode()
        assert all(f'src="{each.file}"' in page for each in found)
        assert b"CC BY 4.0" in file.read("figures/LICENSE.txt")
