"""What two exercises at the end of the chapter on ResNet find: residual branches that
begin as zero, and a plain network that is trained three times as long.

The images and the settings are those of the chapter: 2,000 images, batches of 50.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from course_lib import ResNet, Settings, Split, fashion_mnist, fit
from course_lib.resnet import Residual
from experiments.record import Experiment, Row, main

SEEDS = 3
#: Steps whose mean loss is "at first": half of the first epoch.
FIRST = 20


class Run(NamedTuple):
    """A network, for how many epochs it is trained, and whether the last scale of each
    branch begins at zero.
    """

    net: str
    shortcut: str
    epochs: int = 2
    zero: bool = False


RUNS = {
    "44 layers": Run("small-44", "A"),
    "44 layers, zero": Run("small-44", "A", zero=True),
    "32 layers": Run("small-32", "A"),
    "32 layers, plain": Run("small-32", "none", epochs=6),
}


def measure(key: Row) -> Row:
    """Train one network with one seed: the mean of the loss that is minimized, at first
    and over the last epoch.
    """
    run, seed = RUNS[key["run"]], int(key["seed"])
    torch.manual_seed(seed)
    net = ResNet(run.net, shortcut=run.shortcut)
    for block in net.modules():
        if run.zero and isinstance(block, Residual):
            branch_begins_as_zero(block)
    data = fashion_mnist()
    some = Split(data.train.images[:2_000], data.train.labels[:2_000])
    few = Split(data.validation.images[:500], data.validation.labels[:500])
    part = replace(data, train=some, validation=few, test=few)
    settings = Settings(epochs=run.epochs, lr=0.05, batch_size=50, seed=seed)
    history = fit(net, part, settings, progress=False)
    found = {
        "first_loss": sum(history.losses[:FIRST]) / FIRST,
        "last_loss": history.epochs[-1].minimized_loss,
    }
    return {name: f"{value:.4g}" for name, value in found.items()}


def branch_begins_as_zero(block: Residual) -> None:
    """Set the scale of its last normalization to zero."""
    *_, norm = (m for m in block.body.modules() if isinstance(m, nn.BatchNorm2d))
    nn.init.zeros_(norm.weight)


EXPERIMENT = Experiment(
    table="resnet",
    keys=[{"run": name, "seed": str(seed)} for seed in range(SEEDS) for name in RUNS],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
