"""What training needs from a data set: three splits that yield batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from torch import Tensor


class ImageSplit(Protocol):
    """What training needs from a split, such as `course_lib.Split`."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> ImageSplit:
        """The split, with its batches made on `device` if possible."""

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
        """All images once: see `course_lib.Split.batches`."""

    def fingerprint(self) -> str:
        """A hash of the images and labels, for checkpoints."""


class Data(Protocol):
    """Three splits and the names of their classes: `course_lib.FashionMNIST` is one."""

    @property
    def train(self) -> ImageSplit:
        """The images to train on."""

    @property
    def validation(self) -> ImageSplit:
        """The images for validation, after each epoch."""

    @property
    def test(self) -> ImageSplit:
        """The images for the test, at the end."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes, in the order of their labels."""
