"""What stands in the place of the networks that run in the page: its numbers are those
of the networks, and it is what the scripts read.
"""

import re

import pytest
import torch

from course_lib import fashion_mnist, recorded
from course_lib.lab import NETS, network
from course_lib.pages import lab
from course_lib.pages.lab import Lab


@pytest.fixture(scope="module")
def html():
    return Lab("net=vgg&image=3&noise=0.5")._repr_html_()


def test_the_table(html):
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    assert [name for name, _ in rows] == [*NETS.values()]
    data = fashion_mnist()
    x, y = next(data.test.batches(10))
    for (title, cells), name in zip(rows, NETS, strict=True):
        accuracy, *answers = re.findall(r"<td>(.*?)</td>", cells)
        (row,) = recorded("lab", net=title)
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
    assert 'href="lab.html"' in html
    assert repr(Lab()) == "Lab of 8 networks"


@pytest.mark.parametrize("state", ["", "lenet", "net=lenet&", "net=le'net", "net=a b"])
def test_what_is_no_state(state):
    with pytest.raises(ValueError, match=r"state must be like net=resnet.*, got"):
        Lab(state)


def test_there_is_no_such_network():
    with pytest.raises(ValueError, match=r"net must be one of .*; got 'vit'"):
        Lab("net=vit")
