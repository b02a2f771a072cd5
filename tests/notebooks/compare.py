"""What counts as the same output: text exactly, numbers within a band, images as
the eye sees them. Each function says why not, or None.
"""

import base64
import difflib
import html
import io
import re

import numpy as np
from PIL import Image

#: A number as programs print it: 10,000, .5, 1.e-05, 2E-05, and with the minus of
#: typesetting. Digits in a name, a size, a version or a date (conv2, ResNet-18, 3x3,
#: 1.2.3, 2024-01-15) are none, nor are nan and inf: they are words, and compared
#: exactly. What joins two numbers, as in 1-2, is no sign, except in 1-2j.
NUMBER = re.compile(
    r"""
    (?: (?<=[\d.]) [-+\u2212] (?= [\d.]+ (?:e[-+]?\d+)? j\b )
      | (?<! [\w.] ) (?: (?<! [)\]] ) [-+\u2212] )?
    )
    (?<! [^\W\d_][-\u2212] )
    (?! \d+x\d | 0x[\da-f] | 0[ob]\d )
    (?! \d{4}-\d\d-\d\d(?!\d) | (?<=\d{4}-)\d\d-\d\d(?!\d) ) (?<! \d{4}-\d\d- )
    (?: (?: \d{1,3} (?:[,_\u00a0\u2009\u202f]\d{3})+ (?!\d) | \d+ ) (?:\.\d+)? | \.\d+ )
    (?: \.?e[-+\u2212]?\d+ )?
    (?! \d | \.\d )
    """,
    re.VERBOSE | re.IGNORECASE,
)

#: What separates thousands, and how `float` wants a minus.
PLAIN = str.maketrans("\u2212", "-", ",_\u00a0\u2009\u202f")

#: How a value is shown beside `text/plain`. A band is for it, too.
RICH = ("text/html", "text/latex", "text/markdown")

#: An image differs if a block of so many pixels a side is brighter or darker by so
#: much, of 1: antialiasing and a shift by one pixel stay below. Or if all of it is.
BLOCK, LOCAL, GLOBAL = 24, 0.055, 0.02

#: What could run in a reader's browser.
ACTIVE = re.compile(r"<script\b|<\w[^<>]*\son\w+\s*=", re.IGNORECASE)

#: The outputs that are not compared: what a widget shows is not in the notebook.
WIDGET = "application/vnd.jupyter.widget-view+json"


def parts(outputs):
    """What is compared of the outputs of a cell, as (kind, content) in order."""
    found = []
    for output in outputs:
        if output.output_type == "stream":
            found += [] if output.name == "stderr" else [("stdout", output.text)]
        elif output.output_type == "error":
            found.append(("error", f"{output.ename}: {output.evalue}"))
        elif WIDGET not in output.data:
            found += sorted(output.data.items())
    return found


def banded(outputs):
    """The kind of output that a band is for: what is printed, or else the value."""
    kinds = [kind for kind, _ in parts(outputs)]
    return "stdout" if "stdout" in kinds else "text/plain"


def active(outputs):
    """The first thing in `outputs` that could run."""
    for kind, content in parts(outputs):
        if kind == "application/javascript":
            return kind
        rich = kind in ("text/html", "image/svg+xml", "text/markdown")
        if rich and (found := ACTIVE.search(content)):
            return f"{found[0][:60]} in {kind}"
    return None


def difference(stored, new, band=None, measured=False):
    """Why the outputs `new` are not the `stored` ones; None if they are.

    With a `band`, numbers may differ; an image that is `measured` may, but in size.
    """
    expected, got = parts(stored), parts(new)
    kinds = [kind for kind, _ in expected], [kind for kind, _ in got]
    if got and not expected:
        return f"no output is stored, it was stripped or deleted; got {kinds[1]}"
    if kinds[0] != kinds[1]:
        return f"other outputs\nexpected {kinds[0]}\ngot      {kinds[1]}"
    for (kind, left), (_, right) in zip(expected, got, strict=True):
        if kind in ("image/png", "image/jpeg"):
            why = image_difference(left, right, measured)
        elif band is not None and kind == banded(stored):
            why = number_difference(left, right, band)
        elif band is not None and kind in RICH and banded(stored) == "text/plain":
            why = rich_difference(left, right, band)
        else:
            why = None if left == right else text_difference(left, right)
            if why and band is not None:
                why += f"\nthe band of the cell is for {banded(stored)}"
        if why:
            return f"{kind}: {why}"
    return None


def text_difference(left, right):
    """The lines that differ, shortened around the first difference."""
    left, right = str(left).splitlines(), str(right).splitlines()
    diff = difflib.unified_diff(left, right, "expected", "got", n=0, lineterm="")
    lines = [line for line in diff if not line.startswith("@@")]
    if max(map(len, lines), default=0) > 200:  # a drawing has everything in one line
        pair = next(pair for pair in zip(left, right, strict=False) if len({*pair}) > 1)
        at = next(i for i, (a, b) in enumerate(zip(*pair, strict=False)) if a != b)
        cut = [line[max(at - 60, 0) : at + 60] for line in pair]
        lines = [f"expected ...{cut[0]}...", f"got      ...{cut[1]}..."]
    return "\n".join(["not the same", *lines[:20]])


def values(text):
    """The numbers in `text`."""
    return [float(number.translate(PLAIN)) for number in NUMBER.findall(text)]


def words(text):
    """What is around the numbers. One that is longer by a digit moves its column, so
    spaces do not count; nor does the point of one without decimals, as in "[1. 2.5]".
    """
    first, *others = NUMBER.split(text)
    others = [re.sub(r"^\.(?!\w|\.)|^\.(?=j\b)", "", part) for part in others]
    return [[word for word in part.split(" ") if word] for part in (first, *others)]


def bands(text, band):
    """A band for each number in `text`.

    `band` is one for all; a list with one for each; or, by what a line begins with,
    either of these for the numbers of that line, and zero for those of other lines.

    Raises: ValueError if it does not fit to `text`.
    """
    count = len(values(text))
    if isinstance(band, dict):
        names = {str(name): value for name, value in band.items()}
        each, used = [], {""}
        for line in text.splitlines():
            used.add(name := max(_beginnings(line, names), key=len, default=""))
            each += bands(line, names.get(name, 0))
        if unused := names.keys() - used:
            raise ValueError(f"no line begins with {', '.join(sorted(unused))}")
        return each
    if isinstance(band, list):
        if len(band) != count:
            raise ValueError(f"{len(band)} bands for {count} numbers: {text.strip()}")
        return band
    return [float(band)] * count


def _beginnings(line, names):
    return [name for name in names if re.match(rf"\s*{re.escape(name)}(?!\w)", line)]


def number_difference(left, right, band):
    """The lines with a number outside its band, or that differ in a word."""
    if words(left) != words(right):
        return text_difference(left, right)
    try:
        allowed = iter(bands(left, band))
    except ValueError as error:
        return f"the band of the cell does not fit: {error}"
    wrong = []
    for old, new in zip(_lines(left), _lines(right), strict=True):
        for a, b in zip(values(old), values(new), strict=True):
            limit = next(allowed)
            if a != b and not abs(a - b) <= limit + 1e-9:
                wrong.append(
                    f"expected {old.strip()}\ngot      {new.strip()}\n"
                    f"         {a:g} and {b:g} differ by {abs(a - b):.3g},"
                    f" the band is {limit:g}"
                )
    return "\n".join(["numbers outside their bands", *wrong]) if wrong else None


def rich_difference(left, right, band):
    """The same for what markup shows; tags and their attributes must not differ."""
    tags = [re.findall(r"<[^<>]*>", markup) for markup in (left, right)]
    if tags[0] != tags[1]:
        return text_difference(left, right)
    return number_difference(_shown(left), _shown(right), band)


def _shown(markup):
    """What a reader sees of `markup`: each row of a table is a line."""
    markup = re.sub(r"<style\b.*?</style>", "", markup, flags=re.DOTALL)
    rows = re.split(r"</tr>|<br\s*/?>", markup) if "<tr" in markup else [markup]
    if "<tr" in markup:
        rows = [" ".join(row.split()) for row in rows]
    return html.unescape(re.sub(r"<[^<>]*>", " ", "\n".join(rows)))


def _lines(text):
    """The lines that have numbers."""
    return [line for line in text.splitlines() if NUMBER.search(line)]


def image_difference(left, right, measured=False):
    """How one image differs from another to the eye, or, if it shows what was
    `measured`, in its size.
    """
    left, right = _image(left), _image(right)
    if left.size != right.size:
        return f"other size\nexpected {left.size} pixels\ngot      {right.size}"
    if measured:
        return None
    apart = np.abs(_blocks(left) - _blocks(right))
    if apart.max() > LOCAL or apart.mean() > GLOBAL:
        row, column = np.unravel_index(apart.max(2).argmax(), apart.shape[:2])
        return (
            f"the image changed, most around pixel ({column * BLOCK}, {row * BLOCK})"
            f"\nby {apart.max():.2f}, the band is {LOCAL}"
            f"\non average by {apart.mean():.4f}, the band is {GLOBAL}"
        )
    return None


def _image(content):
    return Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")


def _blocks(image):
    """The mean color of each block of pixels."""
    return np.asarray(image.reduce(BLOCK), dtype=float) / 255
