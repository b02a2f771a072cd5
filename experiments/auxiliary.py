"""GoogLeNet's auxiliary classifiers on and off, beside the gradients they were for.

All nine modules with an eighth of the channels, one epoch on the 55,000 training
images: without batch normalization, which was not known in 2014, with Xavier (Glorot)
initialization, which was, and with He initialization; and with batch normalization.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib import (
    GoogLeNet,
    Settings,
    Split,
    evaluate,
    fashion_mnist,
    fit,
    googlenet,
)
from course_lib.degradation import watch_gradients
from experiments.record import Experiment, Row, main

NINE = googlenet.VARIANTS["small"]._replace(
    modules={
        name: googlenet.InceptionChannels(*(max(8, channels // 8) for channels in row))
        for name, row in googlenet.TABLE_1.items()
    },
    aux_from=("4a", "4d"),
)


class Kind(NamedTuple):
    """How a network is initialized, whether it has batch norm; its learning rate."""

    glorot: bool
    batch_norm: bool
    lr: float


KINDS = {
    "Glorot": Kind(glorot=True, batch_norm=False, lr=0.02),
    "He": Kind(glorot=False, batch_norm=False, lr=0.02),
    "batch norm": Kind(glorot=False, batch_norm=True, lr=0.1),
}

SEEDS = 3

#: The steps whose norms are averaged: the first; ten from the hundredth on; the last
#: ten.
MOMENTS = {"start": slice(1), "100": slice(100, 110), "end": slice(-10, None)}


def measure(key: Row) -> Row:
    """Train one network with one seed. The training error is that of its main
    output, on 10,000 of the images.
    """
    kind, seed = KINDS[key["net"]], int(key["seed"])
    googlenet.VARIANTS.setdefault("nine", NINE)
    torch.manual_seed(seed)
    net = GoogLeNet("nine", aux=key["heads"] == "on", batch_norm=kind.batch_norm)
    if kind.glorot:
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
    norms = watch_gradients(net)
    data = fashion_mnist()
    settings = Settings(epochs=1, lr=kind.lr, seed=seed)
    history = fit(net, data, settings, progress=False)
    assert history.test is not None
    some = Split(data.train.images[:10_000], data.train.labels[:10_000])
    found = {
        "train_error": 1 - evaluate(net, some).accuracy,
        "test_accuracy": history.test.accuracy,
    }
    for stage in dict.fromkeys(name.split(".")[0] for name in norms):
        if stage != "aux":
            layers = [norms[name] for name in norms if name.split(".")[0] == stage]
            found |= moments(stage, layers)
    return {name: f"{value:.4g}" for name, value in found.items()}


def moments(stage: str, layers: list[list[Tensor]]) -> dict[str, float]:
    """The norm of the gradient of a whole stage at each moment."""
    steps = torch.stack([torch.stack(layer) for layer in layers]).norm(dim=0)
    return {f"{stage}_{at}": steps[part].mean().item() for at, part in MOMENTS.items()}


EXPERIMENT = Experiment(
    table="auxiliary",
    keys=[
        {"net": net, "heads": heads, "seed": str(seed)}
        for net in KINDS
        for heads in ("off", "on")
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
