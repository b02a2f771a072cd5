"""The exercises on degradation."""

from __future__ import annotations

import copy
import random
from math import log10
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Wrong, compare
from course_lib.checks.exercises import Answer, exercise

#: Training and test errors at the end: the shallow net's, the deep one's, what that is,
#: and where to look otherwise. Then the deep net's training error at the beginning.
ENDS = [
    ((8, 12), (6, 9), "no harm", "A deep net may be slow at first.", 90),
    ((8, 12), (12, 14), "degradation", "Begin with the training error.", 60),
    ((8, 12), (12, 18), "degradation", "Begin with the training error.", 60),
    ((8, 12), (4, 15), "overfitting", "It knows its own pictures better.", 40),
    ((8, 12), (2, 10), "no harm", "A wider gap is no harm if both errors fall.", 40),
    ((8, 12), (6, 14), "overfitting", "A deep net may be slow at first.", 90),
    (
        (8, 12),
        (11, 13),
        "degradation",
        "A net that is ahead at first may end last.",
        15,
    ),
]


@exercise(
    "degradation.what_depth_did",
    kind="implement",
    goal="tell degradation from overfitting by the curves",
    minutes=10,
    first="Which of the four errors is the first to look at, and at which epoch?",
)
def what_depth_did(answer: Answer) -> None:
    """On drawn curves, each of which a hasty rule gets wrong."""
    for shallow, deep, want, hint, begin in ENDS:
        epochs = random.randint(4, 9)
        curves = [
            tuple(_falling(start + 2 * i, end, epochs) for i, end in enumerate(ends))
            for start, ends in ((50, shallow), (begin, deep))
        ]
        (train, test), (deep_train, deep_test) = (
            [f"{curve[-1]:.1f}" for curve in pair] for pair in curves
        )
        on = f"errors that end at {train} and {test}, and deep at {deep_train} and"
        others = {"degradation", "overfitting", "no harm"} - {want}
        mistakes = [(other, hint) for other in others]
        answer.gives(want, *curves, on=f"{on} {deep_test}", mistakes=mistakes)


def _falling(start: float, end: float, epochs: int) -> list[float]:
    """Errors that fall, the last of them fast, to about `end`."""
    end += random.uniform(-0.3, 0.3)
    way = [(start - end) * (1 - i / (epochs - 1)) ** 0.7 for i in range(epochs)]
    return [round(end + left, 2) for left in way]


@exercise(
    "degradation.powers_of_ten",
    kind="predict",
    goal="see what a factor in each layer comes to",
    minutes=10,
    first="How large is the mean square before the ReLU, and how large behind it?",
)
def powers_of_ten(answer: Answer) -> None:
    """He's rule: c / 2 of the mean square is left by each layer."""

    def powers(relu: float = 2, root: float = 2, layers: int = 43) -> tuple[int, ...]:
        found = (-layers * log10(c / relu) / root for c in (1 / 3, 1, 2))
        return tuple(round(each) for each in found)

    want = powers()
    layers, half = "There are 43 layers.", "A ReLU lets half of the numbers pass."
    answer.gives(
        want,
        mistakes=[
            (powers(root=1), "That is the mean square, and its root is asked for."),
            (powers(relu=1), half),
            (powers(relu=1, root=1), half),
            (powers(relu=4), "A ReLU halves the mean square, not its root."),
            (tuple(-each for each in want), "Smaller is to be positive."),
            *((powers(layers=number), layers) for number in (1, 42, 44)),
        ],
    )


@exercise(
    "degradation.layer_that_does_nothing",
    kind="implement",
    goal="build the layer that does nothing",
    minutes=10,
    first="Begin with one channel and a 1x1 kernel: which weight does nothing?",
)
def layer_that_does_nothing(answer: Answer) -> None:
    """On non-negative maps, against themselves."""
    for channels, size in ((1, 1), (3, 3), (4, 5), (2, 7)):
        got = answer(channels, size)
        if not isinstance(got, nn.Conv2d) or got.kernel_size != (size, size):
            hint = "The layer is to have weights that training can change."
            raise Wrong(f"it returns no convolution with a {size}x{size} kernel", hint)
        x = torch.rand(2, channels, 9, 8)
        y = got(x).detach()
        middle = "The one weight that counts is in the middle of the kernel."
        own = "An output channel is to see no channel but its own."
        one = torch.eye(channels)[:, :, None, None].expand(-1, -1, size, size)
        at, everything = torch.zeros(2, size, size), torch.ones_like(one)
        at[0, size // 2, size // 2] = at[1, 0, 0] = 1
        kernels = [
            (everything * at[0], own),
            (everything * at[0] / channels, own),
            (one, middle),
            (one / size**2, middle),
            (one * at[1], middle),
            (everything, "Most of the weights are zero."),
        ]
        hints: list[tuple[Any, str]] = [
            (F.conv2d(x, k, padding=size // 2), hint) for k, hint in kernels
        ]
        if y.shape == x.shape and (y - x).std((0, 2, 3)).max() < 1e-5:
            hints.append((y.relu(), "What does the bias add?"))
        if y.shape != x.shape:
            hints.append((y.relu(), "What does a kernel miss at each border?"))
        on = f"for {channels} channels and a {size}x{size} kernel"
        compare(y.relu(), x, on=on, mistakes=hints)


@exercise(
    "degradation.gradients",
    kind="implement",
    goal="see what a shortcut does to a product",
    minutes=15,
    first="Write the last h of two layers as a product. What multiplies the first?",
)
def gradients(answer: Answer) -> None:
    """Against autograd, on drawn chains, one with a weight of zero."""
    chains = [[random.uniform(-2, 2) for _ in range(n)] for n in (2, 3, 5, 8)]
    for weights in ([0.5], *chains, [0.5, 0.0, -3.0], [2.0, -1.0, 0.5]):
        for residual in (False, True):
            leaves = torch.tensor(weights, dtype=torch.double, requires_grad=True)
            h, before = torch.ones((), dtype=torch.double), []
            for leaf in leaves:
                before.append(h.item())
                h = residual * h + leaf * h
            found = torch.autograd.grad(h, leaves)[0].tolist()
            plain, pairs = _others(weights, 0), zip(found, weights, strict=True)
            mistakes: list[tuple[Any, str]] = [
                (before, "A weight also acts through all layers behind it."),
                ([h.item()] * len(weights), "A layer's own factor is not in it."),
                (plain, "How does a residual layer depend on what it gets?"),
                (_others(weights, 1), "A plain layer hands on w times h, and no more."),
                ([1 + each for each in plain], "Each layer has a shortcut of its own."),
                ([g * w for g, w in pairs], "That is the gradient times its weight."),
            ]
            chain = f"a {'residual' if residual else 'plain'} chain with weights "
            on = chain + ", ".join(f"{weight:.2f}" for weight in weights)
            options: dict[str, Any] = {"mistakes": mistakes, "tolerance": 0.01}
            try:
                answer.gives(found, weights, residual, on=on, **options)
            except ZeroDivisionError:
                hint = "The product of all others can be had without a division."
                raise Wrong(f"it divides by zero for {on}", hint) from None


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
    first="Go through the lines: which of them change the gradients?",
)
def step_and_report(answer: Answer) -> None:
    """Against the same step made here, clipped and not."""
    for limit in (0.1, 100.0):
        net = _Watched(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
        x, y, lr = 3 * torch.randn(9, 6), torch.randint(4, (9,)), 0.5
        own, weights = copy.deepcopy(nn.Sequential(*net)), list(net.parameters())
        # Here, so that what PyTorch imports for it does not count as the answer's time.
        optimizer = torch.optim.SGD(own.parameters(), lr=lr)
        F.cross_entropy(own(x), y).backward()
        wants = list(own.parameters())
        before = [each.grad.clone() for each in wants if each.grad is not None]
        norms = [each.norm().item() for each in before]
        total = nn.utils.clip_grad_norm_(own.parameters(), limit).item()
        optimizer.step()
        on = f"with the limit {limit:g}"
        got = answer(net, x, y, lr, limit)
        late = "What has changed the gradients by then?"
        mistakes = [
            ([limit / total * n for n in norms], f"It was clipped before. {late}"),
            ([0.0] * len(norms), f"They have been set to zero. {late}"),
            ([norm**2 for norm in norms], "A norm is the root of the sum of squares."),
            ([w.norm().item() for w in weights], "That is the norm of the weights."),
            ([total], "Each parameter has a norm of its own."),
        ]
        compare(got, norms, on=on, mistakes=mistakes, tolerance=0.01)
        after = list(net.copies[0].parameters())
        for now, then, old, grad in zip(after, wants, weights, before, strict=True):
            free = old.detach() - lr * grad
            hints = [
                (old, "The net has to be trained, too."),
                (free, "The step is to be made with the clipped gradient."),
            ]
            compare(now, then, on=f"as a parameter after the step {on}", mistakes=hints)
        if any(each.grad is not None and each.grad.any() for each in after):
            hint = "The next backward pass would add to them."
            raise Wrong("it leaves gradients behind", hint)


@exercise(
    "degradation.vanish",
    kind="implement",
    goal="see why the norm of a gradient says little without that of its weight",
    minutes=10,
    first="What can be done to a weight so that batch normalisation takes it back?",
)
def vanish(answer: Answer) -> None:
    """On a small net in training mode: its logits, its gradients, and its weights."""
    for factor in (10.0, 3.0):
        layers = [*_conv_bn_relu(2, 4), *_conv_bn_relu(4, 5)]
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
        net, on = nn.Sequential(*layers, head), f"with the factor {factor:g}"
        x, y = torch.randn(8, 2, 9, 9), torch.randint(3, (8,))
        want, was, sizes = _run(net, x, y)
        got = answer(net, factor)
        if not isinstance(got, nn.Module):
            raise Wrong("it returns no net", "Return the net that you have changed.")
        frozen = any(not each.requires_grad for each in got.parameters())
        if frozen or list(got.state_dict()) != list(net.state_dict()):
            hint = "Change nothing but numbers."
            raise Wrong("the net has other layers, or a layer does not learn", hint)
        logits, now, larger = _run(got.train(), x, y)
        undo = [(logits, "Which change of a weight does a normalisation undo?")]
        compare(logits, want, on=f"as logits {on}", mistakes=undo, tolerance=2e-3)
        ratio = was / now
        first = f"the gradient of the first convolution is {ratio[0]:.3g} times smaller"
        for fails, message, hint in (
            (ratio[0] < 0.99, first, "A smaller weight has a larger gradient."),
            (
                abs(ratio[0] - 1) < 0.01,
                "the gradient of the first convolution is as large as before",
                "Of which weight does this gradient depend on the size?",
            ),
            (abs(ratio[0] / factor - 1) > 0.01, first, "By how much did you scale it?"),
            (
                (ratio[1:] - 1).abs().max() > 0.01,
                "other gradients have changed, too",
                "Only the weight of the first convolution is to be another.",
            ),
            (
                abs(larger[0] / sizes[0] / factor - 1) > 0.01,
                "the weight is not what made the gradient smaller",
                "Leave the backward pass alone, and change a number.",
            ),
        ):
            if fails:
                raise Wrong(f"{message}, {on}", hint)


def _conv_bn_relu(channels: int, out: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU()]


def _run(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The logits, and the norms of the gradients and of the parameters."""
    logits, weights = net(x), list(net.parameters())
    found = torch.autograd.grad(F.cross_entropy(logits, y), weights)
    gradients = torch.stack([each.norm() for each in found])
    return logits, gradients, torch.stack([w.detach().norm() for w in weights])
