"""How the library is written: what a reader may rely on in every module of it."""

import ast
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tools.sphinx_api import field_docs

ROOT = Path(__file__).parents[1]
LONGEST = 40  # lines of a function, its docstring not counted

#: Functions that may be longer: the loop is read from top to bottom, as one thing.
LONG = {"course_lib.training.loop.fit": 60}


def name_of(path):
    """The name of the module in `path`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted((ROOT / "course_lib").rglob("*.py"))}


@cache
def trees():
    return {module: ast.parse(path.read_text()) for module, path in FILES.items()}


@cache
def classes():
    return [
        (module, node)
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]


def length(function):
    """Lines from `def` to the end, without the docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        doc = function.body[0]
        lines -= doc.end_lineno - doc.lineno + 1
    return lines


def test_no_function_is_long():
    lengths = {
        f"{module}.{node.name}": length(node)
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    found = [
        f"{name} has {lines} lines"
        for name, lines in lengths.items()
        if lines > LONG.get(name, LONGEST)
    ]
    assert not found, (
        f"a function has at most {LONGEST} lines without its docstring; take a part out"
        f" of these: {'; '.join(found)}"
    )


def imported(module):
    """The modules of the library that `module` imports, wherever it does, for the types
    alone as well. That a module also runs the `__init__` above it does not count.
    """
    for node in ast.walk(trees()[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, "write the whole name of the module"
            here = FILES[module].parent.relative_to(ROOT).parts if node.level else ()
            origin = ".".join(filter(None, (*here, node.module)))
            for alias in node.names:
                part = f"{origin}.{alias.name}"
                yield part if part in FILES else origin


def test_no_cycle_of_imports():
    graph = {module: {*imported(module)} & FILES.keys() for module in FILES}
    assert sum(map(len, graph.values())) > len(graph)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(
            f"these import each other in a circle: {' <- '.join(error.args[1])}. Move"
            " what both need into a module of its own, or let one take the other as an"
            " argument"
        )


def test_class_names_are_unique():
    homes = defaultdict(list)
    for module, node in classes():
        homes[node.name].append(module)
    found = [
        f"{name} is in {' and in '.join(modules)}"
        for name, modules in homes.items()
        if len(modules) > 1
    ]
    assert not found, f"rename one by what it holds: {'; '.join(found)}"


def is_record(node):
    """Whether a class is a data class or a named tuple."""
    made_by = [ast.unparse(each) for each in (*node.bases, *node.decorator_list)]
    return any("NamedTuple" in each or "dataclass" in each for each in made_by)


def undocumented():
    """The fields of the larger records about which nothing is said."""
    for module, node in classes():
        fields = [*field_docs(node, FILES[module].read_text().splitlines())]
        if is_record(node) and len(fields) > 3:
            for name, _, words in fields:
                if not words:
                    yield f"{module}.{node.name}.{name}"


def test_fields_are_documented():
    assert not [*undocumented()], (
        "a record of more than three fields says of each what it is, with units, in a"
        " comment above it that begins with #:"
    )


def tables():
    """The tables of variants, and what they are made of in their module."""
    for module, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.AugAssign | ast.AnnAssign):
                targets = [node.target]
            else:
                targets = getattr(node, "targets", [])
            names = {each.id for each in targets if isinstance(each, ast.Name)}
            if any(
                name.strip("_").startswith(("VARIANTS", "TABLE", "SMALL", "PAPER"))
                for name in names
            ):
                yield module, node


def test_rows_of_tables_use_keywords():
    found = [*tables()]
    assert len({module for module, _ in found}) >= 7
    assert not [
        f"{module}, line {call.lineno}: {ast.unparse(call)}"
        for module, node in found
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and (len(call.args) > 3 or any(isinstance(a, ast.Starred) for a in call.args))
    ], "write the names of the fields from the fourth on"


def packed(tree):
    """The lines of assignments of a tuple that is written out, as in ``a, b = x, y``,
    other than swaps, and of stars before such a tuple, as in ``f(*(a, b))``.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            values = {ast.unparse(each) for each in node.value.elts}
            for target in node.targets:
                if isinstance(target, ast.Tuple) and not values <= {
                    ast.unparse(each) for each in target.elts
                }:
                    yield node.lineno
        if isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple):
            yield node.lineno


@pytest.mark.parametrize("module", [m for m in FILES if ".checks." in m])
def test_checks_are_not_packed(module):
    """Teachers have to trust them: a line says one thing."""
    lines = sorted(packed(trees()[module]))
    assert not lines, (
        f"{FILES[module]}, lines {lines}: give each value a line of its own"
    )


@pytest.mark.parametrize("source", ["a, b = 1, 2", "a = b, c = f(), g()", "f(*(a, b))"])
def test_what_is_packed(source):
    assert list(packed(ast.parse(source))) == [1]


@pytest.mark.parametrize(
    "source",
    ["a, b = f()", "a, b = b, a", "a = b = 1", "a = 1, 2", "f(*a)", "f((a, b))"],
)
def test_what_is_not_packed(source):
    assert not list(packed(ast.parse(source)))
