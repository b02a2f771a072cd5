"""Ten layers with their normalizations: over which values, over how many images, before
or after the ReLU, at which learning rates, and with half of what normalizes.

Each network is trained for one epoch, 160 steps of 128 images.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import (
    Settings,
    Split,
    TrainingError,
    fashion_mnist,
    fit,
    he_init,
)
from experiments.record import Experiment, Row, main

BATCH_SIZE = 128
IMAGES = 160 * BATCH_SIZE
SEEDS = 3

#: Over how many images of a mini-batch the statistics are computed.
FEWER = ("1", "2", "8", "32")

#: Learning rates with and without normalization, and for that behind the ReLU.
RATES = ("0.01", "0.03", "0.1", "1", "3")
RATES_AFTER = ("0.1", "1")


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization over each `images` of a mini-batch by themselves, as on
    processes that do not exchange their statistics; the running statistics are means
    over all of them.

    Shape: (N, C, H, W) -> the same; in training `images` divides N, or is more.
    """

    def __init__(self, channels: int, images: int) -> None:
        super().__init__(channels)
        self.images = images

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x`, with each channel of each part as a channel of its own."""
        if not self.training:
            return super().forward(x)
        images, shape = min(self.images, len(x)), x.shape[1:]
        parts = len(x) // images
        y = x.view(parts, images, *shape).transpose(0, 1)
        mean, var = self.running_mean.repeat(parts), self.running_var.repeat(parts)
        weight, bias = self.weight.repeat(parts), self.bias.repeat(parts)
        y = y.reshape(images, -1, *shape[1:])
        y = F.batch_norm(y, mean, var, weight, bias, training=True, momentum=0.1)
        self.running_mean.copy_(mean.view(parts, -1).mean(0))
        self.running_var.copy_(var.view(parts, -1).mean(0))
        return y.view(images, parts, *shape).transpose(0, 1).reshape(x.shape)


class HalfNorm(nn.Module):
    """Batch normalization that only subtracts the mean of each channel, or only divides
    by the standard deviation; then scale, shift and running statistics as usual.

    Shape: (N, C, H, W) -> the same.
    """

    def __init__(self, channels: int, subtract: bool) -> None:
        super().__init__()
        self.subtract = subtract
        self.whole = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """One half of what `whole` does to `x`."""
        whole = self.whole
        if self.training:
            whole.num_batches_tracked += 1
            var, mean = torch.var_mean(x.float(), (0, 2, 3), correction=0)
            with torch.no_grad():
                whole.running_mean.lerp_(mean, whole.momentum)
                whole.running_var.lerp_(var, whole.momentum)
        else:
            var, mean = whole.running_var, whole.running_mean
        if self.subtract:
            y = x - mean[:, None, None]
        else:
            y = x * (var + whole.eps).rsqrt()[:, None, None]
        return whole.weight[:, None, None] * y + whole.bias[:, None, None]


NORMS = ("none", "batch", "layer", "group", "instance")
HALVES = ("subtract", "divide")


def normalization(norm: str, channels: int, images: int) -> nn.Module:
    """One of `NORMS` or `HALVES` for so many channels, with scale and shift; `images`
    matter to batch normalization only.
    """
    if norm in HALVES:
        return HalfNorm(channels, subtract=norm == "subtract")
    if norm == "none":
        return nn.Identity()
    if norm == "batch":
        return BatchNorm(channels, images)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.GroupNorm({"layer": 1, "group": 4}[norm], channels)


def build(norm: str, order: str, images: int) -> nn.Sequential:
    """Nine 3x3 convolutions, each with its normalization before or after its ReLU, and
    a fully connected layer.

    Shape: (N, 1, 28, 28) -> (N, 10), logits.
    """
    net, in_channels = nn.Sequential(), 1
    for channels in (16, 32, 64):
        for stride in (2, 1, 1):
            net.append(nn.Conv2d(in_channels, channels, 3, stride, padding=1))
            pair = [normalization(norm, channels, images), nn.ReLU(inplace=True)]
            net.extend(pair if order == "before" else pair[::-1])
            in_channels = channels
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, 10)])
    he_init(net)
    return net


def measure(key: Row) -> Row:
    """Train one network with one seed, and test it."""
    seed = int(key["seed"])
    torch.manual_seed(seed)
    net = build(key["norm"], key["order"], int(key["images"]))
    settings = Settings(epochs=1, lr=float(key["lr"]), batch_size=BATCH_SIZE, seed=seed)
    return tested(net, settings, IMAGES)


def tested(net: nn.Module, settings: Settings, images: int) -> Row:
    """Train `net` on the first so many images: its accuracy on the test images with
    running statistics, and with those of mini-batches; that of guessing if it diverged.
    """
    data = fashion_mnist()
    some = Split(data.train.images[:images], data.train.labels[:images])
    few = Split(data.validation.images[:1_000], data.validation.labels[:1_000])
    data = replace(data, train=some, validation=few)
    try:
        history = fit(net, data, settings, progress=False)
    except TrainingError:
        return {"train_loss": "nan", "test_accuracy": "0.1", "by_batch": "0.1"}
    assert history.test is not None
    return {
        "train_loss": f"{history.epochs[-1].minimized_loss:.4f}",
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "by_batch": f"{by_batch(net, data.test):.4f}",
    }


def by_batch(net: nn.Module, split: Split) -> float:
    """The accuracy on 20 mini-batches in training mode."""
    count = 20 * BATCH_SIZE
    whole = Split(split.images[:count], split.labels[:count])
    net.train()
    with torch.no_grad():
        right = [net(x).argmax(1) == y for x, y in whole.batches(BATCH_SIZE)]
    return torch.cat(right).float().mean().item()


def keys() -> list[Row]:
    """Over which values, over how many images, learning rates, and the two halves. 128
    images are the whole mini-batch, and matter to batch normalization only.
    """
    nets = [(norm, "before", "128", "0.1") for norm in NORMS]
    nets += [("batch", "before", images, "0.1") for images in FEWER]
    nets += [(norm, "before", "128", lr) for norm in ("none", "batch") for lr in RATES]
    nets += [("batch", "after", "128", lr) for lr in RATES_AFTER]
    nets += [(norm, "before", "128", lr) for norm in HALVES for lr in RATES]
    names = ("norm", "order", "images", "lr", "seed")
    return [
        dict(zip(names, (*net, str(seed)), strict=True))
        for net in dict.fromkeys(nets)
        for seed in range(SEEDS)
    ]


EXPERIMENT = Experiment(table="normalization", keys=keys(), measure=measure)

if __name__ == "__main__":
    main(EXPERIMENT)
