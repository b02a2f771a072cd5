"""d2l as its readers run it: its loader, its loop, and the networks of its text, on the
images that are here already.

The newest release of d2l without pinned requirements, 0.17.0, is from before
torchvision 0.29 and IPython 9. What broke is mended, and it does not plot, so that the
time of plotting is not charged to it.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from d2l import torch as d2l
from torch import Tensor, nn

from course_lib.data import find_files

Batch = tuple[Tensor, Tensor]
CPU = torch.device("cpu")


class NoAnimator:
    """Instead of d2l's `Animator`, which draws the curves anew five times an
    epoch, with a function of IPython that is gone.
    """

    def __init__(self, **_: object) -> None:
        pass

    def add(self, *_: object) -> None:
        """Draw nothing."""


d2l.Animator = NoAnimator

# Torch advises against more workers than cores, but four is what d2l has.
warnings.filterwarnings("ignore", "This DataLoader will create 4 worker")


@cache
def root() -> tempfile.TemporaryDirectory[str]:
    """A folder in which torchvision finds Fashion-MNIST, so that it does not ask for
    it: it looks for the unpacked files by name.
    """
    folder = tempfile.TemporaryDirectory()
    raw = Path(folder.name) / "data/FashionMNIST/raw"
    raw.mkdir(parents=True)
    (Path(folder.name) / "notebooks").mkdir()
    for name, content in find_files()[0].items():
        (raw / name).write_bytes(content)
    return folder


def load(batch_size: int, size: int) -> tuple[Iterable[Batch], Iterable[Batch]]:
    """d2l's loaders of the training and the test set, with its four workers."""
    with contextlib.chdir(Path(root().name) / "notebooks"):  # it reads ../data
        return d2l.load_data_fashion_mnist(batch_size, None if size == 28 else size)


class Stretch:
    """A part of an epoch: `warm_up` batches of `loader`, then `steps` that are timed,
    each with the wait for its batch.
    """

    seconds: float

    def __init__(self, loader: Any, warm_up: int, steps: int) -> None:
        self.loader, self.warm_up, self.steps = loader, warm_up, steps

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.loader)
        for number in range(self.warm_up + self.steps):
            if number == self.warm_up:
                start = time.perf_counter()
            yield next(batches)
        self.seconds = time.perf_counter() - start


def train(
    net: nn.Module, stretch: Stretch, lr: float, device: torch.device = CPU
) -> float:
    """Seconds that d2l's `train_ch6` takes for the steps of `stretch`; it waits for the
    loss of each step, on a GPU, too.

    It scores the network at the end, here on one image, and not within the seconds.
    """
    one = [(torch.zeros(1, *shape(stretch)), torch.zeros(1, dtype=torch.long))]
    with contextlib.redirect_stdout(io.StringIO()):
        d2l.train_ch6(net, stretch, one, 1, lr, device)
    return stretch.seconds


def shape(stretch: Stretch) -> torch.Size:
    """The shape of one image."""
    return stretch.loader.dataset[0][0].shape


def lenet() -> nn.Sequential:
    """LeNet, with sigmoids and averages."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid()),
        nn.Linear(84, 10),
    )


def normalized_lenet() -> nn.Sequential:
    """LeNet with batch normalization, in PyTorch's layers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.BatchNorm2d(6), nn.Sigmoid(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16), nn.Sigmoid(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(256, 120), nn.BatchNorm1d(120), nn.Sigmoid()),
        *(nn.Linear(120, 84), nn.BatchNorm1d(84), nn.Sigmoid(), nn.Linear(84, 10)),
    )


def fc_layers(features: int) -> tuple[nn.Module, ...]:
    """What AlexNet and VGG end with."""
    return (
        *(nn.Flatten(), nn.Linear(features, 4096), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, 10)),
    )


def alexnet() -> nn.Sequential:
    """AlexNet for one channel and ten classes, padded by 1."""
    return nn.Sequential(
        *(nn.Conv2d(1, 96, 11, stride=4, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *fc_layers(256 * 5 * 5),
    )


def vgg() -> nn.Sequential:
    """VGG-11 with a quarter of the channels."""
    layers: list[nn.Module] = []
    channels = 1
    for convs, out_channels in ((1, 16), (1, 32), (2, 64), (2, 128), (2, 128)):
        for _ in range(convs):
            layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU()]
            channels = out_channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *fc_layers(channels * 7 * 7))


def nin() -> nn.Sequential:
    """NiN, as wide as the one for ImageNet."""

    def block(
        channels: int, out: int, size: int, stride: int, padding: int
    ) -> tuple[nn.Module, ...]:
        pointwise = nn.Conv2d(out, out, 1), nn.ReLU(), nn.Conv2d(out, out, 1), nn.ReLU()
        return nn.Conv2d(channels, out, size, stride, padding), nn.ReLU(), *pointwise

    return nn.Sequential(
        *(*block(1, 96, 11, 4, 0), nn.MaxPool2d(3, 2)),
        *(*block(96, 256, 5, 1, 2), nn.MaxPool2d(3, 2)),
        *(*block(256, 384, 3, 1, 1), nn.MaxPool2d(3, 2), nn.Dropout(0.5)),
        *(*block(384, 10, 3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


class Inception(nn.Module):
    """Four branches: 1x1; 1x1 and 3x3; 1x1 and 5x5; max pooling and 1x1."""

    def __init__(
        self, channels: int, one: int, three: list[int], five: list[int], pool: int
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*layers)
            for layers in (
                conv_relu(channels, one, 1),
                [*conv_relu(channels, three[0], 1), *conv_relu(three[0], three[1], 3)],
                [*conv_relu(channels, five[0], 1), *conv_relu(five[0], five[1], 5)],
                [nn.MaxPool2d(3, 1, padding=1), *conv_relu(channels, pool, 1)],
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches, and put their channels behind each other."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def conv_relu(
    channels: int, out_channels: int, size: int, stride: int = 1
) -> list[nn.Module]:
    """A convolution that pads, and a ReLU."""
    return [nn.Conv2d(channels, out_channels, size, stride, size // 2), nn.ReLU()]


def googlenet() -> nn.Sequential:
    """GoogLeNet without response and batch normalization, and without asides."""
    return nn.Sequential(
        *(*conv_relu(1, 64, 7, 2), nn.MaxPool2d(3, 2, padding=1)),
        *(*conv_relu(64, 64, 1), *conv_relu(64, 192, 3), nn.MaxPool2d(3, 2, padding=1)),
        Inception(192, 64, [96, 128], [16, 32], 32),
        Inception(256, 128, [128, 192], [32, 96], 64),
        nn.MaxPool2d(3, 2, padding=1),
        Inception(480, 192, [96, 208], [16, 48], 64),
        Inception(512, 160, [112, 224], [24, 64], 64),
        Inception(512, 128, [128, 256], [24, 64], 64),
        Inception(512, 112, [144, 288], [32, 64], 64),
        Inception(528, 256, [160, 320], [32, 128], 128),
        nn.MaxPool2d(3, 2, padding=1),
        Inception(832, 256, [160, 320], [32, 128], 128),
        Inception(832, 384, [192, 384], [48, 128], 128),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 10)),
    )


def resnet() -> nn.Sequential:
    """ResNet-18, from d2l's own blocks."""
    blocks = [d2l.Residual(64, 64), d2l.Residual(64, 64)]
    for channels, wider in pairwise((64, 128, 256, 512)):
        blocks.append(d2l.Residual(channels, wider, use_1x1conv=True, strides=2))
        blocks.append(d2l.Residual(wider, wider))
    return nn.Sequential(
        *(nn.Conv2d(1, 64, 7, stride=2, padding=3), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.MaxPool2d(3, 2, padding=1), *blocks),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)),
    )


class Family(NamedTuple):
    """How d2l trains a network, for ten epochs: pixels, batch size, learning rate; and
    the accuracy on the test set that it publishes, the better of versions 0.17.5 and
    1.0.3.
    """

    build: Callable[[], nn.Module]
    size: int
    batch_size: int
    lr: float
    accuracy: float


#: The set-up is that of version 0.17.5, the last one that prints its numbers.
FAMILIES = {
    "LeNet": Family(lenet, 28, 256, 0.9, 0.800),
    "AlexNet": Family(alexnet, 224, 128, 0.01, 0.882),
    "VGG": Family(vgg, 224, 128, 0.05, 0.921),
    "NiN": Family(nin, 224, 128, 0.1, 0.867),
    "GoogLeNet": Family(googlenet, 96, 128, 0.1, 0.887),
    "LeNet, batch norm": Family(normalized_lenet, 28, 256, 1.0, 0.876),
    "ResNet": Family(resnet, 96, 256, 0.05, 0.903),
}
EPOCHS, IMAGES = 10, 60_000
