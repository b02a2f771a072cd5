"""What two or more networks are built from: the base of every network, short pipelines,
and He (Kaiming) initialization.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any, Literal

import torch
from torch import Tensor, nn

from course_lib.arguments import check_one_of, share


class Network(nn.Sequential):
    """The base of every network of the course: a `nn.Sequential` whose children are the
    paper's stages, by name.

    A slice, ``net[:2]``, is a plain `nn.Sequential` that shares the network's modules.
    An input that the network cannot take raises an error that says which sizes it
    does take.

    Shape: (N, in_channels, H, W) -> (N, num_classes), logits.
    Raises: ValueError, in the forward pass, for an input that does not fit.
    """

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)

    def forward(self, x: Tensor) -> Tensor:
        """Stage after stage, as in `nn.Sequential`; only errors are put into words."""
        y = x
        try:
            for stage in self:
                y = stage(y)
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            reason = self._explain_error(x)
            if reason is None:
                raise
            name = type(self).__name__
            shape = getattr(x, "shape", None)
            given = type(x).__name__ if shape is None else f"shape {tuple(shape)}"
            raise ValueError(
                f"{name} cannot take an input of {given}: {reason}"
            ) from error
        return y

    def _explain_error(self, x: Tensor) -> str | None:
        """Why `x` does not fit, or None if the reason lies elsewhere."""
        first = next(
            (layer for layer in self.modules() if isinstance(layer, nn.Conv2d)), None
        )
        if not isinstance(x, Tensor):
            return "it wants a tensor (N, C, H, W)"
        channels = first.in_channels if first else x.shape[1]
        if x.dim() != 4 or x.shape[1] != channels:
            return f"it wants (N, {channels}, H, W)"
        if not x.is_floating_point():
            return f"it wants floating-point numbers, not {x.dtype}"
        weights = next(self.parameters(), x)
        for what in ("dtype", "device"):
            ours, theirs = getattr(weights, what), getattr(x, what)
            if ours != theirs and not torch.is_autocast_enabled(x.device.type):
                return f"its weights are {ours}, and the input is {theirs}"
        smallest = next(
            (size for size in range(1, 513) if self._accepts(channels, size)), None
        )
        if smallest is None:
            return None
        largest = smallest
        while largest < 4 * smallest and self._accepts(channels, largest + 1):
            largest += 1
        limited = largest < 4 * smallest
        if smallest <= min(x.shape[2:]) and not (
            limited and largest < max(x.shape[2:])
        ):
            return None
        limit = f", the largest {largest}x{largest}" if limited else ""
        return f"the smallest image that works is {smallest}x{smallest}{limit}"

    def _accepts(self, channels: int, size: int) -> bool:
        """Try two images on the meta device, where shapes are computed and values are
        not.
        """
        plain = nn.Sequential(OrderedDict(self.named_children()))
        try:
            run_on_meta(plain, (2, channels, size, size))
        except (RuntimeError, ValueError):
            return False
        return True


def run_on_meta(net: nn.Module, shape: tuple[int, ...]) -> None:
    """Run a copy of `net` on an input of `shape`, on the meta device: shapes are
    computed, values are not.
    """
    tensors = (*net.parameters(), *net.buffers())
    memo = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    copy.deepcopy(net, memo)(torch.empty(shape, device="meta"))


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution and batch normalization, whose shift makes a bias superfluous (Ioffe
    and Szegedy 2015, section 3.2).

    Shape: (N, in_channels, H, W) -> (N, out_channels, ceil(H/stride), ceil(W/stride)),
        for odd kernels.
    """
    padding = kernel_size // 2
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
    )


def conv_bn_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    groups: int = 1,
) -> nn.Sequential:
    """`conv_bn` and a ReLU. Shape: as `conv_bn`."""
    layers = conv_bn(in_channels, out_channels, kernel_size, stride, groups=groups)
    return layers.append(nn.ReLU(inplace=True))


def linear_relu_dropout(
    in_features: int, out_features: int, dropout: float = 0.5
) -> nn.Sequential:
    """A fully connected layer as in AlexNet: `nn.Linear`, a ReLU, and dropout.

    Shape: (N, in_features) -> (N, out_features).
    Raises: ValueError for a `dropout` outside [0, 1].
    """
    return nn.Sequential(
        nn.Linear(in_features, out_features),
        nn.ReLU(inplace=True),
        nn.Dropout(share("dropout", dropout)),
    )


def response_norm() -> nn.LocalResponseNorm:
    """Local response normalization as in AlexNet's section 3.3: k = 2, n = 5,
    alpha = 1e-4, beta = 0.75.

    Shape: (N, C, ...) -> the same.
    """
    # The paper multiplies alpha by a sum over n channels, PyTorch by their mean.
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def he_init(net: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """He (Kaiming) initialization: random weights with which the gradients of a ReLU
    network have about the same size in all layers, or with "fan_in" its activations
    (He et al. 2015, arXiv:1502.01852, section 2.2).

    The weights of convolutions are normally distributed with variance 2 / (channels x
    kernel area), the output channels for "fan_out" and the input channels for "fan_in",
    and those of `nn.Linear` with variance 2 / in_features; biases are zero.

    Raises: ValueError for another `mode`.
    """
    check_one_of(("fan_in", "fan_out"), mode=mode)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan = mode if isinstance(layer, nn.Conv2d) else "fan_in"
            nn.init.kaiming_normal_(layer.weight, mode=fan, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
