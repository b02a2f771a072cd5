"""The blocks of VGG: kernels, layers and channels against each other, over seeds.

Four blocks and the fully connected layers of ``VGG("small")``; only what a block
consists of changes. All blocks are trained with batch normalization, and the two that
the paper compares also without, as in the paper.

    python -m experiments.vgg
"""

import torch
from torch import nn

from course_lib import (
    Settings,
    count_parameters,
    fashion_mnist,
    fit,
    he_init,
    vgg_block,
)
from course_lib.blocks import linear_relu_dropout
from experiments.record import Experiment, Row, main

#: Block -> kernel size, convolutions, how many times as wide, a ReLU after each or only
#: after the last. The wider network has about as many weights as that with two 3x3.
BLOCKS = {
    "one 3x3": (3, 1, 1, True),
    "one 3x3, wider": (3, 1, 1.75, True),
    "one 5x5": (5, 1, 1, True),
    "two 3x3, no ReLU between": (3, 2, 1, False),
    "two 3x3": (3, 2, 1, True),
    "three 3x3": (3, 3, 1, True),
}

#: Whether there is batch normalization -> the highest learning rate.
RATES = {"yes": 0.1, "no": 0.05}


def build(block: str, batch_norm: bool) -> nn.Sequential:
    """Four blocks of one kind, and three fully connected layers."""
    kernel_size, convs, wider, relus = BLOCKS[block]
    net, in_channels = nn.Sequential(), 1
    for width in (16, 32, 64, 128):
        out_channels = int(width * wider)
        stage = vgg_block(convs, in_channels, out_channels, batch_norm=batch_norm)
        if kernel_size != 3:
            geometry = {"kernel_size": kernel_size, "padding": kernel_size // 2}
            stage[0] = nn.Conv2d(in_channels, out_channels, **geometry)
        if not relus:
            after = [i for i, layer in enumerate(stage) if isinstance(layer, nn.ReLU)]
            for index in after[:-1]:
                stage[index] = nn.Identity()
        net.append(stage)
        in_channels = out_channels
    net.append(nn.Flatten())
    net.append(linear_relu_dropout(in_channels, 256))
    net.append(linear_relu_dropout(256, 256))
    net.append(nn.Linear(256, 10))
    he_init(net)
    return net


def measure(key: Row) -> Row:
    """Train one network with one seed."""
    seed = int(key["seed"])
    torch.manual_seed(seed)
    net = build(key["block"], batch_norm=key["batch_norm"] == "yes")
    lr = RATES[key["batch_norm"]]
    settings = Settings(epochs=3, lr=lr, seed=seed)
    history = fit(net, fashion_mnist(), settings, progress=False)
    assert history.test is not None
    return {
        "parameters": str(count_parameters(net)),
        "validation": " ".join(
            f"{row.validation.accuracy:.4f}" for row in history.epochs
        ),
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "training_seconds": f"{history.seconds:.1f}",
    }


EXPERIMENT = Experiment(
    table="vgg",
    keys=[
        {"block": block, "batch_norm": batch_norm, "seed": str(seed)}
        for seed in range(3)
        for batch_norm, blocks in {"yes": BLOCKS, "no": ("one 5x5", "two 3x3")}.items()
        for block in blocks
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
