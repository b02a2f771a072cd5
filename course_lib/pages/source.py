"""Library code on a page of the book: shown, never copied."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.display import Markdown


def show(*objects: Any) -> Markdown:
    """The source of classes, methods and functions of the library, as one block of
    Python in a notebook, and where the rest is: `show(ResNet.forward)` shows that
    method alone. Of each docstring, the first paragraph is shown.

    Raises: TypeError if one of them has no source in Python.
    """
    from IPython.display import Markdown

    sources = [_shortened(inspect.getsource(item)) for item in objects]
    places = dict.fromkeys(f"`{item.__module__}`" for item in objects)
    return Markdown(
        "```python\n"
        + "\n\n\n".join(sources)
        + f"\n```\n\n*With all that is around it, in {' and '.join(places)}.*"
    )


def _shortened(source: str) -> str:
    """`source` with no more than the first paragraph of each docstring."""
    source = textwrap.dedent(source).rstrip()
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        doc = ast.get_docstring(node)
        first = node.body[0]
        if doc and "\n\n" in doc and first.end_lineno is not None:
            begin, end = first.lineno - 1, first.end_lineno
            stop = next(i for i in range(begin, end) if not lines[i].strip())
            lines[stop - 1] += '"""'
            lines[stop:end] = [None] * (end - stop)  # type: ignore[list-item]
    return "\n".join(line for line in lines if line is not None)
