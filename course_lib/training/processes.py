"""The processes that train one network together: which shard of the data each one has,
and what they communicate. A single process has all of it and communicates nothing.

Each takes its shard of every batch, and PyTorch's DistributedDataParallel averages
their gradients. Chapter: Scaling.
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

    #: From 0 on; process 0 prints, saves, and has the buffers that are evaluated.
    rank: int = 0

    #: How many there are.
    world_size: int = 1

    @property
    def shard(self) -> tuple[int, int]:
        """Which part of every batch this process has: `course_lib.Split.batches`."""
        return self.rank, self.world_size

    def seed(self, seed: int, epoch: int) -> None:
        """Seed the random numbers of training, such as dropout's: each epoch anew, so
        that a run can resume from any of them, and each process differently.
        """
        torch.manual_seed((seed * 1_000_003 + epoch) * 1_009 + self.rank)

    def weight(self, mine: int, images: int, steps: int, step: int) -> float:
        """The factor for the mean loss of this process's shard with which the mean over
        the processes is the mean over the whole batch: 1, unless shards are unequal.

        `mine` is the number of images in the shard, in `step` of the `steps` of an
        epoch over `images`, in batches as equal as possible.
        """
        batch = images // steps + (step < images % steps)
        return self.world_size * mine / batch

    def wrap(self, net: nn.Module) -> nn.Module:
        """`net`, wrapped so that its gradients are averaged over the processes."""
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
        """Give every process the buffers of the first: each has computed batch norm's
        running statistics from its own images.
        """
        if self.world_size > 1:
            for buffer in net.buffers():
                torch.distributed.broadcast(buffer, src=0)


def processes() -> Processes:
    """This process in the process group, which ``torchrun`` starts and
    `course_lib.training.__main__` joins; without a group, it is the only one.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Processes(
            torch.distributed.get_rank(), torch.distributed.get_world_size()
        )
    return Processes()
