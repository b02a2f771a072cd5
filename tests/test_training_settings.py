from dataclasses import MISSING, FrozenInstanceError, asdict, fields, replace
from enum import IntEnum

import numpy as np
import pytest
import torch

from course_lib import Settings
from course_lib.training import settings as module
from course_lib.training.processes import Processes


class Numbers(IntEnum):
    FOUR = 4


def test_what_a_chapter_does_not_say():
    assert asdict(Settings(epochs=3)) == {
        "epochs": 3,
        "lr": 0.1,
        "batch_size": 128,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "label_smoothing": 0.1,
        "augment": False,
        "size": None,
        "seed": 0,
    }
    with pytest.raises(TypeError, match="epochs"):
        Settings()


def test_every_field_has_its_rule():
    assert list(module._RULES) == [field.name for field in fields(Settings)]
    for field in fields(Settings):
        if field.default not in (MISSING, None):
            assert isinstance(field.default, module._RULES[field.name][0])


def test_they_do_not_change_but_may_be_replaced():
    settings = Settings(epochs=3)
    with pytest.raises(FrozenInstanceError):
        settings.lr = 0.2
    assert replace(settings, lr=0.2) == Settings(epochs=3, lr=0.2)
    with pytest.raises(ValueError, match=r"lr must .*, got -1"):
        replace(settings, lr=-1)


WHOLE = ["4", 1.0, True, float("nan"), float("inf"), None, [4], torch.tensor([4]), 1j]
REAL = ["0.1", True, float("nan"), float("inf"), -float("inf"), None, 10**400, 1j]


@pytest.mark.parametrize(
    ("name", "words", "bad"),
    [
        ("epochs", "an integer of at least 1", [0, -3, *WHOLE]),
        ("lr", "a finite number above 0", [0, -0.1, *REAL]),
        ("batch_size", "an integer of at least 1", [0, -1, *WHOLE]),
        ("momentum", "0 or in [0.05, 0.95)", [-0.1, 0.01, 0.95, 1, *REAL]),
        ("weight_decay", "a finite number of at least 0", [-1e-9, *REAL]),
        ("label_smoothing", "in [0, 1]", [-0.1, 1.1, *REAL]),
        ("augment", "True or False", [0, 1, "True", None, np.int64(1)]),
        ("size", "None or an integer of at least 1", [0, *WHOLE[:5]]),
        ("seed", "an integer in [0, 2**32)", [-1, 2**32, *WHOLE]),
    ],
)
def test_what_a_field_cannot_be(name, words, bad):
    for value in bad:
        with pytest.raises(ValueError) as error:  # noqa: PT011
            Settings(**({"epochs": 1} | {name: value}))
        assert str(error.value) == f"{name} must be {words}, got {value!r}"


@pytest.mark.parametrize(
    "good",
    [
        {"epochs": 1, "lr": 1e-9, "batch_size": 1, "momentum": 0, "weight_decay": 0},
        {"momentum": 0.05, "label_smoothing": 0, "size": 1, "seed": 2**32 - 1},
        {"momentum": 0.9499, "label_smoothing": 1, "lr": 1e9, "augment": True},
    ],
)
def test_what_is_just_allowed(good):
    settings = asdict(Settings(**({"epochs": 1} | good)))
    assert {name: settings[name] for name in good} == good


@pytest.mark.parametrize(
    ("name", "given", "plain"),
    [
        ("epochs", np.int64(4), 4),
        ("epochs", torch.tensor(4), 4),
        ("epochs", np.array(4), 4),
        ("epochs", Numbers.FOUR, 4),
        ("lr", np.float32(0.25), 0.25),
        ("lr", torch.tensor(0.25), 0.25),
        ("lr", 1, 1.0),
        ("augment", np.True_, True),
        ("size", np.uint8(28), 28),
    ],
)
def test_scalars_become_numbers_of_python(name, given, plain):
    """Which a checkpoint can hold; it is read without running any code."""
    value = getattr(Settings(**({"epochs": 1} | {name: given})), name)
    assert value == plain
    assert type(value) is type(plain)


def test_the_largest_seed_can_be_drawn_from():
    Processes(rank=1000, world_size=1001).seed(module.SEEDS - 1, epoch=10_000)
