"""Fashion-MNIST as tensors: found or downloaded, verified byte for byte, and split into
batches without a loop over images.

70,000 grayscale images of clothes, 28x28 pixels, ten classes (Xiao, Rasul and Vollgraf
2017, arXiv:1708.07747). The last 5,000 of the 60,000 training images are used for
validation; the test set is for the end of a run.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.arguments import check_batches
from course_lib.data.files import URL, VARIABLE, find_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The ten classes, in the order of their labels.
CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)

#: Mean and standard deviation of the pixels of the 55,000 training images, where
#: black is 0 and white is 1.
MEAN, STD = 0.2858, 0.3529

VALIDATION = 5_000


@dataclass(frozen=True)
class Split:
    """Images and their labels, in memory.

    Shape: `images` (N, 1, 28, 28) of uint8, `labels` (N,) of int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        height, width = self.images.shape[-2:]
        return f"Split({len(self):,} images of {height}x{width})"

    def fingerprint(self) -> str:
        """A hash of twelve digits, of all pixels, labels, and their order."""
        about = f"{tuple(self.images.shape)} {self.images.dtype} {self.labels.dtype}"
        digest = hashlib.sha256(about.encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.cpu().flatten().numpy().data)
        return digest.hexdigest()[:12]

    def to(self, device: torch.device | str) -> Split:
        """The same split on another device, where its batches will be made."""
        return Split(self.images.to(device), self.labels.to(device))

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        augment: bool = False,
        size: int | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, as ``(x, y)``: in order if `seed` is None, otherwise
        shuffled, for training.

        The batch sizes are as equal as possible: 55,000 images at 128 make 430 batches
        of 127 or 128. With `augment`, every image is shifted by up to one pixel and may
        be flipped horizontally, depending on `seed`, `epoch` and the image alone. With
        `size`, images are resized (bilinear). With a `shard` of (1, 2), each batch is
        the second half of the whole batch: the shard of one process out of two.

        Shape: x (n, 1, size, size) of float32, mean 0 and standard deviation 1 over the
            training set; y (n,).
        Raises: ValueError if `batch_size` or `size` is less than 1, or `shard` is not
            an (i, n) with 0 <= i < n.
        """
        batch_size, size, seed, epoch, (which, shards) = check_batches(
            batch_size, size, seed, epoch, shard
        )
        n, place = len(self), self.labels.device
        order, flip, shift = torch.arange(n), None, None
        if seed is not None:  # on the CPU, the same for all devices
            random = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
            order = torch.randperm(n, generator=random)
            if augment:
                flip = (torch.rand(n, generator=random) < 0.5).to(place)
                shift = torch.randint(-1, 2, (n, 2), generator=random).to(place)
        order = order.to(place)  # at once: a copy for each batch would wait each time
        batches = order.tensor_split(-(-n // batch_size)) if n else ()
        mine = [batch.tensor_split(shards)[which] for batch in batches]
        return self._yield_batches(mine, flip, shift, size)

    def _yield_batches(
        self,
        batches: Sequence[Tensor],
        flip: Tensor | None,
        shift: Tensor | None,
        size: int | None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for index in batches:
            x = self.images.index_select(0, index)
            if flip is not None and shift is not None:
                x = move(x, flip[index], shift[index])
            yield normalize(x, size), self.labels[index]


def move(x: Tensor, flip: Tensor, shift: Tensor) -> Tensor:
    """Flip and shift each image of a batch, with zero padding at the border.

    Shape: x (N, C, H, W), `flip` (N,) of bool, `shift` (N, 2) in pixels, down and
        right, each -1, 0 or 1 -> (N, C, H, W).
    """
    n, _, height, width = x.shape
    rows = torch.arange(height, device=x.device) - shift[:, :1] + 1
    columns = torch.arange(width, device=x.device) - shift[:, 1:]
    columns = torch.where(flip[:, None], width - 1 - columns, columns) + 1
    x = F.pad(x, (1, 1, 1, 1)).movedim(1, -1)
    image = torch.arange(n, device=x.device)[:, None, None]
    return x[image, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def normalize(x: Tensor, size: int | None = None) -> Tensor:
    """Bytes to values with mean 0 and standard deviation 1, resized to `size` pixels if
    it is given.

    Shape: (N, 1, H, W) of uint8 -> (N, 1, size or H, size or W) of float32.
    """
    x = (x.float() - 255 * MEAN) / (255 * STD)
    if size is None:
        return x
    rows, columns = (_resize_matrix(old, size, x.device) for old in x.shape[2:])
    return rows @ (x @ columns.T)


@lru_cache
def _resize_matrix(old: int, new: int, device: torch.device) -> Tensor:
    """The matrix that resizes a row of pixels: `F.interpolate` as a matrix product,
    which takes half the time.

    Shape: (new, old).
    """
    rows = torch.eye(old, device=device)[None, None]
    resized = F.interpolate(rows, (new, old), mode="bilinear", align_corners=False)
    return resized[0, 0]


@dataclass(frozen=True)
class FashionMNIST:
    """The three splits, and their source."""

    #: 55,000 images to train on.
    train: Split
    #: 5,000 images for validation, by which settings are chosen.
    validation: Split
    #: 10,000 images for the test at the end of a run.
    test: Split
    #: The folder or URL that the files came from, or "sample".
    source: str

    classes = CLASSES

    def __repr__(self) -> str:
        train, validation, test = len(self.train), len(self.validation), len(self.test)
        return (
            f"Fashion-MNIST: {train:,} for training, {validation:,} for validation,"
            f" {test:,} for test"
        )


def fashion_mnist(
    *, sample: bool = False, cache: Path | None = None, url: str = URL
) -> FashionMNIST:
    """Fashion-MNIST from the first source that has it: see `find_files`.

    With `sample`, or with ``FASHION_MNIST=sample`` in the environment, the 640 images
    that come with this package are used, and a warning says so: enough to try code, too
    few to train on.

    Raises: DataError if a file is not as published, or none of the sources has it.
    """
    if sample or os.environ.get(VARIABLE) == "sample":
        return _sample()
    return _splits(*find_files(cache, url))


def _sample() -> FashionMNIST:
    warnings.warn(
        "using the sample of 640 images that comes with course_lib, not"
        " Fashion-MNIST: accuracies mean little",
        stacklevel=3,
    )
    with np.load(Path(__file__).with_name("sample.npz")) as arrays:
        images, labels = (
            torch.from_numpy(arrays["images"])[:, None],
            torch.from_numpy(arrays["labels"]).long(),
        )
    sizes = [400, 80, 160]
    parts = zip(images.split(sizes), labels.split(sizes), strict=True)
    train, validation, test = (Split(*part) for part in parts)
    return FashionMNIST(train, validation, test, source="sample")


def _splits(content: dict[str, bytes], source: str) -> FashionMNIST:
    def split(part: str) -> Split:
        labels = torch.frombuffer(
            bytearray(content[f"{part}-labels-idx1-ubyte"][8:]), dtype=torch.uint8
        ).long()
        images = torch.frombuffer(
            bytearray(content[f"{part}-images-idx3-ubyte"][16:]), dtype=torch.uint8
        )
        return Split(images.view(len(labels), 1, 28, 28), labels)

    train, test = split("train"), split("t10k")
    count = len(train) - VALIDATION
    return FashionMNIST(
        Split(train.images[:count], train.labels[:count]),
        Split(train.images[count:], train.labels[count:]),
        test,
        source,
    )
