"""What was measured on a GPU, for the page on speed: `tools.gpu` records it."""

from __future__ import annotations

import json
import statistics

from course_lib.pages import results
from course_lib.pages.tables import Table

COLUMNS = (
    *("network", "GPU", "pixels", "seeds", "accuracy", "d2l's", "seconds"),
    *("images/s", "GiB"),
)
#: Those of the record that have a mean over the seeds.
MEANS = ("test_accuracy", "training_seconds", "images_per_second", "peak_gib")


def trained_on_gpu() -> Table | None:
    """The networks that were trained on a GPU: their test accuracy, beside the one that
    d2l publishes for the family, and what the training took, each the mean over seeds.
    None as long as no such row is recorded.
    """
    if not any((folder / "gpu.csv").exists() for folder in results.FOLDERS):
        return None
    runs: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in results.recorded("gpu", result="ok"):
        kind, _, name = row["part"].partition(":")
        if kind == "row":
            runs.setdefault((name.partition(" seed ")[0], row["card"]), []).append(row)
    rows = [(*key, *_measured(seeds)) for key, seeds in runs.items()]
    return Table(COLUMNS, rows) if rows else None


def _measured(seeds: list[dict[str, str]]) -> tuple[str, ...]:
    """The columns from the third on, of one network on one GPU."""
    accuracy, seconds, speed, memory = (
        statistics.mean(float(row[column]) for row in seeds) for column in MEANS
    )
    size = json.loads(seeds[0]["settings"])["size"] or 28
    found = f"{accuracy:.3f}", seeds[0]["d2l_accuracy"] or "-", f"{seconds:.0f}"
    return str(size), str(len(seeds)), *found, f"{speed:,.0f}", f"{memory:.1f}"
