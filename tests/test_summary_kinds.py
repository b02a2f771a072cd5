"""Modules of the kinds that people have: what is counted of each, or why it is not.

Parameters are compared with PyTorch's own, MACs with its counter on a real run.
"""

from __future__ import annotations

import copy
import random
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.distributions import Normal
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, rnn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import nms

from course_lib import summarize
from course_lib.tracing.ghost import DataDependentError

Forward = Callable[..., Any]


def module(forward: Forward, **parts: nn.Module | nn.Parameter | None) -> nn.Module:
    """A module of `parts` whose forward pass is `forward(module, ...)`."""
    net = type("Net", (nn.Module,), {"forward": forward})()
    for name, part in parts.items():
        setattr(net, name, part)
    return net


class Pair(NamedTuple):
    """What a module may return, or take."""

    first: Tensor
    second: Tensor


class Holder:
    """An object that holds a tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def chosen(net: Any, x: Tensor, layer: str) -> Tensor:
    return net.layers[layer](x)


def recurrent(net: Any, x: Tensor) -> Tensor:
    state = x.new_zeros(len(x), 2), x.new_zeros(len(x), 2)
    for _ in range(4):
        state = net.cell(x, state)
    return state[0]


def packed(net: Any, x: Tensor, lengths: Tensor) -> Tensor:
    steps = rnn.pack_padded_sequence(x, lengths, batch_first=True)
    return net.lstm(steps)[1][0]


def unpooled(net: Any, x: Tensor) -> Tensor:
    small, where = net.pool(net.conv(x))
    return net.unpool(small, where)


def with_none(net: Any, x: Tensor) -> Tensor:
    for layer in net.layers:
        x = x if layer is None else layer(x)
    return x


def in_inference_mode(net: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        x = net.body(x)
    return net.head(x.clone())


def in_bfloat16(net: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        x = net.body(x)
    return net.head(x.float())


def with_other_weights(net: Any, x: Tensor) -> Tensor:
    weights = {name: 2 * w for name, w in net.body.named_parameters()}
    return net.head(functional_call(net.body, weights, (x,)))


def body_and_head(forward: Forward) -> nn.Module:
    body = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh())
    return module(forward, body=body, head=nn.Linear(4, 3))


class Named(Tensor):
    """A class of tensors."""


def counting(forward: Forward) -> nn.Module:
    """With a buffer that counts its calls."""

    def counted(net: Any, x: Tensor) -> Tensor:
        y = forward(net, x)
        net.count += 1
        return y

    net = module(counted, fc=nn.Linear(3, 2))
    net.register_buffer("count", torch.zeros((), dtype=torch.long))
    return net


LAST = torch.channels_last


def over_positions(net: Any, x: Tensor) -> Tensor:
    """Attention, by a kernel that needs channels to lie side by side."""
    q, k, v = net.conv(x).flatten(2).mT.unflatten(2, (3, 2, 8)).unbind(2)
    return F.scaled_dot_product_attention(q.mT, k.mT, v.mT)


def tied() -> nn.Module:
    net = nn.Sequential(nn.Embedding(30, 4), nn.Linear(4, 30, bias=False))
    net[1].weight = net[0].weight
    return net


def one_in_two_places() -> nn.Module:
    linear = nn.Linear(6, 6)
    return module(
        lambda net, x: net.body(x),
        linear=linear,
        body=nn.Sequential(linear, nn.ReLU(), linear, nn.ReLU()),
    )


def one_activation_in_all_blocks() -> nn.Module:
    relu = nn.ReLU()
    return nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), relu) for _ in range(3)))


def pruned() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    for layer in (net[0], net[2]):
        prune.l1_unstructured(layer, "weight", 0.5)
    return net


def partly_frozen() -> nn.Module:
    net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Conv1d(2, 2, 1), nn.Conv1d(2, 1, 1))
    net[1].bias.requires_grad_(False)
    net[2].requires_grad_(False)
    return net


W = nn.Parameter

#: A module of each kind, and the values that it takes.
KINDS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "identity": (nn.Identity, torch.rand(2, 3)),
    "no batch norm": (lambda: nn.Linear(8, 6), torch.rand(4, 16, 8)),
    "groups": (lambda: nn.Conv2d(8, 12, 3, groups=4), torch.rand(3, 8, 9, 9)),
    "one layer, again": (
        lambda: module(lambda net, x: net.c(net.c(x)), c=nn.Conv2d(4, 4, 3, 1, 1)),
        torch.rand(1, 4, 9, 9),
    ),
    "a layer by two names": (one_in_two_places, torch.rand(2, 6)),
    "one activation in all blocks": (one_activation_in_all_blocks, torch.rand(2, 4)),
    "tied weights": (tied, torch.randint(0, 30, (2, 5))),
    "pruned": (pruned, torch.rand(2, 1, 6, 6)),
    "parametrized": (
        lambda: parametrizations.weight_norm(nn.Linear(5, 4)),
        torch.rand(2, 5),
    ),
    "partly frozen": (partly_frozen, torch.rand(2, 1, 7)),
    "only a parameter": (
        lambda: module(lambda net, x: net.w, w=W(torch.ones(4, 8))),
        torch.rand(2, 8),
    ),
    "parameters beside layers": (
        lambda: module(
            lambda net, x: net.fc(x @ net.a + net.b),
            a=W(torch.ones(8, 4)),
            b=W(torch.ones(4)),
            fc=nn.Linear(4, 3),
        ),
        torch.rand(2, 8),
    ),
    "a list of parameters": (
        lambda: module(
            lambda net, x: x @ net.ws[0] @ net.ws[1],
            ws=nn.ParameterList([torch.ones(3, 5), torch.ones(5, 2)]),
        ),
        torch.rand(2, 3),
    ),
    "a list with None": (
        lambda: module(
            with_none, layers=nn.ModuleList([nn.Linear(5, 5), None, nn.Linear(5, 2)])
        ),
        torch.rand(2, 5),
    ),
    "a layer chosen by name": (
        lambda: module(
            chosen, layers=nn.ModuleDict({"a": nn.Conv2d(2, 3, 3), "b": nn.ReLU()})
        ),
        {"x": torch.rand(1, 2, 5, 5), "layer": "a"},
    ),
    "a number as argument": (
        lambda: module(lambda net, x, times: net.fc(x) * times, fc=nn.Linear(3, 2)),
        [torch.rand(2, 3), 5],
    ),
    "a tensor without dimension": (
        lambda: module(lambda net, x, t: net.fc(x) * t, fc=nn.Linear(3, 2)),
        [torch.rand(2, 3), torch.rand([])],
    ),
    "two types": (
        lambda: module(
            lambda net, x, i: net.fc(x) + net.table(i),
            fc=nn.Linear(3, 4),
            table=nn.Embedding(9, 4),
        ),
        [torch.rand(2, 3), torch.randint(0, 9, (2,))],
    ),
    "one body for two inputs": (
        lambda: module(
            lambda net, x, y: (net.body(x) - net.body(y)).abs(),
            body=nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)),
        ),
        [torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)],
    ),
    "a dictionary as argument": (
        lambda: module(lambda net, x: net.fc(x["image"]), fc=nn.Linear(3, 2)),
        [{"image": torch.rand(2, 3), "name": "cat", "mask": None}],
    ),
    "a named tuple as argument": (
        lambda: module(
            lambda net, pair: net.fc(pair.first + pair.second), fc=nn.Linear(3, 2)
        ),
        [Pair(torch.rand(2, 3), torch.rand(2, 3))],
    ),
    "a dictionary comes out": (
        lambda: module(
            lambda net, x: OrderedDict(a=(y := net.one(x)), b=net.two(y)),
            one=nn.Linear(3, 4),
            two=nn.Linear(4, 2),
        ),
        torch.rand(2, 3),
    ),
    "objects come out": (
        lambda: module(
            lambda net, x: {"out": ({"in": [Holder(net.fc(x))]},)}, fc=nn.Linear(3, 2)
        ),
        torch.rand(2, 3),
    ),
    "a distribution comes out": (
        lambda: module(
            lambda net, x: Normal(net.mean(x), F.softplus(net.spread(x))),
            mean=nn.Linear(3, 2),
            spread=nn.Linear(3, 2),
        ),
        torch.rand(2, 3),
    ),
    "indices of a pooling": (
        lambda: module(
            unpooled,
            conv=nn.Conv2d(1, 2, 3, padding=1),
            pool=nn.MaxPool2d(2, return_indices=True),
            unpool=nn.MaxUnpool2d(2),
        ),
        torch.rand(1, 1, 8, 8),
    ),
    "a cell in a loop": (
        lambda: module(recurrent, cell=nn.LSTMCell(3, 2)),
        torch.rand(2, 3),
    ),
    "a recurrent layer": (
        lambda: module(
            lambda net, i: net.out(net.lstm(net.table(i))[0]),
            table=nn.Embedding(9, 4),
            lstm=nn.LSTM(4, 5, num_layers=2, batch_first=True),
            out=nn.Linear(5, 9),
        ),
        torch.randint(0, 9, (2, 6)),
    ),
    "a kernel size that is a tensor": (
        lambda: module(
            lambda net, x: net.conv(x)[..., : int(net.k)],
            conv=nn.Conv1d(1, 1, 3, padding=1),
            k=torch.tensor(3),
        ),
        torch.rand(1, 1, 16),
    ),
    "checkpointed": (
        lambda: body_and_head(
            lambda net, x: net.head(checkpoint(net.body, x, use_reentrant=False))
        ),
        torch.rand(2, 6),
    ),
    "a part in inference mode": (
        lambda: body_and_head(in_inference_mode),
        torch.rand(2, 6),
    ),
    "a part in bfloat16": (lambda: body_and_head(in_bfloat16), torch.rand(2, 6)),
    "called with other weights": (
        lambda: body_and_head(with_other_weights),
        torch.rand(2, 6),
    ),
    "each image by vmap": (
        lambda: body_and_head(lambda net, x: net.head(vmap(net.body)(x))),
        torch.rand(2, 6),
    ),
    "complex numbers": (
        lambda: module(
            lambda net, x: net.layer(torch.complex(x, -x)).abs(),
            layer=nn.Linear(4, 3, dtype=torch.complex64),
        ),
        torch.rand(2, 4),
    ),
    "bags of words": (
        lambda: nn.EmbeddingBag(9, 4, mode="mean"),
        torch.randint(0, 9, (2, 5)),
    ),
    "bags of words without one of them": (
        lambda: nn.EmbeddingBag(9, 4, mode="sum", padding_idx=2),
        torch.randint(0, 9, (2, 5)),
    ),
    "the largest of a bag": (
        lambda: nn.EmbeddingBag(9, 4, mode="max"),
        torch.randint(0, 9, (2, 5)),
    ),
    "noise": (
        lambda: body_and_head(
            lambda net, x: net.head(net.body(x) + torch.randn(len(x), 4))
        ),
        torch.rand(2, 6),
    ),
    "a counter in a buffer": (
        lambda: counting(lambda net, x: net.fc(x[:, : int(net.count) + 3])),
        torch.rand(2, 3),
    ),
    "batch norm that counts": (
        lambda: nn.Sequential(nn.BatchNorm1d(3, momentum=None), nn.Linear(3, 2)),
        torch.rand(2, 3),
    ),
    "a copy in forward": (
        lambda: body_and_head(lambda net, x: net.head(copy.deepcopy(net.body)(x))),
        torch.rand(2, 6),
    ),
    "channels last, and attention": (
        lambda: module(over_positions, conv=nn.Conv2d(4, 48, 1).to(memory_format=LAST)),
        torch.rand(2, 4, 3, 3).to(memory_format=LAST),
    ),
    "sequences by steps": (
        lambda: module(
            lambda net, x: net.fc(rnn.pack_sequence([*x]).data), fc=nn.Linear(3, 2)
        ),
        torch.rand(2, 5, 3),
    ),
    "sequences of given lengths": (
        lambda: module(
            lambda net, x, n: net.fc(
                rnn.pack_padded_sequence(x, n, True, enforce_sorted=False).data
            ),
            fc=nn.Linear(3, 2),
        ),
        [torch.rand(2, 4, 3), torch.tensor([4, 4])],
    ),
    "a class of tensors": (
        lambda: module(
            lambda net, x: net.fc(x.as_subclass(Named)).as_subclass(Tensor),
            fc=nn.Linear(3, 2),
        ),
        torch.rand(2, 3),
    ),
    "the boxes that remain": (
        lambda: module(
            lambda net, x: net.fc(x[nms(x.cumsum(1), x[:, 0], 1.0)]), fc=nn.Linear(4, 2)
        ),
        torch.rand(2, 4),
    ),
    "a lazy layer": (
        lambda: nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2)),
        torch.rand(2, 3),
    ),
}


def run(net: nn.Module, data: Any) -> Any:
    """What `net` makes of the data."""
    if isinstance(data, dict):
        return net(**data)
    return net(*data) if isinstance(data, list) else net(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_of_this_kind_is_counted(kind):
    build, data = KINDS[kind]
    net = build().eval()
    summary = summarize(net, input_data=data)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run(net, data)
    tensors = data.values() if isinstance(data, dict) else data
    first = data if isinstance(data, Tensor) else next(iter(tensors))
    leaves = [t for t in torch.utils._pytree.tree_leaves(first) if torch.is_tensor(t)]
    recurrent_layer = any(isinstance(m, nn.LSTM | nn.LSTMCell) for m in net.modules())

    numbers = sum(p.numel() for p in net.parameters())
    assert summary.parameters + summary.frozen_parameters == numbers
    if not recurrent_layer:  # torch's counter knows none: tests/test_summary.py does
        assert summary.macs * len(leaves[0]) == counter.get_total_flops() // 2
    assert str(summary)
    assert not any(note.endswith(": ") for note in summary.notes)
    without = summarize(build() if "lazy" not in kind else net)
    assert without.parameters + without.frozen_parameters == numbers


def repeated(data: Any, batch: int) -> Any:
    """The data with its first image so many times."""

    def again(x: Tensor) -> Tensor:
        return torch.cat([x[:1]] * batch) if x.dim() and len(x) == count else x

    count = len(torch.utils._pytree.tree_leaves(data)[0])
    return torch.utils._pytree.tree_map_only(Tensor, again, data)


def saved_by(net: nn.Module, data: Any) -> int:
    """The bytes that autograd saves on the processor, but parameters and the data."""
    sizes: dict[int, int] = {}
    alive = []

    def save(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        sizes[memory._cdata] = memory.nbytes()
        alive.append(tensor)
        return tensor

    leaves = torch.utils._pytree.tree_leaves(data)
    inputs = [each for each in leaves if torch.is_tensor(each)]
    with saved_tensors_hooks(save, lambda tensor: tensor):
        alive.append(run(net, data))
    given = (*inputs, *net.parameters(), *net.buffers())
    known = {each.untyped_storage()._cdata for each in given}
    return sum(size for key, size in sizes.items() if key not in known)


#: oneDNN's recurrent layers save whole pages: tests/test_summary_memory.py.
PAGES = ("a recurrent layer",)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in PAGES])
def test_what_a_module_of_this_kind_saves(kind):
    """What two more images add to two, in a real run."""
    build, data = KINDS[kind]
    torch.manual_seed(0)
    net = build().train()
    summary = summarize(net, input_data=data)
    if "lazy" in kind:
        run(net, data)
    few, many = (saved_by(net, repeated(data, batch)) for batch in (2, 4))
    assert many - few == 2 * summary.saved_bytes


def test_a_layer_by_two_names_belongs_to_the_stage_that_called_it():
    summary = summarize(one_in_two_places(), (6,))
    (stage,) = summary.stages
    assert (stage.name, stage.parameters, stage.macs) == ("body", 42, 72)
    assert summary.notes == ()


def in_threads(net: Any, x: Tensor) -> Tensor:
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda layer: layer(x), (net.a, net.b)))


def one_by_one(net: Any, x: Tensor) -> Any:
    for _ in range(3):
        yield net.a(x)


def with_graph(edges: Tensor) -> nn.Module:
    net = module(lambda net, x: net.fc(net.edges @ x), fc=nn.Linear(3, 2))
    net.register_buffer("edges", edges)
    return net


def with_mode_that_stays() -> nn.Module:
    def train(_: nn.Module, _mode: bool = True) -> nn.Module:
        raise NotImplementedError("it has one mode")

    return type("Exported", (nn.Linear,), {"train": train})(3, 2)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning")
@pytest.mark.parametrize(
    ("build", "data", "words"),
    [
        (lambda: torch.jit.script(nn.Linear(3, 2)), torch.rand(2, 3), "TorchScript"),
        (
            lambda: nn.Sequential(nn.ReLU(), torch.jit.script(nn.Linear(3, 2))),
            torch.rand(2, 3),
            "1 is a module of TorchScript",
        ),
        (
            lambda: module(lambda net, x: x["image"]),
            [{}],
            "must be a tensor, a sequence or a mapping of tensors",
        ),
        (
            lambda: module(packed, lstm=nn.LSTM(3, 2, batch_first=True)),
            [torch.rand(4, 5, 3), torch.tensor([5, 4])],
            r"size 5 x 3, 2 \(4 were taken for the batch\): ",
        ),
        (
            lambda: nn.Linear(10, 2),
            torch.ones(10),
            r"an input of size \(\) \(10 were taken for the batch\)",
        ),
        (
            lambda: module(in_threads, a=nn.Linear(3, 2), b=nn.Linear(3, 2)),
            torch.rand(2, 3),
            "a runs in a thread of its own",
        ),
        (
            lambda: module(one_by_one, a=nn.Linear(3, 2)),
            torch.rand(2, 3),
            "what it returns is a generator",
        ),
        (
            lambda: with_graph(torch.eye(4).to_sparse()),
            torch.rand(4, 3),
            "a tensor of layout torch.sparse_coo cannot be followed; give a dense",
        ),
        (
            lambda: with_graph(torch.eye(4).to_sparse_csr()),
            torch.rand(4, 3),
            "a tensor of layout torch.sparse_csr cannot be followed; give a dense",
        ),
        (
            lambda: with_mode_that_stays(),
            torch.rand(2, 3),
            r"cannot take.* it has one mode",
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)),
            torch.rand(2, 1, 9, 9),
            r"in 1 \(Conv2d\): ",
        ),
    ],
)
def test_a_module_of_this_kind_is_refused(build, data, words):
    with pytest.raises(ValueError, match=words):
        summarize(build(), input_data=data)


def test_each_batch_repeats_the_first_of_the_data():
    net = module(packed, lstm=nn.LSTM(3, 2, batch_first=True)).train()
    x, lengths = torch.rand(2, 5, 3), torch.tensor([4, 2])
    two, four = (saved_by(net, repeated([x, lengths], n)) for n in (2, 4))
    summary = summarize(net, input_data=[x, lengths])
    assert summary.saved_bytes == (four - two) // 2


def test_lengths_of_sequences_are_values():
    net = module(packed, lstm=nn.LSTM(3, 2, batch_first=True))
    types = [torch.float, torch.long]
    with pytest.raises(ValueError, match="Net calls pack_padded_sequence; give"):
        summarize(net, ((5, 3), ()), dtypes=types)
    data = [torch.rand(1, 5, 3), torch.tensor([4])]
    assert summarize(net, input_data=data).macs == 4 * 4 * 2 * (3 + 2)


def test_a_tensor_of_several_sizes():
    def forward(net: Any, x: Tensor) -> Tensor:
        parts = torch.nested.as_nested_tensor([*x], layout=torch.jagged)
        return torch.nested.to_padded_tensor(net.a(parts), 0.0)

    with pytest.raises(ValueError, match="a nested tensor cannot be followed"):
        summarize(module(forward, a=nn.Linear(3, 2)), torch.rand(5, 3))


def test_a_graph_of_edges_that_nobody_uses():
    net = with_graph(torch.eye(4).to_sparse())
    net.forward = lambda x: net.fc(x)
    assert summarize(net, (3,)).macs == 6


def test_a_gradient_as_output():
    """As in networks whose forces are the gradients of an energy."""

    def forces(net: Any, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(net.body(x).sum(), x, create_graph=True)[0]

    net, x = body_and_head(forces), torch.rand(2, 6)
    summary = summarize(net, (6,))
    assert summary.macs == 2 * (6 * 5 + 5 * 4)  # there and back
    two, four = (saved_by(net.train(), repeated(x, n)) for n in (2, 4))
    assert summary.saved_bytes == (four - two) // 2 > 0


def test_shapes_on_the_meta_device_with_data():
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    assert summarize(net, input_data=torch.rand(2, 6)).macs == 24


def test_a_distribution_by_size_says_what_to_give():
    net = module(
        lambda net, x: Normal(net.fc(x), x.abs().sum() + 1, validate_args=True),
        fc=nn.Linear(3, 2),
    )
    with pytest.raises(ValueError, match="give a tensor of that size in its place"):
        summarize(net, (3,))
    assert summarize(net, torch.rand(3)).parameters == 8


def skipping(draw: Callable[[], float]) -> nn.Module:
    """Each layer is skipped by chance, if the network is in training or `always`."""

    def forward(net: Any, x: Tensor) -> Tensor:
        for layer in net.layers:
            if not (net.training or net.always) or draw() < 0.5:
                x = layer(x)
        return x

    layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(6))
    net = module(forward, layers=layers)
    net.always = False
    return net


@pytest.mark.parametrize(
    "draw", [random.random, lambda: torch.rand(()).item(), np.random.rand]
)
def test_a_path_by_chance_is_no_number(draw):
    net = skipping(draw)
    states = random.getstate(), torch.get_rng_state()
    summary = summarize(net, (4,))
    assert summary.macs == 6 * 16
    assert summary.saved_bytes is None
    assert summary.notes == (
        "memory: unknown, as what is saved differs from run to run",
    )
    net.always = True
    assert "path: by chance; counted is that of one run" in summarize(net, (4,)).notes
    assert states[0] == random.getstate()
    assert torch.equal(states[1], torch.get_rng_state())


def test_a_path_that_depends_on_the_values_of_a_batch():
    """Another one for two images than for more."""

    def forward(net: Any, x: Tensor) -> Tensor:
        for _ in range(1 + int(x.sum() > 3 * x[0].sum())):
            x = net.layer(x).tanh()
        return x

    net = module(forward, layer=nn.Linear(4, 4))
    summary = summarize(net, input_data=torch.rand(2, 4))
    assert summary.macs == 16
    assert summary.saved_bytes is None
    assert "differs from run to run" in summary.notes[0]


def test_pairs_of_images_one_at_a_time():
    """They grow faster than the batch, in memory of which each part does not."""

    def pairs(net: Any, x: Tensor) -> Tensor:
        y = net.layer(x)
        return torch.stack([(a * b).sum() for a in y for b in y])

    net = module(pairs, layer=nn.Linear(4, 4))
    alone = module(
        lambda net, x: torch.stack([net.layer(a * b) for a in x for b in x]),
        layer=nn.Linear(4, 4),
    )
    assert summarize(net, (4,)).saved_bytes == 16
    assert summarize(alone, (4,)).saved_bytes is None


CAUGHT = {
    "caught": lambda net, x: with_default(net, x),
    "printed": lambda net, x: (f"{x.mean():.3f}", net.a(x))[1],
    "the address": lambda net, x: net.a(x) if x.data_ptr() else net.b(x),
}


def with_default(net: Any, x: Tensor) -> Tensor:
    try:
        return net.a(x * x.mean().item())
    except ValueError:
        return net.b(x)


@pytest.mark.parametrize("kind", CAUGHT)
def test_a_path_that_needs_values(kind):
    """It is not taken without them, and with them it is the right one."""
    net = module(CAUGHT[kind], a=nn.Linear(3, 2), b=nn.Sequential(nn.Linear(3, 5)))
    with pytest.raises(ValueError, match="cannot be traced without values"):
        summarize(net, (3,))
    summary = summarize(net, input_data=torch.rand(2, 3))
    assert summary.macs == 6
    assert [row.name for row in summary.stages if row.macs] == ["a"]
    assert not any("memory" in note for note in summary.notes)
    assert DataDependentError.last is None  # and with it all that it has seen


def test_text_without_numbers_needs_no_values():
    net = module(lambda net, x: (f"{x}", net.a(x))[1], a=nn.Linear(3, 2))
    assert summarize(net, (3,)).macs == 6
