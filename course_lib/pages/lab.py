"""The place where networks run in the page: a table and a drawing, which the scripts of
the book, ``book/_static/lab-*.js``, turn into what readers can change. Chapter: Lab.
"""

from __future__ import annotations

import re
from html import escape

import torch
import torch.nn.functional as F

from course_lib.arguments import check_one_of
from course_lib.data import fashion_mnist
from course_lib.data.fashion import CLASSES
from course_lib.diagram import draw
from course_lib.lab import NETS, network
from course_lib.pages.results import recorded

#: The test images that the table has, by their numbers in the test set.
SHOWN = (0, 1, 4)

#: What the page can be asked for: a state as the page itself writes it in its address.
STATE = re.compile(r"net=[\w%-]+(&\w+=[\w.-]+)*")


class Lab:
    """The networks of the page: what each says of a few test images.

    `state` is what the page opens with, in the words of its address, such as
    ``net=resnet&image=3``.

    Raises: ValueError for another `state`, or a network that is not there.
    """

    def __init__(self, state: str = "net=lenet") -> None:
        if not STATE.fullmatch(state):
            raise ValueError(
                f"state must be like net=resnet&image=3&noise=0.5, got {state!r}"
            )
        self.net = state.split("&")[0].removeprefix("net=")
        check_one_of(tuple(NETS), net=self.net)
        self.state = state
        test = fashion_mnist().test
        chosen = torch.tensor(SHOWN)
        self.labels = [CLASSES[label] for label in test.labels[chosen]]
        x, _ = next(type(test)(test.images[chosen], test.labels[chosen]).batches(9))
        with torch.inference_mode():
            self.answers = {name: F.softmax(network(name)(x), dim=1) for name in NETS}

    def __repr__(self) -> str:
        return f"Lab of {len(NETS)} networks"

    def _repr_html_(self) -> str:
        titles = ["network", "accuracy"]
        titles += [f"image {k}: {label}" for k, label in enumerate(self.labels)]
        head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
        rows = "\n".join(map(self._row, NETS))
        drawing = draw(network(self.net), (1, 28, 28), legend=False)
        return (
            f'<div class="lab" data-state="{escape(self.state)}">\n'
            '<p>The networks run in the page of the book, <a href="lab.html">The lab'
            "</a>. What they say of three test images, and their accuracy on all"
            " 10,000:</p>\n"
            f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
            f"</table>\n{drawing._repr_html_()}</div>\n"
        )

    def _row(self, name: str) -> str:
        row = next(row for row in recorded("lab") if row["net"] == NETS[name])
        cells = [f"{float(row['int8_accuracy']):.3f}"]
        for shares in self.answers[name]:
            share, answer = shares.max(dim=0)
            cells.append(f"{CLASSES[answer]}, {100 * share:.0f} %")
        data = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        return f'<tr><th scope="row">{escape(NETS[name])}</th>{data}</tr>'
