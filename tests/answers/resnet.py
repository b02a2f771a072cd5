"""Answers to the exercises on ResNet: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import Residual, ResNet, basic_block
from course_lib.resnet import ZeroPad, make_shortcut

BASIC, NARROW, WIDE = 1_180_672, 1_117_184, 18_878_464


class Block(nn.Module):
    """Right as it is; its subclasses join the same layers in another way."""

    def __init__(self, channels):
        super().__init__()
        self.norm2 = nn.BatchNorm2d(channels)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding="same", bias=False)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding="same", bias=False)

    def branch(self, x):
        return self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))

    def forward(self, x):
        return (x + self.branch(x)).clamp(min=0)


class BeforeTheAddition(Block):
    def forward(self, x):
        return self.branch(x).relu() + x


class Twice(Block):
    def forward(self, x):
        return (self.branch(x).relu() + x).relu()


class WithoutAtTheEnd(Block):
    def forward(self, x):
        return self.branch(x) + x


class WithoutAddition(Block):
    def forward(self, x):
        return self.branch(x).relu()


class NormalizedSum(Block):
    def forward(self, x):
        return self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()) + x).relu()


class WithoutInTheMiddle(Block):
    def forward(self, x):
        return (self.norm2(self.conv2(self.norm1(self.conv1(x)))) + x).relu()


class PreActivation(Block):
    def forward(self, x):
        y = self.conv1(self.norm1(x).relu())
        return self.conv2(self.norm2(y).relu()) + x


class Detached(nn.Module):
    """No gradient passes through its shortcut."""

    def __init__(self, channels):
        super().__init__()
        self.body = basic_block(channels, channels, 1)

    def forward(self, x):
        return (x.detach() + self.body(x)).relu()


class DetachedBranch(Detached):
    """None passes through its residual branch, to the weights either."""

    def forward(self, x):
        with torch.no_grad():
            change = self.body(x)
        return (x + change).relu()


class FrozenBranch(Detached):
    def __init__(self, channels):
        super().__init__(channels)
        self.body[0].requires_grad_(False)

    def forward(self, x):
        return (x + self.body(x)).relu()


class TwiceTheInput(Block):
    def forward(self, x):
        return (self.branch(x) + x + x).relu()


class SharedNormalization(Block):
    def __init__(self, channels):
        super().__init__(channels)
        self.norm2 = self.norm1


class Unused(Block):
    """The second convolution has weights, and the first one is used twice."""

    def branch(self, x):
        return self.norm2(self.conv1(self.norm1(self.conv1(x)).relu()))


class AlwaysTwo(Block):
    def __init__(self, channels):
        super().__init__(2)


def biased(channels):
    block = Block(channels)
    block.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
    return block


def bare_convolutions(channels):
    block = Block(channels)
    block.norm1 = block.norm2 = nn.Identity()
    return block


class Changing(nn.Module):
    """As in the exercise, with one thing or the other to choose."""

    def __init__(self, c, d, stride, *, shortcut=None, where=None, late=False):
        super().__init__()
        first, second = (1, stride) if late else (stride, 1)
        self.body = nn.Sequential(
            nn.Conv2d(c, d, 3, first, padding=1, bias=False),
            nn.BatchNorm2d(d),
            nn.ReLU(),
            nn.Conv2d(d, d, 3, second, padding=1, bias=False),
            nn.BatchNorm2d(d),
        )
        changes = c != d or stride != 1 if where is None else where
        if shortcut is None:
            shortcut = projection(c, d, stride)
        self.shortcut = shortcut if changes else nn.Identity()

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def projection(c, d, stride, size=1, bias=False):
    return nn.Sequential(
        nn.Conv2d(c, d, size, stride, padding=size // 2, bias=bias), nn.BatchNorm2d(d)
    )


def averaged(c, d, stride):
    pool = nn.AvgPool2d(stride, ceil_mode=True)
    return Changing(c, d, stride, shortcut=nn.Sequential(pool, *projection(c, d, 1)))


class EarlyReLU(Changing):
    def forward(self, x):
        return F.relu(self.body(x)) + self.shortcut(x)


class WithoutReLU(Changing):
    def forward(self, x):
        return self.body(x) + self.shortcut(x)


def linear_no_more(c, d, stride):
    shortcut = nn.Sequential(*projection(c, d, stride), nn.ReLU())
    return Changing(c, d, stride, shortcut=shortcut)


def bare(c, d, stride):
    return Changing(c, d, stride, shortcut=nn.Conv2d(c, d, 1, stride, bias=False))


def padded(x, channels, before=0):
    return F.pad(x, (0, 0, 0, 0, before, channels - x.shape[1] - before))


def subsampled(x, stride):
    return x[:, :, ::stride, ::stride]


def repeated(x, channels, stride):
    return torch.cat(3 * [subsampled(x, stride)], dim=1)[:, :channels]


def where_x_was(x, channels, stride):
    x[:, :, 1::2] = 0
    return padded(subsampled(x, stride), channels)


def in_the_middle(x, channels, stride):
    return padded(subsampled(x, stride), channels, (channels - x.shape[1]) // 2)


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "resnet.branch_parameters": [
        (lambda: (2 * 9 * 256**2, 17 * 256**2, 2 * 9 * 1024**2), "a scale and a shift"),
        (lambda: (BASIC + 512, NARROW + 1536, WIDE + 2048), "have no bias"),
        (lambda: (BASIC + 1024, NARROW + 3072, WIDE + 4096), "not parameters"),
        (lambda: (BASIC, 17 * 256**2 + 6 * 256, WIDE), "1024 output channels"),
        (lambda: (BASIC, 9 * 9 * 256**2 + 3072, WIDE), "the middle one"),
        (lambda: (BASIC // 2, NARROW, WIDE // 2), "in a pair"),
        (lambda: (BASIC, NARROW, 16 * BASIC), "2C parameters"),
        (lambda: (BASIC - 512, NARROW - 1536, WIDE - 2048), "a scale and a shift"),
        (lambda: (NARROW, BASIC, WIDE), "in another order"),
        (lambda: BASIC, "a tuple is wanted"),
    ],
    "resnet.receptive_fields": [
        (lambda: (899, 483, 11), "not in the first 1x1"),
        (lambda: (899, 427, 7), "before all blocks"),
        (lambda: (895, 423, 7), "the kernel of the pooling"),
        (lambda: (899, 427, 1), "no shortcut"),
        (lambda: (899, 427, 32), "pixels that it skips"),
        (lambda: (899, 899, 11), "one position only"),
        (lambda: (7 + 2 + 32 * 2, 7 + 2 + 16 * 2, 9), "more pixels apart"),
        (
            lambda: tuple(wide(*path, late=True) for path in PATHS),
            "layers after it only",
        ),
        (lambda: tuple(wide(*path, pool=False) for path in PATHS), "the pooling add"),
        (lambda: (843, 427, 11), "not in the layer after it"),
        (lambda: (1779, 835, 11), "first stage have no stride"),
        (lambda: (267, 139, 11), "what is halved"),
        (lambda: (965, 427, 11), "layers after it only"),
        (lambda: (899, 427, 9), "after a stride of 2"),
        (lambda: (427, 899, 11), "in another order"),
    ],
    "resnet.block": [
        (BeforeTheAddition, "never negative"),
        (Twice, "One ReLU too many"),
        (WithoutAtTheEnd, "follows the addition"),
        (WithoutAddition, "Where is the addition"),
        (NormalizedSum, "not normalized"),
        (WithoutInTheMiddle, "between the two convolutions"),
        (PreActivation, "later paper"),
        (biased, "need no bias"),
        (bare_convolutions, "a normalization of its own"),
        (SharedNormalization, "a normalization of its own"),
        (TwiceTheInput, "added once"),
        (Unused, "weights of its own"),
        (Detached, "something detached"),
        (DetachedBranch, "something detached"),
        (FrozenBranch, "they are frozen"),
        (AlwaysTwo, "is an argument"),
        (lambda c: Residual(basic_block(c, c, 1)), "does it for you"),
    ],
    "resnet.shortcut_a": [
        (
            lambda x, c, s: padded(F.avg_pool2d(x, s, ceil_mode=True), c),
            "nothing is averaged",
        ),
        (lambda x, c, s: padded(F.avg_pool2d(x, s), c), "nothing is averaged"),
        (lambda x, c, s: padded(F.max_pool2d(x, s), c), "no max pooling"),
        (lambda x, c, s: padded(x[:, :, 1::s, 1::s], c), "first pixel"),
        (lambda x, c, s: padded(x, c), "the stride do"),
        (lambda x, c, s: padded(x[:, :, ::s], c), "The width"),
        (
            lambda x, c, s: padded(subsampled(x, s), c, c - x.shape[1]),
            "after the old",
        ),
        (in_the_middle, "after the old"),
        (repeated, "not copies"),
        (lambda x, c, s: subsampled(x, s), "Where are the new"),
        (lambda x, c, s: padded(subsampled(x, 2), c), "stride is an argument"),
        (lambda x, c, s: padded(subsampled(x, s), c + x.shape[1]), "the old ones, too"),
        (lambda x, c, s: padded(subsampled(x, s) - 1, c) + 1, "channels are zero"),
        (where_x_was, "work on a copy"),
        (lambda x, c, s: ZeroPad(c - x.shape[1], s)(x), "does it for you"),
    ],
    "resnet.changing": [
        (
            lambda c, d, s: Changing(
                c, d, s, shortcut=projection(c, d, 1), where=c != d
            ),
            "height and width",
        ),
        (lambda c, d, s: Changing(c, d, s, where=c != d), "another shape"),
        (lambda c, d, s: Changing(c, d, s, where=True), "B is the identity"),
        (
            lambda c, d, s: Changing(c, d, s, shortcut=projection(c, d, s, 3)),
            "is a 1x1 convolution",
        ),
        (
            lambda c, d, s: Changing(c, d, s, shortcut=projection(c, d, s, bias=True)),
            "needs no bias",
        ),
        (bare, "is normalized, too"),
        (averaged, "nothing is averaged"),
        (
            lambda c, d, s: Changing(c, d, s, shortcut=ZeroPad(d - c, s)),
            "B projects there",
        ),
        (lambda c, d, s: Changing(c, d, s, late=True), "in the first convolution"),
        (lambda c, d, s: Changing(c, d, s, where=s == 2 or c != d), "another shape"),
        (lambda c, d, s: Changing(c, d, s, where=s != 1), "Other channels are"),
        (EarlyReLU, "never negative"),
        (WithoutReLU, "follows the addition"),
        (linear_no_more, "is linear"),
        (
            lambda c, d, s: Residual(basic_block(c, d, s), make_shortcut("B", c, d, s)),
            "does it for you",
        ),
    ],
    "resnet.controls": [
        (lambda: "AAEB", "How many things differ"),
        (lambda: "CBEA", "one and the same network"),
        (lambda: "CAAB", "for the other"),
        (lambda: "CAEA", "by which reported"),
        (lambda: "CADB", "elsewhere"),
        (lambda: "FAEB", "elsewhere"),
        (lambda: "CAE", "in their order"),
        (lambda: 3154, "a string is wanted"),
    ],
    "resnet.all_together": [
        (lambda: (9, 9, 20), "all three together"),
        (lambda: (15, 15, 20), "What was gained"),
        (lambda: (15, 20, 20), "What was gained"),
        (lambda: (9, 167, 20), "not how many"),
        (lambda: (9, 15, 162), "how many fewer"),
        (lambda: (2, 15, 20), "Sum over all three"),
        (lambda: (9, 15), "3 are wanted"),
    ],
}


def wide(convolutions, skips, late=False, pool=True):
    """Goes through the stages; a block has that many 3x3 `convolutions`."""
    width, step = 7 + late * 6, 2
    if pool:
        step *= 1 + late
        width, step = width + 2 * step, 4
    for number, blocks in enumerate((3, 4, 6, 3)):
        for index in range(blocks):
            strides = number > 0 and index == 0
            for index_in_block in range(convolutions):
                here = 2 if strides and index_in_block == 0 else 1
                width += 2 * step * (here if late else 1)
                step *= here
            step *= 2 if strides and skips else 1
    return width


#: 3x3 convolutions of a block, and whether a shortcut does the striding.
PATHS = (2, False), (1, False), (0, True)


def by_zeros():
    """Finds the kernels of a path in the networks themselves."""
    found = []
    for variant, skipped in ((34, "shortcut"), (50, "shortcut"), (34, "body")):
        with torch.device("meta"):
            net = ResNet(variant)
        field = 1
        for name, layer in reversed(list(net.named_modules())):
            if skipped in name or not isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                continue
            size, stride = layer.kernel_size, layer.stride
            if isinstance(layer, nn.Conv2d):
                size, stride = size[0], stride[0]
            field = (field - 1) * stride + size
        found.append(field)
    return found


def matrices():
    def norm(channels):
        return 2 * channels

    return (
        2 * (256 * 256 * 3 * 3 + norm(256)),
        1024 * 256 + norm(256) + 256 * 256 * 9 + norm(256) + 256 * 1024 + norm(1024),
        2 * (1024 * 1024 * 3 * 3 + norm(1024)),
    )


def of_layers():
    """A generator of what PyTorch counts."""
    for widths in (
        (256, 3, 256, 3, 256),
        (1024, 1, 256, 3, 256, 1, 1024),
        (1024, 3) * 2,
    ):
        net = nn.ModuleList()
        for i in range(0, len(widths) - 1, 2):
            c, size, d = (*widths, 1024)[i : i + 3]
            with torch.device("meta"):
                net.append(nn.Conv2d(c, d, size, bias=False))
                net.append(nn.BatchNorm2d(d))
        yield np.int64(sum(p.numel() for p in net.parameters()))


def in_an_array():
    return np.array([899.0, 427.0, 11.0])


class Functional(nn.Module):
    """All parameters at the top, kernels before normalizations."""

    def __init__(self, channels, stride=1, in_channels=None):
        super().__init__()
        c = in_channels or channels
        self.kernel = nn.Parameter(torch.randn(channels, c, 3, 3))
        self.other = nn.Parameter(torch.randn(channels, channels, 3, 3))
        self.affine = nn.ParameterList(
            torch.full((1, channels, 1, 1), value) for value in (1.0, 0.0, 1.0, 0.0)
        )
        self.stride = stride
        for i in range(2):
            self.register_buffer(f"mean{i}", torch.zeros(channels))
            self.register_buffer(f"var{i}", torch.ones(channels))

    def norm(self, x, i):
        return F.batch_norm(
            x,
            getattr(self, f"mean{i}"),
            getattr(self, f"var{i}"),
            self.affine[2 * i].flatten(),
            self.affine[2 * i + 1].flatten(),
            training=self.training,
        )

    def branch(self, x):
        y = F.relu(self.norm(F.conv2d(x, self.kernel, None, self.stride, 1), 0))
        return self.norm(F.conv2d(y, self.other, padding=1), 1)

    def forward(self, x):
        return torch.maximum(self.branch(x) + x, torch.zeros(()))


class OfTwo(nn.Module):
    """A sum over a list of branches, the shortcut first."""

    def __init__(self, c, d, stride):
        super().__init__()
        change = nn.Sequential(
            nn.Conv2d(c, d, 3, stride, 1, bias=False),
            nn.BatchNorm2d(d),
            nn.ReLU(inplace=True),
            nn.Conv2d(d, d, 3, padding="same", bias=False),
            nn.BatchNorm2d(d),
        )
        same = nn.Sequential()
        if (c, 1) != (d, stride):
            same.append(nn.Conv2d(c, d, 1, stride, bias=False))
            same.append(nn.BatchNorm2d(d))
        self.branches = nn.ModuleList([same, change])

    def forward(self, x):
        total = sum(branch(x) for branch in self.branches)
        return total.relu_()


class Strided(Functional):
    """The pixels are taken first, and then projected by a matrix."""

    def __init__(self, c, d, stride):
        super().__init__(d, stride, c)
        self.projected = c != d or stride > 1
        if self.projected:
            self.matrix = nn.Linear(c, d, bias=False)
            self.last = nn.BatchNorm2d(d)

    def forward(self, x):
        y = x[..., :: self.stride, :: self.stride]
        if self.projected:
            y = self.last(self.matrix(y.movedim(1, -1)).movedim(-1, 1))
        return (y + self.branch(x)).relu()


def stacked(x, channels, stride):
    """A list of images, each a list of channels."""
    rows, columns = x[0, 0, ::stride, ::stride].shape
    zeros = torch.zeros(channels - x.shape[1], rows, columns)
    return [torch.cat([image[:, ::stride, ::stride], zeros]) for image in x]


def by_numpy(x, channels, stride):
    y = x.double().numpy()[:, :, ::stride, ::stride]
    return np.pad(y, [(0, 0), (0, channels - y.shape[1]), (0, 0), (0, 0)])


def by_convolution(x, channels, stride):
    """A projection whose matrix is an identity on top of zeros."""
    weight = torch.eye(channels, x.shape[1])[:, :, None, None]
    return F.conv2d(x, weight, stride=stride)


#: Exercise -> right answers that look different.
RIGHT = {
    "resnet.branch_parameters": [
        matrices,
        of_layers,
        lambda: torch.tensor([BASIC, NARROW, WIDE]),
    ],
    "resnet.receptive_fields": [
        by_zeros,
        in_an_array,
        lambda: (wide(*path) for path in PATHS),
    ],
    "resnet.block": [
        Block,
        Functional,
        lambda c: OfTwo(c, c, 1),
        lambda c: Block(c).double(),
    ],
    "resnet.shortcut_a": [by_convolution, stacked, by_numpy],
    "resnet.changing": [Changing, OfTwo, Strided],
    "resnet.controls": [
        lambda: "caeb",
        lambda: ["C", "A", "E", "B"],
        lambda: "C, A, E, B",
    ],
    "resnet.all_together": [
        lambda: [9, 15, 20],
        lambda: torch.tensor([9, 15, 20]),
        lambda: (float(n) for n in (9, 15, 20)),
    ],
}
