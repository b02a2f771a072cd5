"""What many tests need: the data set, a small one of the same shape, and none of the
reader's variables. Who only distributes tests reads this, too: PyTorch is imported
where it is used.
"""

import atexit
import gc
import random
import sys
import warnings
from copy import copy
from functools import lru_cache
from pathlib import Path

import pytest

# With it, `import nbformat` takes a second more: a grammar for addresses, of which the
# format of notebooks has none.
sys.modules.setdefault("rfc3987_syntax", None)

# Programs that tests start, answers that they give, a suite that wants a browser.
collect_ignore = [
    "judging.py",
    "kernel.py",
    "killed.py",
    "marks.py",
    "parallel.py",
    "answers",
    "browser",
]


def pytest_configure(config):
    """Who runs tests opens no window, and looks for garbage when all is collected."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        import matplotlib as mpl

        mpl.use("Agg")
        gc.disable()


def pytest_collection_finish():
    """What was imported and collected stays: to look through it for garbage again and
    again would take a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # at its end, Python takes all apart


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    from course_lib.data.files import VARIABLE

    for name in (VARIABLE, "COURSE_DEVICE", "COURSE_PRECISION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _same_numbers():
    """A test draws the same numbers alone, after others, and next time: what holds in
    most draws only is looked for by the proofs, with many.
    """
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():  # else it would keep a stack for later, in 3 ms
        torch.cuda.manual_seed_all(0)


@pytest.fixture
def narrow(monkeypatch):
    """AlexNet and VGG, ours and torchvision's, have few units: what one makes of the
    other's weights does not depend on how many there are, and takes a tenth of the
    time. Their real numbers are compared on the meta device.
    """
    from torch import nn

    class Narrow(nn.Linear):
        """A fully connected layer with 64 units where it should have 4,096."""

        def __init__(self, in_features, out_features, *args, **kwargs):
            widths = (64 if n == 4096 else n for n in (in_features, out_features))
            super().__init__(*widths, *args, **kwargs)

    monkeypatch.setattr(nn, "Linear", Narrow)


@pytest.fixture(scope="module")
def counted(request):
    """Lines count that are reached in processes which this module's tests start: Python
    traces those that nothing else covers, such as two processes that train together.
    """
    plugin = request.config.pluginmanager.getplugin("_cov")
    with pytest.MonkeyPatch.context() as patch:
        if plugin and plugin.cov_controller:
            config = copy(plugin.cov_controller.cov.config)
            config.parallel = True  # each has a file of its own
            patch.setenv("COVERAGE_PROCESS_CONFIG", config.serialize())
        yield


@pytest.fixture(scope="session", autouse=True)
def _verified_once():
    """A file of Fashion-MNIST, as long as it stays what it is: to unpack and to verify
    the four takes a third of a second, and a hundred tests ask for them.
    """
    from course_lib.data import files

    checked = files._checked
    known = lru_cache(len(files.FILES))(lambda path, name, *_: checked(path, name))

    def once(path, name):
        stat = path.stat()
        return known(path, name, stat.st_ino, stat.st_size, stat.st_mtime_ns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_checked", once)
        yield


@pytest.fixture(scope="session")
def sample():
    from course_lib.data import fashion_mnist

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fashion_mnist(sample=True)


@pytest.fixture(scope="session")
def real():
    """All of Fashion-MNIST. `make test` gets it before it runs the tests."""
    from course_lib.data import DataError, fashion_mnist

    try:
        return fashion_mnist()
    except DataError as error:
        pytest.fail(f"these tests want the real data; run: make data\n{error}")


@pytest.fixture(scope="session")
def real_files(real):
    """The folder with its four files."""
    from course_lib.data.files import DEBIAN, FILES

    folder = Path(real.source)
    assert folder == DEBIAN or folder.is_dir()
    assert all((folder / f"{name}.gz").is_file() for name in FILES)
    return folder
