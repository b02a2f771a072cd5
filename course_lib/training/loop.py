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
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from course_lib.training.checkpoint import Checkpoint
from course_lib.training.checks import (
    can_capture,
    check_labels,
    check_run,
    check_scorable,
    first_look,
)
from course_lib.training.errors import TrainingError
from course_lib.training.graph import Captured
from course_lib.training.history import Epoch, History, Score
from course_lib.training.processes import Processes, processes
from course_lib.training.runtime import Runtime
from course_lib.training.runtime import runtime as default_runtime
from course_lib.training.settings import Settings, takes_settings
from course_lib.training.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from course_lib.training.protocols import Data, ImageSplit


@takes_settings
def fit(
    net: nn.Module,
    data: Data,
    settings: Settings,
    *,
    runtime: Runtime | None = None,
    compiled: bool = False,
    captured: bool = False,
    checkpoint: str | PathLike[str] | None = None,
    progress: bool = True,
) -> History:
    """Train `net` on ``data.train`` with these `settings`, and evaluate it on
    ``data.validation`` after each epoch and on ``data.test`` at the end.

    Training starts from the weights that `net` has, and leaves it on the runtime's
    device, in evaluation mode. With `compiled`, torch.compile is used: it takes some
    ten seconds, and on a CPU few small networks become faster (benchmarks/compiled.py).
    With `captured`, the steps on an NVIDIA GPU are recorded as a CUDA graph and
    replayed, or not, with a warning that says why (`course_lib.training.graph`).
    With a `checkpoint`, that file is written after each epoch, and an interrupted run
    resumes from it. In a process group (`course_lib.training.__main__`), every process
    takes its shard of each batch.

    Raises: TypeError if `settings` are not a `Settings`; ValueError, before anything is
        trained or changed, if `net` or the data cannot be trained, do not fit together,
        or the checkpoint is of another run or cannot be written; TrainingError if the
        loss is not a number any more, or the disk is full.
    """
    runtime, group = runtime or default_runtime(), processes()
    check_run(net, data, settings, group)
    saved = Checkpoint.of(checkpoint, net, data, settings)
    first_look(net, data, settings, runtime)
    runtime.prepare(net)
    train = Loader(data.train.to(runtime.device), settings, runtime, group)
    optimizer, schedule = one_cycle(net, settings, len(train))
    scaler = runtime.scaler()
    state = {"net": net, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    history = saved.resume(**state)
    model = group.wrap(cast(nn.Module, torch.compile(net)) if compiled else net)
    kind = Captured if captured and can_capture(net, runtime, group) else Step
    step = kind(model, data, settings, runtime, optimizer, scaler)
    with tqdm(
        total=settings.epochs * len(train),
        initial=len(history.losses),
        unit="batch",
        disable=not progress or group.rank > 0,
        leave=False,
    ) as bar:
        for epoch in range(len(history.epochs), settings.epochs):
            start, losses, sizes = time.perf_counter(), [], []
            net.train()
            group.seed(settings.seed, epoch)  # for dropout
            for x, y, weight in train.batches(epoch):
                losses.append(step(x, y, weight))  # `.item()` would wait for the device
                schedule.step()
                sizes.append(len(y))
                bar.update()
            means = group.all_reduce_sum(torch.stack(losses)) / group.world_size
            smoothed, train_loss = _means(means, sizes, epoch, settings, group)
            history.losses += means[:, 0].tolist()
            seconds = history.seconds + time.perf_counter() - start
            group.sync_buffers(net)
            score = evaluate(net, data.validation, size=settings.size, runtime=runtime)
            history.epochs.append(Epoch(train_loss, score, seconds, smoothed))
            bar.set_postfix(epoch=epoch + 1, validation=f"{score.accuracy:.3f}")
            if group.rank == 0:
                saved.save(history)
    history.test = evaluate(net, data.test, size=settings.size, runtime=runtime)
    net.eval()
    return history


def one_cycle(
    net: nn.Module, settings: Settings, steps: int
) -> tuple[torch.optim.SGD, OneCycleLR]:
    """SGD with Nesterov momentum for the parameters of `net`, and the schedule of its
    learning rate and momentum: one cycle over all epochs, of so many `steps` each.

    In a run of at most five steps, the learning rate only falls: a fifth of them is no
    more than the first.
    """
    optimizer = torch.optim.SGD(
        net.parameters(),
        settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.momentum > 0,
        fused=True,
    )
    if settings.momentum:
        # Zero is where momentum begins anyway. But if a scaler leaves out the very
        # first step, fused SGD would go on from memory that was never written.
        for each in net.parameters():
            optimizer.state[each]["momentum_buffer"] = torch.zeros_like(each)
    # In PyTorch's cycle a run of one step is its end, where the learning rate is almost
    # 0, and a peak at the first step is a division by zero: a fifth of five.
    total = max(settings.epochs * steps, 2)
    schedule = OneCycleLR(
        optimizer,
        settings.lr,
        total_steps=total,
        pct_start=0.19 if total == 5 else 0.2,
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
    """Score `net` on `split`, in evaluation mode, and leave it as it was: a net that is
    not on the runtime's device, in its type and its memory format, is copied there.

    Raises: ValueError if `split` is empty, has labels that are no classes of `net`, or
        `net` is on the meta device.
    """
    check_scorable(net)
    if not len(split):
        raise ValueError("the split is empty: there is nothing to score")
    runtime, group = runtime or default_runtime(), processes()
    modes = {module: module.training for module in net.modules()}
    sums = torch.zeros(2, device=runtime.device)  # the loss, and the right answers
    first = True
    images, labels = split.to(runtime.device), getattr(split, "labels", None)
    try:
        net.eval()
        model = net if runtime.holds(net) else runtime.copied(net)
        with torch.inference_mode():
            for x, y in images.batches(batch_size, size=size, shard=group.shard):
                with runtime.autocast():
                    logits = model(runtime.to_device(x))
                if not isinstance(labels, Tensor):
                    check_labels(y, "the labels of a batch", logits.shape[1])
                elif first:  # all of them, where they are: no batch waits for that
                    check_labels(labels, "the labels", logits.shape[1])
                    first = False
                logits = logits.to(runtime.param_dtype)
                sums[0] += F.cross_entropy(logits, y, reduction="sum")
                sums[1] += (logits.argmax(dim=1) == y).sum()
    finally:
        for module, training in modes.items():
            module.training = training
    loss, right = (group.all_reduce_sum(sums) / len(split)).tolist()
    return Score(loss, right)


def _means(
    means: Tensor, sizes: list[int], epoch: int, settings: Settings, group: Processes
) -> list[float]:
    """The mean losses over all images of an epoch, from those of its batches: the one
    that is minimized, and the cross-entropy without label smoothing.
    """
    weights = torch.tensor(sizes, dtype=means.dtype, device=means.device)
    weights = group.all_reduce_sum(weights)
    losses = (weights @ means / weights.sum()).tolist()
    if not math.isfinite(losses[0]):
        raise TrainingError(
            f"epoch {epoch + 1} of {settings.epochs}: the training loss is"
            f" {losses[0]}. The learning rate was too large for this network; try a"
            f" learning rate below {settings.lr:g}, or batch normalization."
        )
    return losses
