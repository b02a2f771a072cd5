"""Every notebook runs on Colab: in a new environment with Colab's versions, from top to
bottom, course_lib installed by the notebook's own first cell.

    python -m proofs.colab                              those that have not passed
    python -m proofs.colab claims solutions/lenet       these, passed or not

What stands in for Colab: a module named google.colab, and a clone of this repository at
the address that the first cell installs from. The notebooks lie in a folder of their
own. A row for each goes into proofs/results/colab.csv.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from proofs import clean
from proofs.common import Table, fingerprint
from tools import notebooks

TABLE = Table("colab", ("notebook",))

#: Colab's versions: github.com/googlecolab/backend-info at a724079, of 2026-08-19.
PYTHON = "3.13"
COLAB = (
    "torch==2.11.0",
    "torchvision==0.26.0",
    "numpy==2.1.3",
    "matplotlib==3.10.0",
    "pandas==2.2.3",
    "ipython==7.34.0",
    "ipykernel==6.17.1",
)
#: There too, in versions that nothing here depends on.
BESIDES = ("pip", "pooch", "pyyaml", "tqdm")

#: Python 3.13 and this ipykernel have words about debugging at each start.
QUIET = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}

STAND_IN = 'import sys, types; sys.modules["google.colab"] = types.ModuleType("colab")'


def names() -> list[str]:
    """The notebooks of chapters, students and solutions."""
    folders = ("", "exercises", "solutions")
    found = (
        path for each in folders for path in (notebooks.BOOK / each).glob("*.ipynb")
    )
    return sorted(str(p.relative_to(notebooks.BOOK).with_suffix("")) for p in found)


def prepare(name: str, address: str) -> Any:
    """The notebook as a reader opens it on a Colab that finds the course at `address`.

    Raises: ValueError if its first code cell is not the setup cell.
    """
    notebook = nbformat.read(notebooks.BOOK / f"{name}.ipynb", as_version=4)
    first, setup = notebooks.code_cells(notebook)[0], notebooks.setup_cell(notebook)
    if first.source != setup.source:
        raise ValueError("the first code cell is not the setup cell")
    repository = r'REPOSITORY = "[^"]*"'
    first.source = re.sub(repository, f'REPOSITORY = "{address}"', first.source)
    first.source = f"{STAND_IN}\n{first.source}"
    return notebook


def kernel(python: Path, folder: Path) -> None:
    """Let nbclient find the kernel of the environment, by the name ``colab``."""
    spec = folder / "kernels/colab/kernel.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    about = {"argv": command, "display_name": "Colab", "language": "python"}
    spec.write_text(json.dumps(about))
    os.environ["JUPYTER_PATH"] = str(folder)


def execute(name: str, address: str, python: Path, content: Path) -> str:
    """Run the notebook where course_lib is not installed; its error, if it has one."""
    clean.run(str(python), "-m", "pip", "uninstall", "--quiet", "-y", "block-by-block")
    try:
        client = NotebookClient(
            prepare(name, address),
            timeout=3600,
            startup_timeout=600,
            kernel_name="colab",
            resources={"metadata": {"path": str(content)}},
        )
        client.execute(env=clean.outside() | QUIET)
    except CellExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="run these, passed or not"
    )
    parser.add_argument("--venv", type=Path, default=clean.PLACE / "colab")
    parser.add_argument(
        "--here", action="store_true", help="with this Python, as in Colab's own image"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(names())
    if unknown:
        parser.error(
            f"no notebook {', '.join(unknown)}; there are {', '.join(names())}"
        )
    folder = arguments.venv.absolute()
    if arguments.here:
        python = Path(sys.executable)
    else:
        python = clean.environment(folder, PYTHON, *COLAB, *BESIDES)
    failures = prove(arguments.names, python, folder)
    sys.exit(failures > 0)


def prove(wanted: list[str], python: Path, folder: Path) -> int:
    """Run the notebooks with this `python`, in `folder`; how many failed."""
    about = clean.versions(python, [package.split("==")[0] for package in COLAB])
    address = clean.clone(folder / "repository")
    kernel(python, folder / "jupyter")
    content = folder / "content"
    content.mkdir(exist_ok=True)
    failures = 0
    for name in wanted or names():
        notebook = nbformat.read(notebooks.BOOK / f"{name}.ipynb", as_version=4)
        code = fingerprint(*clean.LIBRARY, *notebooks.code(notebook))
        key = {"notebook": name, "code": code}
        if not wanted and TABLE.find(key | {"result": "passes"}):
            continue
        start = time.perf_counter()
        error = execute(name, address, python, content)
        seconds = f"{time.perf_counter() - start:.0f}"
        result = "FAILS" if error else "passes"
        print(f"{result:6} {seconds:>4} s  {name} {error}".rstrip(), flush=True)
        failures += bool(error)
        error = error.replace("\n", " ")[:200]
        row = key | {"result": result, "error": error, "seconds": seconds}
        TABLE.add(row | about)
    return failures


if __name__ == "__main__":
    main()
