"""Test accuracy, training time and inference time of the chapters' networks, side
by side and over seeds.

For the processor as it is, and limited to AVX2 and float32 as older processors are:

    python -m experiments.accuracy
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m experiments.accuracy

It needs a machine that does nothing else: with two threads and any other load, the
times grow many times over.
"""

import os
import time
from dataclasses import replace

import torch

from course_lib import evaluate, fashion_mnist, fit
from course_lib.catalog import NETWORKS
from experiments.record import Experiment, Row, main

#: Networks that are not here: the deep ones of the chapter on degradation have an
#: experiment of their own.
ELSEWHERE = "ResNet small-"

#: The networks with settings for a laptop, each as its chapter trains it.
NETS = [
    name
    for name, entry in NETWORKS.items()
    if "laptop" in entry.settings and not name.startswith(ELSEWHERE)
]

#: On a processor held to AVX2, one run each: it is there for the time.
LIMITED = "ONEDNN_MAX_CPU_ISA" in os.environ
SEEDS = 1 if LIMITED else 3


def measure(key: Row) -> Row:
    """Train one network with one seed; inference is the fastest of three evaluations on
    the 10,000 test images.
    """
    entry, seed = NETWORKS[key["net"]], int(key["seed"])
    data = fashion_mnist()
    torch.manual_seed(seed)
    net = entry.build()
    settings = replace(entry.settings["laptop"], seed=seed)
    history = fit(net, data, settings, progress=False)
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
    keys=[{"net": net, "seed": str(seed)} for seed in range(SEEDS) for net in NETS],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
