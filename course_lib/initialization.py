"""Initialization: how random weights carry activations forward and gradients back.

Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward
neural networks", and He, Zhang, Ren and Sun (2015), "Delving deep into rectifiers",
arXiv:1502.01852, section 2.2, choose the variance of the weights. Yang, Pennington,
Rao, Sohl-Dickstein and Schoenholz (2019), "A mean field theory of batch
normalization", arXiv:1902.08129, compute what batch normalization does to gradients.
Chapter: Initialization.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.arguments import check_one_of, whole

#: AlexNet's; PyTorch's; Glorot and Bengio's; that of He et al. for the forward pass.
INITS = ("small", "default", "Xavier", "He")


def weight_variance(init: str, n_in: int, n_out: int) -> float:
    """The variance of the weights of a layer with `n_in` inputs and `n_out` outputs,
    for one of `INITS`.

    Raises: ValueError for another `init`.
    """
    check_one_of(INITS, init=init)
    variances = {
        "small": 0.01**2,
        "default": 1 / (3 * n_in),
        "Xavier": 2 / (n_in + n_out),
        "He": 2 / n_in,
    }
    return variances[init]


def init_linear(layer: nn.Linear, init: str) -> None:
    """Initialize `layer` with one of `INITS`: weights from a normal distribution with
    the variance `weight_variance`, biases zero. "default" is what PyTorch does: both
    from a uniform distribution, biases with the variance of the weights.

    Raises: ValueError for another `init`.
    """
    variance = weight_variance(init, layer.in_features, layer.out_features)
    if init == "default":
        layer.reset_parameters()
    else:
        nn.init.normal_(layer.weight, std=math.sqrt(variance))
        nn.init.zeros_(layer.bias)


def deep_mlp(
    depth: int, width: int, *, init: str = "He", batch_norm: bool = False
) -> nn.Sequential:
    """A multilayer perceptron for Fashion-MNIST: `depth` fully connected layers, all
    but the last with `width` units and a ReLU, before which there may be batch
    normalization.

    Shape: (N, 1, 28, 28) -> (N, 10), logits.
    Raises: ValueError for another `init`, or for less than one layer or unit.
    """
    whole("depth", depth, 1)
    whole("width", width, 1)
    net = nn.Sequential(nn.Flatten())
    features = 784
    for _ in range(depth - 1):
        net.append(nn.Linear(features, width))
        if batch_norm:
            net.append(nn.BatchNorm1d(width))
        net.append(nn.ReLU())
        features = width
    net.append(nn.Linear(features, 10))
    for layer in net:
        if isinstance(layer, nn.Linear):
            init_linear(layer, init)
    return net


class Skip(nn.Module):
    """``x + branch(x)``: a residual block without an activation function after the sum
    (He et al. 2016, arXiv:1603.05027, equation 5).

    Shape: that of `branch`, which is that of its input.
    """

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """Add what the branch outputs."""
        return x + self.branch(x)


def deep_residual_mlp(depth: int, width: int, *, zero: bool = False) -> nn.Sequential:
    """`deep_mlp` with He initialization, its hidden layers but the first in pairs with
    a skip connection around each: ``x + W2 relu(W1 relu(x))``. With `zero`, W2 is
    initialized to zero.

    Shape: (N, 1, 28, 28) -> (N, 10), logits.
    Raises: ValueError for an odd `depth`, or for less than one layer or unit.
    """
    whole("width", width, 1)
    if whole("depth", depth, 1) % 2:
        raise ValueError(f"depth must be even, for blocks of two layers; got {depth}")
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, width))
    for _ in range(depth // 2 - 1):
        layers = nn.Linear(width, width), nn.Linear(width, width)
        net.append(Skip(nn.Sequential(nn.ReLU(), layers[0], nn.ReLU(), layers[1])))
    net.extend([nn.ReLU(), nn.Linear(width, 10)])
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            init_linear(layer, "He")
    for block in net:
        if isinstance(block, Skip) and zero:
            nn.init.zeros_(list(block.branch.parameters())[-2])
    return net


@dataclass
class Signal:
    """What `watch_signal` measures, of the values before each ReLU, in the order of the
    network.
    """

    #: Their root mean square (rms), over all images and units.
    rms: list[float] = field(default_factory=list)
    #: The standard deviation over the images, of each unit by itself; the root mean
    #: square of that over the units.
    spread: list[float] = field(default_factory=list)
    #: The root mean square of the gradient of the loss.
    gradient: list[float] = field(default_factory=list)


def watch_signal(net: nn.Module, x: Tensor, y: Tensor) -> Signal:
    """Run a batch forward and the cross-entropy loss back, in the mode of `net`, and
    measure the signal before each ReLU. No parameter gets a gradient.

    Shape: x as `net` takes it, y (N,).
    Raises: ValueError for less than two images: they have no spread.
    """
    if len(x) < 2:
        raise ValueError(f"a spread needs at least two images, got {len(x)}")
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for layer in net.modules()
        if isinstance(layer, nn.ReLU)
    ]
    try:
        loss = F.cross_entropy(net(x), y)
    finally:
        for hook in hooks:
            hook.remove()
    gradients = torch.autograd.grad(loss, seen)
    return Signal(
        rms=[_rms(z) for z in seen],
        spread=[_rms(z - z.mean(0)) for z in seen],
        gradient=[_rms(gradient) for gradient in gradients],
    )


def _rms(x: Tensor) -> float:
    return x.detach().square().mean().sqrt().item()


def relu_cosine(c: Tensor) -> Tensor:
    """The cosine of ``relu(u)`` and ``relu(v)`` for two long vectors of normally
    distributed values whose cosine is `c`: the arc-cosine kernel of Cho and Saul
    (2009), "Kernel methods for deep learning".

    Shape: any -> the same; values in [-1, 1], -> [0, 1].
    """
    angle = torch.arccos(c.clamp(-1, 1))
    return (angle.sin() + (math.pi - angle) * angle.cos()) / math.pi


def next_moments(moments: Tensor, weight: float, bias: float = 0.0) -> Tensor:
    """From the second moments of a layer's values before the ReLU to those of the next
    layer, for very many units: `weight` is the variance of a weight times the number of
    inputs, `bias` the variance of a bias.

    An entry of `moments` is the mean, over the units, of the product of the values of
    two images; on the diagonal, of the square for one image.

    Shape: (N, N) -> (N, N).
    """
    rms = moments.diagonal().sqrt()
    sizes = rms[:, None] * rms
    return weight * sizes * relu_cosine(moments / sizes) / 2 + bias


def gradient_growth(batch_size: int) -> float:
    """By which factor the squared norm of the gradient grows a layer, towards the input
    of a deep network of fully connected layers, batch normalization and ReLU at
    initialization: equation 25 of Yang et al., for very wide layers. For large batches
    it is pi / (pi - 1) (Theorem 8).

    Raises: ValueError for a `batch_size` of less than 4.
    """
    whole("batch_size", batch_size, 4)
    c = -1 / (batch_size - 1)
    mean = relu_cosine(torch.tensor(c, dtype=torch.float64)).item()
    slope = (math.pi - math.acos(c)) / math.pi
    return ((batch_size - 1 + slope) / (1 - mean) - 1) / (batch_size - 3)
