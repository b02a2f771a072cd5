from pathlib import Path

import pytest

from course_lib import recorded, results

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
    with pytest.raises(ValueError, match="no recorded table 'speed'; there are acc"):
        recorded("speed")
    with pytest.raises(ValueError, match=r"no row with \{.net"):
        recorded("accuracy", net="MLP")


CHAPTERS = sorted({row["chapter"] for row in recorded("chapters")})


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_takes_less_than_a_minute_as_it_says(chapter):
    """On two cores, as recorded."""
    text = " ".join((BOOK / f"{chapter}.md").read_text(encoding="utf-8").split())
    assert "All of it runs in less than a minute on two cores" in text
    (row,) = recorded("chapters", chapter=chapter, processor="AVX512")
    assert int(row["whole_seconds"]) < 60
