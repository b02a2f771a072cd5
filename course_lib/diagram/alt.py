"""The alternative text of a drawing, for those who do not see it."""

from __future__ import annotations

from course_lib.diagram.ops import Op, Shape
from course_lib.diagram.structure import Chain, Node, Repeat, SideBranch, Stage
from course_lib.diagram.tiles import shape_text


def alt_text(chain: Chain, shape: Shape) -> str:
    """What the drawing of `chain` shows, from an input of `shape` to the output."""
    separator = ". " if any(isinstance(node, Stage) for node in chain) else "; "
    last = next(node for node in reversed(chain) if not isinstance(node, SideBranch))
    parts = f"Input {shape_text(shape)}", *map(_node, chain)
    return f"{separator.join(parts)}{separator}output {shape_text(last.shape)}."


def _node(node: Node) -> str:
    match node:
        case Op():
            return ", ".join([node.line(), *(name for _, name in node.tags)])
        case Stage():
            return f"{node.name}: {_chain(node.body)}"
        case SideBranch():
            return f"side branch: {_chain(node.body)}"
        case Repeat():
            grown = f", each with {node.growth} channels more" * bool(node.growth)
            return f"{node.count} times ({_chain(node.body)}){grown}"
    branches = [f"({_chain(branch) or 'input'})" for branch in node.branches]
    if len(node.join.name) == 1:
        return f" {node.join.name} ".join(branches)
    return f"{node.join.name} of {', '.join(branches)}"


def _chain(chain: Chain) -> str:
    return "; ".join(map(_node, chain))
