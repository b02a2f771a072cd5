"""The four files of Fashion-MNIST: found, downloaded and verified."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tempfile
import zlib
from pathlib import Path
from typing import Any

#: File -> (bytes, SHA-256), both of the uncompressed file: mirrors compress anew, and
#: only the content matters.
FILES = {
    "train-images-idx3-ubyte": (
        47_040_016,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte": (
        60_008,
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte": (
        7_840_016,
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte": (
        10_008,
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}

#: The data set's own repository.
URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"

#: A server may not send more bytes than this for a file: each is smaller, even
#: uncompressed.
LIMIT = 50_000_000

#: Where Debian's package dataset-fashion-mnist puts the files.
DEBIAN = Path("/usr/share/datasets/fashion-mnist")

#: The environment variable that names a folder with the four files, or says ``sample``.
VARIABLE = "FASHION_MNIST"


class DataError(Exception):
    """The data set could not be read; the message names the file and what to do."""


def find_files(
    cache: Path | None = None, url: str = URL
) -> tuple[dict[str, bytes], str]:
    """The content of the four files, uncompressed, and their source.

    Sources in order: the folder that the environment variable FASHION_MNIST names; the
    `cache`, by default in the user's home; Debian's package; `url`, from which missing
    files are downloaded into the cache.

    Raises: DataError if a file is not as published, or none of the sources has it.
    """
    folder = os.environ.get(VARIABLE)
    if folder:
        return {name: _read(Path(folder), name) for name in FILES}, folder
    cache = cache or _default_cache()
    for source in (cache, DEBIAN):
        if all(_find(source, name) for name in FILES):
            return {name: _read(source, name) for name in FILES}, str(source)
    return {name: _fetch(url, name, cache) for name in FILES}, url


def _default_cache() -> Path:
    import pooch  # here, because most readers have the files already

    return Path(pooch.os_cache("block-by-block"))


def _find(folder: Path, name: str) -> Path | None:
    """`name` or ``name.gz`` in `folder`."""
    return next(
        (path for path in (folder / name, folder / f"{name}.gz") if path.is_file()),
        None,
    )


def _read(folder: Path, name: str) -> bytes:
    path = _find(folder, name)
    if path is None:
        raise DataError(
            f"{folder / name}.gz is missing. Put the four files of Fashion-MNIST there"
            f" ({', '.join(f'{file}.gz' for file in FILES)}), or unset {VARIABLE}."
        )
    return _checked(path, name)


def _checked(path: Path, name: str) -> bytes:
    """The uncompressed content of `path`, if it is Fashion-MNIST's file `name`."""
    size, digest = FILES[name]
    todo = f"Delete {path} and download it again: python -m course_lib.data"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(size + 1)  # never more, whatever the file contains
    except EOFError:
        raise DataError(
            f"{path} is truncated: it ends before its last byte. {todo}"
        ) from None
    except (gzip.BadGzipFile, zlib.error):
        kind = (
            "a web page, perhaps of a proxy"
            if path.read_bytes()[:1] == b"<"
            else "damaged or not a gzip file"
        )
        raise DataError(f"{path} is {kind}. {todo}") from None
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Make it readable, or move it."
        ) from error
    if len(content) < size:
        raise DataError(
            f"{path} is truncated: {len(content):,} of {size:,} bytes, uncompressed."
            f" {todo}"
        )
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(
            f"{path} is not Fashion-MNIST's {name}: its SHA-256 differs (MNIST has"
            f" files of the same names and sizes). {todo}"
        )
    return content


def _fetch(url: str, name: str, cache: Path) -> bytes:
    """Download one file to a temporary folder, check it, and only then put it into the
    cache.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    cached = _find(cache, name)
    if cached:  # another process was faster
        return _checked(cached, name)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(
                pooch.retrieve(
                    f"{url}{name}.gz", None, f"{name}.gz", folder, downloader=_download
                )
            )
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            raise DataError(_no_source(url, cache, error)) from error
        try:
            content = _checked(path, name)
        except DataError as error:
            raise DataError(
                f"what {url}{name}.gz sent was discarded: {error}"
            ) from None
        try:
            _move_to_cache(path, cache)
        except OSError as error:
            raise DataError(
                f"the cache {cache} cannot be written: {error.strerror}. Make it"
                f" writable, or set {VARIABLE} to a folder that has the files."
            ) from error
    return content


def _download(url: str, path: str, pooch_: Any) -> None:
    """Pooch's own download, up to the limit."""
    import pooch

    with _Limited(path, "w") as file:
        pooch.HTTPDownloader(progressbar=True, timeout=30)(url, file, pooch_)


class _Limited(io.FileIO):
    """A file that refuses to become larger than the limit."""

    def write(self, content: Any) -> int:
        if self.tell() + len(content) > LIMIT:
            raise DataError(
                f"what the server sends is no file of Fashion-MNIST: it is longer than"
                f" {LIMIT:,} bytes, and was discarded"
            )
        return super().write(content)


def _move_to_cache(path: Path, cache: Path) -> None:
    """Put a verified file into the cache in one move, so that no process ever finds
    half of it.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
        try:
            file.write(path.read_bytes())
            file.close()
            Path(file.name).replace(cache / path.name)
        except BaseException:
            Path(file.name).unlink()
            raise


def _no_source(url: str, cache: Path, error: Exception) -> str:
    return (
        f"Fashion-MNIST was not found and could not be downloaded.\n"
        f"  {VARIABLE}: not set\n"
        f"  {cache}: not there\n"
        f"  {DEBIAN}: not there\n"
        f"  {url}: {error}\n"
        f"On Debian or Ubuntu: apt-get install dataset-fashion-mnist.\n"
        f"Elsewhere: set {VARIABLE} to a folder with the four files, or to 'sample' for"
        f" the 640 images that come with this package."
    )
