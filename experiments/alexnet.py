"""What AlexNet's ideas are worth to a small one: each is removed, or added, alone.

    python -m experiments.alexnet

The activations are compared as in figure 1 of the paper: nothing regularizes, and each
has a learning rate of its own, the best of three in trials at which no seed diverges.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from course_lib import AlexNet, Settings, Split, evaluate, fashion_mnist, fit
from experiments.record import Experiment, Row, main

#: The settings: as in the chapter but shorter, and with nothing that regularizes.
SHORT = Settings(epochs=2, lr=0.05)
BARE = Settings(epochs=1, weight_decay=0.0, label_smoothing=0.0)

#: What is changed -> how the network is built and trained. The names are keys of
#: recorded rows.
CHANGES: dict[str, tuple[dict[str, Any], Settings]] = {
    "none": ({}, SHORT),
    "normalised responses": ({"lrn": True}, SHORT),
    "pools side by side": ({"overlapping": False}, SHORT),
    "augmentation": ({}, replace(SHORT, augment=True)),
    "no dropout": ({"dropout": 0.0}, SHORT),
    "bare ReLU": ({"dropout": 0.0}, replace(BARE, lr=0.02)),
    "bare tanh": ({"dropout": 0.0, "activation": nn.Tanh}, replace(BARE, lr=0.02)),
    "bare sigmoid": ({"dropout": 0.0, "activation": nn.Sigmoid}, replace(BARE, lr=0.2)),
}

SEEDS = 3

#: Batches per point of the loss curve.
WINDOW = 10


def measure(key: Row) -> Row:
    """Train the network with one change, from one seed."""
    options, settings = CHANGES[key["change"]]
    data, seed = fashion_mnist(), int(key["seed"])
    torch.manual_seed(seed)
    net = AlexNet("small", **options)
    history = fit(net, data, replace(settings, seed=seed), progress=False)
    assert history.test is not None
    # Without augmentation and dropout: what the network has memorized.
    known = Split(data.train.images[:10_000], data.train.labels[:10_000])
    losses = torch.tensor(history.losses).split(WINDOW)
    return {
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "train_accuracy": f"{evaluate(net, known).accuracy:.4f}",
        "losses": " ".join(f"{part.mean():.3f}" for part in losses),
    }


EXPERIMENT = Experiment(
    table="alexnet",
    keys=[
        {"change": change, "seed": str(seed)}
        for change in CHANGES
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
