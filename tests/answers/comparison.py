"""Answers to the exercises on the comparison: wrong ones with the hint that they must
get, and right ones, written differently from the solution.
"""

import functools
import itertools
import math
from fractions import Fraction

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib.summary import summarize

VGG_16 = 138_357_544
ACTIVATIONS = 32 * 64 * 56 * 56 * 4


def side(size, kernel_size, stride, padding):
    return (size + 2 * padding - kernel_size) // stride + 1


def ungrouped(i, o, k, n, s, p, g):
    return i * o * k**2 * side(n, k, s, p) ** 2


def grouped_twice(i, o, k, n, s, p, g):
    return (i // g) * (o // g) * k**2 * side(n, k, s, p) ** 2


def at_the_input(i, o, k, n, s, p, g):
    return i // g * o * k**2 * n**2


def grouped(i, o, k, n, s, p, g):
    return ungrouped(i, o, k, n, s, p, g) // g


def not_rounded(i, o, k, n, s, p, g):
    return i / g * o * k**2 * ((n + 2 * p - k) / s + 1) ** 2


def rounded_up(i, o, k, n, s, p, g):
    return i // g * o * k**2 * math.ceil((n + 2 * p - k) / s + 1) ** 2


def padded_once(i, o, k, n, s, p, g):
    return i // g * o * k**2 * ((n + p - k) // s + 1) ** 2


def through(parts, choose):
    """The field through the branches that are chosen."""
    field, step = 1, 1
    for part in parts:
        for kernel_size, stride in choose(part) if isinstance(part, list) else [part]:
            field += (kernel_size - 1) * step
            step *= stride
    return field


def width(branch):
    return through([branch], lambda part: part)


def one_by_one(branches):
    return list(itertools.chain(*branches))


def field_of_kernels(parts):
    forks = [part if isinstance(part, list) else [[part]] for part in parts]
    return 1 + sum(max(sum(k for k, _ in branch) for branch in fork) for fork in forks)


def without_steps(parts):
    return 1 + sum(
        max(sum(k - 1 for k, _ in branch) for branch in part)
        if isinstance(part, list)
        else part[0] - 1
        for part in parts
    )


def without_steps_behind_forks(parts):
    """Within a branch it takes every step, and behind the fork none of them."""
    field, step = 1, 1
    for part in parts:
        if isinstance(part, list):
            field += step * (max(width(branch) for branch in part) - 1)
        else:
            field += step * (part[0] - 1)
            step *= part[1]
    return field


def own_strides(parts):
    return 1 + sum(
        max(
            sum((k - 1) * s for k, s in branch)
            for branch in (part if isinstance(part, list) else [[part]])
        )
        for part in parts
    )


def profiler(
    groups=True,
    once=True,
    computes_once=False,
    flops=1,
    tidy=True,
    modules=nn.Module.modules,
    square=False,
    only=(nn.Module,),
):
    """The profiler, with or without its mistakes."""

    def profile(net, x):
        parameters, macs, known = 0, 0, set()

        def count(layer, inputs, output):
            nonlocal parameters, macs
            if isinstance(layer, only) and not (once and layer in known):
                parameters += sum(p.numel() for p in layer.parameters())
            if computes_once and layer in known:
                return
            known.add(layer)
            if isinstance(layer, nn.Conv2d):
                height, width = layer.kernel_size
                size = layer.in_channels * height * (height if square else width)
                macs += output.numel() * size // (layer.groups if groups else 1)
            if isinstance(layer, nn.Linear):
                macs += output.numel() * layer.in_features

        hooks = [
            layer.register_forward_hook(count)
            for layer in modules(net)
            if not list(layer.children())
        ]
        net(x)
        for hook in hooks * tidy:
            hook.remove()
        return parameters, flops * macs

    return profile


def whole(net, x):
    return sum(p.numel() for p in net.parameters()), profiler()(net, x)[1]


def trained_only(net, x):
    _, macs = profiler()(net, x)
    return sum(p.numel() for p in net.parameters() if p.requires_grad), macs


def summarized(net, x):
    found = summarize(net, tuple(x.shape[1:]))
    return found.parameters, found.macs


def opinions(
    mean_of=lambda logits: logits.softmax(dim=2),
    none=lambda right: ~right.any(dim=0),
    by_chance=lambda errors: errors.prod(),
):
    """What an ensemble is worth, with or without mistakes."""

    def shares(logits, labels):
        right = logits.argmax(dim=2) == labels
        together = mean_of(logits).mean(dim=0).argmax(dim=1) == labels
        errors = 1 - right.double().mean(dim=1)
        found = together.float().mean(), none(right).float().mean(), by_chance(errors)
        return [each.item() for each in found]

    return shares


def by_votes(logits, labels):
    _, *others = opinions()(logits, labels)
    votes = logits.argmax(dim=2).mode(dim=0).values
    return ((votes == labels).float().mean().item(), *others)


def image_by_image(logits, labels):
    """In NumPy, one image after the other."""
    counts, errors = np.zeros(2), np.zeros(len(logits))
    for scores, label in zip(
        logits.numpy().swapaxes(0, 1), labels.tolist(), strict=True
    ):
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        answers = scores.argmax(axis=1)
        together = (powers / powers.sum(axis=1, keepdims=True)).sum(axis=0).argmax()
        counts += [together == label, label not in answers]
        errors += answers != label
    return *counts / len(labels), math.prod(errors / len(labels))


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "comparison.bytes_of_weights": [
        (lambda: (32 * VGG_16, 16 * VGG_16, 96 * VGG_16), "eight bits"),
        (lambda: (4 * VGG_16, 2 * VGG_16, 4 * VGG_16), "two more values"),
        (lambda: (4 * VGG_16, 2 * VGG_16, 8 * VGG_16), "two more values"),
        (lambda: (4 * VGG_16, 2 * VGG_16, 16 * VGG_16), "Adam stores"),
        (lambda: (8 * VGG_16, 4 * VGG_16, 24 * VGG_16), "four bytes"),
        (lambda: (4 * VGG_16, 2 * VGG_16, 6 * VGG_16), "in float32"),
        (lambda: (4 * VGG_16, 4 * VGG_16, 12 * VGG_16), "half as many bits"),
        (lambda: (VGG_16, VGG_16 // 2, 3 * VGG_16), "more than one byte"),
        (lambda: tuple(n * VGG_16 / 1e6 for n in (4, 2, 12)), "no larger unit"),
        (lambda: (527.8, 263.9, 1583.4), "no larger unit"),
        (lambda: (2 * VGG_16, 4 * VGG_16, 12 * VGG_16), "in another order"),
    ],
    "comparison.conv_macs": [
        (ungrouped, "its own group"),
        (grouped_twice, "still as many"),
        (at_the_input, "position of the output"),
        (lambda *a: 2 * grouped(*a), "two per MAC"),
        (lambda *a: grouped(*a) // a[2], "a height and a width"),
        (lambda i, o, k, n, s, p, g: i // g * o * k**2, "at every position"),
        (
            lambda i, o, k, n, s, p, g: grouped(i, o, k, n, s, 0, g),
            "adds positions",
        ),
        (lambda i, o, k, n, s, p, g: grouped(i, o, k, n, 1, p, g), "stride do"),
        (not_rounded, "beyond the border"),
        (rounded_up, "beyond the border"),
        (padded_once, "on both sides"),
        (lambda i, o, k, n, s, p, g: grouped(1, o, k, n, s, p, 1), "all channels of"),
        (lambda i, o, k, n, s, p, g: grouped(i, 1, k, n, s, p, g), "its own"),
    ],
    "comparison.saved_by_a_block": [
        (lambda: (ACTIVATIONS // 16, ACTIVATIONS // 8), "32 images"),
        (lambda: (ACTIVATIONS // 2, ACTIVATIONS), "four bytes"),
        (lambda: (4 * ACTIVATIONS, 6 * ACTIVATIONS), "Not every output"),
        (lambda: (3 * ACTIVATIONS, 5 * ACTIVATIONS), "one tensor"),
        (lambda: (2 * ACTIVATIONS, 2 * ACTIVATIONS), "needs its input"),
        (lambda: (2 * ACTIVATIONS, 6 * ACTIVATIONS), "Nothing needs"),
        (lambda: (3 * ACTIVATIONS, 6 * ACTIVATIONS), "one tensor"),
        (lambda: (2 * ACTIVATIONS, 5 * ACTIVATIONS), "own input does not"),
        (lambda: (2 * ACTIVATIONS, 3 * ACTIVATIONS), "saves its own input"),
        (lambda: (ACTIVATIONS, 2 * ACTIVATIONS), "two convolutions and two"),
        (lambda: (49, 98), "no larger unit"),
        (lambda: 2 * ACTIVATIONS, "a tuple is wanted"),
    ],
    "comparison.field_through_branches": [
        (lambda parts: through(parts, one_by_one), "parallel"),
        (lambda parts: through(parts, lambda part: part[0]), "first branch"),
        (lambda parts: through(parts, lambda part: part[-1]), "last branch"),
        (
            lambda parts: through(parts, lambda part: min(part, key=width)),
            "any of its branches",
        ),
        (without_steps, "several pixels apart"),
        (without_steps_behind_forks, "as its strides say"),
        (own_strides, "not by its own"),
        (
            lambda parts: through(parts, lambda part: max(part, key=len)),
            "need not see the most",
        ),
        (
            lambda parts: through(
                parts, lambda part: max(part, key=lambda b: max(b, default=(0, 0))[0])
            ),
            "need not be in the branch",
        ),
        (lambda parts: field_of_kernels(parts), "k - 1"),
        (lambda parts: (1, 1), "an integer is wanted"),
    ],
    "comparison.profile": [
        (profiler(groups=False, once=False), "own group"),
        (profiler(groups=False), "own group"),
        (profiler(once=False), "exists once"),
        (profiler(computes_once=True), "computes twice"),
        (profiler(flops=2), "two per MAC"),
        (profiler(tidy=False), "Hooks that stay"),
        (profiler(modules=nn.Module.children), "`modules()` finds"),
        (profiler(square=True), "need not be square"),
        (profiler(only=(nn.Conv2d, nn.Linear)), "Other layers have parameters"),
        (profiler(), "parameters of its own"),
        (trained_only, "A frozen parameter"),
        (summarized, "does it for you"),
        (lambda net, x: profiler()(net, x)[0], "a tuple is wanted"),
    ],
    "comparison.opinions": [
        (opinions(mean_of=lambda logits: logits), "not yet probabilities"),
        (opinions(mean_of=lambda logits: logits.softmax(dim=1)), "sum to one"),
        (by_votes, "counts votes"),
        (opinions(none=lambda right: right.any(dim=0)), "one is right for"),
        (opinions(none=lambda right: ~right.all(dim=0)), "all are wrong"),
        (opinions(none=lambda right: ~right), "a share of the images"),
        (opinions(by_chance=lambda e: 1 - e.prod()), "chance that one is right"),
        (opinions(by_chance=lambda e: (1 - e).prod()), "chance that all are right"),
        (opinions(by_chance=lambda e: e.mean() ** len(e)), "of its own"),
        (opinions(by_chance=torch.mean), "wrong at once"),
        (lambda logits, labels: opinions()(logits, labels)[:2], "got [0.45"),
    ],
}


def spread_out(i, o, k, n, s, p, g):
    """The rows of the matrix product that the layer is."""
    layer = nn.Unfold(k, padding=p, stride=s)
    _, rows, columns = layer(torch.zeros(1, i // g, n, n)).shape
    return rows * columns * o


def saved(*between):
    """What autograd saves of the block, asked of autograd."""
    layers = (nn.Conv2d(64, 64, 3, padding=1), *between, nn.ReLU())
    net, x = nn.Sequential(*layers, *layers), torch.randn(1, 64, 56, 56)
    found = {}

    def pack(tensor):
        if tensor.shape == x.shape:
            found[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(x)
    found.pop(x.data_ptr())
    return 32 * sum(tensor.numel() * tensor.element_size() for tensor in found.values())


def backwards(parts):
    """From the unit to the image."""
    field = 1
    for part in reversed(parts):
        fields = []
        for branch in part if isinstance(part, list) else [[part]]:
            size = field
            for kernel_size, stride in reversed(branch):
                size = (size - 1) * stride + kernel_size
            fields.append(size)
        field = max(fields)
    return field


def by_torch(net, x):
    with FlopCounterMode(display=False) as counter:
        net(x)
    sizes = {id(p): p.numel() for p in net.parameters()}
    return sum(sizes.values()), counter.get_total_flops() // 2


def recursive(parts, field=1, step=1):
    """Each part in turn, by a function of itself."""
    if not parts:
        return field
    first, *rest = parts
    if isinstance(first, tuple):
        return recursive(rest, field + (first[0] - 1) * step, step * first[1])
    step_after = step * math.prod(stride for _, stride in first[0])
    return recursive(rest, max(recursive(b, field, step) for b in first), step_after)


def by_positions(parts):
    """The pixels themselves: those of unit 0, as a set."""
    seen = {0}
    for part in reversed(parts):
        branches = part if isinstance(part, list) else [[part]]
        found = set()
        for branch in branches:
            here = seen
            for k, stride in reversed(branch):
                span = range(-(k // 2), k // 2 + 1)
                here = {stride * i + j for i in (min(here), max(here)) for j in span}
            found |= {min(here), max(here)}
        seen = found
    return np.int64(max(seen) - min(seen) + 1)


def on_meta(i, o, k, n, s, p, g):
    """As many as the layer has weights, at each position of its output."""
    with torch.device("meta"):
        layer = nn.Conv2d(i, o, k, s, p, groups=g, bias=False)
        positions = layer(torch.empty(1, i, n, n))[0, 0]
    return torch.tensor(layer.weight.numel() * positions.numel())


def exact(i, o, k, n, s, p, g):
    places = Fraction(n + 2 * p - k, s) + 1
    return math.floor(places) ** 2 * Fraction(i, g) * o * k * k


class Profiler:
    """An object that is called; it looks at a copy of the network."""

    def __call__(self, net, x):
        uses = []
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                hook = functools.partial(self.use, uses)
                layer.register_forward_hook(hook)
        net(x)
        for layer in net.modules():
            layer._forward_hooks.clear()
        yield np.sum([p.numel() for p in dict.fromkeys(net.parameters())])
        yield float(sum(uses))

    def use(self, uses, layer, inputs, output):
        uses.append(output.numel() * layer.weight[0].numel())


#: Exercise -> right answers that look different.
RIGHT = {
    "comparison.bytes_of_weights": [
        lambda: [VGG_16 * bits // 8 for bits in (32, 16, 3 * 32)],
        lambda: torch.tensor([4, 2, 12]) * VGG_16,
        lambda: (Fraction(VGG_16 * bits, 8) for bits in (32, 16, 96)),
    ],
    "comparison.conv_macs": [spread_out, on_meta, exact],
    "comparison.saved_by_a_block": [
        lambda: (saved(), saved(nn.BatchNorm2d(64))),
        lambda: np.float64(ACTIVATIONS) * np.arange(2, 5, 2),
        lambda: [torch.tensor(n * ACTIVATIONS) for n in (2, 4)],
    ],
    "comparison.field_through_branches": [backwards, recursive, by_positions],
    "comparison.profile": [by_torch, whole, Profiler()],
    "comparison.opinions": [
        opinions(),
        image_by_image,
        lambda logits, labels: (
            torch.tensor(each) for each in opinions()(logits, labels)
        ),
    ],
}
