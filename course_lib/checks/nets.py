"""Layers and networks that checks hand to answers: some remember what was done to them,
others have a fault that a test is to find.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class RemembersModes(nn.Module):
    """A network whose logits are its input, most of them zeroed by dropout in training.
    It remembers the modes in which it was called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, K), as x."""
        self.modes.append(self.training)
        return self.dropout(x)


class Heads(nn.Module):
    """Three linear classifiers; in evaluation mode, one. It remembers the modes in
    which it was called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(12, 5) for _ in range(3))
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Any:
        """Logits (N, 5) of images (N, 3, 2, 2): three of them in training mode."""
        self.modes.append(self.training)
        logits = [layer(x.flatten(1)) for layer in self.layers]
        return tuple(logits) if self.training else logits[0]


class Ramp(nn.Module):
    """A layer that adds the position along one dimension, which is not equivariant."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W), each value plus its row or column."""
        size = x.shape[self.dim]
        ramp = torch.arange(size) / size
        return x.relu() + (ramp[:, None] if self.dim == 2 else ramp)


class Turned(nn.Module):
    """A layer that turns images over along one dimension, which is not equivariant."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W), turned over."""
        return x.flip(self.dim)


class Corner(nn.Module):
    """A head of global average pooling that adds a little of one corner."""

    def __init__(self, fc: nn.Linear) -> None:
        super().__init__()
        self.fc = fc

    def forward(self, x: Tensor) -> Tensor:
        """Logits of feature maps (N, C, H, W)."""
        logits: Tensor = self.fc(x.mean((2, 3)) + 0.005 * x[:, :, 0, -1])
        return logits
