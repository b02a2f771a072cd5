"""The control for attribution methods: does a map change when what was learned is
replaced by random weights?

    python -m experiments.sanity

Stages of EfficientNet-Lite0 are randomized from the last one on, as Adebayo et al.
(2018), section 3.1, did with Inception v3; "head" is the classifier alone, "stem" the
whole network. Each column is the rank correlation of a method's map for one photograph,
trained against randomized, for the class that the trained network answers.
"""

from functools import cache

import torch
from torch import Tensor, nn

from course_lib.attribution import (
    grad_cam,
    occlusion,
    randomized,
    rank_correlation,
    saliency,
)
from course_lib.efficientnet import (
    EfficientNetLite0,
    crop_square,
    load_lite0,
    normalize_lite0,
)
from course_lib.photographs import photograph
from experiments.record import Experiment, Row, main

SEEDS = 3
NAMES = ("chelsea", "coffee", "camera", "rocket")

#: The last stages that are randomized: from this one to the head.
FIRST = ("head", "mbconv7", "mbconv6", "mbconv4", "mbconv2", "stem")


def maps(net: nn.Module, x: Tensor, target: int) -> dict[str, Tensor]:
    """Method -> its map, without signs: for one image, (1, 3, H, W)."""
    return {
        "gradient": saliency(net, x, target)[0],
        "guided": saliency(net, x, target, rule="guided")[0],
        "grad_cam": grad_cam(net, x, target, "conv")[0],
        "occlusion": -occlusion(net, x, target, size=74, stride=50, batch_size=8),
    }


@cache
def trained() -> EfficientNetLite0:
    """The network as it was trained."""
    net = EfficientNetLite0()
    load_lite0(net)
    return net.eval()


@cache
def images() -> Tensor:
    """All photographs."""
    return normalize_lite0(torch.stack([crop_square(photograph(n)) for n in NAMES]))


@cache
def reference(name: str) -> tuple[int, dict[str, Tensor]]:
    """The answer of the trained network to one photograph, and the maps of that."""
    x = images()[NAMES.index(name)][None]
    with torch.inference_mode():
        target = trained()(x).argmax().item()
    return int(target), maps(trained(), x, int(target))


def measure(key: Row) -> Row:
    """Randomize the stages from ``first`` on, from one seed, and compare maps."""
    stages = [name for name, _ in trained().named_children()]
    last = stages[stages.index(key["first"]) :]
    net = randomized(trained(), last, images(), seed=int(key["seed"]))
    target, before = reference(key["photograph"])
    after = maps(net, images()[NAMES.index(key["photograph"])][None], target)
    return {
        method: f"{rank_correlation(before[method], after[method]):.4f}"
        for method in before
    }


EXPERIMENT = Experiment(
    table="sanity",
    keys=[
        {"first": first, "photograph": name, "seed": str(seed)}
        for seed in range(SEEDS)
        for first in FIRST
        for name in NAMES
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
