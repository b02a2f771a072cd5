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
    trial = _Trial(got, want, x, tolerance)
    for order in _orders(got, want):
        found = trial.difference(order, gradients=True)
        if found is None or found.startswith((RIGHT, *WHATEVER)):
            return found
        first = first or found
    return first


#: What is so with the parameters in any order.
WHATEVER = ("it cannot take", "expected shape", "its output is a")


def _computes(got: nn.Module, other: nn.Module, x: Tensor, tolerance: float) -> bool:
    """Whether `got` computes what `other` does, with its parameters in some order."""
    trial = _Trial(got, other, x, tolerance)
    orders = _orders(got, other)
    return any(trial.difference(order, gradients=False) is None for order in orders)


def _shape(parameter: Tensor) -> tuple[int, ...]:
    """Its shape without dimensions of size one: a 1x1 kernel is a matrix."""
    return tuple(size for size in parameter.shape if size != 1)


def _shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return sorted(_shape(each) for each in module.parameters())


def _orders(got: nn.Module, want: nn.Module) -> list[list[int]]:
    """Ways to pair the parameters of both: in their order if the shapes agree, else
    each shape's in every order, as far as there are few. Of orders that differ only in
    parameters of equal values, one is enough.
    """
    values = [each.detach() for each in want.parameters()]
    ours = [_shape(each) for each in values]
    alike = [
        next(i for i, other in enumerate(values) if _equal(each, other))
        for each in values
    ]
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
    different: dict[tuple[int, ...], list[int]] = {}
    for order in orders:
        different.setdefault(tuple(alike[index] for index in order), order)
    return [*different.values()]


def _equal(one: Tensor, other: Tensor) -> bool:
    return _shape(one) == _shape(other) and torch.equal(one.flatten(), other.flatten())


class _Trial:
    """A module beside a wanted one, for one input: what the wanted one computes, once,
    and what the module makes of the same parameters in some order.
    """

    def __init__(
        self, got: nn.Module, want: nn.Module, x: Tensor, tolerance: float
    ) -> None:
        self._got = got
        self._x = x
        self._tolerance = tolerance
        self._want = copy.deepcopy(want)
        self._values = [each.detach().clone() for each in want.parameters()]
        self._graphs = {mode: self._graph(mode) for mode in (True, False)}
        self._right: list[Tensor] | None = None

    def _graph(self, training: bool) -> Graph:
        self._want.train(training)
        x = self._input()
        torch.manual_seed(0)
        return self._want(x.clone()), [x, *self._want.parameters()]

    def _input(self) -> Tensor:
        return self._x.clone().requires_grad_(self._x.is_floating_point())

    def difference(self, order: list[int], *, gradients: bool) -> str | None:
        """What differs if the module has the wanted one's parameters in this order;
        None if nothing does.
        """
        theirs = copy.deepcopy(self._got)
        for each, index in zip(theirs.parameters(), order, strict=True):
            each.data = self._values[index].reshape(each.shape).clone()
        theirs.float()
        for training in (True, False):
            theirs.train(training)
            x = self._input()
            torch.manual_seed(0)
            try:
                output = theirs(x.clone())
            except (RuntimeError, AnswerRaised) as error:
                return f"it cannot take an input of shape {self._shape}: {_said(error)}"
            came = output, [x, *theirs.parameters()]
            other = self._other(came, training, order if gradients else [])
            if other is not None:
                return other
        return None

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(self._x.shape)

    def _other(self, came: Graph, training: bool, order: list[int]) -> str | None:
        """What differs in one mode: the output, or in training the gradients."""
        wanted, leaves = self._graphs[training]
        mode = "training" if training else "evaluation"
        where = f"for an input of shape {self._shape}, in {mode} mode"
        other = difference(came[0], wanted, where, self._tolerance)
        if other is not None or not training or not order or not wanted.requires_grad:
            return other
        if self._right is None:
            self._right = _gradients((wanted, leaves))
        places = [0, *(index + 1 for index in order)]
        pairs = [(leaves[place], self._right[place]) for place in places]
        return _other_gradients(came, pairs, self._tolerance)


def _said(error: Exception) -> str:
    """The first line of what an error says."""
    text = error.text if isinstance(error, AnswerRaised) else str(error)
    return (text.strip() or type(error).__name__).splitlines()[0]


#: An output, and what it depends on.
Graph = tuple[Tensor, list[Tensor]]


def _other_gradients(
    came: Graph, wanted: list[tuple[Tensor, Tensor]], tolerance: float
) -> str | None:
    """How the gradients of an output differ from those that are wanted for each of its
    leaves; None if they do not.
    """
    if not came[0].requires_grad:
        return f"{RIGHT}, and has no gradient: something is detached"
    frozen = [
        theirs.requires_grad < ours.requires_grad
        for theirs, (ours, _) in zip(came[1], wanted, strict=True)
    ]
    if any(frozen):
        many = f"{sum(frozen)} of its parameters"
        return f"{RIGHT}, but {many} cannot be trained: they are frozen"
    found = _gradients(came)
    for number, (_, want) in enumerate(wanted):
        # Parameters of the same shape and values may stand for one another.
        several = found[1:] if number else found[:1]
        same = [i for i, got in enumerate(several) if _close(got, want, tolerance)]
        if not same:
            what = "a parameter" if number else "its input"
            return (
                f"{RIGHT}, but the gradient with respect to {what} is not:"
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
