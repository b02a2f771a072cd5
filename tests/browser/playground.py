"""The convolution to play with, as readers use it: by keys alone, by touch, without
motion, and where there is no script.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urljoin

from common import window
from playwright.sync_api import Browser, Locator, Page

PAGE = "book/convolution.html"
CASES = json.loads(Path(__file__).with_name("convolution.json").read_text("utf-8"))


def play(browser: Browser, base: str, report) -> None:
    """All of it; `report` is that of the suite."""
    address = urljoin(base, PAGE)
    by_keys(browser, address, report)
    by_touch(browser, address, report)
    without_motion(browser, address, report)
    without_script(browser, address, report)


def by_keys(browser: Browser, address: str, report) -> None:
    """Every choice of the file is made by keys, and its outputs are PyTorch's."""
    page = opened(browser, address)
    page.locator(".playground select").first.focus()  # all that follows are keys
    for number, case in enumerate(CASES):
        choose(page, "Image", case["image"])
        choose(page, "Input channels", str(case["inputs"]))
        choose(page, "Output channels", str(len(case["kernels"])))
        for name in ("padding", "stride", "dilation"):
            choose(page, name.capitalize(), str(case[name]))
        for output, kernel in enumerate(case["kernels"]):
            if len(case["kernels"]) > 1:
                choose(page, "Kernels of output", str(output))
            for channel in range(case["inputs"]):
                if case["inputs"] > 1:
                    choose(page, "Kernel of input", str(channel))
                press(page, kernel)
        press(page, "Fill the output")
        where = f"{PAGE} (keys, case {number})"
        good = same(outputs(page), case["output"])
        report.expect(good, where, "outputs are PyTorch's", outputs(page))
    typed(page, report)
    moved(page, report)
    page.context.close()


def typed(page: Page, report) -> None:
    """A weight that is typed counts: twice the identity is twice the image."""
    for label, text in (("Image", "a boot"), ("Input channels", "1")):
        choose(page, label, text)
    choose(page, "Output channels", "1")
    for name, text in (("Padding", "0"), ("Stride", "1"), ("Dilation", "1")):
        choose(page, name, text)
    reach(page, page.locator(".kernels input").first)
    press(page, "identity")
    middle = page.locator(".kernels input").nth(4)
    reach(page, middle)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("2")
    press(page, "Fill the output")
    image = json.loads(page.locator(".playground").get_attribute("data-images"))
    rows = [row[1:-1] for row in image["a boot"][0][1:-1]]
    good = same(outputs(page), [[[2 * value for value in row] for row in rows]])
    report.expect(good, PAGE, "a typed weight counts", outputs(page))


def moved(page: Page, report) -> None:
    """Arrow keys move the window, not the page, and the output fills on the way."""
    press(page, "Empty it")
    reach(page, page.locator(".playground .window"))
    before = page.evaluate("scrollY")
    page.keyboard.press("Home")
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    status = page.locator(".playground [role=status]").inner_text()
    report.expect("row 2, column 0:" in status, PAGE, "arrow keys move it", status)
    report.expect(page.evaluate("scrollY") == before, PAGE, "and not the page")
    filled = page.locator(".playground .outputs td[data-value]")
    seen = filled.evaluate_all("all => all.map(td => td.dataset.to)")
    path = {"0,0", "0,1", "1,1", "2,1", "2,0"}
    report.expect(path <= set(seen), PAGE, "the output fills on the way", seen)
    product = page.locator(".playground .product p").last.inner_text()
    end = status.rpartition(" ")[2]
    report.expect(product.endswith(f"= {end}"), PAGE, "the product is there", product)
    sums = product.split("=")[0].count("\N{MULTIPLICATION SIGN}")
    report.expect(sums == 9, PAGE, "each weight is in it once", product)


def by_touch(browser: Browser, address: str, report) -> None:
    """On a phone, a tap moves the window, and so does a finger that slides."""
    page = opened(browser, address, has_touch=True, is_mobile=True)
    cells = page.locator(".playground .outputs td")
    cells.nth(7).scroll_into_view_if_needed()
    page.touchscreen.tap(*center(cells.nth(7)))  # of five a row
    status = page.locator(".playground [role=status]")
    said = status.inner_text()
    report.expect("row 1, column 2:" in said, PAGE, "a tap moves it", said)
    pixels = page.locator(".playground .window td")
    pixels.nth(8).scroll_into_view_if_needed()
    start, end = center(pixels.nth(8)), center(pixels.nth(24))  # of seven a row
    session = page.context.new_cdp_session(page)
    for kind, spot in (
        ("touchStart", start),
        ("touchMove", end),
        ("touchEnd", None),
    ):
        points = [dict(zip("xy", spot, strict=True))] if spot else []
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    said = status.inner_text()
    report.expect("row 2, column 2:" in said, PAGE, "a finger slides it", said)
    page.context.close()


def without_motion(browser: Browser, address: str, report) -> None:
    """Nothing moves by itself for who asked for that; else it does."""
    for motion, wanted in (("reduce", False), ("no-preference", True)):
        page = opened(browser, address, reduced_motion=motion)
        there = page.get_by_role("button", name="Let it slide").is_visible()
        report.expect(there == wanted, PAGE, f"slides by itself: {motion}")
        if there:
            page.get_by_role("button", name="Let it slide").click()
            filled = page.locator(".playground .outputs td[data-value]")
            filled.nth(2).wait_for(timeout=5_000)
            page.get_by_role("button", name="Stop").click()
        page.context.close()


def without_script(browser: Browser, address: str, report) -> None:
    """There is the drawing, with its caption."""
    page = opened(browser, address, java_script_enabled=False)
    drawing = page.locator(".playground svg[role=img]")
    report.expect(drawing.is_visible(), PAGE, "a drawing without a script")
    figure = page.locator("figure:has(.playground) figcaption")
    caption = figure.inner_text()
    report.expect(caption.startswith("Figure"), PAGE, "with its caption", caption)
    report.none(page.locator(".playground table").all(), PAGE, "and nothing to click")
    page.context.close()


def opened(browser: Browser, address: str, **options) -> Page:
    """The page on a phone's width."""
    page = window(browser, 390, **options).new_page()
    page.goto(address, timeout=300_000)
    return page


def center(cell: Locator) -> tuple[float, float]:
    """The middle of a cell in the window of the browser."""
    box = cell.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def reach(page: Page, target: Locator) -> None:
    """Go there with the tab key, from somewhere in the playground."""
    steps = target.evaluate(
        """each => {
          const all = [...document.querySelectorAll(
            ".playground :is(select, button, input, [tabindex])"
          )].filter((one) => one.offsetParent && !one.disabled);
          return all.indexOf(each) - all.indexOf(document.activeElement);
        }"""
    )
    for _ in range(abs(steps)):
        page.keyboard.press("Tab" if steps > 0 else "Shift+Tab")
    if not target.evaluate("each => each === document.activeElement"):
        raise AssertionError(f"the tab key does not lead to {target}")


def choose(page: Page, label: str, text: str) -> None:
    """Type what a list is to show."""
    box = page.locator(".playground label", has_text=label).locator("select").first
    reach(page, box)
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")


def press(page: Page, name: str) -> None:
    """A button, by its name."""
    reach(
        page, page.locator(".playground").get_by_role("button", name=name, exact=True)
    )
    page.keyboard.press("Enter")


def outputs(page: Page) -> list[list[list[float]]]:
    """What stands in the tables of the output."""
    return page.locator(".playground .outputs table").evaluate_all(
        "all => all.map(table => [...table.rows].map(row =>"
        " [...row.cells].map(td => Number(td.dataset.value ?? NaN))))"
    )


def same(found, expected) -> bool:
    """Whether two outputs are equal, but for rounding."""
    flat = [
        [value for channel in each for row in channel for value in row]
        for each in (found, expected)
    ]
    shapes = [
        [[len(row) for row in channel] for channel in each]
        for each in (found, expected)
    ]
    return shapes[0] == shapes[1] and all(
        abs(ours - theirs) < 1e-5 for ours, theirs in zip(*flat, strict=True)
    )
