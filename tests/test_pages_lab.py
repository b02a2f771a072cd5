"""What stands in the place of the networks that run in the page: its numbers are those
of the networks, and it is what the scripts read.
"""

import json
import re
from html import unescape

import pytest
import torch

from course_lib import fashion_mnist, recorded
from course_lib.lab import NETS, network
from course_lib.pages import lab
from course_lib.pages.lab import Lab


@pytest.fixture(scope="module")
def html():
    return Lab("vgg", "image=3&noise=0.5")._repr_html_()


def test_the_table(html):
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    assert [name for name, _ in rows] == [*NETS.values()]
    data = fashion_mnist()
    x, y = next(data.test.batches(10))
    for (title, cells), name in zip(rows, NETS, strict=True):
        accuracy, *answers = re.findall(r"<td>(.*?)</td>", cells)
        rows = {row["settings"]: row for row in recorded("lab", net=title)}
        row = rows.get("laptop") or rows["quick"]
        assert abs(float(accuracy) - float(row["int8_accuracy"])) <= 0.0005
        with torch.inference_mode():
            logits = network(name)(x[list(lab.SHOWN)])
        for answer, each in zip(answers, logits, strict=True):
            share = 100 * each.softmax(0).max().item()
            said, percent = answer.removesuffix(" %").split(", ")
            assert said == data.classes[each.argmax()]
            assert abs(int(percent) - share) <= 0.51
    for k in lab.SHOWN:
        assert f"{data.classes[y[k]]}</th>" in html


def test_what_the_script_reads(html):
    assert 'class="lab" data-state="net=vgg&amp;image=3&amp;noise=0.5"' in html
    assert "<svg" in html
    assert "VGG" in html
    assert 'href="lab.html?net=vgg&amp;image=3&amp;noise=0.5"' in html
    assert "data-piece" not in html
    assert repr(Lab()) == f"Lab of {', '.join(NETS.values())}"


def test_a_part_for_another_chapter():
    made = Lab(
        *("resnet", "image=9"),
        show=["conv2_x"],
        controls=["noise"],
        switches=["shortcut"],
        measure=True,
        ask="Why <so>?",
        answers=["yes", "no"],
    )
    html = made._repr_html_()
    piece = json.loads(unescape(re.search(r'data-piece="([^"]*)"', html)[1]))
    assert piece == {
        "show": ["conv2_x"],
        "controls": ["noise"],
        "switches": ["shortcut"],
        "value": False,
        "evidence": False,
        "measure": True,
        "eight": False,
        "ask": "Why <so>?",
        "answers": ["yes", "no"],
    }
    assert html.count('<tr><th scope="row">') == 1
    assert repr(made) == "Lab of ResNet small"
    made = Lab("zfnet", show=["conv1"], evidence=True)
    assert made.piece["evidence"], "and only where it is wanted"


def test_a_part_with_all_networks_has_all_rows():
    html = Lab("resnet", "image=17", controls=["noise"], eight=True)._repr_html_()
    assert json.loads(unescape(re.search(r'data-piece="([^"]*)"', html)[1]))["eight"]
    assert html.count('<tr><th scope="row">') == len(NETS)


def test_the_gallery_has_twenty_of_each_class_in_turn():
    shown = lab.gallery()
    assert shown.labels.tolist() == [*range(10)] * 20
    test = fashion_mnist().test
    first = (test.labels == 3).nonzero()[0, 0]
    assert torch.equal(shown.images[3], test.images[first])


def test_its_images_are_read_once_from_each_source(monkeypatch, sample):
    read = []
    monkeypatch.setattr(lab, "fashion_mnist", lambda: read.append(source) or sample)
    for source in ("one", "one", "another", "one"):
        monkeypatch.setenv("FASHION_MNIST", source)
        assert lab._test_split() is sample.test
    assert read == ["one", "another"]


@pytest.mark.parametrize("state", ["lenet", "image=", "image=1&", "image='", "a=b c"])
def test_what_is_no_state(state):
    with pytest.raises(ValueError, match=r"state must be like image=3.*, got"):
        Lab("lenet", state)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"net": "vit"}, r"net must be one of .*; got 'vit'"),
        ({"show": ["conv9"]}, r"stage must be one of 'c1', .*; got 'conv9'"),
        ({"controls": ["color"]}, r"control must be one of 'right', .*; got 'color'"),
        ({"ask": "Why?"}, r"a question needs answers: got 'Why\?'"),
    ],
)
def test_what_is_not_there(arguments, words):
    with pytest.raises(ValueError, match=words):
        Lab(**arguments)
