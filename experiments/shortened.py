"""Rows of an experiment on a sample of the data: what `experiments.confirm` runs, in a
process of its own, in the tree of any commit.

    cd TREE && PYTHONPATH=TREE python -P .../shortened.py NAME < keys.json

Writes to the standard output, as JSON, the columns of each row; and, as columns too,
the loss of every step of training in full precision.
"""

import contextlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Measure the rows whose keys come from the standard input."""
    tree, (name,) = Path.cwd(), sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        module = importlib.import_module(f"experiments.{name}")
        library = Path(str(sys.modules["course_lib"].__file__))
        if not library.is_relative_to(tree):
            sys.exit(f"this is course_lib of {library.parent}, not of {tree}")
        rows = [measured(module, key) for key in json.load(sys.stdin)]
    json.dump(rows, sys.stdout)


def measured(module: Any, key: dict[str, str]) -> dict[str, str]:
    """The columns of one row, and the losses on the way."""
    losses: list[str] = []
    if "torch" not in sys.modules:
        return module.measure(key)
    tensor = sys.modules["torch"].Tensor
    backward = tensor.backward

    def noted(loss: Any, *args: Any, **kwargs: Any) -> None:
        losses.append(repr(loss.detach().mean().item()))
        backward(loss, *args, **kwargs)

    tensor.backward = noted
    try:
        columns = module.measure(key)
    finally:
        tensor.backward = backward
    return columns | {f"loss of step {i}": each for i, each in enumerate(losses, 1)}


if __name__ == "__main__":
    main()
