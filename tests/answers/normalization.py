"""Answers to the exercises on normalization: wrong ones with the hint that they must
get, and right ones, written differently from the solution.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.normalization import BatchNorm2d, LocalResponseNorm

VAR = 0.9 + 0.1 * 20 / 3


def layer(size, factor):
    return lambda n, a, b, k: nn.LocalResponseNorm(size(n), factor(n) * a, b, k)


def itself(n):
    return n


def odd(n):
    return n // 2 * 2 + 1


def grouped(x, groups, eps, dims=(2, 3, 4), correction=0):
    rows = x.unflatten(1, (groups, -1))
    var, mean = torch.var_mean(rows, dims, correction=correction, keepdim=True)
    return ((rows - mean) / (var + eps).sqrt()).flatten(1, 2)


def interleaved(x, groups, eps):
    rows = x.unflatten(1, (-1, groups)).transpose(1, 2)
    y = F.group_norm(rows.flatten(1, 2), groups, eps=eps)
    return y.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def without_root(x, groups, eps):
    var, mean = torch.var_mean(
        x.unflatten(1, (groups, -1)), (2, 3, 4), correction=0, keepdim=True
    )
    return ((x.unflatten(1, (groups, -1)) - mean) / (var + eps)).flatten(1, 2)


def eps_outside(x, groups, eps):
    rows = x.unflatten(1, (groups, -1))
    var, mean = torch.var_mean(rows, (2, 3, 4), correction=0, keepdim=True)
    return ((rows - mean) / (var.sqrt() + eps)).flatten(1, 2)


class Norm(nn.Module):
    """Right as it is; its subclasses make one mistake each."""

    correction_of_batch, correction_of_running = 0, 1

    def __init__(self, channels, eps, momentum):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1).flatten())
        self.gamma = nn.Parameter(torch.ones(channels))
        self.store("running_variance", torch.ones(1, channels, 1, 1))
        self.store("running_mean", torch.zeros(1, channels, 1, 1))

    def store(self, name, value):
        self.register_buffer(name, value)

    def weight_of_new(self):
        return self.momentum

    def of_batch(self, x):
        correction = self.correction_of_batch
        var, mean = torch.var_mean(x, (0, 2, 3), correction=correction, keepdim=True)
        return mean, var

    def update(self, name, value):
        new = self.weight_of_new()
        old = getattr(self, name)
        setattr(self, name, (1 - new) * old + new * value.detach())

    def forward(self, x):
        mean, var = self.running_mean, self.running_variance
        if self.training:
            mean, var = self.of_batch(x)
            self.update("running_mean", mean)
            correction = self.correction_of_running
            var_of_all = x.var((0, 2, 3), correction=correction, keepdim=True)
            self.update("running_variance", var_of_all)
        y = (x - mean) / (var + self.eps) ** 0.5
        return y * self.gamma.view(-1, 1, 1) + self.beta.view(-1, 1, 1)


class Plain(Norm):
    def store(self, name, value):
        setattr(self, name, value)


class Trained(Norm):
    def store(self, name, value):
        setattr(self, name, nn.Parameter(value, requires_grad=False))

    def update(self, name, value):
        with torch.no_grad():
            getattr(self, name).lerp_(value, self.momentum)


class Swapped(Norm):
    def weight_of_new(self):
        return 1 - self.momentum


class SwappedAndPlain(Swapped, Plain):
    correction_of_running = 0


class BiasedRunningVariance(Norm):
    correction_of_running = 0


class UnbiasedBatchVariance(Norm):
    correction_of_batch = 1


class Forgets(Norm):
    def weight_of_new(self):
        return 1


class Still(Norm):
    def weight_of_new(self):
        return 0


class KeepsGraphs(Norm):
    def update(self, name, value):
        setattr(self, name, torch.lerp(getattr(self, name), value, self.momentum))


class StopsTheGradient(Norm):
    def of_batch(self, x):
        with torch.no_grad():
            return super().of_batch(x)


class AlwaysTraining(Norm):
    def train(self, mode=True):
        return super().train(True)


def head_only(net, backbone_trains=True, head_trains=True):
    net[0].requires_grad_(False).train(backbone_trains)
    net[1].train(head_trains)
    return net


def without_momentum(net):
    net[0][1].momentum = 0.0
    return head_only(net)


def modes_only(net):
    net[0].eval()
    net[1].train()
    return net


def without_gradient(net):
    """The gradient is zero, but weight decay still changes the weights."""
    for parameter in net[0].parameters():
        parameter.register_hook(torch.zeros_like)
    return modes_only(net)


def all_frozen(net):
    net.requires_grad_(False)
    return modes_only(net)


def normalization_only(net):
    net.train()
    net[0][1].eval()
    net[0][1].requires_grad_(False)
    return net


def put(conv, weight, bias):
    folded = copy.deepcopy(conv)
    folded.weight = nn.Parameter(weight.detach())
    folded.bias = nn.Parameter(bias.detach())
    return folded


def folded(conv, norm, *, eps=True, own="scaled", mean=True, weights=True, shift=True):
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps * eps)
    bias = torch.zeros(len(scale)) if conv.bias is None else conv.bias
    added = norm.bias * shift - scale * norm.running_mean * mean
    if own != "lost":
        added = added + bias * (scale if own == "scaled" else 1)
    return put(conv, conv.weight * (scale.view(-1, 1, 1, 1) if weights else 1), added)


def other_order(conv, norm):
    right = folded(conv, norm)
    bias = 0 if conv.bias is None else conv.bias
    return put(conv, right.weight, norm.bias + bias - norm.running_mean)


def without_a_root(conv, norm):
    scale = norm.weight / (norm.running_var + norm.eps)
    bias = 0 if conv.bias is None else conv.bias
    added = norm.bias + scale * (bias - norm.running_mean)
    return put(conv, conv.weight * scale.view(-1, 1, 1, 1), added)


def by_column(conv, norm):
    right = folded(conv, norm)
    if conv.kernel_size[1] != conv.out_channels:
        return right
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return put(conv, conv.weight * scale, right.bias)


def default_stride(conv, norm):
    made = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size)
    return folded(conv, norm) if conv.stride == (1, 1) else made


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "normalization.state": [
        (lambda: (256, 256, 0.4, VAR), "counts batches"),
        (lambda: (128, 128, 0.4, VAR), "a scale, a shift, a mean"),
        (lambda: (512, 0, 0.4, VAR), "optimizer"),
        (lambda: (128, 129, 0.4, VAR), "How many input channels"),
        (lambda: (256, 257, 0.4, 1.4), "that of all data"),
        (lambda: (256, 257, 3.6, 6.1), "weight of the new"),
        (lambda: (256, 257, 0.4, 2 / 3), "initialized to one"),
        (lambda: (256, 257, 4, 6.667), "part of the way"),
        (lambda: (256, 256, 0.4, 1.4), "counts batches. The running"),
        (lambda: (256, 257), "is not right"),
    ],
    "normalization.response_norm": [
        (layer(itself, lambda n: 1), "their sum"),
        (layer(odd, lambda n: 1), "their sum"),
        (layer(itself, lambda n: 1 / n), "smaller than a sum"),
        (layer(itself, itself), "if n is even"),
        (layer(itself, odd), "if n is even"),
        (layer(odd, itself), "its first argument"),
        (lambda n, a, b, k: nn.LocalResponseNorm(n + 1, (n + 1) * a, b, k), "odd n"),
        (lambda n, a, b, k: n * a, "a module is wanted"),
    ],
    "normalization.group_norm": [
        (lambda x, g, e: grouped(x, g, e, (0, 2, 3, 4)), "not over the batch"),
        (lambda x, g, e: grouped(x, g, e, (0, 3, 4)), "batch normalization"),
        (lambda x, g, e: F.instance_norm(x, eps=e), "one mean for all its channels"),
        (lambda x, g, e: grouped(x, g, e, 2), "over all positions"),
        (lambda x, g, e: F.layer_norm(x, x.shape[1:], eps=e), "its own mean"),
        (interleaved, "neighbors"),
        (lambda x, g, e: F.group_norm(x, x.shape[1] // g, eps=e), "number of groups"),
        (lambda x, g, e: grouped(x, g, e, correction=1), "by one less"),
        (lambda x, g, e: grouped(x, g, 0), "eps for"),
        (without_root, "square root?"),
        (eps_outside, "under the square root"),
    ],
    "normalization.norm": [
        (Plain, "what is missing there"),
        (Trained, "nothing else is"),
        (Swapped, "weight of the new batch"),
        (SwappedAndPlain, "weight of the new batch"),
        (BiasedRunningVariance, "that of all data"),
        (UnbiasedBatchVariance, "own variance divides by m"),
        (Forgets, "more than the last"),
        (Still, "not been updated"),
        (KeepsGraphs, "torch.no_grad()"),
        (StopsTheGradient, "goes through them, too"),
        (AlwaysTraining, "Evaluation mode uses"),
    ],
    "normalization.train_the_head": [
        (head_only, "In which mode"),
        (without_momentum, "the batch's statistics"),
        (modes_only, "not require a gradient"),
        (without_gradient, "not require a gradient"),
        (all_frozen, "only the backbone"),
        (normalization_only, "not require a gradient"),
        (lambda net: head_only(net, False, False), "dropout"),
        (lambda net: head_only(net, False)[1], "still consists of"),
        (lambda net: None, "does not return"),
    ],
    "normalization.fold": [
        (lambda c, n: folded(c, n, weights=False), "scale change the weights"),
        (lambda c, n: folded(c, n, own="lost"), "bias of its own"),
        (lambda c, n: folded(c, n, own="added"), "is normalized, too"),
        (lambda c, n: folded(c, n, eps=False), "eps for"),
        (lambda c, n: folded(c, n, mean=False), "the running mean"),
        (lambda c, n: folded(c, n, shift=False), "the shift?"),
        (other_order, "is subtracted is scaled"),
        (without_a_root, "square root"),
        (by_column, "every column"),
        (default_stride, "Stride, padding and groups"),
        (lambda c, n: nn.Sequential(c, n).eval(), "A single layer"),
    ],
}


def measured():
    norm = nn.BatchNorm2d(128)
    x = torch.tensor([1.0, 3.0, 5.0, 7.0]).expand(128, 4).T[..., None, None]
    norm(x)
    learned = sum(each.numel() for each in norm.parameters())
    buffers = sum(each.numel() for each in norm.buffers())
    var = round(norm.running_var[0].item(), 3)
    return [learned, buffers, norm.running_mean[0], var]


class Formula(nn.Module):
    def __init__(self, n, alpha, beta, k):
        super().__init__()
        self.half, self.alpha, self.beta, self.k = n // 2, alpha, beta, k

    def forward(self, a):
        b = torch.empty_like(a)
        for i in range(a.shape[1]):
            nearby = a[:, max(i - self.half, 0) : i + self.half + 1]
            total = self.k + self.alpha * nearby.square().sum(1)
            b[:, i] = a[:, i] / total**self.beta
        return b


def piece_by_piece(x, groups, eps):
    y = x.clone()
    for image in y:
        for group in image.chunk(groups):
            group -= group.mean()
            group /= (group.square().mean() + eps).sqrt()
    return y


class Frozen(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone.eval()

    def train(self, mode=True):
        return self

    def forward(self, x):
        with torch.no_grad():
            return self.backbone(x)


def wrapped(net):
    net[0] = Frozen(net[0]).requires_grad_(False)
    return net.train()


def by_asking(conv, norm):
    """Finds scale and shift from the outputs of the normalization for zero and one."""
    norm.eval()
    zero = norm(torch.zeros(1, conv.out_channels, 1, 1)).flatten()
    one = norm(torch.ones(1, conv.out_channels, 1, 1)).flatten()
    bias = 0 if conv.bias is None else conv.bias
    weight = torch.einsum("d,dchw->dchw", one - zero, conv.weight)
    return put(conv, weight, zero + (one - zero) * bias)


#: Exercise -> right answers that look different.
RIGHT = {
    "normalization.state": [measured, lambda: (256, 257, 0.4, 1.567)],
    "normalization.response_norm": [Formula, LocalResponseNorm],
    "normalization.group_norm": [
        piece_by_piece,
        lambda x, groups, eps: F.group_norm(x, groups, eps=eps),
    ],
    "normalization.norm": [Norm, BatchNorm2d, nn.BatchNorm2d],
    "normalization.train_the_head": [
        wrapped,
        lambda net: head_only(net.eval(), backbone_trains=False),
    ],
    "normalization.fold": [
        by_asking,
        lambda conv, norm: torch.nn.utils.fuse_conv_bn_eval(conv.eval(), norm.eval()),
    ],
}
