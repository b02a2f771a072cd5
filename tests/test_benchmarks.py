"""The arithmetic of the benchmarks, and that each of them runs. Nothing is timed."""

import csv
import importlib
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import measure
from course_lib import count_parameters

ROOT = Path(__file__).parents[1]

SCRIPTS = sorted(
    path.name
    for path in (ROOT / "benchmarks").glob("*.py")
    if path.stem not in ("__init__", "measure", "d2l_here", "formats")
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:using the sample of 640 images"),
]


def test_sides_take_turns_and_the_first_round_is_not_counted():
    order, clock = [], iter(range(100))

    def side(name):
        order.append(name)
        return next(clock)

    turns = measure.take_turns(2, lambda: side("a"), lambda: side("b"))
    assert order == ["a", "b"] * 3
    assert turns == [[2, 4], [3, 5]]
    assert measure.take_turns(1, lambda: side("c"), warm_up=False) == [[6]]


def test_a_timed_action_takes_what_the_clock_says(monkeypatch):
    clock, done = iter([10.0, 12.5]), []
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    assert measure.timed(lambda: done.append(1))() == 2.5
    assert done == [1]


@pytest.mark.parametrize("values", [[3.0, 1.0], [4.0, 1.0, 2.0], [9, 4, 1, 7, 5, 2]])
def test_spread_is_median_and_quartiles(values):
    assert measure.spread(values) == pytest.approx(
        np.percentile(values, [50, 25, 75]).tolist()
    )


def test_the_spread_of_one_value():
    assert measure.spread([2.0]) == (2.0, 2.0, 2.0)


def test_the_ratio_is_the_median_of_the_rounds_own():
    seconds = [1.0, 2.0, 4.0], [10.0, 2.0, 20.0]
    result = measure.side_by_side(*seconds, against="them")
    assert (result.ours, result.theirs, result.unit) == (2.0, 10.0, "s")
    assert (result.ratio, result.low, result.high) == (5.0, 3.0, 7.5)
    assert (result.against, result.rounds) == ("them", 3)


def test_an_amount_makes_rates_and_leaves_the_ratio():
    seconds = [1.0, 2.0, 4.0], [10.0, 2.0, 20.0]
    rates = measure.side_by_side(*seconds, against="them", unit="x/s", amount=100)
    assert (rates.ours, rates.theirs, rates.unit) == (50.0, 10.0, "x/s")
    assert rates.ratio == measure.side_by_side(*seconds, against="them").ratio


def test_rounds_must_match():
    with pytest.raises(ValueError, match="zip"):
        measure.side_by_side([1.0], [1.0, 2.0], against="them")


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Rows of a case, with `ours` as given, and what is in the table."""
    path = tmp_path / "benchmarks.csv"
    monkeypatch.setattr(measure, "TABLE", replace(measure.TABLE, path=path))

    def result(ours):
        return measure.side_by_side([ours], [1.0], against="them")

    def rows():
        with path.open(newline="") as file:
            return [(row["case"], row["ours"]) for row in csv.DictReader(file)]

    return result, rows, path


def test_a_row_is_written_in_the_place_of_its_predecessor(written):
    result, rows, path = written
    for case, ours in (("one", 1.0), ("two", 2.0), ("one", 3.0)):
        measure.TABLE.add(measure.row("speed", case, result(ours)))
    assert rows() == [("one", "3"), ("two", "2")]
    assert [file.name for file in path.parent.glob("*.*v")] == [path.name]


def test_a_row_of_another_processor_is_another_row(written, monkeypatch):
    result, rows, _ = written
    measure.TABLE.add(measure.row("speed", "one", result(1.0)))
    slower = measure.row("speed", "one", result(2.0)) | {"processor": "another"}
    measure.TABLE.add(slower)
    assert rows() == [("one", "1"), ("one", "2")]


def test_rows_are_written_as_they_come(written, capsys):
    result, rows, _ = written

    def interrupted(case, quick):
        assert not quick
        yield result(1.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure.main("speed", ["one", "two"], interrupted, [])
    assert rows() == [("one", "1")]
    assert "speed, one: 1 against 1 s of them, ratio 1 (1 to 1)" in (
        capsys.readouterr().out
    )


def test_only_the_cases_that_are_named(written):
    result, rows, _ = written
    cases = ["one", "two", "three"]

    def measured(case, quick):
        yield result(1.0)

    measure.main("speed", cases, measured, ["three", "one"])
    assert rows() == [("three", "1"), ("one", "1")]
    with pytest.raises(SystemExit):
        measure.main("speed", cases, measured, ["four"])


def test_a_row_says_where_it_was_measured(written):
    result, _, _ = written
    row = measure.row("speed", "one", result(1.0))
    assert all(row[name] for name in set(row) - {"note"})
    assert row["torch"] == torch.__version__.split("+")[0]
    assert row["d2l"] == "0.17.0"


#: The case of each script that takes least; an import takes as long as it takes.
QUICK = {
    "compiled.py": "LeNet modern",
    "fullscale.py": "ResNet-18",
    "gpu.py": "LeNet",
    "peak.py": "LeNet modern",
    "pipeline.py": "28 pixels",
    "time_to_accuracy.py": "LeNet",
    "training.py": "LeNet",
    "xray.py": "weights on meta",
}


@pytest.mark.parametrize(
    ("script", "cases"),
    [
        *((script, [case]) for script, case in QUICK.items()),
        *(pytest.param(script, [], marks=pytest.mark.slow) for script in SCRIPTS),
    ],
)
def test_script_runs(script, cases, written, monkeypatch, capsys, real):
    *_, path = written
    monkeypatch.setattr(sys, "argv", [script, "--quick", *cases])
    runpy.run_path(str(ROOT / "benchmarks" / script), run_name="__main__")
    assert " against " in capsys.readouterr().out
    assert not path.exists()


def test_each_script_is_run():
    assert {*QUICK, "imports.py"} == {*SCRIPTS}


def test_an_import_is_timed_by_its_own_process(monkeypatch, tmp_path):
    """What is imported before does not count."""
    imports = importlib.import_module("benchmarks.imports")
    for name, seconds in (("slow_one", 0.4), ("quick_one", 0.0)):
        (tmp_path / f"{name}.py").write_text(f"import time\ntime.sleep({seconds})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert imports.fresh("time", "slow_one")() >= 0.4
    assert imports.fresh("slow_one", "quick_one")() < 0.4
    with pytest.raises(subprocess.CalledProcessError):
        imports.fresh("time", "no_such_module")()
    sides = []
    monkeypatch.setattr(
        imports, "fresh", lambda *names: sides.append(names) or (lambda: 2.0)
    )
    results = [each for case in imports.CASES for each in imports.measure(case, True)]
    assert [(each.against, each.ours) for each in results] == [("d2l", 2.0)] * 2
    assert sides[:2] == [("time", "course_lib"), ("time", "d2l.torch")]
    assert sides[2:] == [("torch", "course_lib"), ("torch", "d2l.torch")]


@pytest.fixture
def d2l_here():
    return importlib.import_module("benchmarks.d2l_here")


# What d2l's own text and readers count.
@pytest.mark.parametrize(
    ("family", "parameters"),
    [("LeNet", 61_706), ("AlexNet", 46_764_746), ("ResNet", 11_178_378)],
)
def test_d2l_nets_have_their_published_parameters(d2l_here, family, parameters):
    with torch.device("meta"):
        assert count_parameters(d2l_here.FAMILIES[family].build()) == parameters


def test_d2l_nets_take_their_images(d2l_here):
    for family in d2l_here.FAMILIES.values():
        with torch.device("meta"):
            net = family.build()
            assert net(torch.empty(2, 1, family.size, family.size)).shape == (2, 10)


def test_a_stretch_times_its_steps_and_their_batches(d2l_here, monkeypatch):
    now = 0.0

    def loader():
        nonlocal now
        while True:
            now += 1.0  # a batch takes 1, a step 10
            yield now

    monkeypatch.setattr(d2l_here.time, "perf_counter", lambda: now)
    stretch = d2l_here.Stretch(loader(), 2, 3)
    for _ in stretch:
        now += 10.0
    assert now == 55.0
    assert stretch.seconds == 33.0


def test_d2ls_loop_trains_and_its_loader_gives_our_images(d2l_here, real):
    loader, test = d2l_here.load(8, 28)
    assert loader.num_workers == 4
    assert len(loader.dataset) == d2l_here.IMAGES
    images = torch.cat([real.train.images, real.validation.images])
    assert torch.equal(loader.dataset.data, images[:, 0])
    assert torch.equal(test.dataset.targets, real.test.labels)
    net = d2l_here.lenet()
    stretch = d2l_here.Stretch(loader, 0, 2)
    torch.manual_seed(0)
    seconds = d2l_here.train(net, stretch, lr=0.0)
    before = [value.clone() for value in net.parameters()]
    torch.manual_seed(0)
    d2l_here.train(net, stretch, lr=0.5)
    assert seconds > 0
    assert all(
        not torch.equal(new, old)
        for new, old in zip(net.parameters(), before, strict=True)
    )
