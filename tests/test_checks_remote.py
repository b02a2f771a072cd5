"""A module that an answer made, and that the judge handles from another process."""

import copy

import pytest
import torch
from judging import alone
from torch import nn

from course_lib.checks.compare import WrongAnswer
from course_lib.checks.exercises import Answer
from course_lib.checks.link import AnswerRaised
from course_lib.checks.remote import Remote


class Block(nn.Module):
    """With a shared parameter, a buffer in no state, and a choice."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.tied = self.inside[0]
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("calls", torch.zeros(1), persistent=False)

    def forward(self, x, negative=False):
        self.calls += 1
        y = self.scale * self.inside(x)
        return -y if negative else y


@pytest.fixture
def both():
    torch.manual_seed(0)
    here = Block()
    with alone(lambda: copy.deepcopy(here)) as link:
        link.load(b"", [])
        yield Answer(link)(), here


def test_it_looks_like_it(both):
    there, here = both
    assert isinstance(there, Remote)
    assert there.kind == "Block"
    assert there.inside[0].kind == "Linear"
    assert len(there.inside) == 3
    names = [name for name, _ in here.named_parameters()]
    assert [name for name, _ in there.named_parameters()] == names
    assert there.state_dict().keys() == here.state_dict().keys()
    assert there.tied.weight is there.inside[0].weight
    assert repr(there).startswith("Remote(")


def test_it_computes_what_it_does(both):
    there, here = both
    x = torch.randn(5, 4)
    for training in (True, False):
        torch.manual_seed(1)
        want = here.train(training)(x)
        drawn = torch.rand(1)
        torch.manual_seed(1)
        got = there.train(training)(x)
        assert torch.equal(torch.rand(1), drawn)
        assert torch.allclose(got, want)
    for got, want in zip(there.buffers(), here.buffers(), strict=True):
        assert torch.allclose(got, want)
    assert torch.allclose(there(x, True), here(x, True))
    assert torch.allclose(there.inside[0](x), here.inside[0](x))


def test_gradients_come_back(both):
    there, here = both
    results = []
    for net in (there, here):
        x = torch.linspace(-1, 1, 12).view(3, 4).requires_grad_()
        net.eval()(x).square().sum().backward()
        results.append([x.grad, *(each.grad for each in net.parameters())])
    for got, want in zip(*results, strict=True):
        assert torch.allclose(got, want)
    with torch.no_grad():
        assert not there(x).requires_grad


def test_it_can_be_trained(both):
    there, here = both
    for net in (there, here):
        x = torch.ones(2, 4)
        optimizer = torch.optim.SGD(net.eval().parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            net(x).sum().backward()
            optimizer.step()
    for got, want in zip(there.parameters(), here.parameters(), strict=True):
        assert torch.allclose(got, want)


def test_copies_are_independent(both):
    there, _ = both
    other = copy.deepcopy(there)
    with torch.no_grad():
        other.scale.zero_()
        other.inside[0].weight.requires_grad_(False)
    x = torch.randn(5, 4)
    assert there.eval()(x).abs().sum() > 0
    assert other.eval()(x).abs().sum() == 0
    assert there.inside[0].weight.requires_grad
    child = copy.deepcopy(there.inside)
    assert child[0].weight is not there.inside[0].weight


def test_its_types_may_change(both):
    there, _ = both
    assert there.double().eval()(torch.randn(2, 4).double()).dtype == torch.float64


class Odd(nn.Module):
    """It returns no tensor, or raises."""

    def forward(self, x):
        if x is None:
            raise KeyError("x")
        return {"x": x}, self


class OnlyTrains(nn.Linear):
    """Its evaluation mode is its training mode."""

    def train(self, mode=True):
        return super().train(True)

    def forward(self, x):
        return x * self.training


class Keeps(nn.Module):
    """It keeps what has a graph in a buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x):
        self.mean = self.mean + self.weight * x.mean()
        return x


def test_modules_that_are_odd():
    def make(kind):
        return [Odd(), OnlyTrains(1, 1), Keeps(), nn.Sequential(nn.LazyLinear(2))][kind]

    with alone(make) as link:
        link.load(b"", [])
        answer = Answer(link)
        odd = answer(0)
        got, again = odd(torch.ones(2))
        assert torch.equal(got["x"], torch.ones(2))
        assert again.kind == "Odd"
        with pytest.raises(AnswerRaised, match="KeyError: 'x'"):
            odd(None)
        assert answer(1).eval()(torch.ones(1)) == 1
        keeps = answer(2)
        keeps(torch.ones(1))
        assert keeps.mean.requires_grad
        lazy = answer(3)
        assert list(lazy.parameters()) == []
        settled = lazy.settled(torch.ones(1, 3))
        assert type(settled) is nn.Sequential
        assert settled[0].weight.shape == (2, 3)
        assert odd.settled(torch.ones(1)) is odd


def test_lazy_modules_are_settled_as_they_were():
    def make():
        return nn.Sequential(nn.LazyConv2d(2, 1), nn.LazyBatchNorm2d()).train()

    with alone(make) as link:
        link.load(b"", [])
        settled = Answer(link)().settled(torch.ones(3, 4, 2, 2))
        assert settled.training
        assert torch.equal(settled[1].running_mean, torch.zeros(2))


def test_what_is_banned_is_seen_in_a_module_of_the_library():
    with alone(lambda: nn.BatchNorm2d(2)) as link:
        link.load(b"", [], ["normalization"], "Write it.")
        net = Answer(link)()
        with pytest.raises(WrongAnswer, match="does it for you"):
            net(torch.ones(2, 2, 1, 1))
