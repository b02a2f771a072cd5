"""Faults that are planted in pages of the built book, and which of them suite.py finds.

    python tests/browser/planted.py               all
    python tests/browser/planted.py solutions     those in pages with this in their path

The pages are changed in a copy. Each fault has a page of its own and what the suite
says of it; of the pages without a fault it must say nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build/html"
END = "</article>"


class Fault(NamedTuple):
    """What is put into a page, before the end of its text or in the place of the first
    match of `old`, and what is said then.
    """

    page: str
    new: str
    said: str
    old: str = END


DARK = "<style>html[data-theme=dark] .planted { color: #606060 }</style>"
PALE = f"{DARK}<p class=planted>Three to one</p>"
SMALL = """<style>@media (max-width: 600px) { .planted { display: block; float: left;
  font-size: 6px; height: 8px; line-height: 1; overflow: hidden; width: 8px } }
</style>"""
ALT = r'alt="(?!Logo)[^"]{40,}"'
FAULTS = [
    Fault("book/lenet.html", 'alt=""', "image has alt text", ALT),
    Fault("book/vgg.html", PALE, "color-contrast"),
    Fault(
        "book/nin.html",
        "<table><tr><td style='min-width: 430px'>Too wide for a phone</table>",
        "no table is cut",
    ),
    Fault("book/zfnet.html", "<a href='#nowhere'>dead</a>", "a place on it"),
    Fault("book/alexnet.html", "<a href='gone.html'>dead</a>", "link leads to a page"),
    Fault(
        "book/solutions/vgg.html",
        f"<details><summary>More</summary>{PALE}</details>",
        "color-contrast",
    ),
    Fault(
        "book/solutions/lenet.html",
        f"{SMALL}<a class=planted href='#'>a</a><a class=planted href='#'>b</a>",
        "target-size",
    ),
    Fault(
        "book/googlenet.html",
        "<script>if (location.protocol === 'file:') planted();</script>",
        "no console error",
    ),
    Fault(
        "book/training.html",
        "<img alt='A logo' src='https://example.org/logo.png'>",
        "no request to another host",
    ),
    Fault(
        "book/initialization.html",
        '<p><span class="math notranslate nohighlight">\\(\\frac{1\\)</span></p>',
        "formula set",
    ),
    Fault(
        "book/comparison.html",
        "<details><summary>More</summary><p hidden>Nothing</p></details>",
        "fold opens",
    ),
    Fault("book/instructor/vgg.html", "<img alt='Gone' src='gone'>", "image loaded"),
    Fault(
        "book/degradation.html",
        "<div style='min-width: 500px'>Wider than a phone</div>",
        "no horizontal scrolling",
    ),
    Fault("book/glossary.html", "<button></button>", "button-name"),
    Fault(
        "slides/resnet.html",
        "<div class='body'><p style='font-size: 10px'>Small</p>",
        "nothing on slides is cut or small",
        "<div class=[\"']body[\"']>",
    ),
]


def main() -> None:
    """Plant all at once, look at these pages, and say what was found."""
    asked = sys.argv[1:] or [""]
    faults = [each for each in FAULTS if any(name in each.page for name in asked)]
    with tempfile.TemporaryDirectory(dir=HTML.parent) as folder:
        copy = Path(folder) / "html"
        shutil.copytree(HTML, copy, copy_function=os.link)  # pages are replaced
        for fault in faults:
            page = copy / fault.page
            text = page.read_text(encoding="utf-8")
            kept = f"\n{END}" if fault.old == END else ""
            changed = re.sub(
                fault.old, lambda _, f=fault, k=kept: f.new + k, text, count=1
            )
            if changed == text:
                sys.exit(f"there is no place for a fault in {fault.page}")
            page.unlink()  # or the original would change, too
            page.write_text(changed, encoding="utf-8")
        decks = {Path(fault.page).name for fault in faults if "slides" in fault.page}
        for deck in (copy / "slides").glob("*.html"):
            if deck.name not in decks:
                deck.unlink()
        names = [fault.page.replace("slides/", "book/") for fault in faults]
        suite = [sys.executable, str(Path(__file__).with_name("suite.py"))]
        command = [*suite, "--html", str(copy), *names]
        done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if ": " in line]
    missed = []
    for fault in faults:
        page = Path(fault.page).name if "slides" in fault.page else fault.page
        about = [line for line in lines if line.startswith(page) and fault.said in line]
        print(f"{'found ' if about else 'MISSED'} {fault.page}: {fault.said}")
        missed += [] if about else [fault]
    print(f"{len(faults) - len(missed)} of {len(faults)} faults were found")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
