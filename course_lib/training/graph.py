"""A step of training as a CUDA graph: recorded once, then replayed without Python, on
the same memory: images, labels, learning rate and momentum are copied there.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from course_lib.training.step import Step


@dataclass(frozen=True)
class Captured(Step):
    """From a shape's fourth batch on a graph, or a warning that there is none."""

    #: Shape -> how many batches of it there were.
    seen: dict[torch.Size, int] = field(default_factory=dict)
    #: Shape -> the step for it, once it is recorded.
    graphs: dict[torch.Size, Any] = field(default_factory=dict)
    #: The memory that all graphs use in turn.
    pool: Any = field(default_factory=lambda: torch.cuda.graph_pool_handle())

    def __call__(self, x: Tensor, y: Tensor, weight: float) -> Tensor:
        """As a plain step."""
        self.seen[x.shape] = self.seen.get(x.shape, 0) + 1
        if self.seen[x.shape] == 4:
            try:
                self.graphs[x.shape] = self._record(x, y, weight)
            except RuntimeError as error:  # nothing of it has been carried out
                warnings.warn(f"there is no CUDA graph: {error}", stacklevel=2)
        if x.shape in self.graphs:
            return self.graphs[x.shape](x, y, weight)
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)  # what is to be recorded has to run there before
        with torch.cuda.stream(aside):
            losses = super().__call__(x, y, weight)
        here.wait_stream(aside)
        return losses

    def _record(self, x: Tensor, y: Tensor, weight: float) -> Any:
        graph, x, y = torch.cuda.CUDAGraph(), x.clone(), y.clone()
        lr, momentum = torch.zeros(2, device=x.device)
        with torch.cuda.graph(graph, pool=self.pool):
            losses = self.gradients(x, y, weight)
            self._update(lr, momentum)

        def replay(new_x: Tensor, new_y: Tensor, _: float) -> Tensor:
            lr.fill_(self.optimizer.param_groups[0]["lr"])
            momentum.fill_(self.optimizer.param_groups[0]["momentum"])
            torch._foreach_copy_([x, y], [new_x, new_y])
            graph.replay()
            return losses.clone()

        return replay

    @torch.no_grad()
    def _update(self, lr: Tensor, momentum: Tensor) -> None:
        """As optimizer and scaler do it; nothing if a gradient is infinite."""
        group = self.optimizer.param_groups[0]
        params = [each for each in group["params"] if each.grad is not None]
        grads, skip = tuple(each.grad for each in params), 0 * lr
        if (scaler := self.scaler).is_enabled():
            scale, growth = scaler._check_scale_growth_tracker("update")
            torch._amp_foreach_non_finite_check_and_unscale_(grads, skip, 1 / scale)
            grads = tuple(grad.masked_fill(skip > 0, 0) for grad in grads)
            factors = scaler.get_growth_factor(), scaler.get_backoff_factor()
            interval = scaler.get_growth_interval()
            torch._amp_update_scale_(scale, growth, skip, *factors, interval)
        grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
        if group["momentum"]:
            kept = [self.optimizer.state[each]["momentum_buffer"] for each in params]
            torch._foreach_mul_(kept, momentum * (1 - skip) + skip)
            torch._foreach_add_(kept, torch._foreach_mul(grads, 1 - skip))
            torch._foreach_add_(grads, torch._foreach_mul(kept, momentum))
        torch._foreach_sub_(params, torch._foreach_mul(grads, lr * (1 - skip)))
