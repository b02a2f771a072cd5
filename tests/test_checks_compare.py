"""Comparing what came with what is wanted: values, modules, and what keys share."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.checks.compare import WrongAnswer, compare, same_data
from course_lib.checks.modules import module, same_function
from course_lib.checks.shared import all_with, case, refuse, without_each
from course_lib.checks.wire import Opaque


@pytest.mark.parametrize(
    ("got", "want", "said"),
    [
        ((1, 2), (1, 3), r"expected \(1, 3\), got \(1, 2\)"),
        ([1], (1, 3), r"expected \(1, 3\), got \[1\]"),
        (torch.tensor([1.0]), (1, 3), r"expected \(1, 3\), got \[1\]"),
        ([0.1234567], [0.12345], r"expected \[0.12345\], got \[0.123457\]"),
        (1e17, 2.5e16, "expected 25,000,000,000,000,000, got 100,000,000,000,000,000"),
        ((1,), (2,), r"expected \(2,\), got \(1,\)"),
        (["a" * 300], ["a" * 300 + "b"], r"expected \['aaa"),
        ("a" * 300, "b", r"got 'aaa.*\.\.\."),
        (None, 1, "it returns nothing"),
        (Opaque("function", "<f>"), 1, "a function, where an integer"),
        (True, torch.ones(2), "True or False, where a tensor"),
        ([[1], 2], torch.ones(2), "a list, where a tensor"),
        (torch.ones(2) * 1j, torch.ones(2), "a tensor of complex numbers, where"),
        (torch.tensor([1, 0]), True, "a tensor, where True or False"),
        (1.0, 2, "expected 2, got 1"),
        ("ab", "cd", "expected 'cd', got 'ab'"),
        (False, True, "expected True, got False"),
        (1, True, "an integer, where True or False"),
        (nn.ReLU(), 1, "the module ReLU, where an integer"),
        ({}, [1], "a dict, where a list"),
        (torch.ones(2), 1, "a tensor, where an integer"),
        (1, torch.ones(2), r"expected shape \(2,\), got \(\)"),
        ({"a": 1}, {"a": 2}, "expected {'a': 2}"),
        (torch.tensor(1.5), torch.tensor(2.0), "expected 2, got 1.5"),
    ],
)
def test_differences(got, want, said):
    with pytest.raises(WrongAnswer, match=said):
        compare(got, want)


def test_what_is_equal():
    compare([1, 2.0], (1, 2))
    compare(torch.Size([1, 2]), (1, 2))
    compare(torch.ones(2, dtype=torch.float64), torch.ones(2))
    compare({"a": 1}, {"a": 1})
    compare(None, None)
    compare(torch.tensor([[3]]), 3)
    compare(torch.tensor([1.0, 2.0]), (1, 2))
    compare([[1, 2], [3, 4]], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    compare(2, torch.tensor(2.0))
    compare(torch.tensor(True), True)
    compare(1e-12, 0.0)
    compare([torch.tensor(1), 2.0], (1, 2))


def test_a_secret_text():
    with pytest.raises(WrongAnswer, match="'B' is not right"):
        compare("B", "A", secret=True)


@pytest.mark.parametrize(
    ("got", "said"),
    [
        ((1, 2), "it returns 2 values, where 3 are wanted"),
        ((2, 30, 10), "these are the right values, in another order"),
        ((10, 3, 30), "the second value, 3 is too large"),
        ((9, 2, 31), "the first value, 9 is too small; the third value, 31 is too la"),
        ((10, "2", 30), "the second value is a string, where an integer is wanted"),
        (np.nan, "a number, where a tuple"),
    ],
)
def test_of_several_secrets_the_wrong_ones_are_named(got, said):
    with pytest.raises(WrongAnswer, match=said):
        compare(got, (10, 2, 30), secret=True)


def test_of_many_secrets():
    with pytest.raises(WrongAnswer, match="the 7th value, 1 is too small"):
        compare((0,) * 6 + (1,), (0,) * 6 + (2,), secret=True)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.ones(2), torch.ones(3)),
        (torch.ones(2), torch.ones(2).double()),
        (torch.ones(2), torch.tensor([1.0, float("nan")])),
        (nn.Linear(1, 1), nn.Linear(1, 1)),
        (nn.ReLU(), nn.Tanh()),
        ([1], (1,)),
        ({"a": 1}, {"b": 1}),
        ([1, 2], [1, 3]),
        ("a", "b"),
    ],
)
def test_arguments_that_have_changed(a, b):
    assert not same_data(a, b)
    assert same_data(a, a)
    assert same_data(float("nan"), float("nan"))


class Written(nn.Module):
    """A block with its layers in another order than they run."""

    def __init__(self, relu=True):
        super().__init__()
        self.last = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = relu

    def forward(self, x):
        y = self.first(x)
        return self.last(y.relu() if self.relu else y)


def block(*, padding=1, norm=False, act=True):
    layers = [nn.Conv2d(4, 4, 3, padding=padding)]
    layers += [nn.BatchNorm2d(4)] * norm + [nn.ReLU()] * act
    return nn.Sequential(*layers, nn.Conv2d(4, 4, 3, padding=padding))


X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_modules_that_are_the_same():
    same_function(Written(), block(), X)
    same_function(block(), Written(), X)
    net = block(norm=True).eval()
    same_function(net, block(norm=True), X)
    assert not net.training
    assert net[1].num_batches_tracked == 0
    same_function(block(norm=True).double(), block(norm=True), X)
    same_function(nn.Flatten(), nn.Flatten(), X)


class Pointwise(nn.Module):
    """A 1x1 convolution, with a matrix."""

    def __init__(self, detach=False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.detach = detach

    def forward(self, x):
        weight = self.weight.detach() if self.detach else self.weight
        return torch.einsum("nchw,dc->ndhw", x, weight)


def pointwise():
    return nn.Conv2d(4, 3, 1, bias=False)


def test_dimensions_of_size_one_do_not_count():
    same_function(Pointwise(), pointwise(), X)


class Detached(nn.Module):
    """Its output does not depend on x as autograd sees it, or not with all of it."""

    def __init__(self, share):
        super().__init__()
        self.conv = pointwise()
        self.share = share

    def forward(self, x):
        if self.share == 0:
            return self.conv(x.detach())
        y = self.conv(x)
        return y.detach() + self.share * (y - y.detach())


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (lambda: Detached(0), "with respect to its input is not"),
        (lambda: Detached(0.5), "with respect to its input is not"),
        (lambda: Pointwise(detach=True), "with respect to a parameter is not"),
        (lambda: pointwise().requires_grad_(False), "1 of its parameters cannot"),
        (lambda: nn.Sequential(pointwise(), Cut()), "has no gradient"),
    ],
)
def test_what_cannot_be_trained(got, said):
    with pytest.raises(WrongAnswer, match=said):
        same_function(got(), pointwise(), X)


class Cut(nn.Module):
    def forward(self, x):
        return x.detach()


def test_what_has_no_gradient_is_compared_without():
    same_function(nn.Flatten(), nn.Flatten(), torch.ones(2, 3, 4, dtype=torch.int))


def test_what_is_no_module():
    with pytest.raises(WrongAnswer, match="it returns nothing"):
        module(None)
    with pytest.raises(WrongAnswer, match="a string, where a module"):
        module("net")


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (lambda: 3, "an integer, where a module"),
        (lambda: block(norm=True), "its 304 parameters are 8 more than wanted"),
        (lambda: nn.Conv2d(4, 4, 3, padding=1), "148 fewer"),
        (lambda: block(padding=0), r"shape \(2, 4, 8, 8\), got \(2, 4, 4, 4\)"),
        (lambda: Written(relu=False), "100% of the values|9[0-9]% of the values"),
        (lambda: nn.Sequential(block(), nn.Flatten(1)), r"shape .* got \(2, 256\)"),
        (
            lambda: nn.Sequential(nn.Flatten(1), block()),
            "cannot take an input of shape",
        ),
        (lambda: Sneaky(), "its output is a tuple"),
        (lambda: nn.ParameterList([torch.ones(296)]), "other shapes"),
    ],
)
def test_modules_that_are_not(got, said):
    with pytest.raises(WrongAnswer, match=said):
        same_function(got(), block(), X)


class Sneaky(Written):
    def forward(self, x):
        return super().forward(x), x


def test_known_mistakes_have_hints():
    mistakes = [
        (block(norm=True), "No normalization."),
        (block(act=False), "A ReLU between them."),
    ]
    with pytest.raises(WrongAnswer) as caught:
        same_function(block(norm=True), block(), X, mistakes=mistakes)
    assert caught.value.hint == "No normalization."
    with pytest.raises(WrongAnswer) as caught:
        same_function(Written(relu=False), block(), X, mistakes=mistakes)
    assert caught.value.hint == "A ReLU between them."


# What keys share


def test_a_case_is_named_and_a_hint_that_is_there_is_kept():
    for own, hint in (("", "Look there."), ("Look here.", "Look here.")):
        with pytest.raises(WrongAnswer) as caught, case("with 3, ", hint="Look there."):
            raise WrongAnswer("it is wrong", own)
        assert caught.value.message == "with 3, it is wrong"
        assert caught.value.hint == hint


def test_other_errors_pass_through_a_case():
    with pytest.raises(ZeroDivisionError), case("with 3, "):
        raise ZeroDivisionError


def test_what_is_refused():
    refuse(False, "it is wrong")
    refuse(torch.tensor(False), "it is wrong")
    with pytest.raises(WrongAnswer, match="it is wrong"):
        refuse(torch.tensor(True), "it is wrong")


def test_one_hint_for_several_mistakes():
    assert all_with("No.", [1, 2]) == [(1, "No."), (2, "No.")]


def test_each_relu_is_missing_once():
    conv, first, second = nn.Conv2d(1, 1, 1), nn.ReLU(), nn.ReLU()
    gaps = without_each(nn.Sequential(conv, first, second), nn.ReLU)
    assert [list(gap) for gap in gaps] == [[conv, second], [conv, first]]
