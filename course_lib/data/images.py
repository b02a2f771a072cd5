"""Image files as people have them, read by Pillow into red, green and blue.

Turned as the camera was held, 16 bits and floating-point numbers brought to the range
of 8, what is transparent laid on white, the first frame of an animation. What cannot be
read is a `DataError` with the path.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from course_lib.data.files import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

#: The endings of files that are taken for images, in small letters.
ENDINGS = {
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff"),
    ".webp",
}

#: Modes of Pillow whose values are not bytes: their largest value.
DEEP = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "I;16N": 65535, "I": 65535}


def read_image(path: str | Path) -> Image:
    """The image in `path`, in the mode "RGB".

    Raises: DataError, with the path, for a file that is no image, is damaged, or has
        so many pixels that Pillow takes it for an attack.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)  # odd EXIF, ...
            with Image.open(path) as opened:
                opened.load()
                return _rgb(ImageOps.exif_transpose(opened))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # each kind of damage has another
        raise DataError(f"{path} is not an image that can be read: {error}") from error


def _rgb(image: Image) -> Image:
    """`image` in red, green and blue of 8 bits each."""
    from PIL import Image

    if image.mode in DEEP or image.mode == "F":
        image = Image.fromarray(_bytes(np.asarray(image), image.mode))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _bytes(values: np.ndarray, mode: str) -> np.ndarray:
    """Gray values of 16 bits, or of floating-point numbers, as bytes."""
    largest = float(DEEP.get(mode, 1))
    if not np.isfinite(values).all():
        raise DataError("it has values that are not finite")
    if mode == "F" and values.max(initial=0) > 1:
        largest = 255.0
    if values.min(initial=0) < 0 or values.max(initial=0) > largest:
        raise DataError(
            f"its values go from {values.min():g} to {values.max():g}, and are taken"
            f" from 0 to {largest:g}"
        )
    return (values / largest * 255).round().astype(np.uint8)


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files below `folder`, and the files that are none, both in order.

    Hidden files and folders are left out, and a folder that a link leads to for the
    second time.
    """
    images: list[Path] = []
    others: list[Path] = []
    seen: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(where)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(files):
            path = Path(where, name)
            if name[0] == ".":
                continue
            (images if path.suffix.lower() in ENDINGS else others).append(path)
    return images, others


def classes_of(folder: Path) -> Iterator[Path]:
    """The folders in `folder` that are classes: all but hidden ones."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error}") from error
    return (each for each in found if each.is_dir() and each.name[0] != ".")
