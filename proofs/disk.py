"""A disk with hardly any room: what is left of a run, and how it goes on.

    python -m proofs.disk

On a tmpfs of its own, a run fills the disk in its second epoch, and another is killed
while it writes. Both must have kept the epoch before, and end as a run that nothing
happened to, once they can go on. Mounting takes the namespaces of Linux.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from course_lib import TrainingError

ROOT = Path(__file__).parents[1]
APART = ("unshare", "--mount", "--map-root-user")


def inside() -> int:
    """Try both, where nobody else sees what is mounted."""
    killed = runpy.run_path(str(ROOT / "tests/killed.py"))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        wanted = killed["train"](path)
        size = path.stat().st_size
        results = []

        mount(folder, int(1.9 * size))
        full = "it was not full"
        try:
            killed["train"](path)
        except TrainingError as error:
            full = str(error).replace(folder, "")
        kept = epochs(path)
        mount(folder, 3 * size, "remount")
        print(f"full: {full}")
        results += [kept == 1, killed["train"](path) == wanted]
        print(
            f"full: {kept} epoch kept; the same end when there is room: {results[-1]}"
        )
        unmount(folder)

        mount(folder, int(2.4 * size))
        signal, _ = killed["in_child"](path, "half written", 2)
        kept = epochs(path)
        results += [signal == 9, kept == 1, killed["train"](path) == wanted]
        print(f"killed: {kept} epoch kept; the same end at once: {results[-1]}")
        unmount(folder)
    return int(not all(results))


def epochs(path: Path) -> int:
    """How many epochs a checkpoint has."""
    return len(torch.load(path, weights_only=True)["epochs"])


def mount(folder: str, size: int, *options: str) -> None:
    """A disk of that many bytes."""
    chosen = ",".join((*options, f"size={size}"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", chosen, "tmpfs", folder], check=True)


def unmount(folder: str) -> None:
    """Take it away, with all that is on it."""
    subprocess.run(["umount", folder], check=True)


def main() -> int:
    """Run it in a namespace of its own, if there can be one."""
    if sys.argv[1:] == ["inside"]:
        return inside()
    try:
        subprocess.run([*APART, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no namespace can be made here: {error}")
        return 2
    command = [*APART, sys.executable, "-m", "proofs.disk", "inside"]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
