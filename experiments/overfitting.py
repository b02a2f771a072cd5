"""Where AlexNet's remedies for overfitting are needed: 1,000 images, many epochs.

    python -m experiments.overfitting

The small AlexNet is trained on the first 1,000 training images, without either remedy,
with dropout, with augmentation, and with both; everything else is the same.
"""

from dataclasses import replace

import torch

from course_lib import AlexNet, Settings, Split, evaluate, fashion_mnist, fit
from experiments.record import Experiment, Row, main

#: Training images.
IMAGES = 1_000

#: 60 epochs of 8 steps are 480 steps: about as many as one epoch with all images has.
#: Label smoothing is a remedy as well, so there is none. The learning rate is that of
#: `experiments.alexnet` without remedies: at 0.05, a run of them diverged.
SETTINGS = Settings(epochs=60, lr=0.02, label_smoothing=0.0)

#: Remedy -> the dropout probability, and whether there is augmentation.
REMEDIES = {
    "neither": (0.0, False),
    "dropout": (0.5, False),
    "augmentation": (0.0, True),
    "both": (0.5, True),
}

SEEDS = 3


def measure(key: Row) -> Row:
    """Train the network with one remedy, from one seed."""
    dropout, augment = REMEDIES[key["remedy"]]
    data, seed = fashion_mnist(), int(key["seed"])
    train = Split(data.train.images[:IMAGES], data.train.labels[:IMAGES])
    # A part of the validation images is enough for a curve of so many epochs.
    few = Split(data.validation.images[:1_000], data.validation.labels[:1_000])
    torch.manual_seed(seed)
    net = AlexNet("small", dropout=dropout)
    settings = replace(SETTINGS, augment=augment, seed=seed)
    part = replace(data, train=train, validation=few)
    history = fit(net, part, settings, progress=False)
    assert history.test is not None
    seen = evaluate(net, train)  # without dropout and augmentation: what is memorized
    return {
        "train_loss": f"{seen.loss:.4f}",
        "train_accuracy": f"{seen.accuracy:.4f}",
        "test_loss": f"{history.test.loss:.4f}",
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "validation_losses": " ".join(
            f"{epoch.validation.loss:.3f}" for epoch in history.epochs
        ),
    }


EXPERIMENT = Experiment(
    table="overfitting",
    keys=[
        {"remedy": remedy, "seed": str(seed)}
        for remedy in REMEDIES
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
