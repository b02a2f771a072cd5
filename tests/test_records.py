"""What a recorded row rests on: small trees, copies of this one, and commits."""

import ast
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from experiments import commits, record, shortened
from experiments.__main__ import main
from experiments.confirm import NotConfirmed, confirm
from experiments.reach import Code
from experiments.syntax import without_words

ROOT = Path(__file__).parents[1]

#: A course with two networks, and an experiment on them.
TREE = {
    "course_lib/__init__.py": """
from typing import TYPE_CHECKING
from course_lib.catalog import NETWORKS
from course_lib.loop import fit
if TYPE_CHECKING:
    from course_lib.drawing import draw
def __getattr__(name):
    return "computed"
""",
    "course_lib/catalog.py": '''
"""The networks."""
from types import MappingProxyType
from course_lib.one import One
from course_lib.two import Two
class NetworkEntry:
    """How to build one."""
    def __init__(self, build, lr):
        self.build, self.lr = build, lr
NETWORKS = MappingProxyType({
    "one": NetworkEntry(lambda: One(), lr=0.1),
    "two": NetworkEntry(lambda: Two(), lr=0.2),
})
''',
    "course_lib/one.py": "from .base import Base\nclass One(Base):\n    size = 1\n",
    "course_lib/two.py": "from .base import Base\nclass Two(Base):\n    size = 2\n",
    "course_lib/base.py": '''
class Base:
    def loss(self):
        """What is left to learn."""
        return self.size * RATE  # always
RATE = 0.5
''',
    "course_lib/loop.py": """
def fit(net, lr, steps=4):
    from course_lib.weights import weight as scale
    unused = [scale for scale in range(steps)]
    return scale(net.loss() * lr)
def evaluate(net):
    return net.loss()
""",
    "course_lib/weights.py": """
def weight(x):
    from .units import unit
    return 1.0 * x * unit
""",
    "course_lib/units.py": "unit = 1\n",
    "course_lib/drawing.py": "def draw(net):\n    return 'a drawing'\n",
    "experiments/__init__.py": "",
    "experiments/nets.py": """
import course_lib
from course_lib import NETWORKS as nets
def measure(key):
    entry = nets[key["net"]]
    loss = course_lib.fit(entry.build(), entry.lr)
    return {"loss": f"{loss:.3f}", "training_seconds": "4"}
""",
}


@pytest.fixture
def tree(tmp_path):
    """The small course in a folder."""
    for name, source in TREE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    return tmp_path


def edit(tree, file, old, new):
    """Replace the one `old` in a file."""
    source = (tree / file).read_text()
    assert source.count(old) == 1
    (tree / file).write_text(source.replace(old, new))


def prints(tree):
    """The fingerprints of the rows of both networks."""
    code = Code(tree)
    keys = ("one", "0"), ("two", "0")
    return [code.fingerprint("experiments.nets", "measure", key) for key in keys]


def test_what_a_row_reaches(tree):
    found = Code(tree).reached("experiments.nets", "measure", ["one", "0"])
    assert {*found} == {
        *("measure", "NETWORKS['one']", "NetworkEntry", "One", "Base", "RATE"),
        *("fit", "weight", "unit"),
    }
    whole = Code(tree).reached("experiments.nets", "measure", ["0"])
    assert {*whole} == {*found, "NETWORKS", "Two"} - {"NETWORKS['one']"}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("course_lib/loop.py", "return net.loss()\n", "return 0\n"),
        ("course_lib/drawing.py", "a drawing", "another"),
        ("course_lib/__init__.py", "computed", "in another way"),
        ("course_lib/base.py", "  # always", ""),
        ("course_lib/base.py", "What is left to learn.", "The loss."),
        ("course_lib/base.py", "self.size * RATE", "(\n            self.size*RATE\n)"),
        ("course_lib/catalog.py", '"one": NetworkEntry(', "'one': NetworkEntry(\n"),
        ("course_lib/catalog.py", '"""The networks."""', ""),
        ("course_lib/loop.py", "steps=4", "steps=0x4"),
        ("course_lib/two.py", "from .base", "from course_lib.base"),
        ("experiments/nets.py", "import course_lib\n", "import course_lib, csv\n"),
    ],
)
def test_what_leaves_all_rows_fresh(tree, file, old, new):
    before = prints(tree)
    edit(tree, file, old, new)
    assert prints(tree) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("course_lib/weights.py", "1.0 * x", "0.1 * x"),
        ("course_lib/units.py", "1", "2"),
        ("course_lib/base.py", "0.5", "0.25"),
        ("course_lib/base.py", "self.size *", "self.size +"),
        ("course_lib/loop.py", "steps=4", "steps=5"),
        ("course_lib/catalog.py", "build, lr\nN", "build, 2 * lr\nN"),
        ("experiments/nets.py", "course_lib.fit", "2 * course_lib.fit"),
        (
            "course_lib/two.py",
            "class",
            "print('a statement that does something')\nclass",
        ),
    ],
)
def test_what_makes_all_rows_stale(tree, file, old, new):
    before = prints(tree)
    edit(tree, file, old, new)
    assert not {*prints(tree)} & {*before}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("course_lib/catalog.py", "lr=0.1", "lr=0.3"),
        ("course_lib/one.py", "size = 1", "size = 3"),
        ("course_lib/one.py", "size = 1", "size = 1\n    depth = 1"),
    ],
)
def test_an_entry_is_of_its_own_rows(tree, file, old, new):
    one, two = prints(tree)
    edit(tree, file, old, new)
    changed, same = prints(tree)
    assert changed != one
    assert same == two


def test_a_new_network_leaves_all_rows_fresh(tree):
    before = prints(tree)
    (tree / "course_lib/three.py").write_text("class Three:\n    pass\n")
    edit(
        tree,
        "course_lib/catalog.py",
        "from types",
        "from .three import Three\nfrom types",
    )
    entry = '    "three": NetworkEntry(Three, lr=0.3),\n})'
    edit(tree, "course_lib/catalog.py", "})", entry)
    assert prints(tree) == before


def test_a_function_may_move(tree):
    before = prints(tree)
    shutil.move(tree / "course_lib/weights.py", tree / "course_lib/scale.py")
    edit(tree, "course_lib/loop.py", "course_lib.weights", "course_lib.scale")
    assert prints(tree) == before


def test_another_import_under_the_same_name_is_another_function(tree):
    """Though the file has the same functions, and all of them are reached."""
    source = "def f():\n    return 1\ndef g():\n    return 2\n"
    (tree / "course_lib/pair.py").write_text(source)
    script = tree / "experiments/nets.py"
    found = set()
    for names in ("f as a, g as b", "g as a, f as b"):
        text = f"from course_lib.pair import {names}\ndef measure(key):\n    a(b())\n"
        script.write_text(text)
        found.add(Code(tree).fingerprint("experiments.nets", "measure"))
    for module in ("math", "cmath"):
        text = f"import {module} as m\ndef measure(key):\n    return m.sqrt(2)\n"
        script.write_text(text)
        found.add(Code(tree).fingerprint("experiments.nets", "measure"))
    assert len(found) == 4


def test_a_lazy_name_and_a_whole_module(tree):
    script = tree / "experiments/nets.py"
    text = (
        "import course_lib\ndef measure(key):\n    course_lib.draw(course_lib.base)\n"
    )
    script.write_text(text)
    found = Code(tree).reached("experiments.nets", "measure")
    assert {*found} == {"measure", "draw", "Base", "RATE"}


SCOPES = """
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from course_lib.loop import fit as Shape
taken = kept = shown = last = base = made = default = noted = other = late = 0
TABLE = {"a": kept}
TABLE["b"] = shown
TABLE.update(c=last)
class Net(base.Net):
    other: noted = made
    def first(self, other=default, *taken, x: Shape = 0, **late):
        return [kept for kept in taken], lambda shown: shown
    def second(self):
        global made
        made = other
for name in ("p",):
    def g():
        return 1
def measure(key):
    taken = TABLE
    if (last := key) and {late: base for late, base in key}:
        return Net(taken, last)
if __name__ == "__main__":
    measure(kept)
"""


def test_names_of_a_function_are_not_those_of_its_module(tree):
    (tree / "experiments/nets.py").write_text(SCOPES)
    found = Code(tree).reached("experiments.nets", "measure")
    (values,) = (name for name in found if name.startswith("base, "))
    assert {*found} == {"measure", "TABLE", "Net", values}
    alone = "    x = key\n    return [x for x in x], lambda x: x\n"
    text = f"x = 1\ndef measure(key):\n{alone}"
    (tree / "experiments/nets.py").write_text(text)
    assert {*Code(tree).reached("experiments.nets", "measure")} == {"measure"}


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("from course_lib.loop import nothing as f", "course_lib.loop has no nothing"),
        (
            "from course_lib import nothing as f",
            "course_lib has no nothing, or computes",
        ),
        ("import course_lib.nothing as f", "no module course_lib.nothing"),
        ("from course_lib.loop import *", "line 1: .* names nothing"),
        (
            "from importlib import import_module as f",
            "measure imports what it computes",
        ),
    ],
)
def test_what_cannot_be_found_is_refused(tree, statement, said):
    source = f"{statement}\ndef measure(key):\n    return f(key)\n"
    (tree / "experiments/nets.py").write_text(source)
    with pytest.raises(ValueError, match=said):
        Code(tree).reached("experiments.nets", "measure")


def test_the_present_tree_is_read_as_a_program_is():
    """What training is made of, by experiments with a network of the course."""
    experiments, code = record.every(), Code(ROOT)
    row = next(r for r in experiments["accuracy"].keys if r["net"] == "ResNet small")
    found = experiments["accuracy"].reached(row, code)
    assert {"fit", "Runtime", "Split", "move", "normalize", "Score"} <= {*found}
    assert {"ResNet", "Residual", "conv_bn_relu", "he_init", "FILES"} <= {*found}
    assert not {"AlexNet", "GoogLeNet", "draw", "summarize", "show"} & {*found}
    counted = experiments["vgg"].reached(experiments["vgg"].keys[0], code)
    assert "count_parameters" in counted, "through the lazy names of the package"
    outputs = experiments["auxiliary"].reached(experiments["auxiliary"].keys[0], code)
    assert "Outputs" in outputs, "whose loss the loop asks for"


@pytest.fixture
def copy(tmp_path):
    """The library and the experiments, to be broken."""
    for name in ("course_lib", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    return tmp_path


@cache
def here():
    """Experiment -> the fingerprints of its rows in this tree."""
    code = Code(ROOT)
    return {
        name: [each.fingerprint(key, code) for key in each.keys]
        for name, each in record.every().items()
    }


def stale(tree, *names):
    """Experiment -> the keys of its rows that rest on other code in `tree` than here,
    and how many rows it has; of all, or of those that are named.
    """
    there, found = Code(tree), {}
    for name, each in record.every().items():
        if names and name not in names:
            continue
        new = [each.fingerprint(key, there) for key in each.keys]
        pairs = zip(each.keys, here()[name], new, strict=True)
        found[name] = [key for key, a, b in pairs if a != b], len(each.keys)
    return found


def test_a_loss_that_is_scaled_makes_every_row_stale(copy):
    """Wherever in the library the loss of a step gets its weight; some experiments have
    loops of their own, or train nothing.
    """
    weighted = re.compile(r"^ *def weight\(.*?^ +return ", re.DOTALL | re.MULTILINE)
    (file,) = (
        path
        for path in (copy / "course_lib/training").glob("*.py")
        if weighted.search(path.read_text())
    )
    file.write_text(weighted.sub(lambda found: f"{found[0]}0.1 * ", file.read_text()))
    trained = 0
    for name, (rows, count) in stale(copy).items():
        if "fit(" in (copy / f"experiments/{name}.py").read_text():
            assert len(rows) == count > 0, name
            trained += 1
    assert trained > 8


def test_words_and_a_new_module_leave_every_row_fresh(copy):
    (copy / "course_lib/rexnet.py").write_text("class ReXNet:\n    growth = 32\n")
    init = copy / "course_lib/__init__.py"
    added = "from course_lib.rexnet import ReXNet\n"
    init.write_text(f"{init.read_text()}\n{added}")
    for path in copy.rglob("*.py"):
        path.write_text(f"# Written anew.\n\n{path.read_text()}\n\n'Words.'\n")
    for name, (rows, _) in stale(copy).items():
        assert rows == [], name


def test_another_recipe_makes_its_own_rows_stale(copy):
    """Wherever the table of networks is."""
    entry, found = '"ResNet small": ', 0
    for path in copy.rglob("*.py"):
        source = path.read_text()
        if re.search(f"^    {entry}", source, re.MULTILINE):
            path.write_text(source.replace(entry, f"{entry}None or "))
            found += 1
    assert found
    rows, _ = stale(copy, "accuracy")["accuracy"]
    assert {row["net"] for row in rows} == {"ResNet small"}


def test_the_same_code_is_the_same_in_every_version():
    source = "x: int = f'a{1!r:>{w}}' 'b' + 0x10 * 1.50  # why\nassert (x,), None\n"
    assert without_words(ast.parse(source)) == (
        "Module(body=[AnnAssign(target=[Name(id=['x'])], annotation=[Name(id=['int'])],"
        " value=[BinOp(left=[JoinedStr(values=['a', FormattedValue(value=[1],"
        " conversion=[114], format_spec=[JoinedStr(values=['>', FormattedValue("
        "value=[Name(id=['w'])], conversion=[-1])])]), 'b'])], op=[Add()],"
        " right=[BinOp(left=[16], op=[Mult()], right=[1.5])])], simple=[1]),"
        " Assert(test=[Tuple(elts=[Name(id=['x'])])], msg=[None])])"
    )


@pytest.fixture
def repository(tree, monkeypatch):
    """The small course as a repository, and its experiment with both rows measured."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    monkeypatch.setattr(record, "ROOT", tree)
    monkeypatch.setattr(record, "RESULTS", tree / "book/results")
    monkeypatch.setattr(record, "where", lambda: {"runs_on": "cpu, float32", **MACHINE})
    git(tree, "init", "--quiet")
    commit(tree)
    keys = [{"net": net, "seed": "0"} for net in ("one", "two")]
    experiment = record.Experiment("nets", keys, lambda key: {"loss": key["net"]})
    monkeypatch.setattr("experiments.__main__.every", lambda: {"nets": experiment})
    experiment.run()
    return tree, experiment


MACHINE = {"processor": "one", "threads": "1", "python": "3", "torch": "2"}


def git(tree, *arguments):
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    commits._git(tree, *who, *arguments)


def commit(tree):
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "as it is")


def rename(tree):
    """The same under another name, in another file."""
    (tree / "course_lib/weights.py").unlink()
    source = "from .units import unit\ndef scale(x):\n    return unit * x\n"
    (tree / "course_lib/scales.py").write_text(source)
    old = "course_lib.weights import weight as scale"
    edit(tree, "course_lib/loop.py", old, "course_lib.scales import scale")


def test_a_row_names_its_commit(repository):
    tree, experiment = repository
    assert {row["commit"] for row in experiment.rows()} == {commits.head(tree)}
    edit(tree, "course_lib/base.py", "0.5", "0.25")
    experiment.run()
    assert {row["commit"] for row in experiment.rows()} == {"unknown"}
    commit(tree)
    row = experiment.rows()[0]
    assert record.measured_at(experiment, row) == commits.head(tree) != "unknown"


def test_a_row_names_its_commit_whatever_else_has_changed(repository):
    tree, experiment = repository
    edit(tree, "course_lib/base.py", "0.5", "0.25")
    commit(tree)
    edit(tree, "course_lib/two.py", "size = 2", "size = 3")
    edit(tree, "course_lib/drawing.py", "a drawing", "another")
    experiment.run()
    found = {row["net"]: row["commit"] for row in experiment.rows()}
    assert found == {"one": commits.head(tree), "two": "unknown"}


def test_a_row_of_a_script_that_is_not_committed(repository):
    tree, experiment = repository
    script = tree / "experiments/others.py"
    script.write_text((tree / "experiments/nets.py").read_text())
    others = record.Experiment("others", experiment.keys, experiment.measure)
    others.run()
    assert {row["commit"] for row in others.rows()} == {"unknown"}


def test_a_renamed_function_is_confirmed(repository):
    tree, experiment = repository

    def values():
        return [row | {"code": ""} for row in experiment.rows()]

    before = values()
    rename(tree)
    assert len(experiment.stale()) == 2
    assert confirm(experiment) == "nets: 2 rows confirmed by 2 kinds of them"
    assert experiment.stale() == []
    after = experiment.rows()
    assert [row | {"code": ""} for row in after] == [
        row | {"code": ""} for row in before
    ]
    assert confirm(experiment) == "nets: nothing is stale"


def test_a_changed_function_is_not_confirmed(repository):
    tree, experiment = repository
    rename(tree)
    edit(tree, "course_lib/two.py", "size = 2", "size = 3")
    before = experiment.file.path.read_text()
    with pytest.raises(NotConfirmed) as error:
        confirm(experiment)
    said = f"two, 0: loss: 0.200 at {experiment.rows()[0]['commit']}, 0.300 now"
    assert str(error.value).splitlines() == ["nets stays stale:", f"  {said}"]
    assert experiment.file.path.read_text() == before


def test_the_loss_of_every_step_is_a_column():
    weight = torch.ones(1, requires_grad=True)

    def measure(key):
        for step in (0.5, 0.25):
            (weight * step).sum().backward(retain_graph=True)
        return {"accuracy": "the same"}

    columns = shortened.measured(SimpleNamespace(measure=measure), {})
    losses = {"loss of step 1": "0.5", "loss of step 2": "0.25"}
    assert columns == {"accuracy": "the same"} | losses
    assert weight.grad == 0.75
    weight.sum().backward()


def test_code_that_cannot_run_is_not_confirmed(repository):
    tree, experiment = repository
    edit(tree, "course_lib/weights.py", "1.0 * x", "x.nothing")
    with pytest.raises(NotConfirmed, match=r"nets cannot be .*no attribute 'nothing'"):
        confirm(experiment)


def test_rows_of_a_commit_that_is_not_here(repository):
    tree, experiment = repository
    rename(tree)
    rows = experiment.rows()
    experiment.file.add(*(row | {"commit": "0123456"} for row in rows))
    with pytest.raises(NotConfirmed, match=r"0123456.*git fetch --unshallow"):
        confirm(experiment)
    experiment.file.add(*(row | {"commit": "unknown"} for row in rows))
    with pytest.raises(NotConfirmed, match=r"no commit has brought \w+ into nets.csv"):
        confirm(experiment)


def test_without_git(tree, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commits.head(tree) == "unknown"


def test_commands(repository, monkeypatch, capsys):
    tree, experiment = repository

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["experiments", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().out

    at = experiment.rows()[0]["commit"]
    assert run("--stale") == (0, "nets: nothing is stale\n")
    rename(tree)
    edit(tree, "course_lib/one.py", "size = 1", "size = 4")
    changes = f"since {at}: changed fit; gone weight; new scale"
    code, out = run("--stale", "nets")
    assert code == 1
    assert out.splitlines() == [
        f"nets: net one, seed 0: {changes.replace('fit', 'One, fit')}",
        f"nets: net two, seed 0: {changes}",
    ]
    code, out = run("confirm")
    assert code == 1
    assert "one, 0: loss: 0.050" in out
    edit(tree, "course_lib/one.py", "size = 4", "size = 1")
    assert run("confirm", "nets")[0] == 0
    assert run("--stale") == (0, "nets: nothing is stale\n")
    for wrong in ((), ("confirm", "--stale"), ("confirm", "nothing")):
        assert run(*wrong)[0] == 2
