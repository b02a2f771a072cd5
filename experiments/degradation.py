"""Plain and residual networks of growing depth: training error beside gradient norms.

Each is trained for one epoch on the 55,000 training images, in the same order.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib import ResNet, Settings, Split, evaluate, fashion_mnist, fit
from course_lib.degradation import identity_init, watch_gradients
from experiments.record import Experiment, Row, main


class Kind(NamedTuple):
    """How a network is built and trained."""

    shortcut: str
    lr: float = 0.1
    identity: bool = False


KINDS = {
    "plain": Kind("none"),
    "shortcut A": Kind("A"),
    "shortcut B": Kind("B"),
    "shortcut C": Kind("C"),
    "plain, shorter steps": Kind("none", lr=0.02),
    "plain, from the identity": Kind("none", identity=True),
}

#: Shortcuts B and C at the depth that is nearest to the paper's 34; what may help a
#: plain network at a depth that needs it.
DEPTHS = {
    "plain": (20, 32, 44, 56),
    "shortcut A": (20, 32, 44, 56),
    "shortcut B": (32,),
    "shortcut C": (32,),
    "plain, shorter steps": (44,),
    "plain, from the identity": (44,),
}

SEEDS = 3

#: The steps whose norms are averaged: the first; ten from the hundredth on; the last
#: ten.
MOMENTS = {"start": slice(1), "100": slice(100, 110), "end": slice(-10, None)}


def measure(key: Row) -> Row:
    """Train one network with one seed. The training error is that of the trained
    network, on 10,000 of the images; "first" and "last" are convolutions.
    """
    kind, seed = KINDS[key["net"]], int(key["seed"])
    torch.manual_seed(seed)
    net = ResNet(f"small-{key['depth']}", shortcut=kind.shortcut)
    if kind.identity:
        identity_init(net[1:])
    norms = {
        "gradient": watch_gradients(net),
        "relative": watch_gradients(net, relative=True),
    }
    data = fashion_mnist()
    settings = Settings(epochs=1, lr=kind.lr, seed=seed)
    history = fit(net, data, settings, progress=False)
    assert history.test is not None
    some = Split(data.train.images[:10_000], data.train.labels[:10_000])
    found = {
        "train_loss": sum(history.losses[-50:]) / 50,
        "train_error": 1 - evaluate(net, some).accuracy,
        "test_accuracy": history.test.accuracy,
    }
    for name, layers in norms.items():
        first, *_, last = (
            seen
            for layer, seen in layers.items()
            if "shortcut" not in layer and layer != "head.2"
        )
        found |= moments(f"{name}_first", first) | moments(f"{name}_last", last)
    return {name: f"{value:.4g}" for name, value in found.items()}


def moments(name: str, norms: list[Tensor]) -> dict[str, float]:
    """The mean of `norms` at each moment."""
    steps = torch.stack(norms)
    return {f"{name}_{at}": steps[part].mean().item() for at, part in MOMENTS.items()}


EXPERIMENT = Experiment(
    table="degradation",
    keys=[
        {"net": name, "depth": str(depth), "seed": str(seed)}
        for name, depths in DEPTHS.items()
        for depth in depths
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
