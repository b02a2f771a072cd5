"""Train, die at a place, and go on: ``killed.py FOLDER PLACE COUNT ...``.

Prints what a run that nobody killed ends with, and for each place what is left of the
one that died there: the signal that ended it, the epochs in its checkpoint (none if
there is no file), and what it ends with when it has gone on. Torch is imported once;
each run is a process of its own, forked before torch has started a thread.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch._dynamo  # or every optimizer would, in every process anew

from course_lib import (
    AlexNet,
    FashionMNIST,
    Settings,
    Split,
    fashion_mnist,
    fit,
    runtime,
)
from course_lib.training import checkpoint, loop

torch.set_num_threads(1)


def first(split, number):
    return Split(split.images[:number], split.labels[:number])


sample = fashion_mnist(sample=True)
DATA = FashionMNIST(
    first(sample.train, 80), first(sample.validation, 40), first(sample.test, 40), ""
)


def deadly(place, count):
    """Die when `place` is passed for the `count`-th time."""
    seen = 0

    def die(at):
        nonlocal seen
        seen += at == place
        if at == place and seen == count:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner, name, before, after):
        original = getattr(owner, name)

        def wrapped(*args, **kwargs):
            die(before)
            result = original(*args, **kwargs)
            die(after)
            return result

        setattr(owner, name, wrapped)

    save = torch.save

    def half(content, file):
        """Write in two halves, with a place to die between."""
        save(content, file)
        end = file.tell()
        file.truncate(end // 2)
        file.flush()
        die("half written")
        file.seek(0)
        save(content, file)

    torch.save = half
    around(Split, "batches", "before batches", "after batches")
    around(torch.optim.SGD, "step", "before a step", "after a step")
    around(loop, "evaluate", "before scoring", "after scoring")
    around(checkpoint.os, "fsync", "before fsync", "after fsync")
    around(Path, "replace", "before the rename", "after the rename")


def train(path):
    """What the run ends with: losses, score, and a digest of all weights."""
    torch.manual_seed(0)
    net = AlexNet("small")
    history = fit(
        net,
        DATA,
        Settings(epochs=3, batch_size=20, augment=True),
        runtime=runtime("cpu", "float32"),
        checkpoint=path,
        progress=False,
    )
    digest = hashlib.sha256()
    for value in net.state_dict().values():
        digest.update(value.contiguous().numpy().tobytes())
    return [history.losses, *history.test, digest.hexdigest()]


def in_child(path, place=None, count=0):
    """The signal that ended the run, and what the run ended with."""
    receive, send = os.pipe()
    if not (child := os.fork()):
        code = 1
        try:
            deadly(place, count)
            os.write(send, json.dumps(train(path)).encode())
            code = 0
        finally:  # not on in the parent's program, whatever it was
            sys.stderr.flush()
            os._exit(code)
    os.close(send)
    with os.fdopen(receive) as pipe:
        end = pipe.read()
    status = os.waitpid(child, 0)[1]
    return -os.waitstatus_to_exitcode(status), json.loads(end or "null")


def main(folder, *places):
    found = {"": in_child(folder / "whole.pt")}
    for place, count in zip(places[::2], places[1::2], strict=True):
        path = folder / f"{place} {count}.pt"
        died, _ = in_child(path, place, int(count))
        epochs = None
        if path.exists():
            epochs = len(torch.load(path, weights_only=True)["epochs"])
        found[path.stem] = died, epochs, *in_child(path)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
