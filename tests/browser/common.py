"""What the tests in the browser share."""

from __future__ import annotations

import os
import shutil
from importlib.resources import files

from playwright.sync_api import Browser, BrowserContext, Page

LAB = "book/lab.html"
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def program() -> str:
    """The browser: what CHROMIUM names, or the system's. The one that has no windows
    does the same in three fifths of the time.

    Raises: SystemExit if there is none.
    """
    chosen = os.environ.get("CHROMIUM")
    for name in [chosen] if chosen else ["chromium-headless-shell", "chromium"]:
        if found := shutil.which(name):
            return found
    raise SystemExit("no Chromium: set CHROMIUM to where it is")


def window(
    browser: Browser, width: int = 1280, height: int = 900, **options
) -> BrowserContext:
    """A window in which no formula is set: suite.py looks at those."""
    viewport = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, **options)
    context.route("**/mathjax/**", lambda route: route.abort())
    return context


def to(page: Page, selector: str, backwards: bool = False) -> None:
    """Go to a control with the tab key."""
    for _ in range(400):
        if page.evaluate("s => document.activeElement?.matches(s) ?? false", selector):
            return
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
    raise AssertionError(f"the tab key does not lead to {selector}")


def axe(page: Page) -> list[str]:
    """The serious faults that axe finds in the lab."""
    page.evaluate(AXE)
    options = {"resultTypes": ["violations"], "preload": False}  # as in suite.py
    result = page.evaluate("o => axe.run({ include: [['.lab']] }, o)", options)
    return [
        f"{fault['id']} {[node['target'] for node in fault['nodes']][:4]}"
        for fault in result["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
