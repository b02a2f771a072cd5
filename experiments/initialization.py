"""Networks of growing depth by their initialization: which of them begin to learn?

Each is trained for one epoch on 20,000 of the training images, at three learning rates.
"""

from dataclasses import replace

import torch
from torch import nn

from course_lib import Settings, Split, TrainingError, fashion_mnist, fit
from course_lib.initialization import deep_mlp, deep_residual_mlp
from experiments.record import Experiment, Row, main

WIDTH = 256
DEPTHS = (6, 10, 20, 40)
RATES = (0.01, 0.03, 0.1)
SEEDS = 3

#: How the networks are built, and their depths.
NETS = {
    "small": DEPTHS,
    "default": DEPTHS,
    "Xavier": DEPTHS,
    "He": DEPTHS,
    "batch norm": DEPTHS,
    "residual": DEPTHS,
    "residual, zero": DEPTHS,
}


def build(name: str, depth: int) -> nn.Module:
    """One of `NETS`, initialized anew."""
    if name.startswith("residual"):
        return deep_residual_mlp(depth, WIDTH, zero=name.endswith("zero"))
    if name == "batch norm":
        return deep_mlp(depth, WIDTH, batch_norm=True)
    return deep_mlp(depth, WIDTH, init=name)


def measure(key: Row) -> Row:
    """Train one network with one seed at each learning rate: its accuracy on the test
    images, 0.1 if its loss was not a number any more.
    """
    seed = int(key["seed"])
    data = fashion_mnist()
    some = Split(data.train.images[:20_000], data.train.labels[:20_000])
    data = replace(data, train=some)
    found = {}
    for lr in RATES:
        torch.manual_seed(seed)
        net = build(key["net"], int(key["depth"]))
        settings = Settings(epochs=1, lr=lr, seed=seed)
        try:
            history = fit(net, data, settings, progress=False)
        except TrainingError:
            found[f"accuracy_{lr}"] = 0.1
        else:
            assert history.test is not None
            found[f"accuracy_{lr}"] = history.test.accuracy
    return {name: f"{value:.4f}" for name, value in found.items()}


EXPERIMENT = Experiment(
    table="initialization",
    keys=[
        {"net": name, "depth": str(depth), "seed": str(seed)}
        for name, depths in NETS.items()
        for depth in depths
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
