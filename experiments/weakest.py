"""Why the small ZFNet is the weakest network of the comparison: trained again without
its dropout, and for as many epochs as the small AlexNet, with everything else as in
`experiments.accuracy`.

    python -m experiments.weakest
"""

from dataclasses import replace

import torch
from torch import nn

from course_lib import Split, evaluate, fashion_mnist, fit
from course_lib.catalog import NETWORKS
from experiments.record import Experiment, Row, main

#: What is changed -> the dropout probability, and the network whose epochs it has.
CHANGES = {
    "no dropout": (0.0, "ZFNet small"),
    "more epochs": (0.5, "AlexNet small"),
}

SEEDS = 3


def measure(key: Row) -> Row:
    """Train the network with one change, from one seed."""
    dropout, epochs = CHANGES[key["change"]]
    entry, data = NETWORKS["ZFNet small"], fashion_mnist()
    torch.manual_seed(int(key["seed"]))
    net = entry.build()
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = dropout
    settings = replace(
        entry.settings["laptop"],
        seed=int(key["seed"]),
        epochs=NETWORKS[epochs].settings["laptop"].epochs,
    )
    history = fit(net, data, settings, progress=False)
    assert history.test is not None
    known = Split(data.train.images[:10_000], data.train.labels[:10_000])
    return {
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "train_accuracy": f"{evaluate(net, known).accuracy:.4f}",
    }


EXPERIMENT = Experiment(
    table="weakest",
    keys=[
        {"change": change, "seed": str(seed)}
        for change in CHANGES
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
