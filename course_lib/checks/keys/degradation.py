"""The exercises on degradation."""

from __future__ import annotations

import random
from math import e, log10, prod
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes, WrongAnswer, compare
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.link import AnswerRaised
from course_lib.checks.modules import module
from course_lib.checks.shared import all_with, case, output_of, refuse

#: Training and test errors, one per epoch.
Errors: TypeAlias = tuple[list[float], list[float]]


class Curves(NamedTuple):
    """The errors of a shallow and a deep network, and what they show."""

    #: The deep network's training error at the beginning, in percent.
    begin: int
    #: The deep network's training and test errors at the end, in percent.
    deep: tuple[int, int]
    #: What they show.
    name: str
    #: The hint if an answer says something else.
    hint: str
    #: How much lower the deep network's errors are one epoch before the end.
    dip: float = 0.0


#: The shallow network's training and test errors at the end, and its training error at
#: the beginning, in percent.
SHALLOW = (8, 12)
SHALLOW_BEGIN = 50

SLOW = "A deep network may learn slowly at first: compare the last epochs."
TRAINING = "Compare the training errors first."
LOWER_TRAINING_ERROR = "Its training error is lower; the test error is higher."
BOTH_LOWER = "A wider gap is no harm if both errors are lower."
AHEAD = "A lower error at first may be a higher one at the end."
TURNS = "The question is about the end, not about the lowest error of all epochs."

#: Each is one that a rule of thumb gets wrong.
CURVES = [
    Curves(90, (6, 9), "no harm", hint=SLOW),
    Curves(60, (12, 14), "degradation", hint=TRAINING),
    Curves(60, (12, 18), "degradation", hint=TRAINING),
    Curves(40, (4, 15), "overfitting", hint=LOWER_TRAINING_ERROR),
    Curves(40, (2, 10), "no harm", hint=BOTH_LOWER),
    Curves(90, (6, 14), "overfitting", hint=SLOW),
    Curves(15, (11, 13), "degradation", hint=AHEAD),
    Curves(60, (12, 14), "degradation", hint=TURNS, dip=7.0),
    Curves(60, (7, 15), "overfitting", hint=TURNS, dip=5.0),
]

#: Errors of two networks that are the same at the end of the training, or of one part.
EQUAL = "An error that is the same is not higher."
TIES: list[tuple[Errors, Errors, str]] = [
    (([50, 20, 8], [52, 25, 12]), ([60, 30, 8], [62, 33, 12]), "no harm"),
    (([50, 20, 8], [52, 25, 12]), ([60, 30, 8], [62, 33, 14]), "overfitting"),
    (([50, 20, 8], [52, 25, 12]), ([60, 30, 6], [62, 33, 12]), "no harm"),
]


@exercise(
    "degradation.what_depth_did",
    kind="implement",
    goal="tell degradation from overfitting by the training and test errors",
    minutes=10,
    first_hint="Which two of the errors must be compared first, and at which epoch?",
)
def what_depth_did(answer: Answer) -> None:
    """On random curves, each of which a rule of thumb gets wrong, and on ties."""
    cases = [(*_drawn(curves), curves.name, curves.hint) for curves in CURVES]
    cases += [(*tie, EQUAL) for tie in TIES]
    names = {"degradation", "overfitting", "no harm"}
    for shallow, deep, name, hint in cases:
        train, test, deep_train, deep_test = (
            f"{errors[-1]:.1f}" for errors in (*shallow, *deep)
        )
        answer.expect(
            name,
            shallow,
            deep,
            on=f"errors that end at {train} and {test}, and deep at {deep_train} and"
            f" {deep_test}",
            mistakes=all_with(hint, names - {name}),
        )


def _drawn(curves: Curves) -> tuple[Errors, Errors]:
    """The errors of the shallow network and of the deep one."""
    epochs = random.randint(4, 9)
    shallow = _both_falling(SHALLOW_BEGIN, SHALLOW, epochs)
    deep = _both_falling(curves.begin, curves.deep, epochs)
    if curves.dip:
        for errors in deep:
            errors[-2] = round(errors[-1] - curves.dip, 2)
    return shallow, deep


def _both_falling(begin: float, ends: tuple[int, int], epochs: int) -> Errors:
    """Training and test errors; the latter begin two percent higher."""
    train, test = ends
    return _falling(begin, train, epochs), _falling(begin + 2, test, epochs)


def _falling(begin: float, end: float, epochs: int) -> list[float]:
    """Errors that fall to about `end`, faster towards the end."""
    end += random.uniform(-0.3, 0.3)
    above_end = [(begin - end) * (1 - i / (epochs - 1)) ** 0.7 for i in range(epochs)]
    return [round(end + left, 2) for left in above_end]


@exercise(
    "degradation.powers_of_ten",
    kind="predict",
    goal="compute how activations vanish or explode with depth",
    minutes=10,
    first_hint="How large is the mean square before the ReLU, and how large behind it?",
)
def powers_of_ten(answer: Answer) -> None:
    """As for He initialization: each layer multiplies the mean square by c / 2."""
    want = _powers()
    half = "A ReLU sets half of the values to zero."
    layers = "There is one factor for each of the 43 layers."
    cut = "Are there 43 layers? And do you round, or cut off?"
    mean_square = "That is the mean square; the question is about its root."
    negative = "Count powers by which it is smaller as positive."
    natural = "Powers of ten are wanted: which logarithm?"
    unrounded = "Round to whole numbers."
    answer.expect(
        want,
        mistakes=[
            (_powers(root=1), mean_square),
            (_powers(relu=1), half),
            (_powers(relu=1, root=1), half),
            (_powers(relu=4), "A ReLU halves the mean square, not its root."),
            (tuple(-each for each in want), negative),
            (tuple(-each for each in _powers(root=1)), f"{mean_square} {negative}"),
            (tuple(-each for each in _powers(relu=1)), f"{half} {negative}"),
            (_powers(layers=1), layers),
            (_powers(layers=42), cut),
            (_powers(layers=44), "Are there 43 layers? And do you round, or round up?"),
            (_powers(unit=log10(e)), natural),
            (_powers(unit=log10(2)), natural),
            *((_powers(digits=digits), unrounded) for digits in (1, 2, 3, 15)),
        ],
    )


def _powers(
    *,
    relu: float = 2,
    root: float = 2,
    layers: int = 43,
    unit: float = 1,
    digits: int | None = None,
) -> tuple[float, ...]:
    """The powers of ten, or of another number whose logarithm is `unit`."""
    found = (-layers * log10(c / relu) / root / unit for c in (1 / 3, 1, 2))
    return tuple(round(each, digits) for each in found)


#: Weights with which no factor is so near zero that its digits are lost in float32.
WEIGHTS = [tenths / 10 for tenths in range(-19, 20) if tenths not in (0, -10)]


@exercise(
    "degradation.gradients",
    kind="implement",
    goal="see how a skip connection changes the product of the chain rule",
    minutes=15,
    first_hint="Write the last h of two layers as a product. Which factor multiplies"
    " the first weight?",
)
def gradients(answer: Answer) -> None:
    """Against autograd, on random networks, one with a weight of zero."""
    networks = [random.choices(WEIGHTS, k=n) for n in (2, 3, 5, 8)]
    fixed = [[0.5], [0.5, -1.6, 0.7]]
    for weights in (*fixed, *networks, [0.5, 0.0, -3.0], [2.0, -1.0, 0.5]):
        for residual in (False, True):
            found, states = _through_network(weights, residual)
            kind = "residual" if residual else "plain"
            listed = ", ".join(f"{weight:.2f}" for weight in weights)
            on = f"for a {kind} network with weights {listed}"
            compare(
                _undivided(answer, weights, residual, on),
                found,
                on=on,
                tolerance=0.01,
                mistakes=_gradients_mistakes(weights, found, states),
            )


def _undivided(answer: Answer, weights: list[float], residual: bool, on: str) -> object:
    """What the answer returns.

    Raises: WrongAnswer if it divides by zero.
    """
    message = f"it divides by zero {on}"
    hint = "The product of the other factors needs no division."
    try:
        got: object = answer(weights, residual)
    except AnswerRaised as error:
        if "ZeroDivisionError" not in error.kinds:
            raise
        raise WrongAnswer(message, hint) from None
    values = isinstance(got, list | tuple | Tensor)
    refuse(values and ("nan" in str(got) or "inf" in str(got)), message, hint)
    return got


def _through_network(
    weights: list[float], residual: bool
) -> tuple[list[float], list[float]]:
    """The gradients of the last h, by autograd, and the h before and after each weight,
    of which the first is one.
    """
    leaves = torch.tensor(weights, dtype=torch.double, requires_grad=True)
    h = torch.ones((), dtype=torch.double)
    states = [h]
    for weight in leaves:
        h = residual * h + weight * h
        states.append(h)
    found = torch.autograd.grad(h, leaves)[0].tolist()
    return found, [each.item() for each in states]


def _gradients_mistakes(
    weights: list[float], found: list[float], states: list[float]
) -> Mistakes:
    *before, last = states
    plain = _others(weights, 0)
    with_shortcut = _others(weights, 1)
    times_weight = [each * w for each, w in zip(found, weights, strict=True)]
    later = "The derivative also has the factors of all later layers."
    earlier = "The weight multiplies an h: what have the earlier layers made of it?"
    return [
        (before, later),
        (_later(weights, 0), earlier),
        (_later(weights, 1), earlier),
        ([last] * len(weights), "A layer's own factor is not in its derivative."),
        (plain, "What is the derivative of a residual layer's output by its input?"),
        (with_shortcut, "A plain layer has no skip connection: its factor is w."),
        (
            [1 + each for each in plain],
            "Each layer has a skip connection, not only the first.",
        ),
        (times_weight, "That is the derivative times its weight."),
        (found[::-1], "These are in the opposite order."),
    ]


def _later(weights: list[float], one: int) -> list[float]:
    """For each weight, the product of ``one + w`` over those after it."""
    return [prod(one + w for w in weights[i + 1 :]) for i in range(len(weights))]


def _others(weights: list[float], one: int) -> list[float]:
    """For each weight, the product of ``one + w`` over the others."""
    found = []
    for i in range(len(weights)):
        rest = torch.tensor(weights[:i] + weights[i + 1 :], dtype=torch.double)
        found.append((one + rest).prod().item())
    return found


LATE = "Which line has changed the gradients by then?"


@exercise(
    "degradation.step_and_report",
    kind="repair",
    goal="measure a gradient before something else changes it",
    minutes=15,
    first_hint="Go through the lines: which of them change the gradients?",
)
def step_and_report(answer: Answer) -> None:
    """Against the same step made here, clipped and not."""
    lr = 0.5
    for limit in (0.1, 100.0):
        net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
        x = 3 * torch.randn(9, 6)
        y = torch.randint(4, (9,))
        gradients, stepped = _step(net, x, y, lr=lr, limit=limit)
        try:
            got = answer(net, x, y, lr, limit, changes=[0])
        except AnswerRaised as error:
            if "NoneType" not in error.text:
                raise
            raise WrongAnswer(
                "there is no gradient where it is measured", LATE
            ) from None
        norms = [each.norm().item() for each in gradients]
        compare(
            got,
            norms,
            on=f"with the limit {limit:g}",
            tolerance=0.01,
            mistakes=_report_mistakes(net, norms, limit),
        )
        trained = list(module(answer.arguments[0]).parameters())
        for number, (now, then) in enumerate(zip(trained, stepped, strict=True)):
            compare(
                now,
                then,
                on=f"as a parameter after the step with the limit {limit:g}",
                mistakes=_step_mistakes(net, gradients, number, lr=lr, limit=limit),
            )
        if any(each.grad is not None and each.grad.any() for each in trained):
            raise WrongAnswer(
                "it leaves gradients behind",
                "The next backward pass would add its gradients to them.",
            )


def _step(
    net: nn.Sequential, x: Tensor, y: Tensor, *, lr: float, limit: float
) -> tuple[list[Tensor], list[Tensor]]:
    """The gradients before they are clipped, and the parameters after a step; `net`
    stays as it is. The first use of PyTorch's optimizers takes seconds.
    """
    parameters = list(net.parameters())
    gradients = list(torch.autograd.grad(F.cross_entropy(net(x), y), parameters))
    total = torch.stack([each.norm() for each in gradients]).norm()
    factor = lr * min(1.0, limit / total.item())
    stepped = [
        each.detach() - factor * gradient
        for each, gradient in zip(parameters, gradients, strict=True)
    ]
    return gradients, stepped


def _step_mistakes(
    net: nn.Module, gradients: list[Tensor], number: int, *, lr: float, limit: float
) -> Mistakes:
    """Of the parameter with this number."""
    before = list(net.parameters())[number].detach()
    gradient = gradients[number]
    total = torch.stack([each.norm() for each in gradients]).norm()
    together = "The gradients of all parameters together are clipped, with one factor."
    stepped = [
        (0 * gradient, "The network has to be trained, too."),
        (gradient, "The step has to use the clipped gradient."),
        (gradient.clamp(-limit, limit), together),
        (gradient * min(1.0, limit / gradient.norm().item()), together),
        (
            gradient * limit / total,
            "A gradient whose norm is below the limit stays as it is.",
        ),
        (-gradient, "Down the gradient, not up."),
    ]
    return [(before - lr * step, hint) for step, hint in stepped]


def _report_mistakes(net: nn.Module, norms: list[float], limit: float) -> Mistakes:
    total = torch.tensor(norms).norm().item()
    weights = [each.norm().item() for each in net.parameters()]
    return [
        ([limit / total * norm for norm in norms], f"This is after clipping. {LATE}"),
        ([0.0] * len(norms), f"They have been set to zero. {LATE}"),
        ([norm**2 for norm in norms], "A norm is the root of the sum of squares."),
        (weights, "That is the norm of the weights."),
        ([total], "Each parameter has a norm of its own."),
        ([total] * len(norms), "Each parameter has a norm of its own."),
        (norms[::2], "Biases are parameters, too."),
        (norms[::-1], "They are in the order of `net.parameters()`."),
        ([norm * limit for norm in norms], "The norms themselves are asked for."),
        ([norm / total for norm in norms], "The norms themselves are asked for."),
    ]


@exercise(
    "degradation.deeper_by_one",
    kind="implement",
    goal="make a layer with batch normalization the identity, and see what that takes",
    minutes=25,
    first_hint="Let the convolution be the identity. Which scale and which shift undo"
    " what the normalization does to this batch?",
)
def deeper_by_one(answer: Answer) -> None:
    """In evaluation mode on other maps, then in training mode on those that were given;
    other maps show whether there is a normalization at all.
    """
    for channels, size in ((3, 6), (5, 4)):
        x = _after_a_relu(channels, size)
        other = _after_a_relu(channels, size)
        layer = module(answer(x)).float()
        _has_its_three_layers(layer, channels)
        with case("", hint="Which numbers does evaluation mode use?"):
            got = output_of(layer.eval(), other).detach()
            refuse(
                got.shape != other.shape,
                f"it makes {tuple(got.shape)} of {tuple(other.shape)}",
                "Without padding, what does a kernel lose at each border?",
            )
            compare(got, other, on="in evaluation mode, for other feature maps")
        trained = output_of(layer.train(), x).detach()
        compare(
            trained,
            x,
            on="in training mode, for x",
            mistakes=_deeper_mistakes(x),
            tolerance=2e-3,
        )
        compare(
            output_of(layer, other),
            _renormalized(other, x, x.var((0, 2, 3), correction=0)),
            on="in training mode, for other feature maps",
            tolerance=2e-3,
            mistakes=[(other, "Its normalization does not normalize.")],
        )


def _after_a_relu(channels: int, size: int) -> Tensor:
    """Feature maps with scales of their own, of which one channel is constant."""
    scales = torch.linspace(0.5, 4, channels).view(-1, 1, 1)
    x = (scales * torch.randn(4, channels, size, size) + 0.5).relu()
    x[:, -1] = 0.7
    return x


def _has_its_three_layers(layer: nn.Module, channels: int) -> None:
    """It has the parameters of a 3x3 convolution and of a normalization.

    Raises: WrongAnswer if not.
    """
    shapes = sorted(tuple(each.shape) for each in layer.parameters())
    wanted = [(channels,), (channels,), (channels, channels, 3, 3)]
    refuse(
        shapes != wanted,
        f"its parameters have the shapes {shapes}",
        "A 3x3 convolution without bias and a batch normalization: one kernel for each"
        " pair of channels, a scale and a shift.",
    )
    refuse(
        not all(each.requires_grad for each in layer.parameters()),
        "its parameters are frozen",
        "The layer is to have weights that training can change.",
    )


def _renormalized(
    other: Tensor, x: Tensor, scale2: Tensor, shift: Tensor | None = None
) -> Tensor:
    """`other`, normalized with its own statistics, and given others."""
    mean = x.mean((0, 2, 3)) if shift is None else shift
    return F.batch_norm(
        other, None, None, (scale2 + 1e-5).sqrt(), mean, training=True
    ).relu()


def _deeper_mistakes(x: Tensor) -> Mistakes:
    """Of scales and shifts, as training mode shows them."""
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    one = torch.ones_like(var)
    undone = "What becomes of the standard deviation and the mean of x?"
    return [
        (_renormalized(x, x, one, 0 * mean), undone),
        (_renormalized(x, x, var, 0 * mean), "And the mean of x?"),
        (_renormalized(x, x, one), "And the standard deviation of x?"),
        (_renormalized(x, x, var**2), "The scale is a standard deviation."),
        (
            _renormalized(x, x, x.var((0, 2, 3))),
            "Training mode divides by the variance with m, not with m - 1.",
        ),
    ]


@exercise(
    "degradation.vanish",
    kind="implement",
    goal="see why the norm of a gradient says little without that of its weight",
    minutes=10,
    first_hint="To which change of a weight is batch normalization invariant?",
)
def vanish(answer: Answer) -> None:
    """On a small network in training mode: logits, gradients, and weights."""
    for factor in (10.0, 3.0):
        net = nn.Sequential(
            *_conv_bn_relu(2, 4),
            *_conv_bn_relu(4, 5),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
        )
        on = f"with the factor {factor:g}"
        x = torch.randn(8, 2, 9, 9)
        y = torch.randint(3, (8,))
        logits, gradients, sizes = _run(net, x, y)
        got = module(answer(net, factor, changes=[0])).float()
        frozen = any(not each.requires_grad for each in got.parameters())
        if frozen or list(got.state_dict()) != list(net.state_dict()):
            raise WrongAnswer(
                "the network has other layers, or a layer is frozen",
                "Change only values of weights.",
            )
        their_logits, their_gradients, their_sizes = _run(got.train(), x, y)
        undone = "To which change of a weight is a normalization invariant?"
        compare(
            their_logits,
            logits,
            on=f"as logits {on}",
            tolerance=2e-3,
            mistakes=[(their_logits, undone)],
        )
        shrunk = gradients / their_gradients
        grown = their_sizes[0] / sizes[0]
        _vanish_only_the_first(shrunk, grown.item(), factor, on)


def _vanish_only_the_first(
    shrunk: Tensor, grown: float, factor: float, on: str
) -> None:
    """The first gradient is `factor` times smaller, the others are not, and the reason
    is the weight, which is `grown` times larger.

    Raises: WrongAnswer if that is not so.
    """
    first = "the gradient of the first convolution is"
    refuse(
        shrunk[0] < 0.99,
        f"{first} {shrunk[0]:.3g} times smaller, {on}",
        "A smaller weight has a larger gradient.",
    )
    refuse(
        abs(shrunk[0] - 1) < 0.01,
        f"{first} as large as before, {on}",
        "This gradient depends on the size of one weight: which?",
    )
    refuse(
        abs(shrunk[0] / factor - 1) > 0.01,
        f"{first} {shrunk[0]:.3g} times smaller, {on}",
        "By which factor did you multiply the weight?",
    )
    refuse(
        (shrunk[1:] - 1).abs().max() > 0.01,
        f"other gradients have changed, too, {on}",
        "Change only the weight of the first convolution.",
    )
    refuse(
        abs(grown / factor - 1) > 0.01,
        f"the weight is not what made the gradient smaller, {on}",
        "Leave the backward pass alone, and change the weight.",
    )


def _conv_bn_relu(channels: int, out: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU()]


def _run(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The logits, and the norms of the gradients and of the parameters."""
    logits = net(x)
    parameters = list(net.parameters())
    refuse(
        not logits.requires_grad,
        "its output has no gradient",
        "Leave the backward pass alone, and change the weight.",
    )
    found = torch.autograd.grad(
        F.cross_entropy(logits, y), parameters, allow_unused=True
    )
    gradients = torch.stack(
        [torch.zeros(()) if each is None else each.norm() for each in found]
    )
    sizes = torch.stack([each.detach().norm() for each in parameters])
    return logits, gradients, sizes
