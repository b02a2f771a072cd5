"""Test accuracy and training time of the chapters' nets, over seeds.

For the processor as it is and for one limited to AVX2, as in older laptops:

    python experiments/accuracy.py
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python experiments/accuracy.py
"""

import os

import torch
from record import Experiment, Row, main

from course_lib import LeNet, ResNet, fashion_mnist, fit

#: Net -> how it is built, and the arguments with which its chapter trains it.
RECIPES = {
    "LeNet modern": (lambda: LeNet("modern"), {"epochs": 5, "lr": 0.1}),
    "ResNet small": (lambda: ResNet("small"), {"epochs": 4, "lr": 0.2}),
}

#: On a processor held to AVX2, one run each: it is there for the time.
LIMITED = "ONEDNN_MAX_CPU_ISA" in os.environ
SEEDS = {"LeNet modern": 5, "ResNet small": 3}


def measure(key: Row) -> Row:
    """Train one net with one seed."""
    build, arguments = RECIPES[key["net"]]
    seed = int(key["seed"])
    torch.manual_seed(seed)
    history = fit(build(), fashion_mnist(), seed=seed, progress=False, **arguments)
    assert history.test is not None
    return {
        "test_accuracy": f"{history.test.accuracy:.4f}",
        "training_seconds": f"{history.seconds:.1f}",
    }


EXPERIMENT = Experiment(
    table="accuracy",
    keys=[
        {"net": net, "seed": str(seed)}
        for net, seeds in SEEDS.items()
        for seed in range(1 if LIMITED else seeds)
    ],
    measure=measure,
    modules=(
        "course_lib/blocks.py",
        "course_lib/data/__init__.py",
        "course_lib/history.py",
        "course_lib/lenet.py",
        "course_lib/resnet.py",
        "course_lib/training.py",
        "experiments/accuracy.py",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
