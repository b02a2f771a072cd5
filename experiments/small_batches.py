"""The ten layers of `experiments.normalization` with and without batch normalization,
in mini-batches of 2 to 128 images.

Each network sees the same 5,120 images once. The learning rate is proportional to the
batch size, so that the steps of an epoch together are about as long for all.
"""

from dataclasses import replace

import torch

from course_lib import Settings, Split, TrainingError, fashion_mnist, fit
from experiments.normalization import build, by_batch
from experiments.record import Experiment, Row, main

IMAGES = 5_120
SEEDS = 3
SIZES = ("2", "8", "32", "128")

#: The learning rate of a batch of 128 images.
LR = 0.1


def measure(key: Row) -> Row:
    """Train one network with one seed: its accuracy on the test images with running
    statistics, and with those of 128 images; that of guessing if it diverged.
    """
    seed, size = int(key["seed"]), int(key["batch_size"])
    torch.manual_seed(seed)
    net = build(key["norm"], "before", size)
    data = fashion_mnist()
    some = Split(data.train.images[:IMAGES], data.train.labels[:IMAGES])
    few = Split(data.validation.images[:1_000], data.validation.labels[:1_000])
    data = replace(data, train=some, validation=few)
    settings = Settings(epochs=1, lr=LR * size / 128, batch_size=size, seed=seed)
    try:
        history = fit(net, data, settings, progress=False)
    except TrainingError:
        return {"train_loss": "nan", "test_accuracy": "0.1", "by_batch": "0.1"}
    assert history.test is not None
    return {
        "train_loss": f"{history.epochs[-1].minimized_loss:.4f}",
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "by_batch": f"{by_batch(net, data.test):.4f}",
    }


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
