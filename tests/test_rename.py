"""The move to another address: tools/rename.py, on a copy of the course."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools import rename

ROOT = Path(__file__).parents[1]

NEW = "https://github.com/someone/course"


@pytest.fixture
def copy(tmp_path):
    """The tools, the configuration, one chapter and one set of exercises."""
    for file in (
        "_config.yml",
        "pyproject.toml",
        "book/convolution.md",
        "book/convolution.ipynb",
        "book/exercises/convolution.md",
        "book/exercises/convolution.ipynb",
        "book/solutions/convolution.ipynb",
        *(f"tools/{path.name}" for path in (ROOT / "tools").glob("*.py")),
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_one_command_moves_the_course(copy):
    before = {path: path.read_text() for path in copy.rglob("*") if path.is_file()}
    old = yaml.safe_load(before[copy / "_config.yml"])["repository"]["url"]
    command = [sys.executable, "-m", "tools.rename", "someone/course"]
    subprocess.run(command, check=True, capture_output=True, cwd=copy)
    changed = set()
    for path, text in before.items():
        assert path.read_text() == text.replace(old, NEW)
        changed |= {path.name} if path.read_text() != text else set()
    assert changed == {"_config.yml", "convolution.ipynb"}
    notebook = json.loads((copy / "book/solutions/convolution.ipynb").read_text())
    assert any(cell.get("outputs") for cell in notebook["cells"])


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("someone/course", NEW),
        ("https://github.com/someone/course", NEW),
        ("https://github.com/someone/course.git", NEW),
        ("https://git.example.org/group/part/course",) * 2,
    ],
)
def test_addresses(given, address):
    assert rename.full(given) == address


@pytest.mark.parametrize(
    "given", ["course", "http://a.b/c/d", "https://a.b/c", "a/b c"]
)
def test_what_is_no_address(given):
    with pytest.raises(ValueError, match=f"got '{given}'"):
        rename.full(given)
