"""The exercises on the ledger of claims."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeAlias

from torch import nn

from course_lib.checks.compare import Mistakes, WrongAnswer, compare, name_of
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import refuse


@exercise(
    "claims.verdicts",
    kind="predict",
    goal="tell a wrong claim from one that lacks its condition",
    minutes=12,
    first_hint="Take the first claim. For which numbers of channels does it hold?",
)
def verdicts(answer: Answer) -> None:
    """Five words, and a question for each that is wrong."""
    got = answer()
    words = list(got) if isinstance(got, tuple | list) else []
    if len(words) != len(VERDICTS) or not all(isinstance(each, str) for each in words):
        raise WrongAnswer(
            f"it returns {name_of(got)}, where five words are wanted",
            'For each claim "right", "imprecise" or "wrong".',
        )
    for number, (came, (want, question)) in enumerate(
        zip(words, VERDICTS, strict=True), 1
    ):
        word = came.strip().lower()
        refuse(
            word not in ("right", "imprecise", "wrong"),
            f"{came!r} is no verdict",
            'There are three: "right", "imprecise" and "wrong".',
        )
        refuse(word != want, f"claim {number} is not {word}", question)


#: For each claim its verdict, and what to ask if it is another.
VERDICTS = (
    ("imprecise", "Does it hold if the number of channels doubles? If it does not?"),
    (
        "wrong",
        "A parameter of a convolution is used at every position. How often is one"
        " of a fully connected layer used?",
    ),
    ("right", "Count the first fully connected layer: 25,088 inputs, 4096 units."),
    ("imprecise", "Try it with 8 pixels, and with 7."),
    (
        "wrong",
        "With C input and C output channels, how many weights are there?",
    ),
)


@exercise(
    "claims.fc_share",
    kind="implement",
    goal="write the expression that decides a claim",
    minutes=12,
    first_hint="`net.modules()` has all modules at every depth. Which of them are an"
    " `nn.Linear`?",
)
def fc_share(answer: Answer) -> None:
    """On networks with layers inside of others, and with shared parameters."""
    inner = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3, bias=False))
    tied = nn.Linear(8, 8)
    shares = nn.Linear(8, 8)
    also = nn.Linear(8, 8)
    also.weight = shares.weight
    nets = (
        (
            "a flat network",
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)),
        ),
        (
            "a network with a block",
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), inner),
        ),
        (
            "a network that uses a layer twice",
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), tied, nn.ReLU(), tied),
        ),
        (
            "a network in which two layers share a weight",
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), shares, nn.ReLU(), also),
        ),
        ("a network without such layers", nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())),
    )
    for on, net in nets:
        compare(
            answer(net),
            _share(net),
            on=f"for {on}",
            mistakes=_share_mistakes(net),
            tolerance=1e-2,
        )


def _share(net: nn.Module) -> float:
    linear = {p for m in _linear(net) for p in m.parameters()}
    return sum(p.numel() for p in linear) / _total(net)


def _linear(net: nn.Module) -> list[nn.Linear]:
    return [each for each in net.modules() if isinstance(each, nn.Linear)]


def _total(net: nn.Module) -> int:
    return sum(each.numel() for each in net.parameters())


def _share_mistakes(net: nn.Module) -> Mistakes:
    layers = _linear(net)
    weights = sum(weight.numel() for weight in {each.weight for each in layers})
    counted = sum(p.numel() for m in layers for p in m.parameters())
    every = sum(p.numel() for m in net.modules() for p in m.parameters(recurse=False))
    parameters = sum(p.numel() for p in {p for m in layers for p in m.parameters()})
    children = [each for each in net.children() if isinstance(each, nn.Linear)]
    twice = (
        [m for m in net if isinstance(m, nn.Linear)]
        if isinstance(net, nn.Sequential)
        else []
    )
    outer = sum(p.numel() for p in {p for m in children for p in m.parameters()})
    repeated = sum(p.numel() for m in twice for p in m.parameters())
    last = sum(p.numel() for p in layers[-1].parameters()) if layers else 0
    total = _total(net)
    inside = "Layers may be inside of others: `net.children()` has one level only."
    once = "A parameter that two layers share counts once, in the total as well."
    mistakes: list[tuple[float, str]] = [
        (weights / total, "Biases are parameters, too."),
        (outer / total, inside),
        (last / total, "There may be several such layers: this is the last one."),
        (repeated / total, "A layer that is used twice has its parameters once."),
        (
            repeated / (total + repeated - outer),
            "A layer that is used twice has them once.",
        ),
        (counted / total, once),
        (counted / every, once),
        (parameters / every, once),
        (parameters, "A share is wanted: divide by all parameters."),
        (len(layers) / len([*net.modules()]), "Count parameters, not layers."),
        (1 - parameters / total, "That is the share of all others."),
        (100 * parameters / total, "From 0 to 1, not in percent."),
    ]
    if total > parameters:
        ratio = parameters / (total - parameters)
        mistakes.append((ratio, "Divide by all parameters, not by the others."))
    return [(value, hint) for value, hint in mistakes if value != parameters / total]


#: Name, channels in and out, kernel size, side, and the printed weights and MACs.
Row: TypeAlias = tuple[str, int, int, int, int, int, int]


@exercise(
    "claims.does_not_follow",
    kind="implement",
    goal="find the numbers of a table that its own rows contradict",
    minutes=12,
    first_hint="For one row, compute the weights and the MACs, and compare both with"
    " what is printed, first with K = 1000.",
)
def does_not_follow(answer: Answer) -> None:
    """On tables with either unit: with wrong numbers or none, large faults or small."""
    tables = [
        _table(unit, faults)
        for unit, faults in (
            (1000, [("kilo", 0.6), ("kilo", 1.005), ("kilo", 1.03)]),
            (1024, [("mega", 1.5), ("kilo", 0.9), ("kilo", 0.985)]),
            (1024, [("kilo", 0.995), ("kilo", 1.024), ("kilo", 0.9), ("mega", 0.985)]),
            (1000, []),
        )
    ]
    for rows in (*tables, _contested(), _tied()):
        answer.expect(
            _odd_rows(rows, _unit(rows)),
            rows,
            on=f"a table of {len(rows)} rows",
            mistakes=_odd_mistakes(rows),
        )


def _table(unit: int, faults: Sequence[tuple[str, float]]) -> list[Row]:
    """Nine rows: some have one of their numbers multiplied."""
    names = random.sample([f"conv{i}" for i in range(1, 30)], 9)
    odd = random.sample(range(1, 9), len(faults))
    rows = [_row(name, unit) for name in names]
    for index, (which, factor) in zip(odd, faults, strict=True):
        rows[index] = _row(names[index], unit, **{which: factor})
    return rows


def _row(name: str, unit: int, kilo: float = 1.0, mega: float = 1.0) -> Row:
    """A random layer, with numbers so large that rounding them changes little."""
    inputs = random.randint(200, 400)
    out = random.randint(200, 400)
    size = random.choice((3, 5))
    side = 28
    weights = inputs * out * size**2
    macs = weights * side**2 / 1e6
    return (
        name,
        inputs,
        out,
        size,
        side,
        round(kilo * weights / unit),
        round(mega * macs),
    )


def _contested() -> list[Row]:
    """Most printed weights fit 1000, and most rows 1024."""
    wrong = [_row(f"conv{i}", 1000, mega=0.7) for i in (1, 3, 8)]
    fitting = [_row(f"conv{i}", 1000) for i in (4, 9)]
    return [*wrong, *fitting, *(_row(f"conv{i}", 1024) for i in (2, 6, 5, 7))]


def _tied() -> list[Row]:
    """As many rows fit either."""
    return [_row(f"conv{i}", unit) for i, unit in enumerate((1024, 1000, 1000, 1024))]


def _unit(rows: list[Row], **options: Any) -> int:
    """The K with which more rows agree; 1000 if it is as many."""
    return min((1000, 1024), key=lambda unit: len(_odd_rows(rows, unit, **options)))


def _odd_rows(
    rows: list[Row],
    *units: int,
    kilo: bool = True,
    mega: bool = True,
    area: int = 2,
    operations: int = 1,
    within: float = 0.01,
) -> list[str]:
    """The names of the rows that agree with none of the units; the options are for
    mistakes.
    """
    names = []
    for name, inputs, out, size, side, printed, printed_macs in rows:
        weights = inputs * out * size**area
        macs = operations * weights * side**2 / 1e6
        near = [abs(printed * unit / weights - 1) < within for unit in units]
        agrees = any(near) or not kilo
        if not agrees or (mega and abs(printed_macs / macs - 1) >= within):
            names.append(name)
    return names


def _odd_mistakes(rows: list[Row]) -> Mistakes:
    unit = _unit(rows)
    right = _odd_rows(rows, unit)
    other = (
        "Most rows seem wrong: K may be 1000 or 1024, a kernel of 5x5 has 25 weights,"
        " and a MAC is one multiplication and its sum."
    )
    chosen = (
        "Choose K by whole rows, in which both numbers agree. If it is as many with"
        " either, K is 1000."
    )
    generous = "A row that is off by 1% or more does not agree."
    strict = "A printed number may differ from what is computed, by less than 1% of it."
    both = "Weights and MACs are both printed: check both."
    every = [row[0] for row in rows]
    elsewhere = _odd_rows(rows, 2024 - unit)
    mistakes = [
        (_odd_rows(rows, _unit(rows, mega=False)), chosen),
        (elsewhere, chosen if len(elsewhere) == len(right) else other),
        (_odd_rows(rows, _unit(rows, mega=False), mega=False), both),
        (_odd_rows(rows, unit, mega=False), both),
        (_odd_rows(rows, unit, kilo=False), both),
        (_odd_rows(rows, 1000, 1024), "K is the same in the whole table."),
        *((_generous(rows, by), generous) for by in (0.015, 0.02, 0.03, 0.05, 0.1)),
        *((_generous(rows, within), strict) for within in (0.001, 0.002, 0.005)),
        (_to_the_unit(rows), strict),
        ([name for name in every if name not in right], "Return those that do *not*."),
        (_odd_rows(rows, unit, area=1), "A kernel of 5x5 has 25 weights."),
        (
            _odd_rows(rows, unit, operations=2),
            "A MAC is a multiplication and its sum.",
        ),
        (right[::-1], "The order is that of the table."),
        (sorted(right), "The order is that of the table."),
        (
            [row for row in rows if row[0] in right],
            "Names are wanted, not rows.",
        ),
    ]
    return [(value, hint) for value, hint in mistakes if value != right]


def _generous(rows: list[Row], within: float) -> list[str]:
    """The odd rows with another tolerance than 1%."""
    return _odd_rows(rows, _unit(rows, within=within), within=within)


def _to_the_unit(rows: list[Row]) -> list[str]:
    """The odd rows if the printed numbers had to be the computed ones, rounded."""
    found = []
    for unit in (1000, 1024):
        names = []
        for name, inputs, out, size, side, printed, printed_macs in rows:
            weights = inputs * out * size**2
            rounded = (round(weights / unit), round(weights * side**2 / 1e6))
            if rounded != (printed, printed_macs):
                names.append(name)
        found.append(names)
    return min(found, key=len)
