"""The bridge to Dive into Deep Learning: its package d2l, repaired where IPython has
moved on, our data in its training loops, and our networks in its Trainer.

For readers of that book; nothing else here needs it. Two releases do: 0.17.0, the last
one that pins nothing, and 1.0.3, which has the Trainer, without what it pins: ``pip
install --no-deps d2l==1.0.3``.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from course_lib.training import Data, ImageSplit


def load() -> Any:
    """The module `d2l.torch`, its figures repaired: what 0.17.0 asks of IPython has
    gone from there, and what asks is looked up in the module.

    Raises: ModuleNotFoundError if d2l or what it imports is not installed.
    """
    try:
        d2l = importlib.import_module("d2l.torch")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed: pip install d2l==0.17.0, or pip install"
            " --no-deps d2l==1.0.3 and pip install pandas scipy"
        ) from error
    vars(d2l)["use_svg_display"] = _use_svg_display
    return d2l


def _use_svg_display() -> None:
    from IPython import get_ipython
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    if get_ipython():
        set_matplotlib_formats("svg")


@dataclass
class Batches:
    """The batches of a split as d2l expects them of a DataLoader: counted, and gone
    through once an epoch, shuffled anew each time if there is a `seed`.
    """

    #: What they are batches of.
    split: ImageSplit
    #: Images per batch, at most.
    batch_size: int
    #: Side to which images are resized, in pixels; None leaves them as they are.
    size: int | None = None
    #: Seed of the random order; None for no shuffling.
    seed: int | None = None
    #: Epochs so far.
    epoch: int = 0

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = self.split.batches(
            self.batch_size, seed=self.seed, epoch=self.epoch, size=self.size
        )
        self.epoch += 1
        return batches


def iterators(
    data: Data, batch_size: int = 256, *, size: int | None = None, seed: int = 0
) -> tuple[Batches, Batches]:
    """What `d2l.load_data_fashion_mnist` gives: batches for training and for testing.

    Raises: ValueError if there are fewer than five for training, which d2l needs.
    """
    train = Batches(data.train, batch_size, size, seed)
    if len(train) < 5:
        raise ValueError(
            f"d2l.train_ch6 needs at least 5 batches an epoch;"
            f" {len(data.train)} images at batch_size={batch_size} make {len(train)}"
        )
    return train, Batches(data.test, batch_size, size)


def data_module(
    data: Data, batch_size: int = 128, *, size: int | None = None, seed: int = 0
) -> Any:
    """`data` as a `d2l.DataModule`; it validates on our validation images, not on the
    test set as d2l does.

    Raises: RuntimeError if this d2l is older than that class.
    """
    module = _modern().DataModule()
    train = Batches(data.train, batch_size, size, seed)
    validation = Batches(data.validation, batch_size, size)
    module.train_dataloader, module.val_dataloader = lambda: train, lambda: validation
    return module


def classifier(net: nn.Module, lr: float) -> Any:
    """`net` as a `d2l.Classifier`, which `d2l.Trainer` fits with plain SGD.

    Raises: RuntimeError if this d2l is older than that class.
    """
    model = _modern().Classifier()
    model.net, model.lr = net, lr
    return model


def _modern() -> Any:
    d2l = load()
    if not hasattr(d2l, "Trainer"):
        version = importlib.import_module("d2l").__version__
        raise RuntimeError(
            f"d2l {version} has no Trainer: pip install --no-deps d2l==1.0.3"
        )
    return d2l
