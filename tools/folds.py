"""Which code cells of a chapter are folded on the page, and under which title.

Readers came for the ideas: imports, the drawing of figures and the making of tables are
there for who wants them. What a cell is, is seen from its code, so no text says it.
"""

from __future__ import annotations

import ast
import re
from typing import Any

#: What draws: a cell with one of these calls is there for a figure.
DRAWS = re.compile(
    r"\b(plt\.subplots|plt\.subplot_mosaic|show_images|show_photographs"
    r"|draw_volumes|plot_seeds|label_lines)\("
)


def fold(cell: Any) -> None:
    """Tag a code cell that is folded, and give it a title."""
    what = title(cell.source)
    if what is None:
        return
    tags = cell.metadata.get("tags", [])
    cell.metadata["tags"] = [*dict.fromkeys([*tags, "hide-input"])]
    prompts = {
        f"code_prompt_{verb.lower()}": f"{verb} {what}" for verb in ("Show", "Hide")
    }
    cell.metadata["mystnb"] = {**cell.metadata.get("mystnb", {}), **prompts}


def title(source: str) -> str | None:
    """What the code of a cell is, if it is to be folded; None for all other code."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a magic of IPython, which is there to be read
        return None
    if statements and all(map(_imports, statements)):
        return "the imports"
    if DRAWS.search(source):
        return "the code of the figure"
    if statements and _is_table(statements[-1]):
        return "the code of the table"
    return None


def _imports(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom) or (
        ast.unparse(statement) == "course_lib.style()"
    )


def _is_table(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and ast.unparse(statement.value.func) in ("Table", "layer_table")
        and len(ast.unparse(statement)) > 60
    )
