"""Forward and backward of the networks of the papers, ours against torchvision's: the
same weights and the same eight images of 224x224 pixels, in float32 and contiguous, and
in the runtime's precision and memory format.

    python -m benchmarks.fullscale
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from benchmarks.measure import Result, main, side_by_side, take_turns, timed
from course_lib import Runtime, runtime
from course_lib.catalog import NETWORKS

#: The networks that torchvision has, too, by their names in the catalog.
CASES = (
    "AlexNet of torchvision",
    "VGG-16",
    "GoogLeNet of torchvision",
    "ResNet-18",
    "ResNet-50",
)
BATCH, ROUNDS = 8, 9


def measure(case: str, quick: bool) -> Iterator[Result]:
    """A forward and a backward pass of both, in turns, for each runtime."""
    batch, rounds = (1, 1) if quick else (BATCH, ROUNDS)
    device = torch.device("cpu")
    plain = Runtime(device, torch.float32, torch.contiguous_format)
    fastest = runtime("cpu")
    names = {
        plain: "torchvision, float32, contiguous",
        fastest: f"torchvision, {str(fastest.precision)[6:]}, channels last",
    }
    x = torch.randn(batch, 3, 224, 224)
    y = torch.randint(0, 1000, (batch,))
    nets = [NETWORKS[case].build(), theirs(NETWORKS[case].torchvision)]
    weights = zip(nets[1].state_dict(), nets[0].state_dict().values(), strict=True)
    nets[1].load_state_dict(dict(weights))
    for each, against in names.items():
        steps = [timed(partial(step, each, each.prepare(net), x, y)) for net in nets]
        seconds = take_turns(rounds, *steps, warm_up=not quick)
        yield side_by_side(*seconds, against=against, unit="images/s", amount=batch)


def theirs(name: str) -> nn.Module:
    """Torchvision's network, without the auxiliary classifiers, as ours."""
    more = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    return models.get_model(name, **more)


def step(runtime: Runtime, net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """Forward and backward."""
    net.zero_grad()
    with runtime.autocast():
        loss = F.cross_entropy(net(runtime.to_device(x)), y)
    loss.backward()


if __name__ == "__main__":
    main("full scale", CASES, measure)
