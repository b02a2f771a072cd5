"""What is the sharing of weights worth where things are in the middle of an image,
where they are anywhere, and where the pixels are scrambled?

Five networks, trained for two epochs on 20,000 of the training images.
"""

from dataclasses import replace

import torch
from torch import nn

from course_lib import Settings, Split, fashion_mnist, fit
from course_lib.initialization import deep_mlp
from course_lib.sharing import CONDITIONS, rearranged, three_layers
from experiments.record import Experiment, Row, main

SEEDS = 3
IMAGES = 20_000

#: Name -> whether weights are shared, and the head; None: fully connected.
NETS = {
    "fully connected": None,
    "local, flatten": (False, "flatten"),
    "shared, flatten": (True, "flatten"),
    "local, max": (False, "max"),
    "shared, max": (True, "max"),
}


def build(name: str) -> nn.Module:
    """One of `NETS`, initialized anew."""
    kind = NETS[name]
    if kind is None:
        return deep_mlp(2, 512)
    shared, head = kind
    return three_layers(shared=shared, head=head)


def measure(key: Row) -> Row:
    """Train one network with one seed in one condition: its accuracy on the test
    images.
    """
    seed = int(key["seed"])
    data = fashion_mnist()
    some = Split(data.train.images[:IMAGES], data.train.labels[:IMAGES])
    data = rearranged(replace(data, train=some), key["condition"])
    torch.manual_seed(seed)
    settings = Settings(epochs=2, batch_size=50, lr=0.05, seed=seed)
    history = fit(build(key["net"]), data, settings, progress=False)
    assert history.test is not None
    return {"accuracy": f"{history.test.accuracy:.4f}"}


EXPERIMENT = Experiment(
    table="convolution",
    keys=[
        {"net": name, "condition": condition, "seed": str(seed)}
        for name in NETS
        for condition in CONDITIONS
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
