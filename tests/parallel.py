"""What two processes compute, and one: ``parallel.py FOLDER``.

Into FOLDER goes the largest difference between the gradients of two processes together
and those of one with the whole batch, in float64, as each of the two finds it; then
what the command line makes of `COMMANDS`, with one process and with two. Torch is
imported once: the two are forked, and find each other by a file.
"""

import atexit
import copy
import json
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import torch
import torch._dynamo  # or every optimizer would, in every process anew
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel  # noqa: F401

from course_lib import LeNet, fashion_mnist, runtime
from course_lib.training.__main__ import main
from course_lib.training.processes import processes

torch.set_num_threads(1)
COMMANDS = {
    "LeNet": [
        *("LeNet", "modern", "--epochs", "2", "--batch-size", "99"),
        *("--precision", "float32", "--augment"),
    ],
    "ResNet": ["ResNet", "small", "--epochs", "1", "--batch-size", "100"],
}


def difference(folder):
    """One step of two processes against one."""
    torch.distributed.init_process_group("gloo")
    group, here = processes(), runtime("cpu", "float64")
    torch.manual_seed(0)
    net = here.prepare(LeNet("modern").double())
    alone = copy.deepcopy(net)
    data = fashion_mnist(sample=True).train
    for part, model, weight in (
        (group.shard, group.wrap(net), group.weight),
        ((0, 1), alone, lambda *_: 1),
    ):
        images = type(data)(data.images[:399], data.labels[:399])
        x, y = next(images.batches(133, seed=1, shard=part))
        (weight(len(y), 399, 3, 0) * F.cross_entropy(model(x.double()), y)).backward()
    found = max(
        (a.grad - b.grad).abs().max().item()
        for a, b in zip(net.parameters(), alone.parameters(), strict=True)
    )
    (folder / f"difference-{group.rank}.json").write_text(
        json.dumps([len(data), found])
    )
    torch.distributed.destroy_process_group()


def command(name, folder):
    """What the command line prints is beside its checkpoint, for each process."""
    end = folder / f"{name}-{os.environ.get('WORLD_SIZE', '1')}"
    printed = end.with_name(f"{end.name}-{os.environ.get('RANK', '0')}.txt")
    with printed.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        main([*COMMANDS[name], "--checkpoint", str(end.with_suffix(".pt"))])


def in_two_processes(function, *arguments):
    """Raises: RuntimeError unless `function` ends well in both."""
    join = torch.distributed.init_process_group
    store = Path(tempfile.mkdtemp()) / "store"
    children = []
    for rank in range(2):
        if not (child := os.fork()):
            torch.distributed.init_process_group = partial(
                join, init_method=f"file://{store}", rank=rank, world_size=2
            )
            os.environ |= {
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
            }
            function(*arguments)
            atexit._run_exitfuncs()  # coverage's; to take torch apart takes a second
            os._exit(0)
        children.append(child)
    ends = [os.waitpid(child, 0)[1] for child in children]
    if any(ends):
        raise RuntimeError(f"{function.__name__}{arguments} ended with {ends}")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    in_two_processes(difference, path)
    command("LeNet", path)
    in_two_processes(command, "LeNet", path)
    in_two_processes(command, "ResNet", path)
