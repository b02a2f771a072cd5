"""ConvNeXt: a ResNet, changed step by step after the example of vision transformers.

Liu et al. (2022), "A ConvNet for the 2020s", arXiv:2201.03545. Section 2 has the steps,
table 9 the networks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.arguments import check_variant, data_shape
from course_lib.blocks import Network


class ConvNeXtVariant(NamedTuple):
    """One network of the family."""

    #: Number of blocks in each stage.
    blocks: tuple[int, ...]
    #: Channels of the first stage; each further stage has twice as many.
    channels: int
    #: Side of the patches that the stem reads, in pixels.
    patch: int = 4
    #: The data it was made for, a key of `course_lib.arguments.DATA`.
    data: str = "imagenet"


#: The networks of section 3 by name, and one for 28x28 pixels on a laptop.
VARIANTS: dict[str, ConvNeXtVariant] = {
    "tiny": ConvNeXtVariant((3, 3, 9, 3), 96),
    "small": ConvNeXtVariant((2, 2, 2), 32, patch=2, data="fashion"),
}


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of each position, which the paper has in
    place of batch normalization.

    Shape: (N, channels, H, W) -> the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each position of `x`."""
        last = x.movedim(1, -1)
        y = F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps)
        return y.movedim(-1, 1)


class ConvNeXtBlock(nn.Module):
    """``x + scale * body(x)``: figure 4, right. The body is a depthwise 7x7 convolution
    and, at each position by itself, a normalization and two fully connected layers with
    four times the channels between them, which are 1x1 convolutions. `scale` has a
    number for each channel, at first 1e-6.

    Shape: (N, channels, H, W) -> the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.pointwise = nn.Sequential(
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the scaled output of the body to `x`."""
        change = self.pointwise(self.depthwise(x).movedim(1, -1)).movedim(-1, 1)
        return x + self.scale * change


class ConvNeXt(Network):
    """The stages of table 9 by name, as those of a ResNet: ``stem``, ``res2`` ...
    ``res5``, ``head``; the small network ends with ``res4``. A stage from the second on
    begins with a normalization and a 2x2 convolution of stride 2.

    `num_classes` and `in_channels` are by default those of the data that the network
    was made for.

    Shape: (N, in_channels, H, W) -> (N, num_classes), logits.
    Raises: ValueError for an unknown variant, and for less than one class or channel.
    Differs from the paper: no stochastic depth in training.
    """

    def __init__(
        self,
        variant: str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
    ) -> None:
        check_variant("ConvNeXt", variant, VARIANTS)
        row = VARIANTS[variant]
        num_classes, in_channels = data_shape(row.data, num_classes, in_channels)
        super().__init__()
        width = row.channels
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, row.patch, row.patch), ChannelNorm(width)
        )
        for number, blocks in enumerate(row.blocks):
            stage = nn.Sequential()
            if number:
                stage.append(ChannelNorm(width))
                stage.append(nn.Conv2d(width, 2 * width, 2, 2))
                width *= 2
            stage.extend(ConvNeXtBlock(width) for _ in range(blocks))
            self.add_module(f"res{number + 2}", stage)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            ChannelNorm(width),
            nn.Flatten(),
            nn.Linear(width, num_classes),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
