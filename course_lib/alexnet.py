"""AlexNet: what LeNet is, made large enough for photographs.

Krizhevsky, Sutskever and Hinton (2012), "ImageNet classification with deep
convolutional neural networks", figure 2 and section 3: ReLU, convolutions in two
groups for two GPUs, local response normalization, overlapping pooling, dropout.
``"torchvision"`` is the slimmer network of Krizhevsky (2014), "One weird trick for
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
    """One convolution, with the arguments of `nn.Conv2d`."""

    #: Channels of its output.
    out_channels: int
    #: Side of the square kernel, in pixels.
    kernel_size: int
    #: From one position of the kernel to the next, in pixels.
    stride: int = 1
    #: Zero padding on each side, in pixels.
    padding: int = 0
    #: Groups of channels that do not depend on each other.
    groups: int = 1


class AlexNetVariant(NamedTuple):
    """One network of the family."""

    #: conv1 ... conv5.
    convs: tuple[Conv, ...]
    #: Side of the feature maps that are the input of fc6, in pixels.
    side: int
    #: Units of fc6 and of fc7.
    hidden: int
    #: What it was made for, a key of `course_lib.arguments.DATA`.
    data: str
    #: Whether feature maps of another size are pooled to `side` (adaptive average).
    adaptive: bool = False
    #: Whether local response normalization follows conv1 and conv2.
    lrn: bool = False
    #: Whether dropout is of the inputs of fc6 and fc7, or of their outputs.
    drops: Literal["inputs", "outputs"] = "outputs"


def _convs_of_figure_2(groups: int) -> tuple[Conv, ...]:
    """conv2, conv4 and conv5 are in groups; conv3 depends on all channels."""
    return (
        Conv(96, 11, stride=4),
        Conv(256, 5, padding=2, groups=groups),
        Conv(384, 3, padding=1),
        Conv(384, 3, padding=1, groups=groups),
        Conv(256, 3, padding=1, groups=groups),
    )


#: The networks by name. "small" is for 28x28 pixels: its feature maps of 23, 11 and 5
#: pixels are odd, like the paper's of 55, 27 and 13, so that both kinds of pooling have
#: outputs of the same size. Channels are multiples of 16, which suits vector units, and
#: few at first, where feature maps are large and moving them takes the time. It has no
#: local response normalization, which on a CPU would take longer than all the rest.
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

#: Which convolutions are followed by local response normalization, and which by pooling
#: (section 3.5).
NORMALIZED, POOLED = (1, 2), (1, 2, 5)


class AlexNet(Network):
    """The layers of figure 2 by name: ``conv1`` ... ``conv5``, each with its
    activation, normalization and pooling, and ``fc6``, ``fc7``, ``fc8``.

    The rest are the choices of section 3, to try them one by one. `activation` is a
    class like `nn.Tanh`; `lrn` is local response normalization after conv1 and conv2,
    by default as in the variant; `overlapping` is for max pooling of 3x3 with stride 2
    instead of 2x2; `dropout` is the probability with which inputs or outputs of fc6 and
    fc7 are dropped.

    Shape: (N, in_channels, H, W) -> (N, num_classes), logits. H and W are 227 for
        ``"paper"`` and ``"merged"``, from 63 on and made for 224 for ``"torchvision"``,
        28 for ``"small"``.
    Raises: ValueError for an unknown variant, for less than one class or channel, for
        an `activation` that is a module and not a class, or a `dropout` outside [0, 1].
    Differs from the paper: the text says 224x224 pixels; without padding it takes 227
        to get the 55x55 of its conv1, and 6x6 at the end. Local response normalization
        is across the groups, as its formula says; on the authors' GPUs it was within
        one. The weights have He (Kaiming) initialization instead of a standard
        deviation of 0.01, and biases begin with zero instead of one in conv2, conv4,
        conv5, fc6 and fc7: the paper's weights are too small for a small network, whose
        logits would be the same for all images.
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
    """fc6 or fc7: fully connected, with the dropout before or after it."""
    layers = [nn.Linear(in_features, row.hidden), _activate(activation)]
    drop = nn.Dropout(share("dropout", dropout))
    layers.insert(0 if row.drops == "inputs" else 2, drop)
    return nn.Sequential(*layers)


def _activate(activation: Callable[[], nn.Module]) -> nn.Module:
    return nn.ReLU(inplace=True) if activation is nn.ReLU else activation()
