"""What many tests need: the data set, a small one of the same shape, and none of the
reader's variables.
"""

import warnings
from pathlib import Path

import matplotlib as mpl
import pytest

from course_lib.data import DataError, fashion_mnist
from course_lib.data.files import DEBIAN, FILES, VARIABLE

mpl.use("Agg")

# Programs that tests start, answers that they give, a suite that wants a browser.
collect_ignore = ["kernel.py", "killed.py", "parallel.py", "answers", "browser"]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in (VARIABLE, "COURSE_DEVICE", "COURSE_PRECISION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def sample():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fashion_mnist(sample=True)


@pytest.fixture(scope="session")
def real():
    """All of Fashion-MNIST. `make test` gets it before it runs the tests."""
    try:
        return fashion_mnist()
    except DataError as error:
        pytest.fail(f"these tests want the real data; run: make data\n{error}")


@pytest.fixture(scope="session")
def real_files(real):
    """The folder with its four files."""
    folder = Path(real.source)
    assert folder == DEBIAN or folder.is_dir()
    assert all((folder / f"{name}.gz").is_file() for name in FILES)
    return folder
