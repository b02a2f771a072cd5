"""Losses and scores of a training run, epoch by epoch and batch by batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Score(NamedTuple):
    """Mean cross-entropy, without label smoothing, and accuracy: the share of images
    that were classified correctly.
    """

    loss: float
    accuracy: float


class Epoch(NamedTuple):
    """The results of one epoch."""

    #: Mean cross-entropy without label smoothing, as that of `validation`; but in
    #: training mode, and the mean over the epoch, while the weights change.
    train_loss: float
    #: The score on the validation set after the epoch.
    validation: Score
    #: Since the start of training, without the time for validation.
    seconds: float
    #: The mean of the loss that was minimized. With label smoothing it has a floor
    #: above zero: for ten classes and a smoothing of 0.1, 0.500.
    minimized_loss: float


@dataclass
class History:
    """What `fit` measured: an `Epoch` for each epoch; in `losses` the loss of each
    batch that was minimized, with label smoothing; and, at the end, the score on the
    test set.

    Printed, it is a table whose losses are all without label smoothing.
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
        """Draw the loss that was minimized over the epochs, each point the mean of the
        last `window` batches, or of half of them where there are not so many.

        Raises: ValueError before the first batch.
        """
        if not self.losses:
            raise ValueError("there is no batch yet whose loss could be drawn")
        losses = torch.tensor(self.losses)
        window = min(window, -(-len(losses) // 2))
        mean = losses.unfold(0, window, 1).mean(dim=1)
        steps = torch.arange(window, len(losses) + 1) / len(losses) * len(self.epochs)
        axes.plot(steps, mean, label=label)
        axes.set(xlabel="epoch", ylabel=f"training loss, mean of {window} batches")
