"""What git knows: at which commit the code is, and the tree of another commit."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

#: What a row says if its code was not committed when it was measured, or git is absent.
UNKNOWN = "unknown"

#: What experiments are made of.
PYTHON = ("course_lib/*.py", "experiments/*.py")


class CommitError(Exception):
    """A commit is not here; the message says which, and what to do."""


def head(root: Path) -> str:
    """The commit that is checked out, or `UNKNOWN` if git cannot say."""
    try:
        return _git(root, "rev-parse", "--short", "HEAD").decode().strip()
    except CommitError:
        return UNKNOWN


def changed(root: Path) -> bool:
    """Whether the library or an experiment is not as the commit has it.

    Raises: CommitError if git cannot say.
    """
    return bool(_git(root, "status", "--porcelain", "--", *PYTHON))


@cache
def first_with(root: Path, text: str, path: Path) -> str:
    """The first commit in whose version of `path` there is `text`.

    Raises: CommitError if there is none.
    """
    asked = ("log", "--reverse", "--format=%h", f"-S{text}", "--", str(path))
    commits = _git(root, *asked).decode().split()
    if not commits:
        raise CommitError(f"no commit has brought {text} into {path.name}")
    return commits[0]


@contextmanager
def tree(root: Path, commit: str) -> Iterator[Path]:
    """A folder with the library and the experiments as they were at `commit`.

    Raises: CommitError if it is not here.
    """
    wanted = ("course_lib", "experiments")
    packed = _git(root, "archive", "--format=tar", commit, *wanted)
    with TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def _git(root: Path, *arguments: str) -> bytes:
    # A hook of git says where the repository is that it was called for.
    env = {name: os.environ[name] for name in os.environ if not name.startswith("GIT_")}
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=root, env=env, capture_output=True)
    except FileNotFoundError:
        raise CommitError("git is not installed") from None
    if done.returncode:
        said = done.stderr.decode().strip()
        raise CommitError(f"{said} (a shallow clone? git fetch --unshallow)")
    return done.stdout
