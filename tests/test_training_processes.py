"""What one process does; what several compute is in test_training_main.py."""

import torch
from torch import nn

from course_lib.training.processes import Processes, processes


def test_alone_there_is_nobody_to_talk_to():
    assert processes() == Processes(rank=0, world_size=1)
    assert processes().shard == (0, 1)
    net, x = nn.BatchNorm1d(3), torch.ones(2)
    assert processes().wrap(net) is net
    assert processes().all_reduce_sum(x) is x
    processes().sync_buffers(net)
    assert x.tolist() == [1, 1]


def test_rank_and_number_are_those_of_the_group(monkeypatch):
    group = torch.distributed
    monkeypatch.setattr(group, "is_initialized", lambda: True)
    monkeypatch.setattr(group, "get_rank", lambda: 2)
    monkeypatch.setattr(group, "get_world_size", lambda: 5)
    assert processes() == Processes(rank=2, world_size=5)
    assert processes().shard == (2, 5)
    monkeypatch.setattr(group, "is_available", lambda: False)
    assert processes() == Processes()


def test_weights_of_unequal_parts_make_the_mean_over_all():
    """Two processes share batches of 5, 5 and 4 images: 3 and 2, 3 and 2, 2 and 2."""
    losses = torch.rand(14, generator=torch.Generator().manual_seed(0))
    for step, batch in enumerate(losses.tensor_split(3)):
        parts = batch.tensor_split(2)
        weighted = [
            part.mean() * Processes(rank, 2).weight(len(part), 14, 3, step)
            for rank, part in enumerate(parts)
        ]
        torch.testing.assert_close(sum(weighted) / 2, batch.mean())
    assert Processes().weight(5, 14, 3, 0) == 1


def test_dropout_is_drawn_anew_each_epoch_and_differently_in_each_process():
    drawn = set()
    for rank in (0, 1):
        for seed in (0, 1):
            for epoch in (0, 1):
                Processes(rank, 2).seed(seed, epoch)
                drawn.add(torch.rand(()).item())
    assert len(drawn) == 8
