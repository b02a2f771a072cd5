"""Answers to the exercises on NiN: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import copy
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FC, STAGE, OWN = 58_631_144, 5_614_568, 202_124_448


def conv(x, weight, bias):
    return F.conv2d(x, weight[:, :, None, None], bias)


def layer(x, weight, bias):
    """By the layer, whose weights are set."""
    made = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    made.weight.data, made.bias.data = weight[:, :, None, None], bias
    return made(x)


def made(
    channels,
    widths,
    size,
    stride,
    *,
    later=(1, 1, 0),
    padding=None,
    activation=nn.ReLU,
    last=nn.ReLU,
):
    layers = []
    for index, width in enumerate(widths):
        first = (size, stride, size // 2 if padding is None else padding)
        layers.append(nn.Conv2d(channels, width, *(later if index else first)))
        layers.append(activation() if index < len(widths) - 1 else last())
        channels = width
    return nn.Sequential(*layers)


def shared(net, x, labels, *, mean=True, bias=0.0):
    maps, fc = net[0](x), net[-1]
    found = (fc.weight[labels][:, :, None, None] * maps).sum(1)
    found = found / (maps.shape[2] * maps.shape[3] if mean else 1)
    return found + bias * fc.bias[labels][:, None, None]


def scaled(net, x, labels):
    found = shared(net, x, labels)
    low, high = found.amin((1, 2), True), found.amax((1, 2), True)
    return (found - low) / (high - low)


def unweighted(net, x, labels):
    return net[0](x).mean(1)


class Shared(nn.Module):
    """The perceptron as linear layers, with the channels last."""

    def __init__(self, channels, widths, size, stride):
        super().__init__()
        self.first = nn.Conv2d(channels, widths[0], size, stride, size // 2)
        self.later = nn.Sequential(*(nn.Linear(c, d) for c, d in pairwise(widths)))

    def forward(self, x):
        x = self.first(x).relu().movedim(1, 3)
        for each in self.later:
            x = each(x).relu()
        return x.movedim(3, 1)


class Frozen(Shared):
    """Its first layer cannot be trained."""

    def __init__(self, *a):
        super().__init__(*a)
        self.first.requires_grad_(False)


class Blocked(Shared):
    """No gradient reaches its first layer."""

    def forward(self, x):
        x = self.first(x).relu().detach().movedim(1, 3)
        for each in self.later:
            x = each(x).relu()
        return x.movedim(3, 1)


class Unused(Shared):
    """Its last layer does nothing."""

    def forward(self, x):
        x = self.first(x).relu().movedim(1, 3)
        for each in self.later[:-1]:
            x = each(x).relu()
        return x.movedim(3, 1)


def lazy(channels, widths, size, stride):
    layers = [nn.LazyConv2d(widths[0], size, stride, size // 2), nn.ReLU()]
    for width in widths[1:]:
        layers += [nn.LazyConv2d(width, 1), nn.ReLU()]
    return nn.Sequential(*layers)


def bare_layers(*a):
    made_net = made(*a)
    for each in made_net[::2]:
        each.bias = None
    return made_net


def pops(channels, widths, size, stride):
    layers = []
    while widths:
        width = widths.pop(0)
        layers += [nn.Conv2d(channels, width, size, stride, size // 2), nn.ReLU()]
        channels, size, stride = width, 1, 1
    return nn.Sequential(*layers)


def enlarged(net, x, labels):
    found = shared(net, x, labels)[:, None]
    return F.interpolate(found, size=x.shape[2:], mode="bilinear")[:, 0]


def zeroed(net, x, labels):
    """Takes the bias away from the network that it was given."""
    maps = net[0](x)
    net[-1].bias.data.zero_()
    return (
        torch.stack(
            [
                net[-1](each.flatten(1).T)[:, k]
                for each, k in zip(maps, labels, strict=True)
            ]
        ).view(len(x), *maps.shape[2:])
        / maps[0, 0].numel()
    )


def with_hook(net, x, labels):
    """Reads the feature maps on their way, as is often done, and in an array."""
    kept = []
    handle = net[0].register_forward_hook(lambda *a: kept.append(a[2].detach()))
    net(x)
    handle.remove()
    weights = net[3].weight.detach().numpy()[labels.numpy()]
    maps = kept[0].double().numpy()
    return (maps * weights[:, :, None, None]).sum(1) / maps[0, 0].size


def by_pointwise(net, x, labels):
    """The FC layer as a 1x1 convolution, one image at a time."""
    fc = net[-1]
    for image, label in zip(x, labels.tolist(), strict=True):
        maps = net[0](image[None])
        every = F.conv2d(maps, fc.weight[:, :, None, None])
        yield every[0, label] / (maps.shape[-1] * maps.shape[-2])


def first_label(net, x, labels):
    return shared(net, x, labels[:1].expand_as(labels))


def all_classes(net, x, labels):
    maps = net[0](x)
    return torch.einsum("nchw,kc->nkhw", maps, net[-1].weight) / maps[0, 0].numel()


def same_everywhere(net, x, labels):
    maps, logits = net[0](x), net(x)
    picked = logits.gather(1, labels[:, None])[:, :, None]
    return picked.expand(-1, *maps.shape[2:])


def steps(net, x, y, rates, *, sign=-1, again=True, count=None, late=True):
    """One step with each rate, on a copy if `again`."""
    count = count or (lambda logits: int((logits == 0).all(0).sum()))
    counts = []
    for rate in rates:
        moved = copy.deepcopy(net) if again else net
        loss = F.cross_entropy(moved(x), y)
        before = moved(x)
        moved.zero_grad()
        loss.backward()
        with torch.no_grad():
            for each in moved.parameters():
                each += sign * rate * each.grad
        counts.append(count(moved(x) if late else before))
    return counts


def same_gradient(net, x, y, rates):
    """Takes the gradient once, and the steps one upon another."""
    F.cross_entropy(net(x), y).backward()
    counts = []
    for rate in rates:
        for each in net.parameters():
            each.data -= rate * each.grad
        counts.append((net(x) == 0).all(0).sum().item())
    return counts


def restored(net, x, y, rates, *, zero=True, back=True, clean=True):
    """Steps on the network itself, and goes back, by PyTorch's optimizer."""
    start = copy.deepcopy(net.state_dict())
    for rate in rates:
        net.load_state_dict(start)
        if zero:
            net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        torch.optim.SGD(net.parameters(), lr=rate).step()
        yield (net(x) == 0).all(0).sum()
    if back:
        net.load_state_dict(start)
    if clean:
        net.zero_grad()


def in_training(net, x, y, rates):
    """Switches the network over."""
    return steps(net.train(), x, y, rates)


def left_in_evaluation(net, x, y, rates):
    counts = steps(net, x, y, rates)
    net.eval()
    return counts


def copy_in_evaluation(net, x, y, rates):
    return steps(copy.deepcopy(net).eval(), x, y, rates)


def moves_averages(net, x, y, rates):
    """Steps on copies; the gradient is taken in the network itself."""
    loss = F.cross_entropy(net(x), y)
    found = torch.autograd.grad(loss, list(net.parameters()))
    counts = []
    for rate in rates:
        moved = copy.deepcopy(net)
        for parameter, gradient in zip(moved.parameters(), found, strict=True):
            parameter.data.sub_(rate * gradient)
        counts.append(int((moved(x) == 0).all(0).sum()))
    return counts


def summed(net, x, y, rates):
    return steps(net, x, y, [len(x) * rate for rate in rates])


def never_largest(net, x, y, rates):
    return steps(net, x, y, rates, count=lambda z: 6 - len(z.argmax(1).unique()))


def as_array(net, x, y, rates):
    return np.array(steps(net, x, y, rates), dtype=np.int8)


def sums(x, w, g):
    of_x = torch.einsum("dc,ndhw->nchw", w, g)
    return of_x, torch.einsum("ndhw,nchw->dc", g, x), g.sum((0, 2, 3))


def changed(part, change):
    """Right, but for one of the three."""

    def answer(x, w, g):
        found = list(sums(x, w, g))
        found[part] = change(found[part], x)
        return found

    return answer


def by_autograd(x, w, g):
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    y = torch.einsum("dc,nchw->ndhw", w, x)
    return (*torch.autograd.grad(y, (x, w), g), g.sum((0, 2, 3)))


def sums_first(x, w, g):
    of_x, _, of_bias = sums(x, w, g)
    return of_x, torch.outer(of_bias, x.sum((0, 2, 3))), of_bias


def pixel_by_pixel(x, w, g):
    of_x, of_w, of_b = torch.zeros_like(x), torch.zeros_like(w), torch.zeros(len(w))
    for n in range(len(x)):
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                here = g[n, :, i, j]
                of_x[n, :, i, j] = w.T @ here
                of_w += here[:, None] * x[n, :, i, j]
                of_b += here
    return of_x, of_w, of_b


def as_matrices(x, w, g):
    """In float64, a list, with a weight of another shape in between."""
    left = g.double().transpose(0, 1).flatten(1)
    right = x.double().transpose(0, 1).flatten(1)
    of_x = (w.double().T @ left).unflatten(1, (len(x), *x.shape[2:])).transpose(0, 1)
    return [of_x, left @ right.T, left.sum(1).numpy()]


def shuffled(maps):
    return maps.flatten(2)[:, :, torch.randperm(36)].view_as(maps)


def rearranged(change, *, maps=torch.randn, atol=1e-5, draws=20):
    """A test; mistakes change a part."""

    def depends_on_place(head):
        with torch.no_grad():
            for _ in range(draws):
                x = maps(8, 5, 6, 6)
                if not torch.allclose(head(x), head(change(x)), rtol=atol, atol=atol):
                    return True
        return False

    return depends_on_place


def one_at_a_time(head):
    """A single bright pixel, at each position, over noise that stays."""
    found = []
    for place in range(36):
        x = torch.zeros(5, 5, 36)
        x[range(5), range(5), place] = 3.0
        x += torch.linspace(-1, 1, 36).roll(place)
        found.append(head(x.view(5, 5, 6, 6)).detach())
    neighbors = torch.zeros(2, 5, 36)
    neighbors[0, :, [0, 1]] = neighbors[1, :, [0, 20]] = 3.0
    pair = head(neighbors.view(2, 5, 6, 6)).detach()
    gap = (torch.stack(found) - found[0]).abs().max() + (pair[0] - pair[1]).abs().max()
    scale = found[0].abs().max() + pair.abs().max()
    return bool(gap > 1e-4 * scale)


def by_swapping(head):
    """Two positions exchanged, in float64 where that goes; a tensor of one element."""
    worst = torch.zeros(())
    for _ in range(300):
        x = torch.randn(4, 5, 36)
        a, b = torch.randperm(36)[:2]
        y = x.clone()
        y[:, :, [a, b]] = x[:, :, [b, a]]
        before, after = (head(each.view(4, 5, 6, 6)).detach() for each in (x, y))
        worst = torch.maximum(worst, (before - after).abs().max() / before.abs().max())
    return worst > 1e-5


def replaced(
    net, k, *, bias=True, zero=False, everything=False, pool=nn.AdaptiveAvgPool2d
):
    """What is wanted; mistakes change a part."""
    conv = nn.Conv2d(net[1].in_channels, k, 1, bias=bias)
    if zero:
        nn.init.zeros_(conv.weight)
    made = nn.Sequential(copy.deepcopy(net[0]), conv, pool(1), nn.Flatten())
    made.requires_grad_(not everything)
    made[0].requires_grad_(False)
    return made


def shares_the_body(net, k):
    for parameter in net[0].parameters():
        parameter.requires_grad = False
    return nn.Sequential(net[0], nn.Conv2d(net[1].in_channels, k, 1), *net[2:])


def nothing_frozen(net, k):
    made = replaced(net, k)
    return made.requires_grad_()


def fresh_body(net, k):
    made = replaced(net, k)
    for layer in made[0]:
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    return made


def from_a_copy(net, k):
    """A copy of all of it, with another last layer, which is an FC layer."""
    made = copy.deepcopy(net)
    for parameter in made.parameters():
        parameter.requires_grad_(False)
    made[1] = nn.AdaptiveAvgPool2d((1, 1))
    made[2] = nn.Flatten()
    made[3] = nn.Linear(net[1].in_channels, k)
    return made


class Rebuilt(nn.Module):
    """In float64, with its parts in another order."""

    def __init__(self, net, k):
        super().__init__()
        self.last = nn.Conv2d(net[1].weight.shape[1], k, kernel_size=(1, 1))
        self.body = copy.deepcopy(net[0]).eval()
        for parameter in self.body.parameters():
            parameter.requires_grad = False

    def forward(self, x):
        return self.last(self.body(x)).mean((-2, -1))


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "nin.without_fc_layers": [
        (lambda: (FC - 9192, STAGE - 3048, OWN - 36 * 3048), "have biases"),
        (lambda: (FC, STAGE - 3048, OWN), "of convolutions have biases"),
        (lambda: (FC, STAGE, OWN - 35 * 3048), "biases of its own"),
        (lambda: (FC, 0, OWN), "the classes' feature maps"),
        (lambda: (FC, STAGE, STAGE), "with shared weights"),
        (lambda: (FC, STAGE, 36_001_000), "not an FC layer"),
        (lambda: (FC, STAGE, 13_825_000), "not an FC layer"),
        (lambda: (FC, STAGE, 6 * STAGE), "36 positions"),
        (lambda: (FC, STAGE * 36, OWN), "the same at all positions"),
        (lambda: (FC, 385 * 1024 + 1025 * 2024, OWN), "kernels of 3x3"),
        (lambda: (257 * 4096 + 4097 * 5096, STAGE, OWN), "reads every position"),
        (lambda: (FC / 1e6, STAGE / 1e6, OWN / 1e6), "not millions"),
        (lambda: FC, "a tuple is wanted"),
    ],
    "nin.pointwise_gradients": [
        (by_autograd, "does it for you"),
        (lambda x, w, g: sums(x, w.T, g), "RuntimeError"),
        (lambda x, w, g: (g, *sums(x, w, g)[1:]), "By the weights"),
        (changed(0, lambda d, x: d.sum(0, keepdim=True)), "a gradient of its own"),
        (changed(0, lambda d, x: d / len(x)), "not a mean"),
        (changed(1, lambda d, x: d.T), "the shape of the weight"),
        (changed(1, lambda d, x: d / x[:, 0].numel()), "not a mean"),
        (sums_first, "add up afterwards"),
        (lambda x, w, g: (*sums(x, w, g)[:2], g.sum(0)), "at every pixel"),
        (changed(2, lambda d, x: d / len(x)), "not a mean"),
        (changed(2, lambda d, x: d * 0 + 1), "chain rule"),
        (lambda x, w, g: sums(x, w, g)[:2], "three gradients"),
    ],
    "nin.block": [
        (lambda c, w, k, s: made(c, w, k, s, later=(k, 1, k // 2)), "more than a"),
        (lambda c, w, k, s: made(c, w, k, s, later=(1, s, k // 2)), "no border"),
        (lambda c, w, k, s: made(c, w, k, s, later=(1, s, 0)), "has the stride"),
        (lambda c, w, k, s: made(c, w, k, s, later=(1, 1, k // 2)), "no border"),
        (lambda *a: made(*a, padding=0), "first convolution pads"),
        (lambda *a: made(*a, padding=1), "half its kernel size"),
        (lambda *a: made(*a, padding=2), "half its kernel size"),
        (lambda c, w, k, s: made(c, w, k, 1), "first layer has the stride"),
        (lambda c, w, k, s: made(c, w[:3], k, s), "not always three"),
        (lambda *a: made(*a, last=nn.Identity), "has a ReLU, too"),
        (lambda *a: made(*a, activation=nn.Identity), "one linear layer"),
        (lambda c, w, k, s: made(c, w[:1] * len(w), k, s), "its own width"),
        (bare_layers, "has a bias"),
        (Frozen, "are frozen"),
        (Blocked, "detached"),
        (Unused, "expected shape"),
        (pops, "it changes its argument `widths`"),
    ],
    "nin.depends_on_place": [
        (lambda head: True, "may differ"),
        (lambda head: False, "of its own for each position"),
        (rearranged(lambda x: x.flip(3)), "to turn the maps over"),
        (rearranged(lambda x: x.roll(1, 3)), "to shift the maps"),
        (rearranged(shuffled, atol=0.02), "look closely"),
        (rearranged(shuffled, maps=torch.ones), "do your maps vary"),
        (rearranged(shuffled, atol=0.0), "may differ"),
        (lambda head: head(torch.randn(1, 5, 6, 6)), "True or False"),
    ],
    "nin.for_new_classes": [
        (shares_the_body, "one and the same"),
        (nothing_frozen, "mark the body"),
        (lambda net, k: replaced(net, k, everything=True), "the last layer free"),
        (fresh_body, "as it was"),
        (lambda net, k: replaced(net, net[1].out_channels), "for each class"),
        (lambda net, k: replaced(net, k, bias=False), "with a bias"),
        (lambda net, k: replaced(net, k, zero=True), "at random"),
        (lambda net, k: replaced(net, k).append(nn.Softmax(1)), "without a softmax"),
        (lambda net, k: replaced(net, k, pool=nn.AdaptiveMaxPool2d), "Average pooling"),
        (lambda net, k: None, "end with `return`"),
    ],
    "nin.evidence": [
        (lambda *a: shared(*a, mean=False), "divides by the number"),
        (lambda *a: shared(*a, bias=1.0), "Leave it out"),
        (lambda *a: shared(*a).relu(), "lower the logit"),
        (scaled, "not rescale"),
        (lambda *a: shared(*a).sigmoid(), "not rescale"),
        (unweighted, "give to each channel"),
        (first_label, "a label of its own"),
        (all_classes, "One map per image"),
        (lambda *a: shared(*a)[:, None], "no dimension for channels"),
        (lambda *a: shared(*a).flatten(1), "rows and columns"),
        (same_everywhere, "the logit itself"),
        (lambda net, x, labels: shared(net, x, net(x).argmax(1)), "Ask for the label"),
        (enlarged, "do not enlarge"),
        (zeroed, "it changes its argument `net`"),
    ],
    "nin.killed": [
        (lambda *a: steps(*a, again=False), "on a copy"),
        (same_gradient, "on a copy"),
        (lambda *a: restored(*a, zero=False), "set them to zero"),
        (partial(restored, back=False), "it changes its argument `net`"),
        (partial(restored, clean=False), "leaves gradients behind"),
        (in_training, "the mode that the net is in"),
        (left_in_evaluation, "another mode"),
        (copy_in_evaluation, "the mode that the net is in"),
        (moves_averages, "it changes its argument `net`"),
        (summed, "not a sum"),
        (never_largest, "look for zeros"),
        (lambda *a: steps(*a, sign=1), "against the gradient"),
        (lambda *a: steps(*a, late=False), "not before it"),
        (
            lambda *a: steps(*a, count=lambda logits: int((logits == 0).sum())),
            "not logits",
        ),
        (
            lambda *a: steps(*a, count=lambda z: int((z == 0).any(0).sum())),
            "for every image",
        ),
        (
            lambda *a: steps(*a, count=lambda z: int((z != 0).any(0).sum())),
            "not the living",
        ),
    ],
    "nin.shifted_down": [
        (lambda: (33, 1, 102, 0), "this one goes down"),
        (lambda: (29, 2, 31, 5), "shift up"),
        (lambda: (7, 1, 13, 6), "by four pixels"),
        (lambda: (2, 13, 7, 40), "Lost comes first"),
        (lambda: (40, 7, 13, 2), "NiN comes first"),
        (lambda: (13, 2, 13, 2), "measure again"),
        (lambda: (173, 13, 149, 40), "Lost, and then gained"),
        (lambda: (0.065, 0.01, 0.2, 0.035), "not shares"),
        (lambda: (70, 0, 139, 0), "not to the right as well"),
        (lambda: (13, 2), "4 are wanted"),
    ],
}


def counted():
    with torch.device("meta"):
        fc = [nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000)]
        convs = [nn.Conv2d(384, 1024, 3), nn.Conv2d(1024, 1024, 1)]
        parts = (fc, [*convs, nn.Linear(1024, 1000)])
    old, new = (
        sum(p.numel() for layer in part for p in layer.parameters()) for part in parts
    )
    return old, new, new * 6 * 6


class Slid(nn.Module):
    """A multilayer perceptron on patches that are cut out."""

    def __init__(self, channels, widths, size, stride):
        super().__init__()
        self.patches = nn.Unfold(size, padding=size // 2, stride=stride)
        inputs = [channels * size * size, *widths]
        shapes = [(widths[0], channels, size, size)]
        shapes += [(d, c, 1, 1) for c, d in pairwise(widths)]
        self.weights = nn.ParameterList(
            torch.randn(shape) / c for shape, c in zip(shapes, inputs, strict=False)
        )
        self.biases = nn.ParameterList(torch.zeros(d) for d in widths)
        self.stride = stride

    def forward(self, x):
        y = self.patches(x).mT
        for weight, bias in zip(self.weights, self.biases, strict=True):
            y = F.linear(y, weight.flatten(1), bias).relu()
        return y.mT.unflatten(2, (-(-x.shape[2] // self.stride), -1))


def by_gradient(net, x, labels):
    """The logit is linear in the feature maps: their product with its gradient."""
    maps = net[0](x)
    picked = net[1:](maps).gather(1, labels[:, None]).sum()
    return (maps * torch.autograd.grad(picked, maps)[0]).sum(1)


#: Exercise -> right answers that look different.
RIGHT = {
    "nin.without_fc_layers": [
        counted,
        lambda: np.array([FC, STAGE, OWN], dtype=float),
        lambda: {"AlexNet": Fraction(FC), "NiN": float(STAGE), "own": OWN}.values(),
    ],
    "nin.pointwise_gradients": [sums, pixel_by_pixel, as_matrices],
    "nin.block": [made, Slid, Shared, lazy],
    "nin.depends_on_place": [
        rearranged(shuffled, draws=5),
        one_at_a_time,
        by_swapping,
    ],
    "nin.for_new_classes": [replaced, from_a_copy, Rebuilt],
    "nin.evidence": [by_gradient, shared, with_hook, by_pointwise],
    "nin.killed": [steps, restored, as_array],
    "nin.shifted_down": [
        lambda: [13, 2, 40, 7],
        lambda: torch.tensor([13, 2, 40, 7]),
        lambda: (Fraction(n) for n in (13, 2, 40, 7)),
    ],
}
