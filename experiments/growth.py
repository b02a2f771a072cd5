"""How the weights of ten layers grow in training, and how far a step turns them, at
learning rates from small to large: with batch normalization, with the division alone,
and without.

The trainings are those of `experiments.normalization`.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from course_lib import Settings, Split, TrainingError, fashion_mnist, fit
from experiments.normalization import BATCH_SIZE, IMAGES, RATES, build
from experiments.record import Experiment, Row, main

SEEDS = 3

#: The ten steps of 160 around the highest learning rate.
PEAK = slice(27, 37)

#: Learning rates at which a network learns without normalization, in two of three runs.
SMALL = RATES[:3]


def measure(key: Row) -> Row:
    """Train one network with one seed. Of its nine convolutions, the median of: how
    many times as long the weights are at the longest, and at the end; and the angle, in
    degrees, by which one step of plain gradient descent would turn them at the peak of
    the learning rate. Not a number if it diverges.
    """
    seed, lr = int(key["seed"]), float(key["lr"])
    torch.manual_seed(seed)
    net = build(key["norm"], "before", BATCH_SIZE)
    seen = [watch(each) for each in net.modules() if isinstance(each, nn.Conv2d)]
    data = fashion_mnist()
    some = Split(data.train.images[:IMAGES], data.train.labels[:IMAGES])
    few = Split(data.validation.images[:1_000], data.validation.labels[:1_000])
    data = replace(data, train=some, validation=few, test=few)
    settings = Settings(epochs=1, lr=lr, batch_size=BATCH_SIZE, seed=seed)
    try:
        fit(net, data, settings, progress=False)
    except TrainingError:
        return dict.fromkeys(("longest", "end", "turn"), "nan")
    lengths, gradients = torch.tensor(seen).permute(2, 0, 1)  # (layers, steps)
    turns = (lr * gradients / lengths)[:, PEAK].mean(1).atan().rad2deg()
    found = {
        "longest": lengths.amax(1) / lengths[:, 0],
        "end": lengths[:, -1] / lengths[:, 0],
        "turn": turns,
    }
    return {name: f"{each.median().item():.4g}" for name, each in found.items()}


def watch(layer: nn.Conv2d) -> list[tuple[float, float]]:
    """From now on, the norms of the weight and of its gradient in each step."""
    norms: list[tuple[float, float]] = []

    def note(weight: Tensor) -> None:
        assert weight.grad is not None  # it has just been computed
        norms.append((weight.detach().norm().item(), weight.grad.norm().item()))

    layer.weight.register_post_accumulate_grad_hook(note)
    return norms


EXPERIMENT = Experiment(
    table="growth",
    keys=[
        {"norm": norm, "lr": lr, "seed": str(seed)}
        for seed in range(SEEDS)
        for norm, rates in (("batch", RATES), ("divide", RATES), ("none", SMALL))
        for lr in rates
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
