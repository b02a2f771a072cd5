"""The exercises on the comparison of networks by what they cost."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes, WrongAnswer, compare, same_data
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import Number, combined
from course_lib.convolution import output_size, receptive_field
from course_lib.summary import count_parameters, summarize
from course_lib.vgg import VGG

#: Layers in a row, each a kernel size and a stride.
Branch: TypeAlias = list[tuple[int, int]]

#: A layer, or the branches of a fork, which join again.
Part: TypeAlias = tuple[int, int] | list[Branch]


@exercise(
    "comparison.bytes_of_weights",
    kind="predict",
    goal="turn a number of parameters into bytes",
    minutes=5,
    first_hint="The name says how many bits a value has. How many bytes is that?",
)
def bytes_of_weights(answer: Answer) -> None:
    """From the parameters of VGG-16 and the sizes of PyTorch's types."""
    with torch.device("meta"):
        count = count_parameters(VGG(16))
    single = count * torch.float32.itemsize
    half = count * torch.bfloat16.itemsize
    values = "SGD with momentum stores two more values per parameter. Which ones?"
    answer.expect(
        (single, half, 3 * single),
        tolerance=0,
        mistakes=[
            ((8 * single, 8 * half, 24 * single), "A byte has eight bits."),
            ((single, half, single), values),
            ((single, half, 2 * single), values),
            ((single, half, 3 * half), "The network is trained in float32."),
            (
                (single, half, 4 * single),
                "Adam stores two moments, SGD only one.",
            ),
            ((single, single, 3 * single), "bfloat16 has half as many bits."),
            ((2 * single, single, 6 * single), "A float32 has 32 bits: four bytes."),
            ((count, count // 2, 3 * count), "A float32 has more than one byte."),
            ((count, count, 3 * count), "A float32 has more than one byte."),
            ((single, half, 2 * half), "The network is trained in float32."),
            *_in_megabytes(single, half),
        ],
    )


def _in_megabytes(single: int, half: int) -> Mistakes:
    """Rounded to some digits, or not."""
    return [
        (
            tuple(round(each / unit, digits) for each in (single, half, 3 * single)),
            "Bytes are asked for, all of them, and no larger unit.",
        )
        for unit in (1e6, 2**20, 1e9, 2**30)
        for digits in (0, 1, 2, 3, 15)
    ]


#: In and out channels, kernel size, pixels a side, stride, padding, groups.
Conv: TypeAlias = tuple[int, int, int, int, int, int, int]


@exercise(
    "comparison.conv_macs",
    kind="implement",
    goal="count the MACs of any convolution",
    minutes=10,
    first_hint="Begin with one group: MACs of one output pixel, then of all of them.",
    banned=("course_lib.summary.summarize",),
    instead="Write the formula.",
)
def conv_macs(answer: Answer) -> None:
    """Against the library's count of the layer itself."""
    cases = [
        (5, 8, 3, 16, 1, 1, 1),
        (96, 256, 5, 27, 1, 2, 2),
        (6, 6, 3, 9, 2, 1, 6),
        (4, 8, 3, 10, 2, 1, 2),
        (2, 4, 2, 9, 3, 0, 1),
    ]
    cases += [_draw_conv() for _ in range(10)]
    for conv in cases:
        in_channels, out_channels, kernel_size, size, stride, padding, groups = conv
        with torch.device("meta"):
            layer = nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding,
                groups=groups,
                bias=False,
            )
        want = summarize(layer, (in_channels, size, size)).macs
        answer.expect(
            want,
            *conv,
            on=f"{in_channels} to {out_channels} channels of {size} pixels in {groups}"
            f" groups, kernel {kernel_size}, stride {stride}, padding {padding}",
            mistakes=_conv_macs_mistakes(want, layer.weight.numel(), conv),
        )


def _draw_conv() -> Conv:
    groups = random.choice((1, 2, 3, 4))
    kernel_size = random.randint(1, 5)
    in_channels = groups * random.randint(1, 4)
    out_channels = groups * random.randint(1, 4)
    size = random.randint(kernel_size, 20)
    stride = random.randint(1, 3)
    padding = random.randint(0, kernel_size // 2)
    return in_channels, out_channels, kernel_size, size, stride, padding, groups


def _conv_macs_mistakes(want: int, weights: int, conv: Conv) -> Mistakes:
    in_channels, out_channels, kernel_size, size, stride, padding, groups = conv
    side = output_size(size, kernel_size, stride, padding)
    unpadded = output_size(size, kernel_size, stride)
    whole = (size + 2 * padding - kernel_size) / stride + 1
    strides = "What does the stride do?"
    sides = "Padding is on both sides, once on each."
    rounded = "Where the last stride leads beyond the border, there is no output."
    return [
        (want * groups, "An output depends on the input channels of its own group."),
        (want / groups, "There are still as many outputs as without groups."),
        (
            weights * size**2,
            "It is used once per position of the output: what does the stride do?",
        ),
        (want // kernel_size, "The kernel has a height and a width."),
        (want // side, "The output has rows and columns."),
        (weights, "Each weight is used at every position."),
        (2 * want, "These are FLOPs, two per MAC."),
        (weights * unpadded**2, "Padding adds positions."),
        (want + out_channels * side**2, "There is no bias."),
        (weights * output_size(size, kernel_size, 1, padding) ** 2, strides),
        (weights * (size // stride) ** 2, "At how many places does the kernel fit?"),
        (weights * whole**2, rounded),
        (weights * math.ceil(whole) ** 2, rounded),
        (weights * output_size(size, kernel_size, stride, 2 * padding) ** 2, sides),
        (weights * output_size(size + padding, kernel_size, stride) ** 2, sides),
        (want // in_channels * groups, "A kernel covers all channels of its group."),
        (want // out_channels, "Each output channel has a kernel of its own."),
    ]


@exercise(
    "comparison.opinions",
    kind="implement",
    goal="know what an ensemble can gain, and why it gains less",
    minutes=12,
    first_hint="What is the shape of the probabilities, and over which dimension is"
    " their mean?",
)
def opinions(answer: Answer) -> None:
    """For networks that share errors, one of them with large logits."""
    for networks, images, classes, seed in (
        (3, 60, 4, 0),
        (5, 80, 3, 1),
        (2, 50, 6, 2),
    ):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(classes, (images,), generator=generator)
        shared = torch.randn(images, classes, generator=generator)
        shared[range(images), labels] += 1.0
        own = torch.randn(networks, images, classes, generator=generator)
        logits = shared + 0.8 * own
        logits[-1] *= 6
        first, *others = (list(each) for each in _opinions(logits, labels))
        answer.expect(
            (first[0][0], *(each[0][0] for each in others)),
            logits,
            labels,
            on=f"{networks} networks and {images} images",
            mistakes=combined(first, *others),
        )


def _opinions(logits: Tensor, labels: Tensor) -> tuple[Number, Number, Number]:
    """The three numbers, the right one first, with what mistakes make of them."""
    probabilities = logits.softmax(dim=2)
    answers = logits.argmax(dim=2)
    right = answers == labels
    errors = 1 - right.float().mean(dim=1)

    def share(each: Tensor) -> float:
        return each.float().mean().item()

    def accuracy(scores: Tensor) -> float:
        return share(scores.argmax(dim=1) == labels)

    return (
        [
            (accuracy(probabilities.mean(dim=0)), ""),
            (accuracy(logits.mean(dim=0)), "Logits are not yet probabilities."),
            (
                accuracy(logits.softmax(dim=1).mean(dim=0)),
                "The probabilities of the classes sum to one, not those of the images.",
            ),
            (share(answers.mode(dim=0).values == labels), "That counts votes."),
            (share(right), "That is the mean of the networks' accuracies."),
        ],
        [
            (share(~right.any(dim=0)), ""),
            (share(right.any(dim=0)), "That is the share that one is right for."),
            (share(~right.all(dim=0)), "No network is right: all are wrong."),
            (share(~right), "No network is right: a share of the images."),
        ],
        [
            (errors.prod().item(), ""),
            (1 - errors.prod().item(), "That is the chance that one is right."),
            ((1 - errors).prod().item(), "That is the chance that all are right."),
            (errors.mean().item() ** len(errors), "Each has an error rate of its own."),
            (errors.mean().item(), "All of them have to be wrong at once."),
        ],
    )


@exercise(
    "comparison.saved_by_a_block",
    kind="predict",
    goal="know what autograd saves for the backward pass",
    minutes=10,
    first_hint="Write down what is saved for each of the four layers. Which tensors are"
    " the same?",
)
def saved_by_a_block(answer: Answer) -> None:
    """By the library's count of what autograd saves."""

    def saved(*between: nn.Module) -> int:
        layers = (nn.Conv2d(64, 64, 3, padding=1), *between, nn.ReLU())
        return summarize(nn.Sequential(*layers, *layers), (64, 56, 56)).saved_bytes or 0

    with torch.device("meta"):
        plain = 32 * saved()
        normalized = 32 * saved(nn.BatchNorm2d(64))
    one = plain // 2  # output of a layer
    needed = "Not every output is saved. What needs the output of a convolution?"
    shared = "The output of one layer and the input of the next are one tensor."
    answer.expect(
        (plain, normalized),
        mistakes=[
            ((plain // 32, normalized // 32), "A mini-batch has 32 images."),
            ((plain // 4, normalized // 4), "A float32 value has four bytes."),
            ((plain * 8, normalized * 8), "A byte has eight bits."),
            ((4 * one, 6 * one), needed),
            ((3 * one, 5 * one), shared),
            ((plain, 6 * one), "Nothing needs the output of batch normalization."),
            ((plain, plain), "Batch normalization needs its input for backward."),
            ((one, 3 * one), "The output of the second ReLU is saved, too."),
            ((one, 2 * one), "There are two convolutions and two ReLUs."),
            ((3 * one, 4 * one), shared),
            ((3 * one, 6 * one), shared),
            ((4 * one, 8 * one), needed),
            ((2 * one, 3 * one), "Each normalization saves its own input."),
            ((3 * one, 3 * one), "Batch normalization needs its input for backward."),
            ((plain, 5 * one), "The block's own input does not count."),
            (
                (plain / 2**20, normalized / 2**20),
                "Bytes are asked for, and no larger unit.",
            ),
            ((plain / 1e6, normalized / 1e6), "Bytes are asked for, no larger unit."),
        ],
    )


@exercise(
    "comparison.field_through_branches",
    kind="implement",
    goal="follow the receptive field through forks and joins",
    minutes=15,
    first_hint="Begin with layers in a row. Then take a fork with"
    " two branches of one layer each.",
)
def field_through_branches(answer: Answer) -> None:
    """Against the widest of all chains through the branches, by the library."""
    inception: Part = [[(1, 1)], [(1, 1), (3, 1)], [(1, 1), (5, 1)], [(3, 1), (1, 1)]]
    shortcut: Part = [[(3, 2), (3, 1)], [(1, 2)]]
    # The first branch, the longest one, the best, that with the widest kernel, the
    # narrowest, and the last have different fields.
    each_other: Part = [
        [(3, 1)],
        [(3, 1), (3, 1), (3, 1)],
        [(7, 1), (7, 1)],
        [(9, 1)],
        [(1, 1)],
        [(5, 1)],
    ]
    cases: list[list[Part]] = [
        [(7, 2), (3, 2), (3, 1)],
        [each_other],
        [[[(3, 1)], [(1, 1)], [(7, 1)], [(5, 1)]]],
        [inception, inception],
        [(7, 2), (3, 2), [[(3, 1), (3, 1)], []], shortcut],
        [[[(3, 1), (3, 1), (3, 1)], [(5, 1)]], (3, 1)],
        [[[(1, 1), (1, 1), (3, 1)], [(7, 1)]], (3, 1)],
        [[[(1, 2)], [(3, 2), (3, 1)]], (3, 1), [[(3, 1)], [(1, 1)]]],
        [],
    ]
    cases += [[_draw_part() for _ in range(random.randint(2, 5))] for _ in range(10)]
    for parts in cases:
        forks = [part if isinstance(part, list) else [[part]] for part in parts]
        chains = itertools.product(*forks)
        answer.expect(
            max(_width(list(itertools.chain(*chain))) for chain in chains),
            parts,
            on=f"parts {parts}",
            mistakes=_field_mistakes(forks),
        )


def _field_mistakes(forks: list[list[Branch]]) -> Mistakes:
    everything = list(itertools.chain(*itertools.chain(*forks)))
    flat = [[[(size, 1) for size, _ in branch] for branch in fork] for fork in forks]
    behind = "After a fork, neighboring units are as far apart as its strides say."
    return [
        (_apart_only_in_rows(forks), behind),
        (
            _own_strides(forks),
            "Multiply by the strides before a layer, not by its own.",
        ),
        (1 + sum(map(_added, forks)), "Add k - 1, times the pixels between units."),
        (_width(everything), "Branches are parallel, not one after the other."),
        (
            _through(forks, lambda fork: fork[0]),
            "The first branch is not the only one.",
        ),
        (
            _through(forks, lambda fork: fork[-1]),
            "The last branch is not the only one.",
        ),
        (
            _through(forks, lambda fork: min(fork, key=_width)),
            "A unit depends on what any of its branches depends on.",
        ),
        (
            _through(forks, lambda fork: max(fork, key=len)),
            "The longest branch need not see the most: add up k - 1 along each.",
        ),
        (
            _through(forks, lambda fork: max(fork, key=_widest)),
            "The widest kernel need not be in the branch that sees the most: add up"
            " k - 1 along each.",
        ),
        (
            _through(flat, lambda fork: max(fork, key=_width)),
            "After a stride, neighboring units are several pixels apart; that is so"
            " after a fork, too.",
        ),
    ]


def _through(
    forks: list[list[Branch]], choose: Callable[[list[Branch]], Branch]
) -> int:
    """The field through one branch of each fork."""
    return _width(list(itertools.chain(*map(choose, forks))))


def _apart_only_in_rows(forks: list[list[Branch]]) -> int:
    """The field if the strides of forks had no effect behind them."""
    field = 1
    step = 1
    for fork in forks:
        field += step * (max(map(_width, fork)) - 1)
        if len(fork) == 1:
            step *= math.prod(stride for _, stride in fork[0])
    return field


def _own_strides(forks: list[list[Branch]]) -> int:
    """The field if each layer's own stride were the distance of its inputs."""
    return 1 + sum(
        max(sum((size - 1) * stride for size, stride in branch) for branch in fork)
        for fork in forks
    )


def _added(fork: list[Branch]) -> int:
    """The kernel sizes along its widest branch."""
    return max(sum(size for size, _ in branch) for branch in fork)


def _width(layers: Branch) -> int:
    return receptive_field(layers)[0]


def _widest(layers: Branch) -> int:
    return max((size for size, _ in layers), default=0)


def _draw_part() -> Part:
    """A layer, or branches with the same stride."""
    stride = random.randint(1, 2)
    branches = [
        [(random.choice((1, 3, 5)), stride if i == 0 else 1) for i in range(length)]
        for length in (random.randint(1, 3) for _ in range(random.randint(2, 3)))
    ]
    if stride == 1:
        branches.append([])
    random.shuffle(branches)
    return random.choice((branches, (random.choice((1, 3, 5, 7)), stride)))


@exercise(
    "comparison.profile",
    kind="repair",
    goal="know what counts once and what counts at every use",
    minutes=15,
    first_hint="Which of the two counts should grow if a layer is used twice?",
    banned=("course_lib.summary.summarize", "course_lib.summary.count_parameters"),
    instead="Correct the function as it is.",
)
def profile(answer: Answer) -> None:
    """Against the library's, on networks that a wrong rule counts wrongly."""
    for name, net in _profiled_networks().items():
        size = sum(each.numel() for each in net.parameters())
        macs = summarize(net, (4, 12, 10)).macs
        x = torch.randn(1, 4, 12, 10)
        compare(
            answer(net, x, changes=[0]),
            (size, macs),
            on=f"for {name}",
            tolerance=0,
            mistakes=_profile_mistakes(net, x, size, macs),
        )
        if not same_data(net, answer.arguments[0]):
            raise WrongAnswer(
                "the network is not what it was before",
                "Hooks that stay would count again, at the next input.",
            )


def _profiled_networks() -> dict[str, nn.Module]:
    shared = nn.Conv2d(4, 4, 3, padding=1)
    grouped = nn.Conv2d(4, 4, 3, groups=2)
    last = nn.Linear(4, 4)
    frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
    norm = nn.BatchNorm2d(4)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    scaled = nn.Sequential(shared, *head)
    scaled.register_parameter("scale", nn.Parameter(torch.ones(4)))
    networks = {
        "a network with groups": nn.Sequential(nn.Conv2d(4, 4, 1), grouped, *head),
        "a network that uses a layer twice": nn.Sequential(
            shared, nn.ReLU(), shared, *head, last
        ),
        "a network with both": nn.Sequential(shared, grouped, shared, grouped, *head),
        "a network that is partly frozen": nn.Sequential(frozen, *head),
        "a network of networks": nn.Sequential(nn.Sequential(shared, nn.ReLU()), head),
        "a network with normalization": nn.Sequential(shared, norm, *head),
        "a network with an oblong kernel": nn.Sequential(nn.Conv2d(4, 2, (1, 5))),
        "a plain network": nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.ReLU()),
        "a module with a parameter and submodules": scaled,
    }
    return {name: net.eval() for name, net in networks.items()}


def _profile_mistakes(net: nn.Module, x: Tensor, size: int, macs: int) -> Mistakes:
    """`size` parameters and `macs` are right."""
    often, forgotten = _profile(net, x, once=False, groups=False)
    _, once = _profile(net, x, once=True, groups=True)
    _, both = _profile(net, x, once=True, groups=False)
    trained = sum(each.numel() for each in net.parameters() if each.requires_grad)
    layers = [each for each in net.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    counted = sum(map(_size, layers))
    leaves = sum(_size(each) for each in net.modules() if not [*each.children()])
    shared = "A layer that is used twice exists once: count its parameters once."
    used = "A layer that is used twice computes twice."
    group = "An output depends on the input channels of its own group."
    inside = "A network may consist of networks: `modules()` finds all layers."
    own = "A module with submodules may have parameters of its own."
    return [
        ((leaves, macs), own),
        ((size, forgotten), group),
        ((often, macs), shared),
        ((often, forgotten), f"{group} And: {shared}"),
        ((size, once), used),
        ((size, both), used),
        ((size, 2 * macs), "These are FLOPs, two per MAC."),
        ((trained, macs), "A frozen parameter is a parameter, too."),
        ((counted, macs), "Other layers have parameters, too."),
        ((size, 0), inside),
        ((0, 0), inside),
        ((size, macs // 5), "A kernel need not be square."),
        ((size, macs * 5), "A kernel need not be square."),
    ]


def _profile(net: nn.Module, x: Tensor, *, once: bool, groups: bool) -> tuple[int, int]:
    """Parameters and MACs: of each layer `once`, or at each use; with its `groups`, or
    without.
    """
    used: list[nn.Module] = []
    parameters = 0
    macs = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal parameters, macs
        if not (once and layer in used):
            parameters += _size(layer)
            if isinstance(layer, nn.Conv2d | nn.Linear):
                forgotten = 1 if groups else getattr(layer, "groups", 1)
                macs += output.numel() * layer.weight[0].numel() * forgotten
        used.append(layer)

    layers = [layer for layer in net.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    net(x)
    for hook in hooks:
        hook.remove()
    return parameters, macs


def _size(layer: nn.Module) -> int:
    """Its parameters, frozen ones as well."""
    return sum(each.numel() for each in layer.parameters())
