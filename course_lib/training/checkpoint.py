"""A training run in one file, from which it resumes after any interruption."""

from __future__ import annotations

import copy
import hashlib
import os
import re
import shutil
import tempfile
import warnings
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_lib.training.errors import CheckpointError, TrainingError
from course_lib.training.history import Epoch, History, Score

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    from torch import nn

    from course_lib.training.protocols import Data
    from course_lib.training.settings import Settings

#: What a file says of how it is to be read; another one is refused.
FORMAT = 3

#: A disk with fewer free bytes than this is full.
FULL = 100_000


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
    for name in ("train", "validation", "test"):
        if not hasattr(getattr(data, name), "fingerprint"):
            raise CheckpointError(
                f"data.{name} has no method fingerprint(), by which a checkpoint knows"
                " its images again; `course_lib.Split` has one"
            )
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


@dataclass
class Checkpoint:
    """The file of a run, or none: what it had seen, and where it goes on."""

    #: Where the file is; None for a run that is not to be written down.
    path: Path | None = None
    #: What makes the run this one: `identity`.
    run: dict[str, Any] = field(default_factory=dict)
    #: What was in the file, if there was one.
    found: Mapping[str, Any] | None = None
    #: What is written down: net, optimizer, schedule, and scaler, which may be missing
    #: or empty in a file, as that of a run in another precision.
    state: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        path: str | PathLike[str] | None,
        net: nn.Module,
        data: Data,
        settings: Settings,
    ) -> Checkpoint:
        """The checkpoint in `path`, read if it is there.

        Raises: CheckpointError if it cannot be written there, is no checkpoint, or is
            one of another run; it says what differs, and the file stays as it is.
        """
        if path is None:
            return cls()
        place = _writable(path, net)
        run = identity(net, data, settings)
        return cls(place, run, _read(place, run) if place.exists() else None)

    def resume(self, **state: Any) -> History:
        """Load what the file had into `state`, and return what the run had seen: all
        from the beginning, if there was no file.

        Raises: CheckpointError for a damaged file; `state` stays as it is.
        """
        self.state = state
        if self.found is None:
            return History()
        before = {name: copy.deepcopy(p.state_dict()) for name, p in state.items()}
        try:
            for name, part in state.items():
                if name != "scaler" or self.found["state"].get(name):
                    part.load_state_dict(self.found["state"][name])
            epochs = [Epoch(a, Score(*b), *c) for a, b, *c in self.found["epochs"]]
            losses = [float(loss) for loss in self.found["losses"]]
        except Exception as error:  # each kind of damage has another
            for name, part in state.items():
                part.load_state_dict(before[name])
            raise _no_checkpoint(self.path, error) from error
        self.found = None  # and its memory is free
        return History(epochs, losses)

    def save(self, history: History) -> None:
        """Write what the run has seen. The file is the old one or the new one, never a
        part of one.

        Raises: TrainingError if it cannot be written; the old one is kept.
        """
        if self.path is None:
            return
        state = {name: part.state_dict() for name, part in self.state.items()}
        content = {
            "format": FORMAT,
            "course": _version(),
            "run": self.run,
            "state": state,
            "digest": _digest(state),
            "epochs": [(a, tuple(b), *rest) for a, b, *rest in history.epochs],
            "losses": history.losses,
        }
        temporary = _part(self.path)
        try:
            with temporary.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())  # on the disk before it gets its name
            temporary.replace(self.path)
        except (OSError, RuntimeError) as error:
            full = shutil.disk_usage(self.path.parent).free < FULL
            temporary.unlink(missing_ok=True)
            epoch = len(history.epochs)
            why = "the disk is full" if full else error
            raise TrainingError(
                f"epoch {epoch}: {self.path} cannot be written: {why}."
                + (f" It has epoch {epoch - 1} still." if self.path.exists() else "")
            ) from error


def _part(path: Path) -> Path:
    """The name of the file until it is whole."""
    return path.with_name(f"{path.name}.part")


def _writable(path: str | PathLike[str], net: nn.Module) -> Path:
    """`path`, if a checkpoint of `net` can be written there."""
    try:
        place = Path(path)
    except TypeError as error:
        raise CheckpointError(f"checkpoint must be a path, got {path!r}") from error
    if place.is_dir():
        raise CheckpointError(f"checkpoint {place} is a folder; name a file in it")
    if not place.parent.is_dir():
        raise CheckpointError(
            f"checkpoint {place}: there is no folder {place.parent}; make it first"
        )
    try:
        with tempfile.TemporaryFile(dir=place.parent):  # each process its own
            pass
        free = shutil.disk_usage(place.parent).free
        if _part(place).exists():  # a killed run's, which the next save overwrites
            free += _part(place).stat().st_size
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {place} cannot be written: {error}"
        ) from error
    # The weights and their momentum; an old file stays until the new one is whole.
    weights = [x for x in net.state_dict().values() if isinstance(x, Tensor)]
    needed = 2 * sum(x.numel() * x.element_size() for x in weights)
    if free < needed:
        raise CheckpointError(
            f"checkpoint {place} takes {needed / 1e6:.0f} MB, and its disk has"
            f" {free / 1e6:.0f} MB left"
        )
    return place


def _read(path: Path, run: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is in the file, if it is of this run."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = dict(content["run"])
        whole = content["format"] != FORMAT or (
            content["digest"] == _digest(content["state"])
        )
    except Exception as error:  # each kind of damage has another
        raise _no_checkpoint(path, error) from error
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has the format {content['format']!r}, and this version of the"
            f" course reads {FORMAT}. Move it away to start anew."
        )
    if not whole:
        raise _no_checkpoint(path, "its weights are not those that were written")
    if differing := list(_differences(found, run)):
        raise CheckpointError(
            f"{path} is of another run: {', '.join(differing)}. Move it away to start"
            " anew."
        )
    if content.get("course") != _version():
        warnings.warn(
            f"{path} was written by version {content.get('course')} of the course, and"
            f" this is {_version()}: the run goes on",
            stacklevel=4,
        )
    return content


def _no_checkpoint(path: Path | None, why: object) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a checkpoint that `fit` wrote, or is damaged: {why}. Move it"
        " away to start anew."
    )


def _digest(state: Any) -> str:
    """A digest of every value of nested state_dicts."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(raw.numpy().data)
        elif isinstance(value, dict):
            for key in value:
                digest.update(repr(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for each in value:
                add(each)
        else:
            digest.update(repr(value).encode())

    add(state)
    return digest.hexdigest()


def _version() -> str:
    try:
        return version("block-by-block")
    except PackageNotFoundError:  # run from a copy that is not installed
        return "unknown"


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
