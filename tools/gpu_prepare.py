"""What a machine with a GPU needs beside the tree, if it reaches no network.

`python -m tools.gpu --prepare` makes ``.card/``: wheels of what such a machine lacks,
which has PyTorch, pytest and matplotlib; the data; the commit; a script that begins.
"""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

from course_lib.data import find_files
from tools.gpu import commit
from tools.gpu_parts import ROOT

CARD = ROOT / ".card"

#: The Python over there, and the most that may travel.
PYTHON, LIMIT = "3.12", 60 * 2**20

#: What nbval, a kernel, the notebooks and d2l need and a machine for PyTorch does not
#: have.
PACKAGES = [
    "asttokens",
    "cloudpickle",
    "comm",
    "d2l",
    "executing",
    "fastjsonschema",
    "ipykernel",
    "ipython",
    "ipython-pygments-lexers",
    "jedi",
    "jsonschema",
    "jsonschema-specifications",
    "jupyter-client",
    "jupyter-core",
    "matplotlib-inline",
    "mini-racer",
    "nbclient",
    "nbformat",
    "nbval",
    "nest-asyncio2",
    "pandas",
    "parso",
    "pexpect",
    "platformdirs",
    "pooch",
    "prompt-toolkit",
    "ptyprocess",
    "pure-eval",
    "pyzmq",
    "referencing",
    "rpds-py",
    "stack-data",
    "torchinfo",
    "tornado",
    "traitlets",
    "wcwidth",
]

#: The wheels that such a machine can install; pip matches each of these as it stands.
PLATFORMS = (
    *(f"manylinux_2_{n}_x86_64" for n in (5, 12, 17, 24, 26, 27, 28, 31, 34)),
    *("manylinux2014_x86_64", "manylinux1_x86_64"),
)

BEGIN = """\
#!/usr/bin/env bash
# On the machine with the GPU, from the root of the tree: bash .card/run [PART ...]
# The rows go to $OUT; after $LIMIT seconds it ends.
set -eu
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \\
  --target "${SITE:-/tmp/site}" .card/wheels/*.whl
export PYTHONPATH="$PWD:${SITE:-/tmp/site}" PYTHONUNBUFFERED=1
export FASHION_MNIST="$PWD/.card/data"
exec python3 -m tools.gpu --out "${OUT:-_build/gpu}" --limit "${LIMIT:-540}" "$@"
"""


def prepare() -> int:
    """Make the folder; what is there already is not fetched again."""
    wheels, data = CARD / "wheels", CARD / "data"
    wheels.mkdir(parents=True, exist_ok=True)
    data.mkdir(exist_ok=True)
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    wanted = pins(lock)
    fetch(wanted, wheels)
    for name, content in find_files()[0].items():
        if not (data / f"{name}.gz").exists():
            (data / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
    (CARD / "commit").write_text(f"{commit()}\n", encoding="utf-8")
    (CARD / "run").write_text(BEGIN, encoding="utf-8")
    size = sum(path.stat().st_size for path in CARD.rglob("*") if path.is_file())
    print(f"{CARD}: {len(wanted)} wheels and the data, {size / 2**20:.1f} MiB")
    if size > LIMIT:
        print(f"that is more than {LIMIT / 2**20:.0f} MiB", file=sys.stderr)
    return int(size > LIMIT)


def pins(lock: str) -> dict[str, str]:
    """Package -> the version of requirements.lock.

    Raises: ValueError if one is not in it.
    """
    found = dict(re.findall(r"^([\w.-]+)==([^ ;]+)", lock, re.MULTILINE))
    if missing := [name for name in PACKAGES if name not in found]:
        raise ValueError(f"requirements.lock has no {', '.join(missing)}")
    return {name: found[name] for name in PACKAGES}


def fetch(wanted: dict[str, str], folder: Path) -> None:
    """Put the wheel of each package into `folder`, and take others out."""
    present = {path: _named(path) for path in folder.glob("*.whl")}
    for path, pin in present.items():
        if pin not in wanted.items():
            path.unlink()  # two versions of a package stop pip
    missing = [
        f"{name}=={v}"
        for name, v in wanted.items()
        if (name, v) not in present.values()
    ]
    if missing:
        platforms = [word for name in PLATFORMS for word in ("--platform", name)]
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--disable-pip-version-check", "--only-binary=:all:"),
                *("--implementation", "cp", "--python-version", PYTHON, *platforms),
                *("--dest", str(folder), *missing),
            ],
            check=True,
        )


def _named(wheel: Path) -> tuple[str, str]:
    name, version, *_ = wheel.name.split("-")
    return re.sub(r"[_.]+", "-", name).lower(), version
