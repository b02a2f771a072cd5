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


#: Code and drawings that are not the lab's become plain, of the same size: axe goes
#: through all elements of a page, wherever it looks.
PLAIN = """() => {
  const others = (selector) =>
    [...document.querySelectorAll(selector)].filter((each) => !each.closest(".lab"));
  for (const code of others("div.highlight pre")) code.textContent = code.textContent;
  for (const drawing of others("svg[role=img]")) drawing.replaceChildren();
}"""


def axe(page: Page, theme: str) -> list[str]:
    """The serious faults that axe finds in the lab. In the dark, which comes after the
    light, colors alone are others.
    """
    options = {"resultTypes": ["violations"], "preload": False}  # as in suite.py
    if theme == "dark":
        options["runOnly"] = ["color-contrast"]
    else:
        page.evaluate(PLAIN)
        page.evaluate(AXE)
    violations = page.evaluate(
        """options => axe.run({ include: [['.lab']] }, options)
             .then(({ violations }) => violations)""",
        options,
    )
    return [
        f"{fault['id']} {[node['target'] for node in fault['nodes']][:4]}"
        for fault in violations
        if fault["impact"] in ("serious", "critical")
    ]
