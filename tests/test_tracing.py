"""Running a module without leaving a trace in it, against what it was before and
against real runs.
"""

import copy
import functools
import gc
import random
import sys
import threading
import warnings
import weakref
from collections import defaultdict, deque
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations, parametrize
from torch.utils.flop_counter import FlopCounterMode

from course_lib import draw, draw_side_by_side, summarize
from course_lib.blocks import run_on_meta
from course_lib.tracing import (
    ModuleCall,
    Operation,
    TracingError,
    inputs_of_data,
    inputs_of_size,
    trace,
)
from course_lib.tracing.ghost import META, DataDependentError, Ghost
from course_lib.tracing.isolation import isolated
from course_lib.tracing.macs import multiplies
from course_lib.tracing.record import tensors_of
from course_lib.tracing.replica import replica
from course_lib.tracing.shapes import without_batch

# -- nothing of a module differs afterwards


def tied():
    shared = nn.Linear(8, 8)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), shared, nn.ReLU(), shared)


class Cached(nn.Module):
    """Keeps a grid, a counter, and what it has seen."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.grid, self.calls, self.seen = None, 0, []
        self.by_size = {}

    def forward(self, x):
        if self.grid is None or self.grid.shape[-1] != x.shape[-1]:
            self.grid = torch.linspace(0, 1, x.shape[-1], device=x.device)
        self.calls += 1
        self.seen.append(x)
        self.by_size[tuple(x.shape)] = x * 2
        return self.layer(x) + self.grid


class Rotary(nn.Module):
    """Registers a buffer in its forward pass, and writes to another."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("table", None)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.table = torch.arange(4.0, device=x.device).cos()
        self.count += 1
        self.layer.note = self.count
        return self.layer(x) * self.table


class Grower(nn.Module):
    """Makes a layer in its forward pass, and sets the mode of another."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        if not hasattr(self, "late"):
            self.late = nn.Linear(4, 4).to(x.device)
        self.norm.eval()
        self.register_forward_hook(lambda *_: None)
        return self.late(self.norm(x))


class Extractor(nn.Module):
    """Hooks that refer to the module, to lists and to other functions."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.features, kept = {}, []

        def keep(_module, _args, output, name="relu", *, times=kept):
            self.features[name] = output
            times.append(output)

        self.handle = self.body[1].register_forward_hook(keep)
        self.body[0].register_forward_hook(self.note)
        self.body[0].register_forward_pre_hook(functools.partial(self.note, extra=1))
        self.kept = kept

    def note(self, module, _args, _output=None, extra=0):
        self.features[module, extra] = self

    def forward(self, x):
        return self.body(x)


class Holder:
    """Holds a module, a tensor and a closure, as a plain object."""

    def __init__(self, net):
        self.net, self.last, self.shift = net, torch.ones(4), torch.ones(4) * 2
        self.deep = deque([defaultdict(list), {1, 2}, (net, None)])


class Other(nn.Module):
    """Holds what cannot be copied, a generator, and a module that is no part of it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.lock, self.random = threading.Lock(), torch.Generator()
        self.holder, self.spare = Holder(self), [nn.Linear(4, 4)]
        self.weight = self.layer.weight * 2  # no leaf, which deepcopy refuses
        self.numbers = np.arange(3)

    def forward(self, x):
        with self.lock:
            self.holder.last = x
            self.holder.deep.append(x)
            self.holder.deep[0]["a"].append(x)
            noise = torch.rand(4, generator=self.random)
            random.random()
            np.random.rand()
            self.numbers += 1
            return self.spare[0](self.holder.net.layer(x)) + noise + self.holder.shift


class MomentumPair(nn.Module):
    """Writes to the weights of one layer in the forward pass, as MoCo does."""

    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            self.key.weight.mul_(0.9).add_(self.query.weight, alpha=0.1)
        return self.query(x) + self.key(x)


def weight_normed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)))


class Child(nn.Module):
    """Knows the module that it is in, weakly, and another, which is not in it."""

    def __init__(self, parent):
        super().__init__()
        self.parent, self.layer = weakref.ref(parent), nn.Linear(4, 4)
        object.__setattr__(self, "proxy", weakref.proxy(self.layer))
        self.gone = weakref.ref(nn.ReLU())

    def forward(self, x):
        self.parent().seen = x
        self.proxy.seen = x
        return self.layer(x)


def with_parent():
    net = nn.Sequential()
    net.append(Child(net))
    return net


def frozen():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
    net[0].weight.requires_grad_(False)
    net[1].eval()
    return net


MODULES = {
    "tied": tied,
    "cached": Cached,
    "rotary": Rotary,
    "grower": Grower,
    "extractor": Extractor,
    "other": Other,
    "parent": with_parent,
    "momentum": MomentumPair,
    "frozen": frozen,
    "weight norm": weight_normed,
    "parametrized": lambda: nn.Sequential(
        parametrizations.weight_norm(nn.Linear(4, 4))
    ),
    "spectral norm": lambda: nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(4, 4))
    ),
    "compiled": lambda: nn.Sequential(
        torch.compile(nn.Linear(4, 4), backend="eager"), nn.ReLU()
    ),
    "parallel": lambda: nn.Sequential(nn.DataParallel(nn.Linear(4, 4))),
    "lazy": lambda: nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d()),
    "tied in another way": lambda: tie(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))),
}


def tie(net):
    net[1].weight = net[0].weight
    return net


def everything(value, seen=None):
    """All that can be reached from a module, with the identity and the version of each
    tensor and the state of each generator.
    """
    seen = {} if seen is None else seen
    if id(value) in seen or isinstance(value, str | int | float | bool | type(None)):
        return repr(value) if id(value) not in seen else seen[id(value)][0]
    number = len(seen)
    seen[id(value)] = number, value  # or another might get the same address
    if isinstance(value, torch.Tensor):
        lazy = nn.parameter.is_lazy(value)
        numbers = None if lazy else value.detach().clone().tolist()
        return (id(value), value._version, value.device, value.requires_grad, numbers)
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return [
            (everything(key, seen), everything(item, seen))
            for key, item in value.items()
        ]
    if isinstance(value, list | tuple | deque):
        return [everything(item, seen) for item in value]
    cells = getattr(value, "__closure__", None) or ()
    return [
        number,
        type(value),
        everything(getattr(value, "__dict__", {}), seen),
        [everything(cell.cell_contents, seen) for cell in cells],
        everything(getattr(value, "__self__", None), seen),
    ]


def refused(net):
    with pytest.raises(ValueError, match="cannot take an input of size 5 x 3"):
        summarize(net, (5, 3))


LOOKS = {
    "summarize": lambda net: summarize(net, (4,)),
    "summarize, by data": lambda net: summarize(net, torch.ones(4)),
    "draw": lambda net: draw(net, (4,)),
    "draw, by data": lambda net: draw(net, torch.ones(4)),
    "side by side": lambda net: draw_side_by_side({"a": net}, (4,)),
    "refused": lambda net: refused(net),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", MODULES)
def test_nothing_of_a_module_differs_afterwards(name, look):
    torch.manual_seed(0)
    net = MODULES[name]()
    before = everything(net)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    if not (look == "refused" and name in ("lazy", "rotary", "cached")):
        LOOKS[look](net)
    assert everything(net) == before
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]
    assert not nn.modules.module._global_forward_hooks
    assert torch.backends.mha.get_fastpath_enabled()
    if name != "parallel":
        assert net(torch.zeros(2, 4)).shape[0] == 2


def test_gradients_stay():
    net = frozen()
    net(torch.rand(3, 4)).sum().backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    summarize(net, (4,))
    draw(net, (4,))
    assert {name: p.grad for name, p in net.named_parameters()} == gradients


def test_the_meta_runs_of_the_course_leave_tied_weights():
    net = tied()
    run_on_meta(net, (2, 4))
    assert {p.device.type for p in net.parameters()} == {"cpu"}
    assert net(torch.zeros(1, 4)).shape == (1, 8)


def test_whatever_happens_inside():
    class Interrupted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.kept = nn.Linear(4, 4), None

        def forward(self, x):
            self.kept = x
            self.layer.eval()
            raise KeyboardInterrupt

    net = Interrupted()
    before = everything(net)
    for look in (summarize, draw):
        with pytest.raises(KeyboardInterrupt):
            look(net, (4,))
    assert everything(net) == before
    assert torch.is_grad_enabled()


def test_no_numbers_are_copied():
    net = nn.Sequential(nn.Linear(4, 4), tied())
    copied = replica(net)
    assert all(isinstance(t, Ghost) and t.meta.is_meta for t in copied.parameters())
    assert copied[1][2] is copied[1][4]
    assert [n for n, _ in copied.named_parameters()] == [
        n for n, _ in net.named_parameters()
    ]


def test_a_closure_without_contents_and_functions_that_know_each_other():
    def cycle():
        return later

    net = nn.Linear(4, 4)
    net.function = cycle
    assert replica(net).function is not cycle  # `later` is not there yet
    later = net
    copied = replica(net)
    assert copied.function() is copied


SEEN: list[torch.Tensor] = []
BY_NAME: dict[str, torch.Tensor] = {}
COUNT = 0


def note_by_name(module, _args, output):
    BY_NAME[type(module).__name__] = output
    [SEEN.append(each) for each in (output,)]  # code in its code


def count(*_):
    global COUNT
    COUNT += 1


@pytest.mark.parametrize("look", [summarize, draw])
def test_what_a_hook_keeps_at_the_level_of_its_module_stays(look):
    """A list or a dictionary beside the network, as in every notebook."""
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    net[0].register_forward_hook(count)
    net[0].register_forward_hook(note_by_name)
    net[1].register_forward_hook(note_by_name)
    net(torch.rand(2, 4))
    before, seen, number = dict(BY_NAME), list(SEEN), COUNT
    look(net, (4,))
    assert BY_NAME.keys() == before.keys()
    assert all(BY_NAME[name] is before[name] for name in before)
    assert list(map(id, SEEN)) == list(map(id, seen))
    assert number == COUNT
    net(torch.rand(2, 4))
    assert (len(SEEN), COUNT) == (len(seen) + 2, number + 1)


class Registry:
    """What is kept of all networks."""

    def __init__(self):
        self.last, self.seen = None, []


REGISTRY = Registry()


def remember(x):
    BY_NAME["remembered"] = REGISTRY.last = x
    return remember_again(x)


def remember_again(x):
    SEEN.append(x)
    return x if len(SEEN) > 3 else remember(x)


class Remembers(nn.Module):
    def forward(self, x):
        return remember(x)


def remembers_by_hook():
    net = nn.Sequential(nn.Linear(4, 4))
    net[0].register_forward_hook(lambda _module, _args, output: remember(output))
    return net


@pytest.mark.parametrize("look", [summarize, draw])
@pytest.mark.parametrize("build", [Remembers, remembers_by_hook])
def test_what_a_function_of_theirs_keeps_stays(build, look):
    SEEN.clear()
    BY_NAME.pop("remembered", None)
    look(build(), (4,))
    assert (len(SEEN), REGISTRY.last) == (0, None)
    assert "remembered" not in BY_NAME


def test_a_module_that_looks_at_itself():
    """Which is not counted, as it is none of its own operations."""
    net = nn.Sequential(nn.Linear(4, 4))
    net.forward = lambda x: (summarize(net[0], (4,)), net[0](x))[1]
    assert summarize(net, (4,)).macs == 16


def test_hooks_and_modes_around_it_see_nothing():
    net, seen = nn.Linear(4, 4), []
    hook = register_module_forward_hook(lambda *values: seen.append(values))
    try:
        with FlopCounterMode(display=False) as counter:
            assert summarize(net, (4,)).macs == 16
        assert (len(seen), counter.get_total_flops()) == (0, 0)
        net(torch.rand(1, 4))
        assert len(seen) == 1
    finally:
        hook.remove()


ROTATIONS: dict[str, torch.Tensor] = {}
LAST = None


class Rotary(nn.Module):
    """Keeps what it computes for all of its kind, in its class and beside it."""

    shared: dict[str, torch.Tensor] = {}  # noqa: RUF012
    seen: list[torch.Tensor] = []  # noqa: RUF012
    waiting: deque[torch.Tensor] = deque()  # noqa: RUF012
    calls = 0

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        global LAST
        LAST = x
        for cache in (ROTATIONS, self.shared):
            if not cache:
                cache["angle"] = self.layer(x).mean(0, keepdim=True)
        self.seen.append(x)
        self.waiting.append(x)
        type(self).calls += 1
        Rotary.latest = x
        return self.layer(x) + ROTATIONS["angle"] + self.shared["angle"]


@pytest.mark.parametrize("look", [summarize, draw])
def test_what_a_class_keeps_for_all_modules_stays(look):
    """Or a ghost in it would be in whatever they compute afterwards."""
    net = nn.Sequential(Rotary(), Rotary())
    summary = look(net, (4,))
    assert [ROTATIONS, Rotary.shared, Rotary.seen, [*Rotary.waiting]] == [
        {},
        {},
        [],
        [],
    ]
    assert (Rotary.calls, LAST, hasattr(Rotary, "latest")) == (0, None, False)
    if look is summarize:  # as by the first image of all, in each run
        assert summary.macs == (1 + 2 + 1) * 16


class Slots(nn.Module):
    """Has an attribute that is not in its dictionary, and one that it never sets."""

    __slots__ = ("never", "seen")

    def __init__(self):
        super().__init__()
        self.layer, self.seen = nn.Linear(4, 4), []

    def forward(self, x):
        self.seen.append(x)
        return self.layer(x)


def test_attributes_in_slots():
    net = nn.Sequential(Slots())
    assert summarize(net, (4,)).macs == 16
    assert net[0].seen == []


@pytest.mark.parametrize("look", [summarize, draw])
def test_what_is_nested_too_deeply(look):
    net = nn.Linear(4, 4)
    for _ in range(400):
        net = nn.Sequential(net)
    with pytest.raises(ValueError, match="Sequential is nested too deeply"):
        look(net, (4,))


# -- ghosts


def test_ghosts_behave_as_on_a_processor():
    x = Ghost.of(torch.empty(2, 3, device=META))
    assert (x.device.type, x.shape, repr(x)) == (
        "cpu",
        (2, 3),
        "Ghost(shape=(2, 3), dtype=torch.float32)",
    )
    assert (x @ x.mT).shape == (2, 2)
    assert x.to("meta").device.type == "cpu"
    assert x.unsqueeze_(1).shape == x.meta.shape == (2, 1, 3)
    for values in (x.tolist, x.numpy, x.item):
        with pytest.raises((DataDependentError, RuntimeError)):
            values()


def test_values_that_are_written_to_are_lost():
    class Net(nn.Module):
        def forward(self, x):
            y = torch.zeros(3)
            y.copy_(x[0])
            return y * 2 if y.sum() > 0 else y

    with pytest.raises(ValueError, match="Net calls item"):
        summarize(Net(), (3,))
    assert summarize(Net(), torch.ones(3)).stages[0].shape == (3,)


def strides(traced):
    return [view.stride for op in operations(traced) for view in op.made]


@pytest.mark.parametrize("size", [(4, 3, 3), (4, 2, 7), (4, 6, 5), (4, 2, 5, 5)])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_convolutions_lay_their_results_out_as_on_a_processor(size, kernel):
    """Channels last, where the image or the weights are, and so all that follows."""
    kinds = {3: (nn.Conv2d, nn.ConvTranspose2d), 4: (nn.Conv3d, nn.ConvTranspose3d)}
    conv, transposed = kinds[len(size)]
    last = {3: torch.channels_last, 4: torch.channels_last_3d}[len(size)]
    net = nn.Sequential(
        conv(4, 8, kernel, padding=1), nn.ReLU(), transposed(8, 4, kernel)
    )
    data = torch.rand(2, *size)
    for net_, x in ((net, data), (net, data.to(memory_format=last))):
        ghosts, real = (trace(net_, inputs_of_data(x), 2, values=v) for v in (0, 1))
        assert strides(ghosts) == strides(real)
    in_last = nn.Sequential(nn.Flatten(0, 0), net.to(memory_format=last))
    ghosts, real = (trace(in_last, inputs_of_data(data), 2, values=v) for v in (0, 1))
    assert strides(ghosts) == strides(real)


def operations(traced):
    return [
        event
        for call in traced.calls()
        for event in call.events
        if isinstance(event, Operation)
    ]


def test_kernels_are_those_of_a_processor():
    class Net(nn.Module):
        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return F.scaled_dot_product_attention(x, x, x) @ x.mT

    net, inputs = Net(), inputs_of_size(Net(), (4, 16))
    ghosts, real = (
        trace(net, inputs, 2),
        trace(net, inputs_of_data(torch.rand(2, 4, 16)), 2, values=True),
    )
    names = [[str(op.func) for op in operations(t)] for t in (ghosts, real)]
    assert names[0] == names[1]
    assert any("flash_attention_for_cpu" in name for name in names[0])
    shapes = [
        [v.shape for op in operations(t) for v in op.made] for t in (ghosts, real)
    ]
    assert shapes[0] == shapes[1]
    assert [op.macs for op in operations(ghosts)] == [
        op.macs for op in operations(real)
    ]


def test_a_recurrent_layer_that_is_too_large_to_be_tried():
    net = nn.LSTM(2000, 2000, device="meta", batch_first=True)
    with pytest.raises(ValueError, match="LSTM calls mkldnn_rnn_layer"):
        summarize(net, (2000, 2000))


# -- what is found in values


@dataclass
class Pair:
    one: torch.Tensor
    other: object


class Slotted:
    __slots__ = ("tensor", "unset")

    def __init__(self, tensor):
        self.tensor = tensor


def test_tensors_in_whatever_a_module_returns():
    a, b, c, d, e, f = (torch.zeros(n) for n in range(6))
    holder = Holder(None)
    holder.__dict__ = {"x": f, "self": holder}
    values = {"a": a, "b": [Pair(b, (c,)), Slotted(d)], "e": {e}, "f": holder, "g": "x"}
    assert [len(t) for t in tensors_of(values)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("one", "two", "four", "expected"),
    [
        ((1, 3, 8), (2, 3, 8), (4, 3, 8), (3, 8)),
        ((3, 1, 8), (3, 2, 8), (3, 4, 8), (3, 8)),
        ((3, 8), (6, 8), (12, 8), (3, 8)),  # in one dimension with another
        ((6, 8), (7, 8), (9, 8), (6, 8)),  # joined to a queue of five
        ((3, 8), (3, 8), (3, 8), (3, 8)),
        ((1, 8), (1, 8), (1, 8), (1, 8)),
        ((1, 8), None, None, (8,)),
        ((3, 8), None, None, (3, 8)),
        (None, (2, 8), None, (8,)),
        ((1, 5), (2, 8), (4, 8), (5,)),  # training returns something else
        (None, None, None, ()),
    ],
)
def test_shapes_without_the_batch(one, two, four, expected):
    assert without_batch(one, two, four) == expected


def test_images_one_at_a_time():
    assert without_batch((1, 8), (1, 8), (1, 8), alone=True) == (8,)


# -- errors in the words of the module, and where


class WordlessError(Exception):
    def __str__(self):
        raise TypeError("not even that")


class Fails(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AssertionError("224 pixels, please"), "AssertionError: 224 pixels, please"),
        (KeyError("b"), "KeyError: 'b'"),
        (AssertionError(), "AssertionError"),
        (RuntimeError("mat1 and mat2"), "mat1 and mat2"),
        (AttributeError("no x"), "AttributeError: no x"),
        (NotImplementedError("later"), "later"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (WordlessError(), "WordlessError"),
    ],
)
@pytest.mark.parametrize("look", [summarize, draw])
def test_errors_of_modules(error, words, look):
    net = nn.Sequential(nn.ReLU(), nn.Sequential(Fails(error)))
    with pytest.raises(
        ValueError, match=r"cannot take an input of size 3 x 8: "
    ) as info:
        look(net, (3, 8))
    assert str(info.value).endswith(f"size 3 x 8: in 1.0 (Fails): {words}")
    assert repr(info.value.__cause__.__cause__) == repr(error)


def test_an_error_that_a_module_catches():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.risky, self.safe = Fails(RuntimeError("no")), nn.Linear(4, 2)

        def forward(self, x):
            try:
                return self.risky(x)
            except RuntimeError:
                return self.safe(x)

    assert summarize(Careful(), (4,))["safe"].macs == 8
    try:
        raise OSError  # around it all
    except OSError:
        assert summarize(Careful(), (4,)).macs == 8


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Linear(4, 2))


def jit_traced():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(nn.Linear(4, 2), torch.zeros(1, 4))


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(
            nn.Sequential(nn.Linear(4, 2)), {nn.Linear}
        )


@pytest.mark.parametrize("look", [summarize, draw])
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (scripted, "is a module of TorchScript"),
        (jit_traced, "is a module of TorchScript"),
        (lambda: nn.Sequential(nn.ReLU(), scripted()), "1 is a module of TorchScript"),
        (quantized, "0 is quantized"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(build, words, look):
    with pytest.raises(ValueError, match=words):
        look(build(), (4,))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: torch.compile(net, backend="eager"),
        nn.DataParallel,
        lambda net: nn.DataParallel(torch.compile(net, backend="eager")),
    ],
)
def test_what_is_wrapped_is_unwrapped(wrap):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    wrapped = wrap(net)
    assert summarize(wrapped, (3, 8, 8)) == summarize(net, (3, 8, 8))
    assert draw(wrapped, (3, 8, 8)) == draw(net, (3, 8, 8))


def test_a_compiled_function_and_a_module_that_was_compiled_in_place():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)
            self.layer.compile(backend="eager")

        @torch.compile(backend="eager")
        def forward(self, x):
            return self.layer(x)

    assert summarize(Net(), (4,))["layer"].macs == 8


def test_lazy_layers_are_counted_as_they_will_be():
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    there = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    one, other = summarize(net, (3, 8, 8)), summarize(there, (3, 8, 8))
    assert (one.macs, one.parameters) == (other.macs, other.parameters)
    assert one.saved_bytes == other.saved_bytes
    assert isinstance(net[0], nn.LazyConv2d)


# -- inputs


@pytest.mark.parametrize(
    ("size", "shapes"),
    [
        ((3, 8), ((3, 8),)),
        ([np.int64(3), torch.Size([8])[0]], ((3, 8),)),
        (torch.Size([3]), ((3,),)),
        (((3, 8), (5,)), ((3, 8), (5,))),
    ],
)
def test_sizes(size, shapes):
    assert inputs_of_size(nn.Linear(3, 3), size).shapes == shapes


@pytest.mark.parametrize("size", [3, "38", (3, 0), ((3, 8), 5), ((3,), (0,)), (2.5,)])
def test_what_is_no_size(size):
    with pytest.raises(ValueError, match="input_size must be"):
        inputs_of_size(nn.ReLU(), size)


def test_types_of_inputs():
    half = inputs_of_size(nn.Linear(3, 3).half(), ((3,), (4,)))
    assert [t.dtype for t in half.ghosts(2)[0]] == [torch.half] * 2
    words = inputs_of_size(nn.Linear(3, 3), (3,), dtypes=[torch.long])
    assert words.ghosts(2)[0][0].dtype == torch.long
    with pytest.raises(ValueError, match="dtypes must be types of tensors, as many"):
        inputs_of_size(nn.Linear(3, 3), (3,), dtypes=[])


def test_data():
    x, mask = torch.rand(3, 5), torch.ones(5, 5)
    one, several, named = (
        inputs_of_data(x),
        inputs_of_data([x, mask, "mean"]),
        inputs_of_data({"x": x, "scale": torch.tensor(2.0)}),
    )
    assert one.size == (5,)
    assert several.size == ((5,), (5, 5))
    args, _ = several.ghosts(4)
    assert [args[0].shape, args[1].shape, args[2]] == [(4, 5), (5, 5), "mean"]
    _, kwargs = named.values(2)
    assert torch.equal(kwargs["x"], x[[0, 0]])
    assert kwargs["scale"] == 2
    for data in ("x", torch.tensor(1.0), [], torch.zeros(0, 3)):
        with pytest.raises(ValueError, match="input_data must be"):
            inputs_of_data(data)


# -- the record


def test_a_trace_is_public():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    traced = trace(net, inputs_of_size(net, (3, 8, 8)), 2, grad=True)
    assert [call.path for call in traced.calls()] == ["", "0", "1"]
    root = traced.root
    assert isinstance(root.events[0], ModuleCall)
    assert (root.kind, root.returned) == ("Sequential", True)
    assert root.made[0].shape == (2, 4, 6, 6)
    assert {*traced.names.values()} == {"0.weight", "0.bias"}
    sizes = sorted(saved.nbytes for saved in traced.saved.values())
    assert sizes == sorted([2 * 3 * 64 * 4, 4 * 27 * 4, 2 * 4 * 36 * 4])
    with pytest.raises(TracingError):
        trace(net, inputs_of_size(net, (4, 8, 8)))
    assert copy.deepcopy(net)(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 6, 6)
    assert parametrize.is_parametrized(net) is False


class KeepsMore(nn.Module):
    """It has a module that is none, and tensors in what it keeps for itself."""

    def __init__(self):
        super().__init__()
        self.kept = defaultdict(list)
        self.kept["scale"].append(torch.full((1,), 2.0))
        self.register_module("none", None)

    def forward(self, x):
        return x * self.kept["scale"][0] + torch.zeros(1, device=x.device)


def test_what_a_module_keeps_is_copied_and_left_alone():
    net = KeepsMore()
    assert summarize(net, (3, 4, 4)).stages[-1].shape == (3, 4, 4)
    assert net.kept["scale"][0].device.type == "cpu"
    assert net.kept.default_factory is list


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # once per process
def test_packed_numbers_are_refused():
    net = nn.Identity()
    weight = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    net.packed = torch.ops.quantized.linear_prepack(weight, None)
    with pytest.raises(ValueError, match="Identity is quantized"):
        summarize(net, (2,))


def test_operations_of_others_may_multiply():
    assert multiplies(torch.ops.prims.add.default)
    assert multiplies(torch.ops.aten.mm.default)
    assert not multiplies(torch.ops.aten.relu.default)


def test_without_a_compiler_there_is_nothing_to_follow(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    with isolated(nn.ReLU()):
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_that_nobody_collects_stays_uncollected():
    gc.disable()
    try:
        with isolated(nn.ReLU()):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_sizes_may_be_an_array_or_an_image():
    image = torch.rand(3, 4, 5)
    assert inputs_of_size(nn.ReLU(), np.array([3, 4, 5])).shapes == ((3, 4, 5),)
    assert inputs_of_size(nn.ReLU(), image).args[0].equal(image[None])


@pytest.mark.parametrize(
    ("size", "kernel"),
    [(3, (3,)), ((3, 5), (3, 5)), ([2, 2], (2, 2)), (None, ()), ("3x3", ()), (0.5, ())],
)
def test_what_others_call_a_kernel_size(size, kernel):
    layer = nn.ReLU()
    layer.kernel_size = size
    assert summarize(nn.Sequential(layer), (3, 4, 4)).layers[0].kernel == kernel
