"""The book for a class, without solutions and without what is for instructors: make
book SOLUTIONS=no.

    python -m tools.handout FOLDER           a copy of what the book is built from, with
                                             the students' notebooks in place of those
                                             that are solved
    python -m tools.handout --search FOLDER  fail if a solution stands in a file there

The copy holds no solution and no answer, so neither do pages, notebooks, the search
index, and whatever else is made from it. Links to what is left out are left out, too
(tools/sphinx_teaching.py).
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]

#: A solution: the indent of its first mark, and what stands between the two.
SOLUTION = re.compile(
    r"^( *)### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION\n?", re.DOTALL | re.MULTILINE
)

#: Why a solution is one.
REASONING = re.compile(
    r"^:::\{dropdown\} The reasoning\n(.*?)^:::$\n*", re.DOTALL | re.MULTILINE
)

#: What the book is built from.
PARTS = ("_config.yml", "_toc.yml", "book", "tools", "course_lib")

#: What is for instructors: a part of the table of contents, and pages of others.
INSTRUCTORS = "For instructors"
PAGES = ("book/teaching", "book/course")

#: Between words, also where a line ends in the JSON of a notebook.
SPACE = r'(?:\s|\\n",\n\s*")+'

#: The end of a sentence that links to solutions.
WORDS = r", and \[here they are solved\]\(solutions/\w+\.ipynb\)"
LINK = re.compile(WORDS.replace(" ", SPACE))

#: Lines that are shorter are no sign of a solution.
TELLING = 30


def copy(folder: Path, root: Path = ROOT) -> None:
    """Write to `folder` what the book is built from, without solutions."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = [f"{Path(page).name}.md" for page in PAGES]
    skipped = shutil.ignore_patterns(
        "__pycache__", "solutions", "keys", "instructor", *pages
    )
    for part in PARTS:
        source, target = root / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=skipped)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for text in (folder / "book/exercises").glob("*.md"):
        text.unlink()
    toc = yaml.safe_dump(contents(root), sort_keys=False)
    (folder / "_toc.yml").write_text(toc, encoding="utf-8")
    for page in (folder / "book").glob("*.*"):
        if page.suffix in (".md", ".ipynb"):
            content = LINK.sub("", page.read_text(encoding="utf-8"))
            page.write_text(content, encoding="utf-8")


def contents(root: Path = ROOT) -> dict[str, Any]:
    """The table of contents for a class."""
    text = (root / "_toc.yml").read_text(encoding="utf-8")
    text = text.replace("book/solutions/", "book/exercises/")
    text = text.replace("caption: Exercises, solved", "caption: Exercises")
    toc: dict[str, Any] = yaml.safe_load(text)
    toc["parts"] = [
        {**part, "chapters": [e for e in part["chapters"] if e["file"] not in PAGES]}
        for part in toc["parts"]
        if part["caption"] != INSTRUCTORS
    ]
    return toc


def telling(root: Path = ROOT) -> Iterator[str]:
    """Lines that stand in solutions, and in nothing that students get."""
    texts = [
        text.read_text(encoding="utf-8")
        for text in sorted((root / "book/exercises").glob("*.md"))
    ]
    shown = [REASONING.sub("", SOLUTION.sub("", text)) for text in texts]
    others = {*(root / "book").glob("*.md"), *(root / "book").glob("*.yml")}
    others |= {*(root / "course_lib").rglob("*.py")}
    others -= {*(root / "course_lib/checks/keys").glob("*.py")}
    shown += [other.read_text(encoding="utf-8") for other in others]
    known = "\n".join(_plain(line) for each in shown for line in each.splitlines())
    for text in texts:
        for pattern, group in ((SOLUTION, 2), (REASONING, 1)):
            for found in pattern.finditer(text):
                for line in map(str.strip, found[group].splitlines()):
                    if len(line) >= TELLING and _plain(line) not in known:
                        yield line


def found(folder: Path, root: Path = ROOT) -> list[str]:
    """The files in `folder` with a line of a solution, each with that line."""
    lines = {line: _plain(line) for line in telling(root)}
    seen = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".html", ".js", ".ipynb", ".md", ".txt", ".json"):
            continue
        text = _plain(path.read_text(encoding="utf-8"))
        seen += [f"{path}: {line}" for line, plain in lines.items() if plain in text]
    return seen


def _plain(text: str) -> str:
    """What is left of a text in HTML, in JSON and in Python: its letters and digits."""
    text = re.sub(r"</?[a-zA-Z][^<>]*>|&\w+;|&#\d+;", "", text)
    return re.sub(r"\\[nt]|[^A-Za-z0-9]", "", text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--search", action="store_true")
    arguments = parser.parse_args()
    if arguments.search:
        seen = found(arguments.folder)
        sys.exit("\n".join(seen) if seen else 0)
    copy(arguments.folder)


if __name__ == "__main__":
    main()
