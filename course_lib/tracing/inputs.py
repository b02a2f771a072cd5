"""What a module is given: by size, or as data."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from course_lib.tracing.ghost import META, Ghost
from course_lib.tracing.record import tensors_of

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Inputs:
    """The arguments of a module for one image; the batch is the first dimension of
    their tensors.
    """

    #: Arguments by position.
    args: tuple[Any, ...]
    #: Arguments by name.
    kwargs: dict[str, Any]
    #: How many images `args` and `kwargs` are for.
    batch: int
    #: The shapes of the tensors, without the batch.
    shapes: tuple[Shape, ...]

    @property
    def has_values(self) -> bool:
        """Whether these are data."""
        return not any(t.is_meta for t in tensors_of((self.args, self.kwargs)))

    @property
    def size(self) -> Any:
        """The shape of the input, or of several."""
        return self.shapes[0] if len(self.shapes) == 1 else self.shapes

    def __str__(self) -> str:
        return ", ".join(" x ".join(map(str, shape)) or "()" for shape in self.shapes)

    def ghosts(self, batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments for a mini-batch, without values, laid out as with them."""

        def ghost(tensor: Tensor) -> Tensor:
            meta = torch.empty_like(tensor, device=META)
            return Ghost.of(torch.cat([meta[:1]] * batch) if self._many(meta) else meta)

        return self._mapped(ghost)

    def values(self, batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments for a mini-batch, which is the first image again and again."""

        def repeated(tensor: Tensor) -> Tensor:
            if not self._many(tensor):
                return tensor.detach().clone()
            return torch.cat([tensor.detach()[:1]] * batch)

        return self._mapped(repeated)

    def _many(self, tensor: Tensor) -> bool:
        """Whether a tensor has the batch as its first dimension."""
        return bool(tensor.dim() and len(tensor) == self.batch)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Any:
        with torch.inference_mode(mode=False):
            return tree_map_only(Tensor, change, (self.args, self.kwargs))


def inputs_of_size(
    net: nn.Module, input_size: object, dtypes: Sequence[torch.dtype] | None = None
) -> Inputs:
    """Inputs of a size (C, H, W), or of several sizes, each without the batch, of the
    type that the network computes with, or of `dtypes`; an image is what it is.

    Raises: ValueError if it is no size, or if there are other `dtypes` than sizes.
    """
    if isinstance(input_size, Tensor):
        return inputs_of_data(input_size[None])
    shapes = _shapes(input_size)
    if shapes is None:
        raise ValueError(
            "input_size must be (C, H, W), integers of at least 1, or a sequence of"
            f" such sizes, or an image of that shape; got {input_size!r}"
        )
    kinds = (p.dtype for p in net.parameters() if p.is_floating_point())
    dtype = next(kinds, torch.get_default_dtype())
    chosen: Any = [dtype] * len(shapes) if dtypes is None else dtypes
    fits = isinstance(chosen, Sequence) and len(chosen) == len(shapes)
    if not fits or not all(isinstance(each, torch.dtype) for each in chosen):
        raise ValueError(
            f"dtypes must be types of tensors, as many as input_size has sizes,"
            f" {len(shapes)}; got {dtypes!r}"
        )
    tensors = tuple(
        torch.empty((1, *shape), dtype=kind, device=META)
        for shape, kind in zip(shapes, chosen, strict=True)
    )
    return Inputs(tensors, {}, 1, shapes)


def inputs_of_data(data: object) -> Inputs:
    """Inputs as a tensor, a sequence of several, or a mapping of keyword arguments,
    with the batch as first dimension.

    Raises: ValueError if there is no tensor in it, or if the first is of no batch.
    """
    tensors = tensors_of(data)
    if not tensors or not tensors[0].dim():
        raise ValueError(
            "input_data must be a tensor, a sequence or a mapping of tensors, with the"
            f" batch as first dimension; got {data!r}"
        )
    batch = len(tensors[0])
    kwargs = dict(data) if isinstance(data, Mapping) else {}
    args = () if kwargs else tuple(data) if isinstance(data, list | tuple) else (data,)
    if any(not t.dim() or len(t) == 0 for t in tensors[:1]):
        raise ValueError(f"input_data must be of a batch of at least 1; got {batch}")
    shapes = tuple(
        tuple(t.shape[1:]) if t.dim() and len(t) == batch else tuple(t.shape)
        for t in tensors
    )
    return Inputs(args, kwargs, batch, shapes)


def _shapes(size: object) -> tuple[Shape, ...] | None:
    """One shape or several, None if it is none."""
    if isinstance(size, np.ndarray):
        size = size.tolist()
    if not isinstance(size, Sequence) or isinstance(size, str | bytes):
        return None
    if size and all(isinstance(each, Sequence) for each in size):
        inner = [_shapes(each) for each in size]
        known = [shapes[0] for shapes in inner if shapes is not None]
        return tuple(known) if len(known) == len(size) else None
    try:
        shape = tuple(operator.index(each) for each in size)
    except TypeError:
        return None
    return (shape,) if all(each > 0 for each in shape) else None
