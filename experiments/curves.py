"""Five training loops, each with one fault, and one without: what do their losses look
like? For an exercise, which gives the curves letters and asks for the faults.

LeNet, 200 steps of plain gradient descent on batches of 128 images of Fashion-MNIST.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import LeNet, fashion_mnist
from course_lib.data import normalize
from experiments.record import Experiment, Row, main

SEEDS = 3
STEPS = 200
BATCH = 128

#: Curve -> its fault: the images come class by class ("order"), in another order than
#: the labels ("labels"), the loss gets probabilities ("softmax"), gradients are never
#: set to zero ("gradients"), the learning rate is too large ("rate").
FAULTS = {
    "none": "none",
    "A": "softmax",
    "B": "order",
    "C": "rate",
    "D": "labels",
    "E": "gradients",
}


def measure(key: Row) -> Row:
    """Train a LeNet with one fault: the loss of every step, of its own batch."""
    fault, seed = FAULTS[key["curve"]], int(key["seed"])
    images, labels = _in_order(fault, seed)
    torch.manual_seed(seed)
    net = LeNet("modern")
    rate = 0.5 if fault == "rate" else 0.03
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    losses = []
    for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        outputs = net(x)
        loss = F.cross_entropy(outputs.softmax(1) if fault == "softmax" else outputs, y)
        if fault != "gradients":
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": " ".join(f"{loss:.3f}" for loss in losses)}


def _in_order(fault: str, seed: int) -> tuple[Tensor, Tensor]:
    """The images and labels of all steps, one behind the other."""
    train = fashion_mnist().train
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(train), generator=generator)[: STEPS * BATCH]
    images, labels = train.images[order], train.labels[order]
    if fault == "order":
        by_class = labels.argsort(stable=True)
        images, labels = images[by_class], labels[by_class]
    if fault == "labels":
        labels = labels[torch.randperm(len(labels), generator=generator)]
    return normalize(images), labels


EXPERIMENT = Experiment(
    table="curves",
    keys=[
        {"curve": curve, "seed": str(seed)} for curve in FAULTS for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
