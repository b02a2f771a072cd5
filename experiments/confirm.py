"""Stale rows that are as good as ever: the code has other names, and does the same.

Every kind of row is measured on a sample of the data, with the code at the commit that
its stamp names and with the code as it is; both on this machine, with one thread and in
the precision of the row. If all columns but times come out equal, and the loss of every
step of training, the rows get the fingerprint of the present code, and keep their
values and their commit. So it is always the code that measured a row that is compared,
however often names have changed since.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments import commits, record
from experiments.reach import Code
from experiments.rows import Row

#: The experiment, the commit and what it ran on -> keys of rows, one for all seeds.
Kinds = dict[tuple[str, str, str], list[Row]]

SCRIPT = Path(__file__).with_name("shortened.py")


class NotConfirmed(Exception):  # noqa: N818
    """Old and new code do not do the same, or one of them cannot be run."""


def confirm(experiment: record.Experiment) -> str:
    """Stamp all stale rows of `experiment` anew if each kind of them comes out as at
    its commit; what was done, in a line.

    Raises: NotConfirmed if one does not, with each column that differs, or if a commit
        is not here.
    """
    code = Code(record.ROOT)
    stale = experiment.stale(code)
    if not stale:
        return f"{experiment.table}: nothing is stale"
    try:
        at = [record.measured_at(experiment, row) for row in stale]
        kinds = _kinds(experiment, zip(stale, at, strict=True))
        different = [
            line for kind, keys in kinds.items() for line in _different(*kind, keys)
        ]
    except commits.CommitError as error:
        raise NotConfirmed(f"{experiment.table}: {error}") from error
    if different:
        raise NotConfirmed("\n".join([f"{experiment.table} stays stale:", *different]))
    for row, commit in zip(stale, at, strict=True):
        row |= {"code": experiment.fingerprint(row, code), "commit": commit}
    experiment.file.add(*stale)
    count = sum(map(len, kinds.values()))
    return f"{experiment.table}: {len(stale)} rows confirmed by {count} kinds of them"


def _kinds(experiment: record.Experiment, rows: Iterable[tuple[Row, str]]) -> Kinds:
    """The kinds of `rows`, each with its commit: what differs in the seed is alike."""
    kinds: Kinds = {}
    for row, commit in rows:
        keys = kinds.setdefault((experiment.table, commit, row["runs_on"]), [])
        key = experiment.key(row)
        if key | {"seed": ""} not in [other | {"seed": ""} for other in keys]:
            keys.append(key)
    return kinds


def _different(name: str, commit: str, runs_on: str, keys: list[Row]) -> Iterator[str]:
    """A line for each column that differs between the code at a commit and ours."""
    with commits.tree(record.ROOT, commit) as old:
        before, now = _measured(name, keys, runs_on, old, record.ROOT)
    for key, ours, theirs in zip(keys, now, before, strict=True):
        columns = [each for each in ours | theirs if "seconds" not in each]
        unlike = [each for each in columns if ours.get(each) != theirs.get(each)]
        steps = [each for each in unlike if each.startswith("loss of step")]
        for column in unlike:
            if column not in steps[1:]:
                values = f"{theirs.get(column)} at {commit}, {ours.get(column)} now"
                yield f"  {', '.join(key.values())}: {column}: {values}"


def _measured(
    name: str, keys: list[Row], runs_on: str, *trees: Path
) -> Iterator[list[Row]]:
    """The shortened rows in each of `trees`, at the same time.

    Raises: NotConfirmed if they cannot be measured there.
    """
    device, _, precision = runs_on.rpartition(", ")
    env = os.environ | {
        "COURSE_DEVICE": device if device == "cpu" else "",
        "COURSE_PRECISION": precision,
        "FASHION_MNIST": "sample",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def measured(tree: Path) -> list[Row]:
        done = subprocess.run(
            [sys.executable, "-P", SCRIPT, name],
            cwd=tree,
            # Scripts were once run by their path, and imported each other as neighbors.
            env=env | {"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'experiments'}"},
            input=json.dumps(keys),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            why = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise NotConfirmed(f"{name} cannot be measured in {tree}: {why[0]}")
        return json.loads(done.stdout)

    with ThreadPoolExecutor(len(trees)) as pool:
        yield from pool.map(measured, trees)
