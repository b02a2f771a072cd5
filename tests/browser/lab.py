"""The networks that run in the page, as readers use them: by keys alone, with a file of
their own, on a slow machine, without one script or without any.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, wraps
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from urllib.request import urlopen

from common import LAB, axe, to, window
from pieces import blocked, linked, pieces
from playwright.sync_api import Browser, Page

LOGITS = json.loads(Path(__file__).with_name("lab.json").read_text("utf-8"))

#: Times slower -> the most milliseconds for one image: of one network, and of all.
BUDGETS = {1: (16, 100), 4: (50, 400)}

#: A machine that does something else as well is given so many times as long.
PATIENCE = 3

LARGEST_HEAP = 60e6  # bytes, with all networks open
LARGEST_PAGE = 250e3  # bytes of text, scripts, weights and images before a click
LARGEST_SENT = 120e3  # bytes of all that, compressed as servers do

SCRIPTS = ("lab.js", "lab-run.js", "lab-page.js", "lab/first.js", "lab/lenet.js")

#: What a part of the test is called with: a browser, where the book is, and a report.
Check = Callable[[Browser, str, Any], None]


def experiments(base: str) -> Iterator[Check]:
    """All of it. What does not depend on how the page came is tried once."""
    on_disk = by_keys, own_network, strangers_network, own_image
    served = speed, by_pytorch, views, states
    if base.startswith("file:"):
        yield from map(at_lab, on_disk)
    else:
        yield from map(at_lab, served)
        yield blocked
    yield pieces
    yield at_lab(without)


def at_lab(check: Check) -> Check:
    """The same for the address of the book."""

    @wraps(check)
    def begun(browser: Browser, base: str, report) -> None:
        check(browser, urljoin(base, LAB), report)

    return begun


def opened(browser: Browser, address: str, width: int = 1280, **options) -> Page:
    """The page, when its first network has answered."""
    page = window(browser, width, **options).new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address, wait_until="domcontentloaded", timeout=300_000)
    ready(page)
    return page


def ready(page: Page) -> None:
    """Wait until there is an answer."""
    page.locator(".lab").first.scroll_into_view_if_needed()
    page.wait_for_function(
        "() => document.querySelector('.lab-verdict')?.textContent", timeout=60_000
    )


def settled(page: Page, before: str) -> str:
    """The answer, when it is another one than `before`."""
    page.wait_for_function(
        "before => document.querySelector('.lab-verdict').textContent !== before",
        arg=before,
        timeout=20_000,
    )
    return page.locator(".lab-verdict").inner_text()


def by_keys(browser: Browser, address: str, report) -> None:
    """From the network to a switch, a feature map, a value, and 200 images."""
    page = opened(browser, address)
    said = page.locator(".lab-verdict").inner_text()
    page.locator(".lab-live section").first.scroll_into_view_if_needed()
    page.evaluate("document.activeElement.blur(); getSelection().removeAllRanges()")
    page.locator(".lab-live select").first.focus()  # all that follows are keys
    page.keyboard.type("ResNet")
    said = settled(page, said)
    report.expect(said.startswith("ResNet says"), LAB, "keys choose a network", said)
    to(page, ".lab-gallery button")
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    said = settled(page, said)
    report.expect("class ankle boot" in said, LAB, "arrows choose an image", said)
    to(page, "input[type=range]")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    said = settled(page, said)
    report.expect("right=4" in page.url, LAB, "arrows shift it", page.url)
    to(page, ".lab-strip:nth-child(2) button")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('.lab-board legend').textContent.includes('conv2_x')"
    )
    for _ in range(60):
        page.keyboard.press("Tab")
        text = "document.activeElement.closest('label')?.textContent.trim()"
        if page.evaluate(text) == "shortcut":
            break
    page.keyboard.press("Space")
    page.wait_for_function("location.hash.includes('changes=8d1')", timeout=5_000)
    off = page.locator(".lab-off").inner_text()
    report.expect("conv2_x: shortcut" in off, LAB, "the space bar switches off", off)
    to(page, "fieldset.lab-board button")
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash.includes('changes=8d0')", timeout=5_000)
    off = page.locator(".lab-off").inner_text()
    report.expect("residual branch" in off, LAB, "a key exchanges on and off", off)
    marked(page, report)
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash.includes('changes=8d1')", timeout=5_000)
    to(page, ".lab-maps button")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("/at=9_1_/.test(location.hash)", timeout=5_000)
    to(page, ".lab-compare")
    page.keyboard.press("Enter")
    rows = page.locator(".lab-costs tbody tr")
    rows.nth(5).wait_for(timeout=20_000)
    told = rows.first.inner_text()
    report.expect("conv" in told, LAB, "a key compares all parts", told)
    to(page, ".lab-measure")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('.lab-measured').textContent.includes('standard dev')",
        timeout=120_000,
    )
    found = page.locator(".lab-measured").inner_text()
    report.expect("200 images: accuracy" in found, LAB, "200 are measured", found)
    to(page, ".lab-off button", backwards=True)
    page.keyboard.press("Enter")
    page.wait_for_function("!location.hash.includes('changes')", timeout=5_000)
    found = page.locator(".lab-measured").inner_text()
    old = found.startswith("Measured before the last change")
    report.expect(old, LAB, "an old measurement says so", found)
    report.none(page.errors, LAB, "no error while keys are used")
    page.context.close()


def marked(page: Page, report) -> None:
    """With the residual branch of conv2_x off: the drawing, its text, and the strip."""
    drawing = page.locator(".lab-drawing")
    boxes = drawing.locator(".bb-box.off:visible")
    paths = boxes.evaluate_all("all => all.map(({ dataset }) => dataset.path)")
    expected = ["conv2_x.0.body.0.0", "conv2_x.0.body.1.0"]
    report.expect(paths == expected, LAB, "boxes that are off are marked", paths)
    said = drawing.get_attribute("aria-label")
    told = "conv2_x: residual branch" in said
    report.expect(told, LAB, "the drawing's text says what is off", said)
    stage = drawing.locator(".bb-stage:visible > text").all_text_contents()
    report.expect("conv2_x: 1 off" in stage, LAB, "and its stage how much", stage)
    strip = page.locator(".lab-strip").nth(1).inner_text()
    both = "before, " in strip and "Off: residual branch" in strip
    report.expect(both, LAB, "a strip has the largest value before and now", strip)
    image = page.locator("canvas.lab-image").first.get_attribute("aria-label")
    rows = re.search(r"rows (\d+) to (\d+)", image)
    few = rows and int(rows[2]) - int(rows[1]) <= 2  # the stem alone: 3 x 3
    report.expect(few, LAB, "the frame is that of what is on", image)


def all_open(page: Page) -> list[str]:
    """All networks and all images, loaded by their buttons; their names."""
    page.get_by_role("button", name="All 200 images").click()
    page.wait_for_function("lab.gallery.length === 200", timeout=60_000)
    page.get_by_role("button", name="All eight networks").click()
    page.wait_for_function(
        "document.querySelectorAll('.lab-eight tbody tr').length === 8", timeout=60_000
    )
    return page.evaluate("Object.keys(lab.files)")


def by_pytorch(browser: Browser, address: str, report) -> None:
    """The logits of all networks for all 200 images are PyTorch's."""
    page = opened(browser, address)
    for name in all_open(page):
        found = page.evaluate(
            """name => {
              const net = lab.open(lab.programs[name]);
              return lab.gallery.flatMap(({ bytes }) =>
                Array.from(lab.run(net, lab.altered(bytes)).at(-1)));
            }""",
            name,
        )
        data = base64.b64decode(LOGITS[name])
        expected = struct.unpack(f"<{len(data) // 4}f", data)
        largest = max(map(abs, expected))
        worst = max(abs(a - b) for a, b in zip(found, expected, strict=True)) / largest
        report.expect(worst < 1e-5, LAB, "logits are PyTorch's", f"{name}: {worst}")
    heap = page.evaluate("performance.memory.usedJSHeapSize")
    report.expect(heap < LARGEST_HEAP, LAB, "the heap is small", heap)
    page.context.close()


def content(address: str) -> bytes:
    """What is at an address."""
    with urlopen(address) as file:
        found: bytes = file.read()
    return found


def speed(browser: Browser, address: str, report) -> None:
    """How long one image takes, when the functions have been compiled; and what the
    page weighs.
    """
    page = opened(browser, address)
    parts = page.evaluate(
        """() => performance.getEntriesByType("resource").map(({ name }) => name)
          .filter((name) => /_static\\/lab/.test(name))"""
    )
    text = content(address)
    scripts = [content(part) for part in parts]
    weight = len(text) + sum(map(len, scripts))
    sent = sum(len(gzip.compress(each, 6)) for each in (text, *scripts))
    report.expect(weight < LARGEST_PAGE, LAB, "light before a click", weight)
    report.expect(sent < LARGEST_SENT, LAB, "light when it is sent", sent)
    print(
        f"  lab: {weight / 1000:.0f} kB before a click, the text {len(text) / 1000:.0f}"
        f" of them; compressed, as it is sent, {sent / 1000:.0f} kB"
    )
    names = all_open(page)
    session = page.context.new_cdp_session(page)
    for times, (one, every) in BUDGETS.items():
        session.send("Emulation.setCPUThrottlingRate", {"rate": times})
        took = page.evaluate(
            """names => {
              const nets = names.map((name) => lab.open(lab.programs[name]));
              const x = lab.altered(lab.gallery[0].bytes);
              const best = nets.map(() => Infinity);
              for (let round = 0; round < 12; round += 1) {
                nets.forEach((net, k) => {
                  const start = performance.now();
                  lab.run(net, x);
                  best[k] = Math.min(best[k], performance.now() - start);
                });
              }
              return best;
            }""",
            names,
        )
        worst = dict(zip(names, took, strict=True))
        print(
            f"  lab: {times} times slower: {sum(took):.1f} ms for all,"
            f" {max(took):.1f} ms for {max(worst, key=worst.get)}"
        )
        report.expect(max(took) < PATIENCE * one, LAB, "one network is fast", worst)
        report.expect(sum(took) < PATIENCE * every, LAB, "all are fast", worst)
    page.context.close()


def own_network(browser: Browser, address: str, report) -> None:
    """A file that a reader brings; and one that is no network."""
    page = opened(browser, address)
    said = page.locator(".lab-verdict").inner_text()
    text = page.evaluate("JSON.stringify({ ...lab.programs.lenet, title: 'Mine' })")
    program = {
        "name": "mine.js",
        "mimeType": "text/javascript",
        "buffer": f"lab.add({text});\n".encode(),
    }
    chooser = page.locator("input[accept='.js']")
    chooser.set_input_files(program)
    said = settled(page, said)
    report.expect(said.startswith("Mine says"), LAB, "opens one's own", said)
    for content in (b"alert(1)", b"lab.add({});", b'lab.add({"input":[3,8,8]});'):
        chooser.set_input_files({**program, "buffer": content})
        alert = page.locator(".lab-note[role=alert]")
        page.wait_for_function(
            "/cannot be opened/.test(document.querySelector('.lab-note').textContent)"
        )
        report.expect("mine.js" in alert.inner_text(), LAB, "refuses others", content)
        page.evaluate("document.querySelector('.lab-note').textContent = ''")
    report.none(page.errors, LAB, "no error from files")
    page.context.close()


#: What a reader does who has never seen this course: the five lines of the chapter, in
#: a process of its own, with a network of another shape than any of the course.
STRANGER = """
import sys, torch
from torch import nn
from course_lib.lab import export

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.right = nn.Conv2d(1, 4, 5, padding=2)
        self.norm, self.down = nn.BatchNorm2d(12), nn.AvgPool2d(4)
        self.last = nn.Linear(12 * 7 * 7, 10)
    def forward(self, x):
        y = torch.cat([self.left(x), self.right(x)], dim=1)
        y = self.down(torch.relu(self.norm(y)))
        return self.last((y + y).flatten(1))

torch.manual_seed(0)
net = Two()
for _ in range(3):
    net(torch.randn(8, 1, 28, 28))
export(net.eval(), sys.argv[1], title="A stranger's")
from course_lib.lab import quantized
from course_lib.pages.lab import gallery
x, _ = next(gallery().batches(1))
with torch.inference_mode():
    print(*quantized(net)(x)[0].tolist())
"""


@cache
def strangers() -> tuple[bytes, list[float]]:
    """A network from outside of the course as a file, and its logits for image 0."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "two.js"
        done = subprocess.run(
            [sys.executable, "-c", STRANGER, str(path)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        return path.read_bytes(), [float(each) for each in done.stdout.split()]


def strangers_network(browser: Browser, address: str, report) -> None:
    """It opens from a file, says what PyTorch says, and its parts can be switched."""
    content, expected = strangers()
    page = opened(browser, address)
    said = page.locator(".lab-verdict").inner_text()
    file = {"name": "two.js", "mimeType": "text/javascript", "buffer": content}
    page.locator("input[accept='.js']").set_input_files(file)
    said = settled(page, said)
    report.expect(said.startswith("A stranger's says"), LAB, "opens a stranger's", said)
    found = page.evaluate(
        """() => {
          const name = Object.keys(lab.programs).find((each) => /^own-/.test(each));
          const x = lab.altered(lab.gallery[0].bytes);
          return Array.from(lab.run(lab.open(lab.programs[name]), x).at(-1));
        }"""
    )
    pairs = zip(found, expected, strict=True)
    worst = max(abs(a - b) for a, b in pairs) / max(map(abs, expected))
    report.expect(worst < 1e-5, LAB, "a stranger's logits are PyTorch's", worst)
    page.locator(".lab-strip button", has_text="norm").click()
    page.locator("fieldset.lab-board input").first.focus()
    page.keyboard.press("Space")
    page.wait_for_function("location.hash.includes('changes=')", timeout=5_000)
    page.locator(".lab-measure").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('.lab-measured').textContent.includes('standard dev')",
        timeout=120_000,
    )
    report.none(page.errors, LAB, "no error from a stranger's network")
    page.context.close()


def own_image(browser: Browser, address: str, report) -> None:
    """Drawn by keys and by a finger; a photograph, which nobody else gets; and the map
    of the evidence, which can be stopped.
    """
    page = opened(browser, address, 390, has_touch=True)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    said = page.locator(".lab-verdict").inner_text()
    page.locator("summary", has_text="An image of your own").click()
    pad = page.locator("canvas[role=application]")
    pad.focus()
    for key in ("Space", "ArrowDown", "Space", "ArrowDown", "Space"):
        page.keyboard.press(key)
    said = settled(page, said)
    report.expect("is of class" not in said, LAB, "keys draw", said)
    page.wait_for_function("location.hash.includes('own=')", timeout=5_000)
    shared = opened(browser, f"{address}?{page.url.partition('#')[2]}")
    again = shared.locator(".lab-verdict").inner_text()
    report.expect(again == said, LAB, "a link shares a drawing", again)
    shared.context.close()
    box = pad.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    said = settled(page, said)
    blob = page.evaluate(PHOTOGRAPH)
    photograph = {"name": "photo.png", "mimeType": "image/png"}
    content = base64.b64decode(blob.partition(",")[2])
    camera = page.locator("input[accept='image/*']")
    camera.set_input_files({**photograph, "buffer": content})
    said = settled(page, said)
    report.expect("own=" not in page.url, LAB, "but no photograph", page.url)
    page.get_by_label("light and dark exchanged").click()
    said = settled(page, said)
    page.get_by_role("button", name="Empty it").click()
    said = settled(page, said)
    nothing = "of one shade: no answer to it is right" in said
    report.expect(nothing, LAB, "an image of nothing is told", said)
    camera.set_input_files({**photograph, "buffer": b"no image"})
    page.wait_for_function(
        "/no image that/.test(document.querySelector('.lab-note').textContent)"
    )
    own = [url for url in asked if not url.startswith(("blob:", "data:"))]
    report.none(own, LAB, "an image is sent nowhere")
    page.locator(".lab-gallery button").nth(8).click()
    said = settled(page, said)
    page.get_by_role("button", name="Where is the evidence").click()
    page.wait_for_function(
        "/^196 of 196/.test(document.querySelector('.lab-evidence').textContent)",
        timeout=60_000,
    )
    report.none(page.errors, LAB, "no error from images of one's own")
    page.context.close()


#: A dark rectangle on white, as a file.
PHOTOGRAPH = """() => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [300, 200];
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, 300, 200);
  context.fillStyle = "#333";
  context.fillRect(110, 30, 80, 140);
  return canvas.toDataURL();
}"""


#: Whether the page shows a state: its network and its image are those that are chosen.
SHOWN = """state => {
  const { net, image } = Object.fromEntries(new URLSearchParams(state));
  const chosen = document.querySelector(".lab-gallery [aria-pressed=true]");
  return document.querySelector(".lab-live select")?.value === net
    && chosen?.title.startsWith(`${image ?? 0}:`) && location.hash.length > 1;
}"""


def states(browser: Browser, address: str, report) -> None:
    """Each state that a text of the book links to opens, and says nothing of unknown
    parts: one of each network in a new page, which begins there, others in that page.
    """
    page = window(browser).new_page()
    links = linked(address.removesuffix(LAB))
    report.expect(len(links) > 15, LAB, "the texts link to states", len(links))
    seen = set()
    for link in links:
        state = link.partition("?")[2]
        if (net := state.partition("&")[0]) in seen:
            page.evaluate("state => { location.hash = state }", state)
        else:
            page.goto(link, wait_until="domcontentloaded")
        page.wait_for_function(SHOWN, arg=state, timeout=60_000)
        note = page.locator(".lab-note[role=alert]").inner_text()
        report.expect(not note, LAB, "a state of the text opens", f"{link}: {note}")
        wanted = set(state.split("&"))
        there = set(page.url.partition("#")[2].split("&"))
        report.expect(wanted <= there, LAB, "and is what it says", page.url)
        if net in seen:
            continue
        seen.add(net)
        top = page.evaluate("document.querySelector('.lab').getBoundingClientRect().y")
        report.expect(
            -5 < top < 300, LAB, "and the page begins there", f"{link}: {top}"
        )
    page.context.close()


def views(browser: Browser, address: str, report) -> None:
    """Wide and narrow, light and dark, with everything shown: no serious fault of axe,
    nothing wider than the window.
    """
    for width in (1280, 360):
        page = opened(browser, address, width)
        all_open(page)
        page.locator(".lab-strip button").first.click()
        page.locator(".lab-compare").click()
        page.wait_for_function("document.querySelector('.lab-costs table')")
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.wait_for_function(
                "theme => document.documentElement.dataset.theme === theme", arg=theme
            )
            where = f"{LAB} ({width} {theme})"
            faults = axe(page, theme)
            report.none(faults, where, "no serious fault of axe in the lab")
            page_ = "document.documentElement"
            wide = page.evaluate(f"[{page_}.scrollWidth, {page_}.clientWidth]")
            report.expect(wide[0] <= wide[1], where, "no horizontal scrolling", wide)
            forms = page.locator(".lab-drawing > :visible").count()
            report.expect(forms == 1, where, "one form of the drawing", forms)
        page.context.close()


def without(browser: Browser, address: str, report) -> None:
    """Each script blocked in turn leaves a sentence and the table; without any, and in
    print, there are the table and the drawing. Without its drawing, the lab works.
    """
    for script in SCRIPTS:
        page = window(browser).new_page()
        page.route(f"**/_static/{script}*", lambda route: route.abort())
        page.goto(address, wait_until="domcontentloaded", timeout=300_000)
        page.locator(".lab").first.scroll_into_view_if_needed()
        if script != "lab.js":  # without which nothing can say anything
            note = page.locator(".lab .lab-note").first
            note.wait_for(timeout=20_000)
            page.wait_for_function(
                "document.querySelector('.lab').textContent.includes('did not load')"
            )
        for part in ("table", ".drawing"):
            there = page.locator(f".lab > {part}, .lab-still {part}").first.is_visible()
            report.expect(there, LAB, f"a {part} without a script", script)
        page.context.close()
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address, timeout=300_000)
    for part in (".lab table", ".lab svg", ".lab a[href*='lab.html']"):
        there = page.locator(part).first.is_visible()
        report.expect(there, LAB, "there without scripts", part)
    page.context.close()
    page = window(browser).new_page()
    page.route("**/drawings/vgg.js*", lambda route: route.abort())
    page.goto(f"{address}?net=vgg", wait_until="domcontentloaded", timeout=300_000)
    ready(page)
    page.wait_for_function(
        "/vgg.js did not load/.test(document.querySelector('.lab-note').textContent)"
    )
    report.expect(True, LAB, "the lab works without its drawing")
    page.emulate_media(media="print")
    report.expect(
        page.locator(".lab-still table").is_visible(), LAB, "a table in print"
    )
    report.expect(
        not page.locator(".lab-live").is_visible(), LAB, "no controls in print"
    )
    page.context.close()
