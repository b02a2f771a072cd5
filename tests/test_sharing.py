import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import FashionMNIST, Split, count_parameters
from course_lib.sharing import (
    CONDITIONS,
    LocallyConnected2d,
    placed,
    rearranged,
    scrambled,
    three_layers,
)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"), [(3, 1, 0), (5, 2, 2), (1, 3, 1)]
)
def test_with_one_kernel_everywhere_it_is_a_convolution(kernel_size, stride, padding):
    torch.manual_seed(0)
    sizes = 2, 3, kernel_size, stride, padding
    shared, local = nn.Conv2d(*sizes), LocallyConnected2d(*sizes, size=9)
    with torch.no_grad():
        local.weight.copy_(shared.weight[:, :, None, None].expand_as(local.weight))
        local.bias.copy_(shared.bias[:, None, None].expand_as(local.bias))
    x = torch.randn(4, 2, 9, 9)
    torch.testing.assert_close(local(x), shared(x), rtol=1e-4, atol=1e-5)


def test_each_position_has_a_kernel_of_its_own():
    local = LocallyConnected2d(1, 1, 3, size=5)
    x = torch.randn(1, 1, 5, 5)
    before = local(x)
    with torch.no_grad():
        local.weight[0, 0, 1, 2] += 1
    changed = (local(x) != before)[0, 0].nonzero()
    assert changed.tolist() == [[1, 2]]


def test_its_initialization_is_that_of_he():
    torch.manual_seed(0)
    local = LocallyConnected2d(16, 32, 3, padding=1, size=14)
    assert local.weight.var().item() * 16 * 9 == pytest.approx(2, rel=0.02)
    assert not local.bias.any()


@pytest.mark.parametrize("name", ["in_channels", "out_channels", "size"])
def test_a_size_that_cannot_be(name):
    arguments = {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "size": 5}
    with pytest.raises(ValueError, match=f"{name} must be .* got 0"):
        LocallyConnected2d(**(arguments | {name: 0}))


@pytest.mark.parametrize("head", ["flatten", "max"])
def test_the_networks_differ_in_their_weights_alone(head):
    shared = three_layers(shared=True, head=head)
    local = three_layers(shared=False, head=head)
    x = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        pairs = zip(local.parameters(), shared.parameters(), strict=True)
        for ours, theirs in pairs:
            if ours.dim() != theirs.dim():  # the two dimensions of the position
                where = (1 if theirs.dim() == 1 else 2,) * 2
                theirs = theirs.unsqueeze(where[0]).unsqueeze(where[1])
            ours.copy_(theirs.expand_as(ours))
    torch.testing.assert_close(local(x), shared(x), rtol=1e-4, atol=1e-4)


def test_parameters():
    counts = {
        (shared, head): count_parameters(three_layers(shared=shared, head=head))
        for shared in (False, True)
        for head in ("flatten", "max")
    }
    convolutions = 8 * 26 + 16 * (8 * 25 + 1) + 32 * (16 * 9 + 1)
    assert counts[True, "max"] == convolutions + 330
    assert counts[True, "flatten"] == convolutions + 15_690
    local = 14**2 * 8 * 26 + 7**2 * (16 * (8 * 25 + 1) + 32 * (16 * 9 + 1))
    assert counts[False, "max"] == local + 330
    assert counts[False, "flatten"] == local + 15_690


def test_another_head():
    with pytest.raises(ValueError, match="head must be one of 'flatten', 'max'; got"):
        three_layers(shared=True, head="mean")


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.randint(1, 256, (50, 1, 28, 28), dtype=torch.uint8)


def test_in_the_middle(images):
    found = placed(images, anywhere=False)
    small = F.avg_pool2d(images.float(), 2).byte()
    assert torch.equal(found[..., 7:21, 7:21], small)
    assert found.count_nonzero() == small.count_nonzero()


def test_anywhere(images):
    found = placed(images, anywhere=True)
    small = F.avg_pool2d(images.float(), 2).byte()
    corners = set()
    for image, expected in zip(found[:, 0], small[:, 0], strict=True):
        top, left = image.nonzero().amin(0).tolist()
        corners.add((top, left))
        assert torch.equal(image[top : top + 14, left : left + 14], expected)
        assert image.count_nonzero() == expected.count_nonzero()
    tops, lefts = zip(*corners, strict=True)
    assert min(tops + lefts) == 0
    assert max(tops + lefts) == 14
    assert torch.equal(found, placed(images, anywhere=True))
    assert not torch.equal(found, placed(images, anywhere=True, seed=1))


def test_scrambled(images):
    found = scrambled(images)
    assert not torch.equal(found, images)
    first, again = (each.flatten(1).sort().values for each in (found, images))
    assert torch.equal(first, again)
    # All in the same way: one that is the same twice stays so.
    twice = scrambled(images[[3, 3]])
    assert torch.equal(twice[0], twice[1])
    assert torch.equal(twice[0], found[3])


@pytest.mark.parametrize("condition", CONDITIONS)
def test_rearranged(images, condition):
    split = Split(images, torch.arange(50))
    found = rearranged(FashionMNIST(split, split, split, source="mine"), condition)
    assert found.source == "mine"
    expected = placed(images, anywhere=condition != "middle", seed=2)
    if condition == "scrambled":
        expected = scrambled(expected)
    assert torch.equal(found.test.images, expected)
    assert torch.equal(found.test.labels, split.labels)
    same = torch.equal(found.train.images, found.test.images)
    assert same == (condition == "middle")


def test_another_condition(images):
    split = Split(images, torch.arange(50))
    with pytest.raises(ValueError, match=r"condition must be one of 'middle', .* got"):
        rearranged(FashionMNIST(split, split, split, source="mine"), "above")
