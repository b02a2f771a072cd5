"""What the sharing of weights is worth: networks with and without it, and images in
which things lie in the middle or anywhere.

A layer that is local and does not share its weights is called locally connected; LeCun
(1989), "Generalization and network design strategies", compares networks of such layers
with convolutional ones. Chapter: Convolution.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from course_lib.arguments import check_one_of, whole
from course_lib.blocks import Network, he_init
from course_lib.convolution import avg_pool2d, output_size, windows
from course_lib.data import FashionMNIST, Split

#: Where things are in the images of `rearranged`, and in which order the pixels.
CONDITIONS = ("middle", "anywhere", "scrambled")

#: What follows the layers of `three_layers`.
HEADS = ("flatten", "max")


class LocallyConnected2d(nn.Module):
    """A convolution that does not share: a kernel and a bias of its own for every
    position of the output, with He initialization. PyTorch has no such layer.

    Shape: (N, in_channels, size, size) -> (N, out_channels, H_out, W_out), see
        `output_size`.
    Raises: ValueError for an argument that is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        size: int,
    ) -> None:
        super().__init__()
        whole("in_channels", in_channels, 1)
        whole("out_channels", out_channels, 1)
        side = output_size(size, kernel_size, stride, padding)
        shape = out_channels, in_channels, side, side, kernel_size, kernel_size
        std = (2 / (in_channels * kernel_size**2)) ** 0.5
        self.weight = nn.Parameter(std * torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(out_channels, side, side))
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """The products with the kernel of each position, added up."""
        patches = windows(x, self.kernel_size, self.stride, self.padding)
        # As in `cross_correlate`, but the weight has the position y, x as well.
        return torch.einsum("ncyxhw,ocyxhw->noyx", patches, self.weight) + self.bias


def three_layers(*, shared: bool, head: str) -> Network:
    """A network for Fashion-MNIST of three convolutions, or three locally connected
    layers of the same sizes, with He initialization. The classifier receives either all
    their outputs ("flatten") or the largest of each channel ("max").

    Shape: (N, 1, 28, 28) -> (N, 10), logits.
    Raises: ValueError for another `head`.
    """
    check_one_of(HEADS, head=head)

    def layer(
        in_channels: int, out_channels: int, kernel_size: int, stride: int, size: int
    ) -> nn.Sequential:
        sizes = in_channels, out_channels, kernel_size, stride, kernel_size // 2
        kind = nn.Conv2d(*sizes) if shared else LocallyConnected2d(*sizes, size=size)
        return nn.Sequential(kind, nn.ReLU())

    pool = nn.AdaptiveMaxPool2d(1) if head == "max" else nn.Identity()
    features = 32 if head == "max" else 32 * 7 * 7
    net = Network(
        OrderedDict(
            layer1=layer(1, 8, 5, 2, size=28),
            layer2=layer(8, 16, 5, 2, size=14),
            layer3=layer(16, 32, 3, 1, size=7),
            pool=pool,
            head=nn.Sequential(nn.Flatten(), nn.Linear(features, 10)),
        )
    )
    he_init(net, mode="fan_in")
    return net


def placed(images: Tensor, *, anywhere: bool, seed: int = 0) -> Tensor:
    """The `images` at half their height and width on a black background: in the middle,
    or each at a random position that depends on `seed`.

    Shape: (N, 1, H, W) of uint8, H and W even -> the same.
    """
    count, _, height, width = images.shape
    small = avg_pool2d(images.float(), 2)[:, 0].byte()
    h, w = small.shape[1:]
    if anywhere:
        random = torch.Generator().manual_seed(seed)
        top = torch.randint(height - h + 1, (count, 1), generator=random)
        left = torch.randint(width - w + 1, (count, 1), generator=random)
    else:
        top = torch.full((count, 1), (height - h) // 2)
        left = torch.full((count, 1), (width - w) // 2)
    rows, columns = top + torch.arange(h), left + torch.arange(w)
    canvas = torch.zeros_like(images)
    which = torch.arange(count)[:, None, None]
    canvas[which, 0, rows[:, :, None], columns[:, None]] = small
    return canvas


def scrambled(images: Tensor, *, seed: int = 0) -> Tensor:
    """The `images` with their pixels permuted, all in the same way, which depends on
    `seed`.

    Shape: (N, 1, H, W) -> the same.
    """
    pixels = images.shape[2:].numel()
    order = torch.randperm(pixels, generator=torch.Generator().manual_seed(seed))
    return images.flatten(1)[:, order].view_as(images)


def rearranged(data: FashionMNIST, condition: str) -> FashionMNIST:
    """The same dataset with smaller things: in the "middle" of the images, "anywhere"
    in them, or anywhere and then "scrambled", pixel by pixel.

    Raises: ValueError for another `condition`.
    """
    check_one_of(CONDITIONS, condition=condition)

    def changed(split: Split, seed: int) -> Split:
        images = placed(split.images, anywhere=condition != "middle", seed=seed)
        if condition == "scrambled":
            images = scrambled(images)
        return Split(images, split.labels)

    return FashionMNIST(
        changed(data.train, 0),
        changed(data.validation, 1),
        changed(data.test, 2),
        source=data.source,
    )
