"""A notebook is right if it was run from top to bottom, and says the same when it is
run again.

    pytest --nbval --nbval-current-env -p tests.notebooks.plugin book

nbval runs the cells; what counts as the same is in `tests.notebooks.compare`. There
are three kinds of cell:

- exact, unless it says otherwise;
- approximate, with ``band: 0.02`` in its metadata, or a band for each number, or for
  each line by its name (`tests.notebooks.compare.bands`); ``runs`` says from how many
  runs the band was computed (proofs/calibrate.py). The tag ``measured`` is for a
  picture of measurements, of which only the size is compared, as in a cell with a band;
- unchecked, with the tag ``nbval-ignore-output``: it must not raise, and has outputs if
  it had some.

With ``--keep-executed FOLDER``, the notebooks are kept there as they came out.
"""

import copy
import re
from pathlib import Path

import nbformat
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from tests.notebooks.compare import active, difference, parts


def pytest_addoption(parser):
    parser.addoption(
        "--keep-executed", metavar="FOLDER", help="keep the notebooks as they came out"
    )


def pytest_collectstart(collector):
    if type(collector) is IPyNbFile:  # made by nbval, which has no hook for that
        collector.__class__ = Notebook


class Cell(IPyNbCell):
    """A cell that is executed by nbval and compared by us."""

    @property
    def tags(self):
        return self.cell.metadata.get("tags", [])

    def runtest(self):
        count, number = self.cell.execution_count, self.cell_num + 1
        if count != number:
            self.raise_cell_error(
                f"cell {number} has execution count {count}: the notebook was not run"
                " from top to bottom before it was saved"
            )
        if found := active(self.cell.outputs):
            self.raise_cell_error(f"a stored output could run in a browser: {found}")
        super().runtest()
        if found := active(self.test_outputs):
            self.raise_cell_error(f"an output could run in a browser: {found}")
        # nbval has compared those that are checked.
        if parts(self.test_outputs) and not parts(self.cell.outputs):
            self.raise_cell_error("no output is stored, it was stripped or deleted")

    def compare_outputs(self, test, ref, skip_compare=None):
        """Called by nbval for cells that are checked."""
        band = self.cell.metadata.get("band")
        measured = band is not None or "measured" in self.tags
        why = difference(ref, test, band, measured)
        if why and band is not None:
            why += f"\nband     {band}"
            why += f", of {self.cell.metadata.get('runs', 'no')} runs"
        self.comparison_traceback = [why]
        return why is None

    def repr_failure(self, excinfo):
        """Which notebook, which cell, what, and what to do if it is meant."""
        error = excinfo.value
        if not isinstance(error, NbCellError):
            return super().repr_failure(excinfo)
        lines = [line for line in self.cell.source.splitlines() if line.strip()]
        first = lines[0] if lines else "(empty)"
        reason = [re.sub(r"\x1b\[[\d;]*m", "", error.inner_traceback or "").strip()]
        if "exception" in str(error):
            reason.insert(0, f"it raised {reason[0].splitlines()[-1]}")
        elif "differ" not in str(error):  # nbval's headline for what we say better
            reason.insert(0, str(error))
        target = "exercises" if self.path.parent.name == "solutions" else "notebooks"
        return "\n".join(
            [
                f"{self._relative()}, code cell {self.cell_num + 1}: {first}",
                *("  " + line for line in "\n".join(reason).strip().splitlines()),
                f"If that is meant, record it anew: make {target}"
                f" NAMES={self.path.stem}",
            ]
        )

    def _relative(self):
        root = self.config.rootpath
        inside = self.path.is_relative_to(root)
        return self.path.relative_to(root) if inside else self.path


class Notebook(IPyNbFile):
    """A notebook that is kept as it came out."""

    def collect(self):
        self.cells = list(super().collect())
        for cell in self.cells:
            cell.__class__ = Cell
        return self.cells

    def teardown(self):
        super().teardown()
        if folder := self.config.getoption("keep_executed"):
            self._keep(Path(folder))

    def _keep(self, folder):
        """The cells that were not run keep their outputs, to stand out in no diff."""
        made = copy.deepcopy(self.nb)
        code = [cell for cell in made.cells if cell.cell_type == "code"]
        for item, cell in zip(self.cells, code, strict=True):
            if item.test_outputs is not None:
                cell.outputs = [
                    nbformat.from_dict(_complete(output, cell.execution_count))
                    for output in item.test_outputs
                    if output.get("name") != "stderr"
                ]
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]", "-", f"{self.path.parent.name}-{self.path.name}")
        nbformat.write(made, folder / name)


def _complete(output, count):
    """Kernels do not count what nbval runs."""
    counts = {"execution_count": count}
    return output | (counts if output.output_type == "execute_result" else {})
