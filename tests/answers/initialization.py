"""Answers to the exercises on initialization: wrong ones with the hint that they must
get, and right ones, written differently from the solution.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

VARIANCE = 0.01 / 3
LIMIT = math.sqrt(6 / 400)


def std_of(count):
    return lambda layer: math.sqrt(2 / count(layer))


def linear_or(count):
    """Right for `nn.Linear`; for a convolution it counts in this way."""
    return std_of(
        lambda layer: (
            count(layer) if isinstance(layer, nn.Conv2d) else layer.in_features
        )
    )


T, N = True, False

#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "initialization.one_layer": [
        (lambda: (VARIANCE, 400 * VARIANCE, LIMIT), "What does the ReLU do"),
        (
            lambda: (VARIANCE, 400 * VARIANCE, math.sqrt(3 / 400)),
            "What does the ReLU do",
        ),
        (lambda: (math.sqrt(VARIANCE), 200 * VARIANCE, LIMIT), "its square root"),
        (lambda: (0.01, 2.0, LIMIT), "a third of a^2"),
        (lambda: (0.04 / 3, 400 * 0.02 / 3, LIMIT), "from -0.1 to 0.1"),
        (lambda: (VARIANCE, 200 * VARIANCE, math.sqrt(2 / 400)), "belongs to which"),
        (lambda: (VARIANCE, math.sqrt(200 * VARIANCE), LIMIT), "not of the mean sq"),
        (lambda: VARIANCE, "a tuple is wanted"),
    ],
    "initialization.leaky_variance": [
        (lambda n, a: math.sqrt(2 / ((1 + a * a) * n)), "not the standard deviation"),
        (lambda n, a: 2 / n, "negative values contribute"),
        (lambda n, a: 2 / ((1 + a) * n), "and its square?"),
        (lambda n, a: 1 / ((1 + a**2) * n), "comes from positive z"),
        (lambda n, a: (1 + a**2) / (2 * n), "have to restore"),
        (lambda n, a: 2 * (1 + a**2) / n, "have to restore"),
        (lambda n, a: torch.tensor([2.0, 2.0]), "a number is wanted"),
    ],
    "initialization.he_std": [
        (linear_or(lambda c: c.weight.shape[0]), "and a kernel has several positions"),
        (linear_or(lambda c: c.in_channels), "more than one position"),
        (linear_or(lambda c: c.in_channels // c.groups), "more than one position"),
        (linear_or(lambda c: c.in_channels * c.weight[0, 0].numel()), "With groups"),
        (linear_or(lambda c: c.weight.shape[1] * c.kernel_size[1]), "rows and columns"),
        (linear_or(lambda c: c.weight.shape[1] * c.kernel_size[1] ** 2), "a square"),
        (linear_or(lambda c: c.out_channels * c.weight[0, 0].numel()), "gradients"),
        (lambda layer: 2 / layer.weight[0].numel(), "not the variance"),
        (lambda layer: layer.weight[0].numel() ** -0.5, "And the ReLU?"),
        (std_of(lambda layer: layer.weight.shape[0]), "Those are the outputs"),
    ],
    "initialization.growth": [
        (lambda: (2, 2, 1, 1.1), "no ReLU halves"),
        (lambda: (1, 2, 0.5, 0.1), "The block adds its input"),
        (lambda: (2, 3, 2**0.5, 1.1), "is squared"),
        (lambda: (2, 3, 1, 1.2), "ReLU between the layers"),
        (lambda: (2, 3, 1, 1.05), "before W2"),
        (lambda: (2, 3, 1, 1.01), "not its root"),
        (lambda: (4, 9, 2, 1.21), "the mixed term"),
    ],
    "initialization.who_learns": [
        (lambda: ((T, T), (N, N), (T, N), (T, T)), "goes through W2"),
        (lambda: ((N, N), (N, N), (T, N), (T, T)), "goes through W2"),
        (lambda: ((N, T), (T, N), (T, N), (T, T)), "every ReLU"),
        (lambda: ((N, T), (N, T), (T, N), (T, T)), "every ReLU"),
        (lambda: ((N, T), (N, N), (N, N), (T, T)), "slope at zero"),
        (lambda: ((N, T), (N, N), (T, N), (N, N)), "not zero gradients"),
        (lambda: (N, T, N, N, T, N, T, T), "where 4 are wanted"),
    ],
}


def integrated():
    w = torch.linspace(-0.1, 0.1, 100_001, dtype=torch.float64)
    variance = w.square().mean().item()
    return variance, variance * 400 / 2, 0.1 * (400 * variance / 2) ** -0.5


def by_pytorch():
    weight = torch.empty(400, 400)
    nn.init.kaiming_uniform_(weight, nonlinearity="relu")
    limit = math.sqrt(3) * nn.init.calculate_gain("relu") / math.sqrt(400)
    assert weight.abs().max() <= limit
    return [0.2**2 / 12, torch.tensor(2 / 3), limit]


def with_a_gain(n, slope):
    return nn.init.calculate_gain("leaky_relu", slope) ** 2 / n


def measured_slope(n, slope):
    z = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    kept = F.leaky_relu(z, slope).square().mean() / z.square().mean()
    return (1 / (n * kept)).item()


def by_kernel(layer):
    if isinstance(layer, nn.Linear):
        return (2 / layer.in_features) ** 0.5
    height, width = layer.kernel_size
    return (2 * layer.groups / (layer.in_channels * height * width)) ** 0.5


def by_fan(layer):
    fan = nn.init._calculate_correct_fan(layer.weight, "fan_in")
    return torch.tensor(2 / fan, dtype=torch.float64).sqrt()


def from_factors():
    relu, he = 0.5, 2.0
    first = 1 + relu * he * relu * he
    return first, 1 + he * relu * he, first * 0.5, 1 + he * relu * 0.1


def simulated():
    return [2.0, torch.tensor(3.0), (2**0.5 / 2**0.5), 11 / 10]


def differentiated():
    torch.manual_seed(1)
    x = torch.randn(8, 4)
    y = torch.randint(3, (8,))
    found = []
    for phi, first, second in (
        (torch.relu, torch.randn(5, 4), torch.zeros(3, 5)),
        (torch.relu, torch.zeros(5, 4), torch.randn(3, 5)),
        (torch.tanh, torch.zeros(5, 4), torch.randn(3, 5)),
        (torch.tanh, torch.full((5, 4), 0.1), torch.full((3, 5), 0.1)),
    ):
        weights = first.requires_grad_(), second.requires_grad_()
        F.cross_entropy(phi(x @ first.T) @ second.T, y).backward()
        found.append([bool((w.grad != 0).any()) for w in weights])
    return found


def listed():
    return [[N, T], [N, N], [T, N], [T, T]]


#: Exercise -> right answers that look different.
RIGHT = {
    "initialization.one_layer": [
        integrated,
        by_pytorch,
        lambda: (0.00333, 0.667, 0.1225),
    ],
    "initialization.leaky_variance": [
        with_a_gain,
        measured_slope,
        lambda n, slope: 1 / (n * (0.5 + 0.5 * slope * slope)),
    ],
    "initialization.he_std": [by_kernel, by_fan, std_of(lambda a: a.weight[0].numel())],
    "initialization.growth": [from_factors, simulated, lambda: (2, 3, 1, 1.1)],
    "initialization.who_learns": [
        differentiated,
        listed,
        lambda: tuple(zip((N, N, T, T), (T, N, N, T), strict=True)),
    ],
}
