"""The API part of the book, from the docstrings in the sources.

Nothing is imported, so the book is built without PyTorch. `{api} resnet` in a page
stands for what `course_lib/resnet.py` defines for others: functions, classes and their
methods, and the tables with a comment that begins with ``#:``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[1]
LIBRARY = "course_lib"
LONGEST = 60  # of a table that is shown with its value


@dataclass(frozen=True)
class Entry:
    """What is written about one name: `kind` is the directive of Sphinx for it."""

    kind: str
    name: str
    doc: str
    signature: str = ""
    options: dict[str, str] = field(default_factory=dict)
    members: tuple[Entry, ...] = ()

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


def entries(module: str) -> list[Entry]:
    """What `module` has for others: its definitions, and what its `__all__` adds.

    A name that the library exports is called after the library and comes first; all
    others are called after their module, and are not listed in the margin.
    """
    public, found = imports(LIBRARY), []
    lines = file_of(module).read_text(encoding="utf-8").splitlines()
    for node in _tree(module).body:
        entry = _entry(node, lines)
        if entry and not entry.name.startswith("_"):
            home = LIBRARY if public.get(entry.name) == module else module
            found.append(_at(_qualified(entry, module), home, module))
    for name, origin in imports(module).items():
        if public.get(name) == module:  # a package hands on what a part of it defines
            entry = next(each for each in entries(origin) if each.name == name)
            found.append(_at(entry, LIBRARY, origin))
    return sorted(found, key=lambda entry: entry.options["module"] != LIBRARY)


def _tree(module: str) -> ast.Module:
    return ast.parse(file_of(module).read_text(encoding="utf-8"))


def _at(entry: Entry, home: str, origin: str) -> Entry:
    """The entry as one of `home`, where it is imported from, defined in `origin`."""
    if home != origin:
        options = {"module": home, "canonical": f"{origin}.{entry.name}"}
        return replace(entry, options=entry.options | options)
    unlisted = {"no-contents-entry": ""}
    members = (replace(each, options=each.options | unlisted) for each in entry.members)
    options = entry.options | unlisted | {"module": home}
    return replace(entry, options=options, members=tuple(members))


def _qualified(entry: Entry, module: str) -> Entry:
    """With full names for the types that only `module` has: each net has a `Row`."""

    def full(text: str) -> str:
        return re.sub(r"\b(" + "|".join(sorted(types)) + r")\b", rf"{module}.\1", text)

    types = {n.name for n in _tree(module).body if isinstance(n, ast.ClassDef)}
    types -= imports(LIBRARY).keys()
    if not types:
        return entry
    return replace(
        entry,
        signature=full(entry.signature),
        options={key: full(value) for key, value in entry.options.items()},
        members=tuple(_qualified(member, module) for member in entry.members),
    )


def _entry(node: ast.stmt, lines: list[str]) -> Entry | None:
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
            return Entry("data", name, doc, options=options) if doc else None
    return None


def _function(kind: str, node: ast.FunctionDef) -> Entry | None:
    doc = ast.get_docstring(node)
    if doc is None:
        return None
    if kind == "method":
        node.args.args = node.args.args[1:]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return Entry(kind, node.name, doc, f"({ast.unparse(node.args)}){returns}")


def _class(node: ast.ClassDef, lines: list[str]) -> Entry | None:
    doc = ast.get_docstring(node)
    if doc is None:
        return None
    methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    fields = ", ".join(_fields(node))
    signature = f"({fields})" if fields else ""
    if "__init__" in methods:
        arguments = methods["__init__"].args
        arguments.args = arguments.args[1:]
        signature = f"({ast.unparse(arguments)})"
    elif any(
        "Error" in ast.unparse(base) or "Exception" in ast.unparse(base)
        for base in node.bases
    ):
        return Entry("exception", node.name, doc)
    members = (*_explained_fields(node, lines), *_members(methods.values()))
    return Entry("class", node.name, doc, signature, members=members)


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """The fields of a data class or named tuple, as they are passed."""
    for each in node.body:
        if isinstance(each, ast.AnnAssign):
            default = f" = {ast.unparse(each.value)}" if each.value else ""
            yield f"{ast.unparse(each.target)}: {ast.unparse(each.annotation)}{default}"


def _explained_fields(node: ast.ClassDef, lines: list[str]) -> Iterator[Entry]:
    """The fields that have a comment; types and defaults are in the signature."""
    for each in node.body:
        if isinstance(each, ast.AnnAssign):
            doc = _comment(lines, each.lineno - 1)
            if doc:
                yield Entry("attribute", ast.unparse(each.target), doc)


def _members(methods: Any) -> Iterator[Entry]:
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
            member = Entry("property", member.name, member.doc, options=options)
        elif decorators & {"classmethod", "staticmethod"}:
            kind = (decorators & {"classmethod", "staticmethod"}).pop()
            member = Entry(kind, member.name, member.doc, member.signature)
        yield member


def _comment(lines: list[str], end: int) -> str:
    """The comment that ends above line `end`, if it begins with ``#:``."""
    start = end
    while start and lines[start - 1].strip().startswith("#"):
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
