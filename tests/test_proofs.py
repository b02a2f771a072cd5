"""The proofs are long, and are not run here; that they can be, is."""

import ast
import random
import re
import runpy
import statistics
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest
import torch
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import course_lib
from proofs import common, variations, xray
from proofs.calibrate import (
    SEEDS,
    SURPRISES,
    band_of,
    deviation,
    left_out,
    with_options,
)
from proofs.common import ROOT, Table, fingerprint
from proofs.faults import EDITS, FAULTS, places, plant
from proofs.planted import Fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_has_one_place(fault):
    assert places(fault) == 1
    assert (fault.new in EDITS) is fault.file.endswith(".ipynb")
    paths = (f"book/{fault.watcher}.md", fault.watcher)
    assert any((ROOT / path).exists() for path in paths)


def test_each_fault_is_python():
    for fault in FAULTS:
        if fault.file.endswith(".py"):
            source = (ROOT / fault.file).read_text()
            assert ast.parse(source.replace(fault.old, fault.new))


def test_there_are_many_faults_and_notebooks_notice_most():
    assert len(FAULTS) >= 36
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    by_notebooks = [fault for fault in FAULTS if not fault.watcher.endswith(".py")]
    assert len(by_notebooks) >= 2 / 3 * len(FAULTS)


@pytest.mark.parametrize("new", EDITS)
def test_each_edit_changes_what_is_stored(new, tmp_path):
    fault = next(fault for fault in FAULTS if fault.new == new)
    before = (ROOT / fault.file).read_text(encoding="utf-8")
    path = tmp_path / fault.file
    path.parent.mkdir()
    path.write_text(before, encoding="utf-8")
    plant(fault, tmp_path)
    notebooks = [nbformat.reads(text, 4) for text in (before, path.read_text("utf-8"))]
    pairs = zip(*(notebook.cells for notebook in notebooks), strict=True)
    (changed,) = [old for old, made in pairs if old != made]
    assert fault.old in changed.source


def test_a_fault_without_a_place():
    with pytest.raises(ValueError, match="there are 0 places"):
        plant(Fault("x", "lenet", "course_lib/lenet.py", "no such text", ""), ROOT)


@pytest.mark.slow
def test_the_mutants_are_a_hundred_and_each_is_another_program():
    mutants = pytest.importorskip("proofs.mutants", reason="pip install '.[proof]'")
    drawn = mutants.drawn()
    assert len({mutant[:3] for mutant in drawn}) == mutants.COUNT
    for mutant in drawn:
        source = (ROOT / mutant.file).read_text(encoding="utf-8")
        made = mutant.applied(source)
        lines = zip(source.splitlines(), made.splitlines(), strict=False)
        differing = [n for n, pair in enumerate(lines, 1) if len({*pair}) > 1]
        if mutant.operator == "RemoveDecorator":  # and the empty lines above it
            assert mutant.line - 2 <= differing[0] <= mutant.line
        elif not source.splitlines()[mutant.line - 1][: mutant.column].strip():
            assert mutant.line - 1 <= differing[0] <= mutant.line  # moved up
        elif made.count("\n") == source.count("\n"):
            assert differing == [mutant.line]
        else:  # of what stands in several lines
            assert differing[0] == mutant.line
        assert ast.dump(ast.parse(made)) != ast.dump(ast.parse(source))
        for test in mutants.tests_of(mutant.file):
            assert (ROOT / test).is_file()


def test_each_mutant_that_survived_was_read():
    text = (ROOT / "proofs/survivors.yml").read_text(encoding="utf-8")
    excused = {each["mutant"]: each["why"] for each in yaml.safe_load(text)}
    rows = Table("mutants", ()).rows()
    survived = {
        f"{row['file']}:{row['line']}:{row['column']}: {row['operator']}"
        for row in rows
        if row["result"] == "survived"
    }
    assert survived == excused.keys()
    assert all(excused.values())
    assert len(rows) == 100


def test_a_table_remembers(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    table = Table("table", ("name",))
    assert table.find({"name": "a"}) is None
    for code in ("1", "2"):
        table.add({"name": "a", "code": code, "text": "two\nlines"})
    table.add({"name": "b", "code": "2", "text": ""})
    assert [row["name"] for row in table.rows()] == ["a", "b"]
    assert table.find({"name": "a", "code": "1"}) is None
    assert table.find({"name": "a", "code": "2"})["text"] == "two\nlines"


def test_a_table_forgets_what_is_of_other_code(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    table = Table("runs", ("seed", "cell"))
    for seed, cell, code in (("1", "a", "x"), ("1", "b", "y"), ("2", "a", "x")):
        table.add({"seed": seed, "cell": cell, "code": code})
    table.forget({"seed": "1"}, code="y")
    kept = [(row["seed"], row["cell"]) for row in table.rows()]
    assert kept == [("1", "b"), ("2", "a")]


def test_several_write_one_table(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setenv("PROOF_JOBS", "8")
    table, names = Table("table", ("name",)), [str(number) for number in range(40)]
    done = common.together(lambda name: table.add({"name": name}) or name, names)
    assert list(done) == names, "in their order"
    assert {row["name"] for row in table.rows()} == {*names}


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5", ""])
def test_jobs_are_a_number(jobs, monkeypatch):
    monkeypatch.setenv("PROOF_JOBS", jobs)
    with pytest.raises(ValueError, match=f"above 0, not '{jobs}'"):
        list(common.together(str, [1]))


def test_a_fingerprint_is_of_code():
    path = ROOT / "course_lib/pages/source.py"
    assert fingerprint(path) == fingerprint(path) != fingerprint(path, "x")
    assert fingerprint("a", "b") != fingerprint("b", "a")


def test_a_fingerprint_of_a_notebook_leaves_out_its_prose(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "ROOT", tmp_path)
    path = tmp_path / "one.ipynb"
    cell = new_code_cell("1 + 1", id="one")
    notebook = new_notebook(cells=[new_markdown_cell("Two?", id="two"), cell])

    def code():
        nbformat.write(notebook, path)
        return fingerprint(path)

    before = code()
    notebook.cells[0].source = "Is it two?"
    assert code() == before
    cell.metadata["band"] = 1
    banded = code()
    cell.outputs = [new_output("stream", text="2")]
    assert len({before, banded, code()}) == 3


def test_the_first_failure_of_a_notebook():
    output = "F\nbook/a.ipynb, code cell 2: x = 1\n  not the same\n-1\nFAILED a::Cell 1"
    failed = common._first_failure(output)
    assert failed == "book/a.ipynb, code cell 2: x = 1 - not the same"
    assert common._first_failure("FAILED tests/a.py::b - c") == "tests/a.py::b - c"
    assert common._first_failure("") == ""


@pytest.mark.parametrize("alike", [1, 2])
def test_the_deviation_is_large_enough_nine_times_of_ten(alike):
    """Even if the runs of a seed are the same."""
    draw = random.Random(0)
    samples = [[draw.gauss(0, 1) for _ in range(5)] * alike for _ in range(4000)]
    enough = statistics.mean(deviation(sample, 5) >= 1 for sample in samples)
    assert enough == pytest.approx(0.9, abs=0.015)
    plain = [statistics.stdev(sample) for sample in samples]
    assert statistics.mean(value >= 1 for value in plain) < 0.5, "and alone it is not"


def test_what_is_left_out():
    runs = [[f"a {value}"] for value in ("0.90", "0.91", "0.90", "0.91", "0.99")]
    assert left_out("a 0.90", runs) == [False, False, False, False, True]
    twice = [of_seed * 2 for of_seed in runs]
    assert left_out("a 0.90", twice)[-2:] == [True, True], "no run vouches for its seed"
    assert left_out("a 0.90", runs[:2]) == [], "too few to leave one out"


def test_bands():
    seen = [0.90, 0.91, 0.92, 0.91]
    runs = [[f"epoch 1 {value:.2f}"] for value in seen]
    need = 4 * deviation(seen, 4) + 0.01
    band = band_of("epoch 1 0.90", runs)
    assert need <= band <= 1.1 * need, "one for all: a whole number stays exact"
    assert band_of("epoch 1 0.90", [run * 2 for run in runs]) == band
    several = band_of("1.50 0.90", [[f"{10 * value:.2f} 0.90"] for value in seen])
    assert several[0] > 4 * deviation(seen, 4)
    assert several[1] == 0.01
    assert band_of("a 0.90", [["a 0.90", "a 0.90"]]) == 0.01, "a unit of the last digit"
    assert band_of("epoch 1", [["epoch 1"]]) == [0]
    runs = [["a 0.91 b 0.90"], ["a 0.90 b 0.91"]]
    assert isinstance(band_of("a 0.90 b 0.91", runs), float)
    with pytest.raises(ValueError, match="more than numbers"):
        band_of("a 0.90", [["b 0.90"]])


TEXT = """```{code-cell} ipython3
:mystnb:
:  image:
:    alt: An image
:band: 0.5

x = 1
```

```{code-cell} ipython3
y = 1
```
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_run_that_is_stopped_is_no_measurement(name, tmp_path):
    test = tmp_path / "test_stopped.py"
    test.write_text(
        "import os, signal\n"
        f"def test_stopped():\n    os.kill(os.getpid(), signal.{name})\n"
    )
    without = [part for name in ("nbval", "cov") for part in ("-p", f"no:{name}")]
    with pytest.raises(RuntimeError, match="stopped by signal"):
        common.pytest(tmp_path, *without, str(test))


def test_the_variations_have_other_seeds_than_the_bands():
    runs = variations.chosen([])
    assert len(set(runs)) == len(runs)
    counts = dict.fromkeys((text.stem for text, _ in runs), 0)
    for text, name in runs:
        seed = (variations.VARIATIONS | variations.MORE)[name].seed
        assert seed not in {*SEEDS, *SURPRISES.get(text.stem, ())}
        counts[text.stem] += 1
    assert min(counts.values()) >= 6
    assert sum(count >= 20 for count in counts.values()) == 3
    lenet = [(text.stem, name) for text, name in variations.chosen(["lenet", "AVX2"])]
    assert lenet == [("lenet", "AVX2")]


def test_what_the_runs_say_of_ablated_branches():
    """Ten runs printed what the GoogLeNet chapter shows: none is noted as different."""
    text = ROOT / "book/googlenet.md"
    cells = nbformat.read(text.with_suffix(".ipynb"), as_version=4).cells
    (cell,) = [cell for cell in cells if 'print("each ablation lowers' in cell.source]
    assert "band" not in cell.metadata
    assert re.findall("True|False", cell.outputs[0].text) == ["True", "True"]
    rows = Table("calibration", ()).rows()
    whole = [row for row in rows if row["notebook"] == text.stem and not row["cell"]]
    assert len(whole) == 10  # each run has a row for all of it


def test_options():
    new = with_options(TEXT, "x = 1", {"band": "[0, 1]", "runs": "10"})
    assert ":    alt: An image\n:band: [0, 1]\n:runs: 10\n\nx = 1\n```" in new
    assert ":band: 0.5" not in new
    new = with_options(TEXT, "y = 1", {"tags": "[measured]"})
    assert "```{code-cell} ipython3\n:tags: [measured]\n\ny = 1\n```" in new
    with pytest.raises(ValueError, match="0 cells"):
        with_options(TEXT, "z = 1", {})


DRAW = "import torch\ntorch.manual_seed(0)\nprint(torch.rand(1).item())"
TRAIN = """\
import course_lib, inspect
torch.manual_seed(0)
net = course_lib.LeNet('modern')
data = course_lib.fashion_mnist(sample=True)
settings = course_lib.Settings(epochs=1)
print(course_lib.fit(net, data, settings, progress=False).losses[0])
print("def fit(" in inspect.getsource(course_lib.fit))"""
START = """\
import subprocess, sys
command = [sys.executable, '-c', 'import sys; print(sys.argv[2:])']
command.append('course_lib.training')
print(subprocess.run(command, capture_output=True, text=True).stdout.strip())"""

#: A cell, and whether it has a band.
CELLS = [
    *((DRAW, True), (f"{DRAW}\n", False), (TRAIN, False)),
    *((START, True), (f"{START}\n", False)),
]


@pytest.fixture
def trains(tmp_path):
    """A notebook of `CELLS`."""
    cells = [
        new_code_cell(source, metadata={"band": 0.1} if band else {})
        for source, band in CELLS
    ]
    nbformat.write(new_notebook(cells=cells), path := tmp_path / "notebook.ipynb")
    return path


def only_cells_with_a_band_differ(outputs, again):
    """What the cells print with seeds 0 and 1."""
    drawn, same, loss, source, *started = outputs
    drawn1, same1, loss1, source1, *new = again
    assert drawn == same == same1 != drawn1
    assert loss != loss1
    assert source == source1 == "True"
    assert (started, new) == (["[]", "[]"], ["['--seed', '1']", "[]"])


@pytest.mark.filterwarnings("ignore:using the sample")
def test_seeds_vary_where_a_notebook_trains(trains, monkeypatch, capsys):
    """Only cells with a band draw other numbers, and `fit` has another seed."""
    program = ROOT / "proofs/seeds.py"
    outputs = []
    for seed in ("0", "1"):
        hooks = {}
        with monkeypatch.context() as patch:
            shell = SimpleNamespace(events=SimpleNamespace(register=hooks.__setitem__))
            patch.setattr("IPython.get_ipython", lambda shell=shell: shell)
            patch.setenv("SEED", seed)
            patch.setenv("NOTEBOOK", str(trains))
            # What the program replaces comes back.
            for owner, name in (
                *((torch, "manual_seed"), (subprocess, "run")),
                *((course_lib, "fit"), (course_lib.training, "fit")),
            ):
                patch.setattr(owner, name, getattr(owner, name))
            runpy.run_path(str(program))
            names = {"__name__": "__main__"}
            for source, _ in CELLS:
                hooks["pre_run_cell"](SimpleNamespace(raw_cell=source))
                exec(source, names)
        outputs.append(capsys.readouterr().out.splitlines())
    only_cells_with_a_band_differ(*outputs)


@pytest.mark.slow
def test_seeds_vary_in_a_kernel(trains):
    """As in `test_seeds_vary_where_a_notebook_trains`."""
    runner = (
        "import sys, nbformat\nfrom nbclient import NotebookClient\n"
        "made = nbformat.read(sys.argv[1], 4)\nNotebookClient(made).execute()\n"
        "outputs = sum((cell.outputs for cell in made.cells), [])\n"
        "print(*(each.text for each in outputs if each.name == 'stdout'), sep='')"
    )
    outputs = {}
    for seed in ("0", "1"):
        env = common.os.environ | {
            "PYTHONSTARTUP": str(ROOT / "proofs/seeds.py"),
            "PYTHONPATH": str(ROOT),
            "SEED": seed,
            "NOTEBOOK": str(trains),
        }
        command = [sys.executable, "-c", runner, trains]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        outputs[seed] = done.stdout.splitlines()
        assert outputs[seed], done.stderr
    (*first, _), (*second, _) = outputs.values()
    only_cells_with_a_band_differ(first, second)


@pytest.mark.parametrize("path", sorted((ROOT / "proofs").glob("*.py")), ids=str)
def test_every_proof_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("name", ["faults", "variations"])
def test_unknown_parts_of_a_proof(name, monkeypatch):
    path = ROOT / f"proofs/{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "nothing"])
    with pytest.raises(SystemExit, match=r"no such .*nothing"):
        runpy.run_path(str(path), run_name="__main__")


def test_unknown_proofs():
    command = [sys.executable, "-m", "proofs", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode
    assert "no proofs nothing; there are" in done.stderr


def test_what_real_runs_have_shown_stays(tmp_path, monkeypatch):
    """Of a row of other code, only the X-ray's side is measured anew, in a process
    with others; what was wrong, or measured in another way, is all of it.
    """
    now, groups = {"code": "2", "real": "b"}, []

    def measure(names, stamp):
        groups.append(names)
        for name in names:
            yield {"network": name, "macs_by_torch": "5", "wrong": "", **stamp}

    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(xray, "TABLE", Table("xray", ("network",)))
    monkeypatch.setattr(xray, "stamps", lambda: now)
    monkeypatch.setattr(xray, "measure", measure)
    for name, code, real, wrong in (
        ("fresh", "2", "b", ""),
        ("other code", "1", "b", ""),
        ("more of it", "1", "b", ""),
        ("wrong", "1", "b", "MACs"),
        ("measured otherwise", "1", "a", ""),
    ):
        row = {"network": name, "code": code, "real": real, "wrong": wrong}
        xray.TABLE.add(row | {"macs_by_torch": "5"})
    names = ["fresh", "other code", "wrong", "more of it", "measured otherwise", "new"]
    found = {row["network"] for row in xray.rows(names)}
    assert found == {*names}
    assert groups == [
        ["other code", "more of it"],
        ["wrong"],
        ["measured otherwise"],
        ["new"],
    ]
    assert [*xray.rows(names)]
    assert len(groups) == 4
