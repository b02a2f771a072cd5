"""What an exercise asks to be written may not be called: a watch that sees it called,
under whatever name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

#: What does the same: the name that exercises give it -> PyTorch's functions, and the
#: operators that all of its modules and functions end in.
FAMILIES = {
    "convolution": frozenset(
        f"{before}{name}{after}"
        for before in ("", "_", "mkldnn_", "slow_", "thnn_", "cudnn_")
        for name in ("convolution", "conv1d", "conv2d", "conv3d")
        for after in ("", "_overrideable", "_forward", "_mode")
    )
    | {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "conv_tbc"}
    | {"convolution_backward"},
    "dropout": frozenset(
        f"{before}dropout{after}"
        for before in ("", "native_", "alpha_", "feature_", "_fused_")
        for after in ("", "_", "1d", "2d", "3d")
    )
    | {"feature_alpha_dropout"},
    "normalization": frozenset(
        f"{before}{kind}_norm"
        for before in ("", "native_", "_native_", "cudnn_", "miopen_")
        for kind in ("batch", "group", "layer", "instance")
    )
    | {"_native_batch_norm_legit", "_batch_norm_impl_index", "local_response_norm"},
    "pooling": frozenset(
        f"{before}{kind}_pool{dims}{after}"
        for before in ("", "adaptive_", "_adaptive_", "mkldnn_", "fractional_", "lp_")
        for kind in ("max", "avg", "")
        for dims in ("1d", "2d", "3d")
        for after in ("", "_with_indices")
    ),
    "unpooling": frozenset({"max_unpool1d", "max_unpool2d", "max_unpool3d"}),
    "autograd": frozenset({"backward", "grad"}),
}


#: What an exercise says of them.
WORDS = {
    "convolution": "PyTorch's functions and layers for convolution",
    "dropout": "PyTorch's functions and layers for dropout",
    "normalization": "PyTorch's functions and layers for normalization",
    "pooling": "PyTorch's functions and layers for pooling",
    "unpooling": "PyTorch's functions and layers for unpooling",
    "autograd": "autograd",
}


class Forbidden(BaseException):
    """Something was called that the answer was to write."""


@contextmanager
def watched(banned: Sequence[str]) -> Iterator[list[str]]:
    """A list of what was called in the body of what is `banned`: names of `FAMILIES`,
    or of functions and classes of this library, as in
    ``"course_lib.convolution.output_size"``. The first call ends the body.
    """
    seen: list[str] = []
    names = frozenset().union(*(FAMILIES.get(name, ()) for name in banned))
    ours = frozenset(name for name in banned if name.startswith("course_lib."))
    try:
        with ExitStack() as stack:
            if names:
                stack.enter_context(_Functions(names, seen))
                stack.enter_context(_Operators(names, seen))
            if ours:
                stack.enter_context(_profiled(ours, seen))
            yield seen
    except Forbidden:
        return


def _see(name: str, seen: list[str]) -> None:
    seen.append(name)
    raise Forbidden(name)


class _Functions(TorchFunctionMode):
    """It sees the functions of PyTorch's that Python calls."""

    def __init__(self, names: frozenset[str], seen: list[str]) -> None:
        super().__init__()
        self.names = names
        self.seen = seen

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = str(getattr(func, "__name__", "")).partition(".")[0]
        if name in self.names:
            home = "F" if callable(getattr(F, name, None)) else "torch"
            if name in FAMILIES["autograd"]:
                home = "torch.autograd"
            _see(f"{home}.{name}", self.seen)
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    """It sees the operators that they end in, also those of scripts."""

    def __init__(self, names: frozenset[str], seen: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = names
        self.seen = seen

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func.overloadpacket.__name__ in self.names:
            _see(f"torch.ops.aten.{func.overloadpacket.__name__}", self.seen)
        return func(*args, **(kwargs or {}))


@contextmanager
def _profiled(names: frozenset[str], seen: list[str]) -> Iterator[None]:
    """Watch the calls of functions and classes of this library."""
    runs = {name: name for name in names} | {f"{name}.__init__": name for name in names}
    last = {name.rpartition(".")[2] for name in runs}

    # While it runs, nothing else looks: neither does coverage.
    def look(frame: FrameType, event: str, _: object) -> None:  # pragma: no cover
        code = frame.f_code
        if event == "call" and code.co_name in last:
            called = f"{frame.f_globals.get('__name__')}.{code.co_qualname}"
            if called in runs:
                _see(runs[called], seen)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
