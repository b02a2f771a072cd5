"""What a function rests on: the functions, classes and values that it reaches, found in
the syntax trees of a tree of files, which is read and never run.

From a function's names one gets to what they name, there to further names, through
imports of any kind, up to what is not of this repository. A class counts whole, with
its bases; a value at module level with all that it is made from; a statement that binds
no name, as soon as its module is imported. Annotations count where they can be looked
up when the program runs. What is imported for type checking only does not: whoever
made such an object named its class.

Whatever runs was named somewhere, but for what is imported under a computed name: code
that reaches `importlib` is refused. The lazy names of a package are looked up in its
``if TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from experiments.syntax import (
    Chain,
    Function,
    Names,
    bound,
    imported,
    is_words,
    without_words,
)


@dataclass(eq=False)
class Definition:
    """What a module says of `name`: a statement, or an entry of a table."""

    module: Module
    name: str
    node: ast.AST
    _chosen: dict[frozenset[str], list[Definition]] = field(default_factory=dict)

    @cached_property
    def names(self) -> Names:
        """What it takes from its module."""
        found = Names(self.module.package)
        found.visit(self.node)
        return found

    @cached_property
    def text(self) -> str:
        """Its code. What it imports is followed, wherever that is."""
        return without_words(self.node, but=(ast.Import, ast.ImportFrom))

    def entries(self, values: frozenset[str]) -> list[Definition]:
        """If it is a table with a key among `values`, those of its entries, and the
        ones whose keys are computed; else itself.
        """
        table = _table(self.node)
        named: dict[ast.expr | None, object] = {
            key: key.value for key in table.keys if isinstance(key, ast.Constant)
        }
        wanted = values & {*named.values()}
        if not wanted:
            return [self]
        if wanted not in self._chosen:
            self._chosen[wanted] = [
                Definition(
                    self.module,
                    f"{self.name}[{named.get(key)!r}]",
                    ast.Dict([key], [value]),
                )
                for key, value in zip(table.keys, table.values, strict=True)
                if named.get(key) in wanted or key not in named
            ]
        return self._chosen[wanted]


def _table(node: ast.AST) -> ast.Dict:
    """The dict in ``NAME = {...}`` and ``NAME = MappingProxyType({...})``, or else an
    empty one.
    """
    match node:
        case ast.Assign(value=value) | ast.AnnAssign(value=value):
            match value:
                case ast.Dict():
                    return value
                case ast.Call(args=[ast.Dict() as table], keywords=[]):
                    return table
    return ast.Dict([], [])


@dataclass(eq=False)
class Module:
    """A file: what it defines and imports, and what it does besides.

    `of_types` are its imports for type checking only.
    """

    name: str
    package: str
    own: defaultdict[str, list[Definition]] = field(
        default_factory=lambda: defaultdict(list)
    )
    imports: dict[str, Chain] = field(default_factory=dict)
    of_types: dict[str, Chain] = field(default_factory=dict)
    effects: list[Definition] = field(default_factory=list)

    def read(self, source: str) -> Module:
        """Take the statements of `source`, in their order."""
        for statement in ast.parse(source).body:
            match statement:
                case ast.Import() | ast.ImportFrom():
                    self.imports |= imported(statement, self.package)
                case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                    self.of_types |= self._imports_in(statement)
                case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                    pass
                case _ if not is_words(statement):
                    self._define(statement)
        return self

    def _define(self, statement: ast.stmt) -> None:
        names = sorted(bound([statement]))
        if not isinstance(statement, Function | ast.ClassDef):
            self.imports |= self._imports_in(statement)
        changed = _changed(statement)
        if not names and changed in self.own:
            names = [changed]
        made = Definition(self, ", ".join(names) or "a statement", statement)
        for name in names:
            self.own[name].append(made)
        if not names:
            self.effects.append(made)

    def _imports_in(self, statement: ast.stmt) -> dict[str, Chain]:
        found: dict[str, Chain] = {}
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= imported(node, self.package)
        return found


def _changed(statement: ast.stmt) -> str:
    """The name in ``NAME[key] = value`` and ``NAME.update(...)``, or nothing."""
    match statement:
        case ast.Assign(targets=[target]) | ast.AugAssign(target=target):
            node: ast.expr = target
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=value))):
            node = value
        case _:
            return ""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


class Code:
    """The modules below `root`, each read when it is first asked for.

    `places` are the folders in it where imports are looked for: scripts were once run
    by their path, and imported what lies beside them.
    """

    def __init__(self, root: Path, places: tuple[str, ...] = ("", "experiments")):
        self.root = root
        self.places = places
        self._modules: dict[str, Module | None] = {}
        self._edges: dict[int, tuple[list[Definition], str]] = {}

    def module(self, name: str) -> Module | None:
        """The module `name`, if it is one of this tree."""
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def _read(self, name: str) -> Module | None:
        for place in self.places:
            path = self.root / place / name.replace(".", "/")
            file = path.with_name(f"{path.name}.py")
            package = path / "__init__.py"
            if package.is_file():
                return Module(name, name).read(package.read_text(encoding="utf-8"))
            if file.is_file():
                above = name.rpartition(".")[0]
                return Module(name, above).read(file.read_text(encoding="utf-8"))
        return None

    def fingerprint(self, module: str, name: str, values: Iterable[str] = ()) -> str:
        """Twelve digits that change with what is reached."""
        reached = self.reached(module, name, values)
        lines = sorted(f"{name} {each}" for name in reached for each in reached[name])
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]

    def reached(
        self, module: str, name: str, values: Iterable[str] = ()
    ) -> dict[str, set[str]]:
        """What `name` of `module` reaches, itself included: name -> digests of the code
        that has this name, whatever module it is in.

        Where a table has keys among `values`, such as the name of a network, only their
        entries count.

        Raises: ValueError if a name cannot be found in a module of this tree, or is
            computed.
        """
        asked = frozenset(values)
        todo = list(self._follow((module, name)))
        found: dict[str, set[str]] = defaultdict(set)
        seen: set[int] = set()
        modules: set[str] = set()
        while todo:
            for each in todo.pop().entries(asked):
                if id(each) in seen:
                    continue
                seen.add(id(each))
                for source, *_ in ((each.module.name,), *each.names.imports.values()):
                    todo += self._effects(source, modules)
                others, edges = self._looked_up(each)
                todo += others
                digest = hashlib.sha256(f"{each.text}\n{edges}".encode()).hexdigest()
                found[each.name].add(digest)
        return dict(found)

    def _looked_up(self, definition: Definition) -> tuple[list[Definition], str]:
        """What the names in `definition` lead to, and as text which leads where: the
        same code under another import is other code.
        """
        if id(definition) not in self._edges:
            module, names = definition.module, definition.names
            others, edges = [], set()
            for chain in names.chains:
                source = names.imports.get(chain[0]) or module.imports.get(chain[0])
                inside = chain[0] in names.imports
                found = [] if inside else [*module.own.get(chain[0], ())]
                if source:
                    found += self._follow((*source, *chain[1:]))
                others += found
                edges |= {f"{'.'.join(chain)}: {each.name}" for each in found}
                if source and source[0] == "importlib":
                    raise ValueError(
                        f"{definition.name} imports what it computes the name of: what"
                        " it rests on cannot be found"
                    )
                if source and not found:
                    edges.add(f"{chain[0]}: {'.'.join(source)}")
            self._edges[id(definition)] = others, "\n".join(sorted(edges))
        return self._edges[id(definition)]

    def _follow(self, chain: Chain) -> list[Definition]:
        """What ``module.name.name`` leads to in this tree: all of a module if it is
        named itself, nothing if it is of another.
        """
        name, *rest = chain
        module = self.module(name)
        if module is None:
            inside = self.module(name.split(".")[0])
            if inside is not None:
                raise ValueError(f"there is no module {name} in {self.root}")
            return []
        if not rest:
            everything = (each for several in module.own.values() for each in several)
            return [*everything, *module.effects]
        asked, *further = rest
        found = [*module.own.get(asked, ())]
        if asked in module.imports:
            return found + self._follow((*module.imports[asked], *further))
        if found:
            return found
        if self.module(f"{name}.{asked}"):
            return self._follow((f"{name}.{asked}", *further))
        if "__getattr__" in module.own and asked in module.of_types:
            return self._follow((*module.of_types[asked], *further))
        if asked.startswith("__"):  # such as `__file__`
            return []
        raise ValueError(f"{name} has no {asked}, or computes it")

    def _effects(self, name: str, done: set[str]) -> Iterator[Definition]:
        """What the modules do that come with an import of `name`, but for those that
        are `done`.
        """
        todo = [name]
        while todo:
            name = todo.pop()
            module = None if name in done else self.module(name)
            done.add(name)
            if module is not None:
                yield from module.effects
                todo += [name.rpartition(".")[0]] if "." in name else []
                for source, *names in module.imports.values():
                    todo += [source, *(f"{source}.{each}" for each in names)]
