"""Network in Network: a multilayer perceptron slides over the image, and each of the
last feature maps stands for a class.

Lin, Chen and Yan (2013), "Network in network", arXiv:1312.4400. Section 3.1 has the
perceptron, which is a convolution and two 1x1 convolutions, section 3.2 global average
pooling, so that the head has no parameters. The widths are those of the models that
the authors released. Chapter: NiN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from course_lib.arguments import check_variant, data_shape
from course_lib.blocks import Network, he_init

#: The pooling at the end of a stage. It is overlapping, and a last position of which a
#: part lies outside of the image counts, as in the authors' programs.
POOLS: dict[str, Callable[..., nn.Module]] = {
    "max": nn.MaxPool2d,
    "average": nn.AvgPool2d,
}


class NiNStage(NamedTuple):
    """One stage: its three convolutions, of which the last two are 1x1, and what
    follows them.
    """

    #: Kernel size of the first convolution, in pixels.
    kernel_size: int
    #: Stride of the first convolution, in pixels.
    stride: int
    #: Padding of the first convolution, in pixels.
    padding: int
    #: Output channels of the three; the last stage has only two entries, since its last
    #: convolution has one output channel per class.
    channels: tuple[int, ...]
    #: The pooling at its end, a key of `POOLS`; None for no pooling.
    pool: Literal["max", "average"] | None = None
    #: Probability with which an output is dropped in training.
    dropout: float = 0.0


#: Variant -> data and stages. "cifar" is the network of the paper, "imagenet" the one
#: that the authors released for Caffe; "small" is for 28x28 pixels on a laptop, with a
#: stride in the first convolution.
VARIANTS: dict[str, tuple[str, tuple[NiNStage, ...]]] = {
    "cifar": (
        "cifar",
        (
            NiNStage(5, 1, 2, channels=(192, 160, 96), pool="max", dropout=0.5),
            NiNStage(5, 1, 2, channels=(192, 192, 192), pool="average", dropout=0.5),
            NiNStage(3, 1, 1, channels=(192, 192)),
        ),
    ),
    "imagenet": (
        "imagenet",
        (
            NiNStage(11, 4, 0, channels=(96, 96, 96), pool="max"),
            NiNStage(5, 1, 2, channels=(256, 256, 256), pool="max"),
            NiNStage(3, 1, 1, channels=(384, 384, 384), pool="max", dropout=0.5),
            NiNStage(3, 1, 1, channels=(1024, 1024)),
        ),
    ),
    "small": (
        "fashion",
        (
            NiNStage(5, 2, 2, channels=(48, 48, 48), pool="max"),
            NiNStage(5, 1, 2, channels=(64, 64, 64), pool="average"),
            NiNStage(3, 1, 1, channels=(96, 96)),
        ),
    ),
}


def nin_block(
    in_channels: int,
    out_channels: int | tuple[int, ...],
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    *,
    batch_norm: bool = False,
) -> nn.Sequential:
    """A convolution and two 1x1 convolutions, each with a ReLU: equation 2, a
    multilayer perceptron at every pixel.

    `out_channels` are those of the three convolutions, or one number for all. With
    `batch_norm`, batch normalization precedes each ReLU, and no convolution has a bias.

    Shape: (N, in_channels, H, W) -> (N, out_channels[2], H', W'), as `nn.Conv2d`.
    Raises: ValueError if `out_channels` are not three.
    """
    channels = (out_channels,) * 3 if isinstance(out_channels, int) else out_channels
    if len(channels) != 3:
        raise ValueError(
            f"out_channels must be one number or three, got {out_channels}"
        )
    block = nn.Sequential()
    for index, width in enumerate(channels):
        geometry = (kernel_size, stride, padding) if index == 0 else (1, 1, 0)
        block.append(nn.Conv2d(in_channels, width, *geometry, bias=not batch_norm))
        if batch_norm:
            block.append(nn.BatchNorm2d(width))
        block.append(nn.ReLU(inplace=True))
        in_channels = width
    return block


class NiN(Network):
    """The stages of figure 2 by name: ``mlpconv1`` ... ``mlpconv3`` (``mlpconv4`` for
    ImageNet) and ``head``, global average pooling.

    As in the original, the last block ends with a ReLU too, so no logit is negative.
    With `batch_norm`, batch normalization follows every convolution; it is younger than
    the paper.

    Shape: (N, in_channels, H, W) -> (N, num_classes), logits; made for 32x32 pixels
        ("cifar"), 224x224 ("imagenet") and 28x28 ("small").
    Raises: ValueError for an unknown variant and for less than one class or channel.
    Differs from the paper: the second pooling of "cifar" is average pooling, as in the
        model that the authors released, where section 4.1 has max pooling everywhere;
        and the initialization is He's, where the authors set it by hand.
    """

    def __init__(
        self,
        variant: str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
        batch_norm: bool = False,
    ) -> None:
        check_variant("NiN", variant, VARIANTS)
        data, rows = VARIANTS[variant]
        num_classes, in_channels = data_shape(data, num_classes, in_channels)
        super().__init__()
        for number, row in enumerate(rows, 1):
            widths = (*row.channels, num_classes)[:3]
            geometry = row.kernel_size, row.stride, row.padding
            stage = nin_block(in_channels, widths, *geometry, batch_norm=batch_norm)
            if row.pool:
                # Rounded up: 32 -> 16 -> 8, and 54 -> 27 -> 13 -> 6.
                stage.append(POOLS[row.pool](3, 2, ceil_mode=True))
            if row.dropout:
                stage.append(nn.Dropout(row.dropout))
            self.add_module(f"mlpconv{number}", stage)
            in_channels = widths[-1]
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        he_init(self)
