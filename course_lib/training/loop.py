"""The training loop of the course: SGD with momentum and a one-cycle learning-rate
schedule, on one screen and meant to be read.

The learning rate rises for a fifth of the run and falls for the rest (Smith and Topin
2017, arXiv:1708.07120). The loss is the cross-entropy with label smoothing (Szegedy et
al. 2016, section 7). Chapter: LeNet.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from course_lib.training.checkpoint import identity, resume, save
from course_lib.training.history import Epoch, History, Score
from course_lib.training.processes import Processes, processes
from course_lib.training.runtime import Runtime
from course_lib.training.runtime import runtime as default_runtime
from course_lib.training.settings import Settings, takes_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from course_lib.training.protocols import Data, ImageSplit


class TrainingError(Exception):
    """Training failed; the message says in which epoch, and why."""


@takes_settings
def fit(
    net: nn.Module,
    data: Data,
    settings: Settings,
    *,
    runtime: Runtime | None = None,
    compiled: bool = False,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> History:
    """Train `net` on ``data.train`` with these `settings`, and evaluate it on
    ``data.validation`` after each epoch and on ``data.test`` at the end.

    Training starts from the weights that `net` has, and leaves it on the runtime's
    device, in evaluation mode. With `compiled`, torch.compile is used: it takes some
    ten seconds, and on a CPU few small networks become faster (benchmarks/compiled.py).
    With a `checkpoint`, that file is written after each epoch, and an interrupted run
    resumes from it. In a process group (`course_lib.training.__main__`), every process
    takes its shard of each batch.

    Raises: TypeError if `settings` are not a `Settings`; ValueError if there are more
        processes than images in a batch, a split is empty, `net` does not have one
        output per class, or the checkpoint is of another run; TrainingError if the loss
        becomes infinite or not a number.
    """
    runtime, group = runtime or default_runtime(), processes()
    _check(data, settings, group)
    runtime.prepare(net)
    train = Loader(data.train.to(runtime.device), settings, runtime, group)
    optimizer, schedule = one_cycle(net, settings, len(train))
    state = {"net": net, "optimizer": optimizer, "schedule": schedule}
    run = identity(net, data, settings) if checkpoint else {}
    history = resume(checkpoint, run, state)
    model = group.wrap(cast(nn.Module, torch.compile(net)) if compiled else net)
    with tqdm(
        total=settings.epochs * len(train),
        initial=len(history.losses),
        unit="batch",
        disable=not progress or group.rank > 0,
        leave=False,
    ) as bar:
        for epoch in range(len(history.epochs), settings.epochs):
            start, losses = time.perf_counter(), []
            net.train()
            group.seed(settings.seed, epoch)  # for dropout
            for x, y, weight in train.batches(epoch):
                with runtime.autocast():
                    loss = _loss(model(x), y, data, settings) * weight
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())  # `.item()` would wait for the device
                bar.update()
            means = group.all_reduce_sum(torch.stack(losses)) / group.world_size
            train_loss = _finite(means.mean().item(), epoch, settings)
            history.losses += means.tolist()
            seconds = history.seconds + time.perf_counter() - start
            group.sync_buffers(net)
            score = evaluate(net, data.validation, size=settings.size, runtime=runtime)
            history.epochs.append(Epoch(train_loss, score, seconds))
            bar.set_postfix(epoch=epoch + 1, validation=f"{score.accuracy:.3f}")
            if group.rank == 0:
                save(checkpoint, run, state, history)
    history.test = evaluate(net, data.test, size=settings.size, runtime=runtime)
    net.eval()
    return history


def one_cycle(
    net: nn.Module, settings: Settings, steps: int
) -> tuple[torch.optim.SGD, OneCycleLR]:
    """SGD with Nesterov momentum for the parameters of `net`, and the schedule of its
    learning rate and momentum: one cycle over all epochs, of so many `steps` each.
    """
    optimizer = torch.optim.SGD(
        net.parameters(),
        settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.momentum > 0,
        fused=True,
    )
    schedule = OneCycleLR(
        optimizer,
        settings.lr,
        total_steps=settings.epochs * steps,
        pct_start=0.2,
        cycle_momentum=settings.momentum > 0,
        base_momentum=round(settings.momentum - 0.05, 6),
        max_momentum=round(settings.momentum + 0.05, 6),
    )
    return optimizer, schedule


@dataclass(frozen=True)
class Loader:
    """The training images of one process: its shard of each batch, on the device.

    Its length is the number of steps in an epoch.
    """

    #: All training images, on the device.
    images: ImageSplit

    #: Batch size, seed, augmentation and image size are read from these.
    settings: Settings

    #: Where batches are moved to.
    runtime: Runtime

    #: Which shard of a batch this process has.
    group: Processes

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.settings.batch_size)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """The images x of each batch, their labels y, and the weight of their loss."""
        shuffled = self.images.batches(
            self.settings.batch_size,
            seed=self.settings.seed,
            epoch=epoch,
            augment=self.settings.augment,
            size=self.settings.size,
            shard=self.group.shard,
        )
        for step, (x, y) in enumerate(shuffled):
            weight = self.group.weight(len(y), len(self.images), len(self), step)
            yield self.runtime.to_device(x), y, weight


def evaluate(
    net: nn.Module,
    split: ImageSplit,
    *,
    batch_size: int = 1000,
    size: int | None = None,
    runtime: Runtime | None = None,
) -> Score:
    """Score `net` on `split`, in evaluation mode; afterwards its mode is as before.

    Raises: ValueError if `split` is empty.
    """
    if not len(split):
        raise ValueError("the split is empty: there is nothing to score")
    runtime, group = runtime or default_runtime(), processes()
    training = net.training
    runtime.prepare(net).eval()
    sums = torch.zeros(2, device=runtime.device)  # loss, and correct predictions
    images = split.to(runtime.device)
    with torch.inference_mode():
        for x, y in images.batches(batch_size, size=size, shard=group.shard):
            with runtime.autocast():
                logits = net(runtime.to_device(x))
            sums[0] += F.cross_entropy(
                logits.to(runtime.param_dtype), y, reduction="sum"
            )
            sums[1] += (logits.argmax(dim=1) == y).sum()
    net.train(training)
    loss, accuracy = (group.all_reduce_sum(sums) / len(split)).tolist()
    return Score(loss, accuracy)


def _check(data: Data, settings: Settings, group: Processes) -> None:
    if settings.batch_size < group.world_size:
        raise ValueError(
            f"batch_size must be at least {group.world_size}, one image per"
            f" process, got {settings.batch_size}"
        )
    for name in ("train", "validation", "test"):
        if not len(getattr(data, name)):
            raise ValueError(
                f"data.{name} is empty: there is nothing to train on or to score"
            )


def _loss(outputs: Any, y: Tensor, data: Data, settings: Settings) -> Any:
    """Cross-entropy; `Outputs` of several classifiers have a loss of their own."""
    several = isinstance(outputs, tuple)
    shape = tuple((outputs[0] if several else outputs).shape)
    if len(shape) != 2 or shape[1] != len(data.classes):
        raise ValueError(
            f"epoch 1: the network has outputs of shape {shape}, but the data has"
            f" {len(data.classes)} classes; build it with"
            f" num_classes={len(data.classes)}"
        )
    if several:
        return outputs.loss(y, settings.label_smoothing)
    return F.cross_entropy(outputs, y, label_smoothing=settings.label_smoothing)


def _finite(train_loss: float, epoch: int, settings: Settings) -> float:
    """`train_loss` itself, if it is finite."""
    if not math.isfinite(train_loss):
        raise TrainingError(
            f"epoch {epoch + 1} of {settings.epochs}: the training loss is"
            f" {train_loss}. The learning rate was too large for this network; try a"
            f" learning rate below {settings.lr:g}, or batch normalization."
        )
    return train_loss
