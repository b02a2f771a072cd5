"""A module as a program of operations: what the tracer has recorded, written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from torch import Tensor, nn

from course_lib.lab.weights import packed, quantize
from course_lib.tracing import (
    ModuleCall,
    Operation,
    Trace,
    TracingError,
    View,
    inputs_of_size,
    refusal,
    trace,
)

#: A program, or an operation of it, as it is written down in JSON.
Json = dict[str, Any]

#: How many images are traced: of another number than one, so that the batch is known.
BATCH = 2


def program(net: nn.Module, input_size: tuple[int, int, int]) -> Json:
    """The operations of `net` for one image of `input_size` (C, H, W), each with the
    numbers of those that it reads (-1 is the image), and their weights as texts: those
    of 32 bits, and those of 8.

    Raises: ValueError for anything but a module, for one in training mode, for one that
        cannot take such an image, and for what there is no operation for.
    """
    if not isinstance(net, nn.Module):
        raise ValueError(f"only modules can be exported, got {net!r}")
    training = [path for path, each in net.named_modules() if each.training]
    if training:
        where = f" ({training[0]})" if training[0] else ""
        raise ValueError(
            f"{type(net).__name__} is in training mode{where}, in which it does"
            " something else than in use; call net.eval() first"
        )
    inputs = inputs_of_size(net, input_size)
    try:
        record = trace(net, inputs, BATCH)
    except TracingError as error:
        raise refusal(net, inputs, error) from error
    writer = _Writer(net, record)
    writer.module(record.root)
    return {
        "input": list(input_size),
        "ops": writer.until(record.root),
        **packed(writer.floats, bytes(writer.whole)),
    }


@dataclass
class _Writer:
    """Writes down the operations of a record, in the order in which they ran."""

    #: The network.
    net: nn.Module
    #: What it did.
    record: Trace
    #: The operations so far.
    ops: list[Json] = field(default_factory=list)
    #: Weights of 32 bits so far.
    floats: list[float] = field(default_factory=list)
    #: Weights of 8 bits so far.
    whole: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        parameters, buffers = self.net.named_parameters(), self.net.named_buffers()
        self.tensors: dict[str, Tensor] = {**dict(parameters), **dict(buffers)}
        #: Memory -> the operation that wrote it last.
        self.made = dict.fromkeys(self.record.inputs, -1)

    def until(self, root: ModuleCall) -> list[Json]:
        """The operations up to the one that makes what the network returns."""
        if len(root.made) != 1:
            raise self.refused(root, f"{len(root.made)} outputs")
        view = root.made[0].view
        last = self.read(view, root)
        if last < 0 or len(view.shape) != 2:
            what = f"an output of shape {view.shape[1:]}, which is no list of logits"
            raise self.refused(root, what)
        return self.ops[: last + 1]

    def module(self, call: ModuleCall) -> None:
        """What a module did."""
        if type(call.module) is nn.LocalResponseNorm:
            numbers = {
                name: getattr(call.module, name)
                for name in ("size", "alpha", "beta", "k")
            }
            self.add(call, "lrn", [call.given[0].view], call.made[0].view, numbers)
            return
        for event in call.events:
            if isinstance(event, ModuleCall):
                self.module(event)
            else:
                assert isinstance(event, Operation)  # functions are not recorded
                self.operation(call, event)

    def operation(self, call: ModuleCall, done: Operation) -> None:
        """What PyTorch did for a module; what only names a tensor anew is nothing."""
        name = done.func.overloadpacket.__name__
        if name in VIEWS:
            self.view(call, done, name)
        elif name in WRITE:
            WRITE[name](self, call, done)
        elif done.given:  # not what is only made room for
            raise self.refused(call, name)

    def view(self, call: ModuleCall, done: Operation, name: str) -> None:
        """A tensor is shown with another shape: flattened, or with and without its
        dimensions of size 1.
        """
        before, after = done.given[0], done.made[0]
        if before.storage not in self.made:  # of a weight, or of a constant
            return
        sizes = [[n for n in view.shape[1:] if n > 1] for view in (before, after)]
        flat = len(after.shape) == 2 and after.shape[1] == prod(before.shape[1:])
        batch = before.shape[:1] == after.shape[:1] == (BATCH,)
        if name == "t" or not (batch and (flat or sizes[0] == sizes[1])):
            raise self.refused(call, name)

    def add(
        self,
        call: ModuleCall,
        kind: str,
        given: Sequence[View],
        made: View,
        numbers: Json,
    ) -> None:
        """One operation of the program."""
        if made.shape[:1] != (BATCH,):
            raise self.refused(call, f"{kind} of a tensor without a batch")
        self.ops.append(
            {
                "kind": kind,
                "path": call.path,
                "inputs": [self.read(view, call) for view in given],
                "shape": list(made.shape[1:]),
                **numbers,
            }
        )
        self.made[made.storage] = len(self.ops) - 1

    def read(self, view: View, call: ModuleCall) -> int:
        """The operation that made a tensor."""
        if view.storage not in self.made:
            raise self.refused(call, "a tensor that does not come from the image")
        return self.made[view.storage]

    def weights(self, call: ModuleCall, weight: View, bias: View | None) -> Json:
        """The weight of a layer, of 8 bits: where it begins, how many numbers each
        output has, and where their factors and biases are.
        """
        whole, factors = quantize(self.tensor(weight, call).float())
        place = {
            "weight": len(self.whole),
            "size": whole[0].numel(),
            "factors": self.numbers(factors),
            "bias": self.numbers(self.tensor(bias, call)) if bias else -1,
        }
        self.whole += whole.cpu().contiguous().numpy().tobytes()
        return place

    def numbers(self, values: Tensor) -> int:
        """Where numbers of 32 bits begin."""
        self.floats += values.detach().flatten().tolist()
        return len(self.floats) - values.numel()

    def tensor(self, view: View, call: ModuleCall) -> Tensor:
        """A parameter or buffer of the network."""
        name = self.record.names.get(view.storage, "")
        if name not in self.tensors or view.offset:
            raise self.refused(call, "a weight that is computed")
        return self.tensors[name]

    def refused(self, call: ModuleCall, what: str) -> ValueError:
        """What to say of something that the page cannot do, and where it is."""
        where = call.path or "the network itself"
        return ValueError(
            f"the page cannot run {call.kind} ({where}): it has no operation for"
            f" {what}; it has {', '.join(KINDS)}"
        )


def _convolution(writer: _Writer, call: ModuleCall, done: Operation) -> None:
    x, weight, bias, stride, padding, dilation, transposed, _, groups = done.args
    odd = groups > 1 or transposed or {*dilation} != {1} or len(weight.shape) != 4
    if odd:
        what = "a convolution with groups or dilation, transposed, or not of images"
        raise writer.refused(call, what)
    kernel = list(weight.shape[2:])
    numbers = {"kernel": kernel, "stride": [*stride], "padding": [*padding]}
    numbers |= writer.weights(call, weight, bias)
    writer.add(call, "conv", [x], done.made[0], numbers)


def _full(writer: _Writer, call: ModuleCall, done: Operation) -> None:
    """``addmm`` of bias, inputs and weight, or ``mm`` without bias."""
    bias, x, weight = done.args if len(done.args) == 3 else (None, *done.args)
    numbers = writer.weights(call, weight, bias)
    writer.add(call, "full", [x], done.made[0], numbers)


def _batch_norm(writer: _Writer, call: ModuleCall, done: Operation) -> None:
    """Batch normalization in use: a factor and an offset for each channel."""
    x, weight, bias, mean, variance, training, _, eps = done.args
    if training or mean is None:
        raise writer.refused(call, "the statistics of a batch")
    center, spread = (writer.tensor(each, call).double() for each in (mean, variance))
    factor = (spread + eps).rsqrt()
    if weight:
        factor = factor * writer.tensor(weight, call)
    offset = -center * factor
    if bias:
        offset = offset + writer.tensor(bias, call)
    numbers = {"factor": writer.numbers(factor), "offset": writer.numbers(offset)}
    writer.add(call, "norm", [x], done.made[0], numbers)


def _pool(writer: _Writer, call: ModuleCall, done: Operation) -> None:
    """Arguments at the end are missing if they are what they are by default."""
    kind = "max" if "max" in done.func.overloadpacket.__name__ else "avg"
    x, kernel, *more = done.args
    stride, padding, *rest = [*more, None, None][: max(len(more), 2)]
    numbers: Json = {"kernel": [*kernel], "stride": [*(stride or kernel)]}
    numbers["padding"] = [*(padding or (0, 0))]
    if kind == "max" and rest and {*rest[0]} != {1}:
        raise writer.refused(call, "pooling with dilation")
    if kind == "avg" and len(rest) > 2 and rest[2] is not None:
        raise writer.refused(call, "pooling with a divisor of its own")
    if kind == "avg":  # whether zeros of the padding count
        numbers["include"] = rest[1] if len(rest) > 1 else True
    writer.add(call, kind, [x], done.made[0], numbers)


def _mean(writer: _Writer, call: ModuleCall, done: Operation) -> None:
    x, dims = done.args[:2]
    if len(x.shape) != 4 or {dim % 4 for dim in dims or ()} != {2, 3}:
        raise writer.refused(call, "a mean over other dimensions than all positions")
    writer.add(call, "mean", [x], done.made[0], {})


def _relu(writer: _Writer, call: ModuleCall, done: Operation) -> None:
    writer.add(call, "relu", done.given, done.made[0], {})


def _add(writer: _Writer, call: ModuleCall, done: Operation) -> None:
    if len(done.given) != 2 or len({view.shape for view in done.given}) != 1:
        raise writer.refused(call, "a sum of anything but two tensors of one shape")
    writer.add(call, "add", done.given, done.made[0], {})


def _cat(writer: _Writer, call: ModuleCall, done: Operation) -> None:
    dims = len(done.made[0].shape)
    if len(done.args) < 2 or done.args[1] % dims != 1:
        raise writer.refused(call, "concatenation of anything but channels")
    writer.add(call, "cat", done.given, done.made[0], {})


#: Operations that show a tensor with another shape.
VIEWS = (
    *("view", "_unsafe_view", "reshape", "flatten", "unsqueeze", "squeeze"),
    *("t", "detach", "alias"),
)

#: PyTorch's operations -> how each is written down.
WRITE: dict[str, Callable[[_Writer, ModuleCall, Operation], None]] = {
    "convolution": _convolution,
    "addmm": _full,
    "mm": _full,
    "native_batch_norm": _batch_norm,
    "max_pool2d_with_indices": _pool,
    "avg_pool2d": _pool,
    "mean": _mean,
    "relu": _relu,
    "relu_": _relu,
    "add": _add,
    "add_": _add,
    "cat": _cat,
}

#: What the page can do, in words.
KINDS = (
    "convolution",
    "fully connected layers",
    "batch and local response normalization",
    "ReLU",
    "max and average pooling",
    "the mean over all positions",
    "sums of two tensors",
    "concatenation",
)
