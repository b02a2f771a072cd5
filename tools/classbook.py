"""The book for a class: without the solutions, and without what is for instructors.

    python -m tools.classbook

Writes `_build/class/_build/html`, from the same notebooks. Links to what is left out
are left out, too (tools/sphinx_teaching.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "_build/class"
#: Parts of the table of contents, and pages of others, that a class does not get.
PARTS = ("Exercises, solved", "For instructors")
PAGES = ("book/teaching", "book/course")


def contents() -> dict[str, Any]:
    """The table of contents for a class."""
    toc: dict[str, Any] = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    toc["parts"] = [
        {**part, "chapters": [e for e in part["chapters"] if e["file"] not in PAGES]}
        for part in toc["parts"]
        if part["caption"] not in PARTS
    ]
    return toc


def main() -> None:
    """Build it."""
    TARGET.mkdir(parents=True, exist_ok=True)
    toc = TARGET / "toc.yml"
    toc.write_text(yaml.safe_dump(contents(), sort_keys=False), encoding="utf-8")
    program = str(Path(sys.executable).with_name("jupyter-book"))
    command = [program, "build", "--toc", str(toc), "--path-output", str(TARGET)]
    command += ["--warningiserror", "--nitpick", "--keep-going", str(ROOT)]
    environment = os.environ | {"CLASS_BUILD": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment)
    if not done.returncode:
        print(f"The first page: {TARGET / '_build/html/index.html'}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
