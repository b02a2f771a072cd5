"""Answers to the exercises on degradation: wrong ones with the hint that they must get,
and right ones, written differently from the solution.
"""

import copy
import enum
import functools
import math
from fractions import Fraction

import numpy as np
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


def at_their_best(shallow, deep):
    (train, test), (deep_train, deep_test) = (
        [min(errors) for errors in pair] for pair in (shallow, deep)
    )
    return WORSE if deep_train > train else OVER if deep_test > test else FINE


def or_the_same(shallow, deep):
    if deep[0][-1] >= shallow[0][-1]:
        return WORSE
    return OVER if deep[1][-1] >= shallow[1][-1] else FINE


def taken_out(shallow, deep):
    train, test = (b.pop() - a.pop() for a, b in zip(shallow, deep, strict=True))
    return WORSE if train > 0 else OVER if test > 0 else FINE


class Verdict(enum.StrEnum):
    WORSE = "degradation"
    OVER = "overfitting"
    FINE = "no harm"


def by_verdict(shallow, deep):
    (*_, train), (*_, test) = shallow
    (*_, deep_train), (*_, deep_test) = deep
    if deep_train <= train:
        return Verdict.FINE if deep_test <= test else Verdict.OVER
    return Verdict.WORSE


def by_numpy(shallow, deep):
    worse = np.array(deep)[:, -1] > np.array(shallow)[:, -1]
    return np.array([FINE, OVER, WORSE, WORSE])[worse @ [2, 1]]


def by_differences(shallow, deep):
    train, test = (b[-1] - a[-1] for a, b in zip(shallow, deep, strict=True))
    return {(True, True): WORSE, (True, False): WORSE, (False, True): OVER}.get(
        (train > 0, test > 0), FINE
    )


def deeper(
    *,
    mean=1.0,
    scale=True,
    root=True,
    correction=0,
    running=True,
    padding=1,
    size=3,
    bias=False,
    fill=nn.init.dirac_,
    momentum=0.1,
):
    """A layer with the statistics of x, or with some of them."""

    def deeper_by_one(x):
        channels = x.shape[1]
        conv = nn.Conv2d(channels, channels, size, padding=padding, bias=bias)
        norm = nn.BatchNorm2d(channels, momentum=momentum)
        var = x.var((0, 2, 3), correction=correction)
        with torch.no_grad():
            fill(conv.weight)
            if running:
                norm.running_mean.copy_(x.mean((0, 2, 3)))
                norm.running_var.copy_(x.var((0, 2, 3), correction=0))
            if scale:
                norm.weight.copy_((var + norm.eps) ** (0.5 if root else 1))
            norm.bias.copy_(mean * x.mean((0, 2, 3)))
        return nn.Sequential(conv, norm, nn.ReLU())

    return deeper_by_one


def only_in_evaluation(x):
    """Scale one and shift zero, and running statistics that change nothing."""
    made = deeper(running=False, scale=False, mean=0)(x)
    made[1].running_var.fill_(1 - made[1].eps)
    return made


def with_m_minus_one(x):
    """Right in evaluation mode, and nearly so in training mode."""
    made = deeper(correction=1)(x)
    made[1].running_var.copy_(x.var((0, 2, 3)))
    return made


def scaled_only(x):
    """Right in evaluation mode, with a mean of zero."""
    made = deeper(mean=0)(x)
    made[1].running_mean.zero_()
    return made


def shifted_only(x):
    """Right in evaluation mode, with a variance of one."""
    made = deeper(scale=False)(x)
    made[1].running_var.fill_(1 - made[1].eps)
    return made


def squared(x):
    """Right in evaluation mode: the root of the variance is in the running one."""
    made = deeper(root=False)(x)
    made[1].running_var.copy_(made[1].weight.detach() ** 2 - made[1].eps)
    return made


class Fixed(nn.BatchNorm2d):
    """It never normalizes with the batch."""

    def forward(self, x):
        return x * 1.0


def not_normalizing(x):
    made = deeper()(x)
    made[1] = Fixed(x.shape[1])
    return made


def frozen_layer(x):
    return deeper()(x).requires_grad_(False)


def by_training(x):
    """The layer finds its running statistics itself, from x."""
    channels = x.shape[1]
    norm = nn.BatchNorm2d(channels, momentum=1.0)
    norm(x)
    m = x.numel() // channels
    norm.running_var.mul_((m - 1) / m)
    norm.bias.data = norm.running_mean.clone()
    norm.weight.data = (norm.running_var + norm.eps) ** 0.5
    conv = nn.Conv2d(channels, channels, 3, padding="same", bias=False)
    conv.weight.data.zero_()
    conv.weight.data[range(channels), range(channels), 1, 1] = 1
    return nn.Sequential(conv, norm, nn.ReLU(inplace=True))


class Block(nn.Module):
    """A class instead of a pipeline."""

    def __init__(self, x):
        super().__init__()
        self.conv = nn.Conv2d(x.shape[1], x.shape[1], 3, padding=1, bias=False)
        identity_init(self.conv, std=0.0)
        self.norm = nn.BatchNorm2d(x.shape[1])
        self.norm.load_state_dict(deeper()(x)[1].state_dict())

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


def others(weights, one):
    return [
        math.prod(one + w for j, w in enumerate(weights) if j != i)
        for i in range(len(weights))
    ]


def divided(weights, residual):
    factors = [residual + w for w in weights]
    return [math.prod(factors) / factor for factor in factors]


def numpy_divided(weights, residual):
    factors = np.array(weights) + residual
    with np.errstate(all="ignore"):
        return factors.prod() / factors


def only_after(weights, residual):
    return only_before(weights[::-1], residual)[::-1]


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


def by_differences_of_one(weights, residual):
    """The last h is linear in each weight: an array of its slopes."""

    def last(changed):
        return np.prod(np.array(changed) + int(residual))

    slopes = []
    for i in range(len(weights)):
        one = [*weights[:i], 1.0, *weights[i + 1 :]]
        slopes.append(last(one) - last([*one[:i], 0.0, *one[i + 1 :]]))
    return np.array(slopes)


def exactly(weights, residual):
    """A generator of fractions."""
    factors = [Fraction(w) + residual for w in weights]
    for i in range(len(factors)):
        yield functools.reduce(Fraction.__mul__, factors[:i] + factors[i + 1 :], 1)


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


def clipped(clip, *, which=slice(None), of=None):
    """Clipped by some other function of the gradients and the limit."""

    def step_and_report(net, x, y, lr, limit):
        weights = list(net.parameters())
        F.cross_entropy(net(x), y).backward()
        norms = [w.grad.norm().item() for w in weights][which]
        clip([w.grad for w in weights], limit)
        with torch.no_grad():
            for w in weights:
                w -= lr * w.grad
                w.grad = None
        return norms if of is None else of(norms, limit)

    return step_and_report


def all_of_them(gradients, limit):
    total = torch.stack([g.norm() for g in gradients]).norm()
    for g in gradients:
        g *= min(1.0, limit / total.item())


def one_by_one(gradients, limit):
    for g in gradients:
        g *= min(1.0, limit / g.norm().item())


def by_value(gradients, limit):
    for g in gradients:
        g.clamp_(-limit, limit)


def always(gradients, limit):
    total = torch.stack([g.norm() for g in gradients]).norm()
    for g in gradients:
        g *= limit / total


def on_another(net, x, y, lr, limit):
    return report()(copy.deepcopy(net), x, y, lr, limit)


def hooked_norms(net, x, y, lr, limit):
    """Hooks see the gradients on their way, before anything is clipped."""
    norms = {}
    hooks = [
        w.register_hook(lambda gradient, i=i: norms.update({i: gradient.norm()}))
        for i, w in enumerate(net.parameters())
    ]
    loss = F.nll_loss(F.log_softmax(net(x), 1), y)
    loss.backward()
    for hook in hooks:
        hook.remove()
    nn.utils.clip_grad_norm_(net.parameters(), limit)
    optimizer = torch.optim.SGD(net.parameters(), lr)
    optimizer.step()
    net.zero_grad(set_to_none=False)
    return torch.stack([norms[i] for i in range(len(hooks))])


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


class Detached(nn.Sequential):
    def forward(self, x):
        return super().forward(x).detach()


class Halved(nn.Sequential):
    def forward(self, x):
        y = self[0](x)
        y = y.detach() + (y - y.detach()) / 10
        for layer in list(self)[1:]:
            y = layer(y)
        return y


class AnotherWeight(nn.Conv2d):
    def __init__(self, conv, factor):
        super().__init__(2, 4, 3, padding=1, bias=False)
        self.weight = nn.Parameter(conv.weight.detach() * factor)


def by_subclass(net, factor):
    net[0] = AnotherWeight(net[0], factor)
    return net


def in_doubles(net, factor):
    state = net.state_dict()
    first, *_ = state
    net.load_state_dict(state | {first: torch.mul(state[first], factor)})
    return net.double()


def always_ten(net, factor):
    net[0].weight.data *= 10
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
        (at_their_best, "not about the lowest error"),
        (or_the_same, "is not higher"),
        (taken_out, "work on a copy"),
        (
            lambda a, b: FINE if at(-1)(a, b) == FINE else WORSE,
            "training error is lower",
        ),
        (lambda a, b: FINE, "training errors first"),
        (lambda shallow, deep: deep[0][-1] > shallow[0][-1], "a string is wanted"),
    ],
    "degradation.powers_of_ten": [
        (lambda: (33, 13, 0), "about its root"),
        (lambda: (10, 0, -6), "half of the values"),
        (lambda: (21, 0, -13), "half of the values"),
        (lambda: (-17, -6, 0), "as positive"),
        (lambda: (17, 7, 0), "round up"),
        (lambda: (16, 6, 0), "or cut off"),
        (lambda: (16.7, 6.5, 0), "to whole numbers"),
        (lambda: (39, 15, 0), "which logarithm"),
        (lambda: (23, 13, 6), "not its root"),
        (lambda: (16, 8, 0), "too small"),
        (lambda: (17, 6), "3 are wanted"),
    ],
    "degradation.gradients": [
        (only_before, "all later layers"),
        (only_after, "the earlier layers"),
        (whole, "own factor is not in"),
        (lambda weights, residual: others(weights, 0), "by its input"),
        (lambda weights, residual: others(weights, 1), "its factor is w"),
        (one_shortcut, "not only the first"),
        (divided, "needs no division"),
        (numpy_divided, "needs no division"),
        (
            lambda weights, residual: others(weights, int(residual))[::-1],
            "in the opposite order",
        ),
        (lambda weights, residual: whole(weights, residual)[0], "a list is wanted"),
    ],
    "degradation.step_and_report": [
        (preserved_state, "changed the gradients by then"),
        (report(late=True), "after clipping"),
        (report(zeros=True), "set to zero"),
        (report(clip=False), "use the clipped gradient"),
        (report(step=False), "has to be trained"),
        (report(clear=False), "leaves gradients behind"),
        (report(square=True), "sum of squares"),
        (clipped(one_by_one), "together are clipped"),
        (clipped(by_value), "together are clipped"),
        (clipped(always), "stays as it is"),
        (clipped(all_of_them, which=slice(0, None, 2)), "Biases are parameters"),
        (
            clipped(all_of_them, of=lambda norms, limit: [math.hypot(*norms)] * 4),
            "a norm of its own",
        ),
        (clipped(all_of_them, which=slice(None, None, -1)), "in the order of"),
        (on_another, "has to be trained"),
        (of_the_weights, "norm of the weights"),
        (all_together, "a list is wanted"),
    ],
    "degradation.deeper_by_one": [
        (only_in_evaluation, "standard deviation and the mean"),
        (with_m_minus_one, "with m, not with m - 1"),
        (scaled_only, "And the mean of x"),
        (shifted_only, "And the standard deviation of x"),
        (squared, "is a standard deviation"),
        (deeper(running=False), "does evaluation mode use"),
        (deeper(fill=nn.init.ones_), "does evaluation mode use"),
        (deeper(padding=0), "at each border"),
        (deeper(bias=True), "without bias"),
        (deeper(size=1, padding=0), "A 3x3 convolution"),
        (not_normalizing, "does not normalize"),
        (frozen_layer, "training can change"),
        (lambda x: nn.Identity(), "A 3x3 convolution"),
        (lambda x: nn.Conv2d(x.shape[1], 2, 3, padding=1, bias=False), "A 3x3"),
    ],
    "degradation.vanish": [
        (lambda net, factor: net, "on the size of one weight"),
        (scaled(0, power=-1), "has a larger gradient"),
        (scaled(0, power=2), "By which factor"),
        (always_ten, "By which factor"),
        (scaled(0, 3), "only the weight of the first"),
        (scaled(1, 2), "on the size of one weight"),
        (scaled(0, 7), "a normalization invariant"),
        (hooked, "Leave the backward pass alone"),
        (lambda net, factor: Halved(*net), "Leave the backward pass alone"),
        (lambda net, factor: Detached(*net), "Leave the backward pass alone"),
        (frozen, "Change only values"),
        (in_place_only, "end with `return`"),
    ],
}

#: Exercise -> right answers that look different.
RIGHT = {
    "degradation.what_depth_did": [by_differences, by_verdict, by_numpy],
    "degradation.powers_of_ten": [
        lambda: [round(math.log10(share**21.5)) for share in (6, 2, 1)],
        lambda: torch.tensor([6.0, 2.0, 1.0]).log10().mul(21.5).round(),
        lambda: (np.rint(21.5 * np.log10(share)) for share in (6, 2, 1)),
    ],
    "degradation.gradients": [
        forwards_and_backwards,
        autograd,
        by_differences_of_one,
        exactly,
    ],
    "degradation.step_and_report": [by_hand, clipped(all_of_them), hooked_norms],
    "degradation.deeper_by_one": [
        by_training,
        Block,
        lambda x: deeper(momentum=None)(x).double(),
    ],
    "degradation.vanish": [on_a_copy, by_subclass, in_doubles],
}
