"""The networks of the chapter Lab: trained as for the table of accuracies, and what is
lost when their weights are stored with eight bits.

The weights stay in ``_build/lab``, from where ``python -m tools.lab`` takes them.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import Split, fashion_mnist, fit
from course_lib.catalog import NETWORKS
from course_lib.lab import NETS, quantized
from experiments.record import Experiment, Row, main
from experiments.rows import ROOT

#: Where the weights are kept: checkpoints, from whose last epoch training resumes.
WEIGHTS = ROOT / "_build/lab"


def trained(name: str, kind: str, seed: int) -> tuple[nn.Module, float]:
    """The network and its accuracy on the test images, in the runtime's precision."""
    entry, data = NETWORKS[name], fashion_mnist()
    torch.manual_seed(seed)
    net = entry.build()
    settings = replace(entry.settings[kind], seed=seed)
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    path = WEIGHTS / f"{name}, {kind}, seed {seed}, {len(data.train)} images.pt"
    history = fit(net, data, settings, checkpoint=path, progress=False)
    assert history.test is not None
    return net.float().cpu(), history.test.accuracy


@torch.inference_mode()
def probabilities(net: nn.Module, split: Split) -> Tensor:
    """What `net` says of all images, in full precision.

    Shape: (N, num_classes).
    """
    return torch.cat([F.softmax(net(x), dim=1) for x, _ in split.batches(500)])


def measure(key: Row) -> Row:
    """Train one network, and evaluate it on the 10,000 test images in full precision,
    with its own weights and with those of 8 bits.
    """
    net, accuracy = trained(key["net"], key["settings"], int(key["seed"]))
    test = fashion_mnist().test
    labels = torch.cat([y for _, y in test.batches(500)])
    float32, int8 = (probabilities(each, test) for each in (net, quantized(net)))
    found = {
        "test_accuracy": accuracy,
        "float32_accuracy": (float32.argmax(1) == labels).float().mean().item(),
        "int8_accuracy": (int8.argmax(1) == labels).float().mean().item(),
        "changed": (int8.argmax(1) != float32.argmax(1)).float().mean().item(),
        "largest_change": (int8 - float32).abs().max().item(),
    }
    return {name: f"{value:.4f}" for name, value in found.items()}


EXPERIMENT = Experiment(
    table="lab",
    keys=[{"net": net, "settings": "laptop", "seed": "0"} for net in NETS.values()],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
