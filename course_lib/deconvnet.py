"""Two attribution methods, which show the pixels that an activation or the probability
of a class depends on: the deconvnet and occlusion.

Zeiler and Fergus (2013), "Visualizing and understanding convolutional networks",
arXiv:1311.2901. Section 2.1 has the deconvnet, which takes one activation back to the
pixels that caused it; figure 7 covers one part of an image after another and plots the
probability of its class. Chapter: ZFNet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: What turns a signal at a layer's output into one at its input.
Inverse = Callable[[Tensor], Tensor]


@torch.no_grad()
def deconvnet(
    net: nn.Sequential, x: Tensor, layer: str, channel: int | None = None
) -> Tensor:
    """Project the strongest activation of `layer` for each image back to its pixels:
    figure 1 and section 2.1.

    `net` runs up to `layer`, a stage ("conv2") or a layer of one ("conv2.0"). All but
    the strongest activation, of `channel` or of all channels, is set to zero; then the
    layers are undone from last to first. Max pooling: signals return to the positions
    of the maxima (the switches). ReLU: signals are rectified. Convolution: the
    transposed convolution with the same weights. Other linear layers, fully connected
    ones and average pooling, are transposed in the same way. Biases, normalization
    across channels and dropout are skipped. The result is linear in the activation:
    without a ReLU, it is the activation times its gradient. `net` is in evaluation mode
    meanwhile.

    Shape: (N, C, H, W) -> (N, C, H, W).
    Raises: ValueError if `net` is not sequential, has no such layer or channel, has a
        module on the way that cannot be undone, or if `x` does not have four
        dimensions.
    Differs from the paper: where overlapping windows share a maximum, their signals
        are added, as in the gradient; the paper does not say.
    """
    if x.dim() != 4:
        raise ValueError(f"x must have the shape (N, C, H, W), got {tuple(x.shape)}")
    # A copy: a first ReLU in place would rectify the caller's image.
    y, inverses = x.clone(), []
    with _evaluating(net):
        for name, module in _path(net, layer):
            y, inverse = _run(name, module, y)
            inverses.append(inverse)
    if channel is not None and not 0 <= channel < y.shape[1]:
        raise ValueError(
            f"channel must be from 0 to {y.shape[1] - 1} for {layer!r}, got {channel}"
        )
    y = _strongest(y, channel)
    for inverse in reversed(inverses):
        y = inverse(y)
    return y


def _path(net: nn.Sequential, layer: str) -> list[tuple[str, nn.Module]]:
    """The layers from the first to the last one of `layer`, by name."""
    if not isinstance(net, nn.Sequential):
        raise ValueError(
            f"deconvnet needs an nn.Sequential, to know the order of the layers; got"
            f" {type(net).__name__}"
        )
    layers = list(_layers(net))
    ends = [
        i for i, (name, _) in enumerate(layers) if f"{name}.".startswith(f"{layer}.")
    ]
    if not ends:
        stages = ", ".join(name for name, _ in net.named_children())
        raise ValueError(
            f"{type(net).__name__} has no layer {layer!r}; its stages are {stages}, the"
            " layers of a stage 'stage.0', 'stage.1' and so on"
        )
    return layers[: ends[-1] + 1]


def _layers(net: nn.Sequential, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    # Not `named_children`, which leaves out the second use of a module.
    for name, child in zip(net._modules, net, strict=True):
        if isinstance(child, nn.Sequential):
            yield from _layers(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _run(name: str, layer: nn.Module, x: Tensor) -> tuple[Tensor, Inverse]:
    """The output of `layer`, and its inverse."""
    match layer:
        case (
            nn.Conv2d()
            | nn.Linear()
            | nn.Flatten()
            | nn.AvgPool2d()
            | nn.AdaptiveAvgPool2d()
            | nn.BatchNorm2d(running_var=Tensor())
        ):
            y, transposed, *_ = torch.func.vjp(layer, x)
            return y, lambda signal: transposed(signal)[0]
        case nn.MaxPool2d():
            y, switches = F.max_pool2d(
                x,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.ceil_mode,
                return_indices=True,
            )
            return y, partial(_unpool, switches, x.shape)
        case nn.ReLU():
            return layer(x), F.relu
        case nn.LocalResponseNorm() | nn.Dropout() | nn.Dropout2d() | nn.Identity():
            return layer(x), nn.Identity()
    raise ValueError(
        f"deconvnet cannot go back through {name!r}, {type(layer).__name__}: it undoes"
        " Conv2d, Linear, pooling, ReLU and BatchNorm2d (with running statistics), and"
        " skips LocalResponseNorm and Dropout"
    )


def _unpool(switches: Tensor, size: torch.Size, y: Tensor) -> Tensor:
    """Put every signal at the position of its window's maximum.

    `F.max_unpool2d` would keep only one of several signals for the same position, as
    there are where windows overlap; here they are added.
    """
    pixels = y.new_zeros(size).flatten(2)
    return pixels.scatter_add(2, switches.flatten(2), y.flatten(2)).view(size)


def _strongest(y: Tensor, channel: int | None) -> Tensor:
    """`y` with zeros for all but the largest activation of each image."""
    first, count = (0, y.shape[1]) if channel is None else (channel, 1)
    values, places = y[:, first : first + count].flatten(1).max(dim=1, keepdim=True)
    places = places + first * y[0, 0].numel()
    return torch.zeros_like(y).flatten(1).scatter(1, places, values).view_as(y)


@torch.no_grad()
def occlusion(
    net: nn.Module,
    x: Tensor,
    label: int,
    *,
    size: int,
    stride: int,
    value: float = 0.0,
    batch_size: int = 64,
) -> Tensor:
    """The occlusion map: the probability of class `label` while a square covers a part
    of the image `x`, for each position of the square; figure 7 (d).

    The square has `size` x `size` pixels of `value` and moves by `stride` pixels,
    inside the image. Entry (i, j) of the map is for the square whose upper left
    corner is pixel (i * stride, j * stride). `net` is in evaluation mode meanwhile.

    Shape: (C, H, W) or (1, C, H, W) -> ((H - size) // stride + 1, (W - size) // stride
        + 1), on the CPU, wherever `x` is.
    Raises: ValueError if `x` is not one image, the square is larger than it or empty,
        `stride` or `batch_size` is less than 1, or `net` has no class `label`.
    """
    height, width = _check_occlusion(x, size, stride=stride, batch_size=batch_size)
    rows = torch.arange(0, height - size + 1, stride, device=x.device)
    columns = torch.arange(0, width - size + 1, stride, device=x.device)
    probabilities = []
    with _evaluating(net):
        for corners in torch.cartesian_prod(rows, columns).split(batch_size):
            top, left = corners.T
            hidden = (
                _within(top, size, height)[:, None, :, None]
                & _within(left, size, width)[:, None, None, :]
            )
            logits = net(x.expand(len(hidden), -1, -1, -1).masked_fill(hidden, value))
            if not 0 <= label < logits.shape[1]:
                raise ValueError(
                    f"label must be from 0 to {logits.shape[1] - 1}, got {label}"
                )
            probabilities.append(logits.softmax(dim=1)[:, label])
    return torch.cat(probabilities).view(len(rows), len(columns)).cpu()


def _check_occlusion(x: Tensor, size: int, **least_one: int) -> tuple[int, int]:
    """The height and width of the one image `x`, in which a square of `size` fits."""
    if x.dim() not in (3, 4) or (x.dim() == 4 and len(x) != 1):
        raise ValueError(
            f"x must be one image, (C, H, W) or (1, C, H, W), got {tuple(x.shape)}"
        )
    height, width = x.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(
            f"size must be from 1 to {min(height, width)}, for the square to fit in the"
            f" image, got {size}"
        )
    for name, number in least_one.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    return height, width


def _within(starts: Tensor, size: int, length: int) -> Tensor:
    """Which of `length` pixels are among the `size` that begin at each start.

    Shape: (N,) -> (N, length).
    """
    distance = torch.arange(length, device=starts.device) - starts[:, None]
    return (distance >= 0) & (distance < size)


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode; each module's own mode comes back, also after an error."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
