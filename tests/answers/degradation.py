"""Answers to the exercises on degradation: wrong ones with the hint that they must get,
and right ones, written differently from the solution.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.degradation import identity_init

WORSE, OVER, FINE = "degradation", "overfitting", "no harm"


def by_test_error(shallow, deep):
    return WORSE if deep[1][-1] > shallow[1][-1] else FINE


def by_gap(shallow, deep):
    gaps = [test[-1] - train[-1] for train, test in (shallow, deep)]
    if gaps[1] > gaps[0]:
        return OVER
    return WORSE if deep[0][-1] > shallow[0][-1] else FINE


def at(epoch):
    def judge(shallow, deep):
        if deep[0][epoch] > shallow[0][epoch]:
            return WORSE
        return OVER if deep[1][-1] > shallow[1][-1] else FINE

    return judge


def on_average(shallow, deep):
    (train, test), (deep_train, deep_test) = (
        [sum(errors) / len(errors) for errors in pair] for pair in (shallow, deep)
    )
    return WORSE if deep_train > train else OVER if deep_test > test else FINE


def by_differences(shallow, deep):
    train, test = (b.pop() - a.pop() for a, b in zip(shallow, deep, strict=True))
    return {(True, True): WORSE, (True, False): WORSE, (False, True): OVER}.get(
        (train > 0, test > 0), FINE
    )


def layer(fill, bias=0.0, padding=None):
    """A convolution with weights of zero, some of which `fill` sets to one."""

    def build(channels, size):
        rows = size // 2 if padding is None else padding
        conv = nn.Conv2d(channels, channels, size, padding=rows)
        nn.init.zeros_(conv.weight)
        nn.init.constant_(conv.bias, bias)
        with torch.no_grad():
            fill(conv.weight, size // 2)
        return conv

    return build


def at_the_center(weight, center):
    weight[range(len(weight)), range(len(weight)), center, center] = 1


def all_channels(weight, center):
    weight[:, :, center, center] = 1


def mean_of_channels(weight, center):
    weight[:, :, center, center] = 1 / len(weight)


def corner(weight, center):
    weight[range(len(weight)), range(len(weight)), 0, 0] = 1


def everywhere(weight, center):
    weight[range(len(weight)), range(len(weight))] = 1


def ones(weight, center):
    weight.fill_(1)


def random_bias(channels, size):
    conv = nn.Conv2d(channels, channels, size, padding=size // 2)
    nn.init.dirac_(conv.weight)
    return conv


def from_the_library(channels, size):
    conv = nn.Conv2d(channels, channels, size, padding="same")
    identity_init(conv, std=0.0)
    nn.init.zeros_(conv.bias)
    return conv


def each_by_itself(channels, size):
    """As many groups as channels: no channel depends on another."""
    conv = nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels)
    conv.weight.data = nn.init.dirac_(torch.empty_like(conv.weight), groups=channels)
    conv.bias.data.zero_()
    return conv


def others(weights, one):
    return [
        math.prod(one + w for j, w in enumerate(weights) if j != i)
        for i in range(len(weights))
    ]


def divided(weights, residual):
    factors = [residual + w for w in weights]
    return [math.prod(factors) / factor for factor in factors]


def one_shortcut(weights, residual):
    return [residual + g for g in others(weights, 0)]


def whole(weights, residual):
    return [math.prod(residual + w for w in weights)] * len(weights)


def only_before(weights, residual):
    found, h = [], 1.0
    for w in weights:
        found.append(h)
        h *= residual + w
    return found


def forwards_and_backwards(weights, residual):
    before, after = only_before(weights, residual), only_before(weights[::-1], residual)
    return [a * b for a, b in zip(before, after[::-1], strict=True)]


def autograd(weights, residual):
    leaves = [torch.tensor(w, requires_grad=True) for w in weights]
    h = torch.ones(())
    for leaf in leaves:
        h = (h if residual else 0) + leaf * h
    h.backward()
    return [leaf.grad for leaf in leaves]


def report(*, late=False, zeros=False, clip=True, step=True, clear=True, square=False):
    def step_and_report(net, x, y, lr, limit):
        optimizer = torch.optim.SGD(net.parameters(), lr=lr)
        F.cross_entropy(net(x), y).backward()

        def norms():
            power = 2 if square else 1
            return [w.grad.norm().item() ** power for w in net.parameters()]

        found = norms()
        if clip:
            nn.utils.clip_grad_norm_(net.parameters(), limit)
        if late:
            found = norms()
        if step:
            optimizer.step()
        if zeros:
            optimizer.zero_grad(set_to_none=False)
            found = norms()
        if clear:
            optimizer.zero_grad()
        return found

    return step_and_report


def preserved_state(net, x, y, lr, limit):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    F.cross_entropy(net(x), y).backward()
    nn.utils.clip_grad_norm_(net.parameters(), limit)
    optimizer.step()
    optimizer.zero_grad()
    return [weight.grad.norm().item() for weight in net.parameters()]


def of_the_weights(net, x, y, lr, limit):
    return [w.norm().item() for w in net.parameters()]


def all_together(net, x, y, lr, limit):
    F.cross_entropy(net(x), y).backward()
    return nn.utils.clip_grad_norm_(net.parameters(), limit).item()


def by_hand(net, x, y, lr, limit):
    weights = tuple(net.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(net(x), y), weights)
    norms = torch.tensor([gradient.norm() for gradient in gradients])
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight -= lr * gradient * min(1.0, limit / norms.norm().item())
    return norms.tolist()


def scaled(*indices, power=1.0):
    """The parameters of these indices become `factor` ** `power` times larger."""

    def vanish(net, factor):
        for index in indices:
            list(net.parameters())[index].data.mul_(factor**power)
        return net

    return vanish


def hooked(net, factor):
    net[0].weight.register_hook(lambda gradient: gradient / factor)
    return net


def frozen(net, factor):
    net[0].weight.requires_grad_(False)
    return net


def in_place_only(net, factor):
    scaled(0)(net, factor)


def on_a_copy(net, factor):
    other = copy.deepcopy(net)
    state = other.state_dict()
    name = next(iter(state))
    other.load_state_dict({**state, name: factor * state[name]})
    return other


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "degradation.what_depth_did": [
        (by_test_error, "training error is lower"),
        (by_gap, "training errors first"),
        (at(0), "slowly at first"),
        (on_average, "slowly at first"),
        (
            lambda a, b: FINE if at(-1)(a, b) == FINE else WORSE,
            "training error is lower",
        ),
        (lambda shallow, deep: deep[0][-1] > shallow[0][-1], "a string is wanted"),
    ],
    "degradation.powers_of_ten": [
        (lambda: (33, 13, 0), "about its root"),
        (lambda: (10, 0, -6), "half of the values"),
        (lambda: (21, 0, -13), "half of the values"),
        (lambda: (-17, -6, 0), "as positive"),
        (lambda: (17, 7, 0), "43 layers"),
        (lambda: (23, 13, 6), "not its root"),
        (lambda: (16, 8, 0), "is not right"),
        (lambda: (17, 6), "is not right"),
    ],
    "degradation.identity_layer": [
        (layer(all_channels), "the same input channel only"),
        (layer(mean_of_channels), "the same input channel only"),
        (layer(corner), "at the center of the kernel"),
        (layer(everywhere), "at the center of the kernel"),
        (layer(ones), "Most of the weights are zero"),
        (layer(at_the_center, padding=0), "at each border"),
        (layer(at_the_center, bias=0.1), "does the bias add"),
        (random_bias, "does the bias add"),
        (lambda channels, size: nn.Identity(), "weights that training can change"),
    ],
    "degradation.gradients": [
        (only_before, "all later layers"),
        (whole, "own factor is not in"),
        (lambda weights, residual: others(weights, 0), "by its input"),
        (lambda weights, residual: others(weights, 1), "its factor is w"),
        (one_shortcut, "not only the first"),
        (divided, "needs no division"),
        (lambda weights, residual: whole(weights, residual)[0], "a list is wanted"),
    ],
    "degradation.step_and_report": [
        (preserved_state, "raised AttributeError"),
        (report(late=True), "after clipping"),
        (report(zeros=True), "set to zero"),
        (report(clip=False), "use the clipped gradient"),
        (report(step=False), "has to be trained"),
        (report(clear=False), "leaves gradients behind"),
        (report(square=True), "sum of squares"),
        (of_the_weights, "norm of the weights"),
        (all_together, "a list is wanted"),
    ],
    "degradation.vanish": [
        (lambda net, factor: net, "on the size of one weight"),
        (scaled(0, power=-1), "has a larger gradient"),
        (scaled(0, power=2), "By which factor"),
        (scaled(0, 3), "only the weight of the first"),
        (scaled(1, 2), "on the size of one weight"),
        (scaled(0, 7), "a normalization invariant"),
        (hooked, "Leave the backward pass alone"),
        (frozen, "Change only values"),
        (in_place_only, "Return the network"),
    ],
}

#: Exercise -> right answers that look different.
RIGHT = {
    "degradation.what_depth_did": [by_differences],
    "degradation.powers_of_ten": [
        lambda: [round(math.log10(share**21.5)) for share in (6, 2, 1)],
    ],
    "degradation.identity_layer": [from_the_library, each_by_itself],
    "degradation.gradients": [forwards_and_backwards, autograd],
    "degradation.step_and_report": [by_hand],
    "degradation.vanish": [on_a_copy],
}
