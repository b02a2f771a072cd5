"""No recorded result without its provenance, and none that the code has left behind."""

import csv
import importlib
import sys
from pathlib import Path

import pytest

from experiments import record

ROOT = Path(__file__).parents[1]

SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "experiments").glob("[a-z]*.py")
    if path.stem != "record"
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_results_are_complete_and_of_this_code(script):
    experiment = importlib.import_module(f"experiments.{script}").EXPERIMENT
    rows = experiment.rows()
    mend = f"run, on a machine that does nothing else: python -m experiments.{script}"
    assert rows, mend
    for row in rows:
        empty = [k for k in (*experiment.keys[0], *record.PROVENANCE) if not row[k]]
        assert not empty, f"a row without {', '.join(empty)}: {row}; {mend}"
    stale = experiment.stale()
    assert not stale, f"{len(stale)} rows are older than the code; {mend}"
    for key in experiment.keys:
        found = any(key.items() <= row.items() for row in rows)
        assert found, f"not measured: {key}; {mend}"


def test_every_table_has_its_script():
    tables = {path.stem for path in (ROOT / "book/results").glob("*.csv")}
    tables -= {"benchmarks", "notebooks", "gpu"}  # of `make bench`, `times` and `gpu`
    scripts = {
        importlib.import_module(f"experiments.{name}").EXPERIMENT.table
        for name in SCRIPTS
    }
    for table in tables ^ scripts:
        one = f"experiments/{table}.py" if table in tables else "an experiment"
        pytest.fail(
            f"book/results/{table}.csv and {one} belong together: write the script that"
            " measures it, run it, or take both away"
        )


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    (tmp_path / "net.py").write_text('"""Words."""\ndef f():\n    return 1  # why\n')
    measured = []

    def measure(key):
        if key["seed"] == "9":
            raise KeyboardInterrupt
        measured.append(key["seed"])
        return {"value": key["seed"] * 2}

    keys = [{"seed": str(seed)} for seed in (0, 1)]
    made = record.Experiment("table", keys, measure, ("net.py",))
    return made, measured, tmp_path


def test_a_row_is_measured_once(experiment):
    made, measured, _ = experiment
    made.run()
    made.run()
    assert measured == ["0", "1"]
    assert [row["value"] for row in made.rows()] == ["00", "11"]
    assert made.stale() == []


def test_goes_on_where_it_was_stopped(experiment):
    made, measured, _ = experiment
    made.keys.insert(1, {"seed": "9"})
    with pytest.raises(KeyboardInterrupt):
        made.run()
    made.keys.remove({"seed": "9"})
    made.run()
    assert measured == ["0", "1"]


def test_comments_and_docstrings_make_nothing_stale(experiment):
    made, measured, folder = experiment
    made.run()
    (folder / "net.py").write_text(
        '"""Others."""\ndef f():\n    """New."""\n    return 1\n'
    )
    assert made.stale() == []
    (folder / "net.py").write_text("def f():\n    return 2\n")
    assert len(made.stale()) == 2
    made.run()
    assert measured == ["0", "1", "0", "1"]
    assert len(made.rows()) == 2


def test_rows_are_confirmed_by_one_that_comes_out_the_same(experiment):
    made, measured, folder = experiment
    made.run()
    (folder / "net.py").write_text("def f(unused=0):\n    return 1\n")
    made.confirm()
    assert made.stale() == []
    assert measured == ["0", "1", "0"]


def test_rows_are_not_confirmed_by_one_that_comes_out_different(experiment):
    made, _, folder = experiment
    made.run()
    table = folder / "table.csv"
    table.write_text(table.read_text().replace(",00,", ",07,"))
    (folder / "net.py").write_text("def f(unused=0):\n    return 1\n")
    with pytest.raises(SystemExit, match="value: 07 before, 00 now"):
        made.confirm()
    assert len(made.stale()) == 2


def test_nothing_to_confirm(experiment):
    made, measured, _ = experiment
    made.run()
    with pytest.raises(SystemExit, match=r"table has no stale row .* as here"):
        made.confirm()
    assert measured == ["0", "1"]


def test_command(experiment, monkeypatch, capsys):
    made, _, folder = experiment
    monkeypatch.setattr(sys, "argv", ["script"])
    record.main(made)
    monkeypatch.setattr(sys, "argv", ["script", "--stale"])
    record.main(made)
    assert capsys.readouterr().out == "nothing is stale\n"
    monkeypatch.setattr(sys, "argv", ["script", "--confirm"])
    (folder / "net.py").write_text("def f(unused=0):\n    return 1\n")
    record.main(made)
    assert made.stale() == []
    with (folder / "table.csv").open() as file:
        assert "seconds" in next(csv.reader(file))
