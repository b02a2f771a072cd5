"""A chapter is complete: all that one lacks, at once, each with what to do about it.

python -m pytest tests/test_chapters.py -k squeezenet
"""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from tests.test_prose import SENTENCE, SILENT, numbers
from tools import notebooks
from tools.new_chapter import ADDITIONS, WORD

ROOT = Path(__file__).parents[1]

#: Pages with cells that are no chapters: about all modules.
PAGES = {"speed", "beside_d2l"}
CHAPTERS = sorted({text.stem for text in notebooks.texts()} - PAGES)

#: Chapter -> what it need not have, and why.
EXEMPT = {
    "cheatsheet": {
        "row": "it stands behind the chapters, as one page to print",
        "exercises": "a page to look things up in",
        "headings": "a page to look things up in",
        "block": "it builds nothing",
        "training": "it trains nothing",
        "paper": "it measures nothing",
        "ablation": "it measures nothing",
    },
    "claims": {
        "training": "it trains nothing",
        "paper": "each of its claims is compared with a source",
        "ablation": "it measures nothing",
    },
    "comparison": {
        "training": "it shows recorded runs of all chapters",
    },
    "interventions": {
        "exercises": "its questions are those of the lab, and open ones",
        "training": "it trains nothing",
        "ablation": "each of its cells is one",
        "paper": "its networks are compared with each other",
    },
    "lab": {
        "exercises": "its questions are answered by playing",
        "ablation": "its page is for that",
        "paper": "its networks are compared with each other",
    },
    "scaling": {
        "paper": "it compares processes with each other",
        "ablation": "two processes against one is what it tests",
    },
}

#: Chapter -> what stands in a training cell that needs no band, and why.
UNBANDED = {
    "nin": ("dead = ", "it prints what every run agrees on"),
    "successors": ("variant, settings", "it prints what every run agrees on"),
    "training": ("(ours, theirs)", "the weights are the same, or it fails"),
}

EXERCISES = 1  # at least: the one that make new writes; a finished chapter has five


def lacks(root, name, exempt=EXEMPT):
    """What the chapter lacks in the tree at `root`: (what, what to do) for each."""
    chapter = root / f"book/{name}.md"
    text = chapter.read_text()
    for missing in (
        in_lists(root, name),
        in_exercises(root, name, text),
        in_text(name, text),
        in_notebook(chapter.with_suffix(".ipynb")),
        left(root, name),
    ):
        for what, mend in missing:
            if what not in exempt.get(name, {}):
                yield what, mend


def in_lists(root, name):
    """The table of contents, the table of README.md, the API, the bibliography."""
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    wanted = [f"book/{name}.ipynb"]
    if (root / f"book/exercises/{name}.md").exists():
        wanted.append(f"book/solutions/{name}.ipynb")
    for file in wanted:
        if file not in files:
            yield "toc", f"add `- file: {file}` to _toc.yml"
    text = (root / f"book/{name}.md").read_text()
    title = re.search(r"^# (.+)$", text, flags=re.MULTILINE)
    row = f"| [{title[1] if title else name}](book/{name}.md) |"
    if row not in (root / "README.md").read_text():
        yield "row", f"add a row that begins with `{row}` to the table in README.md"
    api = re.findall(r"^```\{api\} (.+)$", (root / "book/api.md").read_text(), re.M)
    if (root / f"course_lib/{name}.py").exists() and name not in " ".join(api).split():
        yield "api", f"add `{name}` to a list of modules in book/api.md"
    listed = (root / "book/references.bib").read_text()
    for kind, paper in cited(text):
        if paper not in listed:
            yield "bibliography", f"add {kind}:{paper} to book/references.bib"


def cited(text):
    """The papers that a text links to: ("arXiv", "1512.03385") for each."""
    found = re.findall(r"(arxiv\.org/abs|doi\.org)/([^)\s]+)", text)
    return [("arXiv" if "arxiv" in site else "doi", paper) for site, paper in found]


def in_exercises(root, name, text):
    """The exercises, and the links to them."""
    if not (root / f"book/exercises/{name}.md").exists():
        yield (
            "exercises",
            f"write book/exercises/{name}.md: CONTRIBUTING.md, 'Write an exercise'",
        )
        return
    exercises = (root / f"book/exercises/{name}.md").read_text()
    count = len(re.findall(r"^## ", exercises, flags=re.MULTILINE))
    if count < EXERCISES:
        yield (
            "exercises",
            f"book/exercises/{name}.md has {count} of {EXERCISES} exercises",
        )
    for folder in ("exercises", "solutions"):
        if f"]({folder}/{name}.ipynb)" not in text:
            yield "exercises", f"link to {folder}/{name}.ipynb in book/{name}.md"
        if not (root / f"book/{folder}/{name}.ipynb").exists():
            yield "exercises", f"run: make exercises NAMES={name}"


def in_text(name, text):
    """The headings, and what the paper reported."""
    if not re.search(r"^# [^:\n]+: [^:\n]+\?$", text, flags=re.MULTILINE):
        yield "title", f"book/{name}.md begins with `# Name: a question?`"
    for heading in ("Summary", "Exercises", "Read the (paper|articles)"):
        if not re.search(rf"^## {heading}$", text, flags=re.MULTILINE):
            said = heading.replace("(paper|articles)", "paper")
            yield "headings", f"book/{name}.md has no heading `## {said}`"
    if not re.search(r"\bassert(_close)?\b", text):
        yield (
            "block",
            f"book/{name}.md builds the block by hand: torch.testing.assert_close",
        )
    # What follows the cell that trains, or that reads what was recorded.
    *_, after = re.split(r"\b(?:recorded|fit)\([^`]+```\n", text, maxsplit=1)
    if not any(figure(sentence) for sentence in sentences(after)):
        yield (
            "paper",
            f"book/{name}.md needs a sentence behind its training cell with the number"
            " that the paper reported, and a link to the paper",
        )
    tables = set(re.findall(r'recorded\(\s*"(\w+)"', text)) - {"accuracy"}
    if not tables and len(re.findall(r"\bfit\(", text)) < 2:
        yield (
            "ablation",
            f"book/{name}.md needs an ablation: a second training cell, or"
            " `recorded` with a table of its own",
        )


def sentences(text):
    """The sentences that cite a source, without code and names."""
    marked = re.sub(r"\]\(https?://[^)]*\)", "](CITED)", text)
    for pattern in SILENT:
        marked = re.sub(
            pattern,
            lambda found: "CITED" if "CITED" in found[0] else " ",
            marked,
            flags=re.DOTALL | re.MULTILINE,
        )
    return [each for each in SENTENCE.split(marked) if "CITED" in each]


def figure(sentence):
    """Whether a sentence has a number that was measured: 27.94, or 25%."""
    return any("." in each for each in numbers(sentence)) or "%" in sentence


def in_notebook(path):
    """The notebook, and a band on what its training cells print."""
    if not path.exists():
        yield "notebook", f"run: make notebooks NAMES={path.stem}"
        return
    cells = notebooks.code_cells(nbformat.read(path, as_version=4))[1:]
    found = [cell for cell in trains(cells) if cell.outputs]
    if not found:
        yield "training", f"book/{path.stem}.md trains nothing: call `fit` in a cell"
    for cell in found:
        tags = cell.metadata.get("tags", [])
        compared = (
            "nbval-ignore-output" not in tags
            and UNBANDED.get(path.stem, ("\0",))[0] not in cell.source
        )
        if compared and "band" not in cell.metadata:
            yield (
                "band",
                f"cell {cell.id} trains: give it `:band: 1` and `:runs: 0` in"
                f" book/{path.stem}.md, then run: python -m proofs.calibrate"
                f" {path.stem} && python -m proofs.calibrate --write {path.stem}",
            )
        elif compared and int(cell.metadata.get("runs", 0)) < 5:
            yield (
                "band",
                f"the band of cell {cell.id} is of {cell.metadata.get('runs', 0)} runs;"
                f" run: python -m proofs.calibrate {path.stem} &&"
                f" python -m proofs.calibrate --write {path.stem}"
                f" && make notebooks NAMES={path.stem}",
            )


def trains(cells):
    """The cells that call `fit`, or a function of an earlier cell that does."""
    names = {"fit"}
    for cell in cells:
        rest, lines = [], cell.source.splitlines()
        code = "\n".join(line for line in lines if not line.startswith(("%", "!")))
        for node in ast.parse(code).body:
            if not isinstance(node, ast.FunctionDef):
                rest.append(node)
            elif names & called(node):
                names.add(node.name)
        if any(names & called(node) for node in rest):
            yield cell


def called(tree):
    """The names of what is called in a piece of code."""
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        each.id if isinstance(each, ast.Name) else getattr(each, "attr", "")
        for each in functions
    }


def left(root, name):
    """The places of `make new` that nobody has filled in."""
    own = [
        *(root / folder / f"{name}.py" for folder in ("course_lib", "tests/answers")),
        root / f"course_lib/checks/keys/{name}.py",
        root / f"tests/test_{name}.py",
        *(root / folder / f"{name}.md" for folder in ("book", "book/exercises")),
    ]
    shared = [root / file for file in ADDITIONS]
    for file in filter(Path.exists, own + shared):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if WORD in line and (file in own or name in line.lower()):
                yield "left", f"{file.relative_to(root)}:{number}: {line.strip()}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_is_complete(name):
    found = dict.fromkeys(mend for _, mend in lacks(ROOT, name))
    assert not found, f"the chapter {name} is not complete:\n" + "\n".join(found)


def test_every_exemption_is_needed():
    """A chapter that has what it need not have is taken off the list."""
    exempt = {(name, what) for name, lines in EXEMPT.items() for what in lines}
    needed = {(name, what) for name in EXEMPT for what, _ in lacks(ROOT, name, {})}
    assert not exempt - needed, f"take out of EXEMPT: {sorted(exempt - needed)}"


#: Of one chapter, all that `lacks` reads.
READ = [
    *("README.md", "_toc.yml", "book/api.md", "book/references.bib"),
    *("course_lib/vgg.py", "book/vgg.md", "book/vgg.ipynb", "book/exercises/vgg.md"),
    *("book/exercises/vgg.ipynb", "book/solutions/vgg.ipynb"),
]


@pytest.fixture
def tree(tmp_path):
    """A copy of a chapter that is complete."""
    for file in READ:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    assert not list(lacks(tmp_path, "vgg"))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "mend"),
    [
        ("README.md", r"\| \[VGG: .*\n", "", "add a row that begins with `| [VGG: is"),
        ("README.md", "large one", "big one", "add a row that begins with `| [VGG: is"),
        ("_toc.yml", ".*book/vgg.ipynb\n", "", "`- file: book/vgg.ipynb` to _toc.yml"),
        ("_toc.yml", ".*solutions/vgg.*\n", "", "book/solutions/vgg.ipynb` to _toc"),
        ("book/api.md", " vgg", "", "add `vgg` to a list of modules in book/api.md"),
        ("book/references.bib", "1409.1556", "", "add arXiv:1409.1556 to book/refer"),
        ("book/vgg.md", r"\?\n", ".\n", "begins with `# Name: a question?`"),
        ("book/vgg.md", "## Summary", "## In short", "no heading `## Summary`"),
        ("book/vgg.md", "## Exercises", "", "no heading `## Exercises`"),
        ("book/vgg.md", "## Read the paper", "", "no heading `## Read the paper`"),
        ("book/vgg.md", "assert", "print", "builds the block by hand"),
        ("book/vgg.md", r"\]\(http[^)]*\)", "]", "the number that the paper reported"),
        ("book/vgg.md", r'recorded\("vgg"', "print(", "needs an ablation"),
        ("book/vgg.md", "exercises/vgg.ipynb", "", "link to exercises/vgg.ipynb"),
        ("book/vgg.md", "So ", f"{WORD} ", f": {WORD} "),
        ("course_lib/vgg.py", "import", f"import {WORD}", "course_lib/vgg.py:"),
        ("book/exercises/vgg.md", "## ", "", "has 0 of 1 exercises"),
        ("book/exercises/vgg.md", None, None, "write book/exercises/vgg.md"),
        ("book/solutions/vgg.ipynb", None, None, "run: make exercises NAMES=vgg"),
        ("book/vgg.ipynb", None, None, "run: make notebooks NAMES=vgg"),
        ("book/vgg.ipynb", r"\bfit\(", "fit_(", "trains nothing: call `fit`"),
        ("book/vgg.ipynb", '"band": ', '"no": ', "trains: give it `:band: 1` and"),
        (
            "book/vgg.ipynb",
            '"runs": 5',
            '"runs": 4',
            "is of 4 runs; run: python -m pro",
        ),
    ],
)
def test_what_is_missing_is_named(tree, file, old, new, mend):
    if old is None:
        (tree / file).unlink()
    else:
        text = (tree / file).read_text()
        changed = re.sub(old, new, text)
        assert changed != text
        (tree / file).write_text(changed)
    found = [each for _, each in lacks(tree, "vgg")]
    assert [each for each in found if mend in each], found


def test_all_that_is_missing_is_named_at_once(tree):
    for file, old in (
        ("README.md", r"\| \[VGG: .*\n"),
        ("book/vgg.md", "## Summary"),
        ("book/vgg.ipynb", '"band": [^"]+'),
    ):
        text = (tree / file).read_text()
        (tree / file).write_text(re.sub(old, "", text))
    assert [what for what, _ in lacks(tree, "vgg")] == ["row", "headings", "band"]


def test_a_function_that_trains():
    """Its cell trains nothing yet; the one that calls it does."""
    sources = ["%time 1\ndef run(net):\n    return fit(net)", "run(1)", "f()"]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    assert [cell.source for cell in trains(cells)] == ["run(1)"]
