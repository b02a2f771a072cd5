"""What a check says, as text and as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Result:
    """What a check has to say. It is printed by a notebook, as text or HTML."""

    #: The exercise, as ``"chapter.name"``.
    name: str
    #: Whether the answer is right.
    passed: bool
    #: What is wrong, in whole sentences; nothing if it passed.
    message: str
    #: What to think of next, if something fits; `code` stands in backquotes.
    hint: str = ""

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        mark = "passed" if self.passed else "not yet"
        lines = [f"{self.name}: {mark}. {self.message}".rstrip()]
        if self.hint:
            lines.append(f"Hint: {self.hint}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        kind = "passed" if self.passed else "open"
        mark = "&#10003;" if self.passed else "&#10007;"
        hint = f"<br><em>Hint:</em> {_code(self.hint)}" if self.hint else ""
        return (
            f'<div class="check check-{kind}"><strong>{mark} {escape(self.name)}'
            f"</strong>: {'passed' if self.passed else 'not yet'}."
            f" {_code(self.message)}{hint}</div>"
        )


@dataclass(frozen=True)
class Progress:
    """The exercises of some chapters, and which of them have passed."""

    #: Name, minutes and goal of each.
    exercises: Sequence[tuple[str, int, str]]
    results: Mapping[str, Result]

    def _rows(self) -> list[tuple[str, str, int, str]]:
        def mark(name: str) -> str:
            if name not in self.results:
                return "-"
            return "x" if self.results[name].passed else "?"

        return [(mark(each[0]), *each) for each in self.exercises]

    def _count(self) -> str:
        done = sum(mark == "x" for mark, *_ in self._rows())
        return f"{done} of {len(self.exercises)} passed"

    def __repr__(self) -> str:
        lines = [
            f"[{mark if mark != '-' else ' '}] {name} ({minutes} min): {goal}"
            for mark, name, minutes, goal in self._rows()
        ]
        return "\n".join([self._count(), *lines])

    def _repr_html_(self) -> str:
        marks = {"x": "&#10003;", "?": "&#10007;", "-": "&#9675;"}
        items = "".join(
            f"<li>{marks[mark]} <code>{name}</code>, {minutes} min: {_code(goal)}</li>"
            for mark, name, minutes, goal in self._rows()
        )
        return (
            f'<div class="check"><strong>{self._count()}</strong><ul>{items}</ul></div>'
        )


def _code(text: str) -> str:
    """HTML of a text in which backquotes mark code."""
    parts = escape(text).split("`")
    return "".join(
        f"<code>{part}</code>" if index % 2 else part
        for index, part in enumerate(parts)
    )
