"""The wheel works where there is nothing else: in new environments with what the wheel
itself asks for, at the locked versions, outside of the tree.

    python -m proofs.wheel              the versions of Python that have not passed
    python -m proofs.wheel 3.12         this one
    python -m proofs.wheel 3.12 --tests test_lenet test_blocks

It is imported, every module of it; its data, records and claims are read; mypy believes
its types; and the tests that know nothing of the tree pass, doctests among them. A row
for each Python goes into proofs/results/wheel.csv.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from proofs import clean
from proofs.common import ROOT, Table, fingerprint

PYTHONS = ("3.11", "3.12", "3.13")

TABLE = Table("wheel", ("python",))

#: What the wheel depends on beside the library's own files.
MADE_FROM = [
    (ROOT / name).read_text("utf-8") for name in ("pyproject.toml", "requirements.lock")
]

#: Run without the tree, and with nothing on the path but the environment.
USE = """\
import importlib, pathlib, pkgutil, sys, warnings
import course_lib
from course_lib import fashion_mnist, recorded, summarize, LeNet
from course_lib.pages import claims, results

place = pathlib.Path(course_lib.__file__).parent
assert sys.prefix in str(place), place
assert (place / "py.typed").is_file()
modules = [m.name for m in pkgutil.walk_packages([str(place)], "course_lib.")]
for name in modules:
    if not name.endswith("__main__"):
        importlib.import_module(name)
warnings.simplefilter("ignore")
data = fashion_mnist(sample=True)
assert (len(data.train), len(data.validation), len(data.test)) == (400, 80, 160)
tables = [path.stem for folder in results.FOLDERS for path in folder.glob("*.csv")]
assert tables and all(recorded(table) for table in tables)
assert all(claims.load_claims(part).claims for part in ("claims", "errors"))
assert summarize(LeNet("modern"), (1, 28, 28)).parameters == 61_706
course_lib.style()
print(len(modules), "modules", len(tables), "tables")
"""

#: mypy accepts the first line, and says so if the second were true.
TYPED = """\
from course_lib import LeNet, count_parameters
right: int = count_parameters(LeNet("modern"))
wrong: str = count_parameters(LeNet("modern"))
"""


def build(folder: Path) -> Path:
    """The wheel, built from a clone, so that nothing comes in that is not committed."""
    clean.clone(folder / "repository")
    shutil.rmtree(folder / "dist", ignore_errors=True)
    command = (*clean.UV, "build", "--quiet", "--wheel", "--out-dir")
    clean.run(*command, str(folder / "dist"), str(folder / "repository"))
    (wheel,) = (folder / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    strangers = [
        n for n in names if not n.startswith(("course_lib/", "block_by_block-"))
    ]
    if strangers:
        raise RuntimeError(f"the wheel has what is not the library's: {strangers}")
    return wheel


def tests(wanted: list[str]) -> list[Path]:
    """The files of tests that know nothing of the tree."""
    of_tree = re.compile(
        r"parents\[|\bROOT\b|import_module|\[\"git\"|parallel\.py|killed"
    )
    return [
        path
        for path in sorted((ROOT / "tests").glob("test_*.py"))
        if not of_tree.search(path.read_text(encoding="utf-8"))
        and (not wanted or path.stem in wanted)
    ]


def prove(version: str, wheel: Path, folder: Path, wanted: list[str]) -> dict[str, str]:
    """Install the wheel for this version of Python, and use it.

    Raises: RuntimeError if anything of that fails.
    """
    lock = ("--constraint", str(ROOT / "requirements.lock"))
    python = clean.environment(folder / version, version, *lock, str(wheel))
    clean.install(python, "--no-deps", "--reinstall", str(wheel))
    outside = folder / f"outside-{version}"
    shutil.rmtree(outside, ignore_errors=True)
    outside.mkdir()
    found = clean.run(str(python), "-I", "-c", USE, cwd=outside).strip()

    (outside / "client.py").write_text(TYPED)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary"]
    mypy += ["--python-executable", str(python), "client.py"]
    said = subprocess.run(mypy, cwd=outside, env=clean.outside(), **CAPTURE).stdout
    if re.findall(r"^client.py:(\d+): error", said, re.MULTILINE) != ["3"]:
        raise RuntimeError(f"mypy, of one error in line 3: {said}")

    clean.install(python, *lock, "pytest", "hypothesis", "ipython", "pandas")
    for path in (ROOT / "tests/conftest.py", *tests(wanted)):
        shutil.copy2(path, outside / path.name)
    pytest = (str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider")
    pytest += ("-m", "not slow")
    said = clean.run(
        *pytest, "--doctest-modules", "--pyargs", ".", "course_lib", cwd=outside
    )
    return {"found": found, "tests": said.strip().splitlines()[-1]}


CAPTURE = {"capture_output": True, "text": True}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("versions", nargs="*", metavar="VERSION")
    parser.add_argument("--tests", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--venvs", type=Path, default=clean.PLACE / "wheel")
    arguments = parser.parse_args()

    folder = arguments.venvs.absolute()
    wheel = build(folder)
    code = fingerprint(*clean.LIBRARY, ROOT / "tests", *MADE_FROM)
    failures = 0
    for version in arguments.versions or PYTHONS:
        key = {"python": version, "code": code}
        if not arguments.versions and TABLE.find(key | {"result": "passes"}):
            continue
        start = time.perf_counter()
        try:
            row = {"result": "passes", **prove(version, wheel, folder, arguments.tests)}
        except RuntimeError as error:
            row = {
                "result": "FAILS",
                "found": str(error)[-200:].replace("\n", " "),
                "tests": "",
            }
            print(error)
            failures += 1
        row["seconds"] = f"{time.perf_counter() - start:.0f}"
        print(version, *row.values(), flush=True)
        TABLE.add(key | row)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
