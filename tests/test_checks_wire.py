"""What passes between the processes of a check: data, and only data."""

import pickle
from collections import OrderedDict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.checks import nets, wire
from course_lib.checks.wire import Opaque, TooLarge, dumps, loads

Pair = namedtuple("Pair", "a b")


def through(value):
    return loads(dumps(value))


class Seven(int):
    def __int__(self):
        return 7

    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class Text(str):
    def __str__(self):
        raise ValueError


class Mute:
    def __repr__(self):
        raise ValueError


class Raises(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *_, **__):
        raise ValueError


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (1, 1),
        (Seven(3), 3),
        (True, True),
        (Text("a"), "a"),
        (Fraction(1, 4), 0.25),
        (Decimal("0.5"), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.longdouble(0.5), 0.5),
        (Pair(1, [2]), (1, [2])),
        (torch.Size([1, 2]), (1, 2)),
        ({"a": OrderedDict(b=1)}, {"a": {"b": 1}}),
        (range(3), [0, 1, 2]),
        (deque([1]), [1]),
        ((i for i in (1, 2)), [1, 2]),
        ({"a": 1}.values(), [1]),
        ({1, 2}, {1, 2}),
        (None, None),
        (b"a", b"a"),
    ],
)
def test_what_arrives(value, arrives):
    got = through(value)
    assert type(got) is type(arrives) or isinstance(got, OrderedDict)
    assert got == arrives


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (len, "builtin_function_or_method"),
        (Mute(), "Mute"),
        (Mute, "type"),
        (1j, "complex"),
        (torch.float32, "dtype"),
        (torch.ones(1, device="meta"), "Tensor"),
        (nn.UninitializedParameter(), "UninitializedParameter"),
        (np.array(["a"]), "ndarray"),
        (np.complex64(1j), "complex64"),
    ],
)
def test_what_is_no_data_has_a_kind(value, kind):
    got = through(value)
    assert isinstance(got, Opaque)
    assert got.kind == kind
    assert isinstance(got.text, str)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, 3),
        torch.randn(2, 3).T,
        torch.randn(2).bfloat16(),
        torch.tensor(1.5),
        torch.tensor([True]),
        torch.empty(0, 3),
        torch.tensor([1, 2], dtype=torch.uint8),
        torch.randn(2, dtype=torch.complex64).conj(),
        torch.eye(2).to_sparse(),
        torch.randn(2, requires_grad=True),
        nn.Parameter(torch.randn(2), requires_grad=False),
    ],
)
def test_tensors(tensor):
    got = through(tensor)
    want = tensor.detach().to_dense()
    assert type(got) is type(tensor)
    assert torch.equal(got.detach(), want.resolve_conj())
    assert got.dtype == tensor.dtype
    assert got.requires_grad == tensor.requires_grad


@pytest.mark.filterwarnings("ignore")
def test_quantized_tensors_are_numbers():
    tensor = torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8)
    assert torch.equal(through(tensor), torch.ones(2))


def test_subclasses_are_tensors():
    got = through(torch.ones(2).as_subclass(Raises))
    assert type(got) is torch.Tensor
    assert torch.equal(got, torch.ones(2))


@pytest.mark.parametrize("dtype", [">f4", "f8", "i2", "?", "c8", "g"])
def test_arrays_are_tensors(dtype):
    array = np.array([[1, 0], [0, 1]]).astype(dtype)
    assert torch.equal(through(array).real.double(), torch.eye(2).double())
    assert through(np.array(3.0)).shape == ()


def test_gradients_and_ties_pass():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net.append(net[0])
    net(torch.ones(1, 2)).sum().backward()
    got = through(net)
    assert got[0] is got[2]
    assert torch.equal(got[0].weight.grad, net[0].weight.grad)
    assert type(got) is nn.Sequential


def test_what_is_too_large(monkeypatch):
    monkeypatch.setattr(wire, "LARGEST", 100)
    assert through(torch.ones(25)).shape == (25,)
    with pytest.raises(TooLarge, match="GiB"):
        dumps([torch.ones(20), torch.ones(20)])


class Own(nn.Module):
    def forward(self, x):
        return x


def hooked(net=None):
    net = net or nn.Linear(2, 2)
    net.register_forward_hook(print)
    return net


def slow():
    net = nn.Linear(2, 2)
    net.weight.register_hook(print)
    return net


def replaced():
    net = nn.Linear(2, 2)
    net.forward = print
    return net


def disguised():
    return type("Odd", (nn.ReLU,), {"__module__": "torch.nn.modules.activation"})()


def parametrized():
    return nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))


@pytest.mark.parametrize(
    "make",
    [Own, hooked, slow, replaced, disguised, parametrized, lambda: nn.LazyLinear(2)],
)
def test_modules_with_code_of_their_own_stay(make):
    held = wire.Held(3, [], [], [], lazy=False)
    for module in (make(), nn.Sequential(make())):
        assert not wire.is_known(module)
        assert loads(dumps([module], lambda _: held)) == [held]


@pytest.mark.parametrize(
    "module", [nets.Heads(), nn.Conv2d(1, 1, 1), nets.RemembersModes()]
)
def test_known_modules_pass(module):
    assert wire.is_known(module)
    got = loads(dumps(module, lambda _: None))
    assert type(got) is type(module)
    assert got.state_dict().keys() == module.state_dict().keys()


class Evil:
    def __reduce__(self):
        return eval, ("1 + 1",)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Evil()),
        pickle.dumps(Own),
        pickle.dumps(torch.nn.functional.relu),
        pickle.dumps(nn.functional.boolean_dispatch),
        pickle.dumps(wire.dumps),
    ],
)
def test_nothing_else_is_made(data):
    with pytest.raises(pickle.UnpicklingError, match="is no data"):
        loads(data)


def test_texts_are_cut_off():
    assert wire.text_of("a" * 300) == "a" * 197 + "..."
    assert wire.text_of(Mute()) == "an object whose text raises ValueError"


@pytest.mark.parametrize(
    "empty",
    [np.array_split(np.arange(2), 5)[4], torch.zeros(0, 3), torch.arange(6)[::2][3:]],
)
def test_an_empty_tensor_arrives(empty):
    got = loads(dumps(empty))
    assert tuple(got.shape) == tuple(empty.shape)
