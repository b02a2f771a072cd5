"""What is wrong with a run, said before its first step: with the network, with the
data, or with what the one makes of the other.

Everything raises a ValueError with what came, in the words of the caller. Nothing is
changed: a first look at two images is taken with copies of all weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

if TYPE_CHECKING:
    from course_lib.training.processes import Processes
    from course_lib.training.protocols import Data, ImageSplit
    from course_lib.training.runtime import Runtime
    from course_lib.training.settings import Settings

#: What `Data` has, with what is in each.
PARTS = {
    "train": "the images to learn from",
    "validation": "those looked at after each epoch",
    "test": "those looked at once",
    "classes": "the names of the classes",
}

#: What Python calls in a step, of modules and of parameters.
HOOKS = (
    *("forward_pre_hooks", "forward_hooks", "backward_pre_hooks", "backward_hooks"),
    "post_accumulate_grad_hooks",
)


def check_run(net: nn.Module, data: Data, settings: Settings, group: Processes) -> None:
    """Raise the ValueError of a network or of data that cannot be trained."""
    check_trainable(net)
    missing = [name for name in PARTS if not hasattr(data, name)]
    if missing:
        raise ValueError(
            f"data must have {', '.join(PARTS)}, got a {type(data).__name__} without"
            f" {missing[0]}, {PARTS[missing[0]]}"
        )
    if not isinstance(data.classes, Sequence) or len(data.classes) < 2:
        raise ValueError(
            "data.classes must be a sequence of two or more names, got"
            f" {data.classes!r}: there is nothing to tell apart"
        )
    for name in ("train", "validation", "test"):
        check_split(getattr(data, name), f"data.{name}", len(data.classes))
    if settings.batch_size < group.world_size:
        raise ValueError(
            f"batch_size must be at least {group.world_size}, one image per"
            f" process, got {settings.batch_size}"
        )


def check_trainable(net: object) -> None:
    """Raise the ValueError of what is no network, or has nothing to learn."""
    parameters = dict(check_scorable(net).named_parameters())
    if not parameters:
        raise ValueError(f"net has no parameters: a {type(net).__name__} cannot learn")
    if not any(each.requires_grad for each in parameters.values()):
        raise ValueError(
            f"net has {len(parameters)} parameters, and none requires a gradient: all"
            " of it is frozen"
        )


def check_scorable(net: object) -> nn.Module:
    """`net`, or the ValueError of what is no network, or has weights without values."""
    if not isinstance(net, nn.Module):
        raise ValueError(f"net must be a torch.nn.Module, got {type(net).__name__}")
    for name, value in (*net.named_parameters(), *net.named_buffers()):
        if is_lazy(value):
            raise ValueError(
                f"net.{name} has no shape yet: it is of a lazy layer; run net on a"
                " batch first"
            )
        if value.is_meta:
            raise ValueError(
                f"net.{name} is on the meta device, which has shapes and no numbers;"
                " build the network without torch.device('meta')"
            )
    return net


def check_split(split: ImageSplit, name: str, classes: int) -> None:
    """Raise the ValueError of a split that is empty or whose labels are no classes."""
    try:
        number = len(split)
    except TypeError as error:
        raise ValueError(
            f"{name} must know how many images it has (`__len__`), got a"
            f" {type(split).__name__}"
        ) from error
    if not number:
        raise ValueError(f"{name} is empty: there is nothing to learn from or to score")
    labels = getattr(split, "labels", None)
    if isinstance(labels, Tensor):
        check_labels(labels, f"{name}.labels", classes)
    for index, (file, label) in enumerate(getattr(split, "files", ())):
        if not 0 <= label < classes:
            raise ValueError(
                f"{name}.files[{index}], {file}, has the label {label}, and there are"
                f" {classes} classes, 0 to {classes - 1}"
            )


def check_labels(labels: Tensor, name: str, classes: int) -> None:
    """Raise the ValueError of labels that are not classes from 0 on."""
    if labels.dtype != torch.int64 or labels.dim() != 1:
        kind = str(labels.dtype).removeprefix("torch.")
        raise ValueError(
            f"{name} must be int64 of shape (N,), a class for each image, got {kind} of"
            f" shape {tuple(labels.shape)}"
        )
    wrong = ((labels < 0) | (labels >= classes)).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"{name}[{first}] is {int(labels[first])}, and there are {classes} classes,"
            f" 0 to {classes - 1}; {len(wrong)} labels are outside"
        )


def first_look(
    net: nn.Module, data: Data, settings: Settings, runtime: Runtime
) -> None:
    """Run `net` on two images of each split as training would, and leave no trace.

    Raises: ValueError if it cannot take them, or has not one output a class.
    """
    for name in ("train", "validation", "test"):
        x, y = _first_batch(getattr(data, name), f"data.{name}", settings)
        _check_batch(x, y, f"data.{name}", len(data.classes))
        outputs = _outputs(net, x[:2], runtime, name)
        check_outputs(outputs, len(data.classes))


def _first_batch(split: ImageSplit, name: str, settings: Settings) -> tuple[Any, Any]:
    """The first batch as `fit` asks for it, in order."""
    try:
        batches = split.batches(
            settings.batch_size,
            seed=None,
            epoch=0,
            augment=False,
            size=settings.size,
            shard=(0, 1),
        )
        x, y = next(iter(batches))
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{name} must have batches(batch_size, *, seed, epoch, augment, size,"
            f" shard), as `course_lib.Split` has: {error}"
        ) from error
    except StopIteration as error:
        raise ValueError(f"{name}.batches gives no batch") from error
    return x, y


def _outputs(net: nn.Module, x: Tensor, runtime: Runtime, name: str) -> Any:
    """What a copy of `net` gives for `x`, in the mode for this part of the data."""
    modes = {module: module.training for module in net.modules()}
    devices = [runtime.device] if torch.cuda.is_initialized() else []
    net.train(name == "train")
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), runtime.autocast():
            return runtime.copied(net)(runtime.to_device(x))
    except (RuntimeError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"net cannot take images of data.{name}, of shape {tuple(x.shape)}: {error}"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training


def can_capture(net: nn.Module, runtime: Runtime, group: Processes) -> bool:
    """Whether the steps of `net` may be recorded as a CUDA graph; if not, a warning
    says why.
    """
    reason = ""
    if runtime.device.type != "cuda":
        reason = f"the device is {runtime.device.type}"
    elif group.world_size > 1:
        reason = "several processes exchange gradients"
    elif any(_hooks(each) for each in (*net.modules(), *net.parameters())):
        reason = "it would not call the hooks of the network"
    if reason:
        warnings.warn(f"there is no CUDA graph: {reason}", stacklevel=4)
    return not reason


def _hooks(each: object) -> bool:
    """Whether something is called whenever `each` is used, or has its gradient."""
    return any(getattr(each, f"_{name}", None) for name in HOOKS)


def check_outputs(outputs: Any, classes: int) -> None:
    """Raise the ValueError of outputs that no loss is known for."""
    logits = outputs
    if not isinstance(outputs, Tensor):
        if not hasattr(outputs, "loss"):
            raise ValueError(
                f"net gives a {type(outputs).__name__} in training, and must give"
                " logits, a tensor of shape (N, classes), or a tuple that begins with"
                " them and has a method loss(y, label_smoothing)"
            )
        logits = outputs[0]
    shape = tuple(logits.shape)
    if len(shape) != 2 or shape[1] != classes:
        raise ValueError(
            f"net gives outputs of shape {shape}, but the data has {classes} classes;"
            f" build it with num_classes={classes}"
        )


def _check_batch(x: Any, y: Any, name: str, classes: int) -> None:
    for what, value in (("images", x), ("labels", y)):
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{name}.batches must give tensors, got {type(value).__name__} for"
                f" {what}"
            )
    if x.dim() != 4 or not x.is_floating_point():
        kind = str(x.dtype).removeprefix("torch.")
        raise ValueError(
            f"{name}.batches must give images (N, C, H, W) of floating-point numbers,"
            f" got {kind} of shape {tuple(x.shape)}"
        )
    if len(x) != len(y):
        raise ValueError(f"{name}.batches gives {len(x)} images and {len(y)} labels")
    if not torch.isfinite(x).all():
        first = int((~torch.isfinite(x)).flatten(1).any(dim=1).nonzero()[0])
        raise ValueError(f"image {first} of {name} has values that are not finite")
    check_labels(y, f"the labels of {name}.batches", classes)
