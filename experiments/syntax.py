"""What a piece of code says: its text without words, the names that it takes from
outside, those that it gives a meaning to, and what it imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

#: A name with the attributes that are asked of it: ``googlenet.VARIANTS``.
Chain = tuple[str, ...]


def without_words(node: ast.AST, but: tuple[type[ast.AST], ...] = ()) -> str:
    """The code of `node`, `but` for some kinds of it: no docstrings and comments, and
    the same however it is laid out.

    Not `ast.dump`, which every version of Python does in another way.
    """
    if isinstance(node, ast.Constant):
        return ascii(node.value)
    parts = []
    for name, value in ast.iter_fields(node):
        values = value if isinstance(value, list) else [value]
        if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some with an empty text
            values = [each for each in values if getattr(each, "value", None) != ""]
        texts = [
            without_words(each, but) if isinstance(each, ast.AST) else repr(each)
            for each in values
            if not is_words(each) and not isinstance(each, but)
        ]
        if texts and value is not None and name not in ("ctx", "kind", "type_comment"):
            parts.append(f"{name}=[{', '.join(texts)}]")
    return f"{type(node).__name__}({', '.join(parts)})"


def is_words(node: object) -> bool:
    """Whether `node` is a statement that is a string and nothing else."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


class Names(ast.NodeVisitor):
    """The names that a piece of code in `package` looks up outside of itself, and what
    it imports.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self.chains: set[Chain] = set()
        self.imports: dict[str, Chain] = {}
        self.scopes: list[tuple[set[str], bool]] = []  # names; whether it is a class's

    def visit_Name(self, node: ast.Name) -> None:
        self._use((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._use((inner.id, *reversed(chain)))
        else:
            self.visit(inner)

    def _use(self, chain: Chain) -> None:
        last = len(self.scopes) - 1
        for at, (names, of_class) in enumerate(self.scopes):
            if chain[0] in names and (not of_class or at == last):
                return
        self.chains.add(chain)

    def visit_Import(self, node: ast.Import) -> None:
        self.imports |= imported(node, self.package)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imports |= imported(node, self.package)

    def visit_FunctionDef(self, node: Function) -> None:
        for outside in (*node.decorator_list, node.args, node.returns):
            if outside is not None:
                self.visit(outside)
        self._inside(node.body, _parameters(node.args) | bound(node.body))

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)
        self._inside([node.body], _parameters(node.args))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for outside in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(outside)
        self._inside(node.body, bound(node.body), of_class=True)

    def _comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        targets = [each.target for each in node.generators]
        self._inside(ast.iter_child_nodes(node), bound(targets))

    visit_ListComp = visit_SetComp = _comprehension  # noqa: N815
    visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815

    def _inside(
        self, nodes: Iterable[ast.AST], names: set[str], of_class: bool = False
    ) -> None:
        self.scopes.append((names, of_class))
        for node in nodes:
            self.visit(node)
        self.scopes.pop()


def _parameters(args: ast.arguments) -> set[str]:
    every = (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg)
    return {each.arg for each in every if each is not None}


def bound(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that `nodes` give a meaning to, in the scope that they are in."""
    names: set[str] = set()
    elsewhere: set[str] = set()
    todo = list(nodes)
    while todo:
        match todo.pop():
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() as node:
                names.add(node.name)
            case ast.Global(names=others):
                elsewhere.update(others)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.add(name)
            case ast.Lambda() | ast.Import() | ast.ImportFrom():
                pass  # imports are followed, wherever they stand
            case node if isinstance(node, Comprehension):
                inside = ast.walk(node)
                todo += (e.target for e in inside if isinstance(e, ast.NamedExpr))
            case node:
                named = getattr(node, "name", None), getattr(node, "rest", None)
                names |= {each for each in named if isinstance(each, str)}
                todo += ast.iter_child_nodes(node)
    return names - elsewhere


def imported(node: ast.Import | ast.ImportFrom, package: str) -> dict[str, Chain]:
    """Name -> the module, and the name in it, that an import in `package` gives it.

    Raises: ValueError for a star, of which no one can say what it names.
    """
    if isinstance(node, ast.Import):
        return {
            each.asname or each.name.split(".")[0]: (
                each.name if each.asname else each.name.split(".")[0],
            )
            for each in node.names
        }
    module = node.module or ""
    if node.level:
        base = package.split(".")
        base = base[: len(base) - node.level + 1]
        module = ".".join([*base, module] if module else base)
    if any(each.name == "*" for each in node.names):
        raise ValueError(f"line {node.lineno}: `from {module} import *` names nothing")
    return {each.asname or each.name: (module, each.name) for each in node.names}
