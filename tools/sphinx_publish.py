"""Where the book is published: its address, its buttons, and its page for what is not
there. All of it follows from the address of the repository in _config.yml.

Until that is set, it is a placeholder, and nothing on the pages leads there: there is
no button for Colab, and none for the repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

OWNER = "OWNER"  # of the placeholder
NOT_FOUND = Path(__file__).with_name("not_found.html")


def owner_and_name(address: str) -> tuple[str, str]:
    """Of a repository, from its address."""
    owner, *_, name = urlsplit(address).path.strip("/").split("/")
    return owner, name


def is_placeholder(address: str) -> bool:
    """Whether the address of the repository has still to be set: tools/rename.py."""
    return owner_and_name(address)[0] == OWNER


def published(address: str) -> str:
    """Where GitHub publishes the pages of a repository, from its address."""
    owner, name = owner_and_name(address)
    return f"https://{owner.lower()}.github.io/{name}/"


def derive_addresses(_app: Sphinx, config: Config) -> None:
    """Where GitHub publishes the pages of the repository, and what leads back there."""
    theme = config.html_theme_options
    config["html_baseurl"] = published(theme["repository_url"])
    config["ogp_site_url"] = config.html_baseurl
    config["ogp_site_name"] = config.html_title
    if is_placeholder(theme["repository_url"]):
        config["html_theme_options"] = {
            **theme,
            "launch_buttons": {},
            "use_repository_button": False,
            "use_issues_button": False,
        }


def write_not_found(app: Sphinx, error: Exception | None) -> None:
    """Write 404.html, which GitHub serves in any folder. It needs no other file, and
    leads home from a site's root as from the folder of a project.
    """
    if error is None and app.builder.format == "html":
        _, name = owner_and_name(app.config.html_theme_options["repository_url"])
        page = NOT_FOUND.read_text(encoding="utf-8").replace("{root}", f"/{name}/")
        Path(app.outdir, "404.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect it."""
    app.connect("config-inited", derive_addresses, priority=100)
    app.connect("build-finished", write_not_found)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
