"""The ledger: what is said about these networks, and what holds.

``book/claims.yml`` has every checkable claim of four articles, and a second part with
errors of widely used code, books and papers. Each claim has a verdict, and either an
expression that computes it (`course_lib.pages.expressions`) or a citation. Chapter: The
ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from course_lib.arguments import check_one_of
from course_lib.catalog import FAMILIES
from course_lib.pages.expressions import (
    evaluate_expression as evaluate_expression,
)

#: The file of the ledger: in an installed package, and in the repository.
FILES = (
    Path(__file__).parents[1] / "_book" / "claims.yml",
    Path(__file__).parents[2] / "book" / "claims.yml",
)

VERDICTS = ("right", "imprecise", "wrong", "unsupported", "unseen")

#: How a claim can be checked: by its expression, or in one of two ways by citation.
MARKS = ("computed", "read", "from-memory")

#: What a claim can be about.
NETS = (*FAMILIES, "basics")


@dataclass(frozen=True)
class Claim:
    """One claim, its verdict, and the evidence.

    Raises: ValueError for a verdict, network or check that is not known, or if the
        claim is neither computed nor cited.
    """

    #: Its number in the ledger, "E1" in the second part.
    id: int | str
    #: Who says it, a key of `Ledger.sources`.
    source: str
    #: The networks that it is about, of `NETS`.
    nets: list[str]
    #: What is said, in a sentence.
    claim: str
    #: What is true of it, one of `VERDICTS`.
    verdict: str
    #: The reason for the verdict.
    why: str
    #: How that was checked, of `MARKS`.
    checked: list[str]
    #: The line of the source; None if the source has no lines.
    line: int | None = None
    #: The number in it, as it is written there.
    value: str = ""
    #: The Python that computes it, for `evaluate_expression`.
    expression: str = ""
    #: The value of the expression.
    computed: Any = None
    #: What is cited, a key of `Ledger.references` -> section, table or figure.
    citation: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(
                f"claim {self.id}: verdict must be one of {', '.join(VERDICTS)}; got"
                f" {self.verdict!r}"
            )
        if not self.nets or not set(self.nets) <= set(NETS):
            raise ValueError(
                f"claim {self.id}: nets must be some of {', '.join(NETS)}; got"
                f" {self.nets}"
            )
        possible = [["computed"]] if self.expression else [[]]
        if self.citation:
            possible = [[*possible[0], mark] for mark in MARKS[1:]]
        if not self.checked or self.checked not in possible:
            raise ValueError(
                f"claim {self.id}: with {'an' if self.expression else 'no'} expression"
                f" and {len(self.citation)} citations, it cannot be {self.checked}"
            )


@dataclass(frozen=True, repr=False)
class Ledger:
    """Claims, and the labels of what they come from and of what they cite.

    In a notebook it is shown as cards, which can be filtered by network and verdict
    without JavaScript.
    """

    #: The part of the ledger, and what was asked for.
    name: str
    #: In the order of the ledger.
    claims: tuple[Claim, ...]
    #: Key -> label of what claims come from.
    sources: dict[str, dict[str, str]]
    #: Key -> label and address of what they cite.
    references: dict[str, dict[str, str]]

    def __len__(self) -> int:
        return len(self.claims)

    def __iter__(self) -> Iterator[Claim]:
        return iter(self.claims)

    def __repr__(self) -> str:
        counts = (f"{count} {verdict}" for verdict, count in self.verdicts().items())
        return f"{len(self)} claims: {', '.join(counts)}"

    def __str__(self) -> str:
        return "\n".join(f"{c.id:>3} {c.verdict:<11} {c.claim}" for c in self)

    def where(
        self,
        *,
        net: str | None = None,
        verdict: str | None = None,
        source: str | None = None,
    ) -> Ledger:
        """The claims about that `net`, of that `verdict`, from that `source`.

        Raises: ValueError for another word, and if there are none.
        """
        if net is not None:
            check_one_of(NETS, net=net)
        if verdict is not None:
            check_one_of(VERDICTS, verdict=verdict)
        if source is not None:
            check_one_of(tuple(self.sources), source=source)
        claims = tuple(
            claim
            for claim in self
            if net in (None, *claim.nets)
            and verdict in (None, claim.verdict)
            and source in (None, claim.source)
        )
        wanted = [word for word in (net, verdict, source) if word is not None]
        if not claims:
            raise ValueError(f"there is no claim with {' and '.join(wanted)}")
        name = "-".join([self.name, *wanted])
        return Ledger(name, claims, self.sources, self.references)

    def verdicts(self) -> dict[str, int]:
        """How many claims have each verdict."""
        counts = Counter(claim.verdict for claim in self)
        return {verdict: counts[verdict] for verdict in VERDICTS}

    def _repr_html_(self) -> str:
        nets = Counter(net for claim in self for net in claim.nets)
        choices = {
            "Network": {net: nets[net] for net in NETS if nets[net]},
            "Verdict": {key: n for key, n in self.verdicts().items() if n},
        }
        rules, filters = [STYLE], []
        for title, counts in choices.items():
            group = f"{self.name}-{title.lower()}"
            filters.append(_radios(title, group, len(self), counts))
            for key in counts:
                chosen = f".ledger:has(#{group}-{key}:checked)"
                rules.append(f"{chosen} li:not([data-is~={key}]) {{ display: none }}")
        parts = ["<style>", *rules, "</style>", "<div class='ledger'>", *filters]
        parts += ["<ul>", *map(self._card, self), "</ul>", "<p></p>", "</div>"]
        return "\n".join(parts)

    def _card(self, claim: Claim) -> str:
        source = self.sources[claim.source]["label"]
        source += f", line {claim.line}" if claim.line else ""
        head = (
            f"<b>{claim.id}</b> <b class='verdict'>{claim.verdict}</b>"
            f" {', '.join(claim.nets)}; {escape(source)}"
        )
        proof = "; ".join(
            f"<a href='{self.references[key]['url']}'>"
            f"{escape(self.references[key]['label'])}</a>, {escape(where)}"
            for key, where in claim.citation.items()
        )
        parts = [f"<p>{head}</p>", f"<p><em>{escape(claim.claim)}</em></p>"]
        parts.append(f"<p>{escape(claim.why)}</p>")
        if claim.value:
            parts.append(f"<p>claimed: {escape(claim.value)}</p>")
        if claim.expression:
            parts.append(
                f"<details><summary>computed: {escape(_show(claim.computed))}</summary>"
                f"<code>{escape(claim.expression)}</code></details>"
            )
        if claim.citation:
            parts.append(f"<p>{claim.checked[-1].replace('-', ' ')}: {proof}</p>")
        anchor, kind = f"{self.name}-{claim.id}", " ".join([claim.verdict, *claim.nets])
        return f"<li id='{anchor}' data-is='{kind}'>{''.join(parts)}</li>"


def load_claims(part: str = "claims") -> Ledger:
    """The claims of the four articles, or with ``"errors"`` the ledger's second part.

    Raises: ValueError for another part, or a claim that is not complete.
    """
    import yaml

    check_one_of(("claims", "errors"), part=part)
    path = next(path for path in FILES if path.is_file())
    ledger = yaml.safe_load(path.read_text(encoding="utf-8"))
    claims = tuple(Claim(**entry) for entry in ledger[part])
    return Ledger(part, claims, ledger["sources"], ledger["references"])


def _radios(title: str, group: str, total: int, counts: dict[str, int]) -> str:
    """A choice of one of `counts`, or all."""
    labels = [
        f"<label><input type='radio' name='{group}' id='{group}-{key}'"
        f"{' checked' if key == 'all' else ''}> {key} ({count})</label>"
        for key, count in ({"all": total} | counts).items()
    ]
    return f"<fieldset><legend>{title}</legend>{' '.join(labels)}</fieldset>"


def _show(value: Any, inside: bool = False) -> str:
    """``(11, 4); 62,378,344`` for ``[[11, 4], 62378344]``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_show(entry, True)}" for key, entry in value.items())
    if isinstance(value, list):
        text = (", " if inside else "; ").join(_show(entry, True) for entry in value)
        return f"({text})" if inside else text
    return f"{value:,}" if isinstance(value, int) else str(value)


#: Cards in as many columns as there is room for. The last paragraph counts those that
#: are shown: a counter skips what is not displayed. The first line takes back the light
#: ground that the book's theme gives to outputs in dark mode.
STYLE = """\
.text_html:has(> .ledger) { background: none !important; color: inherit !important }
.ledger { counter-reset: shown; display: flex; flex-direction: column; gap: .5rem }
.ledger fieldset { border: 0; margin: 0; padding: 0 }
.ledger legend { font-size: 1rem; font-weight: bold; margin: 0 }
.ledger label { display: inline-block; margin-right: .75rem; white-space: nowrap }
.ledger > p { order: 1; margin: 0 }
.ledger > p::after { content: counter(shown) " shown" }
.ledger > ul { order: 2; display: grid; gap: .75rem; list-style: none; margin: 0;
  padding: 0; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)) }
.ledger li { counter-increment: shown; border: 1px solid #8888; border-radius: .25rem;
  border-left: .375rem solid #888; margin: 0; padding: .5rem .75rem; min-width: 0 }
.ledger > ul > li > p { margin: 0 0 .375rem }
.ledger li code { background: none; border: 0; color: inherit; padding: 0;
  overflow-wrap: anywhere; white-space: normal }
.ledger li[data-is~=right] { border-left-color: #009E73 }
.ledger li[data-is~=imprecise] { border-left-color: #E69F00 }
.ledger li[data-is~=wrong] { border-left-color: #D55E00 }
.ledger li[data-is~=unsupported] { border-left-color: #CC79A7 }
.ledger li[data-is~=unseen] { border-left-color: #56B4E9 }"""
