"""Answers to the exercises on convolution: wrong ones with the hint that they must get,
and right ones, written differently from the solution.
"""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.convolution import output_size


def size_by_the_library(n, k, s, p):
    return output_size(n, k, s, p)


def changed(pixel, pixels, layers, *, start=lambda i, s, p: i * s - p, more=0, pad=1):
    """The outputs that depend on a pixel; mistakes change a part."""
    found = [pixel]
    for k, s, p in layers:
        pixels = (pixels + 2 * p * pad - k) // s + 1
        windows = [
            range(start(i, s, p), start(i, s, p) + k + more) for i in range(pixels)
        ]
        found = [i for i, window in enumerate(windows) if {*window} & {*found}]
    return found


def ends(pixel, pixels, layers, *, low=True, high=True, round_up=True, stop=True):
    """The same by the first and the last, of which mistakes change a part."""
    a = b = pixel
    for k, s, p in layers:
        pixels = (pixels + 2 * p - k) // s + 1
        a, b = (a + p - k + 1) / s, (b + p) // s
        a = math.ceil(a) if round_up else math.floor(a)
        a, b = max(a, 0) if low else a, min(b, pixels - 1) if high else b
        if stop and a > b:
            return []
    return list(range(a, b + 1))


def centers_only(pixel, pixels, layers):
    for k, s, p in layers:
        place = pixel + p - k // 2
        pixels = (pixels + 2 * p - k) // s + 1
        if place % s or not 0 <= place // s < pixels:
            return []
        pixel = place // s
    return [pixel]


def every_output(pixel, pixels, layers):
    for k, s, p in layers:
        pixels = (pixels + 2 * p - k) // s + 1
    return list(range(pixels))


def spread_out(x, weight, stride, add=True):
    """What is wanted, by a loop over the positions of the input."""
    (_, height, width), (_, out, h, w) = x.shape, weight.shape
    y = torch.zeros(out, (height - 1) * stride + h, (width - 1) * stride + w)
    for i in range(height):
        for j in range(width):
            place = slice(i * stride, i * stride + h), slice(j * stride, j * stride + w)
            value = torch.tensordot(x[:, i, j], weight, 1)
            y[:, *place] = y[:, *place] + value if add else value
    return y


def doubled(x, weight, stride):
    y = spread_out(x, weight, stride)
    weight *= 2
    return y


def to_the_largest(x, gradient, k):
    """Where each window has its maximum, by comparing with it."""
    found = torch.zeros_like(x)
    for i in range(gradient.shape[2]):
        for j in range(gradient.shape[3]):
            window = (..., slice(i * k, i * k + k), slice(j * k, j * k + k))
            top = x[window].amax((2, 3), keepdim=True)
            found[window] = (x[window] == top) * gradient[:, :, i, j, None, None]
    return found


def spread_evenly(x, gradient, k):
    found = torch.zeros_like(x)
    wide = gradient.repeat_interleave(k, 2).repeat_interleave(k, 3)
    found[:, :, : wide.shape[2], : wide.shape[3]] = wide
    return found


def filled(x, gradient, k):
    rows, columns = gradient.shape[2] * k, gradient.shape[3] * k
    return to_the_largest(x, gradient, k)[:, :, :rows, :columns]


def by_autograd(x, gradient, k):
    x = x.clone().requires_grad_()
    rows, columns = gradient.shape[2] * k, gradient.shape[3] * k
    windows = x[:, :, :rows, :columns].unfold(2, k, k).unfold(3, k, k)
    return torch.autograd.grad(windows.amax((4, 5)), x, gradient)[0]


def equivariant(layer, shifts=((0, 1), (1, 0)), margin=4, constant=False):
    x = torch.zeros(2, 3, 16, 16)
    x[:, :, 6:10, 6:10] = torch.randn(2, 3, 4, 4)
    if constant:
        x = torch.ones(2, 3, 16, 16)
    inside = slice(margin, 16 - margin) if margin else slice(None)
    with torch.no_grad():
        y = layer(x)
        if y.shape[2:] != x.shape[2:]:
            return False
        for shift in shifts:
            moved = layer(x.roll(shift, (2, 3)))[:, :, inside, inside]
            want = y.roll(shift, (2, 3))[:, :, inside, inside]
            if not torch.allclose(moved, want, atol=1e-4):
                return False
    return True


def only_sums(layer):
    """Compares no more than the sums of the outputs."""
    x = torch.zeros(1, 3, 16, 16)
    x[:, :, 5:9, 6:10] = torch.rand(1, 3, 4, 4)
    with torch.no_grad():
        y, moved = layer(x), layer(x.roll(1, 3))
    same_size = y.shape[2:] == x.shape[2:]
    return same_size and torch.allclose(y.sum((2, 3)), moved.sum((2, 3)), atol=1e-3)


def block(channels, kernel_size, padding, activation=nn.ReLU, second=None, **options):
    conv = partial(nn.Conv2d, channels, channels, kernel_size, **options)
    return nn.Sequential(
        conv(padding=padding),
        activation(),
        conv(padding=padding if second is None else second),
    )


def frozen(c, k):
    net = block(c, k, k // 2)
    net[0].requires_grad_(False)
    return net


def twice_the_same(c, k):
    net = block(c, k, k // 2)
    return nn.Sequential(net[0], nn.ReLU(), net[0])


class Detached(nn.Module):
    def __init__(self, c, k):
        super().__init__()
        self.net = block(c, k, k // 2)

    def forward(self, x):
        return self.net[2](self.net[1](self.net[0](x)).detach())


class Unused(nn.Module):
    """Has two convolutions, and applies one twice."""

    def __init__(self, c, k):
        super().__init__()
        self.first = nn.Conv2d(c, c, k, padding="same")
        self.second = nn.Conv2d(c, c, k, padding="same")

    def forward(self, x):
        return self.first(self.first(x).relu())


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "convolution.parameters_of_one_layer": [
        (lambda: (16 * 75, 9216 * 2352), "Each output has a bias, too"),
        (lambda: (16 * 75, 9216 * 2353), "the convolution has a bias"),
        (lambda: (16 * 76, 9216 * 2352), "fully connected layer has a bias"),
        (lambda: (16 * 25 + 16, 9216 * 2353), "all three input channels"),
        (lambda: (76, 9216 * 2353), "kernel of its own"),
        (lambda: (16 * 76, 16 * 784 * 2353), "smaller than the input"),
        (lambda: (16 * 76, 16 * 2353), "in all sixteen feature maps"),
        (lambda: (16 * 76, 9216 * 785), "in all three channels"),
        (lambda: (16 * 75 + 1, 9216 * 2352 + 1), "not one for all"),
        (lambda: (16 * 76, 9216 * 2353 + 1), "the second value"),
        (lambda: (9216 * 2353, 16 * 76), "in another order"),
        (lambda: 16 * 76, "a tuple is wanted"),
    ],
    "convolution.output_size": [
        (lambda n, k, s, p: (n + 2 * p - k) // s, "add one"),
        (lambda n, k, s, p: (n + p - k) // s + 1, "both sides"),
        (lambda n, k, s, p: (n - k) // s + 1, "What does the padding do"),
        (lambda n, k, s, p: (n - 2 * p - k) // s + 1, "not smaller"),
        (lambda n, k, s, p: (n + 2 * p - k) / s + 1, "whole"),
        (lambda n, k, s, p: n + 2 * p - k + 1, "With a stride"),
        (lambda n, k, s, p: (n + 2 * p - k + 1) // s, "divide first"),
        (lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1, "round down"),
        (lambda n, k, s, p: round((n + 2 * p - k) / s) + 1, "round down"),
        (lambda n, k, s, p: n + 2 * p - k // s + 1, "All of it"),
        (lambda n, k, s, p: ((n + 2 * p - k) // s + 1) ** 2, "along one side"),
        (lambda n, k, s, p: (n + 2 * p) // s + 1, "has to fit"),
        (size_by_the_library, "does it for you"),
    ],
    "convolution.reached": [
        (lambda *a: changed(*a, start=lambda i, s, _: i * s), "does output i begin"),
        (lambda *a: changed(*a, start=lambda i, s, p: i * s + p), "at the sign"),
        (lambda *a: changed(*a, start=lambda i, _, p: i - p), "`stride` apart"),
        (lambda *a: changed(*a, more=1), "a to a + kernel_size - 1"),
        (lambda *a: changed(*a, more=-1), "a to a + kernel_size - 1"),
        (lambda *a: changed(*a, pad=0), "there are more outputs"),
        (lambda x, n, layers: changed(x, n, layers[::-1]), "comes first"),
        (lambda *a: ends(*a, low=False), "have numbers from 0 on"),
        (lambda *a: ends(*a, high=False), "only so many"),
        (lambda *a: ends(*a, low=False, high=False), "only so many"),
        (lambda *a: ends(*a, round_up=False), "round up"),
        (lambda *a: ends(*a, stop=False), "no later layer"),
        (lambda x, n, layers: changed(x, n, layers) if layers else [], "the pixel"),
        (centers_only, "not all that it covers"),
        (every_output, "Not every output"),
        (lambda *a: changed(*a)[::2], "first and the last"),
        (lambda *a: len(changed(*a)), "where a list is wanted"),
    ],
    "convolution.transposed": [
        (lambda x, w, s: F.conv_transpose2d(x, w, stride=s), "does it for you"),
        (lambda x, w, s: spread_out(x, w.flip(2, 3), s), "flip the kernel"),
        (lambda x, w, s: spread_out(x, w, 1), "apart in the output"),
        (lambda x, w, s: spread_out(x[:1], w[:1], s), "over all input channels"),
        (
            lambda x, w, s: spread_out(x, w[:, :1], s).expand(w.shape[1], -1, -1),
            "kernels of its own",
        ),
        (lambda x, w, s: spread_out(x, w, s, add=False), "add up"),
        (lambda x, w, s: spread_out(x, w, s)[None], "three dimensions"),
        (lambda x, w, s: spread_out(x, w, s).sum(0), "do not add"),
        (lambda x, w, s: F.pad(spread_out(x, w, s), (0, 1, 0, 1)), "begins at"),
        (doubled, "work on a copy"),
        (lambda x, w, s: None, "end with `return`"),
    ],
    "convolution.max_pool_gradient": [
        (by_autograd, "does it for you"),
        (lambda x, g, k: spread_evenly(x, g, k), "Only the largest"),
        (lambda x, g, k: spread_evenly(x, g, k) / k**2, "are for the mean"),
        (lambda x, g, k: (to_the_largest(x, g, k) != 0).float(), "By the chain rule"),
        (lambda x, g, k: x * to_the_largest(x, g, k), "not the value itself"),
        (lambda x, g, k: to_the_largest(-x, g, k), "the smallest"),
        (lambda x, g, k: -to_the_largest(x, g, k), "Look at the sign"),
        (lambda x, g, k: to_the_largest(x, g, k) / k**2, "no mean"),
        (lambda x, g, k: filled(x, g, k), "the shape of `x`"),
    ],
    "convolution.is_equivariant": [
        (lambda layer: True, "moves by less than a pixel"),
        (lambda layer: False, "wherever it is"),
        (lambda layer: equivariant(layer, margin=0), "away from the border"),
        (lambda layer: equivariant(layer, shifts=[(0, 1)]), "from top to bottom"),
        (lambda layer: equivariant(layer, shifts=[(1, 0)]), "from left to right"),
        (lambda layer: equivariant(layer, constant=True), "up, not down"),
        (lambda layer: layer(torch.zeros(1, 3, 16, 16)), "True or False"),
        (only_sums, "from top to bottom"),
        (lambda layer: isinstance(layer, nn.Conv2d | nn.ReLU), "from the border"),
    ],
    "convolution.keeps_its_size": [
        (lambda c, k: block(c, k, 0), "smaller"),
        (lambda c, k: block(c, k, 1), "kernel of 3x3"),
        (lambda c, k: block(c, k, k // 2, nn.Identity), "Keep the ReLU"),
        (lambda c, k: block(c, k, max(k // 2 - 1, 0)), "smaller"),
        (lambda c, k: block(c, k, k - 1), "half of the kernel"),
        (lambda c, k: block(c, k, k // 2, second=0), "each of the two"),
        (lambda c, k: block(c, k, k - 1, second=0), "each of the two"),
        (lambda c, k: block(c, k, k // 2, padding_mode="circular"), "made of zeros"),
        (lambda c, k: block(c, k, k // 2, bias=False), "Keep the biases"),
        (lambda c, k: block(c, k, k // 2).append(nn.ReLU()), "only that one"),
        (twice_the_same, "apply each once"),
        (Unused, "apply each once"),
        (frozen, "frozen"),
        (Detached, "detached"),
        (lambda c, k: block(c, k, k // 2)(torch.zeros(1, c, 9, 8)), "a module"),
        (lambda c, k: None, "end with `return`"),
    ],
}


def counted():
    layers = nn.Conv2d(3, 16, 5), nn.Linear(2352, 9216)
    return [sum(p.numel() for p in layer.parameters()) for layer in layers]


def by_product():
    """Arrays of NumPy."""
    shapes = np.array([[16, 3 * 5 * 5 + 1], [16 * 24**2, 3 * 28**2 + 1]])
    return shapes.prod(axis=1)


def one_after_the_other():
    yield Fraction(16 * 3 * 25) + 16
    yield torch.tensor([9216 * 2352 + 9216])


def counted_positions(n, k, s, p):
    return np.arange(-p, n + p - k + 1, s).size


class Formula:
    """Can be called."""

    def __call__(self, n, k, s, p):
        return torch.tensor([math.floor(Fraction(n + 2 * p - k, s) + 1)])


def by_a_convolution(pixel, pixels, layers):
    """By what becomes of a one among zeros, as an array."""
    row = np.eye(pixels)[pixel]
    for k, s, p in layers:
        row = np.convolve(np.pad(row, p), np.ones(k), "valid")[::s]
    return np.flatnonzero(row)


def by_backpropagation(pixel, pixels, layers):
    """Each output by its gradient; a tensor of floats."""
    x = torch.ones(1, 1, pixels, requires_grad=True)
    y = x
    for k, s, p in layers:
        y = F.conv1d(y, torch.full((1, 1, k), 1 / k), stride=s, padding=p)
    seen = [
        torch.autograd.grad(each, x, retain_graph=True)[0][0, 0, pixel] > 0
        for each in y[0, 0]
    ]
    return torch.tensor(seen).nonzero()[:, 0].double()


def with_zeros_between(x, weight, stride):
    """A convolution of `x` with zeros between its pixels, as sums of shifted images."""
    (_, height, width), (_, out, h, w) = x.shape, weight.shape
    y = torch.zeros(out, (height - 1) * stride + h, (width - 1) * stride + w)
    for i in range(h):
        for j in range(w):
            part = torch.einsum("cyx,cd->dyx", x, weight[:, :, i, j])
            y[:, i : i + height * stride : stride, j : j + width * stride : stride][
                :, :height, :width
            ] += part
    return y


def as_matrix(x, weight, stride):
    """By `F.fold`, in float64."""
    (channels, height, width), (h, w) = x.shape, weight.shape[2:]
    columns = weight.double().flatten(1).T @ x.double().view(channels, -1)
    size = (height - 1) * stride + h, (width - 1) * stride + w
    return F.fold(columns[None], size, (h, w), stride=stride)[0]


def nested(x, weight, stride):
    """Nested lists."""
    return spread_out(x, weight, stride).tolist()


def by_index(x, gradient, k):
    rows, columns = gradient.shape[2] * k, gradient.shape[3] * k
    cut = x[:, :, :rows, :columns]
    windows = cut.unfold(2, k, k).unfold(3, k, k).flatten(4)
    place = F.one_hot(windows.argmax(4), k * k) * gradient[..., None]
    folded = place.unflatten(4, (k, k)).permute(0, 1, 2, 4, 3, 5).flatten(4, 5)
    whole = folded.flatten(2, 3)
    return F.pad(whole, (0, x.shape[3] - columns, 0, x.shape[2] - rows))


def with_numpy(x, gradient, k):
    found = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(*gradient.shape):
        window = x[n, c, i * k : i * k + k, j * k : j * k + k].numpy()
        row, column = np.unravel_index(window.argmax(), window.shape)
        found[n, c, i * k + row, j * k + column] = gradient[n, c, i, j]
    return found


def on_a_torus(layer):
    """With another patch, moved further, and with no margin but that of the patch."""
    torch.manual_seed(0)
    x = F.pad(torch.rand(3, 3, 4, 4) - 0.5, (6, 6, 6, 6))
    y = layer(x).detach()
    for d in (2, 3):
        for step in (1, -1):
            moved = layer(x.roll(step, d)).detach()
            if moved.shape != (*y.shape[:2], 16, 16):
                return False
            gap = (moved - y.roll(step, d))[:, :, 4:-4, 4:-4]
            if gap.abs().max() > 1e-4:
                return False
    return np.bool_(True)


class Same(nn.Module):
    def __init__(self, channels, kernel_size):
        super().__init__()
        self.second = nn.Conv2d(channels, channels, kernel_size, padding="same")
        self.first = nn.Conv2d(channels, channels, kernel_size, padding="same")

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


def lazy(channels, kernel_size):
    conv = partial(nn.LazyConv2d, channels, kernel_size, padding=(kernel_size - 1) // 2)
    return nn.Sequential(conv(), nn.Threshold(0, 0), conv())


def padded_before(channels, kernel_size):
    """In float64, with other names."""
    layers = nn.Sequential()
    for name in ("one", "two"):
        layers.add_module(f"pad_{name}", nn.ZeroPad2d(kernel_size // 2))
        layers.add_module(name, nn.Conv2d(channels, channels, kernel_size))
        layers.add_module(f"relu_{name}", nn.ReLU(inplace=True))
    return layers[:-1].double()


#: Exercise -> right answers that look different.
RIGHT = {
    "convolution.parameters_of_one_layer": [counted, by_product, one_after_the_other],
    "convolution.output_size": [
        lambda n, k, s, p: len(range(0, n + 2 * p - k + 1, s)),
        lambda n, k, s, p: F.conv1d(
            torch.ones(1, 1, n), torch.ones(1, 1, k), stride=s, padding=p
        ).shape[-1],
        lambda n, k, s, p: (n + 2 * p - k + s) // s,
        lambda n, k, s, p: float((n + 2 * p - k) // s + 1),
        counted_positions,
        Formula(),
    ],
    "convolution.reached": [changed, ends, by_a_convolution, by_backpropagation],
    "convolution.transposed": [spread_out, with_zeros_between, as_matrix, nested],
    "convolution.max_pool_gradient": [to_the_largest, by_index, with_numpy],
    "convolution.is_equivariant": [
        equivariant,
        on_a_torus,
        lambda layer: int(equivariant(layer)) == 1,
    ],
    "convolution.keeps_its_size": [Same, lazy, padded_before],
}
