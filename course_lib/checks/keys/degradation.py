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
    """How the errors of a shallow and a deep net go, and what that is."""

    #: The deep net's training error at the beginning, in percent.
    begin: int
    #: The deep net's training and test errors at the end, in percent.
    deep: tuple[int, int]
    #: What that is.
    name: str
    #: Where to look if an answer names it otherwise.
    hint: str


#: The shallow net's training and test errors at the end, and its training error at the
#: beginning, in percent.
SHALLOW = (8, 12)
SHALLOW_BEGIN = 50

SLOW = "A deep net may be slow at first."
TRAINING = "Begin with the training error."
OWN_PICTURES = "It knows its own pictures better."
BOTH_FALL = "A wider gap is no harm if both errors fall."
AHEAD = "A net that is ahead at first may end last."

#: Each is one that a hasty rule gets wrong.
CURVES = [
    Curves(90, (6, 9), "no harm", hint=SLOW),
    Curves(60, (12, 14), "degradation", hint=TRAINING),
    Curves(60, (12, 18), "degradation", hint=TRAINING),
    Curves(40, (4, 15), "overfitting", hint=OWN_PICTURES),
    Curves(40, (2, 10), "no harm", hint=BOTH_FALL),
    Curves(90, (6, 14), "overfitting", hint=SLOW),
    Curves(15, (11, 13), "degradation", hint=AHEAD),
]


@exercise(
    "degradation.what_depth_did",
    kind="implement",
    goal="tell degradation from overfitting by the curves",
    minutes=10,
    first_hint="Which of the four errors is the first to look at, and at which epoch?",
)
def what_depth_did(answer: Answer) -> None:
    """On drawn curves, each of which a hasty rule gets wrong."""
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
    """Errors that fall, the last of them fast, to about `end`."""
    end += random.uniform(-0.3, 0.3)
    way = [(begin - end) * (1 - i / (epochs - 1)) ** 0.7 for i in range(epochs)]
    return [round(end + left, 2) for left in way]


@exercise(
    "degradation.powers_of_ten",
    kind="predict",
    goal="see what a factor in each layer comes to",
    minutes=10,
    first_hint="How large is the mean square before the ReLU, and how large behind it?",
)
def powers_of_ten(answer: Answer) -> None:
    """He's rule: c / 2 of the mean square is left by each layer."""

    def powers(relu: float = 2, root: float = 2, layers: int = 43) -> tuple[int, ...]:
        found = (-layers * log10(c / relu) / root for c in (1 / 3, 1, 2))
        return tuple(round(each) for each in found)

    want = powers()
    half = "A ReLU lets half of the numbers pass."
    layers = "There are 43 layers."
    answer.expect(
        want,
        mistakes=[
            (powers(root=1), "That is the mean square, and its root is asked for."),
            (powers(relu=1), half),
            (powers(relu=1, root=1), half),
            (powers(relu=4), "A ReLU halves the mean square, not its root."),
            (tuple(-each for each in want), "Smaller is to be positive."),
            (powers(layers=1), layers),
            (powers(layers=42), layers),
            (powers(layers=44), layers),
        ],
    )


@exercise(
    "degradation.layer_that_does_nothing",
    kind="implement",
    goal="build the layer that does nothing",
    minutes=10,
    first_hint="Begin with one channel and a 1x1 kernel: which weight does nothing?",
)
def layer_that_does_nothing(answer: Answer) -> None:
    """On non-negative maps, against themselves."""
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
            mistakes=_nothing_mistakes(x, y, size),
        )


def _nothing_mistakes(x: Tensor, y: Tensor, size: int) -> Mistakes:
    """`y` is what came of `x`: it tells a bias, and a border that is missing."""
    channels = x.shape[1]
    at_middle = torch.zeros(size, size)
    at_middle[size // 2, size // 2] = 1
    at_corner = torch.zeros(size, size)
    at_corner[0, 0] = 1
    own_channel = torch.eye(channels)[:, :, None, None].expand(-1, -1, size, size)
    everything = torch.ones_like(own_channel)
    own = "An output channel is to see no channel but its own."
    middle = "The one weight that counts is in the middle of the kernel."
    kernels = [
        (everything * at_middle, own),
        (everything * at_middle / channels, own),
        (own_channel, middle),
        (own_channel / size**2, middle),
        (own_channel * at_corner, middle),
        (everything, "Most of the weights are zero."),
    ]
    mistakes = [
        (F.conv2d(x, kernel, padding=size // 2), hint) for kernel, hint in kernels
    ]
    if y.shape == x.shape and (y - x).std((0, 2, 3)).max() < 1e-5:
        mistakes.append((y.relu(), "What does the bias add?"))
    if y.shape != x.shape:
        mistakes.append((y.relu(), "What does a kernel miss at each border?"))
    return mistakes


@exercise(
    "degradation.gradients",
    kind="implement",
    goal="see what a shortcut does to a product",
    minutes=15,
    first_hint="Write the last h of two layers as a product. What multiplies the"
    " first?",
)
def gradients(answer: Answer) -> None:
    """Against autograd, on drawn chains, one with a weight of zero."""
    chains = [[random.uniform(-2, 2) for _ in range(n)] for n in (2, 3, 5, 8)]
    for weights in ([0.5], *chains, [0.5, 0.0, -3.0], [2.0, -1.0, 0.5]):
        for residual in (False, True):
            found, states = _through_chain(weights, residual)
            kind = "residual" if residual else "plain"
            listed = ", ".join(f"{weight:.2f}" for weight in weights)
            on = f"a {kind} chain with weights {listed}"
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
                    "The product of all others can be had without a division.",
                ) from None


def _through_chain(
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
        (before, "A weight also acts through all layers behind it."),
        ([last] * len(weights), "A layer's own factor is not in it."),
        (plain, "How does a residual layer depend on what it gets?"),
        (with_shortcut, "A plain layer hands on w times h, and no more."),
        ([1 + each for each in plain], "Each layer has a shortcut of its own."),
        (times_weight, "That is the gradient times its weight."),
    ]


def _others(weights: list[float], one: int) -> list[float]:
    """For each weight, the product of ``one + w`` over the others."""
    found = []
    for i in range(len(weights)):
        rest = torch.tensor(weights[:i] + weights[i + 1 :], dtype=torch.double)
        found.append((one + rest).prod().item())
    return found


class _Watched(nn.Sequential):
    """A net that remembers its copies: an answer gets the first one."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.copies: list[nn.Module] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        self.copies.append(nn.Sequential(*(copy.deepcopy(each) for each in self)))
        return self.copies[-1]


@exercise(
    "degradation.step_and_report",
    kind="repair",
    goal="measure a gradient before something else has changed it",
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
                    (old, "The net has to be trained, too."),
                    (unclipped, "The step is to be made with the clipped gradient."),
                ],
            )
        if any(each.grad is not None and each.grad.any() for each in trained):
            raise WrongAnswer(
                "it leaves gradients behind",
                "The next backward pass would add to them.",
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
    late = "What has changed the gradients by then?"
    return [
        ([limit / total * norm for norm in norms], f"It was clipped before. {late}"),
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
    first_hint="What can be done to a weight so that batch normalization takes it"
    " back?",
)
def vanish(answer: Answer) -> None:
    """On a small net in training mode: its logits, its gradients, and its weights."""
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
                "it returns no net", "Return the net that you have changed."
            )
        frozen = any(not each.requires_grad for each in got.parameters())
        if frozen or list(got.state_dict()) != list(net.state_dict()):
            raise WrongAnswer(
                "the net has other layers, or a layer does not learn",
                "Change nothing but numbers.",
            )
        their_logits, their_gradients, their_sizes = _run(got.train(), x, y)
        undone = "Which change of a weight does a normalization undo?"
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
    """The first gradient is `factor` times smaller, the others are not, and that is for
    the weight, which is `grown` times larger.

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
        "Of which weight does this gradient depend on the size?",
    )
    refuse(
        abs(shrunk[0] / factor - 1) > 0.01,
        f"{first} {shrunk[0]:.3g} times smaller, {on}",
        "By how much did you scale it?",
    )
    refuse(
        (shrunk[1:] - 1).abs().max() > 0.01,
        f"other gradients have changed, too, {on}",
        "Only the weight of the first convolution is to be another.",
    )
    refuse(
        abs(grown / factor - 1) > 0.01,
        f"the weight is not what made the gradient smaller, {on}",
        "Leave the backward pass alone, and change a number.",
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
