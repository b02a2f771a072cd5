"""Test accuracy, training time and inference time of the chapters' nets, side by side
and over seeds.

For the processor as it is and for one limited to AVX2, as in older laptops:

    python -m experiments.accuracy
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m experiments.accuracy

It wants a machine that does nothing else: two threads and any other load, and the times
grow many times over.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from course_lib import (
    VGG,
    AlexNet,
    GoogLeNet,
    LeNet,
    NiN,
    ResNet,
    ZFNet,
    evaluate,
    fashion_mnist,
    fit,
)
from experiments.record import Experiment, Row, main


def normalised_lenet() -> LeNet:
    """LeNet as the chapter on normalisation changes it."""
    net = LeNet("modern")
    for stage in (net.c1, net.c3):
        stage.insert(1, nn.BatchNorm2d(stage[0].out_channels))
    for stage in (net.c5, net.f6):
        stage.insert(len(stage) - 1, nn.BatchNorm1d(stage[-2].out_features))
    return net


#: Net -> how it is built, and the arguments with which its chapter trains it.
RECIPES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "LeNet modern": (lambda: LeNet("modern"), {"epochs": 5, "lr": 0.1}),
    "LeNet batch norm": (normalised_lenet, {"epochs": 3, "lr": 0.3}),
    "AlexNet small": (lambda: AlexNet("small"), {"epochs": 4, "lr": 0.05}),
    "ZFNet small": (lambda: ZFNet("small"), {"epochs": 3, "lr": 0.05}),
    "VGG small": (
        lambda: VGG("small", batch_norm=True, dropout=0.2),
        {"epochs": 5, "lr": 0.1},
    ),
    "NiN small": (lambda: NiN("small", batch_norm=True), {"epochs": 4, "lr": 0.1}),
    "GoogLeNet small": (lambda: GoogLeNet("small"), {"epochs": 4, "lr": 0.2}),
    "ResNet small": (lambda: ResNet("small"), {"epochs": 4, "lr": 0.2}),
}

#: On a processor held to AVX2, one run each: it is there for the time.
LIMITED = "ONEDNN_MAX_CPU_ISA" in os.environ
SEEDS = 1 if LIMITED else 3


def measure(key: Row) -> Row:
    """Train one net with one seed; inference is the fastest of three passes over the
    10,000 pictures for testing.
    """
    build, arguments = RECIPES[key["net"]]
    seed, data = int(key["seed"]), fashion_mnist()
    torch.manual_seed(seed)
    net = build()
    history = fit(net, data, seed=seed, progress=False, **arguments)
    assert history.test is not None
    passes = []
    for _ in range(3):
        start = time.perf_counter()
        evaluate(net, data.test)
        passes.append(time.perf_counter() - start)
    return {
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "training_seconds": f"{history.seconds:.1f}",
        "inference_seconds": f"{min(passes):.2f}",
    }


EXPERIMENT = Experiment(
    table="accuracy",
    keys=[{"net": net, "seed": str(seed)} for seed in range(SEEDS) for net in RECIPES],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
