"""The exercises on initialization."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import all_with


@exercise(
    "initialization.one_layer",
    kind="predict",
    goal="compute what one layer does to the mean square",
    minutes=8,
    first_hint="Integrate w^2 over the interval, and divide by its length.",
)
def one_layer(answer: Answer) -> None:
    """Three numbers, each to one percent."""
    variance = 0.1**2 / 3
    factor = 200 * variance
    limit = math.sqrt(6 / 400)
    answer.expect(
        (variance, factor, limit),
        tolerance=1,
        mistakes=_one_layer_mistakes(variance, factor, limit),
    )


def _one_layer_mistakes(variance: float, factor: float, limit: float) -> Mistakes:
    halves = "What does the ReLU do to the mean square?"
    standard = "A variance is a mean square, and a standard deviation its square root."
    uniform = "A uniform distribution from -a to a has a third of a^2 as its variance."
    normal = "The variance 2/n belongs to which limit of a uniform distribution?"
    of_one = "Its square root is the factor of the rms, not of the mean square."
    return [
        *all_with(
            halves,
            [
                (variance, 2 * factor, limit),
                (variance, 2 * factor, limit / math.sqrt(2)),
                (variance, factor, limit / math.sqrt(2)),
            ],
        ),
        ((math.sqrt(variance), factor, limit), standard),
        ((math.sqrt(variance), 200 * math.sqrt(variance), limit), standard),
        ((0.01, 2.0, limit), uniform),
        ((0.01, 2.0, math.sqrt(2 / 400)), uniform),
        ((4 * variance, 4 * factor, limit), "The interval is from -0.1 to 0.1."),
        ((variance, factor, math.sqrt(2 / 400)), normal),
        ((variance, factor, 2 / 400), normal),
        ((variance, math.sqrt(factor), limit), of_one),
    ]


@exercise(
    "initialization.leaky_variance",
    kind="implement",
    goal="derive the initialization for a leaky ReLU",
    minutes=12,
    first_hint="Write the mean square after it as a part from positive z and one from"
    " negative z.",
)
def leaky_variance(answer: Answer) -> None:
    """For several slopes, among them those of a ReLU and of no activation function."""
    for n, slope in ((100, 0.2), (500, 0.0), (64, 1.0), (300, 0.5)):
        kept = (1 + slope**2) / 2
        answer.expect(
            1 / (kept * n),
            n,
            slope,
            mistakes=_leaky_variance_mistakes(n, slope, kept),
        )


def _leaky_variance_mistakes(n: int, slope: float, kept: float) -> Mistakes:
    root = "The variance is wanted, not the standard deviation."
    inverse = "What the activation function takes away, the weights have to restore."
    return [
        (math.sqrt(1 / (kept * n)), root),
        (2 / n, "That is for a ReLU: what do negative values contribute here?"),
        (2 / ((1 + slope) * n), "A value that is multiplied by a: and its square?"),
        (1 / ((1 + slope**2) * n), "How much of z^2 comes from positive z?"),
        (kept / n, inverse),
        (2 * (1 + slope**2) / n, inverse),
        (2 / (slope**2 * n) if slope else math.inf, "And the positive values?"),
    ]


@exercise(
    "initialization.he_std",
    kind="repair",
    goal="count the inputs of a layer of any kind",
    minutes=10,
    first_hint="Print `layer.weight.shape` for a few layers. Which of these weights are"
    " in the sum for one output?",
)
def he_std(answer: Answer) -> None:
    """For layers whose numbers of inputs and outputs differ."""
    for layer in (
        nn.Linear(20, 50),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(4, 16, 3),
        nn.Conv2d(6, 4, (3, 5)),
        nn.Conv2d(12, 12, 3, groups=12),
        nn.Conv2d(12, 24, 3, groups=4),
    ):
        answer.expect(
            math.sqrt(2 / layer.weight[0].numel()),
            layer,
            on=str(layer),
            mistakes=_he_std_mistakes(layer),
        )


def _he_std_mistakes(layer: nn.Linear | nn.Conv2d) -> Mistakes:
    n = layer.weight[0].numel()
    outputs = len(layer.weight)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    area = layer.weight[0, 0].numel()
    side = layer.weight.shape[-1]
    return [
        (2 / n, "The standard deviation is wanted, not the variance."),
        (math.sqrt(1 / n), "And the ReLU?"),
        (math.sqrt(2 / (n * groups)), "With groups, which input channels are summed?"),
        (math.sqrt(2 / (n // area)), "A kernel has more than one position."),
        (math.sqrt(2 / (n * groups // area)), "A kernel has more than one position."),
        (math.sqrt(2 / (n // area * side)), "A kernel has rows and columns."),
        (math.sqrt(2 / (n // area * side**2)), "A kernel need not be a square."),
        (
            math.sqrt(2 / outputs),
            "Those are the outputs; and a kernel has several positions.",
        ),
        (math.sqrt(2 / (outputs * area)), "That keeps the gradients, not activations."),
        (
            math.sqrt(2 / (outputs * area // groups)),
            "That keeps the gradients, not the activations.",
        ),
    ]


@exercise(
    "initialization.growth",
    kind="predict",
    goal="derive how fast the activations of residual blocks grow",
    minutes=15,
    first_hint="Begin with the branch of the first block: follow the mean square"
    " through a ReLU, a layer, a ReLU and a layer.",
)
def growth(answer: Answer) -> None:
    """Four factors, each to one percent."""
    zero = "With mean zero and independent weights, what does the mixed term add?"
    alone = "The block adds its input: a mean square of one, before all else."
    first = "In the second block, no ReLU halves the mean square before W1."
    answer.expect(
        (2.0, 3.0, 1.0, 1.1),
        tolerance=1,
        mistakes=[
            ((2.0, 2.0, 1.0, 1.1), first),
            ((2.0, 2.0, 1.0, 1.05), first),
            ((1.0, 2.0, 0.5, 0.1), alone),
            ((1.0, 1.0, 0.5, 0.1), alone),
            ((2.0, 3.0, math.sqrt(2), 1.1), "A factor of 1/sqrt(2) is squared, too."),
            ((2.0, 3.0, 2 / math.sqrt(2), 1.1), "A factor of 1/sqrt(2) is squared."),
            ((2.0, 3.0, 1.0, 1.2), "What does the ReLU between the layers do?"),
            ((2.0, 5.0, 1.0, 1.2), "What does the ReLU between the layers do?"),
            ((2.0, 3.0, 1.0, 1.05), "How large is the mean square before W2?"),
            ((2.0, 3.0, 1.0, 1.01), "The variance is a tenth of 1/n, not its root."),
            ((4.0, 3.0 + 2 * math.sqrt(2), 2.0, 1.1 + 2 * math.sqrt(0.1)), zero),
            ((4.0, 9.0, 2.0, 1.21), zero),
        ],
    )


@exercise(
    "initialization.who_learns",
    kind="predict",
    goal="tell from a formula which weights of a network get a gradient",
    minutes=12,
    first_hint="Which two factors has the gradient of W1, and which that of W2?",
)
def who_learns(answer: Answer) -> None:
    """Asked of autograd."""
    torch.manual_seed(0)
    random = torch.randn(5, 4)
    head = torch.randn(3, 5)
    equal = torch.full((5, 4), 0.1), torch.full((3, 5), 0.1)
    want = (
        _learns(F.relu, random, 0 * head),
        _learns(F.relu, 0 * random, head),
        _learns(torch.tanh, 0 * random, head),
        _learns(torch.tanh, *equal),
    )
    answer.expect(want, mistakes=_who_learns_mistakes(want))


def _learns(phi: object, first: Tensor, second: Tensor) -> tuple[bool, bool]:
    """Whether each of the weights gets a gradient that is not zero."""
    assert callable(phi)
    w1 = first.clone().requires_grad_()
    w2 = second.clone().requires_grad_()
    logits = phi(torch.ones(2, 4) @ w1.T) @ w2.T
    grads = torch.autograd.grad(F.cross_entropy(logits, torch.tensor([0, 1])), (w1, w2))
    return bool(grads[0].any()), bool(grads[1].any())


def _who_learns_mistakes(want: tuple[tuple[bool, bool], ...]) -> Mistakes:
    """One pair wrong, with the hint for that case."""
    hints = (
        "In the first case, delta1 goes through W2; and what does W2 multiply?",
        "In the second case, where does every ReLU of the network stand?",
        "In the third case, what are tanh(0) and its slope at zero?",
        "In the fourth case: equal gradients are not zero gradients.",
    )
    pairs = [(a, b) for a in (False, True) for b in (False, True)]
    return [
        ((*want[:i], pair, *want[i + 1 :]), hint)
        for i, hint in enumerate(hints)
        for pair in pairs
    ]
