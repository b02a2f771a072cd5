import csv

import pytest

from course_lib.pages import results
from course_lib.pages.gpu import trained_on_gpu
from tools.gpu import COLUMNS


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Writes the rows that `tools.gpu` would record."""
    monkeypatch.setattr(results, "FOLDERS", (tmp_path / "absent", tmp_path))

    def write(*rows):
        with (tmp_path / "gpu.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({"result": "ok", "card": "a card"} | row for row in rows)

    return write


def run(name, accuracy, size=None, d2l="0.800"):
    return {
        "part": f"row:{name}",
        "test_accuracy": str(accuracy),
        "training_seconds": "20",
        "images_per_second": "27500",
        "peak_gib": "0.51",
        "d2l_accuracy": d2l,
        "settings": f'{{"size": {size or "null"}}}',
    }


def test_nothing_is_shown_before_something_is_recorded(record):
    assert trained_on_gpu() is None
    record({"part": "step:LeNet modern"})
    assert trained_on_gpu() is None


def test_a_network_has_a_row_with_means_over_its_seeds(record):
    record(
        run("LeNet modern seed 0", 0.91),
        run("LeNet modern seed 1", 0.92),
        run("ZFNet seed 0", 0.9, 224, ""),
        {"part": "notebook:lenet"},
    )
    assert [row[:7] for row in trained_on_gpu().rows] == [
        ("LeNet modern", "a card", "28", "2", "0.915", "0.800", "20"),
        ("ZFNet", "a card", "224", "1", "0.900", "-", "20"),
    ]
    assert {row[7:] for row in trained_on_gpu().rows} == {("27,500", "0.5")}
