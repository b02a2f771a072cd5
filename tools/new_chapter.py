r"""Begin a chapter on a network: its module, test, text and exercises, and its line in
every list that has one.

    python -m tools.new_chapter squeezenet
    python -m tools.new_chapter squeezenet --paper 1602.07360 \
        --title "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters" \
        --authors "Iandola, Forrest N. and Han, Song" --question "how small can it be?"

What it writes is a tiny network that works and passes its tests. Whatever the author
has to replace is marked by the word of `WORD`, and the last lines printed are the steps
that are left. Nothing that exists is overwritten; lists are only added to.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import keyword
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from string import Template

ROOT = Path(__file__).parents[1]
TEMPLATES = Path(__file__).parent / "templates"

#: What marks a place that the author has to fill in.
WORD = "FILL_IN"

#: The file that each template becomes.
FILES = {
    "module.py.txt": "course_lib/{name}.py",
    "test.py.txt": "tests/test_{name}.py",
    "chapter.md.txt": "book/{name}.md",
    "exercises.md.txt": "book/exercises/{name}.md",
    "key.py.txt": "course_lib/checks/keys/{name}.py",
    "answers.py.txt": "tests/answers/{name}.py",
}

#: The chapter that new networks stand before, in the book and in README.md.
BEFORE = "comparison"

STEPS = """\
{name} is begun. {count} places are marked {word}:  git grep -n --untracked {word}

1. The network, until it is the paper's: course_lib/{name}.py, tests/test_{name}.py
       make try NAME={name}
2. Its entries in course_lib/catalog.py: variants, settings, torchvision's name. A block
   with branches is added to `plan` in course_lib/summary/explorer.py, or explored=False
   is written in the entry. Its idea, in IDEAS of course_lib/pages/cheatsheet.py. Then,
   on a machine that does nothing else,
       python -m tools.explorer && python -m experiments.accuracy "{cls} small"
   and the line of README.md that tests/test_experiments.py asks for.
3. The chapter: book/{name}.md, and a line for each new term in book/glossary.md. Then
   it, and the pages that show all networks:
       make notebooks NAMES="{name} comparison cheatsheet"
4. More exercises, five or so in all, with checks and answers: book/exercises/{name}.md,
   course_lib/checks/keys/{name}.py, tests/answers/{name}.py
       make exercises NAMES="{name} lenet"
5. The band of the training cell, from runs, and the notebook's time:
       python -m proofs.calibrate {name} && python -m proofs.calibrate --write {name}
       make notebooks && make times
6. All that is missing, at once, and then everything:
       python -m pytest tests/test_chapters.py -k {name}
       make test"""


@dataclass(frozen=True)
class Chapter:
    """What a chapter begins with."""

    #: Its word: the name of its module, text and test.
    name: str
    #: The class of its network, as the paper writes it.
    cls: str
    #: The network of torchvision, such as "squeezenet1_0"; empty where it has none.
    torchvision: str = ""
    #: The number of its paper on arXiv; empty, as what follows, if it is not known yet.
    paper: str = ""
    #: The title of the paper.
    title: str = ""
    #: Its authors, as BibTeX has them: ``Last, First and Last, First``.
    authors: str = ""
    #: The question that the chapter asks.
    question: str = ""

    def values(self) -> dict[str, str]:
        """What the templates take."""
        year = f"20{self.paper[:2]}" if self.paper else ""
        paper = self.paper or f"{WORD}_{self.name}"
        title = self.title or f"{WORD} the title of {self.name}"
        authors = self.authors or f"{WORD} the authors of {self.name}"
        who = _cited(authors)
        reference = (
            f'{who} ({year}), "{title}", arXiv:{paper}. {WORD} which section or figure'
            f" has what. Chapter: {self.cls}."
        )
        note = f'\n        # {WORD} torchvision="{self.torchvision}", once it is equal'
        models = "from torchvision import models\n"
        return {
            "name": self.name,
            "cls": self.cls,
            "family": f"{self.cls.upper()}S",
            "question": self.question or f"{WORD} which question?",
            "paper": paper,
            "title": title,
            "authors": authors,
            "surnames": who,
            "year": year or str(datetime.datetime.now(datetime.UTC).year),
            "key": f"{self.name}{year}",
            "url": f"https://arxiv.org/abs/{paper}",
            "cite": f"{who} {year}".rstrip(),
            "reference": textwrap.fill(reference, 88),
            "torchvision": self.torchvision,
            "torchvision_note": note if self.torchvision else "",
            "torchvision_import": models if self.torchvision else "",
        }


def _cited(authors: str) -> str:
    """BibTeX's ``Last, First and Last, First`` as a sentence has them."""
    *surnames, last = (each.split(",")[0] for each in authors.split(" and "))
    if len(surnames) > 3:
        return f"{surnames[0]} et al."
    return f"{', '.join(surnames)} and {last}" if surnames else last


def check_name(root: Path, name: str) -> None:
    """Raise the ValueError of a `name` that no chapter can have, or that one has."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ValueError(
            "NAME must be a word of lower-case letters, digits and underscores, such as"
            f" squeezenet; got {name!r}"
        )
    made = [file.format(name=name) for file in FILES.values()]
    made += [f"course_lib/{name}", f"book/{name}.ipynb"]
    if taken := [file for file in made if (root / file).exists()]:
        raise ValueError(f"the name {name!r} is taken: there is {', '.join(taken)}")


def check_class(name: str, cls: str) -> None:
    """Raise the ValueError of a class that the word does not lead to."""
    if not cls.isidentifier() or cls.lower() != name.replace("_", ""):
        raise ValueError(
            f"CLASS must be {name!r} in capitals and small letters; got {cls!r}"
        )


def of_torchvision(name: str) -> tuple[str, str]:
    """The class that torchvision has by that name, and its first network of that class;
    two empty strings where it has none.
    """
    from torchvision import models

    classes = (each for each in vars(models) if each.lower() == name)
    types = (each for each in classes if isinstance(getattr(models, each), type))
    cls = next(types, "")
    networks = models.list_models(module=models) if cls else []
    return cls, next((each for each in networks if each.startswith(name)), "")


def fill(template: str, values: dict[str, str]) -> str:
    """A template with its places taken by `values`."""
    return Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(
        values
    )


def plan(root: Path, chapter: Chapter) -> dict[Path, str]:
    """Every file that is made or added to, with what it will say.

    Raises: ValueError for a name that cannot be taken, and for a list that has not the
        form that it had.
    """
    check_name(root, chapter.name)
    check_class(chapter.name, chapter.cls)
    values = chapter.values()
    values["oracle"] = (
        fill("oracle.py.txt", values) + "\n" if chapter.torchvision else ""
    )
    made = {
        root / file.format(name=chapter.name): fill(template, values)
        for template, file in FILES.items()
    }
    for file, add in ADDITIONS.items():
        if (root / file).exists():
            text = (root / file).read_text(encoding="utf-8")
            try:
                made[root / file] = add(text, values)
            except LookupError as error:
                raise ValueError(f"{file} has no {error.args[0]}") from error
    return made


def before(text: str, line: str, new: str) -> str:
    """`text` with `new` lines before the first that begins like `line`."""
    found = re.search(f"^{line}", text, flags=re.MULTILINE)
    if not found:
        raise LookupError(f"line that begins like {line!r}")
    return text[: found.start()] + new + text[found.start() :]


def into_toc(text: str, values: dict[str, str]) -> str:
    """The chapter and its solutions, each before those of `BEFORE`."""
    for folder in ("book", "book/solutions"):
        line = "      - file: {}/{}.ipynb\n"
        new = line.format(folder, values["name"])
        text = before(text, re.escape(line.format(folder, BEFORE)), new)
    return text


def into_readme(text: str, values: dict[str, str]) -> str:
    """Its row in the table of chapters."""
    row = (
        "| [{cls}: {question}](book/{name}.md) | [{name}.py](course_lib/{name}.py)"
        " | [test_{name}.py](tests/test_{name}.py) | [notebook](book/{name}.ipynb),"
        " [exercises](book/exercises/{name}.ipynb) |\n"
    )
    line = rf"\| \[[^\]]+\]\(book/{BEFORE}\.md\)"
    return before(text, line, row.format(**values))


def into_api(text: str, values: dict[str, str]) -> str:
    """Its module among the networks."""
    pattern = re.compile(r"(^## Networks\n\n```\{api\} .+)$", flags=re.MULTILINE)
    if not pattern.search(text):
        raise LookupError("list of modules under '## Networks'")
    return pattern.sub(rf"\1 {values['name']}", text)


def into_references(text: str, values: dict[str, str]) -> str:
    """Its paper, unless that is there already."""
    if values["paper"] in text:
        return text
    return text.rstrip("\n") + "\n" + fill("reference.bib.txt", values)


def into_changelog(text: str, values: dict[str, str]) -> str:
    """A line at the end of what was added and is not released."""
    part = re.search(r"^### Added\n\n(?:.+\n)+", text, flags=re.MULTILINE)
    if not part:
        raise LookupError("'### Added'")
    line = f"- {values['cls']}, with its chapter and exercises.\n"
    return text[: part.end()] + line + text[part.end() :]


def into_library(text: str, values: dict[str, str]) -> str:
    """Its class, imported and exported; ruff sorts both."""
    text = before(text, "from course_lib", _import(values))
    return before(text, r"\]$", f'    "{values["cls"]}",\n')


def into_catalog(text: str, values: dict[str, str]) -> str:
    """Its family, and its two networks, at the ends of their tables."""
    text = before(text, "from course_lib", _import(values))
    text = before(text, "#: The families by name", fill("family.py.txt", values))
    families = re.search(r"^LATER = .*?(?=^    \)\n)", text, re.DOTALL | re.MULTILINE)
    if not families:
        raise LookupError("table LATER")
    name = f"        {values['family']},\n"
    text = text[: families.end()] + name + text[families.end() :]
    return _at_end(text, "NETWORKS", fill("networks.py.txt", values))


def into_sheet(text: str, values: dict[str, str]) -> str:
    """What the cheat sheet says of it."""
    return _at_end(text, "IDEAS", fill("idea.py.txt", values))


def _at_end(text: str, table: str, new: str) -> str:
    lines = text.splitlines(keepends=True)
    lines.insert(_end(text, table) - 1, new)
    return "".join(lines)


def _import(values: dict[str, str]) -> str:
    return f"from course_lib.{values['name']} import {values['cls']}\n"


def _end(text: str, table: str) -> int:
    """The line with the brace that closes the dictionary of that name."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign):
            names = [getattr(target, "id", None) for target in node.targets]
        elif isinstance(node, ast.AnnAssign):
            names = [getattr(node.target, "id", None)]
        else:
            continue
        if table in names and isinstance(node.value, ast.Dict):
            assert node.value.end_lineno is not None  # what was parsed has a place
            return node.value.end_lineno
    raise LookupError(f"table {table}")


#: The lists that a chapter stands in.
ADDITIONS = {
    "_toc.yml": into_toc,
    "README.md": into_readme,
    "CHANGELOG.md": into_changelog,
    "book/api.md": into_api,
    "book/references.bib": into_references,
    "course_lib/__init__.py": into_library,
    "course_lib/catalog.py": into_catalog,
    "course_lib/pages/cheatsheet.py": into_sheet,
}


def tidy(root: Path, files: list[Path]) -> None:
    """Sort the imports and lists of Python files, and format them."""
    names = [str(file) for file in files if file.suffix == ".py"]
    for command in (["check", "--quiet", "--fix", "--select", "I,RUF022"], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", *names]
        subprocess.run(ruff, cwd=root, check=True, capture_output=True)


def write(root: Path, chapter: Chapter) -> dict[Path, str]:
    """Write what `plan` says; every file of it, with what it says now."""
    made = plan(root, chapter)
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    tidy(root, list(made))
    return {path: path.read_text(encoding="utf-8") for path in made}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--class", dest="cls", metavar="CLASS")
    parser.add_argument("--paper", metavar="NUMBER", help="on arXiv")
    parser.add_argument("--title", help="of the paper")
    parser.add_argument("--authors", metavar="'LAST, FIRST and LAST, FIRST'")
    parser.add_argument("--question", help="that the chapter asks; ends with a '?'")
    arguments = parser.parse_args()
    given = {name: value for name, value in vars(arguments).items() if value}
    try:
        check_name(ROOT, arguments.name)
        cls, network = of_torchvision(arguments.name)
        given.setdefault("cls", cls or arguments.name.replace("_", "").capitalize())
        made = write(ROOT, Chapter(torchvision=network, **given))
    except ValueError as error:
        sys.exit(str(error))
    for path in made:
        print(path.relative_to(ROOT))
    count = sum(text.count(WORD) for text in made.values())
    print()
    print(STEPS.format(name=arguments.name, word=WORD, count=count, cls=given["cls"]))


if __name__ == "__main__":
    main()
