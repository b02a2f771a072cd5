from dataclasses import asdict, fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import LeNet, Settings, Split, TrainingError, fit
from course_lib.training import checkpoint
from course_lib.training.checkpoint import Checkpoint, _read, identity
from course_lib.training.history import Epoch, History, Score

RUN = {"net": "Linear", "epochs": 3, "lr": 0.1, "size": None}
HISTORY = History([Epoch(1.5, Score(1.25, 0.5), 2.0, 1.7)], [1.0, 2.0])


def run():
    net = nn.Linear(2, 3)
    return {"net": net, "optimizer": torch.optim.SGD(net.parameters(), 0.1)}


def save(path, run, state, history):
    Checkpoint(path, dict(run), state=state).save(history)


def resume(path, run, state):
    found = _read(path, run) if path and path.exists() else None
    return Checkpoint(path, run, found).resume(**state)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.pt"


def test_what_was_saved_comes_back(path):
    before, after = run(), run()
    save(path, RUN, before, HISTORY)
    assert resume(path, RUN, after) == HISTORY
    assert torch.equal(before["net"].weight, after["net"].weight)
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]


def test_nothing_to_go_on_from(path):
    assert resume(path, RUN, {}) == History()
    assert resume(None, RUN, {}) == History()
    save(None, RUN, {}, HISTORY)


def test_a_write_that_fails_leaves_the_old_one(path, monkeypatch):
    save(path, RUN, run(), HISTORY)
    old = path.read_bytes()

    def full(_content, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    message = r"epoch 0: .*run\.pt cannot be written: no space.* It has epoch -1 still"
    with pytest.raises(TrainingError, match=message):
        save(path, RUN, run(), History())
    assert path.read_bytes() == old
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]


def test_another_run(path):
    save(path, RUN, run(), HISTORY)
    wanted = RUN | {"lr": 0.2, "size": 96}
    with pytest.raises(
        ValueError, match=r"another run: lr=0\.1 there and 0\.2 here, size=None .* 96"
    ):
        resume(path, wanted, run())


NONE = [b"", b"half", "cut", {"losses": []}, {"run": [1]}, {"run": 1}, [1, 2]]


@pytest.mark.parametrize("content", NONE)
def test_what_is_no_checkpoint(path, content):
    if content == "cut":
        save(path, RUN, run(), HISTORY)
        content = path.read_bytes()[:-200]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.pt is not a checkpoint"):
        resume(path, RUN, run())
    assert path.read_bytes() == before


# What makes a run this run


SHORT = Settings(epochs=1, batch_size=200)


class Nameless(nn.Module):
    """Shown with its address, as a lambda is."""

    def extra_repr(self):
        return f"{object()}"


def test_every_setting_is_in_it(sample):
    run = identity(LeNet("small"), sample, SHORT)
    assert run | asdict(SHORT) == run
    assert {field.name for field in fields(Settings)} < set(run)


def test_the_same_run_is_the_same_wherever_its_modules_are(sample):
    nets = [nn.Sequential(LeNet("small"), Nameless()) for _ in range(2)]
    assert " at 0x" in repr(nets[0])
    one, other = (identity(net, sample, SHORT) for net in nets)
    assert one == other
    assert " at 0x" not in one["net"]


def other_labels(data):
    labels = data.train.labels.clone()
    labels[7] = (labels[7] + 1) % 10
    return replace(data, train=Split(data.train.images, labels))


def one_pixel(data):
    images = data.validation.images.clone()
    images[-1, 0, -1, -1] ^= 1
    return replace(data, validation=Split(images, data.validation.labels))


def other_classes(data):
    made = replace(data)
    object.__setattr__(made, "classes", (*data.classes[:9], "boot"))
    return made


def frozen(net):
    net.c1.requires_grad_(False)
    return net


OTHERS = {
    r"lr=0\.1 there and 0\.2 here": {"settings": replace(SHORT, lr=0.2)},
    "size=None there and 27 here, seed=0 there and 4 here": {
        "settings": replace(SHORT, seed=4, size=27)
    },
    r"net='\(1\): ReLU\(\)' there and '\(1\): Tanh\(\)' here": {
        "net": lambda: LeNet("small", activation=nn.Tanh)
    },
    r"net='LeNet\(' there and 'Sequential\(' here": {
        "net": lambda: nn.Sequential(*LeNet("small"))
    },
    r"net='c1\.0\.weight: float32 .*, learned' there and 'c1.*\)' here": {
        "net": lambda: frozen(LeNet("small"))
    },
    r"net=.* there and '\(7\): Identity\(\)' here": {
        "net": lambda: LeNet("small").append(nn.Identity())
    },
    "data.train='400 images, .*' there and '400 images, .*' here": {
        "data": other_labels
    },
    "data.validation='80 images, .*' there and '80 images, .*' here": {
        "data": one_pixel
    },
    "data.test='160 images, .*' there and '80 images, .*' here": {
        "data": lambda data: replace(data, test=data.validation)
    },
    "data.classes='ankle boot' there and 'boot' here": {"data": other_classes},
}


@pytest.mark.parametrize("message", OTHERS)
def test_another_net_other_data_other_settings(message, path, sample):
    """Nothing is lost: neither the file, nor the weights of the network."""
    fit(LeNet("small"), sample, SHORT, checkpoint=path, progress=False)
    content = path.read_bytes()
    other = {"net": lambda: LeNet("small"), "data": lambda data: data} | OTHERS[message]
    net, data = other["net"](), other["data"](sample)
    before = [x.clone() for x in net.parameters()]
    settings = other.get("settings", SHORT)
    with pytest.raises(ValueError, match=f"is of another run: {message}"):
        fit(net, data, settings, checkpoint=path, progress=False)
    assert path.read_bytes() == content
    assert all(map(torch.equal, before, net.parameters()))


def test_a_setting_that_was_not_there_yet_or_is_no_more(path, sample):
    run = identity(LeNet("small"), sample, SHORT)
    there = {name: value for name, value in run.items() if name != "seed"}
    save(path, there | {"decay": 3}, {}, HISTORY)
    message = "seed='nothing' there and 0 here, decay=3 there and 'nothing' here"
    with pytest.raises(ValueError, match=message):
        resume(path, run, {})


def test_no_code_is_run_by_loading(path):
    class Evil:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"run": Evil()}, path)
    with pytest.raises(ValueError, match="not a checkpoint"):
        resume(path, RUN, run())


def test_a_flipped_bit_in_a_weight_is_noticed(path):
    save(path, RUN, run(), HISTORY)
    content = torch.load(path, weights_only=True)
    content["state"]["net"]["weight"][0, 0] += 1
    torch.save(content, path)
    with pytest.raises(ValueError, match="its weights are not those that were written"):
        resume(path, RUN, run())


def test_what_cannot_be_loaded_leaves_the_net_as_it_was(path):
    save(path, RUN, run(), HISTORY)
    state = run()
    state["optimizer"] = torch.optim.SGD([nn.Parameter(torch.ones(3))] * 1, 0.1)
    state["optimizer"].add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    before = {name: x.clone() for name, x in state["net"].state_dict().items()}
    with pytest.raises(ValueError, match="or is damaged"):
        resume(path, RUN, state)
    assert all(torch.equal(x, before[k]) for k, x in state["net"].state_dict().items())


def test_another_format_is_refused_by_its_number(path):
    save(path, RUN, run(), HISTORY)
    content = torch.load(path, weights_only=True)
    torch.save(content | {"format": 99}, path)
    with pytest.raises(ValueError, match=r"has the format 99, and this .* reads 3"):
        resume(path, RUN, run())


def test_another_version_of_the_course_goes_on_and_says_so(path):
    save(path, RUN, run(), HISTORY)
    content = torch.load(path, weights_only=True)
    torch.save(content | {"course": "0.0.1"}, path)
    with pytest.warns(UserWarning, match=r"version 0\.0\.1 of the course"):
        assert resume(path, RUN, run()) == HISTORY


def test_a_copy_that_is_not_installed_has_no_version(monkeypatch):
    def missing(name):
        raise checkpoint.PackageNotFoundError(name)

    monkeypatch.setattr(checkpoint, "version", missing)
    assert checkpoint._version() == "unknown"


def test_a_disk_that_fills_up_is_called_full(path, monkeypatch):
    def full(_content, file):
        raise RuntimeError("[enforce fail at inline_container.cc:671]")

    monkeypatch.setattr(torch, "save", full)
    usage = SimpleNamespace(free=4096)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(TrainingError, match=r"cannot be written: the disk is full\.$"):
        save(path, RUN, run(), HISTORY)


def test_what_a_killed_run_left_counts_as_free(path, sample, monkeypatch):
    size = 2 * sum(4 * x.numel() for x in LeNet("small").state_dict().values())
    path.with_name("run.pt.part").write_bytes(bytes(size))
    usage = SimpleNamespace(free=10)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage)
    fit(LeNet("small"), sample, SHORT, checkpoint=path, progress=False)
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]


def test_a_path_may_be_text(tmp_path, sample):
    fit(LeNet("small"), sample, SHORT, checkpoint=f"{tmp_path}/a b.pt", progress=False)
    assert [file.name for file in tmp_path.iterdir()] == ["a b.pt"]


def test_a_disk_that_is_too_small(path, sample, monkeypatch):
    usage = SimpleNamespace(free=1_000)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match=r"takes 1 MB, and its disk has 0 MB left"):
        fit(LeNet("small"), sample, SHORT, checkpoint=path, progress=False)


def test_a_folder_without_the_right_to_write(path, sample, monkeypatch):
    def refused(**where):
        raise PermissionError(13, "Permission denied", str(where["dir"]))

    monkeypatch.setattr(checkpoint.tempfile, "TemporaryFile", refused)
    with pytest.raises(ValueError, match=r"run\.pt cannot be written: .*denied"):
        fit(LeNet("small"), sample, SHORT, checkpoint=path, progress=False)


def test_a_learning_rate_from_numpy_can_be_read_again(path, sample):
    settings = Settings(epochs=1, batch_size=200, lr=np.logspace(-3, -1, 3)[1])
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        net = LeNet("small")
        runs.append(fit(net, sample, settings, checkpoint=path, progress=False))
    assert runs[0].losses == runs[1].losses
    assert len(runs[1].epochs) == 1
