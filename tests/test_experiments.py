"""No recorded result without its provenance, and none that the code has left behind."""

import csv
import re
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import pytest

from course_lib import NiN, count_parameters, summarize
from experiments import nin, record, successors
from experiments.reach import Code
from experiments.rows import CsvTable

ROOT = Path(__file__).parents[1]

EXPERIMENTS = record.every()

STALE = (
    "see what has changed: python -m experiments --stale; if it does what it did:"
    " python -m experiments confirm; else measure: python -m experiments.{}"
)


@pytest.fixture(scope="module")
def code():
    """The repository, read once."""
    return Code(ROOT)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_results_are_complete_and_of_this_code(name, code):
    experiment = EXPERIMENTS[name]
    rows = experiment.rows()
    mend = f"run, on a machine that does nothing else: python -m experiments.{name}"
    assert rows, mend
    for row in rows:
        empty = [k for k in (*experiment.keys[0], *record.PROVENANCE) if not row[k]]
        assert not empty, f"a row without {', '.join(empty)}: {row}; {mend}"
    stale = experiment.stale(code)
    assert not stale, STALE.format(name)
    for key in experiment.keys:
        found = any(key.items() <= row.items() for row in rows)
        assert found, f"not measured: {key}; {mend}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_the_name_of_its_script(name):
    measure = EXPERIMENTS[name].measure
    assert (measure.__module__, measure.__name__) == (f"experiments.{name}", "measure")


def test_the_accuracies_on_the_first_page_are_what_was_measured():
    seeds = defaultdict(list)
    for row in EXPERIMENTS["accuracy"].rows():
        if "oneDNN" not in row["processor"]:  # those were limited to an older one
            seeds[row["net"]].append(row)
    lines = []
    for net, rows in seeds.items():
        accuracy, training, inference = (
            [float(row[column]) for row in rows]
            for column in ("test_accuracy", "training_seconds", "inference_seconds")
        )
        cells = (
            f"| {net} | {mean(accuracy):.3f} ± {stdev(accuracy):.3f}"
            f" | {mean(training):.0f} s | {mean(inference):.2f} s |"
        )
        lines.append((mean(accuracy), cells))
    wanted = [cells for _, cells in sorted(lines)]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^\|.* ± .*\|$", readme, re.MULTILINE)
    assert found == wanted, "README.md, Measured:\n" + "\n".join(wanted)


def test_every_table_has_its_script():
    tables = {path.stem for path in (ROOT / "book/results").glob("*.csv")}
    tables -= {"benchmarks", "notebooks", "gpu"}  # of `make bench`, `times` and `gpu`
    for table in tables ^ EXPERIMENTS.keys():
        one = f"experiments/{table}.py" if table in tables else "an experiment"
        pytest.fail(
            f"book/results/{table}.csv and {one} belong together: write the script that"
            " measures it, run it, or take both away"
        )


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """One in a folder of its own, the seeds that it has measured, and its script."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    script = tmp_path / "experiments/table.py"
    script.parent.mkdir()
    script.write_text('"""Words."""\ndef measure(key):\n    return 1  # why\n')
    measured = []

    def measure(key):
        if key["seed"] == "9":
            raise KeyboardInterrupt
        measured.append(key["seed"])
        return {"value": key["seed"] * 2}

    keys = [{"seed": str(seed)} for seed in (0, 1)]
    return record.Experiment("table", keys, measure), measured, script


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


def test_what_is_stale_is_measured_again(experiment):
    made, measured, script = experiment
    made.run()
    script.write_text(
        '"""Others."""\ndef measure(key):\n    """New."""\n    return 1\n'
    )
    assert made.stale() == []
    script.write_text("def measure(key):\n    return 2\n")
    assert len(made.stale()) == 2
    made.run()
    assert measured == ["0", "1", "0", "1"]
    assert len(made.rows()) == 2


def test_a_file_that_is_changed_during_a_run_makes_its_rows_stale(experiment):
    made, _, script = experiment

    def measure(key):
        script.write_text("def measure(key):\n    return 2\n")
        return {"value": "of the code as it was imported"}

    record.Experiment("table", made.keys, measure).run()
    assert len(made.stale()) == 2


def test_the_rows_of_another_machine_stay(experiment, monkeypatch):
    made, measured, _ = experiment
    made.run()
    here = record.where()
    monkeypatch.setattr(record, "where", lambda: here | {"processor": "another"})
    made.run()
    assert measured == ["0", "1", "0", "1"]
    found = [(row["seed"], row["processor"]) for row in made.rows()]
    assert found == sorted(found)
    assert len(found) == 4


def test_command(experiment, monkeypatch, capsys):
    made, _, script = experiment
    monkeypatch.setattr(sys, "argv", ["script"])
    record.main(made)
    monkeypatch.setattr(sys, "argv", ["script", "--stale"])
    record.main(made)
    assert capsys.readouterr().out == "nothing is stale\n"
    script.write_text("def measure(key):\n    return 2\n")
    record.main(made)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("table: seed 0: what has changed is not known: ")
    assert second.startswith("table: seed 1: ")
    with made.file.path.open() as file:
        assert {"seconds", "commit"} <= {*next(csv.reader(file))}


@pytest.fixture
def table(tmp_path):
    """A table of its own."""
    return CsvTable(tmp_path / "made/table.csv", ("name",))


def test_a_row_stands_in_the_place_of_its_predecessor(table):
    assert table.rows() == []
    table.add({"name": "b", "x": "1"}, {"name": "a", "x": "2"})
    table.add({"name": "b", "x": "two\nlines", "y": "new"})
    assert table.rows() == [
        {"name": "b", "x": "two\nlines", "y": "new"},
        {"name": "a", "x": "2", "y": ""},
    ]
    assert table.find({"x": "2"}) == {"name": "a", "x": "2", "y": ""}
    assert table.find({"x": "3"}) is None


def test_an_ordered_table(tmp_path):
    table = CsvTable(tmp_path / "table.csv", ("name",), ordered=True)
    for name in ("b", "c", "a"):
        table.add({"name": name})
    assert [row["name"] for row in table.rows()] == ["a", "b", "c"]


def test_a_table_forgets_what_is_of_other_code(table):
    table.add({"name": "a", "code": "1"}, {"name": "b", "code": "2"})
    table.forget({"name": "a"}, code="1")
    assert len(table.rows()) == 2
    table.forget({"name": "a"}, code="2")
    assert [row["name"] for row in table.rows()] == ["b"]


def test_wider_networks_have_as_many_parameters_as_nin():
    """What stands for NiN's widths is NiN, and the wider ones are as large."""
    small = NiN("small", batch_norm=True)
    same = nin.with_widths(((48, 48, 48), (64, 64, 64), (96, 96, 10)))
    assert str(same) == str(small)
    for name, widths in nin.WIDTHS.items():
        share = count_parameters(nin.with_widths(widths)) / count_parameters(small)
        assert (abs(share - 1) < 0.002) == name.endswith("wider"), name


def test_successors_cost_the_same():
    """What is compared has about ten million MACs, and each recipe one change."""
    for part in ("blocks", "steps"):
        for name in successors.NAMES[part]:
            net = successors.built(part, name)
            macs = successors.macs(net)
            assert 9.3e6 < macs < 10.8e6, name
            assert macs == summarize(net, (1, 28, 28)).macs, name
    recipes = [vars(successors.recipe_of(name)) for name in successors.CHANGES]
    for before, after in pairwise(recipes):
        assert sum(before[field] != after[field] for field in before) == 1
    with pytest.raises(ValueError, match="no recipe 'today'"):
        successors.recipe_of("today")
