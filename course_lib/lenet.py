"""LeNet-5: two convolutions, two subsamplings, three fully connected layers.

LeCun, Bottou, Bengio and Haffner (1998), "Gradient-based learning applied to document
recognition", section II. ``"paper"`` is their network, with its partial connections,
trainable subsampling and radial basis functions; ``"modern"`` is the rebuild that is
common today. Chapter: LeNet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.arguments import check_variant, data_shape
from course_lib.blocks import Network, he_init

#: Variant -> output channels of the two convolutions. "small" has multiples of sixteen,
#: which suit the vector units of a CPU.
VARIANTS = {"paper": (6, 16), "modern": (6, 16), "small": (16, 32)}

#: Table I: for each of the sixteen channels of C3 the channels of S2 that it is
#: connected to.
C3_TABLE = (
    *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 3) % 6, (i + 4) % 6) for i in range(3)),
    tuple(range(6)),
)

#: The target of each class at F6, 7x12 pixels like the digits of figure 3.
GLYPHS = """
..###.. ...#... ..###.. .#####. ....##. ######. ..####. ####### ..###.. ..###..
.#####. ..##... .#####. ....##. ...###. ##..... .##.... ....##. .##.##. .##.##.
##...## .###... ##...## ...##.. ..####. ##..... ##..... ....##. ##...## ##...##
##...## ..##... .....## ..##... .##.##. ##..... ##..... ...##.. ##...## ##...##
##...## ..##... ....##. .####.. ##..##. #####.. ##.##.. ...##.. .##.##. ##...##
##...## ..##... ...##.. ....##. ##..##. .....## ####.#. ..##... ..###.. .##.###
##...## ..##... ..##... .....## ####### .....## ##...## ..##... .##.##. ..##.##
##...## ..##... .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ..##... ##..... .....## ....##. .....## ##...## .##.... ##...## .....##
##...## ..##... ##..... ##..##. ....##. ##..##. .##.##. .##.... ##...## ....##.
.#####. ..##... ####### .####.. ....##. .####.. .####.. .##.... .##.##. .####..
..###.. .####.. ####### ..##... ....##. ..##... ..##... .##.... ..###.. .###...
"""


class ScaledTanh(nn.Module):
    """``1.7159 tanh(2x/3)``: the activation function of section II-B, with f(1) = 1 and
    f(-1) = -1.

    Shape: any -> the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each value."""
        return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """The sum of every 2x2 square, times a trainable coefficient, plus a trainable
    bias: one pair per channel.

    Shape: (N, channels, H, W) -> (N, channels, H/2, W/2), rounded down.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((channels, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Subsample `x`; with the initial coefficients, that is average pooling."""
        return self.coefficient * (4 * F.avg_pool2d(x, 2)) + self.bias


class PartialConv2d(nn.Module):
    """A convolution with partial connections: output channel i is connected to the
    input channels ``table[i]``, as in Table I.

    `weight` holds one kernel per connection, 60 for C3; all other weights are zero and
    not trained.

    Shape: (N, in_channels, H, W) -> (N, len(table), H - kernel_size + 1, W -
        kernel_size + 1).
    """

    weight: nn.Parameter
    rows: Tensor
    columns: Tensor

    def __init__(
        self, in_channels: int, table: tuple[tuple[int, ...], ...], kernel_size: int
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, len(table)
        pairs = [
            (row, column) for row, columns in enumerate(table) for column in columns
        ]
        rows, columns = zip(*pairs, strict=True)
        self.register_buffer("rows", torch.tensor(rows), persistent=False)
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(pairs), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(len(table)))
        fan_in = len(pairs) / len(table) * kernel_size**2
        nn.init.uniform_(self.weight, -((3 / fan_in) ** 0.5), (3 / fan_in) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, with zeros for the weights of absent connections."""
        weight = self.weight.new_zeros(
            self.out_channels, self.in_channels, *self.weight.shape[1:]
        )
        weight = weight.index_put((self.rows, self.columns), self.weight)
        return F.conv2d(x, weight, self.bias)


class RBF(nn.Module):
    """Minus half the squared distance from each class's code, equation 7 with the sign
    of a logit.

    The codes are fixed and not parameters: ten digits drawn in 7x12 pixels of +1 and
    -1, and for more than ten classes random codes. Differs from the paper: the digits
    are drawn anew, and the distances are halved, so that the softmax is that of a
    ``Linear`` with the codes as its weight.

    Shape: (N, 84) -> (N, num_classes).
    """

    codes: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        lines = [line.split() for line in GLYPHS.split("\n") if line]
        digits = ["".join(rows) for rows in zip(*lines, strict=True)]
        pixels = torch.tensor([[pixel == "#" for pixel in digit] for digit in digits])
        random = torch.Generator().manual_seed(0)
        more = max(num_classes - len(pixels), 0), pixels.shape[1]
        pixels = torch.cat([pixels, torch.rand(more, generator=random) < 0.5])
        codes = pixels[:num_classes] * 2.0 - 1
        self.register_buffer("codes", codes, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compare each row of `x` with each code."""
        return -0.5 * (x[:, None, :] - self.codes).square().sum(dim=2)


class LeNet(Network):
    """The stages of figure 2 by name: ``c1``, ``s2``, ``c3``, ``s4``, ``c5``, ``f6``,
    ``output``.

    `activation` and `pool` are for ``"modern"`` and ``"small"``: classes like `nn.Tanh`
    and `nn.AvgPool2d`. So is `batch_norm`, which puts batch normalization between each
    layer with weights and its activation function (Ioffe and Szegedy 2015, section
    3.2), except for the last layer.

    Shape: (N, in_channels, 32, 32) for ``"paper"``, (N, in_channels, 28, 28) for the
        others, whose first convolution pads by 2 -> (N, num_classes), logits.
    Raises: ValueError for an unknown variant, for less than one class or channel, or
        for an `activation`, a `pool` or `batch_norm` with ``"paper"``, which has its
        own.
    """

    def __init__(
        self,
        variant: str,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
        activation: Callable[[], nn.Module] | None = None,
        pool: Callable[[int], nn.Module] | None = None,
        batch_norm: bool = False,
    ) -> None:
        check_variant("LeNet", variant, VARIANTS)
        num_classes, in_channels = data_shape("fashion", num_classes, in_channels)
        if variant == "paper" and (activation or pool or batch_norm):
            raise ValueError(
                "LeNet('paper') has its own activation and pool: they cannot be chosen,"
                " nor can batch_norm"
            )
        if variant == "paper":
            super().__init__(_paper(num_classes, in_channels))
        else:
            parts = activation or nn.ReLU, pool or nn.MaxPool2d
            super().__init__(_modern(variant, num_classes, in_channels, *parts))
            if batch_norm:
                self._normalize()
            he_init(self)

    def _normalize(self) -> None:
        for stage, norm in {
            "c1": nn.BatchNorm2d,
            "c3": nn.BatchNorm2d,
            "c5": nn.BatchNorm1d,
            "f6": nn.BatchNorm1d,
        }.items():
            *layers, activation = getattr(self, stage)
            features = layers[-1].weight.shape[0]
            normalized = nn.Sequential(*layers, norm(features), activation)
            setattr(self, stage, normalized)


def _paper(num_classes: int, in_channels: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        c1=nn.Sequential(nn.Conv2d(in_channels, 6, 5), ScaledTanh()),
        s2=nn.Sequential(Subsampling(6), ScaledTanh()),
        c3=nn.Sequential(PartialConv2d(6, C3_TABLE, 5), ScaledTanh()),
        s4=nn.Sequential(Subsampling(16), ScaledTanh()),
        c5=nn.Sequential(nn.Conv2d(16, 120, 5), ScaledTanh(), nn.Flatten()),
        f6=nn.Sequential(nn.Linear(120, 84), ScaledTanh()),
        output=RBF(num_classes),
    )


def _modern(
    variant: str,
    num_classes: int,
    in_channels: int,
    activation: Callable[[], nn.Module],
    pool: Callable[[int], nn.Module],
) -> OrderedDict[str, nn.Module]:
    first, second = VARIANTS[variant]
    return OrderedDict(
        c1=nn.Sequential(nn.Conv2d(in_channels, first, 5, padding=2), activation()),
        s2=pool(2),
        c3=nn.Sequential(nn.Conv2d(first, second, 5), activation()),
        s4=pool(2),
        c5=nn.Sequential(nn.Flatten(), nn.Linear(second * 5 * 5, 120), activation()),
        f6=nn.Sequential(nn.Linear(120, 84), activation()),
        output=nn.Linear(84, num_classes),
    )
