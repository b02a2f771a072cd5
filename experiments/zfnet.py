"""Two first layers, and what Zeiler and Fergus said against one of them.

    python -m experiments.zfnet

AlexNet's 11x11 kernels with a large stride, ZFNet's 7x7 with half of it: are there dead
filters, frequencies that no filter responds to, and predictions that change when the
image is shifted by a pixel?
"""

from dataclasses import replace

import torch
from torch import Tensor

from course_lib import Settings, ZFNet, evaluate, fashion_mnist, fit
from course_lib.data import normalize
from experiments.record import Experiment, Row, main

STEMS = ("7x7/1", "11x11/2")
SEEDS = 3
TRAINING = Settings(epochs=3, lr=0.05)


def measure(key: Row) -> Row:
    """Train the small network with one stem, from one seed, and examine it."""
    data, seed = fashion_mnist(), int(key["seed"])
    torch.manual_seed(seed)
    net = ZFNet("small", stem=key["stem"])
    fit(net, data, replace(TRAINING, seed=seed), progress=False)
    net.to("cpu", memory_format=torch.contiguous_format)
    filters = net.conv1[0].weight.detach()
    low, middle, high = frequencies(filters)
    x = normalize(data.test.images)
    with torch.inference_mode():
        strongest = net.conv1[:2](x[:2000]).amax(dim=(0, 2, 3))
        predicted, shifted = (
            torch.cat([net(part).argmax(dim=1) for part in images.split(1000)])
            for images in (x, x.roll(1, dims=3))
        )
    norms = filters.flatten(1).norm(dim=1)
    return {
        "test_accuracy": f"{evaluate(net, data.test).accuracy:.4f}",
        "dead": f"{(strongest == 0).sum()}",
        "faintest": f"{norms.min() / norms.max():.3f}",
        "low": f"{low:.3f}",
        "middle": f"{middle:.3f}",
        "high": f"{high:.3f}",
        "changed": f"{(predicted != shifted).float().mean():.4f}",
    }


def frequencies(filters: Tensor) -> list[float]:
    """The shares of the filters' power below 1/6, from there to 1/3, and from there to
    1/2 cycles per pixel.

    Shape: (N, C, H, W).
    """
    power = torch.fft.fft2(filters, s=(28, 28)).abs().square().sum(dim=(0, 1))
    across = torch.fft.fftfreq(28)
    cycles = torch.hypot(across[:, None], across)
    bands = [
        power[(low <= cycles) & (cycles < high)].sum().item()
        for low, high in ((0, 1 / 6), (1 / 6, 1 / 3), (1 / 3, 1 / 2))
    ]
    return [band / sum(bands) for band in bands]


EXPERIMENT = Experiment(
    table="zfnet",
    keys=[{"stem": stem, "seed": str(seed)} for stem in STEMS for seed in range(SEEDS)],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
