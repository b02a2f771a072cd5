"""What is written on the box of a layer.

`describe` knows the layers of the course and PyTorch's common ones; any other is called
by the name of its class, and nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from torch.nn.modules import activation, container, conv, dropout, pooling

from course_lib import lenet, normalization
from course_lib.resnet import ZeroPad

TIMES = "\N{MULTIPLICATION SIGN}"

Shape = tuple[int, ...]
Tag = tuple[str, str]  # kind and name


@dataclass(frozen=True)
class Op:
    """One box."""

    #: Its color, a key of `course_lib.diagram.svg.PALETTE`.
    kind: str
    #: What it is called, in one or more lines.
    name: str
    #: The shape of its output, without the batch.
    shape: Shape
    #: Its output channels or units; None if they are not to be written.
    size: int | None = None
    #: In pixels: "2", or "2x1" where the sides differ.
    stride: str = "1"
    #: What else is to be written.
    more: tuple[str, ...] = ()
    #: Groups of a convolution.
    groups: int = 1
    #: Boxes side by side in which the groups are drawn.
    lanes: int = 1
    #: What follows it in the same box.
    tags: tuple[Tag, ...] = ()
    #: The module's name in the network.
    path: str = field(default="", compare=False)

    @property
    def small(self) -> bool:
        """Whether it belongs into the box of a layer before it. Local response
        normalization does not: in AlexNet it sums over channels of both groups.
        """
        tag = self.kind in ("act", "norm") and self.name != "LRN"
        return tag or self.name.startswith("dropout")

    @property
    def large(self) -> bool:
        """Whether there is room in its box for what follows."""
        return self.kind in ("conv", "pool", "full") or self.name == "flatten"

    def lines(self) -> list[str]:
        """What is written in a high box, line by line."""
        unit = "units" if self.kind == "full" else "channels"
        return [*self.name.split("\n"), *self._words(f" {unit}", "stride ")]

    def line(self) -> str:
        """The same in one line, with strides as in the papers: "3x3 conv, 64, /2"."""
        return ", ".join([self.name.replace("\n", " "), *self._words("", "/")])

    def pair(self) -> list[str]:
        """The same in a line for its name and one for the rest."""
        rest = ", ".join(self._words("", "/" if self.size else "stride "))
        return [*self.name.split("\n"), *([rest] if rest else [])]

    def _words(self, unit: str, stride: str) -> list[str]:
        size = [f"{self.size}{unit}"] if self.size else []
        strides = [f"{stride}{self.stride}"] if self.stride != "1" else []
        groups = [f"{self.groups} groups"] if self.groups > 1 else []
        return [*size, *strides, *self.more, *groups]

    def lane(self) -> Op:
        """One of its lanes alone."""
        if self.lanes == 1:
            return self
        channels, *pixels = self.shape
        return replace(
            self,
            shape=(channels // self.lanes, *pixels),
            size=self.size and self.size // self.lanes,
            groups=1,
            lanes=1,
        )


#: Layers whose name says it all.
NAMES: dict[type[nn.Module], Tag] = {
    nn.ReLU: ("act", "ReLU"),
    nn.Tanh: ("act", "tanh"),
    nn.Sigmoid: ("act", "sigmoid"),
    lenet.ScaledTanh: ("act", "scaled tanh"),
    nn.BatchNorm1d: ("norm", "BN"),
    nn.BatchNorm2d: ("norm", "BN"),
    nn.BatchNorm3d: ("norm", "BN"),
    normalization.BatchNorm2d: ("norm", "BN"),
    nn.LocalResponseNorm: ("norm", "LRN"),
    normalization.LocalResponseNorm: ("norm", "LRN"),
    nn.LayerNorm: ("norm", "layer norm"),
    nn.GroupNorm: ("norm", "group norm"),
    nn.Flatten: ("other", "flatten"),
}

#: The same for functions, by theirs.
FUNCTIONS: dict[str, Tag] = {
    "relu": ("act", "ReLU"),
    "tanh": ("act", "tanh"),
    "sigmoid": ("act", "sigmoid"),
    "flatten": ("other", "flatten"),
    "cat": ("join", "concat"),
    "add": ("join", "+"),
    "iadd": ("join", "+"),
    "mul": ("join", TIMES),
    "imul": ("join", TIMES),
}

#: Numbers of groups that are drawn side by side; more are only written.
DRAWN_GROUPS = range(2, 5)


def is_layer(module: nn.Module) -> bool:
    """Whether a box says all about `module`: it is PyTorch's own or has no children."""
    kind = type(module)
    if issubclass(kind, nn.Identity | nn.Sequential):
        return False
    own = kind.__module__.startswith("torch.nn.")
    return (own and kind.__module__ != container.__name__) or not any(module.children())


def describe(target: nn.Module | str, shape: Shape, path: str = "") -> Op:
    """The box of a layer, or of a function by its name, with its output `shape`."""
    if isinstance(target, str):
        return Op(*FUNCTIONS.get(target, ("other", target)), shape)
    op = _measured(target, shape)
    if op is None:
        kind = type(target)
        simple = kind.__module__ == activation.__name__ and not any(target.children())
        other = "act" if simple else "other", kind.__name__
        op = Op(*NAMES.get(kind, other), shape)
    return replace(op, path=path)


def _measured(layer: nn.Module, shape: Shape) -> Op | None:
    """The box of a layer that has sizes to be written, or None."""
    match layer:
        case conv._ConvNd():
            return _convolution(layer, shape)
        case lenet.PartialConv2d():
            kernel = _by(layer.weight.shape[1:])
            return Op("conv", f"{kernel} partial conv", shape, layer.out_channels)
        case pooling._MaxPoolNd() | pooling._AvgPoolNd():
            what = "max" if isinstance(layer, pooling._MaxPoolNd) else "average"
            pixels = len(shape) - 1
            name = f"{_by(_all(layer.kernel_size, pixels))}\n{what} pool"
            stride = _step(_all(layer.stride, pixels))
            return Op("pool", name, shape, stride=stride)
        case pooling._AdaptiveAvgPoolNd() | pooling._AdaptiveMaxPoolNd():
            average = isinstance(layer, pooling._AdaptiveAvgPoolNd)
            what = "average pool" if average else "max pool"
            one = max(shape[1:]) == 1
            name = f"global\n{what}" if one else f"{what}\nto {_by(shape[1:])}"
            return Op("pool", name, shape)
        case lenet.Subsampling():
            return Op("pool", f"2{TIMES}2\nsubsampling", shape, stride="2")
        case nn.Linear():
            return Op("full", "FC", shape, layer.out_features)
        case lenet.RBF():
            return Op("full", "RBF", shape, len(layer.codes))
        case dropout._DropoutNd():
            return Op("other", f"dropout {layer.p:g}", shape)
        case ZeroPad():
            name, stride = f"{layer.new_channels} zero channels", str(layer.stride)
            return Op("other", name, shape, stride=stride)
    return None


def _convolution(layer: conv._ConvNd, shape: Shape) -> Op:
    name, groups = "conv", layer.groups
    if layer.transposed:
        name = "transposed conv"
    elif 1 < groups == layer.in_channels:
        name, groups = "depthwise conv", 1
    stride, dilation = _step(layer.stride), _step(layer.dilation)
    more = (f"dilation {dilation}",) if dilation != "1" else ()
    if layer.transposed and stride != "1":  # which makes the feature map larger
        stride, more = "1", (f"{TIMES}{stride}", *more)
    return Op(
        "conv",
        f"{_by(layer.kernel_size)} {name}",
        shape,
        layer.out_channels,
        stride,
        more,
        groups,
        groups if groups in DRAWN_GROUPS else 1,
    )


def _all(size: Any, dimensions: int) -> Shape:
    """One size for each dimension."""
    return tuple(size) if isinstance(size, list | tuple) else (size,) * dimensions


def _by(sizes: Shape) -> str:
    return TIMES.join(map(str, sizes))


def _step(stride: Shape) -> str:
    """(2, 2) -> "2", (2, 1) -> "2x1"."""
    return str(stride[0]) if len(set(stride)) == 1 else _by(stride)
