"""Images in folders, one folder a class, as ImageNet comes.

The random augmentation of an image depends on the seed, the epoch and the image alone,
so that the number of processes or workers changes nothing.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from course_lib.arguments import check_batches, whole
from course_lib.catalog import IMAGENET
from course_lib.data.files import DataError
from course_lib.data.images import classes_of, image_files, read_image

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The height and width that images are cropped to, where none is given.
SIZE = 224

#: Means and standard deviations of red, green and blue, of values from 0 to 1.
Normalization = tuple[tuple[float, ...], tuple[float, ...]]

#: How many files of a split are read for its fingerprint, at most.
SAMPLED = 16


@dataclass(frozen=True)
class FolderSplit:
    """The images of one split; they are read when their batch is made."""

    #: A path and a label for each image.
    files: tuple[tuple[str, int], ...]
    #: How many processes read them; with 0 it is this one.
    workers: int = 0
    #: Where batches are moved to.
    device: torch.device | str = "cpu"
    #: The means and the standard deviations of red, green and blue, from 0 to 1.
    normalization: Normalization = IMAGENET

    def __len__(self) -> int:
        return len(self.files)

    def fingerprint(self) -> str:
        """A hash of twelve digits, of the names of the files, their folders and labels,
        of the bytes of `SAMPLED` files, spread over all, and of the normalization: to
        read every file would take as long as an epoch. The folder that contains all may
        be another one.

        Raises: DataError for a file that cannot be read.
        """
        digest = hashlib.sha256()
        if self.normalization != IMAGENET:
            digest.update(f"{self.normalization}\n".encode())
        for path, label in self.files:
            digest.update(f"{Path(path).parts[-2:]} {label}\n".encode())
        for path, _ in self.files[:: max(1, -(-len(self) // SAMPLED))]:
            digest.update(_read(path))
        return digest.hexdigest()[:12]

    def to(self, device: torch.device | str) -> FolderSplit:
        """The same split, its batches moved to another device."""
        return replace(self, device=device)

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
        """All images once, as in `course_lib.Split.batches`.

        With `augment`, a random crop of each image is resized to `size`, and may be
        flipped horizontally; without, it is a center crop.

        Shape: x (n, 3, size, size) of float32; y (n,).
        Raises: ValueError for a bad `batch_size`, `size` or `shard`; DataError for a
            file that is no image.
        """
        batch_size, size, seed, epoch, (which, shards) = check_batches(
            batch_size, SIZE if size is None else size, seed, epoch, shard
        )
        assert size is not None  # the default is not None
        order = torch.arange(len(self))
        if seed is not None:
            random = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
            order = torch.randperm(len(self), generator=random)
        whole = order.tensor_split(-(-len(self) // batch_size)) if len(self) else ()
        mine = [batch.tensor_split(shards)[which].tolist() for batch in whole]
        random_state = (seed or 0, epoch) if augment else None
        images = _Images(self, size, random_state)
        loader: DataLoader[Any] = DataLoader(
            images,
            batch_sampler=mine,
            num_workers=self.workers,
            generator=torch.Generator(),  # leaves the global one as it is
            pin_memory=torch.device(self.device).type == "cuda",
        )
        for x, y in loader:
            yield x.to(self.device, non_blocking=True), y.to(self.device)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} is not an image: {error}") from error


class _Images(Dataset[Any]):
    """Images by index; `random` is the seed and the epoch of their augmentation."""

    def __init__(
        self, split: FolderSplit, size: int, random: tuple[int, int] | None
    ) -> None:
        from torchvision.transforms import v2

        crop = (
            [v2.Resize(round(size * 256 / 224)), v2.CenterCrop(size)]
            if random is None
            else [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()]
        )
        finish = [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*split.normalization),
        ]
        self.transform = v2.Compose([*crop, *finish])
        self.files, self.random = split.files, random

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        image = read_image(path)
        with torch.random.fork_rng(devices=[]):
            if self.random:
                seed, epoch = self.random
                key = (seed * 1_000_003 + epoch) * 100_000_007 + index
                torch.manual_seed(key % 2**63)
            return self.transform(image), label


@dataclass(frozen=True)
class Folder:
    """The three splits of a folder, and its classes."""

    #: The images to train on: the folder "train".
    train: FolderSplit
    #: The images for validation: the folder "val".
    validation: FolderSplit
    #: The images for the test at the end: the folder "test", or else "val" again.
    test: FolderSplit
    #: The names of the folders, in the order of their labels.
    classes: tuple[str, ...]


def folder(
    path: Path | str, *, workers: int = 0, normalization: Normalization = IMAGENET
) -> Folder:
    """The images under ``path/train/CLASS/`` and ``path/val/CLASS/``, as ImageNet's are
    laid out; `workers` processes read them.

    `normalization` has the means and the standard deviations of red, green and blue,
    of values from 0 to 1. Trained weights want those that they were trained with:
    `course_lib.pretrained.NORMALIZATION` has torchvision's by network.

    Where there is no ``path/test``, ``val`` is the test set too, as it is for ImageNet,
    whose test labels are not public. Hidden folders are no classes; files that are no
    images are left out, and a warning says how many.

    Raises: DataError if a folder is missing, a class has no image, there is only one
        class, or the parts differ in their classes; ValueError for bad `workers`, or
        for a bad `normalization`.
    """
    root, workers = Path(path), whole("workers", workers, 0)
    normalization = _checked(normalization)
    names = ["train", "val", "test" if (root / "test").is_dir() else "val"]
    for name in names:
        if not (root / name).is_dir():
            raise DataError(
                f"{root / name} is not there. What is wanted is a folder for each"
                f" class in {root}/train and in {root}/val, with images in it."
            )
    classes = [each.name for each in classes_of(root / "train")]
    if len(classes) < 2:
        raise DataError(
            f"{root}/train must have a folder for each of two classes or more, got"
            f" {', '.join(classes) or 'none'}"
        )
    splits = {
        name: replace(_split(root, name, classes, workers), normalization=normalization)
        for name in dict.fromkeys(names)
    }
    train, validation, test = (splits[name] for name in names)
    return Folder(train, validation, test, tuple(classes))


def _checked(normalization: Any) -> Normalization:
    """Two times three finite numbers, of which no deviation is zero or below."""
    try:
        means, deviations = (tuple(map(float, each)) for each in normalization)
    except (TypeError, ValueError):
        means = deviations = ()
    finite = all(map(math.isfinite, means + deviations))
    if len(means) != 3 or len(deviations) != 3 or not finite or min(deviations) <= 0:
        raise ValueError(
            "normalization must be three means and three positive standard deviations,"
            f" got {normalization!r}"
        )
    return means, deviations


def _split(root: Path, name: str, classes: list[str], workers: int) -> FolderSplit:
    """The images of one part, which has the same classes as all."""
    found = [each.name for each in classes_of(root / name)]
    if found != classes:
        odd = sorted(set(found) ^ set(classes))
        raise DataError(f"{root}: train and {name} differ in {', '.join(odd)}")
    files: list[tuple[str, int]] = []
    skipped: list[Path] = []
    for label, each in enumerate(classes):
        images, others = image_files(root / name / each)
        if not images:
            raise DataError(
                f"{root / name / each} has no image: class {each!r} is empty"
            )
        files += [(str(file), label) for file in images]
        skipped += others
    if skipped:
        warnings.warn(
            f"{root / name}: {len(skipped)} files are no images and are left out, such"
            f" as {skipped[0].name}",
            stacklevel=3,
        )
    return FolderSplit(tuple(files), workers)
