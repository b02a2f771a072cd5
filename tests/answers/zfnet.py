"""Answers to the exercises on ZFNet: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

from fractions import Fraction
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import occlusion


def front(first, second, convs=(1, 0), pools=(1, 1), ceil=False, activation=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(3, first, 7, stride=2, padding=convs[0]),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=pools[0], ceil_mode=ceil),
        nn.Conv2d(first, second, 5, stride=2, padding=convs[1]),
        activation(),
        nn.MaxPool2d(3, stride=2, padding=pools[1], ceil_mode=ceil),
    )


def in_front(first, second, frame, ceil=False):
    """A frame that is not the same on all sides."""
    return nn.Sequential(
        nn.ZeroPad2d(frame),
        *front(first, second, (0, 0), (0, 0) if ceil else (1, 1), ceil),
    )


def frozen_stem(first, second):
    net = front(first, second)
    net[0].requires_grad_(False)
    return net


class Detached(nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.net = front(first, second)

    def forward(self, x):
        return self.net[3:](self.net[:3](x).detach())


def into_signal(signal, x, rule):
    signal[~gates(signal, x)[rule]] = 0
    return signal


def product(signal, x, rule):
    """Multiplies what both rules let through."""
    deconvnet = F.relu(signal)
    gradient = signal * (x > 0)
    return {"deconvnet": deconvnet, "gradient": gradient}.get(
        rule, deconvnet * gradient
    )


def total(signal, x, rule):
    """Adds what both rules let through."""
    deconvnet = F.relu(signal)
    gradient = signal * (x > 0)
    return {"deconvnet": deconvnet, "gradient": gradient}.get(
        rule, deconvnet + gradient
    )


def one_rule(signal, x, rule, instead="gradient"):
    return signal * gates(signal, x)[instead if rule == "both" else rule]


def assigned(signals, switches, size):
    """Adds with an index, where one of several stays."""
    y = torch.zeros(*signals.shape[:2], size[0] * size[1])
    for image, s, i in zip(
        y.flatten(0, 1),
        signals.flatten(0, 1),
        switches.flatten(0, 1),
        strict=True,
    ):
        image[i.flatten()] += s.flatten()
    return y.unflatten(2, size)


def over_everything(signals, switches, size):
    """As if the indices went on from channel to channel."""
    y = torch.zeros(*signals.shape[:2], *size)
    y.view(-1).index_add_(0, switches.flatten(), signals.flatten())
    return y


def column_by_column(signals, switches, size):
    y = torch.zeros(*signals.shape[:2], size[0] * size[1])
    y.scatter_add_(2, switches.flatten(2), signals.flatten(2))
    return y.view(*signals.shape[:2], *size[::-1]).mT


def by_gradient_of_pooling(signals, switches, size):
    x = torch.zeros(*signals.shape[:2], size[0] * size[1], requires_grad=True)
    (gradient,) = torch.autograd.grad(
        x.gather(2, switches.flatten(2)), x, signals.flatten(2)
    )
    return gradient.unflatten(2, size)


def signals_scaled(signals, switches, size):
    y = collected(signals, switches, size, "sum")
    signals *= 0
    return y


def gates(signal, x):
    return {"gradient": x > 0, "deconvnet": signal > 0, "both": (x > 0) & (signal > 0)}


def swapped(signal, x, rule):
    rules = {"gradient": "deconvnet", "deconvnet": "gradient", "both": "both"}
    return signal * gates(signal, x)[rules[rule]]


def one_is_enough(signal, x, rule):
    gate = gates(signal, x)[rule]
    return signal * ((x > 0) | (signal > 0) if rule == "both" else gate)


def at_zero(signal, x, rule):
    return signal * (x >= 0) if rule == "gradient" else F.relu(signal) * (x > 0)


def activation_instead(signal, x, rule):
    return signal * (x > 0) if rule == "gradient" else F.relu(x)


def magnitude(signal, x, rule):
    return signal.abs() * gates(signal, x)[rule]


def collected(signals, switches, size, way):
    empty = torch.zeros(*signals.shape[:2], size[0] * size[1])
    flat, positions = signals.flatten(2), switches.flatten(2)
    return empty.scatter_reduce(2, positions, flat, way, include_self=False).view(
        *signals.shape[:2], *size
    )


def laid(signal, weight, stride, step=None, add=True):
    """The transposed convolution by hand; `step` is the distance of copies."""
    (d, h, w), (_, c, k, _) = signal.shape, weight.shape
    step = step or stride
    y = torch.zeros(c, (h - 1) * stride + k, (w - 1) * stride + k)
    for i in range(h):
        for j in range(w):
            here = (signal[:, i, j].view(d, 1, 1, 1) * weight).sum(0)
            window = y[:, i * step : i * step + k, j * step : j * step + k]
            window.copy_(window + here if add else here)
    return y


def without_stride(signal, weight, stride):
    return laid(signal, weight, 1)


def swapped_channels(signal, weight, stride):
    if weight.shape[0] == weight.shape[1]:
        weight = weight.transpose(0, 1)
    return laid(signal, weight, stride)


def weight_scaled(signal, weight, stride):
    y = laid(signal, weight, stride)
    weight /= 2
    return y


def largest(net, image, label, size, stride):
    """Takes the most probable class."""
    wanted = covered(net, image, label, size, stride)
    best = torch.stack([covered(net, image, c, size, stride) for c in range(4)]).amax(0)
    return best + 0 * wanted


def covered(
    net, image, label, size, stride, fresh=True, shares=True, end=1, turned=False
):
    height, width = image.shape[-2:]
    rows = []
    for top in range(0, height - size + end, stride):
        row = []
        for left in range(0, width - size + end, stride):
            hidden = image.clone() if fresh else image
            hidden[:, :, top : top + size, left : left + size] = 0
            scores = net(hidden)
            row.append((scores.softmax(1) if shares else scores)[0, label])
        rows.append(torch.stack(row))
    return torch.stack(rows).T if turned else torch.stack(rows)


def class_maps(features, weight):
    return torch.einsum("ck,khw->chw", weight, features)


def with_gradient(features, weight, label):
    """The gradient of the logit is the weight, at each position alike."""
    features = features.clone().requires_grad_()
    logit = features.mean(dim=(1, 2)) @ weight[label]
    (gradient,) = torch.autograd.grad(logit, features)
    positions = features[0].numel()
    return (positions * gradient * features).sum(dim=0).detach()


def as_convolution(features, weight, label):
    return F.conv2d(features[None], weight[label][None, :, None, None])[0, 0]


def map_by_numpy(features, weight, label):
    return np.tensordot(weight[label].numpy(), features.numpy(), axes=1)


def weighted(features, gradient, relu_last=True, by=torch.mean):
    weights = by(gradient, dim=(1, 2), keepdim=True)
    parts = weights * features
    return parts.sum(0).clamp(min=0) if relu_last else parts.clamp(min=0).sum(0)


def in_loops(features, gradient):
    result = torch.zeros(features.shape[1:])
    for feature, slope in zip(features, gradient, strict=True):
        result += slope.mean() * feature
    return torch.where(result > 0, result, 0)


def cam_by_numpy(features, gradient):
    weights = gradient.numpy().mean(axis=(1, 2))
    return np.maximum(np.tensordot(weights, features.numpy(), axes=1), 0).tolist()


def path(net, image, baseline, label, steps, at=0.5, factor=None, mean=True):
    t = (torch.arange(steps) + at) / steps
    images = baseline + t.view(-1, 1, 1, 1) * (image - baseline)
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(net(images)[:, label].sum(), images)
    total = gradient.mean(0) if mean else gradient.sum(0)
    return (image - baseline if factor is None else factor) * total


def step_by_step(net, image, baseline, label, steps):
    result = np.zeros(image.shape)
    step = (image - baseline) / steps
    for number in range(steps):
        x = (baseline + (number + 0.5) * step).detach().requires_grad_()
        net(x)[0, label].backward()
        result += (x.grad * step).double().numpy()
    return result


def with_func(net, image, baseline, label, steps):
    slope = torch.func.grad(lambda x: net(x)[0, label])
    ts = [(2 * m + 1) / (2 * steps) for m in range(steps)]
    slopes = [slope(image * t + baseline * (1 - t)) for t in ts]
    return torch.stack(slopes).mean(0) * (image - baseline)


def crossings(row, stride):
    """From the first change of sign to the last."""
    above = row > row.mean()
    places = (above[1:] != above[:-1]).nonzero().flatten()
    return 2 * stride * (places[-1] - places[0]).item() / (len(places) - 1)


def with_the_offset(row, stride):
    waves = torch.fft.rfft(row).abs().argmax().item()
    return stride * len(row) / waves if waves else float("inf")


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "zfnet.projection_widths": [
        (lambda: (7, 17, 21), "several pixels"),
        (lambda: (7, 23, 39), "Pooling has a kernel size"),
        (lambda: (7, 75, 171), "before the pooling"),
        (lambda: (7, 27, 75), "Pooling comes between"),
        (lambda: (11, 99, 163), "AlexNet's"),
        (lambda: (13, 117, 181), "affects the layers after it"),
        (lambda: (49, 75**2, 139**2), "not the area"),
        (lambda: (7, 11, 27, 43, 75, 107, 139), "Three widths"),
        (lambda: (7, 75, 139.5), "the third value"),
        (lambda: 139, "a tuple is wanted"),
    ],
    "zfnet.stem": [
        (lambda a, b: front(a, b, (0, 0), (0, 0)), "figure 3's"),
        (lambda a, b: front(a, b, (3, 0)), "112, not 110"),
        (lambda a, b: front(a, b, (3, 2)), "112, 56, 28 and 14"),
        (lambda a, b: front(a, b, (1, 2)), "right without padding"),
        (lambda a, b: front(a, b, (0, 0)), "makes 110"),
        (lambda a, b: front(a, b, (1, 3)), "conv2 makes 26 of 55"),
        (lambda a, b: front(a, b, (4, 4)), "conv1 makes 110 of 224"),
        (lambda a, b: front(a, b, pools=(0, 0)), "last column"),
        (lambda a, b: front(a, b, pools=(1, 0)), "second pooling"),
        (lambda a, b: front(a, b, pools=(0, 1)), "first pooling"),
        (lambda a, b: front(a, b, activation=nn.Identity), "both ReLUs"),
        (lambda a, b: in_front(a, b, (0, 1, 0, 1)), "the same on all sides"),
        (lambda a, b: in_front(a, b, (0, 1, 0, 1), ceil=True), "same on all sides"),
        (lambda a, b: front(a, b)[3:] + front(a, b)[:3], "cannot take an input"),
        (frozen_stem, "frozen"),
        (Detached, "detached"),
    ],
    "zfnet.through_relu": [
        (swapped, "the other on the signal"),
        (one_is_enough, "Both conditions"),
        (one_rule, "Both conditions"),
        (partial(one_rule, instead="deconvnet"), "Both conditions"),
        (product, "as it is, once"),
        (total, "Both conditions"),
        (at_zero, "at zero"),
        (activation_instead, "x only decides"),
        (lambda signal, x, rule: signal * F.relu(x), "x only decides"),
        (magnitude, "may be negative"),
        (lambda signal, x, rule: gates(signal, x)[rule].float(), "The signal itself"),
        (lambda signal, x, rule: signal, "becomes zero"),
        (into_signal, "work on a copy"),
    ],
    "zfnet.unpool": [
        (
            lambda s, i, size: F.max_unpool2d(s, i, 3, stride=2, output_size=size),
            "does it for you",
        ),
        (
            lambda s, i, size: nn.MaxUnpool2d(3, 2)(s, i, output_size=size),
            "does it for you",
        ),
        (by_gradient_of_pooling, "does it for you"),
        (assigned, "one signal of them is left"),
        (lambda s, i, size: collected(s, i, size, "amax"), "one signal of them"),
        (lambda s, i, size: collected(s, i, size, "mean"), "not averaged"),
        (over_everything, "in each channel"),
        (column_by_column, "Row after row"),
        (
            lambda s, i, size: collected(torch.ones_like(s), i, size, "sum"),
            "not ones",
        ),
        (lambda s, i, size: F.interpolate(s, size), "one position"),
        (signals_scaled, "work on a copy"),
    ],
    "zfnet.transposed": [
        (
            lambda s, w, stride: F.conv_transpose2d(s, w, stride=stride),
            "does it for you",
        ),
        (partial(laid, add=False), "none replaces another"),
        (lambda s, w, stride: laid(s, w.flip(2, 3), stride), "not rotated"),
        (lambda s, w, stride: laid(s, w.mT, stride), "counts rows"),
        (without_stride, "one stride apart"),
        (partial(laid, step=1), "one stride apart"),
        (lambda s, w, stride: laid(s[:1], w[:1], stride), "of all channels"),
        (lambda s, w, stride: laid(s, w, stride) / len(s), "not averaged"),
        (lambda s, w, stride: laid(torch.ones_like(s), w, stride), "by the signal"),
        (lambda s, w, stride: laid(s, w, stride)[None], "three dimensions"),
        (swapped_channels, "is the filter of channel d"),
        (weight_scaled, "work on a copy"),
    ],
    "zfnet.cover": [
        (lambda *a: by_the_library(*a), "does it for you"),
        (lambda *a: covered(*a, fresh=False), "with a whole one"),
        (lambda *a: covered(*a, shares=False), "logits into probabilities"),
        (lambda *a: covered(*a, end=0), "still fits"),
        (lambda *a: covered(*a, fresh=False, shares=False, end=0), "with a whole one"),
        (lambda *a: covered(*a, shares=False, end=0), "logits into probabilities"),
        (lambda *a: covered(*a, turned=True), "steps down"),
        (lambda net, x, y, size, stride: covered(net, x, y, size, 1), "by `stride`"),
        (lambda *a: covered(*a).flatten(), "rows and columns"),
        (lambda *a: 1 - covered(*a), "not of the others"),
        (lambda *a: torch.ones_like(covered(*a)), "which are columns"),
        (largest, "not the largest"),
    ],
    "zfnet.class_map": [
        (lambda f, w, c: class_maps(f, w)[c].mean(), "each position"),
        (lambda f, w, c: class_maps(f, w)[c] / f[0].numel(), "not its sum"),
        (lambda f, w, c: class_maps(f, w)[c].relu(), "speak against"),
        (lambda f, w, c: class_maps(f, w), "of one class"),
        (lambda f, w, c: class_maps(f, w).sum(0), "a row of `weight`"),
        (lambda f, w, c: f.mean(0), "its own weight"),
        (lambda f, w, c: class_maps(f, w)[c].T, "Rows stay rows"),
    ],
    "zfnet.grad_cam": [
        (lambda f, g: (g.mean((1, 2), True) * f).sum(0), "set to zero"),
        (lambda f, g: weighted(f, g, relu_last=False), "comes last"),
        (lambda f, g: (g * f).sum(0).relu(), "mean of its gradient"),
        (lambda f, g: weighted(f, g, by=torch.sum), "not its sum"),
        (lambda f, g: (g.mean((1, 2), True) * f).mean(0).relu(), "not averaged"),
        (lambda f, g: g.mean((1, 2)), "not for each channel"),
        (lambda f, g: weighted(f, g) / weighted(f, g).max(), "not scaled"),
    ],
    "zfnet.integrated": [
        (lambda *a: path(*a, at=0.0), "the middles"),
        (lambda *a: path(*a, at=1.0), "the middles"),
        (lambda *a: path(*a, factor=torch.ones(1, 1, 1, 1)), "from the baseline"),
        (lambda *a: path(*a, factor=a[1]), "difference from the baseline"),
        (lambda *a: -path(*a), "minus the baseline"),
        (lambda n, x, b, c, s: path(n, x, 0 * x, c, s), "begins at the baseline"),
        (lambda *a: path(*a, mean=False), "not the sum"),
        (lambda *a: path(*a).sum(), "each pixel"),
    ],
    "zfnet.measured_period": [
        (lambda row, stride: crossings(row, stride) / 2, "two changes of sign"),
        (lambda row, stride: crossings(row, stride) * 2, "two changes of sign"),
        (lambda row, stride: 1 / crossings(row, stride), "not the frequency"),
        (lambda row, stride: len(row) * stride / crossings(row, stride), "number of"),
        (lambda row, stride: crossings(row, 1), "pixels of the image apart"),
        (lambda row, stride: stride * crossings(row, stride), "stride once"),
        (with_the_offset, "is no wave"),
        (lambda row, stride: row, "a number is wanted"),
    ],
}


def by_gradient():
    """The width of the gradient of one unit."""
    widths = []
    for depth in (1, 5, 7):
        layers = [(7, 2), (3, 2), (5, 2), (3, 2), (3, 1), (3, 1), (3, 1)][:depth]
        x = torch.zeros(1, 1, 400, requires_grad=True)
        y = x
        for kernel_size, stride in layers:
            y = F.conv1d(y, torch.ones(1, 1, kernel_size), stride=stride)
        y[0, 0, y.shape[2] // 2].backward()
        widths.append(int((x.grad != 0).sum()))
    return tuple(widths)


def by_formula():
    """An array of NumPy."""
    kernels = np.array([7, 3, 5, 3, 3, 3, 3])
    steps = np.cumprod([1, 2, 2, 2, 2, 1, 1])
    return (1 + np.cumsum((kernels - 1) * steps))[[0, 4, 6]]


def one_after_the_other():
    """From the last layer to the first."""
    for layers in ("7", "73533", "7353333"):
        width = Fraction(1)
        for i in reversed(range(len(layers))):
            width = (width - 1) * (2 if i < 4 else 1) + int(layers[i])
        yield width


class Padded(nn.Module):
    """Pads by itself, pools before the ReLU, and has other names for its layers."""

    def __init__(self, first, second):
        super().__init__()
        self.late = nn.Conv2d(first, second, 5, 2)
        self.early = nn.Conv2d(3, first, 7, 2)

    def forward(self, x):
        x = F.pad(self.early(F.pad(x, (1, 1, 1, 1))).relu(), (1, 1, 1, 1))
        return F.max_pool2d(self.late(F.max_pool2d(x, 3, 2)), 3, 2, 1).relu()


def lazy(first, second):
    return nn.Sequential(
        *(nn.LazyConv2d(first, 7, 2, 1), nn.MaxPool2d(3, 2, 1), nn.ReLU(inplace=True)),
        *(nn.LazyConv2d(second, 5, 2), nn.Threshold(0, 0), nn.MaxPool2d(3, 2, 1)),
    )


def masked(signal, x, rule):
    return torch.where(gates(signal, x)[rule], signal, torch.zeros(()))


def with_numpy(signal, x, rule):
    signal, x = signal.numpy(), x.numpy()
    passed = signal if rule == "gradient" else np.clip(signal, 0, None)
    return passed if rule == "deconvnet" else passed * (np.sign(x) == 1)


class Gate:
    """In float64, as lists."""

    def __call__(self, signal, x, rule):
        y = signal.double()
        y = y if rule == "gradient" else y.clamp(min=0)
        y = y if rule == "deconvnet" else y.masked_fill(x <= 0, 0)
        return y.tolist()


def one_by_one(signals, switches, size):
    y = torch.zeros(*signals.shape[:2], *size)
    for n, c, i, j in torch.cartesian_prod(*map(torch.arange, signals.shape)).tolist():
        at = switches[n, c, i, j].item()
        y[n, c, at // size[1], at % size[1]] += signals[n, c, i, j]
    return y


def counted_by_numpy(signals, switches, size):
    """In float64."""
    pairs = zip(switches.flatten(0, 1), signals.flatten(0, 1), strict=True)
    channels = [
        np.bincount(i.flatten(), weights=s.flatten(), minlength=size[0] * size[1])
        for i, s in pairs
    ]
    return np.stack(channels).reshape(*signals.shape[:2], *size)


def as_matrix(signals, switches, size):
    hot = F.one_hot(switches.flatten(2), size[0] * size[1]).double()
    return torch.einsum("nci,ncip->ncp", signals.flatten(2).double(), hot).unflatten(
        2, size
    )


def folded(signal, weight, stride):
    h, w, k = *signal.shape[1:], weight.shape[-1]
    columns = weight.flatten(1).T @ signal.flatten(1)
    size = (h - 1) * stride + k, (w - 1) * stride + k
    return F.fold(columns[None], size, k, stride=stride)[0]


def by_shifts(signal, weight, stride):
    """In float64, with NumPy: a loop over the pixels of the filters."""
    signal, weight = signal.numpy().astype("float64"), weight.numpy()
    (_, h, w), (_, c, k, _) = signal.shape, weight.shape
    y = np.zeros((c, (h - 1) * stride + k, (w - 1) * stride + k))
    for u in range(k):
        for v in range(k):
            rows = slice(u, u + (h - 1) * stride + 1, stride)
            columns = slice(v, v + (w - 1) * stride + 1, stride)
            y[:, rows, columns] += np.tensordot(weight[:, :, u, v], signal, (0, 0))
    return y


def by_the_library(net, image, label, size, stride):
    return occlusion(net, image, label, size=size, stride=stride)


@torch.inference_mode()
def in_one_batch(net, image, label, size, stride):
    """Arrays of NumPy, from all images at once."""
    height, width = image.shape[-2:]
    tops, lefts = (range(0, side - size + 1, stride) for side in (height, width))
    images = image.repeat(len(tops) * len(lefts), 1, 1, 1)
    for number, hidden in enumerate(images):
        top, left = tops[number // len(lefts)], lefts[number % len(lefts)]
        hidden[:, top : top + size, left : left + size].zero_()
    return net(images).softmax(1)[:, label].view(len(tops), len(lefts)).numpy()


def with_masks(net, image, label, size, stride):
    """Lists of numbers."""
    rows, columns = torch.arange(image.shape[2]), torch.arange(image.shape[3])
    found = []
    for top in rows[: len(rows) - size + 1 : stride]:
        found.append([])
        for left in columns[: len(columns) - size + 1 : stride]:
            down = (rows >= top) & (rows < top + size)
            right = (columns >= left) & (columns < left + size)
            logits = net(image * ~(down[:, None] & right)).double().flatten()
            found[-1].append((logits[label] - logits.logsumexp(0)).exp().item())
    return found


def by_spectrum(row, stride):
    """A number of NumPy."""
    sizes = np.abs(np.fft.rfft((row - row.mean()).numpy()))
    return stride * np.float32(len(row)) / sizes.argmax()


def by_correlation(row, stride):
    """A tensor with one element: the distance at which the row is most like itself."""
    row = row - row.mean()
    alike = torch.stack([(row[d:] * row[: len(row) - d]).mean() for d in range(1, 200)])
    peaks = (alike[1:-1] > alike[:-2]) & (alike[1:-1] >= alike[2:])
    places = peaks.nonzero().flatten() + 2
    return stride * (places[-1:] / len(places))


def fitted(row, stride):
    """Tries every period: the one whose cosine and sine explain the row best."""
    units = torch.arange(len(row))
    best = (-1.0, 0.0)
    for period in torch.linspace(2.2, 20, 900):
        angles = 2 * torch.pi * units / period
        waves = torch.stack([angles.cos(), angles.sin()])
        power = (waves @ (row - row.mean())).square().sum().item()
        best = max(best, (power, stride * period.item()))
    return best[1]


#: Exercise -> right answers that look different.
RIGHT = {
    "zfnet.projection_widths": [by_gradient, by_formula, one_after_the_other],
    "zfnet.stem": [
        Padded,
        lambda a, b: front(a, b, pools=(0, 0), ceil=True).double(),
        lambda a, b: in_front(a, b, (1, 0, 1, 0)),  # the other side is not used
        lazy,
    ],
    "zfnet.through_relu": [masked, with_numpy, Gate()],
    "zfnet.unpool": [
        one_by_one,
        lambda s, i, size: collected(s, i, size, "sum"),
        counted_by_numpy,
        as_matrix,
    ],
    "zfnet.transposed": [folded, laid, by_shifts],
    "zfnet.cover": [covered, in_one_batch, with_masks],
    "zfnet.class_map": [with_gradient, as_convolution, map_by_numpy],
    "zfnet.grad_cam": [weighted, in_loops, cam_by_numpy],
    "zfnet.integrated": [path, step_by_step, with_func],
    "zfnet.measured_period": [crossings, by_spectrum, by_correlation, fitted],
}
