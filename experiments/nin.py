"""The 1x1 layers of NiN, its heads, and the learning rates at which it can be trained,
over seeds.

"heads": the same convolutions, with batch normalization, and five heads. "mlp": fewer
1x1 layers; the network with two in each block is the head "mean". "rates": the network
of the paper, the same without its last ReLU, and with batch normalization, at three
learning rates. "best": the same networks with more epochs, each at the learning rate
that suits it.

    python -m experiments.nin
"""

from collections.abc import Callable

import torch
from torch import nn

from course_lib import NiN, Settings, count_parameters, fashion_mnist, fit
from course_lib.blocks import he_init, linear_relu_dropout
from experiments.record import Experiment, Row, main


def full(features: int, *before: nn.Module) -> nn.Sequential:
    """A head that ends with a fully connected layer, as AlexNet's and VGG's do."""
    return nn.Sequential(nn.Flatten(), *before, nn.Linear(features, 10))


#: Head -> how it is built for so many activations in the last feature maps.
HEADS: dict[str, Callable[[int], nn.Module]] = {
    "mean": lambda _: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "maximum": lambda _: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
    "one full layer": full,
    "dropout, one full layer": lambda maps: full(maps, nn.Dropout(0.5)),
    "three full layers": lambda maps: full(
        256, linear_relu_dropout(maps, 256), linear_relu_dropout(256, 256)
    ),
}

#: Network -> the output channels of the convolutions of its three blocks; all but the
#: first of a block are 1x1. The wider two have as many parameters as the small NiN, to
#: within 0.2%.
WIDTHS: dict[str, tuple[tuple[int, ...], ...]] = {
    "one": ((48, 48), (64, 64), (96, 10)),
    "none": ((48,), (64,), (10,)),
    "none, wider": ((67,), (88,), (10,)),
    "one before the classes, wider": ((52,), (69,), (104, 10)),
}

NETS = ("as in the paper", "without the last ReLU", "batch norm")
RATES = (0.01, 0.05, 0.1)
BEST = dict(zip(NETS, (0.02, 0.05, 0.1), strict=True))
EPOCHS = {"heads": 2, "mlp": 2, "rates": 1, "best": 4}


def with_widths(blocks: tuple[tuple[int, ...], ...]) -> nn.Module:
    """The small NiN with batch normalization, and convolutions with these channels."""
    net, channels = NiN("small", batch_norm=True), 1
    for index, (stage, widths) in enumerate(zip(net[:-1], blocks, strict=True)):
        geometry = stage[0].kernel_size, stage[0].stride, stage[0].padding
        layers: list[nn.Module] = []
        for width in widths:
            conv = nn.Conv2d(channels, width, *geometry, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels, geometry = width, (1, 1, 0)
        net[index] = nn.Sequential(*layers, *stage[9:])  # its pooling
    he_init(net)
    return net


def build(key: Row) -> nn.Module:
    """The network of one row."""
    if key["part"] == "mlp":
        return with_widths(WIDTHS[key["net"]])
    heads = key["part"] == "heads"
    net = NiN("small", batch_norm=heads or key["net"] == "batch norm")
    if heads:
        maps = net.eval()[:-1](torch.zeros(1, 1, 28, 28))
        net.head = HEADS[key["net"]](maps.numel())
    if key["net"] == "without the last ReLU":
        net.mlpconv3[-1] = nn.Identity()
    return net


def dead_classes(net: nn.Module) -> int:
    """How many logits are zero for each of a thousand images."""
    device = next(net.parameters()).device
    x, _ = next(fashion_mnist().validation.batches(1000))
    with torch.inference_mode():
        return int((net(x.to(device)) == 0).all(dim=0).sum())


def measure(key: Row) -> Row:
    """Train one network with one seed."""
    seed = int(key["seed"])
    torch.manual_seed(seed)
    net = build(key)
    settings = Settings(epochs=EPOCHS[key["part"]], lr=float(key["lr"]), seed=seed)
    history = fit(net, fashion_mnist(), settings, progress=False)
    assert history.test is not None
    return {
        "parameters": str(count_parameters(net)),
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "dead_classes": str(dead_classes(net)),
        "training_seconds": f"{history.seconds:.1f}",
    }


KEYS = [
    *(("heads", head, 0.1) for head in HEADS),
    *(("mlp", net, 0.1) for net in WIDTHS),
    *(("rates", net, lr) for net in NETS for lr in RATES),
    *(("best", net, lr) for net, lr in BEST.items()),
]

EXPERIMENT = Experiment(
    table="nin",
    keys=[
        {"part": part, "net": net, "lr": str(lr), "seed": str(seed)}
        for seed in range(3)
        for part, net, lr in KEYS
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
