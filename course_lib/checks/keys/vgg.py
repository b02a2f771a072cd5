"""The exercises on VGG."""

from __future__ import annotations

import random
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes, WrongAnswer, compare, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import all_with, case, refuse
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
    reads = "The first layer of the second stack has 64 input channels, the others 128."
    share = "What is saved is a share of the one kernel's weights, not of the stack's."
    answer.expect(
        (layers, one, two),
        tolerance=2.0,  # two decimals will do
        mistakes=[
            ((layers, 1 - one, 1 - two), "That is what is left, not what is saved."),
            ((layers, 100 * one, 100 * two), "A share is a number up to one."),
            ((layers, one, one), reads),
            ((layers, one, 1 - 2 * (1 - one)), reads),
            ((layers, 1 / (1 - one) - 1, 1 / (1 - two) - 1), share),
            ((3, saved(3, 64), saved(3, 128)), "Three have 7 by 7: kernels overlap."),
            ((8, saved(8, 64), saved(8, 128)), "A 3x3 adds a pixel on both sides."),
        ],
    )


@exercise(
    "vgg.receptive_field",
    kind="implement",
    goal="see how much of the receptive field is due to pooling",
    minutes=10,
    first_hint="Take one block of one convolution. Its receptive field is 4 by 4: why?",
)
def receptive_field(answer: Answer) -> None:
    """Against the library's, on columns of Table 1 and on random ones."""
    columns = [[convs for convs, _ in VARIANTS[letter].blocks] for letter in "ADE"]
    draw = random.Random()
    columns += [[draw.randint(1, 4) for _ in range(draw.randint(2, 5))] for _ in "1234"]
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
    narrow = [(1, 2) if layer == (2, 2) else layer for layer in layers]
    flat = [(size, 1) for size, _ in layers]
    bare = [layer for layer in layers if layer == (3, 1)]
    turned = [layer for block in blocks for layer in block[::-1]]
    stacks = [
        (narrow, "2x2 pooling reads two neighbors, too."),
        (flat, "Behind pooling, one step is two of the layer before."),
        (bare, "There is pooling behind every block. What does it do to later layers?"),
        (layers[:-1], "The last block ends with its pooling."),
        (turned, "In a block the convolutions come before the pooling."),
        (layers[::-1], "Go the other way, or multiply the strides as you go."),
    ]
    return [(field_of(stack)[0], hint) for stack, hint in stacks]


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
    answer.expect(
        conv4.over(conv3) + conv5.over(conv4),
        tolerance=0.1,  # with biases, too
        mistakes=[
            *_doubling_mistakes(conv4.over(conv3), conv5.over(conv4)),
            (conv3.over(conv4) + conv4.over(conv5), "Divide later by earlier."),
        ],
    )


def _doubling_mistakes(a: StageCosts, b: StageCosts) -> Mistakes:
    """Of the ratios of conv4 to conv3, and of conv5 to conv4."""
    reads = "How many input channels does the first convolution of each stage have?"
    area = "Half as high and half as wide: how many positions are left?"

    def at_half(c: StageCosts) -> StageCosts:
        return StageCosts(c.weights, 2 * c.macs, 2 * c.outputs)

    return [
        ((*a, 1.0, 0.25, 0.25), reads),
        (
            a._replace(macs=a.weights) + b._replace(macs=b.weights),
            "Every weight is used at every position.",
        ),
        (at_half(a) + at_half(b), area),
        ((*at_half(a), 1.0, 0.5, 0.5), area),
        (
            (2.0, 0.5, a.outputs, *b),
            "Twice the channels, both in and out.",
        ),
        (
            a._replace(outputs=2.0) + b._replace(outputs=1.0),
            "There are more feature maps, but smaller ones.",
        ),
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
        last = nn.Linear(hidden, 3)
        wrong_ends = _wrong_ends(blocks, pixels, first, last)
        with case(f"net_for({blocks}, {pixels}, {hidden}, 3): "):
            same_function(
                answer(blocks, pixels, hidden, 3),
                nn.Sequential(*features, first, nn.ReLU(), last),
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
    channels = blocks[-1][1]
    side = pixels // 2 ** len(blocks)
    inputs = [
        (6400, "6400 is 256 feature maps of 5 by 5, of another network."),
        (channels * 49, "7 by 7 is what five blocks leave of 224 pixels."),
        (512 * 49, "VGG-16 has 512 channels there. How many are there here?"),
        (256 * side**2, "How many output channels does the last block have?"),
        (channels * side, "A feature map has a height and a width."),
        (side**2, "The FC layer reads all feature maps of the last block."),
        (channels * (2 * side) ** 2, "The last block ends with its pooling."),
        (channels * pixels**2, "Every block halves height and width."),
        (channels * (side + 1) ** 2, "Pooling rounds down."),
    ]
    ends: list[tuple[list[nn.Module], str]] = [
        ([first, last], "Keep the ReLU between the FC layers."),
        ([first, nn.ReLU(), last, nn.ReLU()], "Logits may be negative."),
    ]
    for number, hint in inputs:
        other = nn.Linear(number, first.out_features)
        ends.append(([other, nn.ReLU(), last], hint))
    return ends


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
        got = answer(channels)
        x = torch.randn(2, channels, 6, 7).relu()
        conv = got if isinstance(got, nn.Conv2d) else nn.Conv2d(1, 1, 1)
        refuse(
            conv.weight.shape != (channels, channels, 3, 3),
            f"it is no 3x3 convolution, with {channels} channels",
            "Return an `nn.Conv2d` as VGG's.",
        )
        refuse(
            not conv.weight.requires_grad,
            f"it cannot be trained, with {channels} channels",
            "These are its initial weights, but training must be able to change them.",
        )
        refuse(
            conv.bias is not None and conv.bias.any(),
            f"it has a bias that is not zero, with {channels} channels",
            "What does a bias add?",
        )
        compare(
            F.relu(conv(x)),
            x,
            on=f"for {channels} channels, behind its ReLU",
            mistakes=_unnoticed_mistakes(x),
        )


def _unnoticed_mistakes(x: Tensor) -> Mistakes:
    channels = x.shape[1]
    around = F.pad(x, (1, 1, 1, 1))
    nine = [around[..., i : i + 6, j : j + 7] for i in range(3) for j in range(3)]
    beside = [*nine[:4], *nine[5:]]
    summed = torch.stack(nine).sum(0)
    everyone = x.sum(1, keepdim=True).expand_as(x)
    everything = summed.sum(1, keepdim=True).expand_as(x)
    own = "An output channel reads all channels, and should copy its own."
    middle = "Of the nine pixels, the center one is to be copied."
    return [
        (x[..., 1:-1, 1:-1], "Without padding, the feature maps become smaller."),
        (0 * x, "All its outputs are zero."),
        (everyone, own),
        (everyone / channels, own),
        (summed, middle),
        (summed / 9, middle),
        *all_with(middle, beside),
        (everything, own),
    ]


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
        got = answer(first, last, channels, side)
        if not isinstance(got, nn.Module):
            raise WrongAnswer(
                f"it returns {type(got).__name__}, where a module is wanted"
            )
        for height, width in ((side, side), (side + 3, side + 1)):
            x = torch.randn(2, channels, height, width)
            on = f"for {channels} channels of {height} by {width}, with side {side}"
            try:
                came = got(x)
            except RuntimeError as error:
                raise WrongAnswer(
                    f"it fails {on}: {error}",
                    "Is there still a layer that needs inputs of one size?",
                ) from None
            weight = first.weight.detach().unflatten(1, (channels, side, side))
            compare(
                came,
                _slid(x, weight, first, last),
                on=on,
                mistakes=_as_convolutions_mistakes(x, weight, first, last),
            )


def _as_convolutions_mistakes(
    x: Tensor, weight: Tensor, first: nn.Linear, last: nn.Linear
) -> Mistakes:
    """`weight` is that of the first layer, as kernels."""
    _, channels, side, _ = weight.shape
    want = _slid(x, weight, first, last)
    squeezed = F.adaptive_avg_pool2d(x, side)
    padded = F.pad(x, [side // 2] * 4)
    channels_last = first.weight.detach().unflatten(1, (side, side, channels))
    order = "`nn.Flatten` goes through the channels one by one, each row by row."
    return [
        (want[..., 0, 0], "The outputs are feature maps still, if only 1 by 1."),
        (
            _slid(squeezed, weight, first, last),
            "Larger inputs have an output for each position.",
        ),
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
    large = [(3, 1), (2, 2), (3, 1), (3, 1), (2, 2)]
    for layers in ([(3, 1)], [(9, 1)], [(3, 1)] * 4, large[1:4], large):
        step = 1
        variance = 0.0
        for size, stride in layers:
            variance += step**2 * (size**2 - 1) / 12
            step *= stride
        answer.expect(
            variance**0.5,
            layers,
            on=f"layers {layers}",
            tolerance=1.0,
            mistakes=_spread_mistakes(layers, variance),
        )


def _spread_mistakes(layers: list[Layer], variance: float) -> Mistakes:
    field = field_of(layers)[0]
    even = (field**2 - 1) / 12
    flat = sum(((size**2 - 1) / 12 for size, _ in layers), 0.0)
    could = "That is the theoretical receptive field."
    return [
        (variance, "That is the variance. Take its square root."),
        (field, could),
        ((field - 1) / 2, could),
        (even**0.5, "Not all pixels have the same share."),
        (flat**0.5, "Behind a stride, a step is several pixels."),
        (
            _variance_of_squares(layers) ** 0.5,
            "The share is the number of paths, not its square.",
        ),
        ((2 * variance) ** 0.5, "Measure along one axis, not in two dimensions."),
    ]


def _variance_of_squares(layers: list[Layer]) -> float:
    """If the share of a pixel were the square of its number of paths."""
    step = 1
    paths = torch.ones(1, 1, 1)
    for size, stride in layers:
        paths = F.conv_transpose1d(paths, torch.ones(1, 1, size), dilation=step)
        step *= stride
    shares = paths.flatten().square()
    away = torch.arange(len(shares)) - (len(shares) - 1) / 2
    return ((shares * away**2).sum() / shares.sum()).item()
