import re
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


#: What a chapter says -> seconds that it may have taken.
PHRASES = {
    "half a minute": (15, 50),
    "a minute": (40, 85),
    "a minute and a half": (70, 115),
    "two minutes": (95, 145),
    "two and a half minutes": (125, 175),
    "three minutes": (155, 205),
}
TIMES = {}
for row in recorded("chapters"):
    TIMES.setdefault(row["chapter"], []).append(int(row["whole_seconds"]))


@pytest.mark.parametrize("chapter", TIMES)
def test_a_chapter_says_how_long_it_takes(chapter):
    """On two cores, and on those of an older laptop."""
    text = " ".join((BOOK / f"{chapter}.md").read_text(encoding="utf-8").split())
    found = re.findall(
        r"All of it runs in about (.*?) on two cores, and in about (.*?) on those of",
        text,
    )
    assert len(found) == 1
    phrases = [found[0][0] if p == "as much" else p for p in found[0]]
    for phrase, seconds in zip(phrases, sorted(TIMES[chapter]), strict=True):
        least, most = PHRASES[phrase]
        assert least <= seconds <= most, f"{phrase}: {seconds} s"


def test_training_is_short_everywhere():
    assert all(int(row["training_seconds"]) < 180 for row in recorded("chapters"))
