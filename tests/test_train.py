"""The command line, alone and on two processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course_lib import Runtime, fashion_mnist, train

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {
    "FASHION_MNIST": "sample",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "PYTHONWARNINGS": "ignore",
}


def run(*command, processes=0):
    if processes:
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        command = [*launcher, f"--nproc-per-node={processes}", *command]
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


LENET = ["LeNet", "modern", "--epochs", "2", "--batch-size", "99"]
LENET += ["--precision", "float32", "--augment"]


def test_two_processes_learn_what_one_does(tmp_path):
    """Without batch norm and dropout: same pictures, same losses, to rounding."""
    found = []
    for processes in (0, 2):
        path = tmp_path / f"{processes}.pt"
        done = run(
            "-m", "course_lib.train", *LENET, "--checkpoint", path, processes=processes
        )
        assert done.returncode == 0, done.stderr
        found.append(torch.load(path, weights_only=True))
    one, two = found
    assert two["losses"] == pytest.approx(one["losses"], rel=2e-5)
    for name, value in one["state"]["net"].items():
        torch.testing.assert_close(two["state"]["net"][name], value, rtol=0, atol=1e-5)


def test_gradients_of_two_processes_in_float64():
    done = run("tests/parallel.py", processes=2)
    assert done.returncode == 0, done.stderr
    differences = re.findall(r"\d: 400 (\S+)", done.stdout)
    assert len(differences) == 2
    assert all(float(each) < 1e-12 for each in differences)


def test_batch_norm_in_two_processes_ends_as_one_network(tmp_path):
    """Each has statistics of its own; the first one's are scored and saved."""
    path = tmp_path / "run.pt"
    command = ["ResNet", "small", "--epochs", "1", "--batch-size", "100"]
    done = run("-m", "course_lib.train", *command, "--checkpoint", path, processes=2)
    assert done.returncode == 0, done.stderr
    assert "2 processes, cpu" in done.stderr
    (row,) = torch.load(path, weights_only=True)["epochs"]
    assert done.stdout.count("test") == 1
    assert f"{row[1][1]:.3f}" in done.stdout


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    end = run("tests/killed.py", tmp_path_factory.mktemp("whole") / "run.pt", "", 0)
    assert end.returncode == 0, end.stderr
    return end


@pytest.mark.parametrize(("place", "count"), PLACES)
def test_killed_in_ten_places(whole, tmp_path, place, count):
    """It loses at most an epoch, never the checkpoint, and ends the same."""
    path = tmp_path / "run.pt"
    killed = run("tests/killed.py", path, place, count)
    assert killed.returncode == -9, killed.stderr
    if path.exists():
        epochs = len(torch.load(path, weights_only=True)["epochs"])
        assert epochs >= (count - 1 if "step" not in place else count // 4)
    resumed = run("tests/killed.py", path, "", 0)
    assert (resumed.stdout, resumed.stderr) == (whole.stdout, whole.stderr)


@pytest.fixture
def _sample(monkeypatch):
    monkeypatch.setenv("FASHION_MNIST", "sample")


SHORT = ["--epochs", "1", "--batch-size", "100"]


@pytest.mark.usefixtures("_sample")
@pytest.mark.filterwarnings("ignore:using the sample")
def test_options_reach_the_network(monkeypatch, capsys):
    built = []
    fit = train.fit

    def spy(net, *args, **kwargs):
        built.append(net)
        return fit(net, *args, **kwargs)

    monkeypatch.setattr(train, "fit", spy)
    command = ["NiN", "small", "--with", "batch_norm=True", *SHORT]
    train.main([*command, "--device", "cpu", "--size", "32"])
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
        (["ResNet", "small", "--epochs", "0"], "epochs must be at least 1"),
        (["LeNet", "modern", *SHORT, "--lr", "1e9"], "loss is nan"),
        (["ResNet", "small", "--sync-batch-norm", "--device", "cpu"], "needs GPUs"),
        (["ResNet", "small", "--data", "no/such"], "no/such/train"),
    ],
)
def test_what_cannot_be_run(command, message):
    with pytest.raises(SystemExit, match=message):
        train.main(command)


def test_on_gpus_as_far_as_it_goes_without(monkeypatch, capsys):
    """Which calls are made; nothing here has run on a GPU."""
    calls, nets = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda i: calls.append(i))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend: calls.append(backend)
    )
    monkeypatch.setattr(train, "fashion_mnist", lambda: fashion_mnist(sample=True))
    monkeypatch.setattr(
        train,
        "runtime",
        lambda device, _: Runtime(
            torch.device(device or "cuda"), torch.float32, torch.channels_last, 1, 8
        ),
    )
    monkeypatch.setattr(train, "fit", lambda net, *_, **kw: nets.append((net, kw)))
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.warns(UserWarning, match="sample"):
        train.main(["ResNet", "small", "--sync-batch-norm"])
    assert calls == [3, "nccl"]
    ((net, arguments),) = nets
    assert any(isinstance(each, torch.nn.SyncBatchNorm) for each in net.modules())
    assert arguments["run_on"].device == torch.device("cuda:3")
    assert capsys.readouterr().out == ""  # only the first process speaks


def test_every_network_can_be_asked_for():
    assert set(train.NETS) == {
        *("LeNet", "AlexNet", "ZFNet", "VGG", "NiN", "GoogLeNet", "ResNet")
    }
    with pytest.raises(SystemExit):
        train.main(["MLP", "small"])
