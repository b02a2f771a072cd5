"""How the weights of ten layers grow in training, and how far a step turns them, at
learning rates from small to large: with batch normalization, with batch normalization
and weights that cannot grow, with the division alone, and without.

The trainings are those of `experiments.normalization`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib import Settings
from experiments.normalization import BATCH_SIZE, IMAGES, RATES, build, tested
from experiments.record import Experiment, Row, main

SEEDS = 3

#: The ten steps of 160 around the highest learning rate.
PEAK = slice(27, 37)

#: Learning rates at which a network learns without normalization, in two of three runs.
SMALL = RATES[:3]


def measure(key: Row) -> Row:
    """Train one network with one seed. Of its nine convolutions, the median of: the
    norm of the weights around the peak of the learning rate, over that at the start;
    and the angle, in degrees, by which one step of plain gradient descent would turn
    them there. Then the accuracy on the test images.
    """
    seed, lr = int(key["seed"]), float(key["lr"])
    torch.manual_seed(seed)
    fixed = key["norm"] == "fixed"
    net = build("batch" if fixed else key["norm"], "before", BATCH_SIZE)
    layers = [each for each in net.modules() if isinstance(each, nn.Conv2d)]
    if fixed:
        for layer in layers:
            layer.register_forward_pre_hook(put_back(layer.weight.norm().item()))
    seen = [watch(layer) for layer in layers]
    settings = Settings(epochs=1, lr=lr, batch_size=BATCH_SIZE, seed=seed)
    accuracy = float(tested(net, settings, IMAGES)["test_accuracy"])
    lengths, gradients = torch.tensor(seen).permute(2, 0, 1)  # (layers, steps)
    length = lengths[:, PEAK].mean(1) / lengths[:, 0]
    turn = (lr * gradients / lengths)[:, PEAK].mean(1).atan().rad2deg()
    found = {
        "length": length.median().item(),
        "turn": turn.median().item(),
        "test_accuracy": accuracy,
    }
    return {name: f"{value:.4g}" for name, value in found.items()}


def put_back(length: float) -> Callable[..., None]:
    """What keeps the norm of a layer's weights as it is, before each step."""

    def scale(layer: nn.Conv2d, _: object) -> None:
        with torch.no_grad():
            layer.weight.mul_(length / layer.weight.norm())

    return scale


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
        for norm in ("fixed", "batch", "divide", "none")
        for lr in (SMALL if norm == "none" else RATES)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
