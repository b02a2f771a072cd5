"""The settings of a training run: one object that cannot change, checked when made.

settings = Settings(epochs=4, lr=0.1)
history = fit(net, data, settings)
again = fit(net, data, dataclasses.replace(settings, seed=1))
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

Given = ParamSpec("Given")
Result = TypeVar("Result")

#: Seeds are multiplied and have to stay below 2**63: `Processes.seed`.
SEEDS = 2**32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How `fit` trains: SGD with momentum and a one-cycle learning-rate schedule.

    Scalars of NumPy and PyTorch are accepted, and become Python's own numbers.

    Raises: ValueError for a value that a field cannot have.
    """

    #: How often training goes through all training images, at least 1.
    epochs: int

    #: The highest learning rate, which the schedule reaches after a fifth of the steps;
    #: then it decreases to almost 0 (Smith and Topin 2017, arXiv:1708.07120); above 0.
    lr: float = 0.1

    #: Images per step, of all processes together, at least 1. 128 as in He et al. 2015,
    #: arXiv:1512.03385, section 4.2.
    batch_size: int = 128

    #: Nesterov momentum. It falls while the learning rate rises and rises while that
    #: falls, from 0.05 above this to 0.05 below and back (Smith 2018,
    #: arXiv:1803.09820); 0 or in [0.05, 0.95).
    momentum: float = 0.9

    #: Weight decay: so many times each weight is added to its gradient (Krizhevsky et
    #: al. 2012, section 5); at least 0.
    weight_decay: float = 5e-4

    #: Label smoothing: the share of the target probability that is spread evenly over
    #: all classes, in [0, 1] (Szegedy et al. 2015, arXiv:1512.00567, section 7).
    label_smoothing: float = 0.1

    #: Data augmentation: whether training images are shifted and flipped at random, see
    #: the split's ``batches``.
    augment: bool = False

    #: The height and width that images are resized to, at least 1; None: not resized.
    size: int | None = None

    #: Fixes the order of the images, their augmentation, and dropout; in [0, 2**32).
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            kind, wanted, allowed = _RULES[field.name]
            given = getattr(self, field.name)
            if given is None and field.default is None:
                continue
            value = _python(given)
            if not (_is_a(kind, value) and allowed(value)):
                raise ValueError(f"{field.name} must be {wanted}, got {given!r}")
            object.__setattr__(self, field.name, kind(value))


#: Field -> its type, what its value has to be, and the same as a predicate.
_RULES: dict[str, tuple[type, str, Callable[[Any], bool]]] = {
    "epochs": (int, "an integer of at least 1", lambda x: x >= 1),
    "lr": (float, "a finite number above 0", lambda x: x > 0),
    "batch_size": (int, "an integer of at least 1", lambda x: x >= 1),
    "momentum": (float, "0 or in [0.05, 0.95)", lambda x: x == 0 or 0.05 <= x < 0.95),
    "weight_decay": (float, "a finite number of at least 0", lambda x: x >= 0),
    "label_smoothing": (float, "in [0, 1]", lambda x: 0 <= x <= 1),
    "augment": (bool, "True or False", lambda _: True),
    "size": (int, "None or an integer of at least 1", lambda x: x >= 1),
    "seed": (int, "an integer in [0, 2**32)", lambda x: 0 <= x < SEEDS),
}


def _python(value: Any) -> Any:
    """A scalar of NumPy or PyTorch as Python's own; anything else as it is."""
    scalar = isinstance(value, torch.Tensor | np.ndarray | np.generic)
    return value.item() if scalar and value.ndim == 0 else value


def _is_a(kind: type[Any], value: Any) -> bool:
    """Whether `value` is a finite number of this kind; bools are no numbers."""
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    largest = sys.float_info.max  # which nan is not below, nor what no float can hold
    return isinstance(value, (kind, int)) and -largest <= value <= largest


def takes_settings(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """`function`, whose third argument is `settings`; if called in another way, its
    error says how to write them.

    Raises: TypeError, when called without a `Settings`, or with its fields one by one.
    """

    @functools.wraps(function)
    def checked(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        given: Any = args[2] if len(args) > 2 else kwargs.get("settings")
        known = [field.name for field in fields(Settings)]
        loose = {key: value for key, value in kwargs.items() if key in known}
        if loose or not isinstance(given, Settings):
            got = loose or given
            asked = got if isinstance(got, dict) else {"epochs": 1}
            written = ", ".join(f"{key}={value!r}" for key, value in asked.items())
            raise TypeError(
                f"{function.__name__} takes its settings as one object, Settings("
                f"{written}), after the network and the data; got {got!r}"
            )
        return function(*args, **kwargs)

    return checked
