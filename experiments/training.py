"""LeNet on few and on many images, in as many steps: how much does it overfit?"""

from dataclasses import replace
from typing import Any

import torch

from course_lib import LeNet, Settings, Split, evaluate, fashion_mnist, fit
from experiments.record import Experiment, Row, main

#: Training images, and epochs: 860 to 869 steps each.
EPOCHS = {500: 215, 2_000: 54, 10_000: 11, 55_000: 2}
SEEDS = 3

#: Augmentation is for few images: the numbers for which it was measured.
AUGMENTED = (500, 2_000)

#: Ways to train, and for which numbers of images: what differs from the settings that
#: `Settings` has by default.
KINDS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": (tuple(EPOCHS), {"label_smoothing": 0.0}),
    "augmented": (tuple(EPOCHS), {"label_smoothing": 0.0, "augment": True}),
}


def measure(key: Row) -> Row:
    """Train a LeNet, and evaluate it on the images that it was trained on (10,000 at
    most) and on the test images: the plain cross-entropy, and the accuracy.
    """
    images, seed = int(key["images"]), int(key["seed"])
    data = fashion_mnist()
    train = Split(data.train.images[:images], data.train.labels[:images])
    few = Split(data.validation.images[:500], data.validation.labels[:500])
    settings = Settings(epochs=EPOCHS[images], lr=0.1, seed=seed)
    settings = replace(settings, **KINDS[key["kind"]][1])
    torch.manual_seed(seed)
    net = LeNet("modern")
    part = replace(data, train=train, validation=few)
    history = fit(net, part, settings, progress=False)
    seen = evaluate(net, Split(train.images[:10_000], train.labels[:10_000]))
    assert history.test is not None
    found = {
        "train_loss": seen.loss,
        "train_accuracy": seen.accuracy,
        "test_loss": history.test.loss,
        "test_accuracy": history.test.accuracy,
    }
    return {name: f"{value:.4f}" for name, value in found.items()}


EXPERIMENT = Experiment(
    table="training",
    keys=[
        {"kind": kind, "images": str(images), "seed": str(seed)}
        for kind, (sizes, _) in KINDS.items()
        for images in sizes
        if kind == "plain" or images in AUGMENTED
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
