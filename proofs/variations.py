"""Specificity: what is right passes, whatever the seed, the machine and the versions.

    python -m proofs.variations             all chapters in all variations, and the most
                                            sensitive ones with more seeds
    python -m proofs.variations NAME ...    these chapters, or these variations

A run is nbval over one notebook, in a copy of the tree; a row each, which says of what
kind the processor was. A run that says nothing of threads has as many as its
environment gives it.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

from experiments.rows import where
from proofs import clean
from proofs.calibrate import SURPRISES
from proofs.common import (
    GATE,
    NBVAL,
    ROOT,
    Table,
    copy_tree,
    fingerprint,
    pytest,
    together,
)
from tools.notebooks import texts

TABLE = Table("variations", ("notebook", "variation"))

_MAKING = threading.Lock()

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


class Variation(NamedTuple):
    """What differs from a plain run: the environment variables, the seed, the version
    of Python, and the packages that replace those of requirements.lock.
    """

    env: dict[str, str] = {}  # noqa: RUF012 - it is never changed
    seed: int = 0
    python: str = ""
    packages: tuple[str, ...] = ()


def _threads(count: int) -> dict[str, str]:
    return {name: str(count) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


#: On Python 3.11, but for the one that says otherwise.
VARIATIONS = {
    "one thread": Variation(_threads(1)),
    "two threads": Variation(_threads(2)),
    "float32": Variation({"COURSE_PRECISION": "float32"}),
    "bfloat16": Variation({"COURSE_PRECISION": "bfloat16"}),
    "AVX2": Variation(AVX2),
    "seed 11": Variation(seed=11),
    "seed 12, float32": Variation({"COURSE_PRECISION": "float32"}, 12),
    # From book/: a GPU of which only the places of tensors are real.
    "a card, pretended": Variation({"PYTHONSTARTUP": "../proofs/pretend.py"}),
    "Python 3.13": Variation(python="3.13"),
    "oldest torch": Variation(
        python="3.11", packages=("torch==2.11.0", "torchvision==0.26.0")
    ),
}

#: More seeds for the notebooks whose numbers depend most on them, where they are not
#: among those of the calibration.
SENSITIVE = ("lenet", "normalization", "resnet")
MORE = {f"seed {seed}": Variation(seed=seed) for seed in range(13, 25)}


def main() -> int:
    """Run what was not run, and print the table."""
    rows = []
    for row in together(lambda run: attempt(*run), chosen(sys.argv[1:])):
        rows.append(row)
        run = f"{row['notebook']}, {row['variation']}"
        print(f"{row['result']:6} {row['seconds']:>4} s  {run}", flush=True)
        if row["noticed"]:
            print(f"       {row['noticed']}", flush=True)
    alarms = sum(row["result"] != "passes" for row in rows)
    print(f"{len(rows)} runs, {alarms} false alarms")
    return int(alarms > 0)


def chosen(names: list[str]) -> list[tuple[Path, str]]:
    """The chapters and variations with these `names`, or all; no seed that the bands of
    a chapter are from.
    """
    known, variations = {text.stem: text for text in texts()}, VARIATIONS | MORE
    if unknown := set(names) - {*known, *variations}:
        sys.exit(f"no such chapters or variations: {', '.join(sorted(unknown))}")
    return [
        (text, name)
        for name in [name for name in variations if name in names] or variations
        for text in [known[name] for name in known if name in names] or texts()
        if name in VARIATIONS or text.stem in SENSITIVE
        if variations[name].seed not in SURPRISES.get(text.stem, ())
    ]


def attempt(text: Path, name: str) -> dict[str, str]:
    """The row of a notebook in a variation, measured unless it is known."""
    variation = (VARIATIONS | MORE)[name]
    notebook = text.with_suffix(".ipynb")
    files = [*GATE, notebook]
    if "PYTHONSTARTUP" in variation.env:
        files.append(ROOT / "proofs/pretend.py")
    key = {"notebook": text.stem, "variation": name}
    key["code"] = fingerprint(*files, str(variation))
    if row := TABLE.find(key):
        return row
    python = environment(variation) if variation.python else sys.executable
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        path = notebook.relative_to(ROOT)
        env = dict(variation.env)
        if variation.seed:
            env |= {
                "PYTHONSTARTUP": str(tree / "proofs/seeds.py"),
                "SEED": str(variation.seed),
                "NOTEBOOK": str(tree / path),
            }
        outcome = pytest(tree, *NBVAL, str(path), env=env, python=python)
    row = key | outcome.columns() | {"processor": where()["processor"]}
    TABLE.add(row)
    return row


def environment(variation: Variation) -> str:
    """The Python of an environment with other versions, made if it is not there."""
    name = "-".join((variation.python, *variation.packages)).replace("==", "-")
    # The lock is for the newest versions; what replaces them brings its own.
    lock = ("--constraint", str(ROOT / "requirements.lock"))
    wanted = ("--requirement", str(ROOT / "requirements.txt"))
    packages = (*wanted, *(variation.packages or lock))
    with _MAKING:  # other runs may need it too
        return str(clean.environment(clean.PLACE / name, variation.python, *packages))


if __name__ == "__main__":
    sys.exit(main())
