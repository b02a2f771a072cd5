"""Plain and residual networks trained with Adam, which makes steps of about the same
size in all layers, however large their gradients are.

As in `experiments.degradation`, each is trained for one epoch on the 55,000 training
images, in the same order, with a learning rate that rises and falls in one cycle.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

import course_lib
from course_lib import ResNet, Split, evaluate, fashion_mnist
from experiments.record import Experiment, Row, main

BATCH_SIZE = 128
SEEDS = 3

#: Network, and its depth.
NETS = (("plain", "20"), ("plain", "44"), ("shortcut A", "44"))
RATES = ("0.001", "0.003")


def measure(key: Row) -> Row:
    """Train one network with one seed; errors as in `experiments.degradation`."""
    seed = int(key["seed"])
    torch.manual_seed(seed)
    shortcut = "A" if key["net"] == "shortcut A" else "none"
    net = ResNet(f"small-{key['depth']}", shortcut=shortcut)
    data = fashion_mnist()
    losses = train(net, data.train, float(key["lr"]), seed)
    some = Split(data.train.images[:10_000], data.train.labels[:10_000])
    found = {
        "train_loss": sum(losses[-50:]) / 50,
        "train_error": 1 - evaluate(net, some).accuracy,
        "test_accuracy": evaluate(net, data.test).accuracy,
    }
    return {name: f"{value:.4g}" for name, value in found.items()}


def train(net: nn.Module, images: Split, lr: float, seed: int) -> list[float]:
    """One epoch with Adam; the loss of each step."""
    runtime, losses = course_lib.runtime(), []
    runtime.prepare(net)
    steps = -(-len(images) // BATCH_SIZE)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    schedule = OneCycleLR(optimizer, lr, steps, pct_start=0.2, cycle_momentum=False)
    batches = images.to(runtime.device).batches(BATCH_SIZE, seed=seed)
    net.train()
    for x, y in tqdm(batches, total=steps, leave=False):
        optimizer.zero_grad()
        with runtime.autocast():
            loss = F.cross_entropy(net(runtime.to_device(x)), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


EXPERIMENT = Experiment(
    table="adam",
    keys=[
        {"net": net, "depth": depth, "lr": lr, "seed": str(seed)}
        for seed in range(SEEDS)
        for net, depth in NETS
        for lr in RATES
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
