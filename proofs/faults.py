"""Sensitivity: what is planted in course_lib, or in a stored output, is noticed.

    python -m proofs.faults              all that were not tried with this code
    python -m proofs.faults NAME ...     these

Each fault is put into a copy of the tree, and what should notice runs there up to the
first failure. First the copy runs without a fault: a notebook that fails anyway notices
nothing.
"""

from __future__ import annotations

import sys
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat

from proofs.common import (
    GATE,
    NBVAL,
    ROOT,
    Outcome,
    Table,
    copy_tree,
    fingerprint,
    pytest,
    together,
)
from proofs.planted import FAULTS, Fault
from tests.notebooks.compare import NUMBER

TABLE = Table("faults", ("name",))


def _text(cell: Any, change: Callable[[str], str]) -> None:
    cell.outputs[0].text = change(cell.outputs[0].text)


def _last_number(text: str, change: Callable[[str], str]) -> str:
    *_, found = NUMBER.finditer(text)
    return text[: found.start()] + change(found[0]) + text[found.end() :]


def _data(cell: Any, mime: str, change: Callable[[str], str]) -> None:
    cell.outputs[0].data[mime] = change(cell.outputs[0].data[mime])


def _image(cell: Any, change: Callable[[Any], Any]) -> None:
    """Put a changed image in the place of the stored one."""
    from PIL import Image

    def again(content: str) -> str:
        file = BytesIO()
        change(Image.open(BytesIO(b64decode(content))).convert("RGB")).save(file, "png")
        return b64encode(file.getvalue()).decode()

    _data(cell, "image/png", again)


def _erased(image: Any) -> Any:
    """Without a third of its lowest row of bars: there, the image is most colored
    that is neither white nor gray.
    """
    import numpy as np

    pixels = np.array(image)
    color = np.ptp(pixels.astype(int), axis=2) > 60
    row = color.sum(axis=1).argmax()
    pixels[max(row - 12, 0) : row + 12, : image.width // 3] = 255
    from PIL import Image

    return Image.fromarray(pixels)


#: What is done to the stored output of a cell.
EDITS: dict[str, Callable[[Any], Any]] = {
    "last digit": lambda cell: _text(
        cell,
        lambda text: _last_number(text, lambda n: n[:-1] + str((int(n[-1]) + 1) % 10)),
    ),
    "measurement": lambda cell: _text(
        cell, lambda text: _last_number(text, lambda n: f"{float(n) + 1:.1f}")
    ),
    "word": lambda cell: _text(cell, lambda text: text.replace("e", "a", 1)),
    "line": lambda cell: _text(cell, lambda text: text.rpartition("\n")[0][:-20]),
    "delete": lambda cell: cell.outputs.clear(),
    "drawing": lambda cell: _data(
        cell,
        "image/svg+xml",
        lambda svg: svg.replace(svg[svg.rindex("<path") : svg.rindex("</svg")], "</g>"),
    ),
    "erase": lambda cell: _image(cell, _erased),
    "mirror": lambda cell: _image(cell, lambda image: image.transpose(0)),
    "shrink": lambda cell: _image(cell, lambda image: image.reduce(2)),
    "script": lambda cell: _data(
        cell, "text/html", lambda html: html + "<script>0</script>"
    ),
    "handler": lambda cell: cell.outputs.append(
        nbformat.v4.new_output("display_data", {"text/html": "<b onclick='x()'>x</b>"})
    ),
    "never run": lambda cell: cell.update(execution_count=None),
    "run again": lambda cell: cell.update(execution_count=99),
}


def places(fault: Fault, root: Path = ROOT) -> int:
    """How often what the fault changes is there."""
    path = root / fault.file
    if path.suffix == ".ipynb":
        return len(_cells(nbformat.read(path, as_version=4), fault))
    return path.read_text(encoding="utf-8").count(fault.old)


def _cells(notebook: Any, fault: Fault) -> list[Any]:
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and fault.old in cell.source
    ]


def plant(fault: Fault, tree: Path) -> None:
    """Change the file in `tree`.

    Raises: ValueError if there is not one place for it.
    """
    if (count := places(fault, tree)) != 1:
        raise ValueError(f"{fault.name}: there are {count} places in {fault.file}")
    path = tree / fault.file
    if path.suffix == ".ipynb":
        notebook = nbformat.read(path, as_version=4)
        EDITS[fault.new](_cells(notebook, fault)[0])
        nbformat.write(notebook, path)
    else:
        content = path.read_text(encoding="utf-8")
        path.write_text(content.replace(fault.old, fault.new), encoding="utf-8")


def watched(watcher: str) -> Path:
    """The file that should notice."""
    if watcher.endswith(".py"):
        return ROOT / watcher
    return ROOT / "book" / f"{watcher}.ipynb"


def watch(watcher: str, tree: Path) -> Outcome:
    """Run what should notice in `tree`."""
    path = str(watched(watcher).relative_to(ROOT))
    return pytest(tree, *(NBVAL if path.endswith(".ipynb") else ()), path)


def code(watcher: str, fault: Fault | None = None) -> str:
    """The fingerprint of what a row depends on."""
    ledger = [ROOT / "book/claims.yml"] if watcher == "claims" else []
    return fingerprint(*GATE, *ledger, watched(watcher), *map(str, fault or ()))


def attempt(name: str, watcher: str, fault: Fault | None) -> dict[str, str]:
    """The row of a fault, measured unless it is known; `fault` is None for the run
    without one.
    """
    key = {"name": name, "code": code(watcher, fault)}
    if row := TABLE.find(key):
        return row
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        if fault:
            plant(fault, tree)
        outcome = watch(watcher, tree)
    # Whatever else pytest ends with, an interrupt or a wrong argument, noticed nothing.
    caught = {0: "missed", 1: "caught"}.get(outcome.code, f"exit {outcome.code}")
    row = {
        "name": name,
        "watcher": watcher,
        "file": fault.file if fault else "",
        "result": caught if fault else {0: "clean"}.get(outcome.code, "fails"),
        "noticed": outcome.reason,
        "seconds": f"{outcome.seconds:.0f}",
        "code": key["code"],
    }
    TABLE.add(row)
    return row


def main() -> int:
    """Try what was not tried, and print the table."""
    names = sys.argv[1:]
    if unknown := set(names) - {fault.name for fault in FAULTS}:
        sys.exit(f"no such faults: {', '.join(sorted(unknown))}")
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    watchers = list(dict.fromkeys(fault.watcher for fault in chosen))
    attempts = [(f"(nothing) {watcher}", watcher, None) for watcher in watchers]
    clean = dict(zip(watchers, _attempts(attempts), strict=True))
    results = _attempts(
        [
            (fault.name, fault.watcher, fault)
            for fault in chosen
            if clean[fault.watcher] == "clean"
        ]
    )
    caught = results.count("caught")
    print(f"{caught} of {len(chosen)} faults caught")
    return int(caught < len(chosen))


def _attempts(attempts: list[tuple[str, str, Fault | None]]) -> list[str]:
    """The results, printed as they come."""
    rows = []
    for row in together(lambda each: attempt(*each), attempts):
        rows.append(row)
        print(f"{row['result']:7} {row['seconds']:>4} s  {row['name']}", flush=True)
        if row["noticed"]:
            print(f"        {row['noticed']}", flush=True)
    return [row["result"] for row in rows]


if __name__ == "__main__":
    sys.exit(main())
