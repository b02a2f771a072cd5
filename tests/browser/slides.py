"""Walk through every slide of every deck, as a teacher does, and measure.

    python tests/browser/slides.py                    all decks
    python tests/browser/slides.py resnet             this one
    python tests/browser/slides.py --screenshots FOLDER with an image of each slide

It wants `_build/html/slides` (make slides) and Chromium. At 1280 by 720 nothing may be
cut, no letter of a text or of a drawing may be smaller than 18 pixels, nothing may be
asked of another host, and what is live has to answer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import program
from playwright.sync_api import Browser, Error, Page, sync_playwright

ROOT = Path(__file__).parents[2]
DECKS = ROOT / "_build/html/slides"
SMALLEST = 18  # pixels of a letter
MEASURE = Path(__file__).with_name("slide.js").read_text(encoding="utf-8")
#: What `MEASURE` finds on each slide.
WALK = f"""(smallest) => {{
  const measure = {MEASURE.rstrip()};
  return [...Array(Reveal.getTotalSlides()).keys()].map((number) => {{
    Reveal.slide(number);
    return measure(smallest);
  }});
}}"""

#: Show the slide that an element is on; its number, from zero.
SHOW = """each => {
  const slide = Reveal.getSlides().indexOf(each.closest("section"));
  Reveal.slide(slide);
  return slide;
}"""


def walk(page: Page, path: Path, folder: Path | None) -> list[str]:
    """What is wrong with the slides of a deck, one line each."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]", state="attached", timeout=60_000)
    faults += networks(page)
    each_slide = page.evaluate(WALK, SMALLEST)
    count = len(each_slide)
    for number, found in enumerate(each_slide, 1):
        faults += [f"{path.stem} {number}: {each}" for each in found]
        if folder:
            page.evaluate("number => Reveal.slide(number)", number - 1)
            page.screenshot(path=folder / f"{path.stem}-{number:03}.png")
    faults += live(page)
    print(f"{path.stem:15}{count:4} slides, {len(faults)} faults", flush=True)
    return faults


def live(page: Page) -> list[str]:
    """Whether what else is live on the slides answers to a reader."""
    faults = []
    for piece in page.query_selector_all(".slides :is(.playground, .explorer)"):
        slide = piece.evaluate(SHOW)
        choice = piece.query_selector("select")
        if choice is None:
            faults.append(f"what is on slide {slide + 1} is not live")
            continue
        before = piece.inner_html()
        options = choice.query_selector_all("option")
        choice.select_option(index=len(options) - 1)
        try:
            page.wait_for_function(
                "([each, before]) => each.innerHTML !== before",
                arg=[piece, before],
                timeout=20_000,
            )
        except Error:
            faults.append(f"what is on slide {slide + 1} does not change")
    return faults


def networks(page: Page) -> list[str]:
    """Wait until the networks of the lab run: a figure stands in their place before."""
    faults = []
    for piece in page.query_selector_all(".slides .lab"):
        slide = piece.evaluate(SHOW)
        try:
            page.wait_for_function(
                "each => each.querySelector('.lab-verdict')?.textContent",
                arg=piece,
                timeout=60_000,
            )
        except Error:
            faults.append(f"the networks on slide {slide + 1} do not run")
    return faults


def check(browser: Browser, decks: list[Path], folder: Path | None = None) -> list[str]:
    """The faults of these decks, from disk, with no other host to be reached."""
    faults: list[str] = []
    for path in decks:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        foreign: list[str] = []
        page.on(
            "request",
            lambda request, found=foreign: (
                None
                if request.url.startswith(("file:", "data:", "blob:", "about:"))
                else found.append(request.url)
            ),
        )
        faults += walk(page, path, folder)
        faults += [f"{path.stem}: asks for {address}" for address in foreign]
        page.close()
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="decks; all, if none is named")
    parser.add_argument(
        "--screenshots", type=Path, help="a folder for images of the slides"
    )
    arguments = parser.parse_args()
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    decks = [path for path in sorted(DECKS.glob("*.html")) if path.stem != "index"]
    if arguments.names:
        decks = [path for path in decks if path.stem in arguments.names]
    if not decks:
        sys.exit("There are no slides: make slides")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program())
        faults = check(browser, decks, arguments.screenshots)
        browser.close()
    print("\n".join(faults))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
