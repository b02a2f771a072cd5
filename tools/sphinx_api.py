"""The API part of the book, from the docstrings in the sources.

Nothing is imported, so the book is built without PyTorch. `{api} resnet` in a page
stands for what `course_lib/resnet.py` defines for others: functions, classes with their
fields and methods, and the tables with a comment that begins with ``#:``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[1]
LIBRARY = "course_lib"
LONGEST = 60  # of a table that is shown with its value
UNLISTED = {"no-contents-entry": ""}  # not in the margin


@dataclass(frozen=True)
class ApiEntry:
    """What is written about one name: `kind` is the directive of Sphinx for it."""

    kind: str
    name: str
    doc: str
    signature: str = ""
    options: dict[str, str] = field(default_factory=dict)
    members: tuple[ApiEntry, ...] = ()

    def markdown(self) -> str:
        """The entry in MyST, its members inside."""
        inner = "\n\n".join(
            [_markdown(self.doc), *(m.markdown() for m in self.members)]
        )
        fence = ":" * (4 if self.members else 3)
        options = "".join(f":{key}: {value}\n" for key, value in self.options.items())
        head = f"{fence}{{py:{self.kind}}} {self.name}{self.signature}\n{options}"
        return f"{head}\n{inner}\n{fence}"


def file_of(module: str) -> Path:
    """Where the source of `module` is."""
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports(module: str) -> dict[str, str]:
    """The names that `module` has from the library, each with the module it is from."""
    return {
        alias.name: node.module
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(LIBRARY)
        for alias in node.names
        if node.module
    }


def entries(module: str) -> list[ApiEntry]:
    """What `module` has for others: its definitions, and what its `__all__` adds.

    A name that the library exports is called after the library and comes first; all
    others are called after their module, and are not listed in the margin.
    """
    public, found = imports(LIBRARY), []
    for entry in _defined(module):
        home = LIBRARY if public.get(entry.name) == module else module
        found.append(_at(entry, home, module))
    given = _all(module)
    for name, origin in imports(module).items():
        if name in given:  # a package exports what a part of it defines
            home = LIBRARY if public.get(name) == module else module
            found += [
                _at(entry, home, origin)
                for entry in _defined(origin)
                if entry.name == name
            ]
    return sorted(found, key=lambda entry: entry.options["module"] != LIBRARY)


def _defined(module: str) -> list[ApiEntry]:
    """The public definitions of `module`, with full names for types."""
    lines = file_of(module).read_text(encoding="utf-8").splitlines()
    found = (_entry(node, lines) for node in _tree(module).body)
    return [_qualified(each) for each in found if each and each.name[0] != "_"]


def _all(module: str) -> list[str]:
    """The names in the `__all__` of `module`."""
    return [
        name
        for node in _tree(module).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for name in ast.literal_eval(node.value)
    ]


def _tree(module: str) -> ast.Module:
    return ast.parse(file_of(module).read_text(encoding="utf-8"))


def _at(entry: ApiEntry, home: str, origin: str) -> ApiEntry:
    """The entry as one of `home`, where it is imported from, defined in `origin`."""
    options = entry.options | {"module": home}
    if home != origin:
        options["canonical"] = f"{origin}.{entry.name}"
    if home == LIBRARY:
        return replace(entry, options=options)
    members = (replace(each, options=each.options | UNLISTED) for each in entry.members)
    return replace(entry, options=options | UNLISTED, members=tuple(members))


def _qualified(entry: ApiEntry) -> ApiEntry:
    """With full names for the types that the library does not export."""

    def full(text: str) -> str:
        return re.sub(r"(?<![\w.])\w+", lambda word: types.get(word[0], word[0]), text)

    types = _types()
    return replace(
        entry,
        signature=full(entry.signature),
        options={key: full(value) for key, value in entry.options.items()},
        members=tuple(map(_qualified, entry.members)),
    )


@cache
def _types() -> dict[str, str]:
    """Class -> its full name, for those that the library does not export. No two have
    the same name.
    """
    public = imports(LIBRARY)
    paths = [path.relative_to(ROOT) for path in (ROOT / LIBRARY).rglob("*.py")]
    modules = [".".join(path.with_suffix("").parts) for path in paths]
    return {
        node.name: f"{module}.{node.name}"
        for module in [each.removesuffix(".__init__") for each in modules]
        for node in _tree(module).body
        if isinstance(node, ast.ClassDef) and node.name not in public
    }


def _entry(node: ast.stmt, lines: list[str]) -> ApiEntry | None:
    """The entry of a definition, or None if nothing is said about it."""
    match node:
        case ast.FunctionDef():
            return _function("function", node)
        case ast.ClassDef():
            return _class(node, lines)
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value)
            | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
        ):
            text = ast.unparse(value)
            doc = _comment(lines, node.lineno - 1)
            options = {"value": text} if len(text) < LONGEST else {}
            return ApiEntry("data", name, doc, options=options) if doc else None
    return None


def _function(kind: str, node: ast.FunctionDef) -> ApiEntry | None:
    doc = ast.get_docstring(node)
    if doc is None:
        return None
    if kind == "method":
        node.args.args = node.args.args[1:]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return ApiEntry(kind, node.name, doc, f"({ast.unparse(node.args)}){returns}")


def _class(node: ast.ClassDef, lines: list[str]) -> ApiEntry | None:
    doc = ast.get_docstring(node)
    if doc is None:
        return None
    methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    passed = ", ".join(_fields(node))
    signature = f"({passed})" if passed else ""
    if "__init__" in methods:
        arguments = methods["__init__"].args
        arguments.args = arguments.args[1:]
        signature = f"({ast.unparse(arguments)})"
    elif any(
        "Error" in ast.unparse(base) or "Exception" in ast.unparse(base)
        for base in node.bases
    ):
        return ApiEntry("exception", node.name, doc)
    fields = (
        ApiEntry("attribute", name, words, options={"type": kind} | UNLISTED)
        for name, kind, words in field_docs(node, lines)
        if words
    )
    members = (*fields, *_members(methods.values()))
    return ApiEntry("class", node.name, doc, signature, members=members)


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """The fields of a data class or named tuple, as they are passed."""
    for each in node.body:
        if isinstance(each, ast.AnnAssign):
            default = f" = {ast.unparse(each.value)}" if each.value else ""
            yield f"{ast.unparse(each.target)}: {ast.unparse(each.annotation)}{default}"


def field_docs(node: ast.ClassDef, lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """The name, the type and the documentation of each field of a class, "" if there is
    none: a comment above that begins with ``#:``, one at the end of its line, or a
    string below. `lines` are those of the file.
    """
    for each, after in pairwise([*node.body, None]):
        if not isinstance(each, ast.AnnAssign):
            continue
        assert each.end_lineno is not None
        line = lines[each.end_lineno - 1].encode()[each.end_col_offset :].decode()
        below = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
        above = _comment(lines, each.lineno - 1)
        words = above or line.strip().lstrip("#: ") or below
        yield ast.unparse(each.target), ast.unparse(each.annotation), words


def _members(methods: Any) -> Iterator[ApiEntry]:
    """The methods that a reader calls; `forward` is called by PyTorch."""
    for node in methods:
        if node.name.startswith("_") or node.name == "forward":
            continue
        decorators = {ast.unparse(each) for each in node.decorator_list}
        member = _function("method", node)
        if member is None:
            continue
        if decorators & {"property", "cached_property", "functools.cached_property"}:
            options = {"type": ast.unparse(node.returns)}
            member = ApiEntry("property", member.name, member.doc, options=options)
        elif decorators & {"classmethod", "staticmethod"}:
            kind = (decorators & {"classmethod", "staticmethod"}).pop()
            member = ApiEntry(kind, member.name, member.doc, member.signature)
        yield member


def _comment(lines: list[str], end: int) -> str:
    """The comment that ends above line `end`, if it begins with ``#:``."""
    start = end
    while start and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    comment = [line.strip() for line in lines[start:end]]
    if not comment or not comment[0].startswith("#:"):
        return ""
    return "\n".join(line.lstrip("#: ") for line in comment)


def _markdown(doc: str) -> str:
    """A docstring as MyST: what it takes, raises and does otherwise, each in bold."""
    doc = re.sub(
        r"^(Shape|Raises|Differs from the paper):", r"\n**\1:**", doc, flags=re.M
    )
    doc = re.sub(r"(^ *>>> (?:.|\n\S)*)", r"```python\n\1\n```\n", doc, flags=re.M)
    # What is left of the indentation continues a paragraph; in Markdown it is code.
    return re.sub(r"^ +(?=\S)", "", doc, flags=re.M)


class Api(SphinxDirective):
    """`{api} resnet`: what the modules of these names have for others."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Write the entries as MyST, and parse that in place."""
        found = []
        for name in self.arguments[0].split():
            module = f"{LIBRARY}.{name}"
            self.env.note_dependency(str(file_of(module)))
            found.append(
                f":::{{py:currentmodule}} {module}\n:::"
            )  # where types are sought
            found += [entry.markdown() for entry in entries(module)]
        text = StringList("\n\n".join(found).splitlines(), "docstrings")
        node = nodes.container()
        self.state.nested_parse(text, self.content_offset, node)
        return node.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("api", Api)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
