"""Weights of eight bits, and how they are written down."""

from __future__ import annotations

import base64
import copy
from typing import Any

import numpy as np
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


def unpacked(program: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The numbers of a program: those of 32 bits, and those of 8.

    Shape: (n,) of float32, and (m,) of int8.
    """
    data, split = base64.b64decode(program["data"]), 4 * program["floats"]
    floats = np.frombuffer(data[:split], "<f4").astype(np.float32)
    whole = np.frombuffer(data[split:], np.int8)
    return torch.from_numpy(floats), torch.from_numpy(whole.copy())


def weight_of(op: dict[str, Any], rows: int, *numbers: Tensor) -> Tensor:
    """The weight of an operation that has so many output channels, in 32 bits.

    Shape: (rows, inputs of one output).
    """
    floats, whole = numbers
    size = op["size"]
    start, factors = op["weight"], floats[op["factors"] : op["factors"] + rows]
    return whole[start : start + rows * size].reshape(rows, size) * factors[:, None]
