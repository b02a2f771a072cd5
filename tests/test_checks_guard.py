"""What may not be called is seen, however it is called."""

import importlib
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.checks.exercises import EXERCISES
from course_lib.checks.guard import FAMILIES, WORDS, watched
from course_lib.checks.judge import rows
from course_lib.convolution import output_size
from course_lib.resnet import Residual
from tools import exercises

X = torch.randn(1, 2, 6, 6)
WEIGHT = torch.randn(3, 2, 3, 3)
LEAF = torch.randn(3, requires_grad=True)


def hidden(x, weight):
    try:
        return F.conv2d(x, weight)
    except BaseException:
        return None


def loss():
    return LEAF.square().sum()


def differentiated():
    return torch.nn.grad.conv2d_input(X.shape, WEIGHT, torch.ones(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("banned", "call", "named"),
    [
        ("convolution", lambda: F.conv2d(X, WEIGHT), "F.conv2d"),
        ("convolution", lambda: torch.conv2d(X, WEIGHT), "F.conv2d"),
        ("convolution", lambda: nn.Conv2d(2, 3, 3)(X), "F.conv2d"),
        ("convolution", lambda: hidden(X, WEIGHT), "F.conv2d"),
        ("convolution", lambda: nn.Conv3d(1, 1, 1)(X[None]), "F.conv3d"),
        (
            "convolution",
            lambda: F.conv_transpose2d(X, WEIGHT.transpose(0, 1)),
            "F.conv_transpose2d",
        ),
        ("convolution", differentiated, "convolution_backward"),
        ("dropout", lambda: F.dropout(X), "F.dropout"),
        ("dropout", lambda: nn.Dropout2d()(X), "F.dropout2d"),
        ("dropout", lambda: torch.ops.aten.dropout(X, 0.5, True), "F.dropout"),
        ("dropout", lambda: F.dropout_(X), "F.dropout_")
        if hasattr(F, "dropout_")
        else (
            "dropout",
            lambda: torch.dropout_(X.clone(), 0.5, True),
            "torch.dropout_",
        ),
        ("normalization", lambda: nn.GroupNorm(1, 2)(X), "F.group_norm"),
        ("normalization", lambda: nn.BatchNorm2d(2)(X), "F.batch_norm"),
        ("normalization", lambda: torch.layer_norm(X, (6,)), "F.layer_norm"),
        ("pooling", lambda: F.max_pool2d(X, 2), "max_pool2d"),
        ("pooling", lambda: nn.AdaptiveAvgPool2d(1)(X), "adaptive_avg_pool2d"),
        ("autograd", lambda: torch.autograd.grad(loss(), LEAF), "torch.autograd.grad"),
        ("autograd", lambda: loss().backward(), "torch.autograd.backward"),
        ("autograd", lambda: torch.autograd.backward(loss()), "autograd.backward"),
        ("autograd", lambda: torch.func.grad(torch.sum)(X), "torch.autograd.grad"),
        (
            "autograd",
            lambda: torch.func.vjp(torch.square, X)[1](X),
            "torch.autograd.grad",
        ),
        (
            "course_lib.convolution.output_size",
            lambda: output_size(9, 3),
            "output_size",
        ),
        ("course_lib.resnet.Residual", lambda: Residual(nn.Identity()), "Residual"),
    ],
)
def test_it_is_seen(banned, call, named):
    with watched([banned]) as seen:
        call()
    assert len(seen) >= 1
    assert named in seen[0]


def test_it_is_seen_below_the_functions():
    weight = WEIGHT.clone().requires_grad_()
    y = F.conv2d(X, weight).sum()
    with watched(["convolution"]) as seen:
        y.backward()
    assert seen == ["torch.ops.aten.convolution_backward"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.linear(X, torch.ones(6, 6)),
        lambda: F.unfold(X, 3),
        lambda: torch.einsum("nchw,dc->ndhw", X, torch.ones(2, 2)),
        lambda: X.mean((2, 3)),
        lambda: torch.bernoulli(torch.rand(3)),
        lambda: torch.rand_like(X) < 0.5,
    ],
)
def test_what_may_be_called(call):
    with watched([*FAMILIES, "course_lib.resnet.Residual"]) as seen:
        call()
    assert seen == []


def test_nothing_is_watched_if_nothing_is_banned():
    with watched([]) as seen:
        F.conv2d(X, WEIGHT)
    assert seen == []


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), watched(["convolution"]):
        _ = 1 / 0


def test_what_exercises_ban_is_there():
    """Under the name of the file that it stands in, which is what is seen."""
    rows([text.stem for text in exercises.texts()])
    banned = {name for each in EXERCISES.values() for name in each.banned}
    assert banned
    assert all(WORDS[name] for name in FAMILIES.keys() & banned)
    for name in banned - FAMILIES.keys():
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        assert found.__module__ == module, name
        assert inspect.isfunction(found) or "__init__" in vars(found), name
