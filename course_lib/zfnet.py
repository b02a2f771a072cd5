"""ZFNet: AlexNet, changed after its layers had been visualized.

Zeiler and Fergus (2013), "Visualizing and understanding convolutional networks",
arXiv:1311.2901. Section 4.1 found dead filters and aliasing in AlexNet's first layers
and remedied them by smaller filters and a smaller stride; figure 3 has the resulting
network. The visualization is in `course_lib.attribution`. Chapter: ZFNet.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from course_lib.arguments import check_one_of, check_variant, data_shape
from course_lib.blocks import Network, he_init, linear_relu_dropout, response_norm


class ZFNetVariant(NamedTuple):
    """One network of the family."""

    #: Output channels of conv1 ... conv5.
    channels: tuple[int, int, int, int, int]
    #: Kernel size and stride of conv1, a key of `STEMS`.
    stem: str
    #: Paddings of pool1, pool2 and pool5, in pixels; None for no pooling.
    pools: tuple[int | None, int | None, int]
    #: Units of fc6 and of fc7.
    units: int
    #: What it was made for, a key of `course_lib.arguments.DATA`.
    data: str


#: Figure 3; the network of Table 3 with "512, 1024, 512 maps"; and one for 28x28 pixels
#: on a laptop, with a sixth of the channels, in multiples of sixteen, and no pool2.
VARIANTS = {
    "paper": ZFNetVariant(
        (96, 256, 384, 384, 256), "7x7/2", (1, 1, 0), units=4096, data="imagenet"
    ),
    "wide": ZFNetVariant(
        (96, 256, 512, 1024, 512), "7x7/2", (1, 1, 0), units=4096, data="imagenet"
    ),
    "small": ZFNetVariant(
        (16, 48, 64, 64, 48), "7x7/1", (1, None, 0), units=256, data="fashion"
    ),
}

#: Kernel size and stride of conv1 -> kernel size, stride and padding of conv1 and
#: conv2. The last two are for 28 pixels, with half the strides of ZFNet's and
#: AlexNet's conv1; as in the papers, conv2 makes up for the difference.
STEMS = {
    "7x7/2": ((7, 2, 1), (5, 2, 0)),
    "7x7/1": ((7, 1, 3), (5, 2, 2)),
    "11x11/2": ((11, 2, 5), (5, 1, 2)),
}

#: The stems that "small" can have.
SMALL_STEMS = ("7x7/1", "11x11/2")

#: Side in pixels of the feature maps that are the input of fc6: 6 in figure 3, and 3
#: for images of 28 pixels.
SIZES = {"imagenet": 6, "fashion": 3}


def conv_stage(
    in_channels: int,
    out_channels: int,
    conv: tuple[int, int, int] = (3, 1, 1),
    *,
    pool_padding: int | None = None,
    lrn: bool = False,
) -> nn.Sequential:
    """Convolution, ReLU, max pooling of 3x3 with stride 2, local response
    normalization: the caption of figure 3.

    `conv` is kernel size, stride and padding; without `pool_padding` there is no
    pooling. Differs from the paper: the "contrast normalization" has no formula there;
    it is AlexNet's local response normalization, with AlexNet's constants.

    Shape: (N, in_channels, H, W) -> (N, out_channels, H', W').
    """
    stage = nn.Sequential(
        nn.Conv2d(in_channels, out_channels, *conv), nn.ReLU(inplace=True)
    )
    if pool_padding is not None:
        stage.append(nn.MaxPool2d(3, 2, padding=pool_padding))
    if lrn:
        stage.append(response_norm())
    return stage


class ZFNet(Network):
    """The layers of figure 3 by name: ``conv1`` ... ``conv5``, ``fc6``, ``fc7``,
    ``fc8``.

    `num_classes` and `in_channels` are by default those of ImageNet, or of
    Fashion-MNIST for ``"small"``. `lrn` is local response normalization in conv1
    and conv2. `stem` is for ``"small"``: "7x7/1" for ZFNet's conv1 or "11x11/2" for
    AlexNet's, both with half the stride; conv3 and what follows are the same.

    Shape: (N, in_channels, 224, 224), or 28x28 for ``"small"`` -> (N, num_classes),
        logits.
    Raises: ValueError for an unknown variant or `stem`, for a `stem` with any variant
        but ``"small"``, and for less than one class or channel.
    Differs from the paper: the paddings, which it does not give, are those with which
        the sizes are those of figure 3; the weights have He (Kaiming) initialization,
        not N(0, 0.01).
    """

    def __init__(
        self,
        variant: str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
        lrn: bool = True,
        stem: str | None = None,
    ) -> None:
        check_variant("ZFNet", variant, VARIANTS)
        row = VARIANTS[variant]
        num_classes, in_channels = data_shape(row.data, num_classes, in_channels)
        if stem is not None:
            if variant != "small":
                raise ValueError(
                    f"ZFNet({variant!r}) has its own stem: it cannot be chosen,"
                    f" got {stem!r}"
                )
            check_one_of(SMALL_STEMS, stem=stem)
        conv1, conv2 = STEMS[stem or row.stem]
        pool1, pool2, pool5 = row.pools
        a, b, c, d, e = row.channels
        super().__init__()
        self.conv1 = conv_stage(in_channels, a, conv1, pool_padding=pool1, lrn=lrn)
        self.conv2 = conv_stage(a, b, conv2, pool_padding=pool2, lrn=lrn)
        self.conv3 = conv_stage(b, c)
        self.conv4 = conv_stage(c, d)
        self.conv5 = conv_stage(d, e, pool_padding=pool5)
        full = linear_relu_dropout(e * SIZES[row.data] ** 2, row.units)
        self.fc6 = nn.Sequential(nn.Flatten(), *full)
        self.fc7 = linear_relu_dropout(row.units, row.units)
        self.fc8 = nn.Linear(row.units, num_classes)
        he_init(self)
