"""Which tensors of a run depend on the image, and on which part of it.

A tensor is known by its storage and how it is laid out there: each view has a state of
its own, and what is changed in place gets a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from course_lib.summary import receptive_field
from course_lib.summary.receptive_field import (
    Field,
    ReceptiveWindow,
    State,
    UnknownReceptiveField,
)
from course_lib.summary.rules import (
    OperationCall,
    Rule,
    name_of,
    overwrites_input,
    rules_for,
)
from course_lib.tracing import Operation, View

#: What a tensor depends on; or why that is unknown; or None if not on the image.
Known: TypeAlias = State | UnknownReceptiveField | None


class FieldTracker:
    """What all tensors depend on of the images `views`, the inputs of a network."""

    def __init__(self, views: Sequence[View]) -> None:
        self._known: dict[int, dict[Any, Known]] = {}
        for view in views:
            state = receptive_field.image(view.shape)
            self._known.setdefault(view.storage, {})[view[:4]] = state

    def of(self, view: View) -> Known:
        """What is known of a tensor."""
        views = self._known.get(view.storage)
        if views is None:
            return None
        return views.get(view[:4], UnknownReceptiveField("a view that was written to"))

    def field(self, view: View) -> Field | None:
        """The receptive field of a tensor, None if it has none. Raises:
        UnknownReceptiveField if that is unknown.
        """
        known = self.of(view)
        if isinstance(known, UnknownReceptiveField):
            raise UnknownReceptiveField(str(known))  # one that is not kept
        return None if known is None else receptive_field.field(known)

    def update(self, operation: Operation) -> UnknownReceptiveField | None:
        """Note what an operation made of what was known. Returns why that is unknown,
        if it is.
        """
        known = [self.of(view) for view in operation.given]
        func, outs = operation.func, operation.made
        if not outs or all(state is None for state in known):
            return None
        shapes = [out.shape for out in outs]
        results = _follow(func, operation.args, known, shapes)
        for out, state in zip(outs, results, strict=True):
            if state is None:
                continue
            views = self._known.setdefault(out.storage, {})
            if func._schema.is_mutable and views.get(out[:4]) != state:
                # Other views of this memory may show it, or a part of it.
                views.update(
                    dict.fromkeys(
                        views, UnknownReceptiveField("a view that was written to")
                    )
                )
            views[out[:4]] = state
        return results[0] if isinstance(results[0], UnknownReceptiveField) else None


def _follow(
    func: Any,
    args: Sequence[Any],
    known: Sequence[Known],
    shapes: Sequence[tuple[int, ...]],
) -> list[Known]:
    """What the results of `func` depend on."""
    if overwrites_input(func):
        known = [None, *known[1:]]
    for state in known:
        if isinstance(state, UnknownReceptiveField):
            return [state] * len(shapes)
    rules = rules_for(func, len(known))
    paths = [(r, s) for r, s in zip(rules, known, strict=True) if isinstance(s, tuple)]
    calls = [
        OperationCall(name_of(func), args, shapes, index)
        for index in range(len(shapes))
    ]
    return [
        _unite(paths, call) if paths and 0 not in call.shape else None for call in calls
    ]


def _unite(
    paths: Sequence[tuple[Rule, State]], call: OperationCall
) -> State | UnknownReceptiveField:
    """What all `paths` make together, each a rule and the state that it begins with;
    an input without axes, like a label, adds nothing to where an image is seen.
    """
    axes = max(len(state) for _, state in paths)
    paths = [(rule, state) for rule, state in paths if state or not axes]

    def along(axis: int) -> tuple[ReceptiveWindow, ...]:
        found = [rule(window, call) for rule, state in paths for window in state[axis]]
        if any(window.shape != call.shape for window in found):
            raise UnknownReceptiveField(call.name)
        return receptive_field.unite(found)

    try:
        if any(len(state) != axes for _, state in paths):
            raise UnknownReceptiveField(f"{call.name} of images of other dimensions")
        return tuple(along(axis) for axis in range(axes))
    except UnknownReceptiveField as reason:
        return reason.with_traceback(None)  # which would keep all frames
