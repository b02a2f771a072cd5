"""Measurements side by side, and the table that they go into.

What is compared takes turns, round after round, so that whatever else the machine does
falls on both. A ratio says how many times faster ours is: the median of the rounds'
own ratios, with their quartiles as its spread. A row is written as soon as it is
measured, in the place of the one with the same keys, so that a run may be stopped.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import NamedTuple

import torch
from tqdm import tqdm

from experiments.rows import RESULTS, CsvTable, Row, today, where

#: Where the rows go; `course_lib.recorded("benchmarks")` reads them.
TABLE = CsvTable(
    RESULTS / "benchmarks.csv", ("comparison", "case", "against", "processor")
)


class Result(NamedTuple):
    """One comparison: what was measured on either side, and the ratio with its spread.

    `against` says who the others are, `note` what is not the same on both sides.
    """

    against: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    low: float
    high: float
    rounds: int
    note: str


def take_turns(
    rounds: int, *sides: Callable[[], float], warm_up: bool = True
) -> list[list[float]]:
    """What each of `sides` says that a call of it took, in each of the rounds; a first
    round is not counted.
    """
    if warm_up:
        for side in sides:
            side()
    turns = [[side() for side in sides] for _ in range(rounds)]
    return [list(seconds) for seconds in zip(*turns, strict=True)]


def timed(action: Callable[[], object]) -> Callable[[], float]:
    """`action` as a side: the seconds that a call takes."""

    def side() -> float:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    return side


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile; of a single value, three times itself."""
    if len(values) == 1:
        return (values[0],) * 3
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return median, low, high


def side_by_side(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    against: str,
    unit: str = "s",
    amount: float | None = None,
    note: str = "",
) -> Result:
    """Compare the seconds of each round; with `amount`, what is shown is how much of it
    was done in a second.
    """
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    medians = statistics.median(ours), statistics.median(theirs)
    if amount is not None:
        medians = amount / medians[0], amount / medians[1]
    return Result(against, *medians, unit, *spread(ratios), len(ratios), note)


def row(comparison: str, case: str, result: Result) -> Row:
    """`result` as text, with the machine and the versions."""
    shown = {
        name: f"{value:.5g}" if isinstance(value, float) else str(value)
        for name, value in result._asdict().items()
    }
    return {"comparison": comparison, "case": case, **shown, **here()}


def here() -> Row:
    """Machine, versions and date."""
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return {
        **where(),
        "machine": f"{name}, {os.cpu_count()} cores",
        "torchvision": version("torchvision").split("+")[0],
        "d2l": version("d2l"),
        **today(),
    }


def main(
    comparison: str,
    cases: Iterable[str],
    measure: Callable[[str, bool], Iterable[Result]],
    arguments: Sequence[str] | None = None,
) -> None:
    """The command line of a script: measure all cases, or those that are named; with
    ``--quick`` in seconds, only to see that it runs, and without writing it down.
    """
    parser = argparse.ArgumentParser(description=f"Measure: {comparison}.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="; ".join(cases))
    parser.add_argument("--quick", action="store_true", help="in seconds, not written")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.cases) - set(cases)
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(cases)}")
    for case in tqdm(chosen.cases or cases, desc=comparison, unit="case"):
        for result in measure(case, chosen.quick):
            new = row(comparison, case, result)
            if not chosen.quick:
                TABLE.add(new)
            tqdm.write(
                "{comparison}, {case}: {ours} against {theirs} {unit} of {against},"
                " ratio {ratio} ({low} to {high}) {note}".format_map(new)
            )
