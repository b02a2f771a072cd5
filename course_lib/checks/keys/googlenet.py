"""The exercises on GoogLeNet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes, WrongAnswer, compare, meant
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import same_function
from course_lib.checks.nets import Heads
from course_lib.checks.played import counted
from course_lib.checks.shared import case, init_all, refuse
from course_lib.convolution import receptive_field
from course_lib.googlenet import TABLE_1, Inception, InceptionChannels

#: The channels of an Inception module, in the order of Table 1: 1x1, 3x3 reduce, 3x3,
#: 5x5 reduce, 5x5, pool proj. Its convolutions are numbered in this order, from 0.
Widths: TypeAlias = Sequence[int]

#: The kernel size and stride of a layer.
Layer: TypeAlias = tuple[int, int]

#: Options of `_Branches`: what is wrong with it.
Change: TypeAlias = dict[str, Any]


class _Branches(nn.Module):
    """An Inception module that may have mistakes: `linear` are the convolutions that
    lack their ReLU, `tight` is what the padding of the largest kernel lacks.
    """

    def __init__(
        self,
        channels: int,
        widths: Widths,
        *,
        linear: Sequence[int] = (),
        large: int = 5,
        tight: int = 0,
        reduce: bool = True,
        project: bool = True,
        pool: type[nn.MaxPool2d | nn.AvgPool2d] = nn.MaxPool2d,
        order: Sequence[int] = range(4),
    ) -> None:
        super().__init__()

        def conv(number: int, before: int, size: int = 1) -> list[nn.Module]:
            padding = size // 2 - (tight if number == 4 else 0)
            layer = nn.Conv2d(before, widths[number], size, padding=padding)
            return [layer] if number in linear else [layer, nn.ReLU()]

        def reduced(number: int, size: int) -> list[nn.Module]:
            if not reduce:
                return conv(number, channels, size)
            return [
                *conv(number - 1, channels),
                *conv(number, widths[number - 1], size),
            ]

        pooled: list[nn.Module] = [pool(3, 1, padding=1)]
        if project:
            pooled += conv(5, channels)
        branches = [conv(0, channels), reduced(2, 3), reduced(4, large), pooled]
        self.branches = nn.ModuleList(nn.Sequential(*branches[i]) for i in order)
        init_all(self)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the outputs of the branches."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Asked(NamedTuple):
    """One of the numbers that a prediction consists of."""

    name: str
    number: int
    mistakes: list[tuple[int, str]]


def _each(answer: Answer, asked: list[Asked]) -> None:
    """Check the numbers of a prediction one by one.

    Raises: WrongAnswer if one is not right.
    """
    got = answer()
    want = tuple(each.number for each in asked)
    several = meant(got, want)
    if several is None or len(several) != len(want):
        compare(got, want, secret=True)
    for came, (name, number, mistakes) in zip(several, asked, strict=True):
        with case(f"{name}: "):
            compare(came, number, secret=True, mistakes=mistakes, tolerance=0)


@exercise(
    "googlenet.cost_of_4a",
    kind="predict",
    goal="see what a 1x1 convolution saves, twice",
    minutes=10,
    first_hint="List the six convolutions: the kernel size, and the input and output"
    " channels of each.",
)
def cost_of_4a(answer: Answer) -> None:
    """Counted from the library's module."""
    with torch.device("meta"):
        module = Inception(480, TABLE_1["4a"])
        bare = [nn.Conv2d(480, out, k) for out, k in ((192, 1), (208, 3), (48, 5))]
    weights = [
        layer.weight.numel()
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    naive = sum(conv.weight.numel() for conv in bare)
    channels = sum(conv.out_channels for conv in bare)
    _each(
        answer,
        [
            Asked(
                "the weights of the module as it is",
                sum(weights),
                _weights_mistakes(*weights),
            ),
            Asked(
                "its MACs",
                sum(weights) * 14**2,
                _macs_mistakes(sum(weights), naive),
            ),
            Asked(
                "the weights without reductions and projection",
                naive,
                _naive_mistakes(naive, *weights),
            ),
            Asked(
                "its output channels then",
                channels + 480,
                [
                    (channels + 64, "What reduces the pooled channels now?"),
                    (channels, "The max pooling is a branch, too."),
                    (480, "Four branches output channels, which are concatenated."),
                ],
            ),
        ],
    )


def _weights_mistakes(
    one: int, reduce_3: int, three: int, reduce_5: int, five: int, project: int
) -> list[tuple[int, str]]:
    """Of the weights of the six convolutions."""
    count = one + reduce_3 + three + reduce_5 + five + project
    biases = sum(TABLE_1["4a"])
    reduce = reduce_3 + reduce_5
    ones = "All 1x1 convolutions have weights, too."
    kernel = "A 3x3 kernel has 9 weights for each input channel, and a 5x5 has 25."
    wide = "The 3x3 and the 5x5 read what their reductions output."
    bare = one + reduce + project
    return [
        (bare + three // 3 + five // 5, kernel),
        (bare + three + five * 9 // 25, kernel),
        (bare + three // 9 + five // 25, kernel),
        (bare + three // 96 * 480 + five // 16 * 480, wide),
        (
            one + three // 96 * 480 + five // 16 * 480,
            "That is the module without them.",
        ),
        (count + biases, "Leave the biases out."),
        (count - project, "What follows the max pooling?"),
        (count - reduce, ones),
        (count - reduce - project, ones),
        (three + five, ones),
    ]


def _macs_mistakes(weights: int, naive: int) -> list[tuple[int, str]]:
    positions = "A weight is used at every position."
    return [
        (naive, "The MACs come before the weights of figure 2(a)."),
        (weights, positions),
        (weights * 14, positions),
        (weights * 12**2, "With padding, a kernel fits at each pixel."),
        (weights * 14**2 * 2, "A MAC is one multiplication and one addition."),
    ]


def _naive_mistakes(
    naive: int,
    one: int,
    reduce_3: int,
    three: int,
    reduce_5: int,
    five: int,
    project: int,
) -> list[tuple[int, str]]:
    return [
        (naive + project, "The projection is gone, too."),
        (naive + reduce_3 + reduce_5, "The reductions are gone, too."),
        (one + three + five, "Now every kernel has all 480 input channels."),
    ]


@exercise(
    "googlenet.near_and_far",
    kind="predict",
    goal="follow the receptive field along two paths through one network",
    minutes=10,
    first_hint="How wide is the receptive field of a unit in the input of 3a, and how"
    " many pixels apart are those of two neighbors?",
)
def near_and_far(answer: Answer) -> None:
    """By the library's `receptive_field`."""
    _each(
        answer,
        [
            Asked(
                f"{last}, {size} receptive field",
                _field(_path(kernel, last)),
                _field_mistakes(kernel, last),
            )
            for last in ("3a", "5b")
            for size, kernel in (("smallest", 1), ("largest", 5))
        ],
    )


def _field(layers: list[Layer]) -> int:
    return receptive_field(layers)[0]


def _path(
    kernel: int,
    last: str,
    *,
    first: Layer = (7, 2),
    pool: Layer = (3, 2),
    between: Layer | None = None,
    skip: str = "",
) -> list[Layer]:
    """The path through one kernel of each module, up to the last, without one of them.
    `pool` are the poolings before 3a, `between` those after it.
    """
    layers = [first, pool, (1, 1), (3, 1), pool]
    modules = list(TABLE_1)
    for name in modules[: modules.index(last) + 1]:
        if name in ("4a", "5a"):
            layers.append(between or pool)
        if name != skip:
            layers.append((kernel, 1))
    return layers


def _field_mistakes(kernel: int, last: str) -> list[tuple[int, str]]:
    """For one of the four widths."""
    path = _path(kernel, last)
    far = _field(_path(1, "5b"))
    order = "First both widths of 3a, then both of 5b."
    pools: list[tuple[Layer, str]] = [
        ((3, 1), "Pooling has a stride of 2, too, and that counts for what follows."),
        ((1, 2), "Pooling has a kernel size, too."),
        ((2, 2), "The pooling layers are 3x3."),
    ]
    lost = "There is a pooling before 4a and another before 5a."
    others: list[tuple[list[Layer], str]] = [
        ([(size, 1) for size, _ in path], "What did the strides do?"),
        (_path(3, last), "The two paths lead through 1x1 or through 5x5."),
        (_path(6 - kernel, last), "Which path has the smaller field?"),
        *((_path(kernel, last, between=pool), hint) for pool, hint in pools),
        *((_path(kernel, last, pool=pool), hint) for pool, hint in pools),
        (_path(kernel, last, between=(1, 1)), lost),
        (_path(kernel, last, pool=(1, 1)), "There are poolings on the way."),
        (_path(kernel, last, first=(7, 1)), "The first layer has a stride of 2."),
        (_path(kernel, last, skip=last), "The module itself is part of the path."),
        (_path(kernel, last, skip="4e"), "4a to 4e are five modules."),
    ]
    own = 1 + sum((size - 1) * stride for size, stride in path)
    before = "A step is the product of all strides before it."
    return [
        *([(far, order)] if (kernel, last) == (5, "3a") else []),
        *((_field(layers), hint) for layers, hint in others),
        (own, before),
        (_field(path) - 1, "Without any layer, a unit is one pixel: begin with 1."),
        (224, "Count as if the image had no borders."),
    ]


@exercise(
    "googlenet.loss_with_heads",
    kind="repair",
    goal="add losses where losses are to be added, and only in training",
    minutes=10,
    first_hint="In which of the two modes does the first line work?",
)
def loss_with_heads(answer: Answer) -> None:
    """With a network of three linear classifiers, in both modes."""
    for training in (True, False):
        net = Heads()
        mode = "training" if training else "evaluation"
        x, y = _batch_that_tells_heads_apart(net)
        logits, aux2, aux1 = net(x)
        own, two, one = (F.cross_entropy(each, y) for each in (logits, aux2, aux1))
        wanted = own + 0.3 * (one + two) if training else own
        mistakes = [
            *_mixed_up(logits, aux2, aux1, y),
            *_loss_mistakes(own, two, one),
            (len(y) * wanted, "The loss is a mean over the images, not a sum."),
            *((each, PLAIN) for each in _smoothed(net, x, y, training)),
        ]
        net.modes.clear()
        got = answer(net.train(training), x, y)
        after = answer.arguments[0]
        compare(
            got,
            wanted.item(),
            on=f"in {mode} mode",
            tolerance=0.01,
            mistakes=[(each.item(), hint) for each, hint in mistakes],
        )
        parameters = list(net.parameters())
        answer.compare_gradients(
            torch.autograd.grad(wanted, parameters, materialize_grads=True),
            on=f" in {mode} mode",
            hint="What detached it from the network, or a part of it?",
        )
        if set(after.modes) != {training} or after.training != training:
            raise WrongAnswer(
                f"it does not leave the network in {mode} mode",
                "`net.training` says which mode it is in.",
            )


#: Of losses with label smoothing.
PLAIN = "Plain cross-entropies are wanted, without label smoothing."


def _smoothed(net: Heads, x: Tensor, y: Tensor, training: bool) -> list[Tensor]:
    """The loss with more and less label smoothing, in this mode."""
    found = []
    for amount in (0.05, 0.1, 0.2):
        own, two, one = (
            F.cross_entropy(logits, y, label_smoothing=amount) for logits in net(x)
        )
        found.append(own + 0.3 * (one + two) if training else own)
    return found


def _batch_that_tells_heads_apart(net: Heads) -> tuple[Tensor, Tensor]:
    """Images and labels for which the heads have different losses, and other ones with
    label smoothing: otherwise mistakes would look alike.
    """
    gap = torch.zeros(())
    while gap < 0.02:
        x = 2 * torch.randn(6, 3, 2, 2)
        y = torch.randint(5, (6,))
        plain, smoothed = (
            [F.cross_entropy(logits, y, label_smoothing=amount) for logits in net(x)]
            for amount in (0.0, 0.1)
        )
        own, two, one = (b - a for a, b in zip(plain, smoothed, strict=True))
        heads = plain[1] - plain[2]
        gap = torch.stack([own, own + 0.3 * (one + two), heads / 5]).abs().min()
    return x, y


def _mixed_up(
    logits: Tensor, aux2: Tensor, aux1: Tensor, y: Tensor
) -> list[tuple[Tensor, str]]:
    """What comes of adding logits, and of a softmax too many."""
    mixed = logits + 0.3 * (aux2 + aux1)
    add = "Add losses, not logits: each classifier has its own loss."
    soft = [F.cross_entropy(each.softmax(1), y) for each in (logits, aux2, aux1)]
    twice = "`cross_entropy` takes logits: the softmax is inside."
    return [
        (F.cross_entropy(mixed, y), add),
        (F.cross_entropy(mixed / 1.6, y), add),
        (soft[0] + 0.3 * (soft[1] + soft[2]), twice),
        (soft[0], twice),
    ]


def _loss_mistakes(own: Tensor, two: Tensor, one: Tensor) -> list[tuple[Tensor, str]]:
    weight = "What is the weight of a head's loss?"
    heads = "There are two heads."
    both = "The weight of 0.3 is for the loss of each head, not only of one."
    return [
        (own, "In training, the losses of the heads are added."),
        (
            own + 0.3 * (one + two),
            "In evaluation mode, only the network's own loss counts.",
        ),
        (own + one + two, weight),
        ((own + one + two) / 3, weight),
        (own + 0.15 * (one + two), "Each head has the weight 0.3, not both together."),
        (own + 0.3 * two + one, both),
        (own + 0.3 * one + two, both),
        (own + 0.3 * one, heads),
        (own + 0.3 * two, heads),
        (0.3 * (own + one + two), "The loss of the network itself has the weight 1."),
    ]


@exercise(
    "googlenet.most_between",
    kind="implement",
    goal="know when two small kernels are cheaper than a large one",
    minutes=10,
    first_hint="How many weights do two 3x3 have with m channels between them?",
)
def most_between(answer: Answer) -> None:
    """By trying every number, on channels of Table 1 and on random ones."""
    cases = [(16, 32), (18, 18), (48, 128), (1, 1)]
    cases += [(random.randint(2, 64), random.randint(2, 64)) for _ in range(10)]
    for before, after in cases:
        large = 25 * before * after  # weights of a 5x5
        each = 9 * (before + after)  # weights of two 3x3 for a channel between them
        most = max(m for m in range(3 * before + 1) if m * each < large)
        answer.expect(
            most,
            before,
            after,
            on=f"{before} channels in and {after} out",
            mistakes=[
                (large // each, "With just as many weights, nothing is saved."),
                (large / each, "A number of channels is a whole number."),
                (most + 1, "With so many between, two 3x3 have more weights."),
                (most - 1, "With one channel more, they still have fewer weights."),
                *_most_between_mistakes(before, after),
            ],
        )


def _most_between_mistakes(before: int, after: int) -> Mistakes:
    large = 25 * before * after
    equal = "That is so where input and output have equally many channels."
    both = "The weights of both 3x3 depend on the channels between them."
    return [
        (25 * before // 18, equal),
        (25 * after // 18, equal),
        (25 * (before + after) // 36, equal),
        (large // (9 * before), both),
        (large // (9 * after), both),
        (
            5 * before * after // (3 * (before + after)),
            "A 5x5 kernel has 25 weights per input channel, a 3x3 has 9.",
        ),
    ]


@exercise(
    "googlenet.column_and_row",
    kind="implement",
    goal="find the nearest kernel that a column and a row can make",
    minutes=20,
    first_hint="The product of a column and a row has rank one. What does the singular"
    " value decomposition say about the nearest such matrix?",
)
def column_and_row(answer: Answer) -> None:
    """By the product of what comes back: for random kernels, and for one that is a
    product.
    """
    sobel = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0]))
    for kernel, on in (
        (torch.randn(3, 3), "a random 3x3 kernel"),
        (torch.randn(7, 7) + 0.3, "a random 7x7 kernel"),
        (sobel, "Sobel's kernel"),
    ):
        parts = answer(kernel)
        pair = list(parts) if isinstance(parts, tuple | list) else []
        size = len(kernel)
        shapes = [tuple(each.shape) for each in pair if isinstance(each, Tensor)]
        refuse(
            shapes != [(size,), (size,)],
            f"two vectors are wanted for {on}",
            f"Return a column and a row, each of shape ({size},).",
        )
        compare(
            torch.outer(pair[0], pair[1]).float(),
            _nearest(kernel),
            on=f"for the product of both, with {on}",
            mistakes=_product_mistakes(kernel),
            tolerance=1e-3,
        )


def _nearest(kernel: Tensor, rank: int = 0) -> Tensor:
    """One term of the singular value decomposition."""
    u, sizes, v = torch.linalg.svd(kernel)
    return sizes[rank] * torch.outer(u[:, rank], v[rank])


def _product_mistakes(kernel: Tensor) -> Mistakes:
    u, sizes, v = torch.linalg.svd(kernel)
    marginal = torch.outer(kernel.sum(1), kernel.sum(0))
    total = kernel.sum()
    factor = "The product lacks its factor: where does the singular value go?"
    transposed = "In `torch.linalg.svd`, the third result has its vectors in its rows."
    means = "Sums, or means, over rows and columns are near only for positive kernels."
    return [
        (torch.outer(u[:, 0], v[0]), factor),
        (
            sizes[0] * _nearest(kernel),
            "The singular value is a factor once.",
        ),
        (sizes[0] * torch.outer(u[:, 0], v[:, 0]), transposed),
        (sizes[0] * torch.outer(u[0], v[0]), "The first column of U is wanted."),
        (sizes[0] * torch.outer(v[0], u[:, 0]), "First the column, then the row."),
        (_nearest(kernel, -1), "The largest singular value comes first."),
        (marginal, means),
        (marginal / total, means),
        (torch.outer(kernel.mean(1), kernel.mean(0)), means),
        (
            torch.outer(kernel[:, 0], kernel[0]),
            "It is to be near to all of the kernel, not to its border.",
        ),
    ]


@exercise(
    "googlenet.inception",
    kind="implement",
    goal="build a block that forks and joins",
    minutes=20,
    first_hint="Write one branch after the other; each keeps height and width. Then"
    " concatenate.",
    banned=("course_lib.googlenet.Inception",),
    instead="Write the four branches.",
)
def inception(answer: Answer) -> None:
    """Against the library's module, with channels that are all different."""
    cases: list[tuple[int, Widths]] = [
        (5, (2, 3, 4, 6, 7, 8)),
        (3, (9, 8, 7, 4, 6, 5)),
    ]
    for channels, widths in cases:
        want = Inception(channels, InceptionChannels(*widths))
        x = torch.randn(2, channels, 6, 7)
        init_all(want)
        got = answer(channels, widths)
        mistakes = _inception_mistakes(channels, widths)
        try:
            same_function(got, want, x, mistakes=mistakes)
        except WrongAnswer as wrong:
            hint = wrong.hint
            if "cannot take" in wrong.message or "expected shape" in wrong.message:
                hint = "Each branch keeps height and width; concatenate channels."
            elif "values" in wrong.message and not hint:
                hint = (
                    "The place is [image, channel, row, column]. From which branch"
                    f" does that channel come, of {widths[0]} + {widths[2]} +"
                    f" {widths[4]} + {widths[5]}?"
                )
            raise WrongAnswer(wrong.message, hint) from None


def _inception_mistakes(channels: int, widths: Widths) -> list[tuple[nn.Module, str]]:
    """Wrong modules, with hints."""
    row = "Table 1 has each reduction before its kernel: read the row in its order."
    return [
        *(
            (_Branches(channels, widths, **change), hint)
            for change, hint in _inception_changes()
        ),
        *((_Branches(channels, [widths[i] for i in order]), row) for order in MISREAD),
    ]


#: Which number of a row is taken for which, if it is misread: with each reduction
#: behind its kernel, all reductions first, all of them last, the pooling first, and the
#: reductions, the kernels or both exchanged.
MISREAD = (
    (0, 2, 1, 4, 3, 5),
    (0, 1, 3, 2, 4, 5),
    (0, 3, 1, 4, 2, 5),
    (1, 2, 3, 4, 5, 0),
    (0, 3, 2, 1, 4, 5),
    (0, 1, 4, 3, 2, 5),
    (0, 3, 4, 1, 2, 5),
)


def _inception_changes() -> list[tuple[Change, str]]:
    ones = "Where are the 1x1 before the large kernels and after the pooling?"
    relu = "Each of the six convolutions is followed by a ReLU."
    order = "Concatenate in the order of Table 1: 1x1, 3x3, 5x5, pooling."
    four = "The module has four branches. Which one is missing?"
    return [
        ({"pool": nn.AvgPool2d}, "Use max pooling, not average pooling."),
        ({"large": 3}, "One of the kernels is 5x5."),
        ({"reduce": False}, ones),
        ({"project": False}, ones),
        ({"reduce": False, "project": False}, ones),
        ({"linear": (1, 3)}, relu),
        ({"linear": (0, 2, 4, 5)}, relu),
        ({"linear": (5,)}, relu),
        ({"linear": range(6)}, relu),
        *(({"order": each}, order) for each in permutations(range(4))),
        *(({"order": each}, four) for each in combinations(range(4), 3)),
    ]


@exercise(
    "googlenet.branches_of_3a",
    kind="predict",
    goal="tell a difference of zero from a change that did nothing",
    minutes=10,
    first_hint="Open the page in the state of the link; the switches of the four"
    " branches are below the drawing.",
)
def branches_of_3a(answer: Answer) -> None:
    """By the network of the page, in PyTorch."""
    names = ("conv1x1", "conv3x3", "conv5x5", "pool_proj")
    found = {n: counted("googlenet", off=(f"inception_3a.{n}",)) for n in names}
    large = sum(each.deviations() > 2 for each in found.values())
    least = min(found.values(), key=lambda each: abs(each.gained - each.lost))
    all_off = "Switch each branch on again before the next."
    other = "That is another branch: whose difference is nearest to 0?"
    pair = (least.lost, least.gained)
    answer.expect(
        (large, *pair),
        tolerance=0,
        mistakes=[
            (
                (large, 0, 0),
                "The difference is 0. Does that mean that nothing changed?",
            ),
            ((4, *pair), "One of the four differences is not so large."),
            ((large - 1, *pair), "Divide each difference by its standard deviation."),
            ((large, least.right, 0), "Lost and gained answers, not those right now."),
            ((1, *pair), "That is the number of small ones."),
            *(((large, e.lost, e.gained), other) for e in found.values() if e != least),
            *(((4, e.lost, e.gained), all_off) for e in found.values() if e != least),
        ],
    )
