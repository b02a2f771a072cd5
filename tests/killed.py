"""Train with a checkpoint, and die at a place: ``killed.py CHECKPOINT PLACE COUNT``.

Without a place, train to the end and print the losses.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from course_lib import AlexNet, Split, checkpoint, fashion_mnist, fit, runtime, training

PATH, PLACE, COUNT = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
seen = 0


def die(place):
    global seen
    seen += place == PLACE
    if place == PLACE and seen == COUNT:
        os.kill(os.getpid(), signal.SIGKILL)


def around(owner, name, before, after):
    original = getattr(owner, name)

    def wrapped(*args, **kwargs):
        die(before)
        result = original(*args, **kwargs)
        die(after)
        return result

    setattr(owner, name, wrapped)


def half(content, file):
    """Write in two halves, with a place to die between."""
    save(content, file)
    end = file.tell()
    file.truncate(end // 2)
    file.flush()
    die("half written")
    file.seek(0)
    save(content, file)


save, torch.save = torch.save, half
around(Split, "batches", "before batches", "after batches")
around(torch.optim.SGD, "step", "before a step", "after a step")
around(training, "evaluate", "before scoring", "after scoring")
around(checkpoint.os, "fsync", "before fsync", "after fsync")
around(Path, "replace", "before the rename", "after the rename")

torch.manual_seed(0)
history = fit(
    AlexNet("small"),
    fashion_mnist(sample=True),
    epochs=3,
    batch_size=100,
    augment=True,
    run_on=runtime("cpu", "float32"),
    checkpoint=PATH,
    progress=False,
)
print(history.losses, history.test)
