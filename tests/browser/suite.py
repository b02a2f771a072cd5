"""Read the built book as readers do: every page in Chromium, wide and narrow, light and
dark, from a server and from disk; then its quizzes and its slides.

    python tests/browser/suite.py           all pages
    python tests/browser/suite.py lenet     those with this in their path
    python tests/browser/suite.py --times   how long each kind of check took, too

A page is loaded once from a server, narrow and dark, and becomes wide, light and dark
again where it stands; what folds is opened on the way. Then it is loaded from disk,
without formulas. Several browsers share the pages.

It wants `_build/html` (make slides) and Chromium: the one that CHROMIUM names, or the
system's. `make browser` sees to both.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import quizzes
import slides
import yaml
from common import AXE, program
from lab import LAB, experiments
from playground import PAGE, play
from playwright.sync_api import Browser, Error, Page, Playwright, sync_playwright

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("look.js").read_text(encoding="utf-8")
REPOSITORY = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))[
    "repository"
]
NAME = REPOSITORY["url"].rpartition("/")[2]  # GitHub serves a project under its name
WIDE, NARROW = 1400, 390
# What axe looks for in each view: everything once, then what a view can change.
# Contrasts take most of its time: look.js marks one element of each kind of text, which
# speaks for all of that kind, in all views of a page.
LAYOUT = ["target-size", "scrollable-region-focusable"]
CONTRAST = ["color-contrast"]
RULES: dict[tuple[int, str], list[str] | None] = {
    (NARROW, "dark"): CONTRAST + LAYOUT,
    (WIDE, "light"): None,  # all
    (WIDE, "dark"): CONTRAST,
}
MARKED = (
    """axe.configure({ rules: [{ id: "color-contrast", selector: "[data-kind]" }] })"""
)
STILL = """addEventListener("DOMContentLoaded", () => {
  const still = document.createElement("style");
  const none = "transition: none !important; animation: none !important";
  still.textContent = `*, ::before, ::after { ${none} }`;
  document.head.append(still);
});"""
# Browsers at a time: one more than cores, since each of them waits now and then.
JOBS = min(os.cpu_count() or 1, 4) + 1
HEAVIEST = 1_000_000  # bytes of a page and its images
LONG = "book/resnet.html"  # with everything that paper does not show
SEARCHES = {"shortcut": "resnet.html", "bottleneck": "resnet.html"}


class Report:
    """What was checked, and what was wrong."""

    def __init__(self) -> None:
        self.checks: Counter[str] = Counter()
        self.faults: list[str] = []
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add how long it takes to the seconds of `what`."""
        start = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - start

    def expect(self, good: object, where: str, what: str, found: object = "") -> None:
        """Count one check of `what`; a fault if it is not `good`."""
        self.checks[what] += 1
        if not good:
            self.faults.append(f"{where}: {what}: {found}")
            print(self.faults[-1], flush=True)

    def none(self, found: list[str], where: str, what: str) -> None:
        """One check that nothing was found."""
        self.expect(not found, where, what, "; ".join(map(str, found)))

    def twice(self, check: Callable[[Report], None], where: str) -> None:
        """Add what `check` finds. If that is a fault, look again: what is not found
        the second time was a busy machine's, and is printed only.
        """
        for _ in range(2):
            found = Report()
            try:
                check(found)
            except Error as error:  # of the browser, such as a wait without end
                found.expect(False, where, "no error of the browser", error)
            if not found.faults:
                break
            print(f"looking again at {where}", flush=True)
        self.checks += found.checks
        self.seconds += found.seconds
        self.faults += found.faults


class Handler(SimpleHTTPRequestHandler):
    """The book as GitHub serves it: under its name, with its own page for what is not
    there, and to be kept for ten minutes.
    """

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix(f"/{NAME}"))

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "max-age=600")
        super().end_headers()

    def send_error(self, code: int, *_: object) -> None:
        content = (Path(self.directory) / "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Visit:
    """A window of the browser, and what went wrong in it. No other host can be reached
    from it (see `launch`): what is asked of one is written down. Without `formulas`,
    what sets them is not loaded.
    """

    def __init__(
        self, browser: Browser, base: str, width: int, *, formulas: bool = True
    ) -> None:
        self.base, self.width, self.theme = base, width, "dark"
        self.formulas = formulas
        self.errors: list[str] = []
        self.failed: list[str] = []
        self.foreign: list[str] = []
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=self.theme
        )
        if base.startswith("http"):
            context.grant_permissions(["clipboard-read", "clipboard-write"])
        if not formulas:
            context.route("**/mathjax/**", lambda route: route.abort())
        context.on("request", self._request)
        context.on("requestfailed", lambda request: self._fail(request.url))
        context.on("response", self._response)
        # Colors that are on their way are not those of a theme, nor are those of a fold
        # that fades in.
        context.add_init_script(STILL)
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._console)

    @property
    def view(self) -> str:
        """What it is called in messages."""
        return f"{self.width} {self.theme}"

    def turn(self, width: int, theme: str) -> None:
        """Make it wide or narrow, light or dark, where it stands."""
        if width != self.width:
            self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=theme)
        self.page.wait_for_function(
            "theme => (document.documentElement.dataset.theme ?? theme) === theme",
            arg=theme,
        )
        self.width, self.theme = width, theme

    def open(self, path: str) -> None:
        """Go there, as wide and as light as it is, and wait until formulas are set."""
        for found in (self.errors, self.failed, self.foreign):
            found.clear()
        self.page.goto(urljoin(self.base, path), timeout=300_000)
        self.page.evaluate("window.MathJax?.startup?.promise")

    def loaded(self, path: str, report: Report) -> None:
        """Nothing went wrong since the page was opened."""
        where = f"{path} ({self.view}, {self.base.split(':')[0]})"
        report.none(self.errors, where, "no console error")
        report.none(self.failed, where, "no failed request")
        report.none(self.foreign, where, "no request to another host")

    def _request(self, request) -> None:
        own = self.base, "data:", "blob:", "about:"
        if not request.url.startswith(own):
            self.foreign.append(request.url)

    def _fail(self, url: str) -> None:
        if not self._spared(url):
            self.failed.append(url)

    def _response(self, response) -> None:
        if response.status >= 400:
            self.failed.append(f"{response.status} {response.url}")

    def _console(self, message) -> None:
        if message.type == "error" and not self._spared(message.location["url"]):
            self.errors.append(message.text)

    def _spared(self, url: str) -> bool:
        """What this window does without; and what browsers ask for by themselves."""
        blocked = not self.formulas and "/mathjax/" in url
        return blocked or url.endswith("/favicon.ico")


def look(visit: Visit, path: str, report: Report) -> dict:
    """What every page must be; gives what `look.js` found on it."""
    where = f"{path} ({visit.view})"
    visit.open(path)
    found = visit.page.evaluate(SCRIPT)
    visit.loaded(path, report)
    for image in found["images"]:
        report.expect(image["loaded"], where, "image loaded", image["src"])
        report.expect(image["alt"], where, "image has alt text", image["src"])
    for drawing in found["drawings"]:
        report.expect(drawing["name"], where, "drawing has a title", drawing["id"])
    for formula in found["formulas"]:
        report.expect(formula["set"], where, "formula set", formula["source"])
    if "solutions/" not in path:
        for figure in found["figures"]:
            good = re.match(r"Figure \d+\. \S", figure["caption"])
            report.expect(good, where, "figure has number and caption", figure["what"])
    room(visit, path, report)
    return found


def room(visit: Visit, path: str, report: Report) -> None:
    """What is on a page has room in this view."""
    found = visit.page.evaluate("bookRoom()")
    where = f"{path} ({visit.view})"
    report.none(found["wider"], where, "no horizontal scrolling")
    report.none(found["cut"], where, "no table is cut")


def axe(visit: Visit, path: str, report: Report) -> None:
    """No fault of accessibility that axe-core calls serious or critical."""
    if (visit.width, visit.theme) not in RULES:
        return
    if not visit.page.evaluate("'axe' in window"):
        visit.page.evaluate(AXE)
        visit.page.evaluate(MARKED)
    rules = RULES[visit.width, visit.theme]
    where = f"{path} ({visit.view})"
    violations = []
    if visit.page.evaluate("bookMark()") or rules != CONTRAST:
        if (visit.width, visit.theme) == [*RULES][-1]:
            visit.page.evaluate("bookPrune()")
        # What is preloaded is for a rule on style sheets that is off by default.
        options = {"resultTypes": ["violations"], "preload": False}
        violations = visit.page.evaluate(
            """options => axe.run(document, options)
                 .then(({ violations }) => violations)""",
            {**options, **({"runOnly": rules} if rules else {})},
        )
    visit.page.evaluate("bookUnmark()")
    faults = [
        f"{fault['id']} {[node['target'] for node in fault['nodes']][:4]}"
        for fault in violations
        if fault["impact"] in ("serious", "critical")
    ]
    report.none(faults, where, "no serious fault found by axe")


def use(visit: Visit, path: str, found: dict, report: Report, html: Path) -> None:
    """What is clicked: copy buttons, folds, and where the launch buttons point."""
    page = visit.page
    if found["codes"]:
        report.expect(found["codes"] == found["copies"], path, "a copy button each")
        button = page.locator("button.copybtn:visible").first
        wanted = button.evaluate(
            "b => document.querySelector(b.dataset.clipboardTarget).innerText"
        )
        button.scroll_into_view_if_needed()
        button.click(force=True)
        copied = page.evaluate("navigator.clipboard.readText()")
        report.expect(copied.strip() == wanted.strip(), path, "copied", copied)
    for good in page.evaluate("bookFolds()"):
        report.expect(good, path, "fold opens")
    source = path.removesuffix(".html")
    launch = [link for link in found["links"] if "colab.research.google.com" in link]
    if (ROOT / f"{source}.ipynb").exists():
        place = REPOSITORY["url"].removeprefix("https://github.com/")
        branch = REPOSITORY["branch"]
        folder = f"https://colab.research.google.com/github/{place}/blob/{branch}"
        wanted = {f"{folder}/{source}.ipynb"}
        exercises = f"book/exercises/{Path(source).name}.ipynb"
        if (ROOT / exercises).exists():
            wanted.add(f"{folder}/{exercises}")
        if "/OWNER/" in REPOSITORY["url"]:
            wanted = set()  # a placeholder leads nowhere
        report.expect(set(launch) == wanted, path, "opens on Colab", launch)
    places = [
        html / unquote(urlsplit(image["src"]).path).removeprefix(f"/{NAME}/")
        for image in found["images"]
        if image["src"].startswith(visit.base)
    ]
    there = [html / path, *filter(Path.is_file, places)]
    weight = sum(place.stat().st_size for place in there)
    report.expect(weight < HEAVIEST, path, "lighter than a megabyte", weight)


def search(visit: Visit, report: Report) -> None:
    """The search finds what it should."""
    for word, page in SEARCHES.items():
        visit.open(f"search.html?q={word}")
        link = visit.page.locator(f"#search-results a[href*='{page}']").first
        try:
            link.wait_for(timeout=30_000)  # results come one after another
            good = True
        except Error:
            good = False
        where = f"search for {word} ({visit.base.split(':')[0]})"
        report.expect(good and not visit.errors, where, "search finds", visit.errors)


def resolve(base: str, pages: dict[str, dict], report: Report, html: Path) -> None:
    """Links into the book lead to a page that is there, and to a place on it."""
    ids = {urljoin(base, path): set(found["ids"]) for path, found in pages.items()}
    for path, found in pages.items():
        for link in sorted(set(found["links"])):
            address, anchor = urldefrag(link)
            if not address.startswith(base):
                continue
            address = address.split("?")[0]
            there = address in ids or (html / address.removeprefix(base)).is_file()
            report.expect(there, path, "link leads to a page", link)
            if anchor and address in ids:
                good = unquote(anchor) in ids[address]
                report.expect(good, path, "link leads to a place on it", link)


def not_there(browser: Browser, base: str, report: Report, html: Path) -> None:
    """A page that is not there, however deep, needs no other file and leads home: in
    the folder of a project, and at the root of a site.
    """
    root = base.removesuffix(f"{NAME}/")
    for start in (base, root):
        visit = Visit(browser, start, NARROW)
        for path in ("nowhere.html", "book/nowhere/deep.html", "404.html"):
            where = f"{start}{path}"
            visit.open(path)
            missing = path != "404.html"
            report.none(
                visit.failed[missing:], where, "404: no failed request but itself"
            )
            heading = visit.page.locator("h1").first.inner_text()
            report.expect("not" in heading, where, "404: says so", heading)
            home = visit.page.locator("a").first.evaluate("a => a.href")
            good = (
                home.startswith(start) and (html / home.removeprefix(start)).is_file()
            )
            report.expect(good, where, "404: leads home", home)
        visit.page.evaluate(SCRIPT)
        for view in RULES:
            visit.turn(*view)
            axe(visit, "404.html", report)
        visit.page.context.close()


def in_print(visit: Visit, path: str, report: Report) -> None:
    """On paper there is the text, and nothing to click."""
    visit.open(path)
    visit.page.emulate_media(media="print")
    for part in (".bd-sidebar-primary", ".bd-header-article", "button.copybtn"):
        for each in visit.page.locator(part).all()[:3]:
            report.expect(not each.is_visible(), part, "not printed")
    visit.page.emulate_media(media="screen")


def launch(playwright: Playwright, path: str) -> Browser:
    """A browser of its own, which finds no other host than this one."""
    return playwright.chromium.launch(
        executable_path=path,
        args=[
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            *([] if os.getuid() else ["--no-sandbox"]),
        ],
    )


class Reader:
    """A browser, with a window on the pages that a server gives, and a narrow one on
    those of the disk.
    """

    def __init__(self, browser: Browser, base: str, html: Path) -> None:
        self.browser, self.html = browser, html
        self.served = Visit(browser, base, NARROW)
        self.disk = Visit(browser, f"{html.as_uri()}/", NARROW, formulas=False)

    def read(self, path: str, pages: dict[str, dict], report: Report) -> None:
        """All checks of a page; what is on it becomes one of `pages`."""
        visit = self.served
        first, *others = RULES
        # Not the page before, of which little is left: its scripts may miss something.
        visit.page.goto("about:blank")
        visit.turn(*first)
        with report.timed("look"):
            pages[path] = found = look(visit, path, report)
        with report.timed("axe"):
            axe(visit, path, report)
        for view in others:
            with report.timed("room"):
                visit.turn(*view)
                room(visit, path, report)
            with report.timed("axe, all rules" if RULES[view] is None else "axe"):
                axe(visit, path, report)
            if RULES[view] is None:
                with report.timed("use"):
                    use(visit, path, found, report, self.html)
        with report.timed("disk"):
            self.disk.open(path)
            self.disk.loaded(path, report)
        if self.disk.page.query_selector("fieldset.quiz"):
            with report.timed("quizzes"):
                faults = quizzes.answer(self.disk.page, Path(path).stem)
            report.none(faults, path, "the quiz answers")

    def look_around(self, report: Report) -> None:
        """Paper, the search, an address that leads nowhere, and formulas from disk."""
        in_print(self.served, LONG, report)
        whole = Visit(self.browser, self.disk.base, NARROW)
        look(whole, LONG, report)
        whole.page.context.close()
        for visit in (self.served, self.disk):
            search(visit, report)
        not_there(self.browser, self.served.base, report, self.html)


#: What a reader does, and how it is called.
Task = tuple[str, Callable[[Reader, Report], None]]


def work(path: str, base: str, html: Path, todo: list[Task], report: Report) -> None:
    """Do what is at the end of `todo` until nothing is left."""
    with sync_playwright() as playwright:
        reader = Reader(launch(playwright, path), base, html)
        while todo:
            name, task = todo.pop()
            report.twice(partial(task, reader), name)
        reader.browser.close()


def of_pages(paths: list[str], pages: dict[str, dict], html: Path) -> Iterator[Task]:
    """Each page, the longest last; and what depends on none."""

    def page(path: str) -> Task:
        return path, lambda reader, report: reader.read(path, pages, report)

    yield from map(page, sorted(paths, key=lambda path: (html / path).stat().st_size))
    yield "search and 404", lambda reader, report: reader.look_around(report)


def of_what_is_live(paths: list[str], base: str, html: Path) -> Iterator[Task]:
    """The convolution to play with, and the lab, from disk and from a server."""

    def live(check: Callable, origin: str) -> Task:
        def task(reader: Reader, report: Report) -> None:
            with report.timed(f"live: {check.__name__}"):
                check(reader.browser, origin, report)

        return f"{check.__name__} ({origin.split(':')[0]})", task

    if PAGE in paths:
        yield live(play, base)
    if LAB in paths:
        for origin in (f"{html.as_uri()}/", base):
            for check in experiments(origin):
                yield live(check, origin)


def of_slides(paths: list[str], html: Path) -> Iterator[Task]:
    """The decks of these pages."""

    def deck(path: Path) -> Task:
        def task(reader: Reader, report: Report) -> None:
            with report.timed("slides"):
                faults = slides.check(reader.browser, [path])
            report.none(faults, path.name, "nothing on slides is cut or small")

        return f"the slides of {path.stem}", task

    for path in map(html.joinpath, paths):
        name = html / "slides" / path.name
        if path.parent.name == "book" and name.is_file() and name.stem != "index":
            yield deck(name)


def main() -> None:
    """Visit the pages, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--html", type=Path, default=ROOT / "_build/html")
    arguments = parser.parse_args()
    html, start, report = arguments.html.resolve(), time.perf_counter(), Report()
    paths = [
        path
        for each in sorted(html.rglob("*.html"))
        if not (path := each.relative_to(html).as_posix()).startswith(
            ("_static", "slides/")
        )
        and path not in ("index.html", "404.html")  # one leads on, one is tried below
        and (not arguments.names or any(name in path for name in arguments.names))
    ]
    if not paths:
        sys.exit(f"no page{' of these names' * bool(arguments.names)} in {html}")
    if not (html / "slides").is_dir():
        sys.exit("There are no slides: make slides")
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(html))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/{NAME}/"
    browser = program()
    pages: dict[str, dict] = {}
    todo = [
        *of_slides(paths, html),
        *of_pages(paths, pages, html),
        *of_what_is_live(paths, base, html),
    ]
    with ThreadPoolExecutor(JOBS) as pool:
        each = partial(work, browser, base, html, todo, report)
        for done in [pool.submit(each) for _ in range(JOBS)]:
            done.result()
    resolve(base, pages, report, html)
    if arguments.times:
        for what, seconds in report.seconds.most_common():
            print(f"{seconds:6.1f} s {what}")
    for what, count in report.checks.items():
        print(f"{count:6} {what}")
    for fault in report.faults:
        print(fault)  # once more: a log may have lost its middle
    print(
        f"{len(paths)} pages, {report.checks.total()} checks,"
        f" {len(report.faults)} faults, {time.perf_counter() - start:.0f} s"
    )
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
