"""What `make nbval` asks of a GPU, as far as can be seen without one."""

import runpy
import subprocess
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_notebook

from tests.notebooks.test_plugin import cell, run

ROOT = Path(__file__).parents[1]
SOURCE = """\
print("torch" in globals())
import torch
print(torch.are_deterministic_algorithms_enabled())
print(torch.is_deterministic_algorithms_warn_only_enabled())"""


@pytest.mark.parametrize("card", [False, True])
def test_deterministic_with_a_warning_on_a_card_only(monkeypatch, card):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    try:
        names = runpy.run_path(str(ROOT / "tests/kernel.py"))
        assert torch.are_deterministic_algorithms_enabled() is card
        assert torch.is_deterministic_algorithms_warn_only_enabled() is card
    finally:
        torch.use_deterministic_algorithms(False)
    assert "torch" not in names


@pytest.mark.slow
def test_the_kernel_of_a_notebook_is_so(tmp_path, monkeypatch):
    """As in `test_deterministic_with_a_warning_on_a_card_only`."""
    startup = tmp_path / "startup.py"
    pretends = "import torch\ntorch.cuda.is_available = lambda: True\n"
    startup.write_text(pretends + (ROOT / "tests/kernel.py").read_text())
    monkeypatch.setenv("PYTHONSTARTUP", str(startup))
    cells = [cell(SOURCE, "False\nTrue\nTrue\n", {}, 1)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "card.ipynb")
    assert "card.ipynb::Cell 0 PASSED" in run(tmp_path)


def test_make_asks_for_it():
    command = ["make", "--dry-run", "--assume-old", ".venv/all", "nbval"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "NVIDIA_TF32_OVERRIDE=0 CUBLAS_WORKSPACE_CONFIG=:4096:8" in done.stdout
    assert f"PYTHONSTARTUP={ROOT}/tests/kernel.py" in done.stdout
