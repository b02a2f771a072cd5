"""Two networks with the same random weights and statistics, and what they compute."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

#: By what the course, torchvision and PyTorch's hub call them: the deepest or widest of
#: a family whose other members go through the same lines.
LARGE = {
    *("ResNet-101", "ResNet-152", "DenseNet-161", "DenseNet-169", "DenseNet-201"),
    *(101, 152, 161, 169, 201, "resnext101_32x8d", "resnet101", "resnet152"),
    *("densenet161", "densenet169", "densenet201"),
}


def sized(names: Iterable) -> list:
    """Parameters of a test, of which the large ones are `slow`."""
    slow = {True: [pytest.mark.slow], False: []}
    return [pytest.param(name, marks=slow[name in LARGE]) for name in names]


def same_weights(
    ours: nn.Module, theirs: nn.Module, names: Iterable[str] = ()
) -> tuple[nn.Module, nn.Module]:
    """Both in evaluation mode, with random numbers, where `theirs` has its tensors in
    the order of `ours`, or `names` has theirs in that order.
    """
    torch.manual_seed(0)
    state = theirs.state_dict()
    pairs = zip(ours.state_dict().items(), [*names] or state, strict=True)
    for (name, mine), other in pairs:
        with torch.no_grad():
            if mine.is_floating_point():
                mine.copy_(_random(name, mine))
            state[other].copy_(mine.view_as(state[other]))
    return ours.eval(), theirs.eval()


def assert_parity(
    ours: nn.Module,
    theirs: nn.Module,
    names: Iterable[str] = (),
    dtype: torch.dtype = torch.float32,
) -> None:
    """With the same random numbers (`same_weights`), both give the same logits for two
    images, to 1e-5 of the largest.
    """
    nets = same_weights(ours, theirs, names)
    ours, theirs = (net.to(dtype) for net in nets)
    x = torch.randn(2, 3, 64, 64, dtype=dtype)
    with torch.inference_mode():
        a, b = ours(x), theirs(x)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=float(1e-5 * b.abs().max()))


def _random(name: str, tensor: Tensor) -> Tensor:
    """Weights with which the outputs of a deep network stay of about the same size."""
    if name.endswith("running_var"):
        return torch.empty_like(tensor).uniform_(0.5, 1.5)
    noise = torch.randn_like(tensor)
    if tensor.dim() > 1 and tensor[0].numel() > 1:
        return noise * (2 / tensor[0].numel()) ** 0.5
    return tensor + 0.1 * noise
