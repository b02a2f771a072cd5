"""Normalization from scratch: local response normalization and batch normalization.

Krizhevsky, Sutskever and Hinton (2012), "ImageNet classification with deep
convolutional neural networks", section 3.3, divide each activation by a function of
the squares of neighboring channels. Ioffe and Szegedy (2015), "Batch normalization:
accelerating deep network training by reducing internal covariate shift",
arXiv:1502.03167, give each channel mean zero and variance one over a mini-batch.
Chapters: AlexNet and Normalization.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def local_response_norm(
    x: Tensor, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> Tensor:
    """Divide each channel by ``(k + alpha * sum of squares) ** beta``, the sum over
    itself and the ``size // 2`` channels on either side, as far as there are any:
    section 3.3.

    An even `size` n thus covers n + 1 channels. PyTorch's function uses the mean over
    exactly n channels instead of the sum, so that for odd n its alpha must be n times
    as large. Where k and all these channels are zero, 0/0 is taken as 0, with a
    gradient of 0.

    Shape: (N, C, ...) -> the same.
    Raises: ValueError for less than two dimensions, or a parameter that is out of
        range.
    """
    _check_lrn(size, alpha, beta, k)
    if x.dim() < 2:
        raise ValueError(f"x must be (N, C, ...), got {tuple(x.shape)}")
    half = size // 2
    squares = F.pad(x.square().movedim(1, -1), (half, half))
    total = squares.unfold(-1, 2 * half + 1, 1).sum(-1).movedim(-1, 1)
    base = k + alpha * total
    # Only k = 0 makes a zero, and then x is zero as well: 0/inf is 0, 0/0 is not.
    return x / base.masked_fill(base == 0, torch.inf) ** beta


class LocalResponseNorm(nn.Module):
    """`local_response_norm` as a layer; the defaults are the paper's.

    Shape: (N, C, ...) -> the same.
    Raises: ValueError for a parameter that is out of range.
    """

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
    ) -> None:
        super().__init__()
        _check_lrn(size, alpha, beta, k)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x`."""
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The parameters, for `print`."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def batch_norm(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, channel by channel: the last
    two lines of Algorithm 1.

    Shape: (N, C, ...), and (C,) for each of the four -> that of `x`.
    """
    shape = (-1, *(1 for _ in x.shape[2:]))
    mean, var, weight, bias = (v.reshape(shape) for v in (mean, var, weight, bias))
    return (x - mean) / torch.sqrt(var + eps) * weight + bias


class BatchNorm2d(nn.Module):
    """Batch normalization, as `nn.BatchNorm2d`, with the same state.

    In training, each channel is normalized with its mean and variance over all images
    and positions of the mini-batch (section 3.2), and running averages of these move
    towards them by the fraction `momentum`; None makes them the plain average of all
    mini-batches. In evaluation the running averages are used instead, and the output
    for an image no longer depends on the other images of the batch. They are buffers:
    they are not trained, yet they are part of the network's state.

    Shape: (N, num_features, H, W), or (N, num_features) as `nn.BatchNorm1d` takes ->
        the same.
    Raises: ValueError for less than one feature; in the forward pass for another shape,
        and in training for a single value per channel, which is its own mean.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1
    ) -> None:
        super().__init__()
        if num_features < 1:
            raise ValueError(f"num_features must be at least 1, got {num_features}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x`."""
        if x.dim() not in (2, 4) or x.shape[1] != self.num_features:
            c = self.num_features
            raise ValueError(
                f"x must be (N, {c}, H, W) or (N, {c}), got {tuple(x.shape)}"
            )
        if self.training:
            mean, var = self._batch_statistics(x)
        else:
            mean, var = self.running_mean, self.running_var
        return batch_norm(x, mean, var, self.weight, self.bias, self.eps)

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel of `x`; the running ones follow."""
        values = x.numel() // self.num_features
        if values < 2:
            raise ValueError(
                "training needs at least two values per channel: a single one is its"
                f" own mean; got {tuple(x.shape)}"
            )
        dims = [dim for dim in range(x.dim()) if dim != 1]
        mean, var = x.mean(dims), x.var(dims, correction=0)
        with torch.no_grad():
            # Algorithm 1 divides by m; Algorithm 2 divides by m - 1, to estimate the
            # variance of all data.
            self._follow(mean, var * (values / (values - 1)))
        return mean, var

    def _follow(self, mean: Tensor, var: Tensor) -> None:
        """Move the running averages, in place: they must stay the module's buffers."""
        self.num_batches_tracked.add_(1)
        share: Tensor | float = (
            1 / self.num_batches_tracked.to(mean.dtype)
            if self.momentum is None
            else self.momentum
        )
        self.running_mean.add_(share * (mean - self.running_mean))
        self.running_var.add_(share * (var - self.running_var))

    def extra_repr(self) -> str:
        """The parameters, for `print`."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


def _check_lrn(size: int, alpha: float, beta: float, k: float) -> None:
    """The ranges in which the base of the power is positive unless `x` is zero."""
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be an integer of at least 1, got {size!r}")
    if not alpha > 0:
        raise ValueError(f"alpha must be more than 0, got {alpha}")
    for name, value in {"beta": beta, "k": k}.items():
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}")
