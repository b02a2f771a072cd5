"""Convolution and pooling from scratch, and the arithmetic of their sizes.

Both slide a window over an image: a convolution takes weighted sums of the values in
it, pooling their maximum or average. `corr2d` has two loops for it, `windows` returns
all positions of the window at once, and each layer is one line on top. They are here to
be read; networks use PyTorch's, whose outputs are the same. Fukushima (1980),
"Neocognitron", and LeCun et al. (1998), section II; for the arithmetic Dumoulin and
Visin (2016), arXiv:1603.07285. Chapter: Convolution.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

#: An integer for height and width alike, or one for each.
Pair: TypeAlias = int | tuple[int, int]


def corr2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Slide `kernel` over `x`; at each position, multiply element by element and add
    up.

    What deep learning calls a convolution is this cross-correlation. The convolution of
    mathematics flips the kernel first, vertically and horizontally.

    Shape: (H, W) and (h, w) -> (H - h + 1, W - w + 1).
    Raises: ValueError if one of them is not a matrix, or `kernel` is the larger one.
    """
    _check_rank("x", x, "(H, W)")
    _check_rank("kernel", kernel, "(h, w)")
    height, width = kernel.shape
    rows, columns = output_size(len(x), height), output_size(x.shape[1], width)
    y = x.new_zeros(rows, columns, dtype=torch.result_type(x, kernel))
    for i in range(rows):
        for j in range(columns):
            y[i, j] = (x[i : i + height, j : j + width] * kernel).sum()
    return y


def windows(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    *,
    fill: float = 0.0,
) -> Tensor:
    """The values of `x` under a sliding kernel, at all its positions; the padding has
    the value `fill`.

    A dilated kernel covers every `dilation`-th pixel of a larger window. Without
    padding, the result is a view of `x` that takes no memory.

    Shape: (N, C, H, W) -> (N, C, H_out, W_out, h, w), see `output_size`.
    Raises: ValueError for an `x` of another rank, an argument that is out of range, or
        a kernel larger than the padded image.
    """
    _check_rank("x", x, "(N, C, H, W)")
    (h, w), (down, right) = _pair("kernel_size", kernel_size), _pair("stride", stride)
    top, left = _pair("padding", padding)
    step_h, step_w = _pair("dilation", dilation)
    output_size(x.shape[2], h, down, top, step_h)
    output_size(x.shape[3], w, right, left, step_w)
    if top or left:
        x = F.pad(x, (left, left, top, top), value=fill)
    x = x.unfold(2, step_h * (h - 1) + 1, down)
    x = x.unfold(3, step_w * (w - 1) + 1, right)
    return x[..., ::step_h, ::step_w]


def cross_correlate(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """A convolutional layer, as `F.conv2d`: each output channel adds up `corr2d` over
    the input channels of its group.

    With more than one group it is a grouped convolution; with `groups` equal to C, a
    depthwise convolution.

    Shape: (N, C, H, W), `weight` (O, C / groups, h, w), `bias` (O,)
        -> (N, O, H_out, W_out), see `output_size`.
    Raises: ValueError for shapes that do not fit each other or `groups`, and as
        `windows` does.
    """
    _check_layer(x, weight, bias, groups)
    h, w = weight.shape[2:]
    patches = windows(x, (h, w), stride, padding, dilation)
    patches = patches.unflatten(1, (groups, -1))
    kernels = weight.unflatten(0, (groups, -1))
    # y, x: position of the window; h, w: position in the window; c: input channel. The
    # sum is over c, h and w.
    y = torch.einsum("ngcyxhw,gochw->ngoyx", patches, kernels).flatten(1, 2)
    return y if bias is None else y + bias[:, None, None]


def max_pool2d(
    x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0
) -> Tensor:
    """The largest value of each window, as `F.max_pool2d`. The padding is minus
    infinity, so that it never wins; the stride is by default the size of the window.

    The gradient goes to the first of equal maxima.

    Shape: (N, C, H, W) -> (N, C, H_out, W_out), see `output_size`.
    Raises: ValueError for integers, for padding by more than half a window, and as
        `windows` does.
    """
    patches = _pooling_windows(x, kernel_size, stride, padding, fill=float("-inf"))
    return patches.max(dim=-1).values


def avg_pool2d(
    x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0
) -> Tensor:
    """The average of each window, as `F.avg_pool2d`: the zeros of the padding count.

    Shape and Raises: as `max_pool2d`.
    """
    return _pooling_windows(x, kernel_size, stride, padding, fill=0.0).mean(dim=-1)


def output_size(
    size: int,
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """The size of the output along one dimension: ``floor((size + 2 padding - dilation
    (kernel_size - 1) - 1) / stride) + 1``.

    With `ceil_mode`, pooling rounds up, and the last window may reach beyond the
    padding; a window that would start beyond the image is left out.

    >>> output_size(224, 7, stride=2, padding=3)
    112

    Raises: ValueError for an argument that is out of range, or if no window fits.
    """
    _check_least(1, size=size, kernel_size=kernel_size)
    _check_least(1, stride=stride, dilation=dilation)
    _check_least(0, padding=padding)
    span = dilation * (kernel_size - 1) + 1
    room = size + 2 * padding - span
    count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    if count < 1:
        raise ValueError(
            f"a kernel that spans {span} does not fit into {size + 2 * padding}"
            f" ({size} and twice a padding of {padding}): an output of size 0"
        )
    return count


def receptive_field(
    layers: Iterable[tuple[int, int] | tuple[int, int, int]],
) -> tuple[int, int]:
    """The receptive field of a chain of layers: the side of the square of input pixels
    that one output depends on; and the jump, the distance in pixels between the
    receptive fields of neighboring outputs.

    A layer is (kernel_size, stride) or (kernel_size, stride, dilation). Its kernel
    covers kernel_size values of the layer before, dilation jumps apart; its stride
    multiplies the jump (Araujo, Norris and Sim 2019, doi:10.23915/distill.00021).

    >>> receptive_field([(5, 1), (2, 2), (5, 1), (2, 2)])  # LeNet up to S4
    (16, 4)

    Raises: ValueError for a layer of another form.
    """
    size = jump = 1
    for layer in layers:
        if len(layer) not in (2, 3) or min(layer) < 1:
            raise ValueError(
                "a layer is (kernel_size, stride) or (kernel_size, stride, dilation),"
                f" each at least 1; got {layer}"
            )
        kernel_size, stride, dilation = (*layer, 1)[:3]
        size += (kernel_size - 1) * dilation * jump
        jump *= stride
    return size, jump


def _pooling_windows(
    x: Tensor, kernel_size: Pair, stride: Pair | None, padding: Pair, fill: float
) -> Tensor:
    """The values of each window in a row, the last dimension.

    Shape: (N, C, H, W) -> (N, C, H_out, W_out, area).
    """
    if not x.is_floating_point():
        raise ValueError(f"pooling wants floating-point numbers, got {x.dtype}")
    sides, margins = _pair("kernel_size", kernel_size), _pair("padding", padding)
    if any(2 * margin > side for margin, side in zip(margins, sides, strict=True)):
        # With more, a window could lie entirely in the padding.
        raise ValueError(
            f"padding may be at most half of kernel_size {sides}, got {margins}"
        )
    stride = sides if stride is None else stride
    return windows(x, sides, stride, margins, fill=fill).flatten(-2)


def _check_layer(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    _check_rank("x", x, "(N, C, H, W)")
    _check_rank("weight", weight, "(O, C / groups, h, w)")
    _check_least(1, groups=groups)
    if weight.shape[0] % groups:
        raise ValueError(
            f"groups must divide the {weight.shape[0]} output channels, got {groups}"
        )
    if x.shape[1] != groups * weight.shape[1]:
        raise ValueError(
            f"weight {tuple(weight.shape)} with groups={groups} wants"
            f" {groups * weight.shape[1]} input channels, got x {tuple(x.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be ({len(weight)},), got {tuple(bias.shape)}")


def _check_rank(name: str, value: Tensor, shape: str) -> None:
    if value.dim() != len(shape.split(",")):
        raise ValueError(f"{name} must be {shape}, got {tuple(value.shape)}")


def _check_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or value < least:
            raise ValueError(
                f"{name} must be an integer of at least {least}, got {value!r}"
            )


def _pair(name: str, value: Pair) -> tuple[int, int]:
    """Height and width: `value` for both, unless it has one for each."""
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be an integer or a pair, got {value!r}")
    return pair[0], pair[1]
