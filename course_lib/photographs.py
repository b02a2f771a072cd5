"""A few photographs that anybody may use: those that come with scikit-image.

Its wheel contains them; nothing is downloaded. The docstrings of `skimage.data` say who
took them, and that they may be used. Chapter: ZFNet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from course_lib.arguments import check_one_of

if TYPE_CHECKING:
    from torch import Tensor

#: What installs the photographs.
PACKAGE = "scikit-image"


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
