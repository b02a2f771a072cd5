"""The training loop of the course: one-cycle SGD with momentum, in about a hundred
lines that are meant to be read.

The learning rate rises for a fifth of the run and falls for the rest (Smith and Topin
2017, arXiv:1708.07120); the labels are smoothed (Szegedy et al. 2016, section 7).
Chapter: LeNet.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from course_lib.runtime import Runtime, runtime

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from course_lib.data import FashionMNIST, Split


class TrainingError(Exception):
    """Training went wrong; the message names the epoch and the cause."""


class Score(NamedTuple):
    """Mean cross-entropy, and the share of pictures that were named right."""

    loss: float
    accuracy: float


class Epoch(NamedTuple):
    """What one epoch came to. `seconds` is since the start of training, the validation
    passes left out.
    """

    train_loss: float
    validation: Score
    seconds: float


@dataclass
class History:
    """What `fit` saw: an `Epoch` for each epoch, the loss of each batch, and, at the
    end, the score on the test set.
    """

    epochs: list[Epoch] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    test: Score | None = None

    @property
    def seconds(self) -> float:
        """Seconds spent training."""
        return self.epochs[-1].seconds if self.epochs else 0.0

    def __str__(self) -> str:
        rows = [
            (f"{i:5}", f"{row.train_loss:.2f}", row.validation)
            for i, row in enumerate(self.epochs, 1)
        ]
        rows += [(" test", "", self.test)] if self.test else []
        return "\n".join(
            ["epoch  train loss  val loss  val accuracy"]
            + [
                f"{name}  {loss:>10}  {score.loss:8.2f}  {score.accuracy:12.3f}"
                for name, loss, score in rows
            ]
        )

    def plot(self, axes: Axes, label: str) -> None:
        """Draw the validation accuracy after each epoch."""
        accuracies = [row.validation.accuracy for row in self.epochs]
        axes.plot(range(1, len(accuracies) + 1), accuracies, marker="o", label=label)
        axes.set(
            xlabel="epoch",
            ylabel="validation accuracy",
            xticks=range(1, len(accuracies) + 1),
        )

    def plot_losses(self, axes: Axes, label: str, window: int = 50) -> None:
        """Draw the training loss over the epochs, each point the mean of the last
        `window` batches.
        """
        losses = torch.tensor(self.losses)
        mean = losses.unfold(0, window, 1).mean(dim=1)
        steps = torch.arange(window, len(losses) + 1) / len(losses) * len(self.epochs)
        axes.plot(steps, mean, label=label)
        axes.set(xlabel="epoch", ylabel=f"training loss, mean of {window} batches")


def fit(
    net: nn.Module,
    data: FashionMNIST,
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
    progress: bool = True,
) -> History:
    """Train `net` on ``data.train``, score it on ``data.validation`` after each epoch,
    and on ``data.test`` at the end.

    `lr` is the highest learning rate, `size` the pixels that pictures are resized to.
    `seed` fixes the order of the pictures, their augmentation and dropout; the weights
    are whatever `net` comes with. The net is left on the runtime's device, in
    evaluation mode.

    Raises: ValueError if `epochs` or `batch_size` is less than 1, a split is empty, or
        `net` has not one output a class; TrainingError if the loss is not a number any
        more.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(
            f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}"
        )
    for name in ("train", "validation", "test"):
        if not len(getattr(data, name)):
            raise ValueError(
                f"data.{name} is empty: there is nothing to learn from or to score"
            )
    run_on = run_on or runtime()
    run_on.host(net)
    train = data.train.to(run_on.device)
    steps = epochs * math.ceil(len(train) / batch_size)
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=momentum > 0,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=0.2
    )
    torch.manual_seed(seed)  # for dropout
    history = History()
    seconds = 0.0
    with tqdm(total=steps, unit="batch", disable=not progress, leave=False) as bar:
        for epoch in range(epochs):
            net.train()
            start, losses = time.perf_counter(), []
            shuffled = train.batches(
                batch_size, seed=seed, epoch=epoch, augment=augment, size=size
            )
            for x, y in shuffled:
                with run_on.autocast():
                    loss = _loss(net(run_on.place(x)), y, data, label_smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())  # `.item()` would wait for the device
                bar.update()
            history.losses += torch.stack(losses).tolist()
            train_loss = sum(history.losses[-len(losses) :]) / len(losses)
            seconds += time.perf_counter() - start
            if not math.isfinite(train_loss):
                raise TrainingError(
                    f"epoch {epoch + 1} of {epochs}: the training loss is {train_loss}."
                    f" The steps were too long for this net; try a learning rate below"
                    f" {lr:g}, or normalisation between its layers."
                )
            score = evaluate(net, data.validation, size=size, run_on=run_on)
            history.epochs.append(Epoch(train_loss, score, seconds))
            bar.set_postfix(epoch=epoch + 1, validation=f"{score.accuracy:.3f}")
    history.test = evaluate(net, data.test, size=size, run_on=run_on)
    net.eval()
    return history


def evaluate(
    net: nn.Module,
    split: Split,
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
    loss, right = torch.zeros(2, device=run_on.device)
    with torch.inference_mode():
        for x, y in split.to(run_on.device).batches(batch_size, size=size):
            with run_on.autocast():
                logits = net(run_on.place(x))
            loss += F.cross_entropy(logits.float(), y, reduction="sum")
            right += (logits.argmax(dim=1) == y).sum()
    net.train(training)
    return Score(loss.item() / len(split), right.item() / len(split))


def _loss(
    outputs: Any, y: torch.Tensor, data: FashionMNIST, label_smoothing: float
) -> torch.Tensor:
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
