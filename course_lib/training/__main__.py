"""Train a network of the course from the command line, on as many processes as wanted.

    python -m course_lib.training ResNet small --epochs 4 --lr 0.2
    torchrun --nproc-per-node=2 -m course_lib.training ResNet small --epochs 4 --lr 0.2
    torchrun --nproc-per-node=8 -m course_lib.training ResNet 50 --data FOLDER --augment

It is the `fit` of the chapters. Under torchrun each process takes its shard of every
batch, and PyTorch's DistributedDataParallel averages their gradients: over NCCL on
GPUs, over Gloo on CPUs. Chapter: Scaling.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from course_lib.catalog import FAMILIES, LATER
from course_lib.data import DataError, fashion_mnist
from course_lib.training import Data, Settings, TrainingError, fit
from course_lib.training.processes import processes
from course_lib.training.runtime import PRECISIONS, Runtime, runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The families by name.
NETS: dict[str, Any] = {
    family.network.__name__: family.network for family in (FAMILIES | LATER).values()
}


def parser() -> argparse.ArgumentParser:
    """The arguments of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m course_lib.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("net", choices=NETS, metavar="NET", help=", ".join(NETS))
    add("variant", type=_value, help="a row of the family's table, such as 18 or small")
    add(
        "--with",
        dest="options",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="arguments of the network, such as batch_norm=True",
    )
    add("--data", type=Path, help="a folder in ImageNet's layout; else Fashion-MNIST")
    add("--workers", type=int, default=2, help="processes that read a folder's images")
    add("--epochs", type=int, default=5)
    add("--lr", type=float, default=Settings.lr, help="the highest learning rate")
    size = Settings.batch_size
    add("--batch-size", type=int, default=size, help="of all processes together")
    add("--momentum", type=float, default=Settings.momentum)
    add("--weight-decay", type=float, default=Settings.weight_decay)
    add("--label-smoothing", type=float, default=Settings.label_smoothing)
    add("--augment", action="store_true", help="shift or crop, and flip images")
    add("--size", type=int, help="height and width that images are resized to")
    add("--seed", type=int, default=Settings.seed)
    add("--compiled", action="store_true", help="use torch.compile")
    add("--captured", action="store_true", help="steps as a CUDA graph; GPUs only")
    add("--checkpoint", type=Path, help="written each epoch; a run resumes from it")
    add("--sync-batch-norm", action="store_true", help="over all processes; GPUs only")
    add("--device", choices=["cpu", "cuda", "mps"])
    add("--precision", choices=PRECISIONS)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and print the history in the first process."""
    asked = vars(parser().parse_args(arguments))
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    try:
        if several:
            _join(asked["device"])
        _run(asked)
    except (ValueError, TrainingError, DataError) as error:
        sys.exit(f"{error}")
    finally:
        if several and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _run(asked: dict[str, Any]) -> None:
    settings = Settings(
        **{each.name: asked.pop(each.name) for each in fields(Settings)}
    )
    here = _runtime(asked.pop("device"), asked.pop("precision"))
    data = _data(asked.pop("data"), asked.pop("workers"))
    torch.manual_seed(settings.seed)  # the same weights in every process
    net = _net(asked.pop("net"), asked.pop("variant"), asked.pop("options"), data)
    if asked.pop("sync_batch_norm"):
        if here.device.type != "cuda":
            raise ValueError(
                "--sync-batch-norm needs GPUs: PyTorch has it for no other"
            )
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    group = processes()
    if group.rank == 0:
        print(f"{group.world_size} processes, {here}", file=sys.stderr)
    history = fit(net, data, settings, runtime=here, **asked)
    if group.rank == 0:
        print(history)
        print(f"{history.seconds:.1f} seconds of training", file=sys.stderr)


def _join(device: str | None) -> None:
    """Join the processes that torchrun started."""
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if cuda else "gloo")


def _runtime(device: str | None, precision: str | None) -> Runtime:
    here = runtime(device, precision)
    if here.device.type == "cuda" and processes().world_size > 1:
        return runtime(f"cuda:{torch.cuda.current_device()}", precision)
    return here


def _data(path: Path | None, workers: int) -> Data:
    if path is None:
        return fashion_mnist()
    from course_lib.data.folder import folder

    return folder(path, workers=workers)


def _net(name: str, variant: int | str, options: list[str], data: Data) -> nn.Module:
    """The network for the classes and channels of the data.

    Raises: ValueError for an option that the network does not have.
    """
    chosen = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise ValueError(f"--with takes NAME=VALUE, got {option!r}")
        chosen[key] = _value(value)
    x, _ = next(data.test.batches(1))
    try:
        return NETS[name](
            variant, num_classes=len(data.classes), in_channels=x.shape[1], **chosen
        )
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


def _value(text: str) -> Any:
    """`text` as Python reads it, or as it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main()
