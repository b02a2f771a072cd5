"""What `fit` does with a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.training.checks import check_outputs

if TYPE_CHECKING:
    from course_lib.training.protocols import Data
    from course_lib.training.runtime import Runtime
    from course_lib.training.settings import Settings


@dataclass(frozen=True)
class Step:
    """A step of training: the gradients of a batch, then SGD."""

    #: The network, as it is called in training.
    model: nn.Module

    #: The names of its classes are read from these.
    data: Data

    #: Label smoothing is read from these.
    settings: Settings

    #: In whose precision the network runs.
    runtime: Runtime

    #: Whose parameters are updated.
    optimizer: torch.optim.SGD

    #: What scales the loss in float16.
    scaler: torch.amp.GradScaler

    def __call__(self, x: Tensor, y: Tensor, weight: float) -> Tensor:
        """Train on the images x with the labels y; the losses, as of `gradients`."""
        losses = self.gradients(x, y, weight)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return losses

    def gradients(self, x: Tensor, y: Tensor, weight: float) -> Tensor:
        """Compute the gradients of the loss times `weight`.

        Shape: (2,), still on the device: the loss that is minimized, and the
            cross-entropy without label smoothing.
        """
        with self.runtime.autocast():
            outputs = self.model(x)
            loss = _loss(outputs, y, self.data, self.settings) * weight
            plain = _cross_entropy(outputs, y) * weight
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        return torch.stack((loss.detach(), plain))


def _loss(outputs: Any, y: Tensor, data: Data, settings: Settings) -> Any:
    """Cross-entropy; a net with auxiliary classifiers weighs theirs itself."""
    check_outputs(outputs, len(data.classes))
    if not isinstance(outputs, Tensor):
        return outputs.loss(y, settings.label_smoothing)
    return F.cross_entropy(outputs, y, label_smoothing=settings.label_smoothing)


def _cross_entropy(outputs: Any, y: Tensor) -> Tensor:
    """That of the logits, without label smoothing: for the record, not for training."""
    logits = outputs if isinstance(outputs, Tensor) else outputs[0]
    return F.cross_entropy(logits.detach(), y)
