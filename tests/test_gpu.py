"""What runs on a GPU: parts that are done once, in time, whatever fails; on a
GPU that is pretended, or with work that is none.
"""

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import nbformat
import pytest
import torch

import course_lib
from course_lib import Settings
from course_lib.catalog import FAMILIES, NETWORKS
from tools import gpu, gpu_parts, gpu_prepare
from tools.gpu_parts import Rounds, Task

ROOT = Path(__file__).parents[1]

# From Python 3.12 on, if a test before has made torch begin threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

NAMES = {"notebook": ["one", "two"], "step": ["Net"], "row": ["Net"]}
PARTS = ["notebook:one", "notebook:two", "step:Net", "row:Net"]

ABOUT = dict.fromkeys(gpu.ABOUT, "1") | {"card": "a card"}

GOOD = {
    "notebook": {"cells": "3"},
    "step": {
        "images_per_second": "1000",
        "images_host_share": "0.5",
        "captured_per_second": "5000",
        "loss_gap": "1e-06",
    },
    "row": {"test_accuracy": "0.9", "training_seconds": "60", "peak_gib": "3.1"},
}


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The command on parts whose work is to say that they were done."""
    log = tmp_path / "log"

    def work(kind):
        def do(task):
            with log.open("a") as file:
                file.write(f"{kind}:{task.name}\n")
            return {"result": "ok", **GOOD[kind]}

        return do

    table = gpu.CsvTable(tmp_path / "table.csv", gpu.TABLE.keys, ordered=True)
    monkeypatch.setattr(gpu, "TABLE", table)
    monkeypatch.setattr(gpu, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(gpu, "GUESS", dict.fromkeys(NAMES, 0.0))
    monkeypatch.setattr(gpu.signal, "signal", lambda *_: None)  # pytest has its own
    monkeypatch.setattr(gpu_parts, "names", lambda: NAMES)
    monkeypatch.setattr(gpu_parts, "code", lambda *part: "now")
    monkeypatch.setattr(gpu_parts, "card", lambda: dict(ABOUT))
    monkeypatch.setattr(gpu_parts, "absent", lambda kind, name: [])
    monkeypatch.setattr(gpu_parts, "no_data", lambda: "")
    for kind in NAMES:
        monkeypatch.setitem(gpu.WORK, kind, work(kind))

    def call(*arguments):
        return gpu.main(["--out", str(tmp_path / "out"), *arguments])

    call.table, call.out = table.path, tmp_path / "out/gpu.csv"
    call.done = lambda: log.read_text().split() if log.exists() else []
    call.become = lambda kind, do: monkeypatch.setitem(gpu.WORK, kind, do)
    return call


def rows(path):
    with path.open(newline="") as file:
        return {row["part"]: row for row in csv.DictReader(file)}


def results(path):
    return {part: row["result"] for part, row in rows(path).items()}


def wait_until(true):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def sleep(task):
    time.sleep(60)


def test_each_part_is_done_once_and_says_where(tool):
    assert tool("step") == 0
    assert tool.done() == ["step:Net"]
    assert tool() == 0
    assert sorted(tool.done()) == sorted(PARTS)
    assert tool() == 0
    assert len(tool.done()) == len(PARTS)
    for row in rows(tool.out).values():
        assert all(row[name] for name in gpu.ABOUT)
        assert row["code"] == "now"
    assert tool("--again", "step:Net") == 0
    assert tool.done().count("step:Net") == 2


def test_other_code_is_measured_again(tool, monkeypatch):
    tool("step")
    monkeypatch.setattr(gpu_parts, "code", lambda *part: "later")
    tool("step")
    assert tool.done() == ["step:Net"] * 2


def test_killed_in_the_middle_it_goes_on(tool, tmp_path):
    def endless(task):
        (tmp_path / "pid").write_text(str(os.getpid()))
        sleep(task)

    good = gpu.WORK["row"]
    tool.become("row", endless)
    run = multiprocessing.get_context("fork").Process(target=tool)
    run.start()
    wait_until((tmp_path / "pid").exists)
    wait_until((tmp_path / "pid").read_text)
    run.kill()
    run.join()
    assert set(results(tool.out)) == {*PARTS} - {"row:Net"}
    wait_until(lambda: _ended(int((tmp_path / "pid").read_text())))
    tool.become("row", good)
    assert tool() == 0
    assert sorted(tool.done()) == sorted(PARTS)
    assert set(results(tool.out).values()) == {"ok"}


def _ended(pid):
    """Whether the process is there no more; in a container, nobody may bury it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_at_the_limit_it_stops(tool, capsys):
    good = gpu.WORK["step"]
    tool.become("step", sleep)
    assert tool("--limit", "0.7", "step", "row") == 0
    assert results(tool.out) == {"step:Net": "unfinished"}
    assert rows(tool.out)["step:Net"]["seconds"] >= "0.6"
    assert "no time for row:Net" in capsys.readouterr().out
    tool.become("step", good)  # and there is a moment now, but less than it had
    assert tool("--limit", "0.6") == 0
    assert "no time for step:Net" in capsys.readouterr().out
    assert tool() == 0
    assert set(results(tool.out).values()) == {"ok"}


def test_what_does_not_fit_is_left_for_what_does(tool, monkeypatch):
    monkeypatch.setitem(gpu.GUESS, "step", 1000.0)
    assert tool("--limit", "500") == 0
    assert set(results(tool.out)) == {*PARTS} - {"step:Net"}


def test_training_goes_on_from_its_checkpoint(tool):
    def begin(task):
        task.checkpoint.write_text("an epoch")
        sleep(task)

    def go_on(task):
        return {"result": "ok", "message": task.checkpoint.read_text()}

    tool.become("row", begin)
    tool("--limit", "0.7", "row")
    assert results(tool.out) == {"row:Net": "unfinished"}
    tool.become("row", go_on)
    tool("--limit", "0.6", "row")  # it needs less than it had
    assert rows(tool.out)["row:Net"]["message"] == "an epoch"
    assert not [*gpu.CHECKPOINTS.iterdir()]


def test_what_fails_is_a_row_and_the_next_begins(tool, capsys):
    def too_large(task):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand")

    def killed(task):
        os.kill(os.getpid(), signal.SIGKILL)

    tool.become("notebook", lambda task: {"result": "failed", "message": "code cell 3"})
    tool.become("step", killed)
    tool.become("row", too_large)
    assert tool() == 1
    said = {part: row["message"] for part, row in rows(tool.out).items()}
    assert said == {
        "notebook:one": "code cell 3",
        "notebook:two": "code cell 3",
        "step:Net": "its process ended with -9",
        "row:Net": "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
    }
    assert set(results(tool.out).values()) == {"failed"}
    assert tool() == 0  # there is nothing to do
    assert "0 parts to do" in capsys.readouterr().out


def test_notebooks_go_together_and_the_rest_alone(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "TOGETHER", 2)

    def meet(task):
        (tmp_path / task.name).touch()
        wait_until(lambda: all((tmp_path / name).exists() for name in ("one", "two")))
        return {"result": "ok"}

    def alone(task):
        return {"result": "ok", "message": str(sorted(results(tool.out)))}

    tool.become("notebook", meet)
    tool.become("step", alone)
    assert tool() == 0
    assert rows(tool.out)["step:Net"]["message"] == str(PARTS[:2])


def test_no_card(tool, monkeypatch, capsys):
    monkeypatch.setattr(gpu_parts, "card", lambda: None)
    assert tool() == 2
    assert "there is no GPU here" in capsys.readouterr().err
    assert not tool.out.exists()


def test_no_data(tool, monkeypatch, capsys):
    """It is said before the first part fails."""
    monkeypatch.setattr(gpu_parts, "no_data", lambda: "there are no images")
    assert tool() == 2
    assert capsys.readouterr().err == "there are no images\n"
    assert not tool.done()


@pytest.mark.parametrize("folder", ["sample", "empty"])
def test_why_there_are_no_data(folder, tmp_path, monkeypatch):
    """The sample is not enough: its accuracies would be recorded."""
    path = folder if folder == "sample" else tmp_path
    monkeypatch.setenv("FASHION_MNIST", str(path))
    why = gpu_parts.no_data()
    assert why.startswith(
        "FASHION_MNIST=sample, and" if folder == "sample" else f"{path}"
    )


def test_what_is_not_installed_is_left_out_and_not_failed(tool, monkeypatch, capsys):
    lacking = {"notebook": ["nbval"]}
    monkeypatch.setattr(gpu_parts, "absent", lambda kind, _: lacking.get(kind, []))
    assert tool() == 1
    said = capsys.readouterr().out
    assert "left out, without nbval: notebook:two\n2 parts to do" in said
    assert set(results(tool.out)) == {"step:Net", "row:Net"}
    lacking.clear()
    assert tool() == 0
    assert set(results(tool.out)) == {*PARTS}


def test_which_modules_a_part_needs(monkeypatch):
    monkeypatch.setattr(gpu_parts.importlib.util, "find_spec", lambda name: None)
    assert {"nbval", "skimage", "torch"} <= {*gpu_parts.absent("notebook", "zfnet")}
    assert "skimage" not in gpu_parts.absent("notebook", "lenet")
    assert "d2l" in gpu_parts.absent("notebook", "beside_d2l")
    assert {"pytest", "course_lib"} <= {*gpu_parts.absent("test", "training_gpu")}
    assert gpu_parts.absent("d2l", "LeNet") == ["d2l"]
    assert gpu_parts.absent("row", "NiN imagenet seed 0") == []


def test_a_folder_that_is_none(tool, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert tool() == 2
    assert "the rows cannot be written to" in capsys.readouterr().err
    assert not tool.done()


def test_a_table_of_something_else(tool, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    tool.out.write_text("a,b\n1,2\n")
    for arguments in ([], ["--list"], ["--record", str(tmp_path / "out")]):
        assert tool(*arguments) == 2
        assert "is a table of something else" in capsys.readouterr().err
    assert tool.out.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("limit", ["0", "-10", "nan", "soon"])
def test_a_limit_that_is_none(tool, limit, capsys):
    with pytest.raises(SystemExit):
        tool(f"--limit={limit}")
    assert "argument --limit" in capsys.readouterr().err


def test_much_too_little_time_is_said_in_a_line(tool, monkeypatch, capsys):
    names = {"step": [f"Net {i}" for i in range(30)]}
    monkeypatch.setattr(gpu_parts, "names", lambda: names)
    monkeypatch.setitem(gpu.GUESS, "step", 30.0)
    assert tool("--limit", "10") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("no time for step:Net 0, step:Net 1, ")
    assert last.endswith("step:Net 7, and 22 more; the shortest takes about 30 s")


def test_stopped_by_hand_it_says_so_and_goes_on(tool, monkeypatch, capsys):
    good = gpu.WORK["row"]
    tool.become("row", sleep)
    wait = gpu.wait

    def interrupted(*arguments):
        if tool.out.exists() and "step:Net" in results(tool.out):
            raise KeyboardInterrupt
        return wait(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(gpu, "wait", interrupted)
        assert tool() == 130
    assert "stopped: " in capsys.readouterr().out
    tool.become("row", good)
    assert tool() == 0
    assert sorted(tool.done()) == sorted(PARTS)


def test_a_part_that_is_not_there(tool):
    with pytest.raises(SystemExit, match="no part row:Other"):
        tool("row:Other")


def test_list(tool, capsys):
    tool("step")
    tool("--list")
    lines = capsys.readouterr().out.splitlines()[-5:]
    assert lines[0] == "missing     notebook:one"
    assert lines[2].startswith("ok          step:Net: ")
    row = rows(tool.out)["step:Net"]
    assert lines[2].endswith(f"a card, {row['date']}, {row['commit']}")
    assert lines[-1] == "1 of 4 parts are done"


def test_recorded_rows_are_done(tool, tmp_path, capsys):
    tool("step", "row")
    assert gpu.main(["--record", str(tmp_path / "out")]) == 0
    assert results(tool.table) == {"step:Net": "ok", "row:Net": "ok"}
    tool.out.unlink()
    tool()
    assert results(tool.out) == {"notebook:one": "ok", "notebook:two": "ok"}
    assert gpu.main(["--record", str(tmp_path / "out")]) == 0
    assert [*rows(tool.table)] == sorted(PARTS)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"card": gpu.PRETENDED}, "the card was a pretended one"),
        ({"code": "before"}, "the code has changed since"),
        ({"driver": ""}, "it does not say its driver"),
        ({"part": "row:Other"}, "there is no such part"),
        ({"result": "perhaps"}, "its result is 'perhaps'"),
        ({"test_accuracy": "90.1"}, "test_accuracy must be from 0 to 1, got '90.1'"),
        ({"test_accuracy": ""}, "test_accuracy must be from 0 to 1, got ''"),
        ({"peak_gib": "15.2"}, "peak_gib must be from 0 to 14, got '15.2'"),
    ],
)
def test_what_is_wrong_is_not_recorded(tool, tmp_path, capsys, change, why):
    tool("row", "step")
    found = rows(tool.out)
    found["row:Net"] |= change
    tool.out.unlink()
    gpu.CsvTable(tool.out, ("part",)).add(*found.values())
    assert gpu.main(["--record", str(tmp_path / "out")]) == 1
    assert why in capsys.readouterr().err
    assert results(tool.table) == {"step:Net": "ok"}


def test_what_failed_is_not_recorded(tool, tmp_path, capsys):
    tool.become("row", lambda task: {"result": "failed", "message": "too large"})
    tool("row")
    assert gpu.main(["--record", str(tmp_path / "out")]) == 0
    assert "not recorded: row:Net, failed too large" in capsys.readouterr().out
    assert not tool.table.exists()


def test_there_is_nothing_to_record(tool, tmp_path, capsys):
    assert gpu.main(["--record", str(tmp_path / "nowhere")]) == 1
    assert "there are no rows in" in capsys.readouterr().err


def test_it_wants_a_folder(capsys):
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "--out FOLDER" in capsys.readouterr().err


def test_training_and_a_step_on_a_pretended_card(tmp_path, monkeypatch):
    import torch._dynamo  # noqa: F401 - each process would import it for its optimizer

    monkeypatch.setattr(gpu.signal, "signal", lambda *_: None)
    monkeypatch.setattr(gpu, "CHECKPOINTS", tmp_path)
    parts = ("row:LeNet modern seed 1", "step:LeNet modern")
    assert gpu.main(["--pretend", "--out", str(tmp_path), *parts]) == 0
    made = rows(tmp_path / "gpu.csv")
    assert {row["result"] for row in made.values()} == {"ok"}
    assert {row["card"] for row in made.values()} == {gpu.PRETENDED}
    trained, timed = (made[part] for part in parts)
    assert trained["parameters"] == "61706"
    assert trained["seed"] == "1" == str(json.loads(trained["settings"])["seed"])
    assert 0 <= float(trained["test_accuracy"]) <= 1
    assert float(timed["images_low"]) <= float(timed["images_high"])
    assert float(timed["captured_low"]) <= float(timed["captured_high"])
    assert float(timed["loss_gap"]) < 1e-3
    assert timed["precision"] == "float16"


@pytest.mark.slow
def test_d2l_and_the_tests_on_a_pretended_card(tmp_path, monkeypatch):
    """As in `test_training_and_a_step_on_a_pretended_card`."""
    monkeypatch.setattr(gpu.signal, "signal", lambda *_: None)
    parts = ("test:training_gpu", "d2l:LeNet")
    assert gpu.main(["--pretend", "--out", str(tmp_path), *parts]) == 0
    tested, beside = (rows(tmp_path / "gpu.csv")[part] for part in parts)
    assert int(tested["cells"]) > 10
    assert tested["failed_cells"] == "0"
    for column in ("images_per_second", "captured_per_second", "d2l_per_second"):
        assert float(beside[column]) > 0
    assert len(beside["peak_share"].split()) == 2


def test_a_test_says_what_failed():
    output = "FAILED tests/test_training_gpu.py::test_one[a] - AssertionError: 1\n"
    row = gpu_parts.compared(1, f"{output}1 failed, 17 passed in 8s")
    assert row["message"] == "test_one[a] - AssertionError: 1"
    assert (row["cells"], row["failed_cells"]) == ("18", "1")


def test_tests_that_are_skipped_are_not_passed():
    assert gpu_parts.compared(0, "18 skipped in 2s")["result"] == "failed"


def test_the_order_is_that_of_the_value():
    """Each network with one seed before any has a second."""
    names = gpu_parts.names()
    assert [*names] == ["notebook", "test", "step", "row", "d2l"]
    nets = {name.partition(" seed ")[0] for name in names["row"]}
    assert len(names["row"]) == 3 * len(nets)
    assert all(name.endswith("seed 0") for name in names["row"][: len(nets)])
    assert names["row"][0].startswith("NiN")
    for name in names["test"]:
        assert (ROOT / f"tests/test_{name}.py").exists()


def test_ours_for_each_of_d2ls_is_what_is_timed():
    from benchmarks.d2l_here import FAMILIES as THEIRS
    from benchmarks.time_to_accuracy import RECIPES

    for family, (ours, accuracy) in gpu_parts.D2L.items():
        assert RECIPES[family][0] == ours
        assert THEIRS[family].accuracy == accuracy


def test_a_notebook_says_which_cell_failed(tmp_path, monkeypatch):
    cell, output = nbformat.v4.new_code_cell, nbformat.v4.new_output
    said = output("stream", text="2\n")
    cells = [
        cell("print(1 + 1)", execution_count=1, outputs=[said]),
        cell("1 / 0", execution_count=2),
        cell("print(1)", execution_count=3, outputs=[said]),
    ]
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    monkeypatch.setattr(gpu_parts, "_notebook", lambda name: path)
    monkeypatch.setitem(gpu_parts.CARD, "PYTHONSTARTUP", "")  # it would import torch
    row = gpu_parts.notebook(Task("small"))
    assert (row["result"], row["cells"], row["failed_cells"]) == ("failed", "3", "2")
    first, second = row["message"].split("; ")
    assert first.startswith("code cell 2: it raised ZeroDivisionError")
    assert second.startswith("code cell 3: ")


def test_a_notebook_that_is_right_and_one_that_is_none():
    right = gpu_parts.compared(0, "...\n28 passed in 60.90s")
    assert right == {"result": "ok", "cells": "28", "failed_cells": "0"}
    none = gpu_parts.compared(4, "ERROR: file or directory not found: x")
    assert none["result"] == "failed"
    assert none["message"].startswith("pytest ended with 4: ERROR: file")
    assert gpu_parts.compared(5, "no tests ran")["result"] == "failed"


class Clock:
    """A host and a device that do their work in seconds that do not pass."""

    def __init__(self, host, device):
        self.host, self.device, self.now, self.busy = host, device, 0.0, 0.0

    def step(self):
        self.now += self.host
        self.busy = max(self.busy, self.now) + self.device

    def synchronize(self):
        self.now = max(self.now, self.busy)


@pytest.mark.parametrize(
    ("host", "device", "seconds", "share"),
    [(1, 4, 4, 0.25), (3, 1, 3, 1.0)],
    ids=["the device", "Python"],
)
def test_what_a_step_waits_for(monkeypatch, host, device, seconds, share):
    clock = Clock(host, device)
    monkeypatch.setattr(gpu_parts.time, "perf_counter", lambda: clock.now)
    rounds = Rounds(warm_up=3, number=5, seconds=10_000)
    times = gpu_parts.timed(clock.step, clock.synchronize, rounds)
    assert times.seconds == pytest.approx([seconds] * 5, rel=1e-3)
    assert times.host_share == pytest.approx(share, rel=1e-3)


def test_the_networks_are_those_of_the_catalog():
    recipes = gpu_parts.recipes()
    large = {name: recipe for name, recipe in recipes.items() if recipe.large}
    assert set(large) == {n for n, e in NETWORKS.items() if "gpu" in e.settings}
    assert {recipe.entry.family.name for recipe in large.values()} >= {*FAMILIES}
    assert not recipes["ResNet small"].large
    assert large["ResNet-18"].settings == Settings(epochs=10, lr=0.1, size=96)
    with torch.device("meta"):
        parameters = course_lib.count_parameters(large["ResNet-18"].build())
    assert parameters == 11_175_370


def test_a_row_rests_on_its_network_and_its_settings(monkeypatch):
    names = ("VGG-11 batch norm", "VGG small")
    assert len({gpu_parts.code("row", f"{name} seed 0") for name in names}) == 2
    seeds = {gpu_parts.code("row", f"{names[0]} seed {seed}") for seed in range(3)}
    assert len(seeds) == 1  # which is in a column, not in the code
    code = gpu_parts._repository()
    reached = code.reached("tools.gpu_parts", "row", ["VGG small"])
    assert {"fit", "NETWORKS['VGG small']", "VGG", "Settings"} <= reached.keys()
    assert "NETWORKS['NiN small']" not in reached
    assert gpu_parts.code("notebook", "lenet") != gpu_parts.code("notebook", "vgg")


@pytest.fixture
def card(tmp_path, monkeypatch):
    """Where ``.card`` is made, of data that is small; what pip was asked for."""
    asked = []

    def download(command, **_):
        asked.append(command)
        wheels = Path(command[command.index("--dest") + 1])
        for pin in command[command.index("--dest") + 2 :]:
            name, version = pin.split("==")
            (wheels / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").touch()

    monkeypatch.setattr(gpu_prepare, "CARD", tmp_path)
    monkeypatch.setattr(gpu_prepare, "find_files", lambda: ({"labels": b"0" * 99}, ""))
    monkeypatch.setattr(gpu_prepare, "commit", lambda: "abc")
    monkeypatch.setattr(gpu_prepare.subprocess, "run", download)
    return tmp_path, asked


def test_prepare_fetches_what_is_missing(card):
    folder, asked = card
    assert gpu.main(["--prepare"]) == 0
    wheels = sorted(path.name for path in folder.glob("wheels/*"))
    assert len(wheels) == len(gpu_prepare.PACKAGES)
    assert (folder / "commit").read_text() == "abc\n"
    assert (folder / "data/labels.gz").exists()
    (folder / "wheels" / wheels[0]).rename(folder / "wheels/asttokens-0.1-py3-none.whl")
    assert gpu.main(["--prepare"]) == 0
    assert sorted(path.name for path in folder.glob("wheels/*")) == wheels
    assert len(asked) == 2
    assert asked[1][-1].startswith("asttokens==")
    assert not asked[1][-2].startswith("wcwidth")
    assert gpu.main(["--prepare"]) == 0
    assert len(asked) == 2


def test_prepare_says_if_it_is_too_much(card, monkeypatch, capsys):
    monkeypatch.setattr(gpu_prepare, "LIMIT", 10)
    assert gpu.main(["--prepare"]) == 1
    assert "that is more than" in capsys.readouterr().err


def test_a_package_that_is_not_locked():
    with pytest.raises(ValueError, match=r"requirements\.lock has no asttokens"):
        gpu_prepare.pins("numpy==2.0.0 \\\n")


def test_the_script_over_there_is_one():
    subprocess.run(["bash", "-n"], input=gpu_prepare.BEGIN, text=True, check=True)
