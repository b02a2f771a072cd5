"""GoogLeNet: apply kernels of several sizes to the same input and concatenate.

Szegedy et al. (2014), "Going deeper with convolutions", arXiv:1409.4842. Figure 2(b)
has the Inception module, Table 1 the network, section 5 its two auxiliary
classifiers.
Chapter: GoogLeNet.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.arguments import check_variant, data_shape
from course_lib.blocks import Network, he_init


class InceptionChannels(NamedTuple):
    """The channels of one Inception module: the columns of Table 1."""

    #: Of the 1x1 convolution alone: "#1x1".
    c1x1: int
    #: Of the 1x1 convolution before the 3x3: "#3x3 reduce".
    c3x3_reduce: int
    #: Of the 3x3 convolution: "#3x3".
    c3x3: int
    #: Of the 1x1 convolution before the 5x5: "#5x5 reduce".
    c5x5_reduce: int
    #: Of the 5x5 convolution: "#5x5".
    c5x5: int
    #: Of the 1x1 convolution after the pooling: "pool proj".
    pool_proj: int

    @property
    def out_channels(self) -> int:
        """The channels of the four branches together."""
        return self.c1x1 + self.c3x3 + self.c5x5 + self.pool_proj


#: Table 1: the nine modules.
TABLE_1 = {
    "3a": InceptionChannels(64, 96, 128, c5x5_reduce=16, c5x5=32, pool_proj=32),
    "3b": InceptionChannels(128, 128, 192, c5x5_reduce=32, c5x5=96, pool_proj=64),
    "4a": InceptionChannels(192, 96, 208, c5x5_reduce=16, c5x5=48, pool_proj=64),
    "4b": InceptionChannels(160, 112, 224, c5x5_reduce=24, c5x5=64, pool_proj=64),
    "4c": InceptionChannels(128, 128, 256, c5x5_reduce=24, c5x5=64, pool_proj=64),
    "4d": InceptionChannels(112, 144, 288, c5x5_reduce=32, c5x5=64, pool_proj=64),
    "4e": InceptionChannels(256, 160, 320, c5x5_reduce=32, c5x5=128, pool_proj=128),
    "5a": InceptionChannels(256, 160, 320, c5x5_reduce=32, c5x5=128, pool_proj=128),
    "5b": InceptionChannels(384, 192, 384, c5x5_reduce=48, c5x5=128, pool_proj=128),
}

#: The last two columns of Table 1 as printed, thousands of parameters and millions of
#: operations, which are MACs. Not all of them follow from the other columns.
PAPER_TABLE_1 = {
    "conv1": (2.7, 34),
    "conv2": (112, 360),
    "3a": (159, 128),
    "3b": (380, 304),
    "4a": (364, 73),
    "4b": (437, 88),
    "4c": (463, 100),
    "4d": (580, 119),
    "4e": (840, 170),
    "5a": (1072, 54),
    "5b": (1388, 71),
    "linear": (1000, 1),
}

#: Section 5: the weight of the loss of each auxiliary classifier.
AUX_WEIGHT = 0.3


class GoogLeNetVariant(NamedTuple):
    """One network of the family."""

    #: What it was made for, a key of `course_lib.arguments.DATA`.
    data: str
    #: Kernel size of the first convolution; channels of the first and second stage.
    stem: tuple[int, int, int]
    #: The Inception modules by name, the number of their stage first.
    modules: dict[str, InceptionChannels]
    #: Stage -> kernel size of the pooling after it, in pixels.
    pools: dict[int, int]
    #: The modules whose outputs the auxiliary classifiers take.
    aux_from: tuple[str, str]
    #: Channels of the convolution of an auxiliary classifier, and units of its first
    #: fully connected layer.
    aux_units: tuple[int, int] = (128, 1024)
    #: The largest kernel size of the modules, in pixels.
    kernel_size: int = 5
    #: Whether it has torchvision's normalization, dropout and auxiliary pooling.
    modern: bool = True


_PAPER = GoogLeNetVariant(
    "imagenet",
    (7, 64, 192),
    TABLE_1,
    pools={1: 3, 2: 3, 3: 3, 4: 3},
    aux_from=("4a", "4d"),
)
_SMALL = {
    "3a": InceptionChannels(16, 16, 32, c5x5_reduce=16, c5x5=16, pool_proj=16),
    "3b": InceptionChannels(32, 32, 48, c5x5_reduce=16, c5x5=16, pool_proj=16),
    "4a": InceptionChannels(48, 32, 64, c5x5_reduce=16, c5x5=32, pool_proj=16),
    "4b": InceptionChannels(64, 48, 96, c5x5_reduce=16, c5x5=32, pool_proj=32),
}

#: "small" is for 28x28 pixels on a laptop: four modules, at 7x7 and 3x3 pixels. There,
#: moving the activations of branches takes longer than computing them: so few channels,
#: all multiples of 16, and feature maps that are small early.
VARIANTS = {
    "paper": _PAPER._replace(modern=False),
    "torchvision": _PAPER._replace(pools={1: 3, 2: 3, 3: 3, 4: 2}, kernel_size=3),
    "small": GoogLeNetVariant(
        "fashion",
        (5, 16, 48),
        _SMALL,
        pools={2: 3, 3: 3},
        aux_from=("3b", "4a"),
        aux_units=(32, 128),
    ),
}


def conv_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    batch_norm: bool = False,
) -> nn.Sequential:
    """A convolution and a ReLU; `batch_norm` normalizes between them, without a bias.

    Shape: (N, in_channels, H, W) -> (N, out_channels, ceil(H/stride), ceil(W/stride)),
        for odd kernels.
    """
    geometry = kernel_size, stride, kernel_size // 2
    conv = nn.Conv2d(in_channels, out_channels, *geometry, bias=not batch_norm)
    # The epsilon of TensorFlow, where torchvision's weights were trained.
    norm = [nn.BatchNorm2d(out_channels, eps=0.001)] if batch_norm else []
    return nn.Sequential(conv, *norm, nn.ReLU(inplace=True))


class Inception(nn.Module):
    """Four branches on the same input, concatenated along the channels: figure 2(b).

    A 1x1 convolution, a 3x3, a 5x5 (of another `kernel_size` in torchvision) and 3x3
    max pooling. More 1x1 convolutions reduce the input channels of the expensive
    kernels and the channels of the pooling. With `batch_norm`, every convolution is
    normalized.

    Shape: (N, in_channels, H, W) -> (N, row.out_channels, H, W).
    """

    def __init__(
        self,
        in_channels: int,
        row: InceptionChannels,
        kernel_size: int = 5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        conv = partial(conv_relu, batch_norm=batch_norm)
        self.conv1x1 = conv(in_channels, row.c1x1, 1)
        self.conv3x3 = nn.Sequential(
            conv(in_channels, row.c3x3_reduce, 1), conv(row.c3x3_reduce, row.c3x3, 3)
        )
        self.conv5x5 = nn.Sequential(
            conv(in_channels, row.c5x5_reduce, 1),
            conv(row.c5x5_reduce, row.c5x5, kernel_size),
        )
        self.pool_proj = nn.Sequential(
            nn.MaxPool2d(3, 1, padding=1), conv(in_channels, row.pool_proj, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the outputs of the four branches."""
        return torch.cat([branch(x) for branch in self.children()], dim=1)


class Outputs(NamedTuple):
    """Logits of the network and its auxiliary classifiers, in torchvision's order."""

    logits: Tensor
    aux2: Tensor
    aux1: Tensor

    def loss(self, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Its cross-entropy, and `AUX_WEIGHT` times those of the auxiliary ones."""
        loss, aux2, aux1 = (
            F.cross_entropy(logits, target, label_smoothing=label_smoothing)
            for logits in self
        )
        return loss + AUX_WEIGHT * (aux2 + aux1)


class AuxiliaryClassifiers(nn.ModuleDict):
    """By the names of the modules whose output they classify. As a stage of a network
    they return their input.

    Shape: any -> the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x


def auxiliary_classifier(
    in_channels: int, num_classes: int, net: GoogLeNetVariant, batch_norm: bool
) -> nn.Sequential:
    """A classifier for the output of a module in the middle: section 5.

    Shape: (N, in_channels, H, W), pooled to 4x4 -> (N, num_classes), logits.
    """
    channels, hidden = net.aux_units
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4) if net.modern else nn.AvgPool2d(5, 3),
        conv_relu(in_channels, channels, 1, batch_norm=batch_norm),
        nn.Flatten(),
        nn.Linear(channels * 4 * 4, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(0.7),
        nn.Linear(hidden, num_classes),
    )


def _auxiliary_classifiers(
    num_classes: int, net: GoogLeNetVariant, batch_norm: bool
) -> AuxiliaryClassifiers:
    """One for each module of `net` whose output is classified."""
    classifiers = AuxiliaryClassifiers()
    for name in net.aux_from:
        in_channels = net.modules[name].out_channels
        classifiers[f"inception_{name}"] = auxiliary_classifier(
            in_channels, num_classes, net, batch_norm
        )
    return classifiers


def _conv2(
    width: int, out_channels: int, net: GoogLeNetVariant, batch_norm: bool
) -> nn.Sequential:
    """The second stage: a 1x1 and a 3x3 convolution, in the paper between two local
    response normalizations.
    """
    stage = nn.Sequential(
        conv_relu(width, width, 1, batch_norm=batch_norm),
        conv_relu(width, out_channels, 3, batch_norm=batch_norm),
    )
    if not net.modern:
        stage.insert(0, nn.LocalResponseNorm(5))
        stage.append(nn.LocalResponseNorm(5))
    return stage


class GoogLeNet(Network):
    """The rows of Table 1 by name: ``conv1``, ``pool1``, ``conv2``, ``pool2``,
    ``inception_3a`` ... ``inception_5b``, ``head``.

    With `aux`, the auxiliary classifiers stand before the head, and in training mode
    the network returns `Outputs`, which has the loss: this is the one network of the
    course with a `forward` of its own. `batch_norm` overrules the variant's choice.

    Shape: (N, in_channels, H, W) -> (N, num_classes), logits. In training mode, the
        auxiliary classifiers of ``"paper"`` need 223 to 270 pixels a side.
    Raises: ValueError for an unknown variant, and for less than one class or channel.
    Differs from the paper: the constants of the local response normalization, which it
        does not give, are those of Caffe's GoogLeNet. ``"torchvision"`` has batch
        normalization, a 3x3 in place of each 5x5, and in its auxiliary classifiers
        pooling to 4x4 pixels in place of 5x5 average pooling.
    """

    aux: AuxiliaryClassifiers

    def __init__(
        self,
        variant: str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
        aux: bool = False,
        batch_norm: bool | None = None,
    ) -> None:
        check_variant("GoogLeNet", variant, VARIANTS)
        net = VARIANTS[variant]
        num_classes, in_channels = data_shape(net.data, num_classes, in_channels)
        norm = net.modern if batch_norm is None else batch_norm
        module = partial(Inception, kernel_size=net.kernel_size, batch_norm=norm)
        super().__init__()
        kernel_size, width, channels = net.stem
        self.conv1 = conv_relu(in_channels, width, kernel_size, 2, norm)
        self._pool(1, net)
        self.conv2 = _conv2(width, channels, net, norm)
        self._pool(2, net)
        for stage, names in groupby(net.modules, key=lambda name: int(name[0])):
            for name in names:
                row = net.modules[name]
                self.add_module(f"inception_{name}", module(channels, row))
                channels = row.out_channels
            self._pool(stage, net)
        if aux:
            self.aux = _auxiliary_classifiers(num_classes, net, norm)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2 if net.modern else 0.4),
            nn.Linear(channels, num_classes),
        )
        # By the inputs of a layer (fan-in): branches have fewer channels than their
        # input, so by fan-out a module would double the scale of its input.
        he_init(self, mode="fan_in")

    def _pool(self, stage: int, net: GoogLeNetVariant) -> None:
        if stage in net.pools:
            # Rounded up, as in Table 1: 112 -> 56 -> 28 -> 14 -> 7.
            pool = nn.MaxPool2d(net.pools[stage], 2, ceil_mode=True)
            self.add_module(f"pool{stage}", pool)

    def forward(self, x: Tensor) -> Any:
        """The logits of `x`; with `aux` and in training mode, `Outputs`."""
        if not (self.training and hasattr(self, "aux")):
            return super().forward(x)
        y, outputs = x, {}
        try:
            for name, stage in self.named_children():
                y = outputs[name] = stage(y)
            aux1, aux2 = (aux(outputs[name]) for name, aux in self.aux.items())
            return Outputs(y, aux2, aux1)
        except (RuntimeError, ValueError) as error:
            super().forward(x)  # explains the error, unless it is the classifiers'
            raise ValueError(
                f"the auxiliary classifiers cannot take {tuple(x.shape)}: {error}"
            ) from error
