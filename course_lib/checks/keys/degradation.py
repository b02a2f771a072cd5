"""The exercises on degradation."""

from __future__ import annotations

import copy
import random
from math import log10
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes, WrongAnswer, compare
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import all_with, refuse


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


#: The shallow network's training and test errors at the end, and its training error at
#: the beginning, in percent.
SHALLOW = (8, 12)
SHALLOW_BEGIN = 50

SLOW = "A deep network may learn slowly at first: compare the last epochs."
TRAINING = "Compare the training errors first."
LOWER_TRAINING_ERROR = "Its training error is lower; the test error is higher."
BOTH_LOWER = "A wider gap is no harm if both errors are lower."
AHEAD = "A lower error at first may be a higher one at the end."

#: Each is one that a rule of thumb gets wrong.
CURVES = [
    Curves(90, (6, 9), "no harm", hint=SLOW),
    Curves(60, (12, 14), "degradation", hint=TRAINING),
    Curves(60, (12, 18), "degradation", hint=TRAINING),
    Curves(40, (4, 15), "overfitting", hint=LOWER_TRAINING_ERROR),
    Curves(40, (2, 10), "no harm", hint=BOTH_LOWER),
    Curves(90, (6, 14), "overfitting", hint=SLOW),
    Curves(15, (11, 13), "degradation", hint=AHEAD),
]


@exercise(
    "degradation.what_depth_did",
    kind="implement",
    goal="tell degradation from overfitting by the training and test errors",
    minutes=10,
    first_hint="Which two of the errors must be compared first, and at which epoch?",
)
def what_depth_did(answer: Answer) -> None:
    """On random curves, each of which a rule of thumb gets wrong."""
    for curves in CURVES:
        epochs = random.randint(4, 9)
        shallow = _both_falling(SHALLOW_BEGIN, SHALLOW, epochs)
        deep = _both_falling(curves.begin, curves.deep, epochs)
        train, test, deep_train, deep_test = (
            f"{errors[-1]:.1f}" for errors in (*shallow, *deep)
        )
        others = {"degradation", "overfitting", "no harm"} - {curves.name}
        answer.expect(
            curves.name,
            shallow,
            deep,
            on=f"errors that end at {train} and {test}, and deep at {deep_train} and"
            f" {deep_test}",
            mistakes=all_with(curves.hint, others),
        )


def _both_falling(
    begin: float, ends: tuple[int, int], epochs: int
) -> tuple[list[float], list[float]]:
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

    def powers(relu: float = 2, root: float = 2, layers: int = 43) -> tuple[int, ...]:
        found = (-layers * log10(c / relu) / root for c in (1 / 3, 1, 2))
        return tuple(round(each) for each in found)

    want = powers()
    half = "A ReLU sets half of the values to zero."
    layers = "There is one factor for each of the 43 layers."
    answer.expect(
        want,
        mistakes=[
            (
                powers(root=1),
                "That is the mean square; the question is about its root.",
            ),
            (powers(relu=1), half),
            (powers(relu=1, root=1), half),
            (powers(relu=4), "A ReLU halves the mean square, not its root."),
            (
                tuple(-each for each in want),
                "Count powers by which it is smaller as positive.",
            ),
            (powers(layers=1), layers),
            (powers(layers=42), layers),
            (powers(layers=44), layers),
        ],
    )


@exercise(
    "degradation.identity_layer",
    kind="implement",
    goal="build a convolution that is the identity",
    minutes=10,
    first_hint="Begin with one channel and a 1x1 kernel: which weight is the identity?",
)
def identity_layer(answer: Answer) -> None:
    """On non-negative inputs, which the output must equal."""
    for channels, size in ((1, 1), (3, 3), (4, 5), (2, 7)):
        got = answer(channels, size)
        if not isinstance(got, nn.Conv2d) or got.kernel_size != (size, size):
            raise WrongAnswer(
                f"it returns no convolution with a {size}x{size} kernel",
                "The layer is to have weights that training can change.",
            )
        x = torch.rand(2, channels, 9, 8)
        y = got(x).detach()
        compare(
            y.relu(),
            x,
            on=f"for {channels} channels and a {size}x{size} kernel",
            mistakes=_identity_mistakes(x, y, size),
        )


def _identity_mistakes(x: Tensor, y: Tensor, size: int) -> Mistakes:
    """`y` is the output for `x`: it shows a bias, and missing padding."""
    channels = x.shape[1]
    at_center = torch.zeros(size, size)
    at_center[size // 2, size // 2] = 1
    at_corner = torch.zeros(size, size)
    at_corner[0, 0] = 1
    own_channel = torch.eye(channels)[:, :, None, None].expand(-1, -1, size, size)
    everything = torch.ones_like(own_channel)
    own = "An output channel may depend on the same input channel only."
    center = "The only weight that is not zero is at the center of the kernel."
    kernels = [
        (everything * at_center, own),
        (everything * at_center / channels, own),
        (own_channel, center),
        (own_channel / size**2, center),
        (own_channel * at_corner, center),
        (everything, "Most of the weights are zero."),
    ]
    mistakes = [
        (F.conv2d(x, kernel, padding=size // 2), hint) for kernel, hint in kernels
    ]
    if y.shape == x.shape and (y - x).std((0, 2, 3)).max() < 1e-5:
        mistakes.append((y.relu(), "What does the bias add?"))
    if y.shape != x.shape:
        mistakes.append(
            (y.relu(), "Without padding, what does a kernel lose at each border?")
        )
    return mistakes


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
    networks = [[random.uniform(-2, 2) for _ in range(n)] for n in (2, 3, 5, 8)]
    for weights in ([0.5], *networks, [0.5, 0.0, -3.0], [2.0, -1.0, 0.5]):
        for residual in (False, True):
            found, states = _through_network(weights, residual)
            kind = "residual" if residual else "plain"
            listed = ", ".join(f"{weight:.2f}" for weight in weights)
            on = f"a {kind} network with weights {listed}"
            try:
                answer.expect(
                    found,
                    weights,
                    residual,
                    on=on,
                    tolerance=0.01,
                    mistakes=_gradients_mistakes(weights, found, states),
                )
            except ZeroDivisionError:
                raise WrongAnswer(
                    f"it divides by zero for {on}",
                    "The product of the other factors needs no division.",
                ) from None


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
    return [
        (before, "The derivative also has the factors of all later layers."),
        ([last] * len(weights), "A layer's own factor is not in its derivative."),
        (plain, "What is the derivative of a residual layer's output by its input?"),
        (with_shortcut, "A plain layer has no skip connection: its factor is w."),
        (
            [1 + each for each in plain],
            "Each layer has a skip connection, not only the first.",
        ),
        (times_weight, "That is the derivative times its weight."),
    ]


def _others(weights: list[float], one: int) -> list[float]:
    """For each weight, the product of ``one + w`` over the others."""
    found = []
    for i in range(len(weights)):
        rest = torch.tensor(weights[:i] + weights[i + 1 :], dtype=torch.double)
        found.append((one + rest).prod().item())
    return found


class _Watched(nn.Sequential):
    """A network that remembers its copies: an answer gets the first one."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.copies: list[nn.Module] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        self.copies.append(nn.Sequential(*(copy.deepcopy(each) for each in self)))
        return self.copies[-1]


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
        net = _Watched(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
        x = 3 * torch.randn(9, 6)
        y = torch.randint(4, (9,))
        # First ours: what PyTorch imports for it is not to count as the answer's time.
        gradients, stepped = _step(net, x, y, lr=lr, limit=limit)
        got = answer(net, x, y, lr, limit)
        norms = [each.norm().item() for each in gradients]
        compare(
            got,
            norms,
            on=f"with the limit {limit:g}",
            tolerance=0.01,
            mistakes=_report_mistakes(net, norms, limit),
        )
        trained = list(net.copies[0].parameters())
        for now, then, old, gradient in zip(
            trained, stepped, net.parameters(), gradients, strict=True
        ):
            unclipped = old.detach() - lr * gradient
            compare(
                now,
                then,
                on=f"as a parameter after the step with the limit {limit:g}",
                mistakes=[
                    (old, "The network has to be trained, too."),
                    (unclipped, "The step has to use the clipped gradient."),
                ],
            )
        if any(each.grad is not None and each.grad.any() for each in trained):
            raise WrongAnswer(
                "it leaves gradients behind",
                "The next backward pass would add its gradients to them.",
            )


def _step(
    net: nn.Sequential, x: Tensor, y: Tensor, *, lr: float, limit: float
) -> tuple[list[Tensor], list[nn.Parameter]]:
    """The gradients before they are clipped, and the parameters after a step; `net`
    stays as it is.
    """
    own = copy.deepcopy(nn.Sequential(*net))
    optimizer = torch.optim.SGD(own.parameters(), lr=lr)
    F.cross_entropy(own(x), y).backward()
    parameters = list(own.parameters())
    gradients = [each.grad.clone() for each in parameters if each.grad is not None]
    nn.utils.clip_grad_norm_(parameters, limit)
    optimizer.step()
    return gradients, parameters


def _report_mistakes(net: nn.Module, norms: list[float], limit: float) -> Mistakes:
    total = torch.tensor(norms).norm().item()
    weights = [each.norm().item() for each in net.parameters()]
    late = "Which line has changed the gradients by then?"
    return [
        ([limit / total * norm for norm in norms], f"This is after clipping. {late}"),
        ([0.0] * len(norms), f"They have been set to zero. {late}"),
        ([norm**2 for norm in norms], "A norm is the root of the sum of squares."),
        (weights, "That is the norm of the weights."),
        ([total], "Each parameter has a norm of its own."),
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
        got = answer(net, factor)
        if not isinstance(got, nn.Module):
            raise WrongAnswer(
                "it returns no network", "Return the network that you have changed."
            )
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
    found = torch.autograd.grad(F.cross_entropy(logits, y), parameters)
    gradients = torch.stack([each.norm() for each in found])
    sizes = torch.stack([each.detach().norm() for each in parameters])
    return logits, gradients, sizes
