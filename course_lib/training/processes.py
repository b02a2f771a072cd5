"""The processes that train one network together: what is each one's part, and what they
have to tell one another. Alone, a process has all of it and nobody to talk to.

Each takes its shard of every batch, and PyTorch's DistributedDataParallel means their
gradients. Chapter: Scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many that train one network."""

    #: From 0 on; the first one speaks, saves, and has the buffers that count.
    rank: int = 0

    #: How many there are.
    world_size: int = 1

    @property
    def shard(self) -> tuple[int, int]:
        """Which part of every batch is this process's: `course_lib.Split.batches`."""
        return self.rank, self.world_size

    def seed(self, seed: int, epoch: int) -> None:
        """Seed what is drawn on the way, such as dropout: each epoch anew, so that a
        run can go on from any of them, and each process differently.
        """
        torch.manual_seed((seed * 1_000_003 + epoch) * 1_009 + self.rank)

    def weight(self, mine: int, images: int, steps: int, step: int) -> float:
        """What makes the mean over processes of the mean losses over their shards the
        mean over all images of a batch: 1, unless the shards are unequal.

        `mine` are the images of this process's shard, in `step` of `steps` that go
        through `images` in batches as equal as can be.
        """
        batch = images // steps + (step < images % steps)
        return self.world_size * mine / batch

    def wrap(self, net: nn.Module) -> nn.Module:
        """`net`, wrapped so that its gradients are means over the processes."""
        if self.world_size == 1:
            return net
        from torch.nn.parallel import DistributedDataParallel

        # Buckets as views: one copy of the gradients instead of two.
        return DistributedDataParallel(net, gradient_as_bucket_view=True)

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        """`x` itself, summed over the processes."""
        if self.world_size > 1:
            torch.distributed.all_reduce(x)
        return x

    def sync_buffers(self, net: nn.Module) -> None:
        """Give every process the buffers of the first: batch norm's statistics are
        those of the images that a process has seen.
        """
        if self.world_size > 1:
            for buffer in net.buffers():
                torch.distributed.broadcast(buffer, src=0)


def processes() -> Processes:
    """This one among those of the process group, which ``torchrun`` starts and
    `course_lib.training.__main__` joins; where there is no group, it is alone.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Processes(
            torch.distributed.get_rank(), torch.distributed.get_world_size()
        )
    return Processes()
