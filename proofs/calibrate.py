"""Bands from runs instead of guesses, for the cells that have one.

    python -m proofs.calibrate             run what was not run: all chapters, 5 seeds,
                                           in float32 and in bfloat16
    python -m proofs.calibrate lenet ...   these chapters
    python -m proofs.calibrate --write     write the bands into the texts

The outputs of every run are kept in proofs/results/calibration.csv. The band of a
number is four standard deviations of the runs and the distance from their mean to the
stored number, which is one run itself. Two precisions with one seed come out alike: ten
runs are five seeds, whose standard deviation may be too small by luck. What counts is
the largest that is compatible with them, with 90% confidence, 1.94 times as much. How
often would that cry wolf? Each seed is left out once and its runs are compared with the
band of the others; the last line says how many numbers fall outside. Cells that differ
without a band are reported; where it is only the image, `--write` tags them as
measured.

Afterwards: make notebooks, which keeps the outputs and takes the bands over.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

from proofs.common import ROOT, Table, fingerprint
from tests.notebooks.compare import (
    NUMBER,
    banded,
    bands,
    difference,
    parts,
    values,
    words,
)
from tools.notebooks import code, code_cells, execute, from_text, texts

#: How a difference of two images begins.
IMAGE = re.compile("image/(png|jpeg): the image")

TABLE = Table("calibration", ("notebook", "precision", "seed", "cell"))
PRECISIONS, SEEDS = ("float32", "bfloat16"), range(1, 6)
DEVIATIONS, CONFIDENCE = 4, 0.9

#: Seeds with which proofs.variations fell outside a band though nothing was wrong: ten
#: runs had not seen it, and from then on theirs counts too.
SURPRISES = {"normalization": (22,)}

Band = float | list[float]


def main() -> None:
    """Run, report and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    outside = numbers = 0
    for text in texts():
        if not arguments.names or text.stem in arguments.names:
            if not arguments.write:
                for precision in PRECISIONS:
                    for seed in (*SEEDS, *SURPRISES.get(text.stem, ())):
                        run(text, precision, seed)
            found = report(text, arguments.write)
            outside, numbers = outside + found[0], numbers + found[1]
    print(f"left out one by one: {outside} of {numbers} numbers outside their bands")


def version(text: Path) -> str:
    """The fingerprint of what the outputs of a chapter depend on."""
    return fingerprint(ROOT / "course_lib", *code(from_text(text)))


def run(text: Path, precision: str, seed: int) -> None:
    """Run a chapter and keep the outputs that have a band, or differ without one."""
    about = {
        "notebook": text.stem,
        "precision": precision,
        "seed": str(seed),
        "code": version(text),
    }
    if TABLE.find(about | {"cell": ""}):
        return
    print(f"{text.stem}, {precision}, seed {seed}", file=sys.stderr, flush=True)
    stored = text.with_suffix(".ipynb")
    made = from_text(text)
    os.environ |= {
        "COURSE_PRECISION": precision,
        "PYTHONSTARTUP": str(ROOT / "proofs/seeds.py"),
        "SEED": str(seed),
        "NOTEBOOK": str(stored),
    }
    execute(made, text.parent)
    known = code_cells(nbformat.read(stored, as_version=4))
    for cell, old in zip(code_cells(made), known, strict=True):
        output = ""
        if "band" in cell.metadata:
            output = printed(cell)
        elif "nbval-ignore-output" not in cell.metadata.get("tags", []):
            output = difference(old.outputs, cell.outputs) or ""
        if output:
            TABLE.add(about | {"cell": cell.id, "output": output})
    TABLE.add(about | {"cell": "", "output": "complete"})  # the run, as a whole
    of_code = about.pop("code")
    TABLE.forget(about, of_code)  # cells that have no band any more


def printed(cell: Any) -> str:
    """The text that the band of a cell is for."""
    kind = banded(cell.outputs)
    return "".join(text for each, text in parts(cell.outputs) if each == kind)


def report(text: Path, write: bool) -> tuple[int, int]:
    """Say what the runs of a chapter mean for its cells; with `write`, write it.

    Returns: how many numbers of runs that are left out are outside the bands of the
    others, and of how many.
    """
    outside = numbers = 0
    runs = [
        row
        for row in TABLE.rows()
        if row["notebook"] == text.stem and row["code"] == version(text)
    ]
    for cell in code_cells(nbformat.read(text.with_suffix(".ipynb"), as_version=4)):
        seen, reduced = (
            {
                row["seed"]: row["output"]
                for row in runs
                if (row["cell"], row["precision"]) == (cell.id, precision)
            }
            for precision in PRECISIONS
        )
        outputs = {seed: [output] for seed, output in seen.items()}
        if seen != reduced:  # or else the precision is none of its business
            for seed, output in reduced.items():
                outputs.setdefault(seed, []).append(output)
        if not outputs:
            continue
        every = [output for of_seed in outputs.values() for output in of_seed]
        first = cell.source.splitlines()[0]
        print(f"{cell.id}: {first}")
        if "band" in cell.metadata:
            try:
                band = band_of(printed(cell), list(outputs.values()))
            except ValueError as error:
                print(f"  no band: {error}")
                continue
            print(f"  {cell.metadata['band']} -> {band}, of {len(every)} runs")
            found = left_out(printed(cell), list(outputs.values()))
            outside, numbers = outside + sum(found), numbers + len(found)
            options = {"band": json.dumps(band), "runs": str(len(every))}
        elif all(IMAGE.match(output) for output in every):
            print("  an image of measurements")
            if "measured" in (tags := cell.metadata.get("tags", [])):
                continue
            options = {"tags": f"[{', '.join([*tags, 'measured'])}]"}
        else:
            print(f"  differs without a band: {every[0]}")
            continue
        if write:
            content = text.read_text(encoding="utf-8")
            text.write_text(with_options(content, cell.source, options), "utf-8")
    return outside, numbers


def band_of(stored: str, outputs: list[list[str]]) -> Band:
    """A band for each number of `stored`, or one for all if that is nearly the same;
    `outputs` has a list for each seed, of its runs.

    Raises: ValueError if the runs differ in more than numbers.
    """
    runs = [run for of_seed in outputs for run in of_seed]
    for run in runs:
        if words(run) != words(stored):
            raise ValueError(f"a run differs in more than numbers: {run!r}")
    each = list(zip(NUMBER.findall(stored), *map(values, runs), strict=True))
    bands = [_band(number, seen, len(outputs)) for number, *seen in each]
    wide = [band for band in bands if band]
    # To a whole number that never differs, a band below one is none.
    whole = all(
        band or "." not in number
        for band, (number, *_) in zip(bands, each, strict=True)
    )
    if wide and whole and max(wide) <= 1.5 * min(wide) and max(wide) < 1:
        return max(wide)
    return bands


def left_out(stored: str, outputs: list[list[str]]) -> list[bool]:
    """For each number of each run: is it outside the band of the other seeds?"""
    found = []
    for i, runs in enumerate(outputs if len(outputs) > 2 else []):
        others = bands(stored, band_of(stored, outputs[:i] + outputs[i + 1 :]))
        for run in runs:
            for number, new, band in zip(
                values(stored), values(run), others, strict=True
            ):
                found.append(abs(number - new) > band + 1e-9)
    return found


def _band(number: str, seen: list[float], seeds: int) -> float:
    stored, unit = values(number)[0], 10.0 ** -len(number.partition(".")[2])
    if {*seen} == {stored}:
        return unit if "." in number else 0
    need = DEVIATIONS * deviation(seen, seeds) + abs(stored - statistics.mean(seen))
    return _up(max(need, unit))


def deviation(seen: list[float], seeds: int) -> float:
    """The largest standard deviation that is compatible with what was seen with so many
    `seeds`, each as often: the upper end of its interval for normal numbers, by Wilson
    and Hilferty's approximation.
    """
    free = seeds - 1
    z, part = statistics.NormalDist().inv_cdf(1 - CONFIDENCE), 2 / (9 * free)
    chi_squared = free * (1 - part + z * math.sqrt(part)) ** 3
    return statistics.pstdev(seen) * math.sqrt(seeds / chi_squared)


def _up(value: float) -> float:
    """`value`, rounded up to two digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step - 1e-9) * step:.2g}")


def with_options(content: str, source: str, options: dict[str, str]) -> str:
    """`content` with other options of the one cell whose code is `source`.

    Raises: ValueError if there is not one such cell.
    """
    block = re.compile(
        r"^(```\{code-cell\}[^\n]*\n)((?::[^\n]*\n)*)\n*"
        + re.escape(source)
        + "\n```$",
        re.MULTILINE,
    )
    if len(found := list(block.finditer(content))) != 1:
        raise ValueError(f"{len(found)} cells with this code: {source}")
    old, lines = found[0], list(_lines(found[0][2], options))
    lines += [f":{name}: {value}\n" for name, value in options.items()]
    new = "".join([old[1], *lines, "\n", source, "\n```"])
    return content[: old.start()] + new + content[old.end() :]


def _lines(block: str, options: dict[str, str]) -> Iterator[str]:
    """The lines of the options that stay."""
    for line in block.splitlines(keepends=True):
        if line.split(":")[1] not in options:
            yield line


if __name__ == "__main__":
    main()
