"""The parts of `make test`, with a Makefile of our own."""

import json
import sys

import pytest

from tools import gate

MAKEFILE = """\
.PHONY: data unit broken book
data: ; @echo data >> log
unit: data ; @echo unit >> log
broken: ; @false
book: data ; @echo book >> log
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run parts; the exit code, what was made, and the table."""
    (tmp_path / "Makefile").write_text(MAKEFILE)
    monkeypatch.setattr(gate, "ROOT", tmp_path)
    monkeypatch.setattr(gate, "LAST", tmp_path / "_build/gate.json")
    monkeypatch.delenv("MAKEFLAGS", raising=False)

    def call(*parts):
        monkeypatch.setattr(sys, "argv", ["gate.py", *parts])
        with pytest.raises(SystemExit) as end:
            gate.main()
        made = (tmp_path / "log").read_text().split()
        return end.value.code, made, capfd.readouterr().out

    return call


def test_nothing_is_made_twice_and_a_table_ends_it(run):
    code, made, out = run("data", "unit", "book")
    assert (code, made) == (0, ["data", "unit", "book"])
    rows = [line.split() for line in out.strip().splitlines()[-5:]]
    assert [row[0] for row in rows] == ["part", "data", "unit", "book", "all"]
    assert "FAILED" not in out
    assert float(rows[-1][1]) >= 0


def test_a_part_that_fails_ends_it(run):
    code, made, out = run("data", "broken", "book")
    assert (code, made) == (2, ["data"])
    assert [line.split()[0] for line in out.splitlines() if "FAILED" in line] == [
        "broken",
        "all",
    ]
    assert "book" not in out


def test_no_part(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gate.py"])
    with pytest.raises(SystemExit):
        gate.main()


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Record a run; the rows of the table."""
    monkeypatch.setattr(gate, "LAST", tmp_path / "gate.json")
    monkeypatch.setattr(gate, "TABLE", tmp_path / "gate.csv")
    monkeypatch.setattr(sys, "argv", ["gate.py", "--record"])

    def call(*parts):
        gate.LAST.write_text(json.dumps(parts))
        gate.main()
        return [line.split(",") for line in gate.TABLE.read_text().splitlines()[1:]]

    return call


def test_times_are_recorded_with_the_machine(recorded):
    recorded(["lint", 30.0, 29.0, 0], ["unit", 200.0, 380.0, 0])
    rows = recorded(["unit", 190.04, 370.0, 0])
    assert [row[:3] for row in rows] == [
        ["lint", "30.0", "29.0"],
        ["unit", "190.0", "370.0"],
    ]
    assert all("cores" in ",".join(row) for row in rows)


def test_a_run_that_failed_is_not_recorded(recorded):
    with pytest.raises(SystemExit, match="unit failed"):
        recorded(["unit", 3.0, 3.0, 1])
    assert not gate.TABLE.exists()
