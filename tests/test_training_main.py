"""The command line, alone and on two processes."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course_lib import Network, Runtime, fashion_mnist
from course_lib.efficientnet import EfficientNetLite0
from course_lib.training import __main__ as program
from course_lib.training.__main__ import NETS, main
from course_lib.training.processes import Processes

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    "FASHION_MNIST": "sample",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "PYTHONWARNINGS": "ignore",
}


def run(*command):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def parallel(counted, tmp_path_factory):
    """Where tests/parallel.py has written what it found."""
    folder = tmp_path_factory.mktemp("parallel")
    done = run("tests/parallel.py", folder)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return folder


def test_two_processes_learn_what_one_does(parallel):
    """Without batch norm and dropout: same images, same losses, to rounding."""
    one, two = (
        torch.load(parallel / f"LeNet-{processes}.pt", weights_only=True)
        for processes in (1, 2)
    )
    assert len(one["losses"]) == 2 * 5
    assert two["losses"] == pytest.approx(one["losses"], rel=2e-5)
    for name, value in one["state"]["net"].items():
        torch.testing.assert_close(two["state"]["net"][name], value, rtol=0, atol=1e-5)


def test_gradients_of_two_processes_in_float64(parallel):
    for rank in (0, 1):
        found = (parallel / f"difference-{rank}.json").read_text()
        images, difference = json.loads(found)
        assert images == 400
        assert difference < 1e-12


def ends_as_one(printed, path):
    """Each process has statistics of its own; the first one's are scored and saved, and
    it alone speaks.
    """
    assert "2 processes, cpu" in printed
    (row,) = torch.load(path, weights_only=True)["epochs"]
    assert printed.count(" test ") == 1
    assert f"{row[1][1]:.3f}" in printed


def test_batch_norm_in_two_processes_ends_as_one_network(parallel):
    first, second = ((parallel / f"ResNet-2-{rank}.txt").read_text() for rank in (0, 1))
    ends_as_one(first, parallel / "ResNet-2.pt")
    assert second == ""


@pytest.mark.slow
def test_torchrun(tmp_path):
    """As `test_batch_norm_in_two_processes_ends_as_one_network`, by its command."""
    path = tmp_path / "run.pt"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "course_lib.training", "ResNet", "small", "--checkpoint", path]
    done = run(*command, "--epochs", "1", "--batch-size", "100")
    assert done.returncode == 0, done.stderr
    ends_as_one(done.stderr + done.stdout, path)


#: Where it dies, and which time that it comes there.
PLACES = [
    ("before a step", 1),
    ("after a step", 3),
    ("before scoring", 1),
    ("after scoring", 1),
    ("half written", 1),
    ("half written", 2),
    ("before fsync", 2),
    ("before the rename", 2),
    ("after the rename", 1),
    ("after a step", 10),
]
#: A checkpoint that is torn, one that has not got its name, one that is of old.
THREE = [("half written", 2), ("before the rename", 2), ("after a step", 10)]


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(THREE, id="three"),
        pytest.param(PLACES, id="ten", marks=pytest.mark.slow),
    ],
)
def test_killed_in_many_places(tmp_path, places):
    """It loses at most an epoch, never the checkpoint, and ends the same to the bit."""
    arguments = [part for place in places for part in place]
    done = run("tests/killed.py", tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    code, whole = found.pop("")
    assert code == 0
    assert len(whole[0]) == 3 * 4
    assert len(found) == len(places)
    for place, count in places:
        signal, epochs, *end = found[f"{place} {count}"]
        assert signal == 9
        if epochs is not None:
            assert epochs >= (count - 1 if "step" not in place else count // 4)
        assert end == [0, whole]


@pytest.fixture
def _sample(monkeypatch):
    monkeypatch.setenv("FASHION_MNIST", "sample")


SHORT = ["--epochs", "1", "--batch-size", "100"]


@pytest.mark.usefixtures("_sample")
@pytest.mark.filterwarnings("ignore:using the sample")
def test_options_reach_the_network(monkeypatch, capsys):
    built = []
    fit = program.fit

    def spy(net, *args, **kwargs):
        built.append(net)
        return fit(net, *args, **kwargs)

    monkeypatch.setattr(program, "fit", spy)
    command = ["NiN", "small", "--with", "batch_norm=True", *SHORT]
    main([*command, "--device", "cpu", "--size", "32"])
    assert any(isinstance(each, torch.nn.BatchNorm2d) for each in built[0].modules())
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].startswith("epoch  train loss")
    assert "1 processes, cpu" in captured.err


@pytest.mark.usefixtures("_sample")
@pytest.mark.filterwarnings("ignore:using the sample")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["ResNet", "19"], "19"),
        (["ResNet", "small", "--with", "depth"], "NAME=VALUE, got 'depth'"),
        (["ResNet", "small", "--with", "depth=3"], "ResNet: .*'depth'"),
        (["ResNet", "small", "--with", "shortcut=D"], "'D'"),
        (
            ["ResNet", "small", "--epochs", "0"],
            "epochs must be .* at least 1, got 0",
        ),
        (["LeNet", "modern", *SHORT, "--lr", "1e9"], "loss is nan"),
        (["ResNet", "small", "--sync-batch-norm", "--device", "cpu"], "needs GPUs"),
        (["ResNet", "small", "--data", "no/such"], "no/such/train"),
    ],
)
def test_what_cannot_be_run(command, message):
    with pytest.raises(SystemExit, match=message):
        main(command)


def test_on_gpus_as_far_as_it_goes_without(monkeypatch, capsys):
    """Which calls are made; nothing here has run on a GPU."""
    calls, nets = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda i: calls.append(i))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend: calls.append(backend)
    )
    monkeypatch.setattr(program, "fashion_mnist", lambda: fashion_mnist(sample=True))
    monkeypatch.setattr(
        program,
        "runtime",
        lambda device, _: Runtime(
            torch.device(device or "cuda"), torch.float32, torch.channels_last
        ),
    )
    monkeypatch.setattr(program, "processes", lambda: Processes(1, 8))
    monkeypatch.setattr(program, "fit", lambda net, *_, **kw: nets.append((net, kw)))
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.warns(UserWarning, match="sample"):
        main(["ResNet", "small", "--sync-batch-norm"])
    assert calls == [3, "nccl"]
    ((net, arguments),) = nets
    assert any(isinstance(each, torch.nn.SyncBatchNorm) for each in net.modules())
    assert arguments["runtime"].device == torch.device("cuda:3")
    assert capsys.readouterr().out == ""  # only the first process speaks


def test_every_network_can_be_asked_for():
    chapters = {*Network.__subclasses__()} - {EfficientNetLite0}  # which has none
    assert {*NETS.values()} == chapters
    with pytest.raises(SystemExit):
        main(["MLP", "small"])


@pytest.mark.usefixtures("_sample")
@pytest.mark.filterwarnings("ignore:using the sample")
def test_as_a_program(monkeypatch):
    monkeypatch.setattr("sys.argv", ["course_lib.training", "ResNet", "19"])
    with pytest.raises(SystemExit, match="19"):
        runpy.run_path(main.__code__.co_filename, run_name="__main__")
