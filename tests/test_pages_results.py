from pathlib import Path

import pytest

from course_lib import recorded
from course_lib.pages import results

BOOK = Path(__file__).parents[1] / "book"


def test_rows_come_as_they_were_written(tmp_path, monkeypatch):
    (tmp_path / "depth.csv").write_text("net,seed,loss\na,0,1.5\na,1,1.7\nb,0,2\n")
    monkeypatch.setattr(results, "FOLDERS", (tmp_path / "absent", tmp_path))
    assert recorded("depth", net="a") == [
        {"net": "a", "seed": "0", "loss": "1.5"},
        {"net": "a", "seed": "1", "loss": "1.7"},
    ]
    assert len(recorded("depth")) == 3


def test_the_course_has_its_own():
    rows = recorded("accuracy", net="LeNet modern", processor="AVX512")
    assert all(0.8 < float(row["test_accuracy"]) < 1 for row in rows)


def test_errors():
    with pytest.raises(ValueError, match=r"table must be one of 'accu.*; got 'speed'"):
        recorded("speed")
    with pytest.raises(ValueError, match=r"net must be one of 'AlexNet.*; got 'MLP'"):
        recorded("accuracy", net="MLP")
    with pytest.raises(ValueError, match=r"column must be one of .*; got 'network'"):
        recorded("accuracy", network="MLP")


def test_values_that_never_come_together(tmp_path, monkeypatch):
    (tmp_path / "depth.csv").write_text("net,seed,loss\na,0,1.5\nb,1,2\n")
    monkeypatch.setattr(results, "FOLDERS", (tmp_path,))
    with pytest.raises(ValueError, match=r"'depth' has no row with \{'net': 'a', 'se"):
        recorded("depth", net="a", seed="1")


TEXTS = [path for path in BOOK.glob("*.md") if "All of it runs in" in path.read_text()]
SECONDS = {row["notebook"]: float(row["cpu_seconds"]) for row in recorded("notebooks")}


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_chapter_takes_less_than_a_minute_as_it_says(text):
    """Of one core, as recorded."""
    content = " ".join(text.read_text(encoding="utf-8").split())
    assert "All of it runs in less than a minute on two cores" in content
    seconds = SECONDS.get(f"book/{text.stem}.ipynb")
    assert seconds, f"{text.stem} was not timed; run, on an idle machine: make times"
    assert seconds < 60, f"{text.stem} takes {seconds} s: shorten its quick run"


def test_every_notebook_was_timed():
    found = [*BOOK.glob("*.ipynb"), *(BOOK / "solutions").glob("*.ipynb")]
    names = {path.relative_to(BOOK.parent).as_posix() for path in found}
    assert {*SECONDS} == names, "run, on an idle machine: make times"
