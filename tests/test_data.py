import contextlib
import gzip
import http.server
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

import course_lib.data.files as files_module
from course_lib.data import CLASSES, MEAN, STD, DataError, Split, fashion_mnist, move
from course_lib.data.files import FILES

LABELS = "t10k-labels-idx1-ubyte"


# What is there


def test_standard_split(real):
    assert (len(real.train), len(real.validation), len(real.test)) == (
        55_000,
        5_000,
        10_000,
    )
    assert real.train.images.shape == (55_000, 1, 28, 28)
    assert real.train.images.dtype == torch.uint8
    labels = torch.cat([real.train.labels, real.validation.labels])
    assert labels.bincount().tolist() == [6_000] * 10
    assert real.test.labels.bincount().tolist() == [1_000] * 10
    assert (
        repr(real)
        == "Fashion-MNIST: 55,000 for training, 5,000 for validation, 10,000 for test"
    )


def test_torchvision_reads_the_same(real, real_files, tmp_path):
    from torchvision.datasets import FashionMNIST

    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / name).write_bytes(
            gzip.decompress((real_files / f"{name}.gz").read_bytes())
        )
    theirs = FashionMNIST(tmp_path, train=True)
    assert torch.equal(
        torch.cat([real.train.images, real.validation.images])[:, 0], theirs.data
    )
    assert torch.equal(
        torch.cat([real.train.labels, real.validation.labels]), theirs.targets
    )
    assert torch.equal(real.test.images[:, 0], FashionMNIST(tmp_path, train=False).data)


def test_mean_and_deviation(real):
    pixels = real.train.images.double() / 255
    assert pixels.mean().item() == pytest.approx(MEAN, abs=5e-5)
    assert pixels.std().item() == pytest.approx(STD, abs=5e-5)
    x = torch.cat([x for x, _ in real.train.batches(5_000)])
    assert x.mean().item() == pytest.approx(0, abs=1e-3)
    assert x.std().item() == pytest.approx(1, abs=1e-3)


def test_a_split_says_what_it_is(sample):
    assert repr(sample.train) == "Split(400 images of 28x28)"


def test_sample_is_said_aloud_and_real(real):
    with pytest.warns(UserWarning, match="sample of 640 images"):
        sample = fashion_mnist(sample=True)
    assert (len(sample.train), len(sample.validation), len(sample.test)) == (
        400,
        80,
        160,
    )
    assert sample.source == "sample"
    everything = {image.numpy().tobytes() for image in real.train.images[:2_000]}
    assert all(image.numpy().tobytes() in everything for image in sample.train.images)


def test_sample_by_variable(monkeypatch):
    monkeypatch.setenv("FASHION_MNIST", "sample")
    with pytest.warns(UserWarning, match="sample"):
        assert len(fashion_mnist().train) == 400


def test_command_says_where_from(real, capsys):
    runpy.run_module("course_lib.data", run_name="__main__", alter_sys=True)
    assert f"from {real.source}" in capsys.readouterr().out


def test_command_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        runpy.run_module("course_lib.data", run_name="__main__")
    assert end.value.code.startswith("DataError: ")
    assert str(tmp_path) in end.value.code


# Batches


def test_batches_are_every_image_once(sample):
    y = torch.cat([y for _, y in sample.train.batches(128, seed=3)])
    assert torch.equal(y.sort().values, sample.train.labels.sort().values)
    assert [len(y) for _, y in sample.train.batches(128)] == [100] * 4
    assert [len(y) for _, y in sample.train.batches(399)] == [200, 200]


def test_batches_without_seed_are_in_order(sample):
    y = torch.cat([y for _, y in sample.test.batches(50)])
    assert torch.equal(y, sample.test.labels)


def test_seed_and_epoch_decide(sample):
    def first(**kwargs):
        return next(sample.train.batches(64, augment=True, **kwargs))[0]

    assert torch.equal(first(seed=1, epoch=2), first(seed=1, epoch=2))
    assert not torch.equal(first(seed=1, epoch=2), first(seed=1, epoch=3))
    assert not torch.equal(first(seed=1, epoch=2), first(seed=2, epoch=2))


def test_augmentation_belongs_to_the_image_not_the_batch(sample):
    """However the images are split into batches, the same is done to each of them."""
    small = torch.cat([x for x, _ in sample.train.batches(7, seed=5, augment=True)])
    large = torch.cat([x for x, _ in sample.train.batches(400, seed=5, augment=True)])
    assert torch.equal(small, large)


def test_resize(sample):
    x, _ = next(sample.train.batches(4, size=32))
    assert x.shape == (4, 1, 32, 32)
    expected = torch.nn.functional.interpolate(
        next(sample.train.batches(4))[0], size=(32, 32), mode="bilinear"
    )
    torch.testing.assert_close(x, expected)


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"batch_size": 4, "size": 0}])
def test_bad_batches(sample, arguments):
    with pytest.raises(ValueError, match="at least 1"):
        sample.train.batches(**arguments)


def test_fingerprint(sample):
    split = sample.train
    assert split.fingerprint() == Split(split.images, split.labels).fingerprint()
    backwards = torch.arange(len(split)).flip(0)
    others = [
        split,
        sample.test,
        Split(split.images[backwards], split.labels[backwards]),
        Split(split.images, split.labels[backwards]),
        Split(split.images.transpose(2, 3), split.labels),
        Split(split.images.view(-1, 1, 14, 56), split.labels),
        Split(split.images[:0], split.labels[:0]),
    ]
    assert len({other.fingerprint() for other in others}) == len(others)


def test_empty_split_has_no_batches():
    empty = Split(
        torch.zeros(0, 1, 28, 28, dtype=torch.uint8), torch.zeros(0, dtype=torch.long)
    )
    assert list(empty.batches(8)) == []


@settings(max_examples=50, deadline=None)
@given(
    flip=st.booleans(),
    down=st.integers(-1, 1),
    right=st.integers(-1, 1),
    channels=st.integers(1, 3),
)
def test_move_equals_roll(flip, down, right, channels):
    x = torch.arange(channels * 20, dtype=torch.uint8).reshape(1, channels, 4, 5) + 1
    expected = torch.zeros(1, channels, 6, 7, dtype=torch.uint8)
    expected[:, :, 1:-1, 1:-1] = x.flip(3) if flip else x
    expected = expected.roll((down, right), dims=(2, 3))[:, :, 1:-1, 1:-1]
    assert torch.equal(
        move(x, torch.tensor([flip]), torch.tensor([[down, right]])), expected
    )


# Bad input: real files, a real server


@pytest.fixture
def folder(tmp_path, real_files, monkeypatch):
    """A folder with the four files, that FASHION_MNIST names, to damage."""
    for name in FILES:
        (tmp_path / f"{name}.gz").symlink_to(real_files / f"{name}.gz")
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    return tmp_path


@pytest.fixture
def labels_alone(monkeypatch):
    """One file of the four is looked for, as the training images take a third of a
    second to be read and what is damaged here is not these.
    """
    monkeypatch.setattr(files_module, "FILES", {LABELS: FILES[LABELS]})


def replace(folder: Path, name: str, content: bytes) -> Path:
    path = folder / f"{name}.gz"
    path.unlink()
    path.write_bytes(content)
    return path


def test_variable_names_a_folder(folder):
    assert fashion_mnist().source == str(folder)


def test_uncompressed_files_do(folder, real_files):
    (folder / f"{LABELS}.gz").unlink()
    (folder / LABELS).write_bytes(
        gzip.decompress((real_files / f"{LABELS}.gz").read_bytes())
    )
    assert len(fashion_mnist().test) == 10_000


@pytest.mark.parametrize("name", [LABELS, "train-images-idx3-ubyte"])
def test_truncated_gzip(folder, real_files, name):
    content = (real_files / f"{name}.gz").read_bytes()
    path = replace(folder, name, content[: len(content) // 2])
    with pytest.raises(DataError, match="truncated") as error:
        fashion_mnist()
    assert str(path) in str(error.value)
    assert "python -m course_lib.data" in str(error.value)


def test_truncated_content(folder, labels_alone):
    path = replace(folder, LABELS, gzip.compress(b"\0" * 100))
    with pytest.raises(DataError, match="100 of 10,008 bytes") as error:
        fashion_mnist()
    assert str(path) in str(error.value)


def test_a_page_of_a_proxy(folder, labels_alone):
    path = replace(folder, LABELS, b"<html>Please log in</html>")
    with pytest.raises(DataError, match="web page") as error:
        fashion_mnist()
    assert str(path) in str(error.value)


def test_damaged(folder, real_files, labels_alone):
    content = bytearray((real_files / f"{LABELS}.gz").read_bytes())
    content[2_000:2_100] = bytes(100)
    replace(folder, LABELS, bytes(content))
    with pytest.raises(DataError, match=r"damaged|truncated|SHA-256"):
        fashion_mnist()


def test_another_data_set_of_the_same_names(folder, labels_alone):
    """As when MNIST lies there: right names, right sizes, other digits."""
    header = (2049).to_bytes(4, "big") + (10_000).to_bytes(4, "big")
    path = replace(
        folder, LABELS, gzip.compress(header + bytes(i % 10 for i in range(10_000)))
    )
    with pytest.raises(DataError, match="SHA-256") as error:
        fashion_mnist()
    assert str(path) in str(error.value)


def test_missing_file(folder):
    (folder / f"{LABELS}.gz").unlink()
    with pytest.raises(DataError, match=f"{LABELS}.gz is missing"):
        fashion_mnist()


def test_unreadable_file(folder, labels_alone):
    path = replace(folder, LABELS, b"")
    path.unlink()
    path.symlink_to(
        "/proc/self/mem"
    )  # a file that even root cannot read from its start
    with pytest.raises(DataError, match="cannot be read"):
        fashion_mnist()


@pytest.fixture
def serve(real_files, monkeypatch):
    """Start a server of the four files on loopback; `answer` may spoil one of them."""
    monkeypatch.setattr(files_module, "DEBIAN", Path("/nowhere"))
    servers = []

    def start(answer=lambda handler, content: handler.send(content)):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                answer(self, (real_files / self.path.lstrip("/")).read_bytes())

            def send(self, content, length=None):
                self.send_response(200)
                self.send_header("Content-Length", str(length or len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


FETCHER = """\
import os, pathlib, sys, course_lib.data as data
data.files.DEBIAN = pathlib.Path('/nowhere')
for line in sys.stdin:
    url, cache = line.split()
    if not (child := os.fork()):
        try:
            said = len(data.fashion_mnist(url=url, cache=pathlib.Path(cache)).train)
        except BaseException as error:
            said = repr(error)
        os.write(1, f'{said}\\n'.encode())  # a line in one piece
        os._exit(0)
    os.write(1, f'process {child}\\n'.encode())
"""


@pytest.fixture(scope="module")
def in_process():
    """Fetch in processes of their own: this gives the number of each, and lines that
    they print. They are forks of one, as an import takes long.
    """
    with subprocess.Popen(
        [sys.executable, "-c", FETCHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:

        def start(url, cache):
            server.stdin.write(f"{url} {cache}\n")
            server.stdin.flush()

        yield start, server.stdout
        server.stdin.close()


def files(cache: Path) -> set[str]:
    return {path.name for path in cache.rglob("*")}


COMPLETE = {f"{name}.gz" for name in FILES}


def test_fetches_once(serve, tmp_path):
    url = serve()
    assert fashion_mnist(url=url, cache=tmp_path).source == url
    assert files(tmp_path) == COMPLETE
    assert fashion_mnist(url="http://127.0.0.1:9/", cache=tmp_path).source == str(
        tmp_path
    )


def test_completes_a_cache(serve, tmp_path, real_files):
    (tmp_path / f"{LABELS}.gz").write_bytes((real_files / f"{LABELS}.gz").read_bytes())
    fashion_mnist(
        url=serve(lambda handler, content: handler.send(content)), cache=tmp_path
    )
    assert files(tmp_path) == COMPLETE


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "DEBIAN", Path("/nowhere"))
    with pytest.raises(
        DataError, match="apt-get install dataset-fashion-mnist"
    ) as error:
        fashion_mnist(url="http://127.0.0.1:9/", cache=tmp_path)
    for place in ("FASHION_MNIST", str(tmp_path), "/nowhere", "127.0.0.1:9", "sample"):
        assert place in str(error.value)
    assert files(tmp_path) == set()


def test_server_sends_a_page(serve, tmp_path):
    url = serve(lambda handler, _: handler.send(b"<html>Please log in</html>"))
    with pytest.raises(DataError, match="web page"):
        fashion_mnist(url=url, cache=tmp_path)
    assert files(tmp_path) == set()


def test_server_hangs_up(serve, tmp_path):
    url = serve(
        lambda handler, content: handler.send(content[:1_000], length=len(content))
    )
    with pytest.raises(DataError, match="could not be downloaded"):
        fashion_mnist(url=url, cache=tmp_path)
    assert files(tmp_path) == set()


def test_server_never_stops(serve, tmp_path, monkeypatch):
    """An answer without a length, of which no end comes."""
    monkeypatch.setattr(files_module, "LIMIT", 1_000_000)
    sent = []

    def endless(handler, _):
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):  # until the client hangs up
            while sum(sent) < 1_000_000_000:
                sent.append(handler.wfile.write(bytes(100_000)))

    with pytest.raises(DataError, match="longer than 1,000,000 bytes"):
        fashion_mnist(url=serve(endless), cache=tmp_path)
    assert sum(sent) < 100_000_000
    assert files(tmp_path) == set()


def test_cache_that_cannot_be_written(serve, tmp_path, labels_alone):
    for cache in (Path("/proc/block-by-block"), tmp_path / "file" / "cache"):
        (tmp_path / "file").touch()
        with pytest.raises(DataError, match="cannot be written"):
            fashion_mnist(url=serve(), cache=cache)


def test_disk_full_leaves_nothing(serve, tmp_path, monkeypatch, labels_alone):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        fashion_mnist(url=serve(), cache=tmp_path)
    assert files(tmp_path) == set()


def test_two_processes_at_once(serve, tmp_path, in_process):
    (start, lines), url = in_process, serve()
    for _ in range(2):
        start(url, tmp_path)
    said = []
    while len(said) < 4:
        line = lines.readline()
        assert line, f"their process ended after {said}"
        said += line.split()[:1]
    assert sorted(said) == ["55000", "55000", "process", "process"]
    assert files(tmp_path) == COMPLETE


def test_killed_in_the_middle(serve, tmp_path, in_process):
    (start, lines), reached = in_process, threading.Event()

    def slow(handler, content):
        handler.send(content[: len(content) // 2], length=len(content))
        handler.wfile.flush()
        reached.set()
        time.sleep(20)

    start(serve(slow), tmp_path)
    process = int(lines.readline().removeprefix("process"))
    assert reached.wait(300)
    time.sleep(0.5)
    os.kill(process, signal.SIGKILL)
    assert files(tmp_path) == set()
    assert len(fashion_mnist(url=serve(), cache=tmp_path).train) == 55_000


# Parts of batches, for several processes


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_are_the_batches_and_augmented_alike(sample, parts):
    arguments = {"seed": 1, "epoch": 2, "augment": True}
    whole = list(sample.train.batches(32, **arguments))
    shares = [
        list(sample.train.batches(32, shard=(which, parts), **arguments))
        for which in range(parts)
    ]
    for (x, y), *pieces in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([part[0] for part in pieces]), x)
        assert torch.equal(torch.cat([part[1] for part in pieces]), y)


@pytest.mark.parametrize("part", [(2, 2), (-1, 2), (0, 0)])
def test_a_part_that_is_none(sample, part):
    with pytest.raises(ValueError, match=r"0 <= i < n, got \(.*\)"):
        next(sample.train.batches(32, shard=part))


def test_names_of_the_classes_are_those_of_the_data():
    """In the data's own README, where Debian's package is, and in torchvision."""
    documented = [torchvision.datasets.FashionMNIST.classes]
    readme = Path("/usr/share/doc/dataset-fashion-mnist/README.md.gz")
    if readme.exists():
        text = gzip.decompress(readme.read_bytes()).decode()
        rows = re.findall(r"^\| *(\d) *\| *([\w /-]+?) *\|", text, flags=re.MULTILINE)
        documented.append([name for _, name in rows])
        assert [int(number) for number, _ in rows] == list(range(10))
    for names in documented:
        assert [each.lower().removesuffix("/top") for each in names] == [
            each.lower() for each in CLASSES
        ]
