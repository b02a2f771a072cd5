"""One step of gradient descent, from very short to very long, tried at twenty points of
a training: the ten layers of `experiments.normalization` with what is to be compared.

After Santurkar et al. 2018, figure 4: there for one range of step sizes and the loss's
extremes, here for one size after another.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from course_lib import fashion_mnist
from experiments.normalization import BATCH_SIZE, build
from experiments.record import Experiment, Row, main

SEEDS = 3
STEPS = 160
#: A trial before each so many steps of the training.
EVERY = 8
#: The learning rate of the training, at which all of them learn.
LR = 0.03
#: The learning rates of the step that is tried.
TRIED = ("0.01", "0.03", "0.1", "0.3", "1", "3", "10")


def measure(key: Row) -> Row:
    """Train one network with one seed. For each learning rate that is tried, the median
    and the largest loss of the same mini-batch after the step.
    """
    torch.manual_seed(int(key["seed"]))
    net = build(key["norm"], "before", BATCH_SIZE)
    optimizer = torch.optim.SGD(net.parameters(), LR, momentum=0.9)
    images = fashion_mnist().train.batches(BATCH_SIZE, seed=int(key["seed"]))
    before, after = [], []
    for step, (x, y) in zip(range(STEPS), images, strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        if step % EVERY == 0:
            before.append(loss.item())
            after.append([stepped(net, x, y, float(lr)) for lr in TRIED])
        optimizer.step()
    row = {"before": f"{torch.tensor(before).median().item():.4f}"}
    for lr, losses in zip(TRIED, torch.tensor(after).T, strict=True):
        row[f"median_{lr}"] = f"{losses.median().item():.4g}"
        row[f"largest_{lr}"] = f"{losses.max().item():.4g}"
    return row


def stepped(net: nn.Module, x: Tensor, y: Tensor, lr: float) -> float:
    """The loss after a step of gradient descent, which `net` does not make; infinity
    if that is not a number.
    """
    parameters = {name: each - lr * each.grad for name, each in net.named_parameters()}
    buffers = {name: each.clone() for name, each in net.named_buffers()}
    with torch.no_grad():
        logits = functional_call(net, parameters | buffers, (x,))
        return F.cross_entropy(logits, y).nan_to_num(torch.inf, torch.inf).item()


EXPERIMENT = Experiment(
    table="steps",
    keys=[
        {"norm": norm, "seed": str(seed)}
        for norm in ("none", "batch", "subtract", "divide")
        for seed in range(SEEDS)
    ],
    measure=measure,
)

if __name__ == "__main__":
    main(EXPERIMENT)
