"""The exercises on VGG."""

from __future__ import annotations

import random
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import he_init
from course_lib.checks.compare import Mistakes, WrongAnswer, compare
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.link import AnswerRaised
from course_lib.checks.modules import module, same_function
from course_lib.checks.shared import Number, all_with, case, combined, refuse
from course_lib.convolution import receptive_field as field_of
from course_lib.vgg import VARIANTS, VGG, vgg_block

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
    "vgg.receptive_field",
    kind="implement",
    goal="see how much of the receptive field is due to pooling",
    minutes=10,
    first_hint="Take one block of one convolution. Its receptive field is 4 by 4: why?",
    banned=("course_lib.convolution.receptive_field",),
    instead="Write a loop over the blocks.",
)
def receptive_field(answer: Answer) -> None:
    """Against the library's, on columns of Table 1 and on random ones."""
    columns = [[convs for convs, _ in VARIANTS[letter].blocks] for letter in "ADE"]
    columns += [
        [random.randint(1, 4) for _ in range(random.randint(2, 5))] for _ in "1234"
    ]
    for convs in ([1, 2], *columns):
        blocks: list[list[Layer]] = [[*[(3, 1)] * n, (2, 2)] for n in convs]
        layers = [layer for block in blocks for layer in block]
        answer.expect(
            field_of(layers)[0],
            convs,
            on=f"blocks of {convs} convolutions",
            mistakes=_receptive_field_mistakes(blocks, layers),
        )


def _receptive_field_mistakes(
    blocks: list[list[Layer]], layers: list[Layer]
) -> Mistakes:
    field = field_of(layers)[0]
    flat = [(size, 1) for size, _ in layers]
    bare = [layer for layer in layers if layer == (3, 1)]
    turned = [layer for block in blocks for layer in block[::-1]]
    doubled = (
        "Halving the feature maps does not double the field: it doubles the steps of"
        " the layers behind."
    )
    less = "A 3x3 adds two pixels to the one that it has in the middle, not three."
    stacks = [
        (_resized(layers, pool=1), "2x2 pooling reads two neighbors, too."),
        (_resized(layers, pool=3), "2x2 pooling adds one step, of those before it."),
        (flat, "Behind pooling, one step is two of the layer before."),
        (bare, "There is pooling behind every block. What does it do to later layers?"),
        (layers[:-1], "The last block ends with its pooling."),
        (turned, "In a block the convolutions come before the pooling."),
        (layers[::-1], doubled),
        (turned[::-1], doubled),
        (_resized(layers, conv=4), less),
        (_resized(layers, conv=4, pool=3), less),
    ]
    added = 1 + sum(
        max(1, 2 * i) * (2 * len(block) - 1) for i, block in enumerate(blocks)
    )
    return [
        *((field_of(stack)[0], hint) for stack, hint in stacks),
        (field - 1, "Without any layer, a unit is one pixel: begin with 1."),
        (field**2, "The side is wanted, not the area."),
        (added, "The strides of two poolings multiply: 4 pixels a step, then 8."),
    ]


def _resized(layers: list[Layer], conv: int = 3, pool: int = 2) -> list[Layer]:
    """With kernels of other sizes."""
    return [(conv if size == 3 else pool, stride) for size, stride in layers]


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
    "vgg.net_for",
    kind="repair",
    goal="know the size of what the fully connected layers read",
    minutes=10,
    first_hint="Print the shape of the output of the blocks, for one image.",
)
def net_for(answer: Answer) -> None:
    """Against networks of a few channels, with even and odd sides."""
    cases: list[tuple[Blocks, int, int]] = [
        (((1, 4), (2, 6)), 20, 8),
        (((2, 3), (1, 4), (1, 5)), 30, 7),
        (((1, 2), (1, 3), (1, 3), (2, 4), (1, 4)), 64, 5),
    ]
    for blocks, pixels, hidden in cases:
        in_channels = [3, *(channels for _, channels in blocks[:-1])]
        features = [
            *(
                vgg_block(convs, before, channels)
                for (convs, channels), before in zip(blocks, in_channels, strict=True)
            ),
            nn.Flatten(),
        ]
        side = pixels // 2 ** len(blocks)
        first = nn.Linear(blocks[-1][1] * side**2, hidden)
        last = nn.Linear(hidden, 9)
        want = nn.Sequential(*features, first, nn.ReLU(), last)
        he_init(want)
        wrong_ends = _wrong_ends(blocks, pixels, first, last)
        with case(f"net_for({blocks}, {pixels}, {hidden}, 9): "):
            same_function(
                answer(blocks, pixels, hidden, 9),
                want,
                torch.randn(2, 3, pixels, pixels),
                mistakes=[
                    (nn.Sequential(*features, *end), hint) for end, hint in wrong_ends
                ],
            )


def _wrong_ends(
    blocks: Blocks, pixels: int, first: nn.Linear, last: nn.Linear
) -> list[tuple[list[nn.Module], str]]:
    """What wrong networks have behind the blocks, with hints: first the right layers,
    then a first FC layer with another number of inputs.
    """
    bare = [
        nn.Linear(layer.in_features, layer.out_features, bias=False)
        for layer in (first, last)
    ]
    right: list[nn.Module] = [first, nn.ReLU(), last]
    ends: list[tuple[list[nn.Module], str]] = [
        ([first, last], "Keep the ReLU between the FC layers."),
        ([*right, nn.ReLU()], "Logits may be negative."),
        ([*right, nn.Softmax(1)], "The loss takes the softmax: return logits."),
        ([bare[0], nn.ReLU(), bare[1]], "FC layers have biases."),
        ([*right[:2], nn.Dropout(), last], "There was no dropout: add no layer."),
    ]
    for number, hint in _wrong_inputs(blocks, pixels):
        other = nn.Linear(max(number, 1), first.out_features)
        ends.append(([other, nn.ReLU(), last], hint))
    return ends


def _wrong_inputs(blocks: Blocks, pixels: int) -> list[tuple[int, str]]:
    """How many inputs a wrong first FC layer has, with hints."""
    channels = blocks[-1][1]
    side = pixels // 2 ** len(blocks)
    return [
        (6400, "6400 is 256 feature maps of 5 by 5, of another network."),
        (channels * 49, "7 by 7 is what five blocks leave of 224 pixels."),
        (512 * 49, "VGG-16 has 512 channels there. How many are there here?"),
        (256 * side**2, "How many output channels does the last block have?"),
        (channels * side, "A feature map has a height and a width."),
        (side**2, "The FC layer reads all feature maps of the last block."),
        (channels * (2 * side) ** 2, "The last block ends with its pooling."),
        (channels * pixels**2, "Every block halves height and width."),
        (channels * (side + 1) ** 2, "Pooling rounds down."),
        (channels, "The FC layer reads all of each feature map, not one value of it."),
        (
            channels * (224 // 2 ** len(blocks)) ** 2,
            "The images are `pixels` by `pixels`, and not 224 by 224.",
        ),
        *(
            (channels * (pixels // 2**number) ** 2, "How many blocks are there here?")
            for number in range(1, 6)
        ),
    ]


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
    minutes=30,
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
