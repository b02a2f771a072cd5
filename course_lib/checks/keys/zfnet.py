"""The exercises on ZFNet."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import he_init
from course_lib.checks.compare import Wrong, same_function
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
    first="Begin with conv1, whose units see 7 pixels. How far apart are two units that"
    " are neighbours?",
)
def painted(answer: Answer) -> None:
    """Receptive fields, by the library."""

    def seen(layers: list[tuple[int, int]], ends: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(receptive_field(layers[:end])[0] for end in ends)

    convs = [layer for layer in ZFNET if layer != (3, 2)]
    flat = [(kernel_size, 1) for kernel_size, _ in ZFNET]
    answer.gives(
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
    first="Run it on `torch.zeros(1, 3, 224, 224)`, layer by layer, and write down the"
    " sizes.",
)
def stem(answer: Answer) -> None:
    """Against all stems that have the sizes of figure 3: the paper does not say whether
    its pooling pads or rounds up.
    """
    x, channels = torch.randn(1, 3, 224, 224), (4, 6)
    got, net = answer(*channels), _stem(channels)
    mistakes = [
        (_stem(channels, (0, 0), (0, 0)), "Compare the sizes with figure 3's."),
        (_stem(channels, (3, 0)), "Half of the kernel is too much: 112, not 110."),
        (_stem(channels, (1, 2)), "conv2 is right without padding: 55 become 26."),
        (_stem(channels, (2, 0)), "Which padding of conv1 makes 110 of 224?"),
        (_stem(channels, (0, 0)), "Which padding of conv1 makes 110 of 224?"),
        (_stem(channels, pools=(0, 0)), "A window of three leaves out a last column."),
        (_stem(channels, pools=(1, 0)), "And the second pooling?"),
        (_stem(channels, pools=(0, 1)), "And the first pooling?"),
        (nn.Sequential(*net[:4], net[5]), "Keep both ReLUs."),
        (nn.Sequential(net[0], *net[2:]), "Keep both ReLUs."),
    ]
    failures = []
    for pools in itertools.product((1, -1), repeat=2):
        try:
            same_function(got, _stem(channels, pools=pools), x, mistakes=mistakes)
        except Wrong as wrong:
            failures.append(wrong)
        else:
            return
    raise failures[0]


def _stem(
    channels: tuple[int, int],
    convs: tuple[int, int] = (1, 0),
    pools: tuple[int, ...] = (1, 1),
) -> nn.Sequential:
    """conv1 to pool2 with these paddings; -1 for pooling that rounds up instead."""
    a, b = (nn.MaxPool2d(3, 2, max(pad, 0), ceil_mode=pad < 0) for pad in pools)
    net = nn.Sequential(
        *(nn.Conv2d(3, channels[0], 7, stride=2, padding=convs[0]), nn.ReLU(), a),
        *(nn.Conv2d(*channels, 5, stride=2, padding=convs[1]), nn.ReLU(), b),
    )
    he_init(net)
    return net


@exercise(
    "zfnet.through_relu",
    kind="implement",
    goal="tell the deconvnet from the gradient",
    minutes=10,
    first="Begin with the deconvnet, which does not look at x at all.",
)
def through_relu(answer: Answer) -> None:
    """The gradient against PyTorch's; all three rules on signals of both signs, and on
    activations that are exactly zero.
    """
    x, signal = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    x[:, 0] = 0.0
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(F.relu(x), x, signal)
    x = x.detach()
    forwards, backwards = (x > 0).float(), (signal > 0).float()
    rules = {"gradient": forwards, "deconvnet": backwards, "both": forwards * backwards}
    either = "Both gates have to be open: what one of them stops is gone."
    for rule, mask in rules.items():
        want = gradient if rule == "gradient" else signal * mask
        other = rules["deconvnet" if rule == "gradient" else "gradient"]
        answer.gives(
            want,
            *(signal, x, rule),
            on=f'rule "{rule}"',
            mistakes=[
                (signal * (x >= 0), "A unit that is at zero was not active."),
                (signal * other, "One rule looks at x, the other at the signal."),
                (signal * (forwards + backwards).clamp(max=1), either),
                (mask, "The signal itself goes on, not a one in its place."),
                (signal, "Something is stopped here: what?"),
                (F.relu(x), "It is the signal that goes on. x only decides where."),
                (signal.abs() * mask, "The gradient may be negative."),
            ],
        )


@exercise(
    "zfnet.unpool",
    kind="repair",
    goal="bring signals home where windows overlap",
    minutes=10,
    first="Pool a picture with one bright pixel, 3x3 with stride 2. How often is its"
    " place among the switches?",
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
        empty = torch.zeros(2, 3, height * width)
        places, flat = switches.flatten(2), signals.flatten(2)
        lost = "Several windows share a maximum, and one signal of them is left."
        average = "Signals that meet are added, not averaged."
        ways = {"amax": lost, "amin": lost, "mean": average}
        mistakes = [
            (empty.scatter_reduce(2, places, flat, way, include_self=False), hint)
            for way, hint in ways.items()
        ]
        mistakes.append((empty.scatter(2, places, flat), lost))
        answer.gives(
            want,
            *(signals, switches, (height, width)),
            on=f"pictures of {height} by {width} pixels",
            mistakes=[
                *((other.view(want.shape), hint) for other, hint in mistakes),
                (F.interpolate(signals, (height, width)), "A signal has one place."),
            ],
        )


@exercise(
    "zfnet.lay_down",
    kind="implement",
    goal="write the transposed convolution as what it does",
    minutes=15,
    first="With a single signal, at the upper left corner: what comes out?",
)
def lay_down(answer: Answer) -> None:
    """Against PyTorch's, with strides that leave gaps and such that do not."""
    for (d, c, size), stride in (((1, 1, 3), 1), ((3, 2, 3), 2), ((2, 3, 2), 3)):
        signal, weight = torch.randn(d, 4, 5), torch.randn(d, c, size, size)
        want = F.conv_transpose2d(signal, weight, stride=stride)
        last = torch.zeros_like(want)
        for i, j in itertools.product(range(4), range(5)):
            down, right = i * stride, j * stride
            here = (weight * signal[:, i, j, None, None, None]).sum(0)
            last[:, down : down + size, right : right + size] = here
        answer.gives(
            want,
            *(signal, weight, stride),
            on=f"{d} maps, kernels {size}x{size}, stride {stride}",
            mistakes=[
                (last, "Filters that overlap are added; none covers another."),
                (
                    F.conv_transpose2d(signal, weight.flip(2, 3), stride=stride),
                    "The filter is laid down as it is, not turned over.",
                ),
                (
                    F.conv_transpose2d(signal, weight),
                    "Neighbouring signals lie as far apart as the filter had moved.",
                ),
                (
                    F.conv_transpose2d(signal[:1], weight[:1], stride=stride),
                    "All maps lay down their filters, and all are added.",
                ),
            ],
        )


@exercise(
    "zfnet.cover",
    kind="repair",
    goal="ask the same question at every place",
    minutes=15,
    first="Print the picture after the loops. Is it still the picture?",
)
def cover(answer: Answer) -> None:
    """With a small net, against every way to leave some of the mistakes in."""
    hints = (
        "In the end most of the picture is covered. Begin each time with a whole one.",
        "A score may be anything. What turns scores into a probability?",
        "In the last row and column, the square still fits.",
    )
    for (height, width), size, stride, label in (((6, 8), 3, 1, 2), ((9, 7), 3, 2, 0)):
        net = nn.Sequential(nn.Flatten(), nn.Linear(2 * height * width, 4)).eval()
        picture = torch.randn(1, 2, height, width)
        wants = {
            fixed: _cover(net, picture, label, size, stride, *fixed)
            for fixed in itertools.product((True, False), repeat=3)
        }
        right = wants.pop((True, True, True))
        mistakes = [(want, hints[fixed.index(False)]) for fixed, want in wants.items()]
        mistakes.append((right.T, "Entry (i, j) is i steps down and j to the right."))
        answer.gives(
            right,
            *(net, picture, label, size, stride),
            on=f"{height} by {width} pixels, size {size}, stride {stride}",
            mistakes=mistakes,
        )


@torch.no_grad()
def _cover(
    net: nn.Module,
    picture: Tensor,
    label: int,
    size: int,
    stride: int,
    fresh: bool,
    probability: bool,
    to_the_end: bool,
) -> Tensor:
    """The map, with the mistakes that are not mended."""
    height, width = (n - size + to_the_end for n in picture.shape[-2:])
    covered, answers = picture.clone(), []
    for top, left in itertools.product(
        range(0, height, stride), range(0, width, stride)
    ):
        covered = picture.clone() if fresh else covered
        covered[..., top : top + size, left : left + size] = 0
        scores = net(covered)[0]
        answers.append((scores.softmax(0) if probability else scores)[label])
    return torch.stack(answers).view(len(range(0, height, stride)), -1)


@exercise(
    "zfnet.seen_period",
    kind="investigate",
    goal="see the aliasing that made ZFNet's stride smaller",
    minutes=25,
    first="Make the stripes, and convolve them with a piece of themselves. Then plot"
    " one row of the map.",
)
def seen_period(answer: Answer) -> None:
    """Its form: on a few stripes, within a tenth, what sampling theory says."""
    for period, kernel_size, stride in ((12.0, 11, 4), (5.0, 11, 4), (3.0, 7, 2)):
        waves = stride / period  # from one unit of the map to the next
        want = stride / abs(waves - round(waves))
        units = (
            "Neighbouring units of the map are `stride` pixels of the picture apart."
        )
        answer.gives(
            want,
            *(period, kernel_size, stride),
            on=f"stripes of {period:g} pixels, kernel {kernel_size}, stride {stride}",
            mistakes=[
                (period, "Measure on the map, not on the picture."),
                (want / stride, units),
                (want / 2, "A stripe is bright and dark: two changes of sign."),
                (want / stride / 2, units),
            ],
            tolerance=10.0,
        )
