"""What PyTorch's operations do to receptive fields: a rule makes the window of a result
from that of one of the tensors that the operation takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import floor
from typing import Any, NamedTuple, TypeAlias

import torch

from course_lib.summary.receptive_field import (
    Factor,
    ReceptiveWindow,
    UnknownReceptiveField,
)


class OperationCall(NamedTuple):
    """One call of an operation of torch."""

    #: The operation, the same for that in place.
    name: str
    #: What it was given, without defaults at the end.
    args: Sequence[Any]
    #: The shapes of its results.
    shapes: Sequence[tuple[int, ...]]
    #: Which of the results is asked for, from 0.
    result: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result that is asked for."""
        return self.shapes[self.result]

    def arg(self, index: int, default: Any = None) -> Any:
        """An argument; PyTorch leaves out defaults."""
        return self.args[index] if index < len(self.args) else default


Rule: TypeAlias = Callable[[ReceptiveWindow, OperationCall], ReceptiveWindow]


def rules_for(operation: Any, tensors: int) -> list[Rule]:
    """A rule for each of the tensors that an operation of torch takes."""
    name = name_of(operation)
    if torch.Tag.pointwise in operation.tags or name in POINTWISE:
        return [_expand] * tensors
    if name in JOIN_RULES:
        return [JOIN_RULES[name]] * tensors
    return [*RULES.get(name, ()), *[_lost] * tensors][:tensors]


def overwrites_input(operation: Any) -> bool:
    """Whether what an operation makes does not depend on its first tensor."""
    name = name_of(operation)
    return name in OVERWRITES_INPUT or name.startswith("new_") or name.endswith("_like")


@cache
def name_of(operation: Any) -> str:
    """The name of an operation, the same for that in place."""
    return str(operation._overloadpacket.__name__).rstrip("_")


def _lost(_window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    raise UnknownReceptiveField(call.name)


def _same(window: ReceptiveWindow, _call: OperationCall) -> ReceptiveWindow:
    return window


def _expand(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    return window.expand(call.shape)


def _reshape(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    return window.reshape(call.shape)


def _permute(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    return window.permute(call.args[1])


def _transpose(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    order = list(range(len(window.dims)))
    one, two = call.arg(1, 0), call.arg(2, -1)  # `t` has no arguments
    order[one], order[two] = order[two], order[one]
    return window.permute(order)


def _slice(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    dim, step = call.arg(1, 0), call.arg(4, 1)
    start = range(window.shape[dim])[call.arg(2) : call.arg(3) : step].start
    return window.window(dim, call.shape[dim], 1, step, -start)


def _select(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    dim = call.args[1]
    start = call.args[2] % window.shape[dim]
    return window.window(dim, 1, 1, 1, -start).reshape(call.shape)


def _split(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    dim = call.arg(2, 0)
    start = sum(shape[dim] for shape in call.shapes[: call.result])
    return window.window(dim, call.shape[dim], 1, 1, -start)


def _unbind(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    return window.window(call.arg(1, 0), 1, 1, 1, -call.result).reshape(call.shape)


def _pad(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """Two values for each dimension, the last dimension first."""
    for index, before in enumerate(call.args[1][::2]):
        dim = len(window.dims) - 1 - index
        window = window.window(dim, call.shape[dim], 1, 1, before)
    return window


def _convolution(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    _, weight, _, stride, padding, dilation, transposed, _, groups = call.args
    if groups > 1 and window.reach(1):
        raise UnknownReceptiveField(call.name)
    window = window.whole(1, call.shape[1])
    if not transposed:
        return _windows(window, call, weight.shape[2:], stride, padding, dilation)
    count = len(weight.shape) - 2
    for index in range(count):
        dim = index - count
        sizes = [_item(each, index) for each in (stride, padding, dilation)]
        spans = _transposed(
            window.shape[dim], call.shape[dim], weight.shape[2 + index], *sizes
        )
        window = window.pick(dim, spans)
    return window


def _transposed(
    given: int, count: int, kernel: int, stride: int, padding: int, dilation: int
) -> list[tuple[int, int]]:
    """The first and the last position that each of `count` elements is a sum of; what
    only the bias reaches is as its neighbor.
    """
    spans: list[tuple[int, int]] = []
    for place in range(padding, padding + count):
        taps = (place - tap * dilation for tap in range(kernel))
        found = [at // stride for at in taps if at % stride == 0]
        found = [at for at in found if 0 <= at < given]
        spans.append((min(found), max(found)) if found else (spans or [(0, 0)])[-1])
    return spans


def _nearest(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """Each element is one of those before: the one below, or the nearest."""
    middle = 0.5 if "exact" in call.name else 0.0

    def place(i: int, ratio: float, n: int) -> tuple[int, int]:
        at = min(floor((i + middle) * ratio), n - 1)
        return at, at

    return _resized(window, call, 2, place)


def _linear(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """Each element is a mean of two neighbors, or of four along each axis."""
    aligned, cubic = call.args[2], "cubic" in call.name

    def place(i: int, ratio: float, n: int) -> tuple[int, int]:
        at = i * ratio if aligned else (i + 0.5) * ratio - 0.5
        at = at if cubic else max(at, 0.0)
        first = floor(at)
        if at == first:
            return (min(max(first, 0), n - 1),) * 2
        more = int(cubic)
        return max(min(first, n - 1) - more, 0), min(first + 1 + more, n - 1)

    return _resized(window, call, 3, place)


def _resized(
    window: ReceptiveWindow,
    call: OperationCall,
    scales: int,
    place: Callable[[int, float, int], tuple[int, int]],
) -> ReceptiveWindow:
    """Elements of which `place` says where they come from, along each of the last
    dimensions. The scales are given from an argument on, or follow from the sizes.
    """
    count = len(call.args[1])
    for index in range(count):
        dim = index - count
        n, more, scale = window.shape[dim], call.shape[dim], call.arg(scales + index)
        ratio = 1 / scale if scale else n / more
        if scales == 3 and call.args[2]:
            ratio = (n - 1) / (more - 1) if more > 1 else 0.0
        spans = [place(i, ratio, n) for i in range(more)]
        window = window.pick(dim, [*spans])
    return window


def _shuffle(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """(..., C * r^2, H, W) -> (..., C, H * r, W * r)."""
    *batch, _, height, width = window.shape
    channels, r = call.shape[-3], call.args[1]
    window = window.reshape((*batch, channels, r, r, height, width))
    kept, at = range(len(batch) + 1), len(batch) + 1
    order = (*kept, at + 2, at, at + 3, at + 1)
    return window.permute(order).reshape(call.shape)


def _unshuffle(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """(..., C, H * r, W * r) -> (..., C * r^2, H, W)."""
    *batch, channels, _, _ = window.shape
    (height, width), r = call.shape[-2:], call.args[1]
    window = window.reshape((*batch, channels, height, r, width, r))
    kept, at = range(len(batch) + 1), len(batch) + 1
    order = (*kept, at + 1, at + 3, at, at + 2)
    return window.permute(order).reshape(call.shape)


def _max_pool(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    kernel, padding, dilation = call.args[1], call.arg(3, 0), call.arg(4, 1)
    return _windows(window, call, kernel, call.arg(2) or kernel, padding, dilation)


def _avg_pool(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    kernel = call.args[1]
    return _windows(window, call, kernel, call.arg(2) or kernel, call.arg(3, 0), 1)


def _windows(
    window: ReceptiveWindow, call: OperationCall, kernel: Sequence[int], *more: Any
) -> ReceptiveWindow:
    """Windows along the last dimensions."""
    count = len(kernel)
    for index in range(count):
        dim = index - count
        sizes = [_item(each, index) for each in (kernel, *more)]
        window = window.window(dim, call.shape[dim], *sizes)
    return window


def _as_strided(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """Only if one dimension is left; the strides of the others then mean nothing."""
    strides = [s for n, s in zip(call.shape, call.args[2], strict=True) if n > 1]
    if strides not in ([], [1]):
        raise UnknownReceptiveField(call.name)
    return window.reshape(call.shape)


def _item(value: int | Sequence[int], index: int) -> int:
    """One number stands for all dimensions."""
    return value if isinstance(value, int) else value[index % len(value)]


def _adaptive_pool(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    for dim in range(-len(call.args[1]), 0):
        window = window.adapt(dim, call.shape[dim])
    return window


def _reduce(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    return _over(window, call.arg(1)).reshape(call.shape)


def _norm(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    return _over(window, call.arg(2)).reshape(call.shape)


def _over(window: ReceptiveWindow, dims: int | Sequence[int] | None) -> ReceptiveWindow:
    """Reduce `dims` to one element each, none and nothing meaning all."""
    chosen = [dims] if isinstance(dims, int) else dims or range(len(window.dims))
    for dim in chosen:
        window = window.whole(dim, 1)
    return window


def _softmax(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    return window.whole(call.args[1], call.shape[call.args[1]])


def _of_channels(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """Of channels, which are not told apart: others of them, or more, or fewer."""
    changed = [d for d, n in enumerate(call.shape) if window.shape[d] != n] or [1]
    if window.reach(*changed):
        raise UnknownReceptiveField(call.name)
    for dim in changed:
        window = window.whole(dim, call.shape[dim])
    return window


def _layer_norm(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    for dim in range(-len(call.args[1]), 0):
        window = window.whole(dim, window.shape[dim])
    return window


def _group_norm(window: ReceptiveWindow, _call: OperationCall) -> ReceptiveWindow:
    for dim in range(1, len(window.dims)):
        window = window.whole(dim, window.shape[dim])
    return window


def _batch_norm(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """In evaluation one scale per channel, otherwise statistics of all pixels."""
    if call.args[5] is True:
        for dim in (0, *range(2, len(window.dims))):
            window = window.whole(dim, window.shape[dim])
    return window


def _cat(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    dim = call.arg(1, 0)
    place = window.scatter if window.reach(dim) else window.whole
    return place(dim, call.shape[dim])


def _stack(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    dim = call.arg(1, 0) % len(call.shape)
    new = (Factor(call.shape[dim]),)
    return replace(window, dims=(*window.dims[:dim], new, *window.dims[dim:]))


def _left(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    return window.whole(-1, call.shape[-1])


def _right(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    return window.whole(-2, call.shape[-2])


def _recurrent(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """A layer (length, N, channels): the last step depends on all, or the first."""
    window = window.whole(0, call.shapes[0][0]).whole(2, call.shape[-1])
    return window if call.result == 0 else window.whole(0, 1).reshape(call.shape)


def _queries(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """Of fused attention; what else it returns is not followed."""
    return _of_attention(window, call).whole(-1, call.shape[-1])


def _keys(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    """The keys or the values of fused attention: each query depends on all of them."""
    window = _of_attention(window, call).whole(-2, call.shape[-2])
    return window.whole(-1, call.shape[-1])


def _of_attention(window: ReceptiveWindow, call: OperationCall) -> ReceptiveWindow:
    if call.result:
        raise UnknownReceptiveField(call.name)
    return window


def _named(rule: Rule, names: str) -> dict[str, tuple[Rule]]:
    return dict.fromkeys(names.split(), (rule,))


#: Operations element by element that PyTorch does not mark so.
POINTWISE = {"hardswish", "masked_fill", "_prelu_kernel", "rrelu_with_noise", "copy"}
#: Those that write over their first tensor whatever it was.
OVERWRITES_INPUT = {"copy", "fill", "zero"}
#: Name -> the rule of every tensor.
JOIN_RULES: dict[str, Rule] = {"cat": _cat, "stack": _stack}
#: Name -> the rules of the first tensors; the others must not depend on the image.
RULES: dict[str, tuple[Rule, ...]] = {
    **_named(_same, "alias clone contiguous detach lift_fresh native_dropout _to_copy"),
    **_named(_same, "_native_batch_norm_legit_no_training _batch_norm_no_update"),
    **_named(_reshape, "view _unsafe_view _reshape_alias squeeze unsqueeze"),
    **_named(_as_strided, "as_strided"),
    **_named(_expand, "expand"),
    **_named(_permute, "permute"),
    **_named(_transpose, "transpose t"),
    **_named(_slice, "slice"),
    **_named(_select, "select"),
    **_named(_split, "split split_with_sizes unsafe_split unsafe_split_with_sizes"),
    **_named(_unbind, "unbind"),
    **_named(_pad, "constant_pad_nd reflection_pad1d reflection_pad2d"),
    **_named(_pad, "replication_pad1d replication_pad2d"),
    **_named(_convolution, "convolution"),
    **_named(_nearest, "upsample_nearest1d upsample_nearest2d upsample_nearest3d"),
    **_named(_nearest, "_upsample_nearest_exact1d _upsample_nearest_exact2d"),
    **_named(_nearest, "_upsample_nearest_exact3d"),
    **_named(_linear, "upsample_linear1d upsample_bilinear2d upsample_trilinear3d"),
    **_named(_linear, "upsample_bicubic2d"),
    **_named(_shuffle, "pixel_shuffle"),
    **_named(_unshuffle, "pixel_unshuffle"),
    **_named(_max_pool, "max_pool2d_with_indices max_pool3d_with_indices"),
    **_named(_avg_pool, "avg_pool1d avg_pool2d avg_pool3d"),
    **_named(_adaptive_pool, "_adaptive_avg_pool2d adaptive_max_pool2d"),
    **_named(_reduce, "mean sum amax amin max min std var var_mean argmax logsumexp"),
    **_named(_norm, "linalg_vector_norm"),
    **_named(_softmax, "_softmax _safe_softmax _log_softmax"),
    **_named(_of_channels, "glu channel_shuffle native_channel_shuffle"),
    **_named(_layer_norm, "native_layer_norm"),
    **_named(_group_norm, "native_group_norm"),
    **_named(_batch_norm, "native_batch_norm"),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
        ),
        (_queries, _keys, _keys),
    ),
    "mkldnn_rnn_layer": (_recurrent,),
    "mm": (_left, _right),
    "bmm": (_left, _right),
    "addmm": (_expand, _left, _right),
    "baddbmm": (_expand, _left, _right),
}
