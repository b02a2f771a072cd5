"""A clean place to prove something in: an environment with nothing but what is named,
and a clone of the tree as it is now.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from proofs.common import ROOT

#: Where the environments and clones are made: gigabytes.
PLACE = Path(os.environ.get("PROOF_ENVIRONMENTS", ROOT / "_build/proofs"))

#: What would lead a program in a clean place back into the tree.
LEADS_BACK = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MPLBACKEND")

#: What an installed course_lib is made from.
LIBRARY = tuple(
    ROOT / path for path in ("course_lib", "book/results", "book/claims.yml")
)


def clone(folder: Path) -> str:
    """A repository in `folder` with the files as they are now; its address."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = run("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT)
    for name in listed.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    who = ("-c", "user.name=proof", "-c", "user.email=proof@localhost")
    run("git", "init", "--quiet", cwd=folder)
    run("git", "add", "--all", "--force", cwd=folder)
    run("git", *who, "commit", "--quiet", "--message", "as it is now", cwd=folder)
    return f"file://{folder}"


def environment(folder: Path, python: str, *packages: str) -> Path:
    """The Python of an environment with these `packages`, which are arguments of ``uv
    pip install``; made anew unless it is there already, with the same.
    """
    wanted, interpreter = "\n".join((python, *packages)), folder / "bin/python"
    stamp = folder / "packages.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        # uv asks pyenv's builds only if they are named.
        builds = Path.home().glob(f".pyenv/versions/{python}.*/bin/python")
        build = str(next(builds, python))
        run(*UV, "venv", "--quiet", "--clear", "--python", build, str(folder))
        install(interpreter, *packages)
        stamp.write_text(wanted, encoding="utf-8")
    return interpreter


UV = (sys.executable, "-m", "uv")


def install(interpreter: Path, *packages: str) -> None:
    """Install into the environment of `interpreter`."""
    run(*UV, "pip", "install", "--quiet", "--python", str(interpreter), *packages)


def outside() -> dict[str, str]:
    """The environment variables, without those that lead back into the tree."""
    kept = os.environ.items()
    return {name: value for name, value in kept if name not in LEADS_BACK}


def run(*command: str, cwd: Path | None = None) -> str:
    """What a command prints.

    Raises: RuntimeError, with the end of what it said, if it fails.
    """
    done = subprocess.run(
        command, cwd=cwd, env=outside(), capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise RuntimeError(f"{' '.join(command[:5])}: exit {done.returncode}\n{said}")
    return done.stdout


def versions(interpreter: Path, names: Sequence[str]) -> dict[str, str]:
    """The versions of Python and some packages, where `interpreter` is."""
    code = (
        "import platform, sys, importlib.metadata as m\n"
        "print(platform.python_version(), *map(m.version, sys.argv[1:]))"
    )
    found = run(str(interpreter), "-c", code, *names).split()
    return dict(zip(("python", *names), found, strict=True))
