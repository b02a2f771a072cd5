"""What a kernel runs first to draw other random numbers where a notebook trains.

    PYTHONSTARTUP=proofs/seeds.py SEED=3 NOTEBOOK=/.../book/lenet.ipynb

The cells whose output is approximate draw as if `SEED` were added to every seed, and so
does `course_lib.fit` wherever it is called, in processes of their own too: those
of ``-m course_lib.training`` and of torchrun, whose program has to take ``--seed``. All
other cells draw what they always do: what they print is compared exactly.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import traceback
from typing import Any

from IPython import get_ipython

_OFFSET, _NOW = int(os.environ["SEED"]), {"offset": 0}


@functools.cache
def _measured() -> set[str]:
    """Change what is seeded, and return the sources of the cells with a band.

    Not before the first cell: a kernel must not take long to start.
    """
    import nbformat
    import torch

    import course_lib
    from course_lib import training
    from course_lib.training import loop

    fit, manual_seed, run = training.fit, torch.manual_seed, subprocess.run

    @functools.wraps(manual_seed)
    def manual_seed_with_offset(seed: int) -> Any:
        return manual_seed(seed + _NOW["offset"])

    @functools.wraps(fit)  # `show(fit)` shows the original
    def fit_with_offset(net: Any, data: Any, settings: Any, **kwargs: Any) -> Any:
        # Inside, it seeds dropout by itself: once is enough.
        before, _NOW["offset"] = _NOW["offset"], 0
        try:
            other = dataclasses.replace(settings, seed=settings.seed + _OFFSET)
            return fit(net, data, other, **kwargs)
        finally:
            _NOW["offset"] = before

    @functools.wraps(run)
    def run_with_offset(command: Any, *args: Any, **kwargs: Any) -> Any:
        trains = bool({"course_lib.training", "torch.distributed.run"} & {*command})
        seed = ["--seed", str(_OFFSET)] if trains and _NOW["offset"] else []
        return run([*command, *seed] if seed else command, *args, **kwargs)

    subprocess.run = run_with_offset
    torch.manual_seed = manual_seed_with_offset
    course_lib.fit = training.fit = loop.fit = fit_with_offset
    cells = nbformat.read(os.environ["NOTEBOOK"], as_version=4).cells
    return {cell.source for cell in cells if "band" in cell.metadata}


def _before(info: Any) -> None:
    try:
        _NOW["offset"] = _OFFSET if info.raw_cell in _measured() else 0
    except BaseException:  # IPython would go on, with the seeds as they always are
        traceback.print_exc()
        os._exit(1)


get_ipython().events.register("pre_run_cell", _before)
