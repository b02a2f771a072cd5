"""Damaged files: images, checkpoints, notebooks and the files of Fashion-MNIST, each
with a few bytes changed, cut out or put in.

    python -m proofs.fuzz               the kinds that were not tried with this code
    python -m proofs.fuzz images ...    these

What reads such a file gives a result, or an error of ours that names the file: no other
error, no end of the process, no more than `LIMIT` seconds, no file written, and nothing
executed that the file says. A row for each kind.
"""

from __future__ import annotations

import gzip
import io
import pickle
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from course_lib import DataError, Settings, Split
from course_lib.data import FashionMNIST
from course_lib.data import files as data_files
from course_lib.data.images import read_image
from course_lib.training.checkpoint import Checkpoint, identity
from course_lib.training.errors import CheckpointError
from course_lib.training.history import Epoch, History, Score
from proofs.common import ROOT, Table, fingerprint
from tools import notebooks

TABLE = Table("fuzz", ("kind",))

#: What the reading rests on.
CODE = (
    "course_lib/data",
    "course_lib/training",
    "tools/notebooks.py",
    "proofs/fuzz.py",
)

LIMIT = 20.0  # seconds for one file, of which most take milliseconds


class Kind(NamedTuple):
    """What is damaged: so many files, made of these, read like this."""

    #: How many damaged files are tried.
    number: int
    #: Good files of this kind, by name.
    good: Callable[[Path], dict[str, bytes]]
    #: What reads one.
    read: Callable[[Path], object]
    #: The errors that name the file.
    errors: tuple[type[Exception], ...]


def damaged(content: bytes, lots: random.Random) -> bytes:
    """`content` with one to five accidents."""
    made = bytearray(content)
    for _ in range(lots.randint(1, 5)):
        at = lots.randrange(len(made) + 1)
        length = lots.choice((1, 1, 1, 4, 32, 500))
        match lots.randrange(5):
            case 0:  # other bytes
                made[at : at + length] = lots.randbytes(min(length, len(made) - at))
            case 1:  # a flipped bit
                if at < len(made):
                    made[at] ^= 1 << lots.randrange(8)
            case 2:  # cut out
                del made[at : at + length]
            case 3:  # put in
                made[at:at] = lots.randbytes(length)
            case 4:  # the end is missing
                del made[lots.randrange(len(made) + 1) :]
    return bytes(made)


def images(_folder: Path) -> dict[str, bytes]:
    """One of each format, with colors that are noise."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 30, 3), dtype=np.uint8)
    deep = noise[..., 0].astype(np.uint16) * 257
    made = {}
    for name, array in {
        **dict.fromkeys(("a.png", "a.jpg", "a.gif", "a.bmp", "a.ppm", "a.webp"), noise),
        "a.tif": noise,
        "deep.png": deep,
        "float.tif": noise[..., 0] / np.float32(255),
    }.items():
        content = io.BytesIO()
        suffix = name.split(".")[1]
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
        Image.fromarray(array).save(content, kind)
        made[name] = content.getvalue()
    return made


def _run() -> tuple[nn.Module, dict[str, Any]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    split = Split(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.arange(4))
    data = FashionMNIST(split, split, split, "")
    return net, identity(net, data, Settings(epochs=3))


def checkpoints(folder: Path) -> dict[str, bytes]:
    """One of a small network after an epoch."""
    net, run = _run()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    path = folder / "good.pt"
    history = History([Epoch(1.5, Score(1.25, 0.5), 2.0, 1.7)], [1.0, 2.0])
    Checkpoint(path, run, state={"net": net, "optimizer": optimizer}).save(history)
    content = path.read_bytes()
    path.unlink()
    return {"run.pt": content, "evil.pt": pickle.dumps(Evil())}


def read_checkpoint(path: Path) -> object:
    """As `fit` does; a network that is refused keeps its weights."""
    from course_lib.training.checkpoint import _read

    net, run = _run()
    before = [each.clone() for each in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    try:
        found = _read(path, run)
        return Checkpoint(path, run, found).resume(net=net, optimizer=optimizer)
    except CheckpointError:
        assert all(map(torch.equal, before, net.parameters())), "weights were changed"
        raise


class Evil:
    """What would be executed by a careless reader."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import proofs.fuzz; proofs.fuzz.EXECUTED.append(1)",)


#: Grows if a file gets something executed.
EXECUTED: list[int] = []


def books(_folder: Path) -> dict[str, bytes]:
    """A chapter's notebook."""
    return {"cheatsheet.ipynb": (ROOT / "book/cheatsheet.ipynb").read_bytes()}


def data_of(_folder: Path) -> dict[str, bytes]:
    """The smallest of the four files."""
    name = min(data_files.FILES, key=lambda each: "t10k-labels" not in each)
    return {f"{name}.gz": gzip.compress(data_files.find_files()[0][name])}


def read_data(path: Path) -> object:
    """As `fashion_mnist` reads a folder that a reader names."""
    return data_files._read(path.parent, path.name.removesuffix(".gz"))


KINDS = {
    "images": Kind(5_000, images, read_image, (DataError,)),
    "checkpoints": Kind(500, checkpoints, read_checkpoint, (CheckpointError,)),
    "notebooks": Kind(50, books, notebooks.read, (ValueError,)),
    "data": Kind(500, data_of, read_data, (DataError,)),
}


def wrong(kind: Kind, path: Path) -> str:
    """What is wrong with how a file is read, or "read" or "refused"."""
    before = {each: each.read_bytes() for each in path.parent.iterdir()}
    start = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.read(path)
        said = "read"
    except kind.errors as error:
        said = "refused" if path.name in str(error) else f"no name: {error}"
    except TimeoutError:
        said = f"over {LIMIT:g} s"
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if {each: each.read_bytes() for each in path.parent.iterdir()} != before:
        said = "a file was written"
    if EXECUTED:
        said = "the file was executed"
    assert time.perf_counter() - start < 2 * LIMIT
    return said


def outcomes(kind: Kind) -> Iterator[str]:
    """What came of each damaged file."""
    lots = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        good = kind.good(folder)
        for name, content in good.items():
            (folder / name).write_bytes(content)
            yield wrong(kind, folder / name)
            (folder / name).unlink()
        for _ in range(kind.number):
            name = lots.choice(list(good))
            (folder / name).write_bytes(damaged(good[name], lots))
            yield wrong(kind, folder / name)
            (folder / name).unlink()


def attempt(name: str) -> dict[str, str]:
    """The row of a kind, measured unless it is known."""
    code = fingerprint(*(ROOT / each for each in CODE))
    if row := TABLE.find({"kind": name, "code": code}):
        return row
    start = time.perf_counter()
    counts = Counter(outcomes(KINDS[name]))
    others = {said: n for said, n in counts.items() if said not in ("read", "refused")}
    row = {
        "kind": name,
        "code": code,
        "files": str(counts.total()),
        "read": str(counts["read"]),
        "refused": str(counts["refused"]),
        "wrong": "; ".join(f"{n} {said}"[:200] for said, n in others.items()),
        "seconds": f"{time.perf_counter() - start:.0f}",
    }
    TABLE.add(row)
    return row


def _alarm(*_: object) -> None:
    raise TimeoutError


def main() -> int:
    """Try what was not tried, and print the table."""
    if unknown := set(sys.argv[1:]) - KINDS.keys():
        sys.exit(f"no kind {', '.join(unknown)}; there are {', '.join(KINDS)}")
    signal.signal(signal.SIGALRM, _alarm)
    failed = False
    for name in sys.argv[1:] or KINDS:
        row = attempt(name)
        failed |= bool(row["wrong"])
        print(
            f"{name:12} {row['files']:>5} files: {row['read']} read, {row['refused']}"
            f" refused {row['wrong']} ({row['seconds']} s)",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
