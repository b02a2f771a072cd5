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

#: The characters that stand for the weights 0, -1, 1, -2, 2 and so on. Most weights are
#: small: the first 93 characters take one byte in a file, all others two. They are
#: those of ASCII that can be printed and need no escape in JSON; then come letters.
ONE_BYTE = [chr(code) for code in range(0x20, 0x7F) if chr(code) not in '"\\']
CHARACTERS = np.array(
    ONE_BYTE + [chr(0xC0 + more) for more in range(256 - len(ONE_BYTE))]
)


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


def packed(floats: list[float], whole: bytes) -> dict[str, str]:
    """The numbers of a program as texts: those of 32 bits in base64, those of 8, which
    are bytes with a sign, as a character each.
    """
    weights = np.frombuffer(whole, np.int8).astype(np.int16)
    places = np.where(weights < 0, -2 * weights - 1, 2 * weights)
    return {
        "floats": base64.b64encode(np.array(floats, "<f4").tobytes()).decode(),
        "weights": "".join(CHARACTERS[places]),
    }


def unpacked(program: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The numbers of a program: those of 32 bits, and those of 8.

    Shape: (n,) of float32, and (m,) of int8.
    """
    data = base64.b64decode(program["floats"])
    floats = np.frombuffer(data, "<f4").astype(np.float32)
    codes = np.frombuffer(program["weights"].encode("utf-32-le"), "<u4")
    places = np.zeros(0x200, np.int16)
    places[[ord(each) for each in CHARACTERS]] = np.arange(len(CHARACTERS))
    found = places[codes]
    whole = np.where(found % 2, -(found + 1) // 2, found // 2).astype(np.int8)
    return torch.from_numpy(floats), torch.from_numpy(whole)


def weight_of(op: dict[str, Any], rows: int, *numbers: Tensor) -> Tensor:
    """The weight of an operation that has so many output channels, in 32 bits.

    Shape: (rows, inputs of one output).
    """
    floats, whole = numbers
    size = op["size"]
    start, factors = op["weight"], floats[op["factors"] : op["factors"] + rows]
    return whole[start : start + rows * size].reshape(rows, size) * factors[:, None]
