"""The thousand classes of ImageNet, as the challenges of 2012 to 2017 had them.

``imagenet.csv`` has a line for each class, in the order of the logits: its synset,
which is one meaning of a word in WordNet, and a name. The order is that of the synsets.
They are as in timm's ``imagenet_synsets.txt`` (Apache License 2.0); the names are
torchvision's (BSD 3-clause license).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from torch import Tensor


class ImageNetClass(NamedTuple):
    """One class: a synset of WordNet 3.0 such as "n02124075", and what it is called."""

    synset: str
    name: str


@dataclass(frozen=True)
class Prediction:
    """One of the most probable classes of an image."""

    #: The index of its logit.
    target: int
    #: The probability, from the softmax over all classes.
    probability: float
    #: Its synset and its name.
    label: ImageNetClass


@cache
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """All 1,000 classes, in the order of the logits.

    >>> imagenet_classes()[285]
    ImageNetClass(synset='n02124075', name='Egyptian cat')
    """
    text = files("course_lib").joinpath("imagenet.csv").read_text(encoding="utf-8")
    return tuple(ImageNetClass(*row) for row in csv.reader(text.splitlines()))


def class_index(name: str) -> int:
    """The index of the class with that name, or with that synset.

    Raises: ValueError if no class has it.

    >>> class_index("espresso")
    967
    """
    for index, label in enumerate(imagenet_classes()):
        if name in label:
            return index
    near = [each.name for each in imagenet_classes() if name.lower() in each.name]
    hint = f"; there are {', '.join(near[:5])}" if near else ""
    raise ValueError(
        f"name must be that of a class of ImageNet, such as 'espresso', got {name!r}"
        f"{hint}"
    )


def top_classes(logits: Tensor, k: int = 5) -> list[Prediction]:
    """The `k` most probable classes of one image, the first one first.

    Shape: (1000,) or (1, 1000).
    Raises: ValueError for logits of another shape, or a `k` that is not from 1 to 1000.
    """
    known = imagenet_classes()
    if logits.numel() != len(known) or logits.dim() not in (1, 2):
        raise ValueError(
            f"logits must be those of one image, ({len(known)},) or (1, {len(known)}),"
            f" got {tuple(logits.shape)}"
        )
    if not 1 <= k <= len(known):
        raise ValueError(f"k must be from 1 to {len(known)}, got {k}")
    values, targets = logits.detach().flatten().softmax(dim=0).topk(k)
    return [
        Prediction(target, probability, known[target])
        for probability, target in zip(values.tolist(), targets.tolist(), strict=True)
    ]
