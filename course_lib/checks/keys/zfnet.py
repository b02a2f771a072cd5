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
    "zfnet.projection_widths",
    kind="predict",
    goal="know the receptive fields of ZFNet",
    minutes=10,
    first_hint="Begin with conv1, whose receptive field is 7 pixels wide. How far apart"
    " are the receptive fields of two neighboring units?",
)
def projection_widths(answer: Answer) -> None:
    """Receptive fields, by the library."""

    def widths(layers: list[tuple[int, int]], ends: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(receptive_field(layers[:end])[0] for end in ends)

    convs = [layer for layer in ZFNET if layer != (3, 2)]
    flat = [(kernel_size, 1) for kernel_size, _ in ZFNET]
    answer.expect(
        widths(ZFNET, (1, 5, 7)),
        mistakes=[
            (
                widths(flat, (1, 5, 7)),
                "After a stride, neighboring units are several pixels apart.",
            ),
            (
                widths(convs, (1, 3, 5)),
                "Pooling has a kernel size and a stride as well.",
            ),
            (widths(ZFNET, (1, 5, 8)), "A unit of conv5 is before the pooling."),
            (
                widths(ALEXNET, (1, 5, 7)),
                "These are AlexNet's. Where does ZFNet differ?",
            ),
        ],
    )


@exercise(
    "zfnet.stem",
    kind="repair",
    goal="find the paddings from the sizes of the feature maps",
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
            "Pooling of 3x3 without padding leaves out the last column.",
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
    first_hint="Begin with the deconvnet, which does not depend on x at all.",
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
                (signal * other, "One rule depends on x, the other on the signal."),
                (
                    signal * (forward + backward).clamp(max=1),
                    "Both conditions have to hold: a signal that fails one is zero.",
                ),
                (gate, "The signal itself passes, not a one in its place."),
                (signal, "A part of the signal becomes zero: which?"),
                (F.relu(x), "It is the signal that passes. x only decides where."),
                (signal.abs() * gate, "The gradient may be negative."),
            ],
        )


@exercise(
    "zfnet.unpool",
    kind="repair",
    goal="undo max pooling with overlapping windows",
    minutes=10,
    first_hint="Pool an image with one bright pixel, 3x3 with stride 2. How often is"
    " its position among the switches?",
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
            on=f"images of {height} by {width} pixels",
            mistakes=_unpool_mistakes(signals, switches, height, width),
        )


def _unpool_mistakes(
    signals: Tensor, switches: Tensor, height: int, width: int
) -> Mistakes:
    empty = torch.zeros(2, 3, height * width)
    positions = switches.flatten(2)
    flat = signals.flatten(2)

    def reduced(way: str) -> Tensor:
        """With this way to reduce signals for the same pixel to one."""
        y = empty.scatter_reduce(2, positions, flat, way, include_self=False)
        return y.view(2, 3, height, width)

    last = empty.scatter(2, positions, flat).view(2, 3, height, width)
    lost = "Several windows share a maximum, and one signal of them is left."
    return [
        (reduced("amax"), lost),
        (reduced("amin"), lost),
        (reduced("mean"), "Signals for the same pixel are added, not averaged."),
        (last, lost),
        (F.interpolate(signals, (height, width)), "A signal belongs to one position."),
    ]


@exercise(
    "zfnet.transposed",
    kind="implement",
    goal="write the transposed convolution from its definition",
    minutes=15,
    first_hint="With a single signal, at the upper left corner: what is the result?",
)
def transposed(answer: Answer) -> None:
    """Against PyTorch's, with strides that leave gaps and such that do not."""
    for (outputs, channels, size), stride in (
        ((1, 1, 3), 1),
        ((3, 2, 3), 2),
        ((2, 3, 2), 3),
    ):
        signal = torch.randn(outputs, 4, 5)
        weight = torch.randn(outputs, channels, size, size)
        answer.expect(
            F.conv_transpose2d(signal, weight, stride=stride),
            signal,
            weight,
            stride,
            on=f"{outputs} filters, kernels {size}x{size}, stride {stride}",
            mistakes=_transposed_mistakes(signal, weight, stride),
        )


def _transposed_mistakes(signal: Tensor, weight: Tensor, stride: int) -> Mistakes:
    size = weight.shape[-1]
    last = torch.zeros_like(F.conv_transpose2d(signal, weight, stride=stride))
    for row, column in itertools.product(range(4), range(5)):
        top = row * stride
        left = column * stride
        filters = weight * signal[:, row, column, None, None, None]
        last[:, top : top + size, left : left + size] = filters.sum(0)
    return [
        (last, "Filters that overlap are added; none replaces another."),
        (
            F.conv_transpose2d(signal, weight.flip(2, 3), stride=stride),
            "The filter is added as it is, not rotated.",
        ),
        (
            F.conv_transpose2d(signal, weight),
            "The filters of neighboring signals are one stride apart.",
        ),
        (
            F.conv_transpose2d(signal[:1], weight[:1], stride=stride),
            "The filters of all channels of the signal are added.",
        ),
    ]


#: The mistakes in the code of `zfnet.cover`, and what is said if one of them is left.
LEFT_IN = {
    "fresh": "In the end most of the image is covered. Begin each time with a whole"
    " one.",
    "probability": "A logit may be any number. What turns logits into probabilities?",
    "to_the_end": "In the last row and column, the square still fits.",
}


@exercise(
    "zfnet.cover",
    kind="repair",
    goal="compute an occlusion map",
    minutes=15,
    first_hint="Print the image after the loops. Has it changed?",
)
def cover(answer: Answer) -> None:
    """With a small network, against every way to leave some of the mistakes in."""
    for (height, width), size, stride, label in (((6, 8), 3, 1, 2), ((9, 7), 3, 2, 0)):
        net = nn.Sequential(nn.Flatten(), nn.Linear(2 * height * width, 4)).eval()
        image = torch.randn(1, 2, height, width)
        answer.expect(
            _cover(net, image, label, size, stride),
            net,
            image,
            label,
            size,
            stride,
            on=f"{height} by {width} pixels, size {size}, stride {stride}",
            mistakes=_cover_mistakes(net, image, label, size, stride),
        )


def _cover_mistakes(
    net: nn.Module, image: Tensor, label: int, size: int, stride: int
) -> Mistakes:
    mistakes = []
    _, *unfinished = itertools.product((True, False), repeat=len(LEFT_IN))
    for mended in unfinished:
        options = dict(zip(LEFT_IN, mended, strict=True))
        left_in = next(name for name, done in options.items() if not done)
        made = _cover(net, image, label, size, stride, **options)
        mistakes.append((made, LEFT_IN[left_in]))
    turned = _cover(net, image, label, size, stride).T
    mistakes.append((turned, "Entry (i, j) is i steps down and j to the right."))
    return mistakes


@torch.no_grad()
def _cover(
    net: nn.Module,
    image: Tensor,
    label: int,
    size: int,
    stride: int,
    *,
    fresh: bool = True,
    probability: bool = True,
    to_the_end: bool = True,
) -> Tensor:
    """The occlusion map, with the mistakes that are not mended."""
    height, width = (side - size + to_the_end for side in image.shape[-2:])
    rows = range(0, height, stride)
    columns = range(0, width, stride)
    covered = image.clone()
    probabilities = []
    for top, left in itertools.product(rows, columns):
        if fresh:
            covered = image.clone()
        covered[..., top : top + size, left : left + size] = 0
        logits = net(covered)[0]
        outputs = logits.softmax(0) if probability else logits
        probabilities.append(outputs[label])
    return torch.stack(probabilities).view(len(rows), len(columns))


@exercise(
    "zfnet.seen_period",
    kind="investigate",
    goal="see the aliasing that made ZFNet's stride smaller",
    minutes=25,
    first_hint="Make the stripes, and convolve them with a piece of themselves. Then"
    " plot one row of the feature map.",
)
def seen_period(answer: Answer) -> None:
    """Its form: on a few stripes, within a tenth, what sampling theory says."""
    units = "Neighboring units are `stride` pixels of the image apart."
    for period, kernel_size, stride in ((12.0, 11, 4), (5.0, 11, 4), (3.0, 7, 2)):
        waves = stride / period  # from one unit to the next
        want = stride / abs(waves - round(waves))
        answer.expect(
            want,
            period,
            kernel_size,
            stride,
            on=f"stripes of {period:g} pixels, kernel {kernel_size}, stride {stride}",
            tolerance=10.0,
            mistakes=[
                (period, "Measure in the feature map, not in the image."),
                (want / stride, units),
                (
                    want / 2,
                    "A period is a bright and a dark stripe: two changes of sign.",
                ),
                (want / stride / 2, units),
            ],
        )
