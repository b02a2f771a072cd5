"""Chapters link to their exercises, and the book opens them on Colab."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tools import sphinx_colab as colab
from tools.exercises import texts

pytest.importorskip("sphinx")  # where only the library is tested

ROOT = Path(__file__).parents[1]

TEXTS = texts()


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_every_chapter_links_to_its_exercises_and_solutions(text):
    chapter = (ROOT / "book" / text.name).read_text()
    for folder in ("exercises", "solutions"):
        assert f"]({folder}/{text.stem}.ipynb)" in chapter, (
            f"link to {folder}/{text.stem}.ipynb in book/{text.name}"
        )


@pytest.mark.parametrize("folder", ["", "docs/"])
def test_the_address_is_made_of_the_configuration(folder):
    theme = {
        "repository_url": "https://github.com/them/theirs/",
        "repository_branch": "main",
        "path_to_docs": folder,
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }
    config = SimpleNamespace(html_theme_options=theme)
    assert colab.address(config, "book/exercises/lenet.ipynb") == (
        "https://colab.research.google.com/github/them/theirs/blob/main/"
        f"{folder}book/exercises/lenet.ipynb"
    )


COLAB = {"colab_url": "https://colab.research.google.com"}


@pytest.mark.parametrize("launch", [COLAB, {}], ids=["published", "placeholder"])
def test_a_link_gets_a_button_and_becomes_a_download(tmp_path, monkeypatch, launch):
    """A book of one page, beside a notebook that is none."""
    from sphinx.application import Sphinx

    monkeypatch.syspath_prepend(ROOT / "tools")  # as _config.yml says

    (tmp_path / "page.ipynb").write_text("{}")
    source = "# Title\n\nMore in [a notebook](page.ipynb) and [here](index.md).\n"
    (tmp_path / "index.md").write_text(source)
    theme = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    options = {
        "extensions": ["myst_parser", "sphinx_colab"],
        "source_suffix": {".md": "markdown", ".ipynb": "markdown"},
        "exclude_patterns": ["*.ipynb", "out"],
        "html_theme": "basic",
    }
    out = tmp_path / "out"
    app = Sphinx(tmp_path, None, out, out / "trees", "html", options, status=None)
    app.config.html_theme_options = {
        "repository_url": theme["url"],
        "repository_branch": theme["branch"],
        "launch_buttons": launch,
    }
    app.build()
    page = (out / "index.html").read_text()
    assert (f'/blob/main/page.ipynb">{colab.TEXT}</a>' in page) == bool(launch)
    assert page.count(colab.TEXT) == len(launch)
    assert 'download=""' in page
    assert len(list((out / "_downloads").rglob("page.ipynb"))) == 1
