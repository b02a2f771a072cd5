"""Degradation: measuring why deeper plain networks train worse.

He et al. (2015), arXiv:1512.03385, section 4.1, argue that vanishing gradients are
unlikely to be the cause. Here is what it takes to check: norms of gradients, layer by
layer and step by step; a network without its batch normalization; a plain network that
is initialized to the identity. Chapter:
Degradation.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


def watch_gradients(net: nn.Module, relative: bool = False) -> dict[str, list[Tensor]]:
    """From now on, record the norm of the gradient of each layer's weight whenever it
    is computed: layer -> norms, one per step, the layers in the order of `net`.

    With `relative`, the norm is multiplied by that of the weight: by how much the loss
    changes when the weight changes by a given fraction of itself. That is what to
    compare where batch normalization follows: the loss is invariant to the scale of the
    weight, so that a weight twice as large has half the gradient.

    Shape: scalars, on the CPU, wherever `net` is.
    """
    norms: dict[str, list[Tensor]] = {}
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            seen = norms[name] = []

            def note(weight: Tensor, seen: list[Tensor] = seen) -> None:
                assert weight.grad is not None  # it has just been computed
                size = weight.detach().norm() if relative else 1
                seen.append((weight.grad.norm() * size).cpu())

            layer.weight.register_post_accumulate_grad_hook(note)
    return norms


def remove_batch_norm(net: nn.Module) -> None:
    """Remove the batch normalization from `net`, in place; the convolution before it
    gets a bias instead, initialized to zero.
    """
    for parent in list(net.modules()):
        for (_, before), (name, layer) in pairwise(parent.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                before.bias = nn.Parameter(torch.zeros_like(layer.bias))
                setattr(parent, name, nn.Identity())


def identity_init(net: nn.Module, std: float = 0.01) -> None:
    """Initialize each convolution of `net` to the identity: its weight is one from each
    input channel to the output channel of the same number, at the center of the kernel,
    and zero elsewhere; noise of standard deviation `std` is added.

    Output channels beyond those of the input are initialized with noise alone.

    Zagoruyko and Komodakis (2017), arXiv:1706.00388, train deep plain networks in
    a similar way. Differs from the paper: there the identity is part of the weight
    throughout training, with a factor that is learned.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
            with torch.no_grad():
                layer.weight += std * torch.randn_like(layer.weight)
