import pytest
import torch
from torch import nn

from course_lib.training.checkpoint import resume, save
from course_lib.training.history import Epoch, History, Score

SETTINGS = {"net": "Linear", "epochs": 3, "lr": 0.1, "size": None}
HISTORY = History([Epoch(1.5, Score(1.25, 0.5), 2.0)], [1.0, 2.0])


def run():
    net = nn.Linear(2, 3)
    return {"net": net, "optimizer": torch.optim.SGD(net.parameters(), 0.1)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.pt"


def test_what_was_saved_comes_back(path):
    before, after = run(), run()
    save(path, SETTINGS, before, HISTORY)
    assert resume(path, SETTINGS, after) == HISTORY
    assert torch.equal(before["net"].weight, after["net"].weight)
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]


def test_nothing_to_go_on_from(path):
    assert resume(path, SETTINGS, {}) == History()
    assert resume(None, SETTINGS, {}) == History()
    save(None, SETTINGS, {}, HISTORY)


def test_a_write_that_fails_leaves_the_old_one(path, monkeypatch):
    save(path, SETTINGS, run(), HISTORY)
    old = path.read_bytes()

    def full(_content, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        save(path, SETTINGS, run(), History())
    assert path.read_bytes() == old


def test_another_run(path):
    save(path, SETTINGS, run(), HISTORY)
    wanted = SETTINGS | {"lr": 0.2, "size": 96}
    with pytest.raises(
        ValueError, match=r"another run: lr=0\.1 there and 0\.2 here, size=None .* 96"
    ):
        resume(path, wanted, run())


@pytest.mark.parametrize("content", [b"", b"half", "cut", {"losses": []}, [1, 2]])
def test_what_is_no_checkpoint(path, content):
    if content == "cut":
        save(path, SETTINGS, run(), HISTORY)
        content = path.read_bytes()[:-200]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.pt is not a checkpoint"):
        resume(path, SETTINGS, run())
    assert path.read_bytes() == before


def test_no_code_is_run_by_loading(path):
    class Evil:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"settings": Evil()}, path)
    with pytest.raises(ValueError, match="not a checkpoint"):
        resume(path, SETTINGS, run())
