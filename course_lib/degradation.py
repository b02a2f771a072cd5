"""Degradation: the instruments for asking why deeper plain nets train worse.

He et al. (2015), arXiv:1512.03385, section 4.1, rule out gradients that vanish. Here is
what it takes to check: norms of gradients, layer by layer and step by step; a net
without its batch normalization; a plain net that begins as the identity. Chapter:
Degradation.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


def watch_gradients(net: nn.Module, relative: bool = False) -> dict[str, list[Tensor]]:
    """From now on, note the norm of the gradient of each layer's weight whenever it is
    computed: layer -> norms, one a step, the layers in the order of `net`.

    With `relative`, the norm is multiplied by that of the weight: by how much the loss
    changes when the weight changes by a given share of itself. That is what to compare
    where batch normalization follows, which takes back any scale of a weight; twice the
    weight has half the gradient.

    Shape: scalars, on the device of `net`.
    """
    norms: dict[str, list[Tensor]] = {}
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            seen = norms[name] = []

            def note(weight: Tensor, seen: list[Tensor] = seen) -> None:
                assert weight.grad is not None  # it has just been computed
                size = weight.detach().norm() if relative else 1
                seen.append(weight.grad.norm() * size)

            layer.weight.register_post_accumulate_grad_hook(note)
    return norms


def remove_batch_norm(net: nn.Module) -> None:
    """Take the batch normalization out of `net`, in place; the convolution before it
    gets a bias instead, zero at first.
    """
    for parent in list(net.modules()):
        for (_, before), (name, layer) in pairwise(parent.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                before.bias = nn.Parameter(torch.zeros_like(layer.bias))
                setattr(parent, name, nn.Identity())


def identity_init(net: nn.Module, std: float = 0.01) -> None:
    """Let each convolution of `net` begin as a copy of its input: its weight is one
    where an output channel meets the input channel of the same number, in the middle of
    the kernel, and zero elsewhere; to that comes noise of deviation `std`.

    Output channels beyond those of the input begin with noise alone.

    Zagoruyko and Komodakis (2017), arXiv:1706.00388, train deep plain nets that begin
    like this. Differs from the paper: they keep the identity in the weight throughout,
    with a factor that is learned.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
            with torch.no_grad():
                layer.weight += std * torch.randn_like(layer.weight)
