"""What learning rate normalisation allows: LeNet, one epoch, over learning rates.

Four nets: without normalisation; with local response normalisation after the
convolutions' ReLUs; with batch normalisation before all ReLUs; and with batch
normalisation whose outputs are shifted and scaled at random in every step, much as in
Santurkar et al. (2018), arXiv:1805.11604, section 2.
"""

import torch
from record import Experiment, Row, main
from torch import Tensor, nn

from course_lib import LeNet, TrainingError, fashion_mnist, fit
from course_lib.blocks import response_norm

NETS = ("none", "response", "batch", "batch and noise")
RATES = ("0.01", "0.03", "0.1", "0.3", "1", "3")
SEEDS = range(3)


class Noise(nn.Module):
    """Another shift and another scale for each channel, drawn anew in each step."""

    def forward(self, x: Tensor) -> Tensor:
        """Shift and scale `x` in training."""
        if not self.training:
            return x
        shape = (1, x.shape[1], *(1 for _ in x.shape[2:]))
        shift = torch.empty(shape, device=x.device).uniform_(-0.5, 0.5)
        scale = torch.empty(shape, device=x.device).uniform_(0.8, 1.25)
        return x * scale + shift


def build(name: str) -> LeNet:
    """LeNet, normalised as `name` says."""
    net = LeNet("modern")
    if name == "response":
        for stage in (net.c1, net.c3):
            stage.append(response_norm())
    if name.startswith("batch"):
        for stage in (net.c1, net.c3, net.c5, net.f6):
            layer, relu = stage.pop(-2), stage.pop(-1)
            stage.append(layer).append(
                nn.BatchNorm2d(layer.out_channels)
                if isinstance(layer, nn.Conv2d)
                else nn.BatchNorm1d(layer.out_features)
            )
            if name == "batch and noise":
                stage.append(Noise())
            stage.append(relu)
    return net


def measure(key: Row) -> Row:
    """Train one net with one learning rate and one seed."""
    seed = int(key["seed"])
    torch.manual_seed(seed)
    net, rate = build(key["normalisation"]), float(key["lr"])
    try:
        history = fit(
            net, fashion_mnist(), epochs=1, lr=rate, seed=seed, progress=False
        )
    except TrainingError:
        return {"test_accuracy": "0.1000"}  # what a net of NaNs gets: all T-shirts
    assert history.test is not None
    return {"test_accuracy": f"{history.test.accuracy:.4f}"}


EXPERIMENT = Experiment(
    table="normalization",
    keys=[
        {"normalisation": name, "lr": rate, "seed": str(seed)}
        for name in NETS
        for rate in RATES
        for seed in SEEDS
    ],
    measure=measure,
    modules=(
        "course_lib/blocks.py",
        "course_lib/data/__init__.py",
        "course_lib/lenet.py",
        "course_lib/training.py",
        "experiments/normalization.py",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
