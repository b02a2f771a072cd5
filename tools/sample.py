"""Write the sample that comes with course_lib: 64 images a class of Fashion-MNIST, 40
+ 8 for training, 16 for test.

python -m tools.sample
"""

from pathlib import Path

import numpy as np
import torch

from course_lib.data import CLASSES, Split, fashion_mnist

TARGET = Path(__file__).parents[1] / "course_lib/data/sample.npz"


def first(split: Split, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `count` images of each class, in the order of the split."""
    index = (
        torch.cat(
            [
                (split.labels == label).nonzero()[:count, 0]
                for label in range(len(CLASSES))
            ]
        )
        .sort()
        .values
    )
    return split.images[index], split.labels[index]


def main() -> None:
    data = fashion_mnist()
    parts = [first(data.train, 40), first(data.validation, 8), first(data.test, 16)]
    images, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    np.savez_compressed(
        TARGET, images=images[:, 0].numpy(), labels=labels.to(torch.uint8).numpy()
    )


if __name__ == "__main__":
    main()
