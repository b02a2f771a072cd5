"""How long until the accuracy that d2l publishes, in training time: d2l's network, loop
and loader against our small network.

d2l trains for ten epochs, which takes hours for most of its networks. Its time is that
of a step, measured, times the steps of ten epochs. Ours is measured as a whole, with as
few epochs as reach that accuracy on the test set with every seed.

    python -m benchmarks.time_to_accuracy

On a GPU as on a CPU; the recorded rows are of a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks import d2l_here
from benchmarks.d2l_here import EPOCHS, FAMILIES, IMAGES, Stretch
from benchmarks.measure import Result, main, side_by_side, take_turns
from benchmarks.training import EFFORTS, Effort
from course_lib import fashion_mnist, fit, runtime
from course_lib.catalog import NETWORKS

#: For each of d2l's families, our network by its name in the catalog, and the epochs
#: that it needs here; all else is its "laptop" settings.
RECIPES = {
    "LeNet": ("LeNet modern", 1),
    "AlexNet": ("AlexNet small", 2),
    "VGG": ("VGG small", 8),
    "NiN": ("NiN small", 2),
    "GoogLeNet": ("GoogLeNet small", 2),
    "LeNet, batch norm": ("LeNet batch norm", 2),
    "ResNet": ("ResNet small", 3),
}
ROUNDS = 3


def measure(case: str, quick: bool) -> Iterator[Result]:
    """Time some steps of d2l's, and all of ours, in each round with another seed."""
    family, (name, epochs) = FAMILIES[case], RECIPES[case]
    entry = NETWORKS[name]
    effort = Effort(0, 1, 1) if quick else EFFORTS[family.size]
    rounds = 1 if quick else ROUNDS
    net = family.build()
    loader, _ = d2l_here.load(4 if quick else family.batch_size, family.size)
    data = fashion_mnist(sample=quick)
    accuracies: list[float] = []

    def theirs() -> float:
        stretch = Stretch(loader, effort.warm_up, effort.steps)
        device = runtime().device
        step = d2l_here.train(net, stretch, family.lr, device) / effort.steps
        return step * EPOCHS * math.ceil(IMAGES / family.batch_size)

    def ours() -> float:
        seed = len(accuracies)
        torch.manual_seed(seed)
        settings = replace(entry.settings["laptop"], epochs=epochs, seed=seed)
        history = fit(entry.build(), data, settings, progress=False)
        assert history.test is not None
        accuracies.append(history.test.accuracy)
        return history.seconds

    seconds = take_turns(rounds, ours, theirs, warm_up=False)
    if not quick and min(accuracies) < family.accuracy:
        raise ValueError(
            f"{case} came to {min(accuracies):.3f}, not to {family.accuracy}: its"
            " recipe needs more epochs"
        )
    yield side_by_side(
        *seconds,
        against="d2l",
        note=f"ours {min(accuracies):.3f} after {epochs} x 28 pixels,"
        f" d2l {family.accuracy:.3f} after {EPOCHS} x {family.size}, extrapolated",
    )


if __name__ == "__main__":
    main("time to accuracy", RECIPES, measure)
