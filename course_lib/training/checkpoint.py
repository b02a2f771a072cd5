"""A training run in one file, from which it resumes after any interruption."""

from __future__ import annotations

import os
import pickle
import re
from dataclasses import asdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch

from course_lib.training.history import Epoch, History, Score

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import nn

    from course_lib.training.protocols import Data
    from course_lib.training.settings import Settings

#: What reading a file may raise that `save` has not written.
BROKEN = (RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.PickleError)


def identity(net: nn.Module, data: Data, settings: Settings) -> dict[str, Any]:
    """What makes a run this run and no other: all fields of its settings; the modules
    of `net`, and the name, type and shape of each parameter and buffer; the classes of
    the data, and for each split its size and fingerprint.

    The initial weights of `net` are no part of it: a run that resumes has others.
    """
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    lines = [
        f"{name}: {str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
        + (", learned" if x.requires_grad else "")
        for name, x in tensors.items()
    ]
    # What has no name of its own is shown with its address, another one each time.
    modules = re.sub(r" at 0x[0-9a-f]+", "", repr(net))
    splits = {
        f"data.{name}": f"{len(split)} images, {split.fingerprint()}"
        for name in ("train", "validation", "test")
        for split in [getattr(data, name)]
    }
    return {
        **asdict(settings),
        "net": "\n".join([modules, *lines]),
        "data.classes": "\n".join(map(str, data.classes)),
        **splits,
    }


def save(
    path: Path | None,
    run: Mapping[str, Any],
    state: Mapping[str, Any],
    history: History,
) -> None:
    """Write the `identity` of a `run`, the `state_dict` of everything in `state`, and
    its history so far. `path` has the old checkpoint or the new one, never a part of
    one; without a path, nothing happens.
    """
    if path is None:
        return
    content = {
        "run": dict(run),
        "state": {name: part.state_dict() for name, part in state.items()},
        "epochs": [(a, tuple(score), seconds) for a, score, seconds in history.epochs],
        "losses": history.losses,
    }
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())  # on the disk before it gets its name
    temporary.replace(path)


def resume(
    path: Path | None, run: Mapping[str, Any], state: Mapping[str, Any]
) -> History:
    """Load what `save` wrote into `state`, and return the history of the run: an empty
    one if there is no file.

    Raises: ValueError if the file is not a checkpoint, or of another run; it says what
        differs, and the file stays as it is.
    """
    if path is None or not path.exists():
        return History()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = dict(content["run"])
    except BROKEN as error:
        raise ValueError(
            f"{path} is not a checkpoint that `fit` wrote: {error}. Move it away to"
            " start anew."
        ) from error
    if differing := list(_differences(found, run)):
        raise ValueError(
            f"{path} is of another run: {', '.join(differing)}. Move it away to start"
            " anew."
        )
    for name, part in state.items():
        part.load_state_dict(content["state"][name])
    epochs = [
        Epoch(a, Score(*score), seconds) for a, score, seconds in content["epochs"]
    ]
    return History(epochs, content["losses"])


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two runs; of what has many lines, the first that does."""
    for name in {**here, **there}:
        old, new = (run.get(name, "nothing") for run in (there, here))
        if old != new:
            if isinstance(old, str) and isinstance(new, str):
                pairs = zip_longest(
                    old.split("\n"), new.split("\n"), fillvalue="nothing"
                )
                old, new = next((a.strip(), b.strip()) for a, b in pairs if a != b)
            yield f"{name}={old!r} there and {new!r} here"
