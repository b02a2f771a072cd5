"""The parts of the lab in other chapters, each by keys alone on a narrow page: nothing
is loaded before it is near, a question is answered first, and without a script there
are a sentence and the static figure.
"""

from __future__ import annotations

import gzip
import re
from functools import cache
from html import unescape
from urllib.parse import urljoin
from urllib.request import urlopen

from common import LAB, axe, to, window
from playwright.sync_api import Browser, Page

#: The most bytes that a part may add to a page, as web servers send it and as it is.
LARGEST_SENT, LARGEST = 450e3, 600e3

#: What reads all that is said in a part.
SAID = """() => [...document.querySelectorAll(".lab-piece, .lab-piece [aria-label]")]
  .map(each => each.ariaLabel ?? each.innerText).join("\\n")"""

#: What changes the image or the network.
CONTROL = ".lab-piece fieldset:not(.lab-question) :is(input, select)"

#: What has been loaded for a part: its scripts, which hold all there is. (Of files, the
#: browser keeps no list of what was loaded.)
LOADED = """() => [...document.scripts].map(({ src }) => src)
  .filter(src => /_static\\/(lab\\/|lab-)/.test(src))"""


@cache
def texts(base: str) -> dict[str, str]:
    """The pages that the table of contents leads to, by their addresses."""
    lab = urljoin(base, LAB)
    with urlopen(lab) as file:
        found = {lab: file.read().decode()}
    for link in re.findall(
        r'<a class="reference internal" href="([^"#]+)"', found[lab]
    ):
        address = urljoin(lab, link)
        with urlopen(address) as file:
            found[address] = file.read().decode()
    return found


def linked(base: str) -> list[str]:
    """The states of the lab that the pages link to."""
    found = {
        urljoin(address, unescape(link))
        for address, text in texts(base).items()
        for link in re.findall(r'href="([^"]*lab\.html\?[^"]+)"', text)
    }
    return sorted(found)


def there(base: str) -> list[str]:
    """The pages that have a part."""
    return [address for address, text in texts(base).items() if "data-piece=" in text]


def pieces(browser: Browser, base: str, report) -> None:
    """All of them: by keys, light and dark, where they are served; that they open and
    unlock, where they are files.
    """
    report.expect(len(there(base)) >= 7, LAB, "parts in seven chapters", there(base))
    files = base.startswith("file:")
    context = window(browser, 360, 800)
    for address in there(base):
        where = f"{address.removeprefix(base)} (360 {'file' if files else 'served'})"
        page = context.new_page()
        page.goto(address, wait_until="domcontentloaded", timeout=300_000)
        one(page, where, report)
        page.close()
    context.close()


def one(page: Page, where: str, report) -> None:
    """A part, from its question to what it changes."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    place = page.locator(".lab").first
    before = page.evaluate(LOADED)
    report.none(before, where, "nothing of a part is loaded before it is near")
    place.scroll_into_view_if_needed()
    page.wait_for_function(
        "() => document.querySelector('.lab-verdict')?.textContent", timeout=60_000
    )
    weigh(page, where, report)
    state = place.get_attribute("data-state")
    link = page.locator(".lab-piece a", has_text="Open in the lab").get_attribute(
        "href"
    )
    report.expect(link == f"lab.html?{state}", where, "opens in the same state", link)
    able = f"document.querySelectorAll('{CONTROL}:enabled').length"
    asked = page.locator(".lab-question").count()
    report.expect(asked == 1, where, "a part asks first", asked)
    report.expect(page.evaluate(able) == 0, where, "waits for the guess", state)
    if "served" in where:
        by_keys(page, where, report)
    else:
        page.locator(".lab-question button").first.click()
        locked = page.locator(".lab-locked").count()
        report.expect(not locked, where, "a guess unlocks a part", locked)
    report.none(errors, where, "no error in a part")
    wide = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    report.expect(wide[0] <= wide[1], where, "a part fits a narrow page", wide)


def by_keys(page: Page, where: str, report) -> None:
    """A guess, a control, and the buttons; axe looks at it in light and in dark."""
    able = f"document.querySelectorAll('{CONTROL}:enabled').length"
    # From the first control in front of it, by the tab key.
    page.evaluate(
        "document.querySelector('.lab').closest('section').querySelector('a').focus()"
    )
    to(page, ".lab-question button")
    page.keyboard.press("Enter")
    guess = page.locator(".lab-question [role=status]").inner_text()
    report.expect("Your guess" in guess, where, "takes the guess by keys", guess)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_function(
            "theme => document.documentElement.dataset.theme === theme", arg=theme
        )
        faults = axe(page, theme)
        report.none(faults, where, f"no serious fault of axe in a part, {theme}")
    said = page.evaluate(SAID)
    if page.evaluate(able):
        to(page, CONTROL)
        kind = page.evaluate("document.activeElement.type")
        keys = {"checkbox": ["Space"], "range": ["ArrowRight"] * 4}
        for key in keys.get(kind, ["ArrowDown"]):
            page.keyboard.press(key)
        page.wait_for_function(f"said => ({SAID})() !== said", arg=said, timeout=20_000)
        report.expect(True, where, "a control is reached and used by keys")
    buttons(page, where, report)


def buttons(page: Page, where: str, report) -> None:
    """What takes longer: measuring, the evidence, all eight."""
    for text, done in {
        "Measure on 200 images": "/200 images: accuracy/.test(said)",
        "Where is the evidence": "/196 of 196 squares/.test(said)",
        "All eight networks": "/of 8 say/.test(said)",
    }.items():
        button = page.locator(".lab-piece button", has_text=text)
        if button.count():
            button.focus()
            page.keyboard.press("Enter")
            page.wait_for_function(
                "() => { const said = document.querySelector('.lab-piece').innerText;"
                f" return {done}; }}",
                timeout=120_000,
                polling=100,  # not in each frame: reading lays the page out anew
            )
            report.expect(True, where, "a button of a part, by keys")


def weigh(page: Page, where: str, report) -> None:
    """What a part has added to its page."""
    sent = whole = 0
    for address in page.evaluate(LOADED):
        with urlopen(address) as file:
            content = file.read()
        whole += len(content)
        sent += len(gzip.compress(content, 6))
    report.expect(whole > 100e3, where, "a part is loaded when it is near", whole)
    report.expect(sent < LARGEST_SENT, where, "a part is light when sent", sent)
    report.expect(whole < LARGEST, where, "a part is light", whole)
    print(f"  {where}: adds {whole / 1000:.0f} kB, sent as {sent / 1000:.0f} kB")


def blocked(browser: Browser, base: str, report) -> None:
    """Each script in turn, in one chapter after the other."""
    scripts = ("lab.js", "lab-run.js", "lab-page.js", "lab/first.js", "lab/*.js")
    context = window(browser, 360, 800)
    for script, address in zip(scripts, there(base), strict=False):
        page = context.new_page()
        page.route(f"**/_static/{script}*", lambda route: route.abort())
        page.goto(address, wait_until="domcontentloaded", timeout=300_000)
        place = page.locator(".lab").first
        place.scroll_into_view_if_needed()
        where = f"{address.removeprefix(base)} without {script}"
        if script != "lab.js":  # without which nothing can say anything
            page.wait_for_function(
                "document.querySelector('.lab').textContent.includes('did not load')",
                timeout=20_000,
            )
        for part in (".lab table", ".lab .drawing", ".lab a[href*='lab.html?']"):
            shown = page.locator(part).first.is_visible()
            report.expect(shown, where, "the static figure stays", part)
        page.close()
    context.close()
