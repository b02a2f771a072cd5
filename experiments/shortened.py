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
from dataclasses import replace
from functools import partial
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
    for name, each in [*sys.modules.items()]:
        if name.startswith("experiments.") and hasattr(each, "fashion_mnist"):
            each.fashion_mnist = partial(of_whole_batches, each.fashion_mnist)
    try:
        columns = module.measure(key)
    finally:
        tensor.backward = backward
    return columns | {f"loss of step {i}": each for i, each in enumerate(losses, 1)}


def of_whole_batches(load: Any, *args: Any, **kwargs: Any) -> Any:
    """The sample, with as many images for training and testing as whole mini-batches of
    128 have: an experiment may rely on that.
    """
    data = load(*args, **kwargs)

    def whole(split: Any) -> Any:
        count = len(split) // 128 * 128
        return type(split)(split.images[:count], split.labels[:count])

    return replace(data, train=whole(data.train), test=whole(data.test))


if __name__ == "__main__":
    main()
