"""`fit` is the loop that everyone writes: the same losses and weights, to the bit."""

import copy
import math
import sys
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import OneCycleLR

from course_lib import VGG, GoogLeNet, LeNet, NiN, Settings, Split, fit, runtime
from course_lib.data import FashionMNIST
from course_lib.training.__main__ import NETS

EPOCHS, BATCH, LR = 2, 16, 0.02

#: Every family's small network, and how chapters and experiments vary it.
SMALL = {
    **{
        f"{name} small": partial(net, "small")
        for name, net in NETS.items()
        if "small" in sys.modules[net.__module__].VARIANTS
    },
    "LeNet modern": partial(LeNet, "modern"),
    "VGG small, normalized": partial(VGG, "small", batch_norm=True, dropout=0.2),
    "NiN small, normalized": partial(NiN, "small", batch_norm=True),
    "GoogLeNet small, with auxiliary classifiers": partial(
        GoogLeNet, "small", aux=True
    ),
}


def plain(net, images, precision):
    """Train `net`; nothing of course_lib.training is in it."""
    net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        net.parameters(),
        LR,
        momentum=0.9,
        weight_decay=5e-4,
        nesterov=True,
        fused=True,
    )
    steps = EPOCHS * math.ceil(len(images) / BATCH)
    schedule = OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.2)
    losses = []
    net.train()
    for epoch in range(EPOCHS):
        torch.manual_seed(1_009 * epoch)  # for dropout, with the seed 0
        for x, y in images.batches(BATCH, seed=0, epoch=epoch, augment=True):
            x = x.to(memory_format=torch.channels_last)
            with torch.autocast("cpu", precision, precision != torch.float32):
                outputs = net(x)
                several = outputs if isinstance(outputs, tuple) else (outputs,)
                loss, *others = (
                    F.cross_entropy(each, y, label_smoothing=0.1) for each in several
                )
                if others:  # auxiliary classifiers count three tenths
                    loss = loss + 0.3 * sum(others)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "float32") for name in SMALL), ("ResNet small", "bfloat16")],
)
def test_the_same_to_the_bit(name, precision, sample):
    train, few = (
        Split(sample.train.images[:count], sample.train.labels[:count])
        for count in (40, 2)
    )
    torch.manual_seed(0)
    net = SMALL[name]()
    twin = copy.deepcopy(net)
    here = runtime("cpu", precision)
    settings = Settings(epochs=EPOCHS, batch_size=BATCH, lr=LR, augment=True)
    data = FashionMNIST(train, few, few, "")
    history = fit(net, data, settings, runtime=here, progress=False)
    losses = plain(twin, train, here.precision)
    assert history.losses == losses
    assert len(losses) == 2 * 3
    assert len(set(losses)) == 6
    state = twin.state_dict()
    for key, value in net.state_dict().items():
        assert torch.equal(value, state[key]), key
