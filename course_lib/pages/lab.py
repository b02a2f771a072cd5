"""The place where networks run in the page: a table and a drawing, which the scripts of
the book, ``book/_static/lab-*.js``, turn into what readers can change. Chapter: Lab.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from functools import cache
from html import escape

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.arguments import check_one_of
from course_lib.data import Split, fashion_mnist
from course_lib.data.fashion import CLASSES
from course_lib.data.files import VARIABLE
from course_lib.diagram import draw
from course_lib.lab import NETS, network, trained

#: The test images that the table has, by their numbers in the test set.
SHOWN = (0, 1, 4)

#: What the page writes in its address behind the network.
STATE = re.compile(r"(\w+=[\w.-]+(&\w+=[\w.-]+)*)?")

#: What can be done to the image in a part of the page.
CONTROLS = ("right", "down", "turn", "noise", "contrast", "cover")


def _test_split() -> Split:
    """The test images, which are read once from each source."""
    return _read_once(os.environ.get(VARIABLE))


@cache
def _read_once(_source: str | None) -> Split:
    return fashion_mnist().test


def places(per_class: int = 20) -> Tensor:
    """Where the page's images are in the test set: the first of each class in turn,
    then the second of each, and so on.

    Shape: (10 per_class,).
    """
    labels = _test_split().labels
    each = [(labels == label).nonzero()[:per_class, 0] for label in range(10)]
    return torch.stack(each, dim=1).flatten()


def gallery() -> Split:
    """The 200 test images of the page, in its order."""
    test, chosen = _test_split(), places()
    return Split(test.images[chosen], test.labels[chosen])


class Lab:
    """The networks of the page: what each says of a few test images.

    The page opens with `net` in a `state`, in the words of its address, such as
    ``image=3&noise=0.5``. With `show`, the stages whose feature maps are to be seen, it
    is a part for another chapter, of one network: with some `controls` of the image,
    some `switches` of the stage that the state is about, by their texts, the window
    behind one `value`, and buttons to look for the `evidence`, with a square that
    covers every part of the image in turn, and to `measure` the network on 200 images.
    With `eight`, a part has all networks on one image. If it is to `ask` something
    first, all that changes the image or the network waits for one of the `answers`.

    Raises: ValueError for a network, state, stage or control that is not there, or a
        question without answers.
    """

    def __init__(
        self,
        net: str = "lenet",
        state: str = "",
        *,
        show: Sequence[str] = (),
        controls: Sequence[str] = (),
        switches: Sequence[str] = (),
        value: bool = False,
        evidence: bool = False,
        measure: bool = False,
        eight: bool = False,
        ask: str = "",
        answers: Sequence[str] = (),
    ) -> None:
        check_one_of(tuple(NETS), net=net)
        if not STATE.fullmatch(state):
            raise ValueError(f"state must be like image=3&noise=0.5, got {state!r}")
        if bool(ask) != bool(answers):
            raise ValueError(f"a question needs answers: got {ask!r} and {answers!r}")
        for control in controls:
            check_one_of(CONTROLS, control=control)
        self.module = network(net)
        stages = tuple(name for name, _ in self.module.named_children())
        for stage in show:
            check_one_of(stages, stage=stage)
        self.net, self.state = net, f"net={net}{'&' if state else ''}{state}"
        self.piece = {
            "show": [*show],
            "controls": [*controls],
            "switches": [*switches],
            "value": value,
            "evidence": evidence,
            "measure": measure,
            "eight": eight,
            "ask": ask,
            "answers": [*answers],
        }
        self.rows = [net] if show and not eight else [*NETS]
        self._look_at_images()

    def _look_at_images(self) -> None:
        """What the networks say of the images in the table."""
        test = _test_split()
        chosen = torch.tensor(SHOWN)
        self.labels = [CLASSES[label] for label in test.labels[chosen]]
        x, _ = next(Split(test.images[chosen], test.labels[chosen]).batches(9))
        with torch.inference_mode():
            self.answers = {n: F.softmax(network(n)(x), dim=1) for n in self.rows}

    def __repr__(self) -> str:
        return f"Lab of {', '.join(NETS[name] for name in self.rows)}"

    def _repr_html_(self) -> str:
        titles = ["network", "accuracy"]
        titles += [f"image {k}: {label}" for k, label in enumerate(self.labels)]
        head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
        rows = "\n".join(map(self._row, self.rows))
        drawing = draw(self.module, (1, 28, 28), direction="right", legend=False)
        piece = json.dumps(self.piece, separators=(",", ":"))
        part = (
            f' data-piece="{escape(piece)}"'
            if self.piece["show"] or self.piece["eight"]
            else ""
        )
        return (
            f'<div class="lab" data-state="{escape(self.state)}"{part}>\n'
            f'<p><a href="lab.html?{escape(self.state)}">In the lab</a>, a page of the'
            " book, networks run in the browser. What is said of three test images, and"
            " the accuracy on all 10,000:</p>\n"
            f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
            f"</table>\n{drawing._repr_html_()}</div>\n"
        )

    def _row(self, name: str) -> str:
        cells = [f"{float(trained(name)['int8_accuracy']):.3f}"]
        for shares in self.answers[name]:
            share, answer = shares.max(dim=0)
            cells.append(f"{CLASSES[answer]}, {100 * share:.0f} %")
        data = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        return f'<tr><th scope="row">{escape(NETS[name])}</th>{data}</tr>'
