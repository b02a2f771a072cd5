"""Answers to the exercises on the comparison: wrong ones with the hint that they must
get, and right ones, written differently from the solution.
"""

import itertools

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

PARAMETERS, MACS = 128 * 577, 128 * 576 * 784
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


def profiler(groups=True, once=True, computes_once=False, flops=1):
    """The profiler, with or without its mistakes."""

    def profile(net, x):
        parameters, macs, known = 0, 0, set()

        def count(layer, inputs, output):
            nonlocal parameters, macs
            if not (once and layer in known):
                parameters += sum(p.numel() for p in layer.parameters())
            if computes_once and layer in known:
                return
            known.add(layer)
            if isinstance(layer, nn.Conv2d):
                size = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
                macs += output.numel() * size // (layer.groups if groups else 1)
            if isinstance(layer, nn.Linear):
                macs += output.numel() * layer.in_features

        for layer in net.modules():
            if not list(layer.children()):
                layer.register_forward_hook(count)
        net(x)
        return parameters, flops * macs

    return profile


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "comparison.three_costs": [
        (lambda: (PARAMETERS, MACS, MACS), "two operations"),
        (lambda: (PARAMETERS, 2 * MACS, MACS), "two operations"),
        (lambda: (PARAMETERS - 128, MACS, 2 * MACS), "bias, too"),
        (lambda: (PARAMETERS, MACS + 128 * 784, 2 * (MACS + 128 * 784)), "of the bias"),
        (lambda: (PARAMETERS, 4 * MACS, 8 * MACS), "What does the stride do"),
        (lambda: (PARAMETERS, 128 * 576, 256 * 576), "for each pixel"),
        (lambda: (128 * 10, 128 * 9 * 784, 256 * 9 * 784), "all input channels"),
        (lambda: (PARAMETERS, MACS), "is not right"),
    ],
    "comparison.bytes_of_weights": [
        (lambda: (32 * VGG_16, 16 * VGG_16, 96 * VGG_16), "eight bits"),
        (lambda: (4 * VGG_16, 2 * VGG_16, 4 * VGG_16), "two more values"),
        (lambda: (4 * VGG_16, 2 * VGG_16, 8 * VGG_16), "two more values"),
        (lambda: (4 * VGG_16, 2 * VGG_16, 16 * VGG_16), "Adam stores"),
        (lambda: (8 * VGG_16, 4 * VGG_16, 24 * VGG_16), "four bytes"),
        (lambda: (4 * VGG_16, 2 * VGG_16, 6 * VGG_16), "in float32"),
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
    ],
    "comparison.saved_by_a_block": [
        (lambda: (ACTIVATIONS // 16, ACTIVATIONS // 8), "32 images"),
        (lambda: (ACTIVATIONS // 2, ACTIVATIONS), "four bytes"),
        (lambda: (4 * ACTIVATIONS, 6 * ACTIVATIONS), "Not every output"),
        (lambda: (3 * ACTIVATIONS, 5 * ACTIVATIONS), "one tensor"),
        (lambda: (2 * ACTIVATIONS, 2 * ACTIVATIONS), "needs its input"),
        (lambda: (2 * ACTIVATIONS, 6 * ACTIVATIONS), "Nothing needs"),
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
        (without_steps_behind_forks, "expected"),
    ],
    "comparison.profile": [
        (profiler(groups=False, once=False), "own group"),
        (profiler(groups=False), "own group"),
        (profiler(once=False), "exists once"),
        (profiler(computes_once=True), "computes twice"),
        (profiler(flops=2), "two per MAC"),
    ],
}


def built():
    layer = nn.Conv2d(64, 128, 3, 2, 1)
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(1, 64, 56, 56))
    flops = counter.get_total_flops()
    return [sum(p.numel() for p in layer.parameters()), flops // 2, flops]


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


#: Exercise -> right answers that look different.
RIGHT = {
    "comparison.three_costs": [built],
    "comparison.bytes_of_weights": [
        lambda: [VGG_16 * bits // 8 for bits in (32, 16, 3 * 32)]
    ],
    "comparison.conv_macs": [spread_out],
    "comparison.saved_by_a_block": [lambda: (saved(), saved(nn.BatchNorm2d(64)))],
    "comparison.field_through_branches": [backwards],
    "comparison.profile": [by_torch, profiler()],
}
