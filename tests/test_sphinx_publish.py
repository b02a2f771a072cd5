"""Where the book is published, from the address of the repository."""

from types import SimpleNamespace

import pytest

pytest.importorskip("sphinx")  # where only the library is tested

from tools import sphinx_publish as publish

THEME = {
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "use_repository_button": True,
    "use_issues_button": True,
}


class Config(dict):
    """What Sphinx's has: its values as attributes, too."""

    __getattr__ = dict.__getitem__


def derived(address):
    config = Config(
        html_title="Course", html_theme_options={**THEME, "repository_url": address}
    )
    publish.derive_addresses(None, config)
    return config


def test_a_placeholder_leads_nowhere():
    theme = derived("https://github.com/OWNER/course").html_theme_options
    assert not theme["launch_buttons"]
    assert not theme["use_repository_button"]
    assert not theme["use_issues_button"]


def test_an_address_leads_to_the_repository():
    config = derived("https://github.com/Someone/course/")
    assert config.html_baseurl == "https://someone.github.io/course/"
    assert config.html_theme_options.items() >= THEME.items()


@pytest.mark.parametrize(("error", "written"), [(None, True), (ValueError(), False)])
def test_the_page_for_what_is_not_there_needs_no_other_file(tmp_path, error, written):
    theme = {"repository_url": "https://github.com/someone/course"}
    app = SimpleNamespace(
        builder=SimpleNamespace(format="html"),
        config=SimpleNamespace(html_theme_options=theme),
        outdir=tmp_path,
    )
    publish.write_not_found(app, error)
    assert (tmp_path / "404.html").exists() == written
    if written:
        page = (tmp_path / "404.html").read_text()
        assert 'href="/course/book/index.html"' in page
        assert "{root}" not in page
        assert "src=" not in page
        assert "<link" not in page
