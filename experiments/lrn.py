"""Local response normalization where there is overfitting, with two values of alpha.

    python -m experiments.lrn

In ``k + alpha * sum of squares``, the paper's alpha belongs to its pixels, from 0 to
255 around their mean. Ours are divided by a standard deviation of 90 such levels, so
the same sum is 90 ** 2 times smaller, and the alpha that does what the paper's did is
0.81. The network without the layer is "neither" of `experiments.overfitting`; settings
and images are the same here.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from course_lib import AlexNet, Split, evaluate, fashion_mnist, fit
from course_lib.data import normalize
from course_lib.normalization import LocalResponseNorm
from experiments.overfitting import IMAGES, SETTINGS
from experiments.record import Experiment, Row, main

#: The paper's, and the paper's at the scale of our pixels.
ALPHAS = ("0.0001", "0.81")

SEEDS = 3


def build(alpha: float) -> AlexNet:
    """The small AlexNet with this alpha after conv1 and conv2."""
    net = AlexNet("small", lrn=True, dropout=0.0)
    for stage in (net.conv1, net.conv2):
        assert isinstance(stage, nn.Sequential)
        assert isinstance(stage[2], nn.LocalResponseNorm)
        stage[2] = LocalResponseNorm(alpha=alpha)
    return net


def pull(net: AlexNet, x: Tensor) -> float:
    """The mean of ``alpha * sum of squares`` after conv1, in units of k."""
    stage = net.conv1
    assert isinstance(stage, nn.Sequential)
    norm = stage[2]
    assert isinstance(norm, LocalResponseNorm)
    with torch.inference_mode():
        a = stage[:2](x)
        divisor = a / norm(a)
    base = divisor[a > 0] ** (1 / norm.beta)
    return (base.mean().item() - norm.k) / norm.k


def measure(key: Row) -> Row:
    """Train the network with one alpha, from one seed."""
    data, seed, count = fashion_mnist(), int(key["seed"]), int(key["images"])
    train = Split(data.train.images[:count], data.train.labels[:count])
    few = Split(data.validation.images[:count], data.validation.labels[:count])
    torch.manual_seed(seed)
    net = build(float(key["alpha"]))
    part = replace(data, train=train, validation=few)
    history = fit(net, part, replace(SETTINGS, seed=seed), progress=False)
    assert history.test is not None
    return {
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "test_loss": f"{history.test.loss:.4f}",
        "train_accuracy": f"{evaluate(net, train).accuracy:.4f}",
        "pull": f"{pull(net, normalize(data.test.images[:1000])):.6f}",
    }


EXPERIMENT = Experiment(
    table="lrn",
    keys=[
        {"images": str(IMAGES), "alpha": alpha, "seed": str(seed)}
        for alpha in ALPHAS
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
