"""Whether a module computes what another does, however it is written and named."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib.checks.compare import WrongAnswer, difference, name_of
from course_lib.checks.link import AnswerRaised
from course_lib.checks.remote import Remote

#: Orders of parameters of the same shapes that are tried at most.
ORDERS = 96


def module(got: object, *inputs: Tensor) -> nn.Module:
    """`got` if it is a module; with its parameters, if it has to see inputs for them.

    Raises: WrongAnswer if it is none.
    """
    if got is None:
        raise WrongAnswer("it returns nothing", "Does it end with `return`?")
    if not isinstance(got, nn.Module):
        raise WrongAnswer(f"it returns {name_of(got)}, where a module is wanted")
    return got.settled(*inputs) if isinstance(got, Remote) else got


def same_function(
    got: object,
    want: nn.Module,
    *inputs: Tensor,
    mistakes: Sequence[tuple[nn.Module, str]] = (),
    tolerance: float = 1e-4,
) -> None:
    """Check that a module computes what `want` does once it has its parameters, however
    it is written and named, and that it can be trained like that.

    `mistakes` are modules that wrong answers would build. Both are compared in training
    and evaluation mode, as copies would be: the modes they were in come back.

    Raises: WrongAnswer if it is no module, has parameters of other shapes (dimensions
        of size one aside), or other outputs or gradients.
    """
    made = module(got, *inputs[:1])
    shapes = _shapes(made)
    if shapes != _shapes(want):
        hint = next((hint for other, hint in mistakes if shapes == _shapes(other)), "")
        raise WrongAnswer(_other_parameters(made, want), hint)
    for x in inputs:
        outcome = _outcome(made, want, x, tolerance)
        if outcome is None:
            continue
        if outcome.startswith(RIGHT):
            raise WrongAnswer(outcome)
        built = (
            hint
            for other, hint in mistakes
            if shapes == _shapes(other) and _computes(made, other, x, tolerance)
        )
        raise WrongAnswer(outcome, next(built, ""))


#: What is said first if only gradients differ.
RIGHT = "its output is right"


def _outcome(
    got: nn.Module, want: nn.Module, x: Tensor, tolerance: float
) -> str | None:
    """What differs; None if nothing does with the parameters in some order."""
    first = None
    for order in _orders(got, want):
        found = _try(got, order, want, x, tolerance)
        if found is None or found.startswith((RIGHT, *WHATEVER)):
            return found
        first = first or found
    return first


#: What is so with the parameters in any order.
WHATEVER = ("it cannot take", "expected shape", "its output is a")


def _computes(got: nn.Module, other: nn.Module, x: Tensor, tolerance: float) -> bool:
    """Whether `got` computes what `other` does, with its parameters in some order."""
    return any(
        _try(got, order, other, x, tolerance, gradients=False) is None
        for order in _orders(got, other)
    )


def _shape(parameter: Tensor) -> tuple[int, ...]:
    """Its shape without dimensions of size one: a 1x1 kernel is a matrix."""
    return tuple(size for size in parameter.shape if size != 1)


def _shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return sorted(_shape(each) for each in module.parameters())


def _orders(got: nn.Module, want: nn.Module) -> list[list[int]]:
    """Ways to pair the parameters of both: in their order if the shapes agree, else
    each shape's in every order, as far as there are few.
    """
    ours = [_shape(each) for each in want.parameters()]
    theirs = [_shape(each) for each in got.parameters()]
    groups = {
        shape: [i for i, each in enumerate(ours) if each == shape]
        for shape in dict.fromkeys(theirs)
    }
    straight = {shape: list(group) for shape, group in groups.items()}
    orders = [[straight[shape].pop(0) for shape in theirs]]
    choices = [
        list(itertools.islice(itertools.permutations(group), 24))
        for group in groups.values()
    ]
    for chosen in itertools.islice(itertools.product(*choices), 1, ORDERS):
        left = {shape: list(order) for shape, order in zip(groups, chosen, strict=True)}
        orders.append([left[shape].pop(0) for shape in theirs])
    return orders


def _try(
    got: nn.Module,
    order: list[int],
    want: nn.Module,
    x: Tensor,
    tolerance: float,
    *,
    gradients: bool = True,
) -> str | None:
    """What differs if `got` has the parameters of `want` in this order; None if nothing
    does.
    """
    theirs = copy.deepcopy(got)
    ours = copy.deepcopy(want)
    source = [each.detach() for each in ours.parameters()]
    for each, index in zip(theirs.parameters(), order, strict=True):
        each.data = source[index].reshape(each.shape).clone()
    theirs.float()
    for training in (True, False):
        theirs.train(training)
        ours.train(training)
        mode = "training" if training else "evaluation"
        on = f"for an input of shape {tuple(x.shape)}, in {mode} mode"
        here = x.clone().requires_grad_(x.is_floating_point())
        there = x.clone().requires_grad_(x.is_floating_point())
        torch.manual_seed(0)
        wanted = ours(here.clone())
        torch.manual_seed(0)
        try:
            came = theirs(there.clone())
        except (RuntimeError, AnswerRaised) as error:
            return f"it cannot take an input of shape {tuple(x.shape)}: {_said(error)}"
        other = difference(came, wanted, on, tolerance)
        if other is None and training and gradients:
            leaves = [list(theirs.parameters()), list(ours.parameters())]
            other = _other_gradients(
                (came, [there, *leaves[0]]),
                (wanted, [here, *(leaves[1][index] for index in order)]),
                tolerance,
            )
        if other is not None:
            return other
    return None


def _said(error: Exception) -> str:
    """The first line of what an error says."""
    text = error.text if isinstance(error, AnswerRaised) else str(error)
    return (text.strip() or type(error).__name__).splitlines()[0]


#: An output, and what it depends on.
Graph = tuple[Tensor, list[Tensor]]


def _other_gradients(came: Graph, wanted: Graph, tolerance: float) -> str | None:
    """How the gradients of two equal outputs differ; None if they do not."""
    output, leaves = wanted
    if not output.requires_grad:
        return None
    right = _gradients(wanted)
    if not came[0].requires_grad:
        return "its output is right, and has no gradient: something is detached"
    frozen = [
        theirs.requires_grad < ours.requires_grad
        for theirs, ours in zip(came[1], leaves, strict=True)
    ]
    if any(frozen):
        return f"{sum(frozen)} of its parameters cannot be trained: they are frozen"
    found = _gradients(came)
    for number, want in enumerate(right):
        # Parameters of the same shape and values may stand for one another.
        several = found[1:] if number else found[:1]
        same = [i for i, got in enumerate(several) if _close(got, want, tolerance)]
        if not same:
            what = "a parameter" if number else "its input"
            return (
                f"its output is right, but the gradient with respect to {what} is not:"
                " is something detached?"
            )
        if number:
            del found[1 + same[0]]
    return None


def _close(got: Tensor, want: Tensor, tolerance: float) -> bool:
    if _shape(got) != _shape(want):
        return False
    return torch.allclose(got.reshape(want.shape), want, 10 * tolerance, 10 * tolerance)


def _gradients(graph: Graph) -> list[Tensor]:
    """Of the output, weighted with its position, with respect to the leaves."""
    output, leaves = graph
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    found = iter(torch.autograd.grad(output, wanted, weights, allow_unused=True))
    return [
        torch.zeros_like(leaf)
        if not leaf.requires_grad or (g := next(found)) is None
        else g
        for leaf in leaves
    ]


def _other_parameters(got: nn.Module, want: nn.Module) -> str:
    ours, theirs = (
        sum(each.numel() for each in module.parameters()) for module in (want, got)
    )
    if ours != theirs:
        more = "more" if theirs > ours else "fewer"
        return (
            f"its {theirs:,} parameters are {abs(theirs - ours):,} {more} than wanted"
        )
    return "its parameters have other shapes than wanted"
