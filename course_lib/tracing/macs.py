"""Multiply-accumulates of PyTorch's operations: those of torch's own counter, and of
some that it leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

#: Names of operations that multiply and add; without a formula, they are not counted.
PRODUCTS = re.compile(
    r"mm|mv|dot|conv|rnn|lstm|gru|attention|linalg|fft|cdist|pdist|linear"
    r"|transformer|embedding_bag|addr$|ger$|cholesky|_solve|matmul|matrix_exp"
)
#: Among them by their letters only.
NO_PRODUCTS = re.compile(r"upsample|_norm$|_cross$|_diagonal|fft_.*shift|fftfreq")


def macs_of(func: Any, args: Any, kwargs: Any, made: Any) -> int | None:
    """The multiply-accumulates of one call, None if there is no formula for them."""
    formula = _formula(func)
    return formula(args, kwargs, made) if formula else None


def multiplies(func: Any) -> bool:
    """Whether an operation may multiply and add."""
    name = func._overloadpacket.__name__
    if func.namespace != "aten":
        return True
    return bool(PRODUCTS.search(name)) and not NO_PRODUCTS.search(name)


@cache
def _formula(func: Any) -> Callable[[Any, Any, Any], int] | None:
    """The formula for an operation, of its arguments and its result."""
    # Imported here because it takes a quarter of a second.
    from torch.utils.flop_counter import flop_registry

    packet = func._overloadpacket
    own = OWN.get(packet.__name__.rstrip("_"))
    theirs = flop_registry.get(packet)
    if theirs:
        return lambda args, kwargs, made: theirs(*args, **kwargs, out_val=made) // 2
    if own and func.namespace == "aten":
        return lambda args, _kwargs, made: own(args, made)
    return None


def _onednn_layer(args: Any, _made: Any) -> int:
    """Weights of both products, for each element of each sequence."""
    x = args[0]
    return prod(x.shape[:-1]) * (args[1].numel() + args[2].numel())


def _cudnn_layers(args: Any, _made: Any) -> int:  # pragma: no cover, on a GPU
    """All matrices among the weights; a packed sequence has the sizes of its steps."""
    x, weights = args[0], args[1]
    return prod(x.shape[:-1]) * sum(w.numel() for w in weights if w.dim() == 2)


def _bags(args: Any, _made: Any) -> int:
    """Sums of rows, which are no products unless each has a weight."""
    weighted = len(args) > 6 and args[6] is not None
    return weighted * args[1].numel() * args[0].shape[1]


def _trilinear(args: Any, made: Any) -> int:
    """``x1 @ A @ x2`` of `nn.Bilinear`: each weight once for each sample, and the
    products with `x2`.
    """
    batch = prod(made.shape[:-1])
    return batch * args[1].numel() + made.numel() * args[2].shape[-1]


#: Name -> the formula, of arguments and result.
OWN: dict[str, Callable[[Any, Any], int]] = {
    "mv": lambda args, _: args[0].numel(),
    "addmv": lambda args, _: args[1].numel(),
    "dot": lambda args, _: args[0].numel(),
    "vdot": lambda args, _: args[0].numel(),
    "addr": lambda args, _: args[1].numel() * args[2].numel(),
    "addbmm": lambda args, _: args[1].numel() * args[2].shape[-1],
    "conv_tbc": lambda args, made: made.numel() * prod(args[1].shape[:2]),
    "_int_mm": lambda args, _: args[0].numel() * args[1].shape[-1],
    "mkldnn_rnn_layer": _onednn_layer,
    "_cudnn_rnn": _cudnn_layers,
    "_trilinear": _trilinear,
    "_embedding_bag": _bags,
    "_embedding_bag_forward_only": _bags,
}
