"""The training loop of the course: one-cycle SGD with momentum, in about a hundred
lines that are meant to be read.

The learning rate rises for a fifth of the run and falls for the rest (Smith and Topin
2017, arXiv:1708.07120); the labels are smoothed (Szegedy et al. 2016, section 7).
Chapter: LeNet.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from course_lib.training.checkpoint import resume, save
from course_lib.training.history import Epoch, History, Score
from course_lib.training.runtime import Runtime, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class TrainingError(Exception):
    """Training went wrong; the message names the epoch and the cause."""


class Pictures(Protocol):
    """What training asks of a split, such as `course_lib.Split`."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Pictures:
        """The split, with its batches made on `device` if it can."""

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        augment: bool = False,
        size: int | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All pictures once: see `course_lib.Split.batches`."""


class Data(Protocol):
    """Three splits and the names of their classes: `course_lib.FashionMNIST` is one."""

    @property
    def train(self) -> Pictures:
        """What is learnt from."""

    @property
    def validation(self) -> Pictures:
        """What is looked at after each epoch."""

    @property
    def test(self) -> Pictures:
        """What is looked at once."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes, in the order of their labels."""


def fit(
    net: nn.Module,
    data: Data,
    *,
    epochs: int,
    lr: float = 0.1,
    batch_size: int = 128,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.1,
    augment: bool = False,
    size: int | None = None,
    seed: int = 0,
    run_on: Runtime | None = None,
    compiled: bool = False,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> History:
    """Train `net` on ``data.train``, score it on ``data.validation`` after each epoch,
    and on ``data.test`` at the end.

    `lr` is the highest learning rate, `size` the pixels that pictures are resized to.
    `momentum` moves against the rate, from 0.05 above it to 0.05 below and back (Smith
    2018, arXiv:1803.09820).
    `seed` fixes the order of the pictures, their augmentation and dropout; the weights
    are whatever `net` comes with. The net is left on the runtime's device, in
    evaluation mode. With `compiled`, torch generates code for the net first: some ten
    seconds, and on a CPU few small nets are faster for it (benchmarks/compiled.py).
    With a `checkpoint`, that file is written after each epoch, and a run that was cut
    off goes on from there. In a process group (`course_lib.training.__main__`), every
    process takes its part of each batch.

    Raises: ValueError if `epochs` is less than 1 or `batch_size` less than the number
        of processes, `momentum` is neither 0 nor in [0.05, 0.95), a split is empty,
        `net` has not one output a class, or the checkpoint is of another run;
        TrainingError if the loss is not a number any more.
    """
    settings = {
        "net": type(net).__name__,
        "pictures": len(data.train),
        "epochs": epochs,
        "lr": lr,
        "batch_size": batch_size,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "augment": augment,
        "size": size,
        "seed": seed,
    }
    run_on = run_on or runtime()
    _check(data, epochs, batch_size, momentum, run_on.processes)
    run_on.host(net)
    train = data.train.to(run_on.device)
    steps = math.ceil(len(train) / batch_size)
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=momentum > 0,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        lr,
        total_steps=epochs * steps,
        pct_start=0.2,
        cycle_momentum=momentum > 0,
        base_momentum=round(momentum - 0.05, 6),
        max_momentum=round(momentum + 0.05, 6),
    )
    state = {"net": net, "optimizer": optimizer, "schedule": schedule}
    history = resume(checkpoint, settings, state)
    model = run_on.parallel(cast(nn.Module, torch.compile(net)) if compiled else net)
    with tqdm(
        total=epochs * steps,
        initial=len(history.losses),
        unit="batch",
        disable=not progress or run_on.rank > 0,
        leave=False,
    ) as bar:
        for epoch in range(len(history.epochs), epochs):
            start, losses = time.perf_counter(), []
            net.train()
            run_on.seed(seed, epoch)  # for dropout
            shuffled = train.batches(
                batch_size,
                seed=seed,
                epoch=epoch,
                augment=augment,
                size=size,
                part=run_on.part,
            )
            for step, (x, y) in enumerate(shuffled):
                with run_on.autocast():
                    loss = _loss(model(run_on.place(x)), y, data, label_smoothing)
                loss = loss * run_on.weight(len(y), len(train), steps, step)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())  # `.item()` would wait for the device
                bar.update()
            mean = run_on.total(torch.stack(losses)) / run_on.processes
            history.losses += mean.tolist()
            train_loss = mean.mean().item()
            seconds = history.seconds + time.perf_counter() - start
            if not math.isfinite(train_loss):
                raise TrainingError(
                    f"epoch {epoch + 1} of {epochs}: the training loss is {train_loss}."
                    f" The steps were too long for this net; try a learning rate below"
                    f" {lr:g}, or normalisation between its layers."
                )
            run_on.agree(net)
            score = evaluate(net, data.validation, size=size, run_on=run_on)
            history.epochs.append(Epoch(train_loss, score, seconds))
            bar.set_postfix(epoch=epoch + 1, validation=f"{score.accuracy:.3f}")
            if run_on.rank == 0:
                save(checkpoint, settings, state, history)
    history.test = evaluate(net, data.test, size=size, run_on=run_on)
    net.eval()
    return history


def evaluate(
    net: nn.Module,
    split: Pictures,
    *,
    batch_size: int = 1000,
    size: int | None = None,
    run_on: Runtime | None = None,
) -> Score:
    """Score `net` on `split`, in evaluation mode; the mode it was in comes back.

    Raises: ValueError if `split` is empty.
    """
    if not len(split):
        raise ValueError("the split is empty: there is nothing to score")
    run_on = run_on or runtime()
    training = net.training
    run_on.host(net).eval()
    sums = torch.zeros(2, device=run_on.device)  # the loss, and the right answers
    pictures = split.to(run_on.device)
    with torch.inference_mode():
        for x, y in pictures.batches(batch_size, size=size, part=run_on.part):
            with run_on.autocast():
                logits = net(run_on.place(x))
            sums[0] += F.cross_entropy(logits.to(run_on.stored), y, reduction="sum")
            sums[1] += (logits.argmax(dim=1) == y).sum()
    net.train(training)
    loss, right = (run_on.total(sums) / len(split)).tolist()
    return Score(loss, right)


def _check(
    data: Data, epochs: int, batch_size: int, momentum: float, processes: int
) -> None:
    if epochs < 1 or batch_size < processes:
        raise ValueError(
            f"epochs must be at least 1 and batch_size at least {processes},"
            f" got {epochs} and {batch_size}"
        )
    if momentum and not 0.05 <= momentum < 0.95:
        raise ValueError(f"momentum must be 0 or in [0.05, 0.95), got {momentum}")
    for name in ("train", "validation", "test"):
        if not len(getattr(data, name)):
            raise ValueError(
                f"data.{name} is empty: there is nothing to learn from or to score"
            )


def _loss(outputs: Any, y: Tensor, data: Data, label_smoothing: float) -> Tensor:
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
        return outputs.loss(y, label_smoothing)
    return F.cross_entropy(outputs, y, label_smoothing=label_smoothing)
