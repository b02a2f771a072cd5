"""In which regime local response normalization helps: with how many images, and with
which alpha.

    python -m experiments.lrn

In ``k + alpha * sum of squares``, the paper's alpha belongs to its pixels, from 0 to
255 around their mean. Ours are divided by a standard deviation of 90 such levels, so
the same sum is 90 ** 2 times smaller, and the alpha that does what the paper's did is
0.81. The networks without the layer are "none" of `experiments.alexnet` and "neither"
of `experiments.overfitting`; settings and images are the same here.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from course_lib import AlexNet, Split, evaluate, fashion_mnist, fit
from course_lib.data import normalize
from course_lib.normalization import LocalResponseNorm
from experiments import alexnet, overfitting
from experiments.record import Experiment, Row, main

#: Images -> the dropout probability, and the settings of the training.
REGIMES = {
    "all": (0.5, alexnet.SHORT),
    "1000": (0.0, overfitting.SETTINGS),
}

#: The paper's, and the paper's at the scale of our pixels.
ALPHAS = ("0.0001", "0.81")

SEEDS = 3


def build(alpha: float, dropout: float) -> AlexNet:
    """The small AlexNet with this alpha after conv1 and conv2."""
    net = AlexNet("small", lrn=True, dropout=dropout)
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
    dropout, settings = REGIMES[key["images"]]
    data, seed = fashion_mnist(), int(key["seed"])
    if key["images"] != "all":
        count = int(key["images"])
        train = Split(data.train.images[:count], data.train.labels[:count])
        few = Split(data.validation.images[:count], data.validation.labels[:count])
        data = replace(data, train=train, validation=few)
    torch.manual_seed(seed)
    net = build(float(key["alpha"]), dropout)
    history = fit(net, data, replace(settings, seed=seed), progress=False)
    assert history.test is not None
    known = Split(data.train.images[:10_000], data.train.labels[:10_000])
    return {
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "test_loss": f"{history.test.loss:.4f}",
        "train_accuracy": f"{evaluate(net, known).accuracy:.4f}",
        "pull": f"{pull(net, normalize(data.test.images[:1000])):.6f}",
    }


EXPERIMENT = Experiment(
    table="lrn",
    keys=[
        {"images": images, "alpha": alpha, "seed": str(seed)}
        for images, alphas in (("1000", ALPHAS), ("all", ALPHAS[1:]))
        for alpha in alphas
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
