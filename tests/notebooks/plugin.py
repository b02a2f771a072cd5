"""What nbval does not do by itself: numbers within a band, and no cell that was never
run.

    pytest --nbval --nbval-current-env -p tests.notebooks.plugin book

A cell whose metadata has ``band: 0.02`` may differ from its stored output by 0.02 in
each number, and in nothing else.
"""

import math
import re

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


class Banded(str):
    """A text that equals another one if the words are the same and each number is
    within `band`.
    """

    band: float

    __hash__ = str.__hash__

    def __eq__(self, other):
        if not isinstance(other, str) or NUMBER.split(self) != NUMBER.split(other):
            return False
        pairs = zip(NUMBER.findall(self), NUMBER.findall(other), strict=True)
        return all(
            math.isclose(float(a), float(b), rel_tol=0, abs_tol=self.band + 1e-9)
            for a, b in pairs
        )

    def __ne__(self, other):
        return not self == other


def banded(text, band):
    if not isinstance(text, str):
        return text
    result = Banded(
        re.sub(" +", " ", text)
    )  # a number that is longer by one digit moves its column
    result.band = band
    return result


def pytest_collectstart(collector):
    if isinstance(collector, IPyNbFile):
        collector.skip_compare += ("stderr",)


def pytest_itemcollected(item):
    if isinstance(item, IPyNbCell) and "band" in item.cell.metadata:
        band = float(item.cell.metadata["band"])
        item.sanitize = lambda text: banded(text, band)


def pytest_runtest_setup(item):
    """Nbval passes a cell that has no execution count, whatever it puts out."""
    if isinstance(item, IPyNbCell) and item.cell.execution_count != item.cell_num + 1:
        pytest.fail(
            f"code cell {item.cell_num + 1} has execution count"
            f" {item.cell.execution_count}: the notebook was not run from top to bottom"
            " before it was saved. Run: make notebooks"
        )
