"""What the instructor's answers say of exercises at the end of chapters that have to be
run (`book/instructor`): each with three seeds.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from course_lib import LeNet, NiN, ResNet, Settings, Split, evaluate, fashion_mnist, fit
from course_lib.data import FashionMNIST
from course_lib.initialization import deep_mlp
from course_lib.sharing import rearranged
from experiments.record import Experiment, Row, main

SEEDS = 3

#: A network, the data and the settings for a seed.
Trial = tuple[nn.Module, FashionMNIST, Settings]


def few(images: int) -> FashionMNIST:
    """The data with so many of the training images, as chapters take them."""
    data = fashion_mnist()
    some = Split(data.train.images[:images], data.train.labels[:images])
    return replace(data, train=some)


def narrow(units: int, condition: str) -> Trial:
    """Convolution 4: a fully connected network with few weights, trained like those of
    the chapter.
    """
    settings = Settings(epochs=2, batch_size=50, lr=0.05)
    return deep_mlp(2, units), rearranged(few(20_000), condition), settings


def old_part(activation: type[nn.Module], pool: type[nn.Module]) -> Trial:
    """LeNet 1: old and new parts, in the longer run."""
    net = LeNet("modern", activation=activation, pool=pool)
    return net, fashion_mnist(), Settings(epochs=5, lr=0.1)


def of_1998(whole: bool) -> Trial:
    """LeNet 2: the network of 1998, with its table or with all connections."""
    net: Any = LeNet("paper")
    if whole:
        net.c3[0] = nn.Conv2d(6, 16, 5)
    return net, fashion_mnist(), Settings(epochs=1, lr=0.02, size=32)


def rebuild(variant: str = "modern", **changes: Any) -> Trial:
    """LeNet 5 and 6: the rebuild for one epoch, with other settings."""
    return LeNet(variant), fashion_mnist(), Settings(epochs=1, **changes)


def shuffled_labels(shuffled: bool) -> Trial:
    """Training 2: 500 images, with their labels or with labels in a random order."""
    data = few(500)
    order = torch.randperm(500) if shuffled else torch.arange(500)
    train = Split(data.train.images, data.train.labels[order])
    settings = Settings(epochs=215, lr=0.1, label_smoothing=0.0)
    validation = Split(data.validation.images[:500], data.validation.labels[:500])
    return LeNet("modern"), replace(data, train=train, validation=validation), settings


def positive(bias: float) -> Trial:
    """NiN 5: the biases of the last convolution at the start."""
    net = NiN("small")
    last = [each for each in net.modules() if isinstance(each, nn.Conv2d)][-1]
    assert last.bias is not None
    nn.init.constant_(last.bias, bias)
    return net, few(22_000), Settings(epochs=1, lr=0.05)


def deep(variant: str, shortcut: str, epochs: int, zero: bool = False) -> Trial:
    """ResNet 1 and 5: deep networks on 2,000 images, as in the chapter."""
    net: Any = ResNet(variant, shortcut=shortcut)
    if zero:
        for block in (*net.conv2_x, *net.conv3_x, *net.conv4_x):
            nn.init.zeros_(block.body[-1][1].weight)
    data = few(2_000)
    validation = Split(data.validation.images[:500], data.validation.labels[:500])
    settings = Settings(epochs=epochs, lr=0.05, batch_size=50)
    return net, replace(data, validation=validation), settings


#: Chapter and number of the exercise -> what is compared, and how it is made.
TRIALS: dict[str, dict[str, Callable[[], Trial]]] = {
    "resnet 5": {
        "plain, 2 epochs": lambda: deep("small-32", "none", 2),
        "plain, 6 epochs": lambda: deep("small-32", "none", 6),
        "residual, 2 epochs": lambda: deep("small-32", "A", 2),
    },
    "resnet 1": {
        "scale one": lambda: deep("small-44", "A", 2),
        "scale zero": lambda: deep("small-44", "A", 2, zero=True),
    },
    "convolution 4": {
        f"{units} units, {condition}": lambda units=units, at=condition: narrow(
            units, at
        )
        for units in (10, 64)
        for condition in ("middle", "anywhere")
    },
    "lenet 2": {
        "its table": lambda: of_1998(whole=False),
        "all connections": lambda: of_1998(whole=True),
    },
    "lenet 5": {"small": lambda: rebuild("small", lr=0.1)},
    "lenet 6": {
        "as it is": lambda: rebuild(lr=0.1),
        "no momentum": lambda: rebuild(lr=0.1, momentum=0.0),
        "no label smoothing": lambda: rebuild(lr=0.1, label_smoothing=0.0),
    },
    "training 2": {
        "shuffled": lambda: shuffled_labels(shuffled=True),
        "right": lambda: shuffled_labels(shuffled=False),
    },
    "nin 5": {
        "zero": lambda: positive(0.0),
        "one": lambda: positive(1.0),
    },
    "lenet 1": {
        "ReLU, max": lambda: old_part(nn.ReLU, nn.MaxPool2d),
        "ReLU, average": lambda: old_part(nn.ReLU, nn.AvgPool2d),
        "tanh, max": lambda: old_part(nn.Tanh, nn.MaxPool2d),
        "tanh, average": lambda: old_part(nn.Tanh, nn.AvgPool2d),
    },
}


def measure(key: Row) -> Row:
    """Train one network with one seed: the loss that it minimized in its last epoch,
    its accuracy on its training images (10,000 at most) and on the test images, and the
    classes whose logit is zero for all of these.
    """
    seed = int(key["seed"])
    torch.manual_seed(seed)
    net, data, settings = TRIALS[key["exercise"]][key["trial"]]()
    dead: list[bool] = [True] * 10

    def look(_module: nn.Module, _inputs: Any, logits: torch.Tensor) -> None:
        if not net.training:
            zero = (logits == 0).all(dim=0).tolist()
            dead[:] = [a and b for a, b in zip(dead, zero, strict=True)]

    history = fit(net, data, replace(settings, seed=seed), progress=False)
    seen = Split(data.train.images[:10_000], data.train.labels[:10_000])
    handle = net.register_forward_hook(look)
    test = evaluate(net, data.test)
    handle.remove()
    return {
        "loss": f"{history.epochs[-1].minimized_loss:.4f}",
        "train_accuracy": f"{evaluate(net, seen).accuracy:.4f}",
        "test_accuracy": f"{test.accuracy:.4f}",
        "dead": str(sum(dead)),
    }


EXPERIMENT = Experiment(
    table="answers",
    keys=[
        {"exercise": exercise, "trial": trial, "seed": str(seed)}
        for exercise, trials in TRIALS.items()
        for trial in trials
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
