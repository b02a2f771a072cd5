"""The costs against what was published; that it is complete, and fits on a page."""

import re
from html.parser import HTMLParser

import pytest
import torchvision

from course_lib.pages.cheatsheet import BACK, FRONT, IDEAS, SHEET, CheatSheet, _short


@pytest.fixture(scope="module")
def sheet():
    return CheatSheet()


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("VGG-16", torchvision.models.VGG16_Weights.IMAGENET1K_V1),
        ("ResNet-50", torchvision.models.ResNet50_Weights.IMAGENET1K_V1),
        ("ConvNeXt-T", torchvision.models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1),
    ],
)
def test_costs_are_what_torchvision_says(sheet, name, weights):
    parameters, macs, *_ = sheet.costs[name]
    assert parameters == f"{weights.meta['num_params'] / 1e6:.3g} M parameters"
    assert macs == f"{weights.meta['_ops']:.3g} G MACs"


def test_receptive_fields_that_are_known(sheet):
    fields = {
        name: int(side) if (side := cost[-1].split()[2].rstrip(",")) != "all" else side
        for name, cost in sheet.costs.items()
    }
    known = {"AlexNet": 195, "ZFNet": 171, "VGG-16": 212, "GoogLeNet": 715}
    assert fields.items() >= (known | {"ResNet-50": 427}).items()
    depends_on_all = {name for name, side in fields.items() if side == "all"}
    assert depends_on_all == {"SE-ResNet-50", "RegNet-Y-400MF"}


def test_every_row_has_everything():
    for idea in IDEAS.values():
        for text in (idea.why, idea.what, idea.how):
            to_do = f"IDEAS in course_lib/pages/cheatsheet.py, {idea.example}: {text!r}"
            assert not text[0].islower(), f"{to_do} begins with a capital"
            assert not text.endswith("."), f"{to_do} ends without a full stop"
            assert len(text) < 120, f"{to_do} is too long for the page"
    assert [entry.year for entry in SHEET.values()] == sorted(
        entry.year for entry in SHEET.values()
    )


class SheetPage(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.open = 0, []

    def handle_starttag(self, tag, attributes):
        self.rows += tag == "tr"
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page(sheet):
    html = sheet._repr_html_()
    page = SheetPage()
    front, back = html.split("<caption>")[1:]
    assert all(name in front for name in FRONT)
    assert all(name in back for name in BACK)
    page.feed(html)
    assert not page.open
    assert page.rows == 2 + len(SHEET)  # of which two are heads
    assert all(name in html for name in SHEET)
    assert not re.search(r"<script|\son\w+\s*=", html)


def test_text(sheet):
    lines = repr(sheet).splitlines()
    assert [line for line in lines if line.startswith("ResNet-50 (2015): 25.6 M par")]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (840, "840 "),
        (60_000, "60 k"),
        (724_406_816, "724 M"),
        (15_470_000_000, "15.5 G"),
    ],
)
def test_short_numbers(number, text):
    assert _short(number) == text
