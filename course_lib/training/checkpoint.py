"""A training run in one file, from which it goes on after any interruption."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import torch

from course_lib.training.history import Epoch, History, Score

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def save(
    path: Path | None,
    settings: Mapping[str, Any],
    state: Mapping[str, Any],
    history: History,
) -> None:
    """Write the `settings` of a run, the `state_dict` of everything in `state`, and
    what it has seen so far. `path` holds the old checkpoint or the new one, never a
    part of one; without a path, nothing happens.
    """
    if path is None:
        return
    content = {
        "settings": dict(settings),
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
    path: Path | None, settings: Mapping[str, Any], state: Mapping[str, Any]
) -> History:
    """Load what `save` wrote into `state`, and return what the run had seen: nothing,
    if there is no file.

    Raises: ValueError if the file is not a checkpoint, or of a run with other settings.
    """
    if path is None or not path.exists():
        return History()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["settings"]
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.PickleError) as error:
        raise ValueError(
            f"{path} is not a checkpoint that `fit` wrote: {error}. Move it away to"
            " start anew."
        ) from error
    differing = [
        f"{name}={found.get(name)!r} there and {value!r} here"
        for name, value in settings.items()
        if found.get(name) != value
    ]
    if differing:
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
