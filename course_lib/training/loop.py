"""The training loop of the course: one-cycle SGD with momentum, on one screen and meant
to be read.

The learning rate rises for a fifth of the run and falls for the rest (Smith and Topin
2017, arXiv:1708.07120); the labels are smoothed (Szegedy et al. 2016, section 7).
Chapter: LeNet.
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
    """Training went wrong; the message names the epoch and the cause."""


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
    """Train `net` on ``data.train`` as `settings` say, score it on ``data.validation``
    after each epoch, and on ``data.test`` at the end.

    The net starts with the weights that it comes with, and is left on the runtime's
    device, in evaluation mode. With `compiled`, torch generates code for it first: some
    ten seconds, and on a CPU few small nets are faster for it (benchmarks/compiled.py).
    With a `checkpoint`, that file is written after each epoch, and a run that was cut
    off goes on from there. In a process group (`course_lib.training.__main__`), every
    process takes its part of each batch.

    Raises: TypeError if `settings` are not a `Settings`; ValueError if there are more
        processes than images in a batch, a split is empty, `net` has not one output a
        class, or the checkpoint is of another run; TrainingError if the loss is not a
        number any more.
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
    """SGD with Nesterov's momentum for the parameters of `net`, and what moves its
    learning rate and momentum in one cycle of all epochs, of so many `steps` each.
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
    """The training images of one process: its part of each batch, as the net takes it.

    Its length is the steps of an epoch.
    """

    #: All training images, on the device.
    images: ImageSplit

    #: Of these the batches' size, seed, augmentation and pixels.
    settings: Settings

    #: Where batches go.
    runtime: Runtime

    #: Which part of a batch is this process's.
    group: Processes

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.settings.batch_size)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """The images x of each batch and their labels y, and what their loss counts."""
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
    """Score `net` on `split`, in evaluation mode; the mode it was in comes back.

    Raises: ValueError if `split` is empty.
    """
    if not len(split):
        raise ValueError("the split is empty: there is nothing to score")
    runtime, group = runtime or default_runtime(), processes()
    training = net.training
    runtime.prepare(net).eval()
    sums = torch.zeros(2, device=runtime.device)  # the loss, and the right answers
    pictures = split.to(runtime.device)
    with torch.inference_mode():
        for x, y in pictures.batches(batch_size, size=size, shard=group.shard):
            with runtime.autocast():
                logits = net(runtime.to_device(x))
            sums[0] += F.cross_entropy(
                logits.to(runtime.param_dtype), y, reduction="sum"
            )
            sums[1] += (logits.argmax(dim=1) == y).sum()
    net.train(training)
    loss, right = (group.all_reduce_sum(sums) / len(split)).tolist()
    return Score(loss, right)


def _check(data: Data, settings: Settings, group: Processes) -> None:
    if settings.batch_size < group.world_size:
        raise ValueError(
            f"batch_size must be at least {group.world_size}, an image for each"
            f" process, got {settings.batch_size}"
        )
    for name in ("train", "validation", "test"):
        if not len(getattr(data, name)):
            raise ValueError(
                f"data.{name} is empty: there is nothing to learn from or to score"
            )


def _loss(outputs: Any, y: Tensor, data: Data, settings: Settings) -> Any:
    """Cross-entropy; a net with auxiliary classifiers weighs theirs itself."""
    several = isinstance(outputs, tuple)
    shape = tuple((outputs[0] if several else outputs).shape)
    if len(shape) != 2 or shape[1] != len(data.classes):
        raise ValueError(
            f"epoch 1: the net gives outputs of shape {shape}, but the data has"
            f" {len(data.classes)} classes; build it with"
            f" num_classes={len(data.classes)}"
        )
    if several:
        return outputs.loss(y, settings.label_smoothing)
    return F.cross_entropy(outputs, y, label_smoothing=settings.label_smoothing)


def _finite(train_loss: float, epoch: int, settings: Settings) -> float:
    """`train_loss` itself, if it is a number."""
    if not math.isfinite(train_loss):
        raise TrainingError(
            f"epoch {epoch + 1} of {settings.epochs}: the training loss is"
            f" {train_loss}. The steps were too long for this net; try a learning rate"
            f" below {settings.lr:g}, or normalization between its layers."
        )
    return train_loss
