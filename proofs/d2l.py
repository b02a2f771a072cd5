"""The bridge works with both releases of d2l that it is made for: the one of
requirements.txt, and 1.0.3 without what it pins, in a folder of its own.

    python -m proofs.d2l
"""

from __future__ import annotations

import os
import subprocess
import sys

from proofs import clean
from proofs.common import ROOT, Table, fingerprint

TABLE = Table("d2l", ("d2l",))

#: Release -> what it needs beside the packages of requirements.txt.
RELEASES = {"0.17.0": (), "1.0.3": ("scipy",)}

TEST = "tests/test_d2l_bridge.py"


def prove(release: str, besides: tuple[str, ...]) -> tuple[bool, str]:
    """Run the bridge's tests on `release`: whether all passed, and what pytest says."""
    folder = clean.PLACE / f"d2l-{release}"
    target = ("--target", str(folder), "--python", sys.executable)
    install = (*clean.UV, "pip", "install", "--quiet", "--no-deps", *target)
    clean.run(*install, f"d2l=={release}", *besides)
    # What is in the folder comes before what is installed.
    path = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "D2L": release}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, TEST],
        cwd=ROOT,
        env=clean.outside() | path,
        capture_output=True,
        text=True,
    )
    print(done.stdout, flush=True)
    return done.returncode == 0, done.stdout.strip().splitlines()[-1]


def main() -> int:
    """Prove what is not proven."""
    code = fingerprint(*clean.LIBRARY, ROOT / TEST)
    failures = 0
    for release, besides in RELEASES.items():
        key = {"d2l": release, "code": code}
        if TABLE.find(key | {"result": "passes"}):
            continue
        passed, said = prove(release, besides)
        TABLE.add(key | {"result": "passes" if passed else "FAILS", "tests": said})
        failures += not passed
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
