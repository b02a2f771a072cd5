"""AlexNet: what LeNet is, made large enough for photographs.

Krizhevsky, Sutskever and Hinton (2012), "ImageNet classification with deep
convolutional neural networks", figure 2 and section 3: rectified units, two towers of
convolutions for two GPUs, response normalization, overlapping pooling, dropout.
``"torchvision"`` is the slimmer net of Krizhevsky (2014), "One weird trick for
parallelizing convolutional neural networks", arXiv:1404.5997, as torchvision has it.
Chapter: AlexNet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from course_lib.arguments import check_variant, data_shape, share
from course_lib.blocks import Network, he_init, response_norm


class Conv(NamedTuple):
    """One convolution, in the words of `nn.Conv2d`."""

    #: Feature maps that leave it.
    out_channels: int
    #: Side of the square window, in pixels.
    kernel_size: int
    #: From one window to the next, in pixels.
    stride: int = 1
    #: Zeros on each side of the picture, in pixels.
    padding: int = 0
    #: Parts of the channels that do not see each other.
    groups: int = 1


class AlexNetVariant(NamedTuple):
    """One net of the family."""

    #: conv1 ... conv5.
    convs: tuple[Conv, ...]
    #: Side of the maps that reach the full layers, in pixels.
    side: int
    #: Units of fc6 and of fc7.
    hidden: int
    #: What it was made for, a key of `course_lib.arguments.DATA`.
    data: str
    #: Whether maps of another size are averaged to `side`.
    adaptive: bool = False
    #: Whether responses are normalized after conv1 and conv2.
    lrn: bool = False
    #: Whether dropout is of what enters fc6 and fc7, or of what leaves them.
    drops: Literal["inputs", "outputs"] = "outputs"


def _convs_of_figure_2(groups: int) -> tuple[Conv, ...]:
    """Groups keep the towers apart in conv2, conv4 and conv5; conv3 sees both."""
    return (
        Conv(96, 11, stride=4),
        Conv(256, 5, padding=2, groups=groups),
        Conv(384, 3, padding=1),
        Conv(384, 3, padding=1, groups=groups),
        Conv(256, 3, padding=1, groups=groups),
    )


#: The nets by name. "small" is for 28x28 pixels: its maps of 23, 11 and 5 pixels are
#: odd, like the paper's of 55, 27 and 13, so that both kinds of pooling give the same
#: size. Channels are multiples of 16, as vector units like them, and few at first,
#: where maps are large and time goes into moving them. It does not normalize, which on
#: a CPU would take longer than all the rest.
VARIANTS = {
    "paper": AlexNetVariant(
        _convs_of_figure_2(groups=2), side=6, hidden=4096, lrn=True, data="imagenet"
    ),
    "merged": AlexNetVariant(
        _convs_of_figure_2(groups=1), side=6, hidden=4096, lrn=True, data="imagenet"
    ),
    "torchvision": AlexNetVariant(
        (
            Conv(64, 11, stride=4, padding=2),
            Conv(192, 5, padding=2),
            Conv(384, 3, padding=1),
            Conv(256, 3, padding=1),
            Conv(256, 3, padding=1),
        ),
        side=6,
        hidden=4096,
        adaptive=True,
        drops="inputs",
        data="imagenet",
    ),
    "small": AlexNetVariant(
        (
            Conv(16, 6),
            Conv(64, 5, padding=2),
            Conv(96, 3, padding=1),
            Conv(96, 3, padding=1),
            Conv(64, 3, padding=1),
        ),
        side=2,
        hidden=256,
        data="fashion",
    ),
}

#: Which convolutions normalization and pooling follow (section 3.5).
NORMALIZED, POOLED = (1, 2), (1, 2, 5)


class AlexNet(Network):
    """The layers of figure 2 by name: ``conv1`` ... ``conv5``, each with its
    activation, normalization and pooling, and ``fc6``, ``fc7``, ``fc8``.

    The rest are the choices of section 3, to try them one by one. `activation` is a
    class like `nn.Tanh`; `lrn` normalizes responses after conv1 and conv2, by default
    as the variant does; `overlapping` pools 3x3 pixels with stride 2, and otherwise
    2x2; `dropout` is the share of the units that are dropped around fc6 and fc7.

    Shape: (N, in_channels, H, W) -> (N, num_classes), logits. H and W are 227 for
        ``"paper"`` and ``"merged"``, from 63 on and made for 224 for ``"torchvision"``,
        28 for ``"small"``.
    Raises: ValueError for an unknown variant, for less than one class or channel, for
        an `activation` that is a module and not a class, or a `dropout` outside [0, 1].
    Differs from the paper: the text says 224x224 pixels; without padding it takes 227
        to get the 55x55 of its conv1, and 6x6 at the end. Normalization crosses the
        towers, as its formula says; the authors' GPUs saw only their own maps. Weights
        begin as He's instead of with a deviation of 0.01, and biases with zero instead
        of one in conv2, conv4, conv5, fc6 and fc7: the paper's are too small for a
        small net, whose logits would be the same for all pictures.
    """

    def __init__(
        self,
        variant: str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
        activation: Callable[[], nn.Module] = nn.ReLU,
        lrn: bool | None = None,
        overlapping: bool = True,
        dropout: float = 0.5,
    ) -> None:
        check_variant("AlexNet", variant, VARIANTS)
        row = VARIANTS[variant]
        num_classes, in_channels = data_shape(row.data, num_classes, in_channels)
        if isinstance(activation, nn.Module):
            raise ValueError(
                f"activation must be a class like nn.Tanh, got {activation!r}"
            )
        super().__init__()
        lrn = row.lrn if lrn is None else lrn
        for number, conv in enumerate(row.convs, start=1):
            stage = nn.Sequential(nn.Conv2d(in_channels, **conv._asdict()))
            stage.append(_activate(activation))
            if lrn and number in NORMALIZED:
                stage.append(response_norm())
            if number in POOLED:
                stage.append(nn.MaxPool2d(3 if overlapping else 2, stride=2))
            self.add_module(f"conv{number}", stage)
            in_channels = conv.out_channels
        features = in_channels * row.side**2
        resize = [nn.AdaptiveAvgPool2d(row.side)] if row.adaptive else []
        full = _full(features, row, activation, dropout)
        self.fc6 = nn.Sequential(*resize, nn.Flatten(), *full)
        self.fc7 = _full(row.hidden, row, activation, dropout)
        self.fc8 = nn.Linear(row.hidden, num_classes)
        he_init(self)


def _full(
    in_features: int,
    row: AlexNetVariant,
    activation: Callable[[], nn.Module],
    dropout: float,
) -> nn.Sequential:
    """One of the first two full layers, with the dropout before or behind it."""
    layers = [nn.Linear(in_features, row.hidden), _activate(activation)]
    drop = nn.Dropout(share("dropout", dropout))
    layers.insert(0 if row.drops == "inputs" else 2, drop)
    return nn.Sequential(*layers)


def _activate(activation: Callable[[], nn.Module]) -> nn.Module:
    return nn.ReLU(inplace=True) if activation is nn.ReLU else activation()
