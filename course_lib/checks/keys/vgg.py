"""The exercises on VGG."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes, WrongAnswer, compare
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.link import AnswerRaised
from course_lib.checks.modules import module
from course_lib.checks.played import counted, norms
from course_lib.checks.shared import Number, all_with, case, combined, refuse
from course_lib.convolution import receptive_field as field_of
from course_lib.vgg import VGG

#: The kernel size and stride of a layer.
Layer: TypeAlias = tuple[int, int]


@exercise(
    "vgg.nine_by_nine",
    kind="predict",
    goal="compare the weights of a stack and of one kernel, with all their channels",
    minutes=5,
    first_hint="Two 3x3 have a receptive field of 5 by 5. What does a third one add?",
)
def nine_by_nine(answer: Answer) -> None:
    """The number of layers by the library, the weights counted from them."""

    def saved(layers: int, out: int) -> float:
        with torch.device("meta"):
            first = nn.Conv2d(64, out, 3).weight.numel()
            other = nn.Conv2d(out, out, 3).weight.numel()
            single = nn.Conv2d(64, out, 9).weight.numel()
        return 1 - (first + (layers - 1) * other) / single

    layers = next(n for n in range(9) if field_of([(3, 1)] * n)[0] == 9)
    one = saved(layers, 64)
    two = saved(layers, 128)
    others = [
        (3, "Three have 7 by 7: kernels overlap."),
        (8, "A 3x3 adds a pixel on both sides."),
        (9, "Receptive fields do not multiply: 3, then 5, then 7 pixels."),
    ]
    answer.expect(
        (layers, one, two),
        tolerance=2.0,  # two decimals will do
        mistakes=[
            *combined(
                [(layers, ""), *others],
                _saved_numbers(one, 81 * 64 * 64),
                [
                    *_saved_numbers(two, 81 * 64 * 128),
                    *((other, READS) for other in (one, 1 - 2 * (1 - one))),
                ],
            ),
            *(((n, saved(n, 64), saved(n, 128)), hint) for n, hint in others),
        ],
    )


READS = "The first layer of the second stack has 64 input channels, the others 128."


def _saved_numbers(share: float, single: int) -> Number:
    """For a share, where the one kernel has `single` weights."""
    return [
        (share, ""),
        (1 - share, "That is what is left, not what is saved."),
        (100 * share, "A share is a number up to one."),
        (
            1 / (1 - share) - 1,
            "What is saved is a share of the one kernel's weights, not of the stack's.",
        ),
        (share * single, "A share is wanted, and not a number of weights."),
    ]


@exercise(
    "vgg.small_net",
    kind="implement",
    goal="design a network for a budget of parameters and MACs",
    minutes=30,
    first_hint="Begin with one convolution of 16 channels, and count its MACs: its"
    " weights times its positions.",
)
def small_net(answer: Answer) -> None:
    """Counted from what its layers get and return for an image."""
    got = answer()
    x = torch.randn(4, 1, 28, 28)
    net = module(got, x)
    layers = _layers_of(net)
    for training in (False, True):
        sizes = _run(net.train(training), layers, x)
    _shape_of_a_net(layers, sizes)
    _within_budget(net, layers, sizes)
    _logits(net, layers, x)


#: What is allowed, and what a unit has to see.
MOST_PARAMETERS = 25_000
MOST_MACS = 2_000_000
LEAST_CONVS = 4
LEAST_FIELD = 28


def _layers_of(net: nn.Module) -> list[nn.Module]:
    """The layers, in order, if there are only PyTorch's.

    Raises: WrongAnswer if there are others.
    """
    inside = [each for each in net.modules() if not isinstance(each, nn.Sequential)]
    ours = [each for each in inside if not type(each).__module__.startswith("torch.nn")]
    refuse(
        ours or not isinstance(net, nn.Sequential),
        "it does not consist of PyTorch's layers alone",
        "Build one `nn.Sequential` of layers of `torch.nn`.",
    )
    return inside


def _run(net: nn.Module, layers: list[nn.Module], x: Tensor) -> list[torch.Size]:
    """The shape of the output of each layer.

    Raises: WrongAnswer if the logits have another shape than (N, 10), or it does not
        take the images.
    """
    sizes: dict[int, torch.Size] = {}

    def note(layer: nn.Module, _: object, output: Tensor) -> None:
        sizes[id(layer)] = output.shape

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        y = net(x)
    except RuntimeError as error:
        message = str(error).strip().splitlines()[0]
        hint = "Follow the shapes from layer to layer: what does `nn.Flatten` output?"
        raise WrongAnswer(f"it cannot take images: {message}", hint) from None
    finally:
        for hook in hooks:
            hook.remove()
    refuse(
        tuple(y.shape) != (len(x), 10),
        f"for {len(x)} images it returns the shape {tuple(y.shape)}",
        "Ten logits for each image are wanted, (N, 10).",
    )
    return [sizes.get(id(layer), torch.Size()) for layer in layers]


#: What stands between two convolutions and bends nothing.
LINEAR = (nn.AvgPool2d, nn.BatchNorm2d, nn.Dropout, nn.Dropout2d, nn.Identity)


def _shape_of_a_net(layers: list[nn.Module], sizes: list[torch.Size]) -> None:
    """In the manner of VGG, and with a receptive field that is large enough."""
    convs = [each for each in layers if isinstance(each, nn.Conv2d)]
    refuse(
        len(convs) < LEAST_CONVS,
        f"it has {len(convs)} convolutions",
        "Four or more are wanted: a stack of small kernels.",
    )
    refuse(
        any(max(conv.kernel_size) > 3 for conv in convs),
        "it has a kernel that is larger than 3x3",
        "A stack of small kernels sees as much as a large one, for fewer weights.",
    )
    bent = True
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            refuse(
                not bent,
                "two of its convolutions have nothing between them that bends",
                "Without an activation function, two convolutions are one.",
            )
            bent = False
        elif not isinstance(layer, LINEAR):
            bent = True
    field = _field(layers, sizes)
    refuse(
        field < LEAST_FIELD,
        f"its units see {field} of the 28 pixels",
        "Behind a pooling, each 3x3 adds twice as much as before it.",
    )


def _field(layers: list[nn.Module], sizes: list[torch.Size]) -> int:
    """The receptive field in front of the first FC layer or global pooling."""
    pairs = []
    for layer, size in zip(layers, sizes, strict=True):
        if isinstance(layer, nn.Linear | nn.Flatten) or len(size) != 4:
            break
        if isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            break
        kernel: Any = getattr(layer, "kernel_size", 1)
        stride: Any = getattr(layer, "stride", 1) or kernel
        dilation: Any = getattr(layer, "dilation", 1)
        one = [each if isinstance(each, int) else each[0] for each in (kernel, stride)]
        wide = dilation if isinstance(dilation, int) else dilation[0]
        if isinstance(layer, nn.AvgPool2d) and size[-1] == 1:
            break
        pairs.append((wide * (one[0] - 1) + 1, one[1]))
    return field_of(pairs)[0] if pairs else 1


def _within_budget(
    net: nn.Module, layers: list[nn.Module], sizes: list[torch.Size]
) -> None:
    count = sum(each.numel() for each in net.parameters())
    linear = sum(each.weight.numel() for each in layers if isinstance(each, nn.Linear))
    refuse(
        count > MOST_PARAMETERS,
        f"it has {count:,} parameters, {count - MOST_PARAMETERS:,} too many",
        "Most of them are in a fully connected layer: make what it reads smaller."
        if 2 * linear > count
        else "A convolution has in x out x 9 weights: take fewer channels.",
    )
    macs = []
    for layer, size in zip(layers, sizes, strict=True):
        if isinstance(layer, nn.Conv2d):
            macs.append(layer.weight.numel() * size[-1] * size[-2])
        elif isinstance(layer, nn.Linear):
            macs.append(layer.weight.numel())
    worst = 1 + max(range(len(macs)), key=macs.__getitem__)
    refuse(
        sum(macs) > MOST_MACS,
        f"it needs {sum(macs):,} MACs, {sum(macs) - MOST_MACS:,} too many",
        f"The layer with the most is number {worst} of those with weights. A MAC is"
        " needed for every weight at every position: pool earlier, or fewer channels.",
    )


def _logits(net: nn.Module, layers: list[nn.Module], x: Tensor) -> None:
    """Its outputs are logits, and all of it can learn."""
    last = layers[-1]
    refuse(
        isinstance(last, nn.ReLU | nn.Softmax | nn.LogSoftmax | nn.Sigmoid),
        f"it ends with {type(last).__name__}",
        "Logits may have any value, and the loss has a softmax of its own.",
    )
    y = net.train()(x)
    found = torch.autograd.grad(
        y.square().sum(), [*net.parameters()], allow_unused=True
    )
    refuse(
        any(each is None or not each.any() for each in found),
        "some of its parameters have no gradient",
        "What detached them from the output, or set it to zero?",
    )


class StageCosts(NamedTuple):
    """Weights, MACs and output activations of a stage, or ratios of two stages."""

    weights: float
    macs: float
    outputs: float

    @classmethod
    def of(cls, stage: nn.Module, side: int) -> StageCosts:
        """Those of convolutions whose feature maps are `side` by `side`."""
        convs = [layer for layer in stage.children() if isinstance(layer, nn.Conv2d)]
        weights = sum(conv.weight.numel() for conv in convs)
        outputs = side**2 * sum(conv.out_channels for conv in convs)
        return cls(weights, weights * side**2, outputs)

    def over(self, other: StageCosts) -> StageCosts:
        """The ratios to those of the other stage."""
        return StageCosts(*(a / b for a, b in zip(self, other, strict=True)))


@exercise(
    "vgg.doubling",
    kind="predict",
    goal="say why channels double where height and width are halved",
    minutes=10,
    first_hint="Write down the layers of conv3 and conv4: channels in, channels out,"
    " side.",
)
def doubling(answer: Answer) -> None:
    """Counted from the library's VGG-16, without biases."""
    with torch.device("meta"):
        net = VGG(16)
    conv3 = StageCosts.of(net.get_submodule("conv3"), side=56)
    conv4 = StageCosts.of(net.get_submodule("conv4"), side=28)
    conv5 = StageCosts.of(net.get_submodule("conv5"), side=14)
    a = conv4.over(conv3)
    b = conv5.over(conv4)
    by_kind = tuple(each for pair in zip(a, b, strict=True) for each in pair)
    answer.expect(
        a + b,
        tolerance=0.1,  # with biases, too
        mistakes=[
            (conv3.over(conv4) + conv4.over(conv5), "Divide later by earlier."),
            (by_kind, "First the three factors of conv4, then those of conv5."),
            *combined(*_doubling_numbers(a, b)),
        ],
    )


def _doubling_numbers(a: StageCosts, b: StageCosts) -> list[Number]:
    """The ratios of conv4 to conv3, and of conv5 to conv4."""
    reads = "How many input channels does the first convolution of each stage have?"
    both = "Twice the channels, both in and out."
    position = "Every weight is used at every position."
    area = "Half as high and half as wide: how many positions are left?"
    maps = "There are more feature maps, but smaller ones."
    more = "The positions are a quarter, and how many more feature maps are there?"
    return [
        [(a.weights, ""), (2.0, both), (4.8, reads), (10 / 3, reads)],
        [
            (a.macs, ""),
            (a.weights, position),
            (2 * a.macs, area),
            (0.5, both),
            (1.2, reads),
        ],
        [(a.outputs, ""), (2 * a.outputs, area), (2.0, maps), (0.25, more)],
        [(b.weights, ""), (1.0, reads), (2.0, "Have the channels doubled again?")],
        [
            (b.macs, ""),
            (b.weights, position),
            (2 * b.macs, area),
            (0.25, reads),
            (0.5, area),
            (1.0, "The channels do not double again: what becomes of the MACs?"),
        ],
        [(b.outputs, ""), (2 * b.outputs, area), (1.0, maps)],
    ]


#: How many convolutions each block has, and how many channels.
Blocks: TypeAlias = tuple[tuple[int, int], ...]


@exercise(
    "vgg.clearly_better",
    kind="implement",
    goal="compare recorded runs, and know what chance does",
    minutes=15,
    first_hint="Which run of the better one, and which of the worse one, have to be"
    " compared?",
)
def clearly_better(answer: Answer) -> None:
    """For tables of several names, with ties, overlaps and other numbers of runs."""
    tables: list[dict[str, list[float]]] = [
        {"p": [0.5, 0.9, 0.9], "q": [0.6, 0.6, 0.95], "r": [0.3, 0.31, 0.32]},
        {"x": [0.5, 0.7], "y": [0.5], "z": [0.4, 0.3, 0.45]},
        {"few": [0.81], "many": [0.8, 0.8, 0.8, 0.79], "more": [0.6, 0.61]},
        {"one": [0.9, 0.8], "two": [0.9, 0.8], "three": [0.8, 0.7]},
    ]
    tables[0]["s"] = [0.1, 0.2, 0.4]
    names = [f"net {i}" for i in random.sample(range(6), 6)]
    tables.append({name: _three(i / 20) for i, name in enumerate(names)})
    for runs in tables:
        answer.expect(
            _better(runs, min, max),
            runs,
            on=str(runs) if len(runs) < 5 else f"a table of {len(runs)} names",
            mistakes=_better_mistakes(runs),
        )


def _three(above: float) -> list[float]:
    return [above + random.random() / 8 for _ in range(3)]


#: What one number of several runs is.
Measure: TypeAlias = Callable[[list[float]], float]


def _better(
    runs: dict[str, list[float]], worst: Measure, best: Measure, equal: bool = False
) -> list[tuple[str, str]]:
    """Sorted pairs of names; `equal` if as good is good enough."""
    return sorted(
        (one, other)
        for one, other in itertools.permutations(runs, 2)
        if worst(runs[one]) > best(runs[other])
        or (equal and worst(runs[one]) == best(runs[other]))
    )


def _better_mistakes(runs: dict[str, list[float]]) -> Mistakes:
    right = _better(runs, min, max)
    mean = statistics.mean
    first = "The better one comes first in a pair."
    mistakes: list[tuple[Any, str]] = [
        (_better(runs, min, max, equal=True), "Better, not as good."),
        (_better(runs, mean, mean), "Means hide the single runs."),
        (_better(runs, min, min), "The worst run has to be above the other's best."),
        (_better(runs, max, max), "Its best run is not enough: each of its runs."),
        (
            _better(runs, max, min),
            "Some run is above some: all have to be above all.",
        ),
        (_better(runs, min, mean), "The mean of the other hides its best run."),
        (_paired(runs), "Runs are not paired: compare each with each."),
        ([pair[::-1] for pair in right], first),
        (sorted(pair[::-1] for pair in right), first),
        (right[::-1], "The list is to be sorted."),
    ]
    return [(value, hint) for value, hint in mistakes if value != right]


def _paired(runs: dict[str, list[float]]) -> list[tuple[str, str]]:
    """Where each run is better than the one at the same place."""
    return sorted(
        (one, other)
        for one, other in itertools.permutations(runs, 2)
        if all(a > b for a, b in zip(runs[one], runs[other], strict=False))
    )


@exercise(
    "vgg.unnoticed",
    kind="implement",
    goal="find the 3x3 kernels that change nothing",
    minutes=10,
    first_hint="Think of one channel. Which nine weights output the pixel itself?",
)
def unnoticed(answer: Answer) -> None:
    """By what it does to the outputs of a ReLU."""
    for channels in (1, 5):
        x = torch.randn(2, channels, 6, 7).relu()
        conv = module(answer(channels), x).float()
        weight = _kernels(conv, channels)
        on = f"for {channels} channels, behind its ReLU"
        came = conv(x)
        compare(F.relu(came), x, on=on, mistakes=_unnoticed_mistakes(x, came))
        refuse(
            not torch.allclose(conv(-x), -x, atol=1e-4),
            "negative inputs do not pass through it",
            "The ReLU stands behind it in the network, and is no part of it.",
        )
        refuse(
            not came.requires_grad
            or torch.autograd.grad(came.sum(), weight, allow_unused=True)[0] is None,
            f"its weights have no gradient, with {channels} channels",
            "What detached them from the output?",
        )


def _kernels(conv: nn.Module, channels: int) -> nn.Parameter:
    """The weights of a convolution that is as VGG's.

    Raises: WrongAnswer if it is not, if it has a bias that is not zero, or if its
        weights are frozen.
    """
    on = f", with {channels} channels"
    found = {tuple(each.shape): each for each in conv.parameters()}
    refuse(
        channels > 1 and (channels, 1, 3, 3) in found,
        f"each of its kernels reads a single channel{on}",
        "VGG's convolutions read all channels, so no groups: most weights are zero.",
    )
    weight = found.get((channels, channels, 3, 3))
    bias = found.get((channels,))
    if weight is None or len(found) > 1 + (bias is not None):
        raise WrongAnswer(
            f"it is no 3x3 convolution{on}", "Return an `nn.Conv2d` as VGG's."
        )
    refuse(
        not weight.requires_grad,
        f"it cannot be trained{on}",
        "These are its initial weights, but training must be able to change them.",
    )
    refuse(
        bias is not None and bias.any(),
        f"it has a bias that is not zero{on}",
        "What does a bias add?",
    )
    return weight


def _unnoticed_mistakes(x: Tensor, came: Tensor) -> Mistakes:
    """For inputs `x`, where an answer has given `came`."""
    channels = x.shape[1]
    around = F.pad(x, (1, 1, 1, 1))
    nine = [around[..., i : i + 6, j : j + 7] for i in range(3) for j in range(3)]
    beside = [*nine[:4], *nine[5:]]
    summed = torch.stack(nine).sum(0)
    everyone = x.sum(1, keepdim=True).expand_as(x)
    everything = summed.sum(1, keepdim=True).expand_as(x)
    own = "An output channel reads all channels, and should copy its own."
    middle = "Of the nine pixels, the center one is to be copied."
    mistakes: list[tuple[Tensor, str]] = [
        (x[..., 1:-1, 1:-1], "Without padding, the feature maps become smaller."),
        (x[..., ::2, ::2], "With a stride of two, every other pixel is left out."),
        (0 * x, "All its outputs are zero."),
        (everyone, own),
        (everyone / channels, own),
        (x.flip(1), own),
        (summed, middle),
        (summed / 9, middle),
        *all_with(middle, beside),
        (everything, own),
        (everything / (9 * channels), own),
    ]
    if came.shape == x.shape and (came - x).abs().mean() < 0.3 * x.mean():
        mistakes.append((came.relu().detach(), "Close is not enough: nothing changes."))
    return mistakes


@exercise(
    "vgg.as_convolutions",
    kind="implement",
    goal="see a fully connected layer as a convolution with a single position",
    minutes=20,
    first_hint="`first` has a row of weights for each unit. Which activation does each"
    " weight of this row multiply, in which order?",
)
def as_convolutions(answer: Answer) -> None:
    """Against the FC layers at every position of larger feature maps."""
    for channels, side, hidden in ((3, 2, 6), (2, 3, 5)):
        first = nn.Linear(channels * side**2, hidden)
        last = nn.Linear(hidden, 4)
        x = torch.randn(2, channels, side, side)
        got = module(answer(first, last, channels, side), x).float()
        for height, width in ((side, side), (side + 3, side + 1)):
            x = torch.randn(2, channels, height, width)
            on = f"for {channels} channels of {height} by {width}, with side {side}"
            weight = first.weight.detach().unflatten(1, (channels, side, side))
            with case("", _not_copied(got, first, last)):
                compare(
                    _applied(got, x, on),
                    _slid(x, weight, first, last),
                    on=on,
                    mistakes=_as_convolutions_mistakes(x, weight, first, last),
                )


def _applied(got: nn.Module, x: Tensor, on: str) -> Tensor:
    """What it gives for an input.

    Raises: WrongAnswer if it cannot take it.
    """
    try:
        made: Tensor = got(x)
    except (RuntimeError, AnswerRaised) as error:
        small = "Kernel size can't be greater" in str(error)
        raise WrongAnswer(
            f"it fails {on}: {str(error).splitlines()[0]}",
            "The second one reads the units of a single position: which kernel does?"
            if small
            else "Is there still a layer that needs inputs of one size?",
        ) from None
    return made


def _not_copied(got: nn.Module, first: nn.Linear, last: nn.Linear) -> str:
    """The hint for convolutions that do not have the parameters of the FC layers."""
    found = [each.detach().flatten().sort()[0] for each in got.parameters()]

    def has(wanted: Tensor) -> bool:
        values = wanted.detach().flatten().sort()[0]
        return any(
            each.shape == values.shape and torch.allclose(each, values)
            for each in found
        )

    if not found:
        return ""
    if not (has(first.weight) and has(last.weight)):
        return "New convolutions have random weights: copy those of the FC layers."
    if not (has(first.bias) and has(last.bias)):
        return "The weights are copied. And the biases of both?"
    return ""


def _as_convolutions_mistakes(
    x: Tensor, weight: Tensor, first: nn.Linear, last: nn.Linear
) -> Mistakes:
    """`weight` is that of the first layer, as kernels."""
    _, channels, side, _ = weight.shape
    want = _slid(x, weight, first, last)
    mean = want.mean((2, 3), keepdim=True)
    squeezed = F.adaptive_avg_pool2d(x, side)
    padded = F.pad(x, [side // 2] * 4)
    channels_last = first.weight.detach().unflatten(1, (side, side, channels))
    order = "`nn.Flatten` goes through the channels one by one, each row by row."
    each = "Larger inputs have an output for each position."
    return [
        (want[..., 0, 0], "The outputs are feature maps still, if only 1 by 1."),
        (_slid(squeezed, weight, first, last), each),
        (mean, each),
        (mean[..., 0, 0], each),
        (want[..., ::side, ::side], "The kernel moves by one pixel, not by its side."),
        (want.movedim(1, 3), "The outputs are the second dimension, as channels are."),
        (_slid(x, channels_last.movedim(3, 1), first, last), order),
        (_slid(x, weight.mT, first, last), order),
        (
            _slid(padded, weight, first, last),
            "Without padding: the kernel is used where all of it fits.",
        ),
        (_slid(x, weight, first, last, gate=False), "Where is the ReLU?"),
        (F.relu(want), "Logits may be negative: no ReLU behind them."),
        (want - last.bias[:, None, None], "The last layer has biases, too."),
    ]


def _slid(
    x: Tensor, weight: Tensor, first: nn.Linear, last: nn.Linear, *, gate: bool = True
) -> Tensor:
    """Both FC layers at every position, the weights of the first one as given."""
    hidden = F.conv2d(x, weight, first.bias).movedim(1, 3)
    return last(F.relu(hidden) if gate else hidden).movedim(3, 1)


@exercise(
    "vgg.spread",
    kind="investigate",
    goal="tell the effective receptive field of a stack from the theoretical one",
    minutes=60,
    first_hint="Take one axis, weights of one, and an input as large as the receptive"
    " field: a single output. What is its gradient for three layers?",
)
def spread(answer: Answer) -> None:
    """Its form: variances of kernels add up, each in steps of its layer."""
    large = [(3, 1), (2, 2), (3, 1), (3, 1), (2, 2), (3, 1)]
    for layers in ([(9, 1)], [(3, 1)], [(3, 1)] * 4, large[1:4], large):
        steps = _strides(layers)
        variances = [(size**2 - 1) / 12 for size, _ in layers]
        wanted = _root_of_sum(variances, steps)
        answer.expect(
            wanted,
            layers,
            on=f"layers {layers}",
            tolerance=1.0,
            mistakes=_spread_mistakes(layers, wanted**2),
        )


def _spread_mistakes(layers: list[Layer], variance: float) -> Mistakes:
    field = field_of(layers)[0]
    even = (field**2 - 1) / 12
    own = [(size**2 - 1) / 12 for size, _ in layers]
    shares = _shares(layers)
    away = (torch.arange(field) - (field - 1) / 2).abs()
    squares = shares.square() / shares.square().sum()
    could = "That is the theoretical receptive field."
    steps = "Behind a stride, a step is several pixels."
    product_of = "The strides of all layers before it multiply to a step."
    late = "A layer's own stride counts for the layers behind it, not for itself."
    return [
        (variance, "That is the variance. Take its square root."),
        (field, could),
        ((field - 1) / 2, could),
        (even**0.5, "Not all pixels have the same share."),
        (sum(own, 0.0) ** 0.5, steps),
        (_root_of_sum(own, [1, *(stride for _, stride in layers)]), product_of),
        (_root_of_sum(own, _strides(layers)[1:]), late),
        (
            (squares * away**2).sum().sqrt().item(),
            "The share is the number of paths, not its square.",
        ),
        ((2 * variance) ** 0.5, "Measure along one axis, not in two dimensions."),
        (
            (variance + (field - 1) ** 2 / 4) ** 0.5,
            "A standard deviation is measured from the mean, not from the first pixel.",
        ),
        (
            (shares * away).sum().item(),
            "That is the mean distance. Average its square, and take the root.",
        ),
        (2 * variance**0.5, "The standard deviation itself, not twice that."),
    ]


def _root_of_sum(variances: list[float], steps: list[int]) -> float:
    """The spread if each layer had steps of these sizes."""
    pairs = zip(variances, steps, strict=False)
    return float(sum(step**2 * each for each, step in pairs) ** 0.5)


def _strides(layers: list[Layer]) -> list[int]:
    """How many pixels a step of each layer is, and one behind all of them."""
    steps = [1]
    for _, stride in layers:
        steps.append(steps[-1] * stride)
    return steps


def _shares(layers: list[Layer]) -> Tensor:
    """The number of paths from each pixel, divided by that of all paths."""
    paths = torch.ones(1, 1, 1, dtype=torch.double)
    for (size, _), step in zip(layers, _strides(layers), strict=False):
        ones = torch.ones(1, 1, size, dtype=torch.double)
        paths = F.conv_transpose1d(paths, ones, dilation=step)
    return paths.flatten() / paths.sum()


@exercise(
    "vgg.worst_to_lose",
    kind="predict",
    goal="try all parts before one of them is called the most important",
    minutes=15,
    first_hint="Open the page in the state of the link. Which number in the sentence on"
    " 200 images says how many right answers were lost?",
)
def worst_to_lose(answer: Answer) -> None:
    """By the network of the page, in PyTorch."""
    paths = norms("vgg")
    found = [counted("vgg", passed=(path,)) for path in paths]
    worst = max(range(len(found)), key=lambda i: found[i].lost - found[i].gained)
    lost, gained = found[worst][1:3]
    every = counted("vgg", passed=tuple(paths))
    other = "There is one whose loss costs more."
    answer.expect(
        (worst + 1, lost, gained),
        tolerance=0,
        mistakes=[
            ((worst, lost, gained), "The first normalization has number 1."),
            ((worst + 1, gained, lost), "Lost comes first."),
            ((worst + 1, lost - gained, 0), "Both numbers, not their difference."),
            (
                (worst + 1, every.lost, every.gained),
                "One at a time: put back the others.",
            ),
            (
                (3, found[worst].right, 0),
                "Lost and gained answers, not those right now.",
            ),
            *(
                ((i + 1, e.lost, e.gained), other)
                for i, e in enumerate(found)
                if i != worst
            ),
        ],
    )
