"""Blocks after ResNet at one cost, and recipes of training from 2015 to today's, one
change at a time, over seeds.

"blocks": the small networks of the library, all of about ten million MACs. "steps":
networks between two of them, each the one before it with one thing changed, and as
many MACs. All of these are trained in the same way, with AdamW as in ConvNeXt's paper,
for two epochs of 6,400 images. "recipes": the small ResNet, trained on 1,000 images
only, so that it overfits; each recipe is the one before it with one thing changed.

    python -m experiments.successors
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms.v2 import MixUp, RandomErasing

from course_lib import (
    ConvNeXt,
    DenseNet,
    ResNet,
    Split,
    evaluate,
    fashion_mnist,
    runtime,
)
from course_lib.blocks import conv_bn, conv_bn_relu, he_init
from course_lib.convnext import ChannelNorm
from course_lib.resnet import Residual, make_shortcut
from experiments.record import Experiment, Row, main


class Step(NamedTuple):
    """What the blocks of a network between ResNet and ConvNeXt are like."""

    #: Channels of the first stage inside its bottlenecks, or of its feature maps if
    #: they are inverted; each further stage has twice as many.
    channels: int
    #: Whether the middle of a block is wide and its ends narrow.
    inverted: bool = False
    #: Side of the depthwise convolution.
    kernel_size: int = 3
    #: Whether a block has a single activation, GELU, and a single normalization.
    lean: bool = False
    #: Whether layer normalization is in the place of batch normalization.
    layer_norm: bool = False


#: The steps between the two networks of the library. The channels are those that keep
#: the cost at about ten million MACs.
STEPS = {
    "depthwise": Step(26),
    "inverted": Step(30, inverted=True),
    "7x7": Step(30, inverted=True, kernel_size=7),
    "one activation": Step(30, inverted=True, kernel_size=7, lean=True),
    "layer norm": Step(30, inverted=True, kernel_size=7, lean=True, layer_norm=True),
}

#: Networks of the library that cost as much: a class, and the key in its table. The
#: steps begin with the bottleneck and end with ConvNeXt.
BLOCKS: dict[str, tuple[Callable[[str], nn.Module], str]] = {
    "ResNet": (ResNet, "small"),
    "bottleneck": (ResNet, "small-bottleneck"),
    "ResNeXt": (ResNet, "small-resnext"),
    "SENet": (ResNet, "small-se"),
    "DenseNet": (DenseNet, "small"),
    "ConvNeXt": (ConvNeXt, "small"),
}


class Sum(nn.Module):
    """``body(x) + shortcut(x)``, with nothing after the sum."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        y: Tensor = self.body(x) + self.shortcut(x)
        return y


def block(step: Step, in_channels: int, channels: int, stride: int) -> nn.Module:
    """A block of this `step`, with a depthwise convolution in its residual branch."""
    size = step.kernel_size
    if not step.inverted:
        body = nn.Sequential(
            conv_bn_relu(in_channels, channels, 1),
            conv_bn_relu(channels, channels, size, stride, groups=channels),
            conv_bn(channels, 4 * channels, 1),
        )
        around = make_shortcut("B", in_channels, 4 * channels, stride)
        return Residual(body, around)
    around = make_shortcut("B", in_channels, channels, stride)
    depthwise = conv_bn(in_channels, channels, size, stride, groups=in_channels)
    if step.lean:
        wide = nn.Conv2d(channels, 4 * channels, 1)
        narrow = nn.Conv2d(4 * channels, channels, 1)
        return Sum(nn.Sequential(depthwise, wide, nn.GELU(), narrow), around)
    body = nn.Sequential(
        depthwise,
        nn.ReLU(inplace=True),
        conv_bn_relu(channels, 4 * channels, 1),
        conv_bn(4 * channels, channels, 1),
    )
    return Residual(body, around)


def stepped(step: Step) -> nn.Sequential:
    """Three stages of two blocks, between the stem and the head of the small ResNet."""
    net = nn.Sequential(conv_bn_relu(1, step.channels, 3, 2))
    width, times = step.channels, 1 if step.inverted else 4
    for number in range(3):
        channels = step.channels * 2**number
        net.append(block(step, width, channels, 1 if number == 0 else 2))
        width = times * channels
        net.append(block(step, width, channels, 1))
    net.extend((nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)))
    he_init(net)
    for module in [*net.modules()] if step.layer_norm else []:
        for name, layer in module.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                module.add_module(name, ChannelNorm(layer.num_features))
    return net


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, on batches of 128 images that are shifted and flipped
    at random.
    """

    #: How many of the training images are used.
    images: int = 1_000
    epochs: int = 20
    #: With AdamW in place of SGD with Nesterov momentum of 0.9.
    adam: bool = False
    #: The highest learning rate.
    lr: float = 0.1
    #: Whether the learning rate rises for a tenth of the steps and then falls as a
    #: cosine; else it is a tenth from half of the steps on, and a hundredth from three
    #: quarters on (He et al. 2015, section 4.2).
    cosine: bool = False
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    #: The share of the images of which a rectangle is erased (Zhong et al. 2017,
    #: arXiv:1708.04896).
    erasing: float = 0.0
    #: Parameter of the beta distribution from which the shares of two images are drawn
    #: (Zhang et al. 2017, arXiv:1710.09412); 0 for none.
    mixup: float = 0.0
    #: What is left of the old average at each step, if the weights that are scored are
    #: a moving average; 0 for none.
    average: float = 0.0

    def rate(self, done: float) -> float:
        """The learning rate when so much of the training is done, relative to `lr`."""
        if not self.cosine:
            return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
        if done < 0.1:
            return done / 0.1
        return 0.5 + 0.5 * math.cos(math.pi * (done - 0.1) / 0.9)


#: What changes from each recipe to the next.
CHANGES: dict[str, dict[str, Any]] = {
    "2015": {},
    "cosine": {"cosine": True},
    "label smoothing": {"label_smoothing": 0.1},
    "erasing": {"erasing": 0.25},
    "mixup": {"mixup": 0.2},
    "averaging": {"average": 0.95},
}

#: How the networks of the steps are trained.
ADAM = Recipe(
    images=6_400,
    epochs=2,
    adam=True,
    lr=4e-3,
    cosine=True,
    weight_decay=0.05,
    label_smoothing=0.1,
)


def recipe_of(name: str) -> Recipe:
    """The first recipe with all changes up to the one of this name."""
    recipe = Recipe()
    for change, fields in CHANGES.items():
        recipe = replace(recipe, **fields)
        if change == name:
            return recipe
    raise ValueError(f"there is no recipe {name!r}, only {', '.join(CHANGES)}")


def batches(split: Split, recipe: Recipe, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All epochs' images and labels, or the probabilities of the classes with mixup."""
    erase = RandomErasing(recipe.erasing, scale=(0.02, 0.33))
    mix = MixUp(alpha=recipe.mixup, num_classes=10) if recipe.mixup else None
    for epoch in range(recipe.epochs):
        for x, y in split.batches(128, seed=seed, epoch=epoch, augment=True):
            x = torch.stack([erase(image) for image in x]) if recipe.erasing else x
            yield mix(x, y) if mix else (x, y)


def train(net: nn.Module, recipe: Recipe, seed: int) -> nn.Module:
    """Train `net`, and return what is to be scored: `net`, or the average."""
    here, split = runtime(), first(recipe.images)
    steps = recipe.epochs * math.ceil(len(split) / 128)
    here.prepare(net)
    parameters, decay = net.parameters(), recipe.weight_decay
    optimizer: torch.optim.Optimizer
    if recipe.adam:
        optimizer = torch.optim.AdamW(parameters, recipe.lr, weight_decay=decay)
    else:
        optimizer = torch.optim.SGD(
            parameters, recipe.lr, momentum=0.9, nesterov=True, weight_decay=decay
        )
    schedule = LambdaLR(optimizer, lambda step: recipe.rate(step / steps))
    average = get_ema_multi_avg_fn(recipe.average)
    mean = AveragedModel(net, multi_avg_fn=average, use_buffers=True)
    net.train()
    for x, y in batches(split, recipe, seed):
        with here.autocast():
            logits = net(here.to_device(x)).float()
        smoothing = recipe.label_smoothing
        loss = F.cross_entropy(logits, y.to(logits.device), label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if recipe.average:
            mean.update_parameters(net)
    return mean.module if recipe.average else net


def first(count: int) -> Split:
    """So many of the training images."""
    train = fashion_mnist().train
    return Split(train.images[:count], train.labels[:count])


def built(part: str, name: str) -> nn.Module:
    """The network of a row."""
    if part == "recipes":
        return ResNet("small")
    if part == "steps":
        return stepped(STEPS[name])
    build, variant = BLOCKS[name]
    return build(variant)


def macs(net: nn.Module) -> int:
    """Multiply-accumulates of one image, two operations each."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, 1, 28, 28))
    return int(counter.get_total_flops()) // 2


def measure(key: Row) -> Row:
    """Train one network with one seed."""
    part, name, seed = key["part"], key["name"], int(key["seed"])
    torch.manual_seed(seed)
    recipe = recipe_of(name) if part == "recipes" else ADAM
    net = train(built(part, name), recipe, seed)
    return {
        "parameters": str(sum(each.numel() for each in net.parameters())),
        "macs": str(macs(built(part, name))),
        "train_accuracy": f"{evaluate(net, first(1_000)).accuracy:.4f}",
        "test_accuracy": f"{evaluate(net, fashion_mnist().test).accuracy:.4f}",
    }


NAMES = {"blocks": [*BLOCKS], "recipes": [*CHANGES], "steps": [*STEPS]}

EXPERIMENT = Experiment(
    table="successors",
    keys=[
        {"part": part, "name": name, "seed": str(seed)}
        for part, names in NAMES.items()
        for seed in range(3)
        for name in names
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
