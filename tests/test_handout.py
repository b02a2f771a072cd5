"""The book for a class: no solution is in what it is built from."""

import shutil
from functools import cache
from pathlib import Path

import pytest
import yaml

from tools import handout, teaching

ROOT = Path(__file__).parents[1]

telling = handout.telling


@pytest.fixture(scope="module", autouse=True)
def _once():
    """The lines of solutions are the same each time."""
    with pytest.MonkeyPatch.context() as patch:
        lines = cache(lambda root: [*telling(root)])
        patch.setattr(handout, "telling", lambda root=ROOT: lines(root))
        yield


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handout")
    handout.copy(folder)
    return folder


def test_there_are_solutions_to_look_for():
    lines = list(handout.telling())
    assert len(lines) > 500
    assert "field += (kernel_size - 1) * step" in lines  # code
    assert any("nobody takes an image twice" in line for line in lines)  # a reasoning


def test_none_stands_in_the_copy(copied):
    assert handout.found(copied) == []
    assert not (copied / "book/solutions").exists()
    assert not (copied / "course_lib/checks/keys").exists()


def test_no_answer_of_an_instructor_is_in_the_copy(copied):
    answers = [
        each.answer for guide in teaching.guides().values() for each in guide.ask
    ]
    assert len(answers) > 10
    files = [path for path in copied.rglob("*") if path.suffix in (".md", ".yml")]
    texts = " ".join(path.read_text() for path in files).split()
    together = " ".join(texts)
    assert not [each for each in answers if " ".join(each.split()) in together]


def test_the_exercises_are_in_its_table_of_contents(copied):
    def listed(folder):
        toc = yaml.safe_load((folder / "_toc.yml").read_text())
        return {part["caption"]: part["chapters"] for part in toc["parts"]}

    before, after = listed(ROOT), listed(copied)
    solved = before.pop("Exercises, solved")
    asked = after.pop("Exercises")
    del before["For instructors"]
    gone = [{"file": "book/teaching"}, {"file": "book/course"}]
    begin = [each for each in before["Begin here"] if each not in gone]
    assert begin != before["Begin here"]
    assert before | {"Begin here": begin} == after
    files = [each["file"].replace("solutions", "exercises") for each in solved]
    assert [each["file"] for each in asked] == files
    assert all((copied / file).is_file() for file in files)


def test_no_page_of_it_leads_to_a_solution(copied):
    pages = [*copied.glob("book/*.md"), *copied.glob("book/*.ipynb")]
    assert len(pages) > 30
    leading = [page.name for page in pages if "solutions/" in page.read_text()]
    assert leading == []


@pytest.mark.parametrize(
    "name", ["page.html", "searchindex.js", "notebook.ipynb", "slides.html"]
)
def test_a_solution_is_found_wherever_it_stands(tmp_path, name):
    page = "<p>a <span>field</span> += (<b>kernel_size</b> - 1) * step;</p>"
    (tmp_path / name).write_text("nothing")
    assert handout.found(tmp_path) == []
    (tmp_path / name).write_text(page)
    (seen,) = handout.found(tmp_path)
    assert seen == f"{tmp_path / name}: field += (kernel_size - 1) * step"


def test_the_command(tmp_path, monkeypatch):
    """On the exercises; `copied` is the whole."""
    monkeypatch.setattr(handout, "PARTS", ("_toc.yml", "book/exercises"))
    monkeypatch.setattr("sys.argv", ["handout", str(tmp_path / "copy")])
    handout.main()
    monkeypatch.setattr("sys.argv", ["handout", "--search", str(tmp_path / "copy")])
    with pytest.raises(SystemExit) as end:
        handout.main()
    assert end.value.code == 0
    text = ROOT / "book/exercises/vgg.md"
    shutil.copy(text, tmp_path / "copy/book")
    with pytest.raises(SystemExit, match=r"vgg\.md"):
        handout.main()
