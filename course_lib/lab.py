"""Networks for the page that runs them: a trained module as a program of operations,
with weights of eight bits. Chapter: Lab.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

#: The layers whose weights are stored with eight bits.
LAYERS = nn.Conv2d | nn.Linear


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of 8 bits, and a factor for each output channel: their product is the
    nearest to `weight` that can be written so.

    Shape: (C_out, ...) -> (C_out, ...) of int8, and (C_out,).
    """
    rows = weight.detach().flatten(1)
    factors = rows.abs().amax(dim=1) / 127
    factors = torch.where(factors > 0, factors, 1)
    whole = (rows / factors[:, None]).round().to(torch.int8)
    return whole.reshape(weight.shape), factors


def quantized(net: nn.Module) -> nn.Module:
    """A copy of `net` with the weights that the page has: those of convolutions and
    fully connected layers as 8 bits can hold them, all others as they are.
    """
    net = copy.deepcopy(net)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, LAYERS):
                whole, factors = quantize(layer.weight)
                shape = -1, *[1] * (whole.dim() - 1)
                layer.weight.copy_(whole * factors.reshape(shape))
    return net
