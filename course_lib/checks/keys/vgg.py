"""The exercises on VGG."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Wrong, compare, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.convolution import receptive_field as field_of
from course_lib.vgg import VARIANTS, VGG, vgg_block


@exercise(
    "vgg.nine_by_nine",
    kind="predict",
    goal="weigh a stack against one kernel, with all its channels",
    minutes=5,
    first="Two 3x3 see 5 by 5. What does a third one add?",
)
def nine_by_nine(answer: Answer) -> None:
    """The number of layers by the library, the weights counted from them."""

    def saved(layers: int, out: int) -> float:
        with torch.device("meta"):
            first, other = nn.Conv2d(64, out, 3), nn.Conv2d(out, out, 3)
            single = nn.Conv2d(64, out, 9).weight.numel()
        return 1 - (first.weight.numel() + (layers - 1) * other.weight.numel()) / single

    n = next(n for n in range(9) if field_of([(3, 1)] * n)[0] == 9)
    one, two = saved(n, 64), saved(n, 128)
    reads = "The first layer of the second stack reads 64 channels, the others 128."
    share = "What is saved is a share of the one kernel's weights, not of the stack's."
    answer.gives(
        (n, one, two),
        tolerance=2.0,  # two decimals will do
        mistakes=[
            ((n, 1 - one, 1 - two), "That is what is left, not what is saved."),
            ((n, 100 * one, 100 * two), "A share is a number up to one."),
            ((n, one, one), reads),
            ((n, one, 1 - 2 * (1 - one)), reads),
            ((n, 1 / (1 - one) - 1, 1 / (1 - two) - 1), share),
            ((3, saved(3, 64), saved(3, 128)), "Three see 7 by 7: windows overlap."),
            ((8, saved(8, 64), saved(8, 128)), "A 3x3 adds a pixel on both sides."),
        ],
    )


@exercise(
    "vgg.receptive_field",
    kind="implement",
    goal="see how much of the reach is the pooling's",
    minutes=10,
    first="Take one block of one convolution. Its units see 4 by 4 pixels: why?",
)
def receptive_field(answer: Answer) -> None:
    """Against the library's, on columns of Table 1 and on drawn ones."""
    columns = [[convs for convs, _ in VARIANTS[letter].blocks] for letter in "ADE"]
    draw = random.Random()
    columns += [[draw.randint(1, 4) for _ in range(draw.randint(2, 5))] for _ in "1234"]
    behind = "There is a pooling behind every block. What does it do to what follows?"
    for convs in ([1, 2], *columns):
        blocks = [[*[(3, 1)] * n, (2, 2)] for n in convs]
        layers = [layer for block in blocks for layer in block]
        turned = [layer for block in blocks for layer in block[::-1]]
        narrow = [(1, 2) if layer == (2, 2) else layer for layer in layers]
        flat = [(size, 1) for size, _ in layers]
        bare = [layer for layer in layers if layer == (3, 1)]
        answer.gives(
            field_of(layers)[0],
            convs,
            on=f"blocks of {convs} convolutions",
            mistakes=[
                (field_of(stack)[0], hint)
                for stack, hint in (
                    (narrow, "A maximum over 2 by 2 looks at two neighbours, too."),
                    (flat, "Behind a pooling, one step is two of the layer before."),
                    (bare, behind),
                    (layers[:-1], "The last block ends with its pooling."),
                    (turned, "In a block the convolutions come before the pooling."),
                    (layers[::-1], "Go the other way, or keep count of the steps."),
                )
            ],
        )


@exercise(
    "vgg.doubling",
    kind="predict",
    goal="say why channels double where maps are halved",
    minutes=10,
    first="Write down the layers of conv3 and conv4: channels in, channels out, side.",
)
def doubling(answer: Answer) -> None:
    """Counted from the library's VGG-16, without biases."""
    with torch.device("meta"):
        net = VGG(16)
    counts = []
    for stage, side in zip(net[2:5], (56, 28, 14), strict=True):
        convs = [layer for layer in stage if isinstance(layer, nn.Conv2d)]
        weights = sum(conv.weight.numel() for conv in convs)
        outputs = side**2 * sum(conv.out_channels for conv in convs)
        counts.append((weights, weights * side**2, outputs))
    third, fourth, fifth = counts

    def over(later: tuple[int, ...], before: tuple[int, ...]) -> tuple[float, ...]:
        return tuple(a / b for a, b in zip(later, before, strict=True))

    a, b = over(fourth, third), over(fifth, fourth)
    area = "Half as high and half as wide: how many places are left?"
    both = "Twice the channels, coming in and going out."
    reads = "What does the first convolution of conv4 read? And that of conv5?"
    answer.gives(
        a + b,
        tolerance=0.1,  # with biases, too
        mistakes=[
            ((*a, 1.0, 0.25, 0.25), reads),
            ((a[0], a[0], a[2], b[0], b[0], b[2]), "Weights work at every place."),
            ((a[0], 2 * a[1], 2 * a[2], b[0], 2 * b[1], 2 * b[2]), area),
            ((a[0], 2 * a[1], 2 * a[2], 1.0, 0.5, 0.5), area),
            ((2.0, 0.5, a[2], *b), both),
            ((*a[:2], 2.0, *b[:2], 1.0), "There are more maps, but smaller ones."),
            (over(third, fourth) + over(fourth, fifth), "Divide later by earlier."),
        ],
    )


@exercise(
    "vgg.net_for",
    kind="repair",
    goal="know what the blocks leave for the full layers",
    minutes=10,
    first="Print the shape of what comes out of the blocks, for one picture.",
)
def net_for(answer: Answer) -> None:
    """Against nets of a few channels, with sides that are halved evenly or not."""
    for blocks, pixels, hidden in (
        (((1, 4), (2, 6)), 20, 8),
        (((2, 3), (1, 4), (1, 5)), 30, 7),
        (((1, 2), (1, 3), (1, 3), (2, 4), (1, 4)), 64, 5),
    ):
        maps, side = blocks[-1][1], pixels // 2 ** len(blocks)
        wide = [3, *(channels for _, channels in blocks)]
        body = [vgg_block(n, c, d) for (n, d), c in zip(blocks, wide, strict=False)]
        first, last = nn.Linear(maps * side**2, hidden), nn.Linear(hidden, 3)
        flatten, relu = nn.Flatten(), nn.ReLU()
        fulls = [
            (6400, "6400 is 256 maps of 5 by 5, which another net has."),
            (maps * 49, "7 by 7 is what five blocks leave of 224 pixels."),
            (512 * 49, "The maps are 512 in VGG-16. How many are there here?"),
            (256 * side**2, "How many maps come out of the last block?"),
            (maps * side, "A map has a height and a width."),
            (side**2, "All maps of the last block reach the full layer."),
            (maps * (2 * side) ** 2, "The last block ends with its pooling."),
            (maps * pixels**2, "Every block halves the maps."),
            (maps * (side + 1) ** 2, "Pooling rounds down."),
        ]
        ends: list[tuple[list[nn.Module], str]] = [
            ([first, last], "Keep the ReLU between the full layers."),
            ([first, relu, last, relu], "Logits may be negative."),
            *(([nn.Linear(n, hidden), relu, last], hint) for n, hint in fulls),
        ]
        try:
            same_function(
                answer(blocks, pixels, hidden, 3),
                nn.Sequential(*body, flatten, first, relu, last),
                torch.randn(2, 3, pixels, pixels),
                mistakes=[(nn.Sequential(*body, flatten, *e), h) for e, h in ends],
            )
        except Wrong as wrong:
            call = f"net_for({blocks}, {pixels}, {hidden}, 3)"
            raise Wrong(f"{call}: {wrong.message}", wrong.hint) from None


@exercise(
    "vgg.unnoticed",
    kind="implement",
    goal="find the 3x3 kernels that change nothing",
    minutes=10,
    first="Think of one channel. Which nine weights put out the pixel itself?",
)
def unnoticed(answer: Answer) -> None:
    """By what it does to maps that come out of a ReLU."""
    for channels in (1, 5):
        got, x = answer(channels), torch.randn(2, channels, 6, 7).relu()
        conv = got if isinstance(got, nn.Conv2d) else nn.Conv2d(1, 1, 1)
        bias = conv.bias is not None and bool(conv.bias.any())
        vgg = conv.weight.shape == (channels, channels, 3, 3)
        stiff = not conv.weight.requires_grad
        for fails, message, hint in (
            (not vgg, "it is no 3x3 convolution", "Return an `nn.Conv2d` as VGG's."),
            (stiff, "it cannot learn", "Its weights may begin so, but not stay so."),
            (bias, "it has a bias that is not zero", "What does a bias add?"),
        ):
            if fails:
                raise Wrong(f"{message}, with {channels} channels", hint)
        around = F.pad(x, (1, 1, 1, 1))
        nine = [around[..., i : i + 6, j : j + 7] for i in range(3) for j in range(3)]
        everyone, window = x.sum(1, keepdim=True).expand_as(x), torch.stack(nine).sum(0)
        own = "An output channel sees all channels, and should hand on its own."
        middle = "Of the nine pixels, the one in the middle is to be handed on."
        mistakes = [
            (x[..., 1:-1, 1:-1], "Without padding, the maps become smaller."),
            (0 * x, "This lets nothing through."),
            *((each, own) for each in (everyone, everyone / channels)),
            *((each, middle) for each in (window, window / 9, *nine[:4], *nine[5:])),
            (window.sum(1, True).expand_as(x), own),
        ]
        on = f"for {channels} channels, behind its ReLU"
        compare(F.relu(conv(x)), x, on=on, mistakes=mistakes)


@exercise(
    "vgg.as_convolutions",
    kind="implement",
    goal="see a full layer as a convolution that fits once",
    minutes=20,
    first="`first` has a row of weights for each unit. Whose weights are the numbers of"
    " this row, in which order?",
)
def as_convolutions(answer: Answer) -> None:
    """Against the full layers at every place of larger maps."""
    for channels, side, hidden in ((3, 2, 6), (2, 3, 5)):
        full = first, last = nn.Linear(channels * side**2, hidden), nn.Linear(hidden, 4)
        weight = first.weight.detach().unflatten(1, (channels, side, side))
        mixed = first.weight.detach().unflatten(1, (side, side, channels))
        got = answer(*full, channels, side)
        if not isinstance(got, nn.Module):
            raise Wrong(f"it returns {type(got).__name__}, where a module is wanted")
        for height, width in ((side, side), (side + 3, side + 1)):
            x = torch.randn(2, channels, height, width)
            on = f"for {channels} maps of {height} by {width}, with side {side}"
            try:
                came = got(x)
            except RuntimeError as error:
                hint = "Is there still a layer that wants maps of one size?"
                raise Wrong(f"it fails {on}: {error}", hint) from None
            want, squeezed = _slid(x, weight, *full), F.adaptive_avg_pool2d(x, side)
            each = "On larger maps there is an answer for each place."
            order = "`nn.Flatten` goes through the maps one by one, each row by row."
            pads = "Without padding: the kernel is used where all of it fits."
            mistakes = [
                (want[..., 0, 0], "What comes out are maps still, if only 1 by 1."),
                (_slid(squeezed, weight, *full), each),
                (_slid(x, mixed.movedim(3, 1), *full), order),
                (_slid(x, weight.mT, *full), order),
                (_slid(F.pad(x, [side // 2] * 4), weight, *full), pads),
                (_slid(x, weight, *full, gate=False), "Where is the ReLU?"),
                (F.relu(want), "Logits may be negative: no ReLU behind them."),
                (want - last.bias[:, None, None], "The last layer has biases, too."),
            ]
            compare(came, want, on=on, mistakes=mistakes)


def _slid(
    x: Tensor, weight: Tensor, first: nn.Linear, last: nn.Linear, gate: bool = True
) -> Tensor:
    """Both full layers at every place, the weights of the first one as given."""
    hidden = F.conv2d(x, weight, first.bias).movedim(1, 3)
    return last(F.relu(hidden) if gate else hidden).movedim(3, 1)


@exercise(
    "vgg.spread",
    kind="investigate",
    goal="tell how far a stack looks from how far it could",
    minutes=30,
    first="Take one axis, weights of one, and a picture as large as the field: a single"
    " output. What is its gradient for three layers?",
)
def spread(answer: Answer) -> None:
    """Its form: variances of windows add up, each in steps of its layer."""
    large = [(3, 1), (2, 2), (3, 1), (3, 1), (2, 2)]
    for layers in ([(3, 1)], [(9, 1)], [(3, 1)] * 4, large[1:4], large):
        step, variance, flat, ways = 1, 0.0, 0.0, torch.ones(1, 1, 1)
        for size, stride in layers:
            flat += (size**2 - 1) / 12
            variance += step**2 * (size**2 - 1) / 12
            ways = F.conv_transpose1d(ways, torch.ones(1, 1, size), dilation=step)
            step *= stride
        field, squares = ways.numel(), ways.flatten().square()
        away = torch.arange(field) - (field - 1) / 2
        narrow = (squares * away**2).sum() / squares.sum()
        answer.gives(
            variance**0.5,
            layers,
            on=f"layers {layers}",
            tolerance=1.0,
            mistakes=[
                (variance, "That is the variance. Take its root."),
                *((n, "So far it could look.") for n in (field, (field - 1) / 2)),
                (((field**2 - 1) / 12) ** 0.5, "Not all pixels have the same share."),
                (flat**0.5, "Behind a stride, a step is several pixels."),
                (narrow.item() ** 0.5, "The share is the number of ways, unsquared."),
                ((2 * variance) ** 0.5, "Measure along one axis, not in the picture."),
            ],
        )
