"""Answers to the exercises on normalization: wrong ones with the hint that they must
get, and right ones, written differently from the solution.
"""

import copy
import functools
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.normalization import BatchNorm2d

VAR = 0.9 + 0.1 * 116 / 3


def grouped(x, groups, eps, dims=(2, 3, 4), correction=0):
    rows = x.unflatten(1, (groups, -1))
    var, mean = torch.var_mean(rows, dims, correction=correction, keepdim=True)
    return ((rows - mean) / (var + eps).sqrt()).flatten(1, 2)


def interleaved(x, groups, eps):
    rows = x.unflatten(1, (-1, groups)).transpose(1, 2)
    y = grouped(rows.flatten(1, 2), groups, eps)
    return y.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def only_centered(x, groups, eps):
    rows = x.reshape(len(x), groups, -1)
    return (rows - rows.mean(2, keepdim=True)).reshape(x.shape)


def only_scaled(x, groups, eps):
    rows = x.reshape(len(x), groups, -1)
    return (rows / (rows.var(2, correction=0, keepdim=True) + eps).sqrt()).view_as(x)


def left_in_rows(x, groups, eps):
    return grouped(x, groups, eps).reshape(len(x), groups, -1)


def where_x_was(x, groups, eps):
    x.copy_(grouped(x, groups, eps))
    return x


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


class NotSaved(Norm):
    def store(self, name, value):
        self.register_buffer(name, value, persistent=False)


class InEvaluationToo(Norm):
    def forward(self, x):
        y = super().forward(x)
        if not self.training:
            self.update("running_mean", x.mean((0, 2, 3), keepdim=True))
        return y


class WithoutScale(Norm):
    def forward(self, x):
        return (super().forward(x) - self.beta.view(-1, 1, 1)) / self.gamma.view(
            -1, 1, 1
        ) + self.beta.view(-1, 1, 1)


class WithoutScaleAndShift(Norm):
    def forward(self, x):
        y = super().forward(x) - self.beta.view(-1, 1, 1)
        return y / self.gamma.view(-1, 1, 1)


class FrozenScale(Norm):
    def forward(self, x):
        y = super().forward(x)
        gamma = self.gamma.view(-1, 1, 1)
        return (y - self.beta.view(-1, 1, 1)) / gamma * gamma.detach() + self.beta.view(
            -1, 1, 1
        )


class DetachedOutput(Norm):
    def forward(self, x):
        return super().forward(x).detach()


class ItsOwnMomentum(Norm):
    def weight_of_new(self):
        return 0.1


class ItsOwnEps(Norm):
    def __init__(self, channels, eps, momentum):
        super().__init__(channels, 1e-5, momentum)


class AllValues(Norm):
    """It counts the values of all channels."""

    def update(self, name, value):
        if name == "running_variance":
            value = value * (11 / 12) * (48 / 47)
        super().update(name, value)


class EachImage(Norm):
    def of_batch(self, x):
        var, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        return mean, var


class FromZero(Norm):
    def store(self, name, value):
        super().store(name, torch.zeros_like(value))


class BeginsAtZero(Norm):
    def __init__(self, channels, eps, momentum):
        super().__init__(channels, eps, momentum)
        nn.init.zeros_(self.gamma)


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


def only_the_normalizations(net):
    for layer in net[0].modules():
        layer.train(not isinstance(layer, nn.BatchNorm2d))
    net[0].requires_grad_(False)
    for layer in net[0].modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    net[1].train()
    return net


def without_its_dropout(net):
    net[0].requires_grad_(False).eval()
    net[1].train()
    net[1][1].p = 0.0
    return net


def another_head(net):
    net[0].requires_grad_(False).eval()
    net[1] = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 3))
    return net


class NothingLearns(nn.Sequential):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


def under_no_grad(net):
    net[0].eval()
    return NothingLearns(*net)


def all_frozen(net):
    net.requires_grad_(False)
    return modes_only(net)


def normalization_only(net):
    net.train()
    net[0][1].eval()
    net[0][1].requires_grad_(False)
    return net


def put(conv, weight, bias):
    folded = copy.deepcopy(conv)  # with its stride, padding, dilation and groups
    folded.weight = nn.Parameter(weight.detach())
    folded.bias = nn.Parameter(bias.detach())
    return folded


def folded(
    conv, norm, *, eps=True, own="scaled", mean=1, weights=True, shift=True, gamma=True
):
    scale = norm.weight if gamma else torch.ones(conv.out_channels)
    scale = scale / torch.sqrt(norm.running_var + norm.eps * eps)
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


def along(*shape):
    def fold(conv, norm):
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        right = folded(conv, norm)
        return put(conv, conv.weight * scale.view(shape), right.bias)

    return fold


def made_new(**given):
    """With what is `given` for what it forgets."""

    def fold(conv, norm):
        names = "stride", "padding", "dilation", "groups", "padding_mode"
        options = {name: getattr(conv, name) for name in names}
        made = nn.Conv2d(
            conv.in_channels, conv.out_channels, conv.kernel_size, **(options | given)
        )
        right = folded(conv, norm)
        if made.weight.shape == right.weight.shape:
            made.load_state_dict(right.state_dict())
        return made

    return fold


def in_place(conv, norm):
    right = folded(conv, norm)
    conv.weight, conv.bias = right.weight, right.bias
    return conv


def widened(conv):
    """One with an input channel too many."""
    other = copy.deepcopy(conv)
    other.in_channels += 1
    other.weight = nn.Parameter(torch.cat([conv.weight, conv.weight[:, :1]], 1))
    return other


def backward(g, x, weight, eps, dims=(1, 2, 3), inside=True, mean=1, along=1, power=1):
    """The three gradients, with lists over `dims`."""
    scale = weight.view(-1, 1, 1)
    var, mu = torch.var_mean(x, dims, correction=0, keepdim=True)
    s = torch.sqrt(var + eps)
    x_hat = (x - mu) / s
    h = scale * g if inside else g
    h = (
        h
        - mean * h.mean(dims, keepdim=True)
        - along * x_hat * (h * x_hat).mean(dims, keepdim=True)
    )
    h = h if inside else scale * h
    var, mu = torch.var_mean(x, (1, 2, 3), correction=0, keepdim=True)
    x_hat = (x - mu) / torch.sqrt(var + eps)
    return h / s**power, (g * x_hat).sum((0, 2, 3)), g.sum((0, 2, 3))


def but(which, change):
    """Right but for one of the three gradients, which `change` makes of all and g."""

    def layer_norm_backward(g, x, weight, eps):
        made = [*backward(g, x, weight, eps)]
        made[which] = change(made, g, x, weight)
        return made

    return layer_norm_backward


def by_autograd(g, x, weight, eps):
    x = x.clone().requires_grad_()
    mean = x.mean((1, 2, 3), keepdim=True)
    var = (x - mean).square().mean((1, 2, 3), keepdim=True)
    y = weight.view(-1, 1, 1) * (x - mean) / (var + eps).sqrt()
    return torch.autograd.grad(y, x, g), g, g


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "normalization.state": [
        (lambda: (256, 256, 0.6, VAR), "counts batches"),
        (lambda: (128, 128, 0.6, VAR), "a scale, a shift, a mean"),
        (lambda: (512, 0, 0.6, VAR), "optimizer"),
        (lambda: (128, 129, 0.6, VAR), "How many input channels"),
        (lambda: (2, 3, 0.6, VAR), "Count the values in the tensors"),
        (lambda: (256, 257, 0.6, 3.8), "that of all data"),
        (lambda: (256, 257, 5.4, 34.9), "weight of the new"),
        (lambda: (256, 257, 0.6, 3.867), "initialized to one"),
        (lambda: (256, 257, 6, 38.667), "part of the way"),
        (lambda: (256, 257, 6, 29), "part of the way"),
        (lambda: (256, 257, 0.6, 4.8), "three decimals"),
        (lambda: (256, 256, 0.6, 3.8), "counts batches. The running"),
        (lambda: (256, 257), "4 are wanted"),
    ],
    "normalization.group_norm": [
        (lambda x, g, e: grouped(x, g, e, (0, 2, 3, 4)), "not over the batch"),
        (lambda x, g, e: grouped(x, g, e, (0, 3, 4)), "batch normalization"),
        (lambda x, g, e: grouped(x, g, e, (3, 4)), "one mean for all its channels"),
        (lambda x, g, e: grouped(x, g, e, 2), "over all positions"),
        (lambda x, g, e: grouped(x, 1, e), "its own mean"),
        (interleaved, "neighbors"),
        (lambda x, g, e: grouped(x, x.shape[1] // g, e), "number of groups"),
        (lambda x, g, e: grouped(x, g, e, correction=1), "by one less"),
        (lambda x, g, e: grouped(x, g, 0), "eps for"),
        (lambda x, g, e: grouped(x, g, 1e-5), "eps for"),
        (without_root, "square root?"),
        (eps_outside, "under the square root"),
        (only_centered, "variance is to be one"),
        (only_scaled, "mean is to be zero"),
        (left_in_rows, "the shape of x"),
        (where_x_was, "work on a copy"),
        (lambda x, g, e: F.group_norm(x, g, eps=e), "does it for you"),
    ],
    "normalization.norm": [
        (Plain, "what is missing there"),
        (NotSaved, "what is missing there"),
        (Trained, "nothing else is"),
        (Swapped, "weight of the new batch"),
        (SwappedAndPlain, "weight of the new batch"),
        (BiasedRunningVariance, "that of all data"),
        (UnbiasedBatchVariance, "own variance divides by m"),
        (Forgets, "more than the last"),
        (Still, "not been updated"),
        (KeepsGraphs, "torch.no_grad()"),
        (StopsTheGradient, "goes through them, too"),
        (AlwaysTraining, "changes its running averages"),
        (InEvaluationToo, "of the training alone"),
        (WithoutScale, "has a scale and a shift"),
        (WithoutScaleAndShift, "has a scale and a shift"),
        (FrozenScale, "to be detached"),
        (DetachedOutput, "to be detached"),
        (ItsOwnMomentum, "Momentum is an argument"),
        (ItsOwnEps, "eps is an argument"),
        (AllValues, "images times positions"),
        (EachImage, "all images of the batch"),
        (FromZero, "begins at one"),
        (BeginsAtZero, "is initialized to one"),
        (nn.BatchNorm2d, "does it for you"),
        (BatchNorm2d, "does it for you"),
    ],
    "normalization.train_the_head": [
        (head_only, "In which mode"),
        (without_momentum, "the batch's statistics"),
        (modes_only, "not require a gradient"),
        (without_gradient, "not require a gradient"),
        (all_frozen, "only the backbone"),
        (normalization_only, "not require a gradient"),
        (only_the_normalizations, "what about dropout"),
        (lambda net: head_only(net, False, False), "dropout"),
        (without_its_dropout, "as usual"),
        (another_head, "as it is"),
        (under_no_grad, "has to learn"),
        (lambda net: head_only(net, False)[1], "still consists of"),
        (lambda net: None, "end with `return`"),
    ],
    "normalization.fold": [
        (lambda c, n: folded(widened(c), n), "cannot take"),
        (lambda c, n: folded(c, n, weights=False), "scale change the weights"),
        (lambda c, n: folded(c, n, own="lost"), "bias of its own"),
        (lambda c, n: folded(c, n, own="added"), "is normalized, too"),
        (lambda c, n: folded(c, n, eps=False), "eps for"),
        (lambda c, n: folded(c, n, mean=False), "the running mean"),
        (lambda c, n: folded(c, n, mean=-1), "running mean added"),
        (lambda c, n: folded(c, n, shift=False), "the shift?"),
        (lambda c, n: folded(c, n, gamma=False), "becomes of `norm.weight`"),
        (lambda c, n: copy.deepcopy(c), "is left out"),
        (other_order, "is subtracted is scaled"),
        (without_a_root, "square root"),
        (along(-1), "every column"),
        (along(-1, 1), "every row"),
        (along(-1, 1, 1), "every input channel"),
        (made_new(stride=1, padding=0, groups=1), "Stride, padding"),
        (made_new(padding=0), "Stride, padding"),
        (made_new(dilation=1), "dilation"),
        (made_new(padding_mode="zeros"), "its mode"),
        (in_place, "work on a copy"),
        (lambda c, n: nn.Sequential(c, n).eval(), "A single layer"),
    ],
    "normalization.layer_norm_backward": [
        (functools.partial(backward, inside=False), "Inside a mean"),
        (lambda g, x, w, eps: backward(g, x, w * 0 + 1, eps), "becomes of the scale"),
        (functools.partial(backward, mean=0, along=0), "mean and the standard"),
        (functools.partial(backward, along=0), "also changes the variance"),
        (functools.partial(backward, mean=0), "also changes the mean"),
        (functools.partial(backward, power=0), "on the way forward"),
        (functools.partial(backward, power=2), "is enough"),
        (lambda g, x, w, eps: backward(g, x, w, 0.0), "becomes of eps"),
        (functools.partial(backward, dims=(0, 2, 3)), "The list is one image"),
        (functools.partial(backward, dims=(2, 3)), "The list is one image"),
        (functools.partial(backward, dims=(0, 1, 2, 3)), "a list of its own"),
        (but(1, lambda made, g, x, w: made[2]), "gradient in the shifts"),
        (but(1, lambda made, g, x, w: (g * x).sum((0, 2, 3))), "scale multiply"),
        (
            but(1, lambda made, g, x, w: made[1] / len(g) / g[0, 0].numel()),
            "not a mean",
        ),
        (but(1, lambda made, g, x, w: w * made[1]), "Once too often"),
        (but(2, lambda made, g, x, w: g.sum(0)), "at all positions"),
        (but(2, lambda made, g, x, w: g.sum((2, 3))), "in all images"),
        (but(2, lambda made, g, x, w: g.mean((0, 2, 3))), "not a mean"),
        (but(2, lambda made, g, x, w: w * made[2]), "does not multiply"),
        (but(2, lambda made, g, x, w: made[1]), "gradient in the scales"),
        (lambda *given: backward(*given)[0], "three gradients"),
        (by_autograd, "does it for you"),
    ],
}


def measured():
    norm = nn.BatchNorm2d(128)
    x = torch.tensor([1.0, 3.0, 5.0, 15.0]).expand(128, 4).T[..., None, None]
    norm(x)
    learned = sum(each.numel() for each in norm.parameters())
    buffers = sum(each.numel() for each in norm.buffers())
    var = round(norm.running_var[0].item(), 3)
    return [learned, buffers, norm.running_mean[0], var]


def one_by_one():
    yield np.prod([2, 128])
    yield 2 * 128 + 1
    yield np.float32(0.6)
    yield Fraction(9, 10) + Fraction(1, 10) * Fraction(116, 3)


def piece_by_piece(x, groups, eps):
    y = x.clone()
    for image in y:
        for group in image.chunk(groups):
            group -= group.mean()
            group /= (group.square().mean() + eps).sqrt()
    return y


def by_numpy(x, groups, eps):
    rows = x.double().numpy().reshape(x.shape[0] * groups, -1)
    var = (rows**2).mean(1, keepdims=True) - rows.mean(1, keepdims=True) ** 2
    y = (rows - rows.mean(1, keepdims=True)) * (var + eps) ** -0.5
    return y.reshape(x.shape)


def listed(x, groups, eps):
    """A list of images, of which each is made of its groups."""
    found = []
    for image in x:
        parts = []
        for part in image.split(len(image) // groups):
            var, mean = torch.var_mean(part, correction=0)
            parts.append(torch.rsqrt(var + eps) * (part - mean))
        found.append(torch.cat(parts))
    return found


class OneBuffer(nn.Module):
    """Parameters with dimensions of size one, and both averages in one tensor."""

    def __init__(self, channels, eps, momentum):
        super().__init__()
        self.affine = nn.ParameterDict(
            {
                "shift": torch.zeros(1, channels, 1, 1),
                "scale": torch.ones(1, channels, 1, 1),
            }
        )
        start = torch.tensor([[0.0], [1.0]]).repeat(1, channels)
        self.register_buffer("averages", start)
        self.eps, self.momentum = eps, momentum

    def forward(self, x):
        mean, var = self.averages
        if self.training:
            mean = x.mean((0, 2, 3))
            var = x.square().mean((0, 2, 3)) - mean**2
            of_all = torch.stack([mean, x.var((0, 2, 3))]).detach()
            self.averages.mul_(1 - self.momentum).add_(of_all, alpha=self.momentum)
        scale = self.affine["scale"] / torch.sqrt(var + self.eps).view(1, -1, 1, 1)
        return x * scale + (self.affine["shift"] - mean.view(1, -1, 1, 1) * scale)


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


def anew(net):
    backbone, head = copy.deepcopy(net)
    for weight in backbone.parameters():
        weight.requires_grad = False
    return nn.Sequential(backbone.train(False), head.train())


class TwoParts(nn.Module):
    """It keeps its first part in evaluation mode, whatever mode it is put into."""

    def __init__(self, net):
        super().__init__()
        self.body, self.head = net
        self.body.requires_grad_(False)
        self.train()

    def train(self, mode=True):
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x):
        return self.head(self.body(x))


def by_asking(conv, norm):
    """Finds scale and shift from the outputs of the normalization for zero and one."""
    norm.eval()
    zero = norm(torch.zeros(1, conv.out_channels, 1, 1)).flatten()
    one = norm(torch.ones(1, conv.out_channels, 1, 1)).flatten()
    bias = 0 if conv.bias is None else conv.bias
    weight = torch.einsum("d,dchw->dchw", one - zero, conv.weight)
    return put(conv, weight, zero + (one - zero) * bias)


def in_doubles(conv, norm):
    """Another layer, of another type."""
    right = folded(copy.deepcopy(conv).double(), copy.deepcopy(norm).double())
    return right.requires_grad_(False)


def without_groups(conv, norm):
    """A convolution without groups has zeros where one with groups has no weights."""
    right = folded(conv, norm)
    made = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        padding_mode=conv.padding_mode,
    )
    nn.init.zeros_(made.weight)
    outputs, inputs = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    for group in range(conv.groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        columns = slice(group * inputs, (group + 1) * inputs)
        made.weight.data[rows, columns] = right.weight[rows]
    made.bias.data = right.bias.data
    return made


def image_by_image(g, x, weight, eps):
    """With the matrix of all derivatives of an image."""
    found, scales = [], torch.zeros(len(weight), dtype=torch.double)
    for of_y, image in zip(g.double(), x.double(), strict=True):
        values = image.flatten()
        m = len(values)
        s = (values.var(correction=0) + eps).sqrt()
        x_hat = (values - values.mean()) / s
        jacobian = (torch.eye(m) - 1 / m - torch.outer(x_hat, x_hat) / m) / s
        h = (of_y * weight.double()[:, None, None]).flatten()
        found.append((h @ jacobian).view_as(image))
        scales += (of_y * x_hat.view_as(image)).sum((1, 2))
    return torch.stack(found).float(), scales.float(), g.sum((0, 2, 3))


def in_numpy(g, x, weight, eps):
    g, x, weight = (each.double().numpy() for each in (g, x, weight))
    rows = x.reshape(len(x), -1)
    s = np.sqrt(rows.var(1, keepdims=True) + eps)
    x_hat = (rows - rows.mean(1, keepdims=True)) / s
    h = np.einsum("nchw,c->nchw", g, weight).reshape(len(x), -1)
    means = h.mean(1, keepdims=True), (h * x_hat).mean(1, keepdims=True)
    in_x = (h - means[0] - x_hat * means[1]) / s
    scales = (g * x_hat.reshape(x.shape)).sum((0, 2, 3))
    return [in_x.reshape(x.shape), scales, g.sum((0, 2, 3))]


def step_by_step(g, x, weight, eps):
    """As Ioffe and Szegedy write it: through the variance and through the mean."""
    dims, m = (1, 2, 3), x[0].numel()
    mean = x.mean(dims, keepdim=True)
    centered = x - mean
    var = centered.square().sum(dims, keepdim=True) / m + eps
    h = g * weight[:, None, None]
    of_var = (h * centered).sum(dims, keepdim=True) * -0.5 * var**-1.5
    of_mean = -h.sum(dims, keepdim=True) / var.sqrt()
    in_x = h / var.sqrt() + of_var * 2 * centered / m + of_mean / m
    scales = torch.einsum("nchw,nchw->c", g, centered / var.sqrt())
    return in_x, scales, torch.einsum("nchw->c", g)


#: Exercise -> right answers that look different.
RIGHT = {
    "normalization.state": [
        measured,
        one_by_one,
        lambda: np.array([256, 257, 0.6, 4.767]),
    ],
    "normalization.group_norm": [piece_by_piece, by_numpy, listed],
    "normalization.norm": [
        Norm,
        OneBuffer,
        lambda channels, eps, momentum: Norm(channels, eps, momentum).double(),
    ],
    "normalization.train_the_head": [
        wrapped,
        anew,
        TwoParts,
        lambda net: head_only(net.eval(), backbone_trains=False),
    ],
    "normalization.fold": [
        by_asking,
        in_doubles,
        without_groups,
        functools.partial(folded, mean=True),
        lambda conv, norm: torch.nn.utils.fuse_conv_bn_eval(conv.eval(), norm.eval()),
    ],
    "normalization.layer_norm_backward": [image_by_image, in_numpy, step_by_step],
}
