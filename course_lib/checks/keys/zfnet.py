"""The exercises on ZFNet."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import he_init
from course_lib.checks.compare import Mistakes, WrongAnswer, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.convolution import receptive_field

#: Kernel size and stride up to conv5, and up to pool5.
ALEXNET = [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]
ZFNET = [(7, 2), (3, 2), (5, 2), *ALEXNET[3:]]


@exercise(
    "zfnet.painted",
    kind="predict",
    goal="know how much of a picture one unit can be about",
    minutes=10,
    first_hint="Begin with conv1, whose units see 7 pixels. How far apart are two"
    " units that are neighbors?",
)
def painted(answer: Answer) -> None:
    """Receptive fields, by the library."""

    def seen(layers: list[tuple[int, int]], ends: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(receptive_field(layers[:end])[0] for end in ends)

    convs = [layer for layer in ZFNET if layer != (3, 2)]
    flat = [(kernel_size, 1) for kernel_size, _ in ZFNET]
    answer.expect(
        seen(ZFNET, (1, 5, 7)),
        mistakes=[
            (seen(flat, (1, 5, 7)), "Behind a stride, one step is several pixels."),
            (seen(convs, (1, 3, 5)), "Pooling has windows and strides as well."),
            (seen(ZFNET, (1, 5, 8)), "A unit of conv5 lies before its pooling."),
            (seen(ALEXNET, (1, 5, 7)), "These are AlexNet's. Where does ZFNet differ?"),
        ],
    )


@exercise(
    "zfnet.stem",
    kind="repair",
    goal="find the paddings from the sizes of the maps",
    minutes=10,
    first_hint="Run it on `torch.zeros(1, 3, 224, 224)`, layer by layer, and write"
    " down the sizes.",
)
def stem(answer: Answer) -> None:
    """Against all stems that have the sizes of figure 3: the paper does not say whether
    its pooling pads or rounds up.
    """
    x = torch.randn(1, 3, 224, 224)
    channels = (4, 6)
    got = answer(*channels)
    mistakes = _stem_mistakes(channels)
    failures = []
    for pools in itertools.product((1, -1), repeat=2):
        try:
            same_function(got, _stem(channels, pools=pools), x, mistakes=mistakes)
        except WrongAnswer as wrong:
            failures.append(wrong)
        else:
            return
    raise failures[0]


def _stem_mistakes(channels: tuple[int, int]) -> Mistakes:
    net = _stem(channels)
    relus = "Keep both ReLUs."
    conv1 = "Which padding of conv1 makes 110 of 224?"
    return [
        (
            _stem(channels, convs=(0, 0), pools=(0, 0)),
            "Compare the sizes with figure 3's.",
        ),
        (
            _stem(channels, convs=(3, 0)),
            "Half of the kernel is too much: 112, not 110.",
        ),
        (
            _stem(channels, convs=(1, 2)),
            "conv2 is right without padding: 55 become 26.",
        ),
        (_stem(channels, convs=(2, 0)), conv1),
        (_stem(channels, convs=(0, 0)), conv1),
        (
            _stem(channels, pools=(0, 0)),
            "A window of three leaves out a last column.",
        ),
        (_stem(channels, pools=(1, 0)), "And the second pooling?"),
        (_stem(channels, pools=(0, 1)), "And the first pooling?"),
        (nn.Sequential(*net[:4], net[5]), relus),
        (nn.Sequential(net[0], *net[2:]), relus),
    ]


def _stem(
    channels: tuple[int, int],
    *,
    convs: tuple[int, int] = (1, 0),
    pools: tuple[int, ...] = (1, 1),
) -> nn.Sequential:
    """conv1 to pool2 with these paddings; -1 for pooling that rounds up instead."""
    pool1, pool2 = (nn.MaxPool2d(3, 2, max(pad, 0), ceil_mode=pad < 0) for pad in pools)
    net = nn.Sequential(
        nn.Conv2d(3, channels[0], 7, stride=2, padding=convs[0]),
        nn.ReLU(),
        pool1,
        nn.Conv2d(*channels, 5, stride=2, padding=convs[1]),
        nn.ReLU(),
        pool2,
    )
    he_init(net)
    return net


@exercise(
    "zfnet.through_relu",
    kind="implement",
    goal="tell the deconvnet from the gradient",
    minutes=10,
    first_hint="Begin with the deconvnet, which does not look at x at all.",
)
def through_relu(answer: Answer) -> None:
    """The gradient against PyTorch's; all three rules on signals of both signs, and on
    activations that are exactly zero.
    """
    x = torch.randn(2, 3, 4, 5)
    signal = torch.randn(2, 3, 4, 5)
    x[:, 0] = 0.0
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(F.relu(x), x, signal)
    x = x.detach()
    forward = (x > 0).float()
    backward = (signal > 0).float()
    gates = {"gradient": forward, "deconvnet": backward, "both": forward * backward}
    for rule, gate in gates.items():
        other = gates["deconvnet" if rule == "gradient" else "gradient"]
        answer.expect(
            gradient if rule == "gradient" else signal * gate,
            signal,
            x,
            rule,
            on=f'rule "{rule}"',
            mistakes=[
                (signal * (x >= 0), "A unit that is at zero was not active."),
                (signal * other, "One rule looks at x, the other at the signal."),
                (
                    signal * (forward + backward).clamp(max=1),
                    "Both gates have to be open: what one of them stops is gone.",
                ),
                (gate, "The signal itself goes on, not a one in its place."),
                (signal, "Something is stopped here: what?"),
                (F.relu(x), "It is the signal that goes on. x only decides where."),
                (signal.abs() * gate, "The gradient may be negative."),
            ],
        )


@exercise(
    "zfnet.unpool",
    kind="repair",
    goal="bring signals home where windows overlap",
    minutes=10,
    first_hint="Pool a picture with one bright pixel, 3x3 with stride 2. How often is"
    " its place among the switches?",
)
def unpool(answer: Answer) -> None:
    """Against the gradient of pooling, with maxima that several windows share."""
    for height, width in ((7, 7), (5, 9)):
        x = torch.rand(2, 3, height, width)
        x[:, :, 2::4, 2::4] += 1.0  # corners of four windows
        x.requires_grad_()
        pooled, switches = F.max_pool2d(x, 3, 2, return_indices=True)
        signals = torch.rand_like(pooled) + 0.1
        (want,) = torch.autograd.grad(pooled, x, signals)
        answer.expect(
            want,
            signals,
            switches,
            (height, width),
            on=f"pictures of {height} by {width} pixels",
            mistakes=_unpool_mistakes(signals, switches, height, width),
        )


def _unpool_mistakes(
    signals: Tensor, switches: Tensor, height: int, width: int
) -> Mistakes:
    empty = torch.zeros(2, 3, height * width)
    places = switches.flatten(2)
    flat = signals.flatten(2)

    def meeting(way: str) -> Tensor:
        """With this way to make one signal of those that meet."""
        met = empty.scatter_reduce(2, places, flat, way, include_self=False)
        return met.view(2, 3, height, width)

    last = empty.scatter(2, places, flat).view(2, 3, height, width)
    lost = "Several windows share a maximum, and one signal of them is left."
    return [
        (meeting("amax"), lost),
        (meeting("amin"), lost),
        (meeting("mean"), "Signals that meet are added, not averaged."),
        (last, lost),
        (F.interpolate(signals, (height, width)), "A signal has one place."),
    ]


@exercise(
    "zfnet.lay_down",
    kind="implement",
    goal="write the transposed convolution as what it does",
    minutes=15,
    first_hint="With a single signal, at the upper left corner: what comes out?",
)
def lay_down(answer: Answer) -> None:
    """Against PyTorch's, with strides that leave gaps and such that do not."""
    for (maps, channels, size), stride in (
        ((1, 1, 3), 1),
        ((3, 2, 3), 2),
        ((2, 3, 2), 3),
    ):
        signal = torch.randn(maps, 4, 5)
        weight = torch.randn(maps, channels, size, size)
        answer.expect(
            F.conv_transpose2d(signal, weight, stride=stride),
            signal,
            weight,
            stride,
            on=f"{maps} maps, kernels {size}x{size}, stride {stride}",
            mistakes=_lay_down_mistakes(signal, weight, stride),
        )


def _lay_down_mistakes(signal: Tensor, weight: Tensor, stride: int) -> Mistakes:
    size = weight.shape[-1]
    last = torch.zeros_like(F.conv_transpose2d(signal, weight, stride=stride))
    for row, column in itertools.product(range(4), range(5)):
        top = row * stride
        left = column * stride
        filters = weight * signal[:, row, column, None, None, None]
        last[:, top : top + size, left : left + size] = filters.sum(0)
    return [
        (last, "Filters that overlap are added; none covers another."),
        (
            F.conv_transpose2d(signal, weight.flip(2, 3), stride=stride),
            "The filter is laid down as it is, not turned over.",
        ),
        (
            F.conv_transpose2d(signal, weight),
            "Neighboring signals lie as far apart as the filter had moved.",
        ),
        (
            F.conv_transpose2d(signal[:1], weight[:1], stride=stride),
            "All maps lay down their filters, and all are added.",
        ),
    ]


#: The mistakes in the code of `zfnet.cover`, and what is said if one of them is left.
LEFT_IN = {
    "fresh": "In the end most of the picture is covered. Begin each time with a whole"
    " one.",
    "probability": "A score may be anything. What turns scores into a probability?",
    "to_the_end": "In the last row and column, the square still fits.",
}


@exercise(
    "zfnet.cover",
    kind="repair",
    goal="ask the same question at every place",
    minutes=15,
    first_hint="Print the picture after the loops. Is it still the picture?",
)
def cover(answer: Answer) -> None:
    """With a small net, against every way to leave some of the mistakes in."""
    for (height, width), size, stride, label in (((6, 8), 3, 1, 2), ((9, 7), 3, 2, 0)):
        net = nn.Sequential(nn.Flatten(), nn.Linear(2 * height * width, 4)).eval()
        picture = torch.randn(1, 2, height, width)
        answer.expect(
            _cover(net, picture, label, size, stride),
            net,
            picture,
            label,
            size,
            stride,
            on=f"{height} by {width} pixels, size {size}, stride {stride}",
            mistakes=_cover_mistakes(net, picture, label, size, stride),
        )


def _cover_mistakes(
    net: nn.Module, picture: Tensor, label: int, size: int, stride: int
) -> Mistakes:
    mistakes = []
    _, *unfinished = itertools.product((True, False), repeat=len(LEFT_IN))
    for mended in unfinished:
        options = dict(zip(LEFT_IN, mended, strict=True))
        left_in = next(name for name, done in options.items() if not done)
        made = _cover(net, picture, label, size, stride, **options)
        mistakes.append((made, LEFT_IN[left_in]))
    turned = _cover(net, picture, label, size, stride).T
    mistakes.append((turned, "Entry (i, j) is i steps down and j to the right."))
    return mistakes


@torch.no_grad()
def _cover(
    net: nn.Module,
    picture: Tensor,
    label: int,
    size: int,
    stride: int,
    *,
    fresh: bool = True,
    probability: bool = True,
    to_the_end: bool = True,
) -> Tensor:
    """The map, with the mistakes that are not mended."""
    height, width = (side - size + to_the_end for side in picture.shape[-2:])
    rows = range(0, height, stride)
    columns = range(0, width, stride)
    covered = picture.clone()
    answers = []
    for top, left in itertools.product(rows, columns):
        if fresh:
            covered = picture.clone()
        covered[..., top : top + size, left : left + size] = 0
        scores = net(covered)[0]
        answers.append((scores.softmax(0) if probability else scores)[label])
    return torch.stack(answers).view(len(rows), len(columns))


@exercise(
    "zfnet.seen_period",
    kind="investigate",
    goal="see the aliasing that made ZFNet's stride smaller",
    minutes=25,
    first_hint="Make the stripes, and convolve them with a piece of themselves. Then"
    " plot one row of the map.",
)
def seen_period(answer: Answer) -> None:
    """Its form: on a few stripes, within a tenth, what sampling theory says."""
    units = "Neighboring units of the map are `stride` pixels of the picture apart."
    for period, kernel_size, stride in ((12.0, 11, 4), (5.0, 11, 4), (3.0, 7, 2)):
        waves = stride / period  # from one unit of the map to the next
        want = stride / abs(waves - round(waves))
        answer.expect(
            want,
            period,
            kernel_size,
            stride,
            on=f"stripes of {period:g} pixels, kernel {kernel_size}, stride {stride}",
            tolerance=10.0,
            mistakes=[
                (period, "Measure on the map, not on the picture."),
                (want / stride, units),
                (want / 2, "A stripe is bright and dark: two changes of sign."),
                (want / stride / 2, units),
            ],
        )
