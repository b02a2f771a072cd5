"""The ten layers of `experiments.normalization` with and without batch normalization,
in mini-batches of 2 to 128 images.

Each network sees the same 5,120 images once. The learning rate is proportional to the
batch size, so that the steps of an epoch together are about as long for all.
"""

import torch

from course_lib import Settings
from experiments.normalization import build, tested
from experiments.record import Experiment, Row, main

IMAGES = 5_120
SEEDS = 3
SIZES = ("2", "8", "32", "128")

#: The learning rate of a batch of 128 images.
LR = 0.1


def measure(key: Row) -> Row:
    """Train one network with one seed, and test it."""
    seed, size = int(key["seed"]), int(key["batch_size"])
    torch.manual_seed(seed)
    net = build(key["norm"], "before", size)
    settings = Settings(epochs=1, lr=LR * size / 128, batch_size=size, seed=seed)
    return tested(net, settings, IMAGES)


def keys() -> list[Row]:
    """With and without batch normalization, the smallest batches last."""
    return [
        {"norm": norm, "batch_size": size, "seed": str(seed)}
        for size in reversed(SIZES)
        for seed in range(SEEDS)
        for norm in ("batch", "none")
    ]


EXPERIMENT = Experiment(table="small_batches", keys=keys(), measure=measure)

if __name__ == "__main__":
    main(EXPERIMENT)
