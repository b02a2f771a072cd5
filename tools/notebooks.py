"""Make the notebooks from their texts: book/NAME.md -> book/NAME.ipynb, executed.

    python tools/notebooks.py            those whose code changed
    python tools/notebooks.py lenet      these, changed or not
    python tools/notebooks.py --keep     none; write what changed apart from the code
    python tools/notebooks.py --check    none; fail if one is not its text, executed

The code of the texts is formatted on the way. A text whose code cells did not change
keeps its outputs, whatever became of the setup cell, which no text has. What
comparisons do not need is left out: progress bars, warnings, times of execution.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"

#: The same for every notebook, whoever executed it; Colab reads the last two.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": []},
}

#: The first code cell of every notebook; no text has it. On Colab it installs
#: course_lib alone: torch and numpy stay as they are there. Elsewhere it does nothing.
SETUP = """\
# @title Setup: run me first
import importlib.util
import sys

if "google.colab" in sys.modules:
    REPOSITORY = "{repository}"
    if not importlib.util.find_spec("course_lib"):
        if "/OWNER/" in REPOSITORY:
            raise ValueError("set REPOSITORY above to the address of this course")
        %pip install --quiet --no-deps git+{{REPOSITORY}}
    import course_lib

    print("Running on", course_lib.runtime())"""

Notebook = Any  # nbformat has no types


def texts() -> list[Path]:
    """The chapters: the texts with code cells."""
    return sorted(
        path
        for path in BOOK.glob("*.md")
        if "{code-cell}" in path.read_text(encoding="utf-8")
    )


def from_text(text: Path) -> Notebook:
    """The notebook that `text` describes: no outputs, its cells named in order."""
    notebook = jupytext.read(text, fmt="md:myst")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells.insert(first, setup_cell())
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{text.stem}-{number}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def setup_cell() -> Any:
    """What installs course_lib on Colab, from the address that _config.yml names."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    cell = nbformat.v4.new_code_cell(
        SETUP.format(repository=config["repository"]["url"])
    )
    cell.metadata["tags"] = ["hide-cell", "nbval-ignore-output"]
    return cell


def code(notebook: Notebook) -> list[str]:
    """The sources of the code cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def tidy(text: Path) -> str:
    """What `text` says, with the code of its cells as ruff formats it."""
    content = text.read_text(encoding="utf-8")
    for source in code(jupytext.read(text, fmt="md:myst")):
        command = [sys.executable, "-m", "ruff", "format", "-"]
        done = subprocess.run(
            command, input=source, capture_output=True, check=True, text=True, cwd=ROOT
        )
        content = content.replace(source, done.stdout.rstrip())
    return content


def keep_outputs(notebook: Notebook, executed: Path) -> bool:
    """Take the outputs over from `executed` if it was run from top to bottom, and the
    code is the same apart from the setup cell; say if it was.
    """
    if not executed.exists():
        return False
    old = code_cells(nbformat.read(executed, as_version=4))
    new = code_cells(notebook)
    if [cell.execution_count for cell in old] != [*range(1, len(old) + 1)]:
        return False
    pairs = [[cell for cell in cells if not is_setup(cell)] for cells in (new, old)]
    if [cell.source for cell in pairs[0]] != [cell.source for cell in pairs[1]]:
        return False
    for cell, before in zip(*pairs, strict=True):
        cell.outputs = before.outputs
    for number, cell in enumerate(new, 1):
        for part in (cell, *cell.outputs):
            if "execution_count" in part:
                part.execution_count = number
    return True


def code_cells(notebook: Notebook) -> list[Any]:
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_setup(cell: Any) -> bool:
    """Whether `cell` is the setup cell, of this or an earlier version."""
    return cell.source.startswith(SETUP.splitlines()[0])


def execute(notebook: Notebook, folder: Path) -> None:
    """Run all cells in `folder`, and normalise what they put out."""
    client = NotebookClient(
        notebook,
        timeout=1800,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    # The client has written this machine's own into it.
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in code_cells(notebook):
        cell.outputs = [
            output for output in cell.outputs if output.get("name") != "stderr"
        ]


def write(notebook: Notebook, target: Path) -> None:
    """Write `notebook`, if its bytes differ from what is there."""
    text = nbformat.writes(notebook, version=4) + "\n"
    nbformat.validate(notebook)
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def differences(text: Path) -> list[str]:
    """What keeps ``text``'s notebook from being its text, executed."""
    target = text.with_suffix(".ipynb")
    if not target.exists():
        return [f"{target.name} is missing"]
    if text.read_text(encoding="utf-8") != tidy(text):
        return [f"the code of {text.name} is not formatted"]
    want, got = from_text(text), nbformat.read(target, as_version=4)
    if [cell.id for cell in want.cells] != [cell.id for cell in got.cells]:
        return [f"{target.name} has other cells than {text.name}"]
    return [
        f"{target.name}, cell {new.id}: {part} differs from {text.name}"
        for new, old in zip(want.cells, got.cells, strict=True)
        for part in ("cell_type", "source", "metadata")
        if new[part] != old[part]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="chapters to execute, changed or not"
    )
    parser.add_argument(
        "--check", action="store_true", help="compare, and execute nothing"
    )
    parser.add_argument(
        "--keep", action="store_true", help="execute nothing; fail where code changed"
    )
    arguments = parser.parse_args()
    known = {str(path.relative_to(BOOK).with_suffix("")): path for path in texts()}
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"no chapter {', '.join(unknown)}; there are {', '.join(known)}")
    if arguments.check:
        found = [line for text in known.values() for line in differences(text)]
        sys.exit("\n".join([*found, "run: make notebooks"]) if found else 0)
    stale = []
    for name, text in tqdm(known.items(), unit="notebook"):
        if arguments.names and name not in arguments.names:
            continue
        text.write_text(tidy(text), encoding="utf-8")
        notebook, target = from_text(text), text.with_suffix(".ipynb")
        if arguments.names or not keep_outputs(notebook, target):
            if arguments.keep:
                stale.append(name)
                continue
            execute(notebook, text.parent)
        write(notebook, target)
    if stale:
        sys.exit(f"make notebooks has to execute {', '.join(stale)}")


if __name__ == "__main__":
    main()
