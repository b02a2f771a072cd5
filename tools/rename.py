"""Move the course to another repository. Its address stands in _config.yml, and is
written from there into the setup cell of every notebook; nothing is executed.

    python -m tools.rename OWNER/NAME
    python -m tools.rename https://HOST/OWNER/NAME
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
URL = re.compile(r"^(repository:\n(?:  .*\n)*?  url: ).*$", re.MULTILINE)


def full(address: str) -> str:
    """The whole address: ``OWNER/NAME`` is on GitHub.

    Raises: ValueError if it is neither that nor the address of a repository.
    """
    if re.fullmatch(r"[\w.-]+/[\w.-]+", address):
        return f"https://github.com/{address}"
    if re.fullmatch(r"https://[\w.-]+(/[\w.-]+){2,}", address):
        return address.removesuffix(".git")
    raise ValueError(f"want OWNER/NAME or https://HOST/OWNER/NAME, got {address!r}")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    config, address = ROOT / "_config.yml", full(sys.argv[1])
    text = config.read_text(encoding="utf-8")
    config.write_text(URL.sub(lambda m: m[1] + address, text), encoding="utf-8")
    for tool in ("tools.notebooks", "tools.exercises"):
        subprocess.run([sys.executable, "-m", tool, "--keep"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
