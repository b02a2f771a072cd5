"""Fashion-MNIST as tensors: found or fetched, checked byte for byte, and cut into
batches without a loop over images.

70,000 grey pictures of clothes, 28x28 pixels, ten classes (Xiao, Rasul and Vollgraf
2017, arXiv:1708.07747). The last 5,000 of the 60,000 training pictures are kept for
validation; the test set is for the end of a run.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The ten classes, in the order of their labels.
CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)

#: Mean and standard deviation of the pixels of the 55,000 training pictures, where
#: black is 0 and white is 1.
MEAN, STD = 0.2858, 0.3529

#: File -> (bytes, SHA-256), both of the uncompressed file: mirrors compress anew, and
#: only what is inside counts.
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

#: Where Debian's package dataset-fashion-mnist puts the files.
DEBIAN = Path("/usr/share/datasets/fashion-mnist")

#: The environment variable that names a folder with the four files, or says ``sample``.
VARIABLE = "FASHION_MNIST"

VALIDATION = 5_000


class DataError(Exception):
    """The data set could not be read; the message names the file and what to do."""


@dataclass(frozen=True)
class Split:
    """Pictures and their labels, in memory.

    Shape: `images` (N, 1, 28, 28) of uint8, `labels` (N,) of int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        height, width = self.images.shape[-2:]
        return f"Split({len(self):,} pictures of {height}x{width})"

    def to(self, device: torch.device | str) -> Split:
        """The same split on another device, where its batches will be made."""
        return Split(self.images.to(device), self.labels.to(device))

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        augment: bool = False,
        size: int | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All pictures once, as ``(x, y)``: in order if `seed` is None, otherwise
        shuffled, for training.

        The batches are as equal as can be: 55,000 pictures at 128 make 430 batches of
        127 or 128. With `augment`, every picture is moved by up to one pixel and may be
        mirrored; what happens to a picture depends on `seed`, `epoch` and the picture,
        and on nothing else. With `size`, pictures are resized (bilinear).

        Shape: x (n, 1, size, size) of float32, mean 0 and standard deviation 1 over the
            training set; y (n,).
        Raises: ValueError if `batch_size` or `size` is less than 1.
        """
        if batch_size < 1 or (size is not None and size < 1):
            raise ValueError(
                f"batch_size and size must be at least 1, got {batch_size} and {size}"
            )
        n = len(self)
        order, flip, shift = torch.arange(n), None, None
        if seed is not None:  # drawn on the CPU, so that every device sees the same
            random = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
            order = torch.randperm(n, generator=random)
            if augment:
                flip = torch.rand(n, generator=random) < 0.5
                shift = torch.randint(-1, 2, (n, 2), generator=random)
        return self._deal(
            order.tensor_split(-(-n // batch_size)) if n else (), flip, shift, size
        )

    def _deal(
        self,
        batches: Sequence[Tensor],
        flip: Tensor | None,
        shift: Tensor | None,
        size: int | None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for index in batches:
            chosen = index.to(self.labels.device)
            x = self.images[chosen]
            if flip is not None and shift is not None:
                x = move(x, flip[index].to(x.device), shift[index].to(x.device))
            yield normalize(x, size), self.labels[chosen]


def move(x: Tensor, flip: Tensor, shift: Tensor) -> Tensor:
    """Mirror and shift each picture of a batch; what comes in from outside is black.

    Shape: x (N, C, H, W), `flip` (N,) of bool, `shift` (N, 2) in pixels, down and
        right, each -1, 0 or 1 -> (N, C, H, W).
    """
    n, _, height, width = x.shape
    rows = torch.arange(height, device=x.device) - shift[:, :1] + 1
    columns = torch.arange(width, device=x.device) - shift[:, 1:]
    columns = torch.where(flip[:, None], width - 1 - columns, columns) + 1
    x = F.pad(x, (1, 1, 1, 1)).movedim(1, -1)
    picture = torch.arange(n, device=x.device)[:, None, None]
    return x[picture, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def normalize(x: Tensor, size: int | None = None) -> Tensor:
    """Bytes to numbers with mean 0 and standard deviation 1, resized to `size` pixels
    if it is given.

    Shape: (N, 1, H, W) of uint8 -> (N, 1, size or H, size or W) of float32.
    """
    x = (x.float() / 255 - MEAN) / STD
    return (
        x
        if size is None
        else F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    )


@dataclass(frozen=True)
class FashionMNIST:
    """The three splits, and where they came from."""

    train: Split
    validation: Split
    test: Split
    source: str

    classes = CLASSES

    def __repr__(self) -> str:
        train, validation, test = len(self.train), len(self.validation), len(self.test)
        return (
            f"Fashion-MNIST: {train:,} for training, {validation:,} for validation,"
            f" {test:,} for test"
        )


def fashion_mnist(
    *, sample: bool = False, cache: Path | None = None, url: str = URL
) -> FashionMNIST:
    """Fashion-MNIST from the first place that has it.

    These are asked in order: the folder that the environment variable FASHION_MNIST
    names; the cache in the user's home; Debian's package dataset-fashion-mnist; `url`,
    from which the files go into the cache. Each file is compared with its SHA-256. With
    `sample` (or ``FASHION_MNIST=sample``) the 640 pictures that come with this package
    are used, and a warning says so: enough to try code, too few to learn much.

    Raises: DataError if a file is not what it should be, or no place has them.
    """
    folder = os.environ.get(VARIABLE)
    if sample or folder == "sample":
        return _sample()
    cache = cache or _default_cache()
    found = next(
        (
            place
            for place in (cache, DEBIAN)
            if all(_find(place, name) for name in FILES)
        ),
        None,
    )
    place = Path(folder) if folder else found
    if place:
        return _splits({name: _read(place, name) for name in FILES}, str(place))
    return _splits({name: _fetch(url, name, cache) for name in FILES}, url)


def _default_cache() -> Path:
    import pooch  # here, because most readers have the files already

    return Path(pooch.os_cache("block-by-block"))


def _sample() -> FashionMNIST:
    warnings.warn(
        "using the sample of 640 pictures that comes with course_lib, not"
        " Fashion-MNIST: accuracies mean little",
        stacklevel=3,
    )
    with np.load(Path(__file__).with_name("sample.npz")) as arrays:
        images, labels = (
            torch.from_numpy(arrays["images"])[:, None],
            torch.from_numpy(arrays["labels"]).long(),
        )
    sizes = [400, 80, 160]
    parts = zip(images.split(sizes), labels.split(sizes), strict=True)
    train, validation, test = (Split(*part) for part in parts)
    return FashionMNIST(train, validation, test, source="sample")


def _splits(content: dict[str, bytes], source: str) -> FashionMNIST:
    def split(part: str) -> Split:
        labels = torch.frombuffer(
            bytearray(content[f"{part}-labels-idx1-ubyte"][8:]), dtype=torch.uint8
        ).long()
        images = torch.frombuffer(
            bytearray(content[f"{part}-images-idx3-ubyte"][16:]), dtype=torch.uint8
        )
        return Split(images.view(len(labels), 1, 28, 28), labels)

    train, test = split("train"), split("t10k")
    kept = len(train) - VALIDATION
    return FashionMNIST(
        Split(train.images[:kept], train.labels[:kept]),
        Split(train.images[kept:], train.labels[kept:]),
        test,
        source,
    )


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
    todo = f"Delete {path} and fetch it again: python -m course_lib.data"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(size + 1)  # never more, whatever a file may unpack to
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
    kept = _find(cache, name)
    if kept:  # another process was faster
        return _checked(kept, name)
    with tempfile.TemporaryDirectory() as folder:
        try:
            download = pooch.HTTPDownloader(progressbar=True, timeout=30)
            path = Path(
                pooch.retrieve(
                    f"{url}{name}.gz", None, f"{name}.gz", folder, downloader=download
                )
            )
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            raise DataError(_nowhere(url, cache, error)) from error
        try:
            content = _checked(path, name)
        except DataError as error:
            raise DataError(
                f"what {url}{name}.gz sent was thrown away: {error}"
            ) from None
        try:
            _keep(path, cache)
        except OSError as error:
            raise DataError(
                f"the cache {cache} cannot be written: {error.strerror}. Make it"
                f" writable, or set {VARIABLE} to a folder that has the files."
            ) from error
    return content


def _keep(path: Path, cache: Path) -> None:
    """Put a checked file into the cache in one move, so that nobody ever finds half of
    it.
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


def _nowhere(url: str, cache: Path, error: Exception) -> str:
    return (
        f"Fashion-MNIST is not here and could not be fetched.\n"
        f"  {VARIABLE}: not set\n"
        f"  {cache}: not there\n"
        f"  {DEBIAN}: not there\n"
        f"  {url}: {error}\n"
        f"On Debian or Ubuntu: apt-get install dataset-fashion-mnist.\n"
        f"Elsewhere: set {VARIABLE} to a folder with the four files, or to 'sample' for"
        f" the 640 pictures that come with this package."
    )
