"""A notebook is right if it was run from top to bottom, and says the same when it is
run again.

    pytest --nbval --nbval-current-env -p tests.notebooks.plugin book

nbval runs the cells; what counts as the same is in `tests.notebooks.compare`. There
are three kinds of cell:

- exact, unless it says otherwise;
- approximate, with ``band: 0.02`` in its metadata, or a band for each number, or for
  each line by its name (`tests.notebooks.compare.bands`); ``runs`` says from how many
  runs the band was computed (proofs/calibrate.py). The tag ``measured`` is for an
  image of measurements, of which only the size is compared, as in a cell with a band;
- unchecked, with the tag ``nbval-ignore-output``: it must not raise, and has outputs if
  it had some.

A cell fails, too, if it was cut off without an output that says so: by a magic that
does not exist or is used wrongly, by what ends the kernel, by a thread that raises, or,
in a cell that is compared, by a shell command that fails. (The output of one, as in
``files = !ls``, is for the program to judge.) ``raises-exception`` allows a cell all of
this but to end the kernel. A cell without code is not run, and has no count.

With ``--keep-executed FOLDER``, the notebooks are kept there as they came out. With
``--times FILE``, the seconds that each kept a processor busy are written there, and the
longest begin first. (With pytest-xdist: ``--dist loadfile --no-loadscope-reorder``.)
"""

import ast
import copy
import csv
import math
import re
import time
import warnings
from pathlib import Path
from queue import Empty

import nbformat
import psutil
import pytest
from nbformat.warnings import DuplicateCellId, MissingIDFieldWarning
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from tests.notebooks.compare import active, difference, parts
from tools.notebooks import is_empty, read

#: The seconds of each notebook that has run, of this process or of its workers.
SECONDS = pytest.StashKey[dict[str, float]]()

#: Where they are kept from run to run, unless ``--times`` names a file.
TIMES = Path(__file__).parents[2] / "book/results/notebooks.csv"

#: What a kernel runs before all cells: it notes what fails and does not raise, and
#: leaves no name behind.
WATCH = """
import threading

import ipykernel.zmqshell

noted = []
system, excepthook = ipykernel.zmqshell.system, threading.excepthook


def run(command):
    if code := system(command):
        noted.append(("command", f"{command!r} ended with {code}"))
    return code


def note(raised):
    if raised.exc_type is not SystemExit:
        noted.append(("thread", f"{raised.exc_type.__name__}: {raised.exc_value}"))
    excepthook(raised)


def keep_threads():
    noted[:] = [each for each in noted if each[0] == "thread"]


def noted_since():
    found = noted[:]
    noted.clear()
    return found


ipykernel.zmqshell.system, threading.excepthook = run, note
get_ipython().events.register("pre_execute", keep_threads)
get_ipython().noted_since = noted_since
"""


def pytest_addoption(parser):
    parser.addoption(
        "--keep-executed", metavar="FOLDER", help="keep the notebooks as they came out"
    )
    parser.addoption(
        "--times", metavar="FILE", help="keep there how long each notebook takes"
    )


def pytest_configure(config):
    config.stash[SECONDS] = {}


def pytest_collectstart(collector):
    if type(collector) is IPyNbFile:  # made by nbval, which has no hook for that
        collector.__class__ = Notebook


def pytest_collection_modifyitems(config, items):
    """What was never measured comes first, then the longest, each in one piece."""
    known = _read_times(Path(config.getoption("times") or TIMES))
    items.sort(
        key=lambda item: known.get(getattr(item, "where", None), math.inf), reverse=True
    )


def pytest_sessionfinish(session):
    config = session.config
    if hasattr(config, "workeroutput"):  # of pytest-xdist
        config.workeroutput["notebooks"] = config.stash[SECONDS]
    elif (file := config.getoption("times")) and config.stash[SECONDS]:
        known = _read_times(Path(file)) | config.stash[SECONDS]
        rows = [f"{name},{known[name]:.1f}\n" for name in sorted(known)]
        Path(file).write_text("".join(["notebook,cpu_seconds\n", *rows]), "utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """A worker of pytest-xdist has ended."""
    node.config.stash[SECONDS] |= getattr(node, "workeroutput", {}).get("notebooks", {})


def pytest_terminal_summary(terminalreporter, config):
    seconds = config.stash[SECONDS]
    if not seconds:
        return
    terminalreporter.section("seconds that a processor was busy")
    for name in sorted(seconds, key=seconds.get, reverse=True):
        terminalreporter.write_line(f"{seconds[name]:8.1f}  {name}")
    terminalreporter.write_line(f"{sum(seconds.values()):8.1f}  in all")


def _read_times(file):
    """What is not there, or makes no sense, was not measured."""
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [*csv.DictReader(lines)]
        return {row["notebook"]: float(row["cpu_seconds"]) for row in rows}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


class KernelDiedError(Exception):
    """Instead of a reply."""


class Kernel(RunningKernel):
    """A kernel that keeps its reply to the last cell, and says soon if it died."""

    #: What the last cell ended with; nothing while there is no reply.
    reply: dict

    def watch(self):
        """Note what fails without raising."""
        if self.language == "python":
            code = f"exec({WATCH!r}, {{'get_ipython': get_ipython}})"
            self.await_reply(self.kc.execute(code, silent=True), timeout=60)

    def execute_cell_input(self, cell_input, allow_stdin=None):
        """With a history, unlike nbval: `_` and a trailing semicolon do what they do
        for a reader.
        """
        self.reply = {}
        return self.kc.execute(
            cell_input,
            allow_stdin=allow_stdin,
            stop_on_error=False,
            user_expressions={"noted": "get_ipython().noted_since()"},
        )

    def get_message(self, stream, timeout=None):
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                left = max(min(end - time.monotonic(), 1), 0)
                message = super().get_message(stream, left)
            except Empty:
                if not self.is_alive():
                    raise KernelDiedError from None
                if time.monotonic() >= end:
                    raise
            else:
                break
        if message["msg_type"] == "execute_reply":
            self.reply = message["content"]
        return message

    def seconds(self):
        """How long it, and what it started, kept a processor busy."""
        total = 0.0
        try:
            process = psutil.Process(self.km.provisioner.pid)
            for each in (process, *process.children(recursive=True)):
                times = each.cpu_times()
                total += times.user + times.system
                if each is process:  # the children that have ended
                    total += times.children_user + times.children_system
        except (psutil.Error, AttributeError):  # it has ended itself
            pass
        return total


class Cell(IPyNbCell):
    """A cell that is executed by nbval and compared by us."""

    @property
    def tags(self):
        return self.cell.metadata.get("tags", [])

    @property
    def where(self):
        """The notebook, as it is named in a table."""
        return self.parent.where

    def runtest(self):
        if found := active(self.cell.outputs):
            self.raise_cell_error(f"a stored output could run in a browser: {found}")
        if self.options["skip"]:
            pytest.skip("it says so")
        if is_empty(self.cell):
            self.test_outputs = []
            if self.cell.outputs:
                self.raise_cell_error("a cell without code has outputs")
            return
        count, number = self.cell.execution_count, self.number
        if count != number:
            self.raise_cell_error(
                f"cell {number} has execution count {count}: the notebook was not run"
                " from top to bottom before it was saved"
            )
        if not self.parent.kernel.is_alive():
            self.raise_cell_error("a cell before has ended the kernel")
        try:
            super().runtest()
        except KernelDiedError:
            self.raise_cell_error("the kernel died")
        except RuntimeError as error:  # nbval's own
            self.raise_cell_error(str(error))
        self.raise_if_cut_off()
        if found := active(self.test_outputs):
            self.raise_cell_error(f"an output could run in a browser: {found}")
        # nbval has compared those that are checked.
        if parts(self.test_outputs) and not parts(self.cell.outputs):
            self.raise_cell_error("no output is stored, it was stripped or deleted")

    @property
    def number(self):
        """The count that the cell has if all were run; one to skip may have none."""
        before = self.parent.cells[: self.parent.cells.index(self) + 1]
        return sum(
            not is_empty(each.cell)
            and not (each.options["skip"] and each.cell.execution_count is None)
            for each in before
        )

    def compare_outputs(self, test, ref, skip_compare=None):
        """Called by nbval for cells that are checked."""
        self.raise_if_cut_off()  # rather than that an output is missing
        band = self.cell.metadata.get("band")
        measured = band is not None or "measured" in self.tags
        why = difference(ref, test, band, measured)
        if why and band is not None:
            why += f"\nband     {band}"
            why += f", of {self.cell.metadata.get('runs', 'no')} runs"
        self.comparison_traceback = [why]
        return why is None

    def raise_if_cut_off(self):
        """Raise an error if the cell failed, though none of its outputs says so."""
        reply = self.parent.kernel.reply
        if not reply:
            timeout = self.config.option.nbval_cell_timeout
            self.raise_cell_error(f"it took more than {timeout:g} seconds")
        if any(each.get("source") == "ask_exit" for each in reply.get("payload", [])):
            self.raise_cell_error("it ends the kernel: the cells after it are not run")
        if self.options["check_exception"]:
            return
        if reply["status"] != "ok":
            self.raise_cell_error(
                f"it was cut off by {reply.get('ename')}: {reply.get('evalue')}"
            )
        noted = reply.get("user_expressions", {}).get("noted", {}).get("data", {})
        for kind, what in ast.literal_eval(noted.get("text/plain", "[]")):
            if kind == "thread":
                self.raise_cell_error(f"a thread raised {what}")
            if self.options["check"]:
                self.raise_cell_error(f"a shell command failed: {what}")

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
        return "\n".join(
            [
                f"{self.where}, code cell {self.cell_num + 1}: {first}",
                *("  " + line for line in "\n".join(reason).strip().splitlines()),
                f"If that is meant, record it anew: {self.parent.command}",
            ]
        )


class Notebook(IPyNbFile):
    """A notebook that is kept as it came out."""

    cells = ()

    @property
    def where(self):
        root = self.config.rootpath
        inside = self.path.is_relative_to(root)
        return (self.path.relative_to(root) if inside else self.path).as_posix()

    @property
    def command(self):
        """What executes it anew."""
        target = "exercises" if self.path.parent.name == "solutions" else "notebooks"
        return f"make {target} NAMES={self.path.stem}"

    def collect(self):
        try:
            read(self.path)
            with warnings.catch_warnings():
                # What Colab saves is a notebook all the same.
                warnings.simplefilter("ignore", MissingIDFieldWarning)
                warnings.simplefilter("ignore", DuplicateCellId)
                self.cells = list(super().collect())
        except ValueError as error:
            raise self.CollectError(
                f"{error}\nTo make it anew: {self.command}"
            ) from None
        except UserWarning as error:  # of marks for nbval that contradict each other
            raise self.CollectError(f"{self.where}: {error}") from None
        for cell in self.cells:
            cell.__class__ = Cell
        return self.cells

    def setup(self):
        super().setup()
        self.kernel.__class__ = Kernel
        self.kernel.watch()

    def teardown(self):
        if self.kernel is not None and self.kernel.is_alive():
            seconds = round(self.kernel.seconds(), 1)
            self.config.stash[SECONDS][self.where] = seconds
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
    """Kernels count a cell that was left out before, or one twice."""
    counts = {"execution_count": count}
    return output | (counts if output.output_type == "execute_result" else {})
