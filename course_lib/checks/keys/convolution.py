"""The exercises on convolution."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import nets
from course_lib.checks.compare import Mistakes, compare
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import same_function
from course_lib.checks.shared import all_with, case
from course_lib.convolution import output_size as size_of
from course_lib.sharing import LocallyConnected2d
from course_lib.summary import count_parameters


@exercise(
    "convolution.parameters_of_one_layer",
    kind="predict",
    goal="count the parameters of a convolution",
    minutes=3,
    first_hint="How many parameters does one output channel have? And all of them?",
)
def parameters_of_one_layer(answer: Answer) -> None:
    """Counted from the layers themselves, against every pair of mistakes."""
    with torch.device("meta"):
        conv = count_parameters(nn.Conv2d(3, 16, 5))
        linear = count_parameters(nn.Linear(3 * 28 * 28, 16 * 24 * 24))
    convs = {conv: "", **_conv_mistakes(conv)}
    linears = {linear: "", **_linear_mistakes(linear)}
    bias = "Each output has a bias, too."
    answer.expect(
        (conv, linear),
        tolerance=0,
        mistakes=[
            ((conv - 16, linear - 16 * 24 * 24), bias),
            *(
                ((one, other), convs[one] or linears[other])
                for one, other in itertools.product(convs, linears)
                if convs[one] or linears[other]
            ),
        ],
    )


def _conv_mistakes(right: int) -> dict[int, str]:
    """What is counted for the convolution, and the hint that fits."""
    every = "Each output channel depends on all three input channels."
    sixteen = "Each of the sixteen output channels has a kernel of its own."
    return {
        right - 16: "Each output channel of the convolution has a bias.",
        16 * 25 + 16: every,
        16 * 25: every,
        75 + 1: sixteen,
        75 + 16: sixteen,
        75: sixteen,
        right - 15: "There is a bias for each output channel, not one for all.",
        16 * (3 * 25 + 3): "An output channel has one bias, not one per input channel.",
        16 * 3 * 5 + 16: "A kernel of 5x5 has 25 weights for each input channel.",
        16 * 75 + 16 * 24 * 24: "All positions of a feature map share one bias.",
        16 * 76 * 24 * 24: "The same weights are used at every position: count once.",
    }


def _linear_mistakes(right: int) -> dict[int, str]:
    """What is counted for the fully connected layer, and the hint that fits."""
    units = 16 * 24 * 24
    inputs = 3 * 28 * 28
    size = "Without padding, the output is smaller than the input."
    outputs = "It has as many outputs as there are values in all sixteen feature maps."
    return {
        right - units: "Each output of the fully connected layer has a bias, too.",
        16 * 28 * 28 * (inputs + 1): size,
        16 * 28 * 28 * inputs: size,
        16 * 23 * 23 * (inputs + 1): "At how many positions does the kernel fit?",
        16 * (inputs + 1): outputs,
        16 * inputs: outputs,
        24 * 24 * (inputs + 1): outputs,
        units * (28 * 28 + 1): "Its inputs are the pixels in all three channels.",
        right - units + 1: "There is a bias for each output, not one for all.",
    }


@exercise(
    "convolution.output_size",
    kind="implement",
    goal="know the size of every feature map without running anything",
    minutes=5,
    first_hint="At how many positions does the kernel fit if the stride is one?",
    banned=("course_lib.convolution.output_size",),
    instead="Write the formula.",
)
def output_size(answer: Answer) -> None:
    """Against the library's, on sizes of the papers and on random ones."""
    cases = [(28, 5, 1, 0), (28, 5, 1, 2), (227, 11, 4, 0), (224, 7, 2, 3)]
    cases += [(9, 2, 4, 0), (7, 1, 3, 0), (3, 5, 1, 1), (6, 3, 5, 2), (10, 3, 3, 1)]
    for _ in range(20):
        kernel_size = random.randint(1, 7)
        size = random.randint(kernel_size, 64)
        stride = random.randint(1, 4)
        padding = random.randint(0, kernel_size // 2)
        cases.append((size, kernel_size, stride, padding))
    for size, kernel_size, stride, padding in cases:
        answer.expect(
            size_of(size, kernel_size, stride, padding),
            size,
            kernel_size,
            stride,
            padding,
            on=f"{size} pixels, kernel {kernel_size}, stride {stride},"
            f" padding {padding}",
            mistakes=_output_size_mistakes(size, kernel_size, stride, padding),
        )


def _output_size_mistakes(n: int, k: int, s: int, p: int) -> Mistakes:
    """Of the formula for n pixels, a kernel of k, stride s and padding p."""
    whole = (
        "The size is a whole number of pixels: a last stride that does not fit is left"
        " out."
    )
    down = "A position where the kernel does not fit does not count: round down."
    first = "Count the first position, too: add one."
    if s > 1:  # without the one, it was wrong before
        first = "The first position needs no stride: divide first, and then add one."
    return [
        ((n + 2 * p - k) // s, first),
        ((n + p - k) // s + 1, "Padding is added on both sides."),
        ((n - k) // s + 1, "What does the padding do?"),
        ((n - 2 * p - k) // s + 1, "Padding makes the input larger, not smaller."),
        (n + 2 * p - k + 1, "With a stride, only some of the positions count."),
        ((n + 2 * p - k) * s + 1, "A stride skips positions: divide by it."),
        (-(-(n + 2 * p - k) // s) + 1, down),
        (round((n + 2 * p - k) / s) + 1, down),
        ((n + 2 * p - k + 1) / s, first),
        ((n + 2 * p - k) / s + 1, whole),
        (n + 2 * p - k // s + 1, "Which part is divided by the stride? All of it."),
        ((n + 2 * p) // s + 1, "The kernel has to fit: where is its size?"),
        (
            ((n + 2 * p - k) // s + 1) ** 2,
            "The pixels along one side are asked for, not all of them.",
        ),
    ]


@exercise(
    "convolution.reached",
    kind="implement",
    goal="follow a change from a pixel to the outputs that depend on it",
    minutes=15,
    first_hint="Take one layer. Its output i reads the inputs from i * stride - padding"
    " on. For which i is the pixel among them?",
)
def reached(answer: Answer) -> None:
    """Against a convolution of a one among zeros: at borders, behind strides, and where
    no output reads the pixel; then for random layers.
    """
    lenet = [(5, 1, 2), (2, 2, 0), (5, 1, 0), (2, 2, 0)]
    alexnet = [(11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0)]
    cases = [(7, 12, [(3, 1, 1)]), (9, 30, [(5, 1, 0), (3, 2, 1), (4, 1, 2)])]
    cases += [(0, 12, [(5, 1, 2)]), (11, 12, [(5, 1, 2)]), (4, 9, [])]
    cases += [(20, 40, lenet), (113, 227, alexnet)]
    cases += [(7, 16, [(1, 2, 0), (3, 1, 1)]), (10, 11, [(2, 2, 0), (3, 1, 1)])]
    cases += [_random_stack() for _ in range(6)]
    for pixel, pixels, layers in cases:
        answer.expect(
            _reached(pixel, pixels, layers),
            pixel,
            pixels,
            layers,
            on=f"pixel {pixel} of {pixels} and the layers {layers}",
            mistakes=_reached_mistakes(pixel, pixels, layers),
        )


#: Kernel size, stride and padding of some layers.
Stack: TypeAlias = list[tuple[int, int, int]]


def _random_stack() -> tuple[int, int, Stack]:
    """A pixel, the number of pixels, and layers of which each has an output."""
    pixels = random.randint(20, 60)
    layers: Stack = []
    size = pixels
    while size > 7 and len(layers) < 4:
        kernel_size = random.randint(1, 5)
        padding = random.randint(0, kernel_size // 2)
        layers.append((kernel_size, random.randint(1, 3), padding))
        size = size_of(size, *layers[-1])
    return random.randrange(pixels), pixels, layers


def _reached(pixel: int, pixels: int, layers: Stack) -> list[int]:
    """Where a convolution of ones is not zero, if the pixel alone is one."""
    x = torch.zeros(1, 1, pixels)
    x[..., pixel] = 1
    for kernel_size, stride, padding in layers:
        ones = torch.ones(1, 1, kernel_size)
        x = (F.conv1d(x, ones, stride=stride, padding=padding) > 0).float()
    return _places(x)


def _places(x: Tensor) -> list[int]:
    return [int(place) for place in x[0, 0].nonzero()]


def _reached_mistakes(pixel: int, pixels: int, layers: Stack) -> Mistakes:
    """No two with different hints are equal in the first of the cases that shows either
    of them.
    """
    right = _reached(pixel, pixels, layers)
    every = [*range(_outputs(pixels, layers))]
    begins = "Output 0 begins `padding` places before the first input."
    covers = "A kernel that begins at a covers a to a + kernel_size - 1."
    border = "Outputs have numbers from 0 on, and there are only so many."
    up = "The first output is one whose kernel reaches the pixel: round up."
    wrong = partial(_counted, pixel, pixels, layers)
    between = partial(_between, pixel, pixels, layers)
    known = [
        (wrong(lambda i, s, _: i * s), f"{begins} Where does output i begin?"),
        (wrong(lambda i, s, p: i * s + p), f"{begins} Look at the sign."),
        (wrong(lambda i, _, p: i - p), "Neighboring outputs begin `stride` apart."),
        (wrong(covered=lambda k: [k // 2]), "Its center is not all that it covers."),
        (wrong(padded=False), "With padding there are more outputs."),
        *all_with(border, (between(low=each, high=not each) for each in (True, False))),
        (between(low=False, high=False), border),
        (between(up=False), up),
        (between(stops=False), "If a stride skips the pixel, no later layer sees it."),
        (wrong(covered=lambda k: range(k + 1)), covers),
        (wrong(covered=lambda k: range(k - 1)), covers),
        (_counted(pixel, pixels, layers[::-1]), "The first layer comes first."),
        (every, "Not every output depends on this pixel."),
        ([*right[:1], *right[-1:]], "All of them, not only the first and the last."),
        ([], "Some do depend on it." if layers else "Without layers: the pixel."),
    ]
    return [(found, hint) for found, hint in known if found != right]


def _outputs(pixels: int, layers: Stack) -> int:
    """How many the last layer has."""
    for layer in layers:
        pixels = size_of(pixels, *layer)
    return pixels


def _counted(
    pixel: int,
    pixels: int,
    layers: Stack,
    begins: Callable[[int, int, int], int] = lambda i, s, p: i * s - p,
    covered: Callable[[int], Sequence[int]] = range,
    *,
    padded: bool = True,
) -> list[int]:
    """By the definition, of which something may be wrong: where the kernel of an output
    `begins`, which of its places are `covered`, how many outputs there are.
    """
    found = {pixel}
    for kernel_size, stride, padding in layers:
        room = pixels + 2 * padding * padded - kernel_size
        pixels = max(room // stride + 1, 0)
        before = found
        found = {
            i
            for i in range(pixels)
            for place in covered(kernel_size)
            if begins(i, stride, padding) + place in before
        }
    return sorted(found)


def _between(
    pixel: int,
    pixels: int,
    layers: Stack,
    *,
    low: bool = True,
    high: bool = True,
    up: bool = True,
    stops: bool = True,
) -> list[int]:
    """By the first and the last that are changed, of which something may be wrong:
    whether the `low` and `high` end are cut off, whether the first is rounded `up`,
    and whether it `stops` where there is nothing between them.
    """
    first = last = pixel
    for kernel_size, stride, padding in layers:
        pixels = size_of(pixels, kernel_size, stride, padding)
        first = (first + padding - kernel_size + 1 + up * (stride - 1)) // stride
        last = (last + padding) // stride
        first = max(first, 0) if low else first
        last = min(last, pixels - 1) if high else last
        if stops and first > last:
            return []
    return [*range(first, last + 1)]


@exercise(
    "convolution.transposed",
    kind="implement",
    goal="spread an input over the output, as a convolution does on the way back",
    minutes=15,
    first_hint="Take an input of a single pixel: what is the output?",
    banned=("convolution",),
    instead="Write it with a loop over the positions of the input.",
)
def transposed(answer: Answer) -> None:
    """Against PyTorch's, with several channels, kernels that are not square, and
    windows that overlap, touch, and leave gaps.
    """
    shapes = (
        (1, 1, (2, 2), 2),
        (2, 3, (3, 3), 1),
        (3, 2, (2, 4), 3),
        (2, 2, (3, 2), 2),
    )
    for channels, out, kernel, stride in shapes:
        x = torch.randn(channels, 4, 5)
        weight = torch.randn(channels, out, *kernel)
        answer.expect(
            F.conv_transpose2d(x, weight, stride=stride),
            x,
            weight,
            stride,
            mistakes=_transposed_mistakes(x, weight, stride),
        )


def _transposed_mistakes(x: Tensor, weight: Tensor, stride: int) -> Mistakes:
    channels, out = weight.shape[:2]
    right = F.conv_transpose2d(x, weight, stride=stride)
    every = "Each output channel is a sum over all input channels."
    return [
        (
            F.conv_transpose2d(x, weight.flip(2, 3), stride=stride),
            "Do not flip the kernel: one pixel of one has the kernel as its output.",
        ),
        *all_with(
            "Neighboring inputs are `stride` pixels apart in the output.",
            [F.conv_transpose2d(x, weight)] if stride > 1 else [],
        ),
        *all_with(
            every,
            [
                F.conv_transpose2d(x[[c]], weight[[c]], stride=stride)
                for c in (range(channels) if channels > 1 else ())
            ],
        ),
        (
            F.conv_transpose2d(x, weight[:, :1], stride=stride).expand(out, -1, -1),
            "Each output channel has kernels of its own.",
        ),
        (
            _overwritten(x, weight, stride),
            "Where windows overlap, their values add up.",
        ),
        (right[None], "One image, no batch: the output has three dimensions."),
        (right.sum(0), "There is a feature map for each output channel: do not add."),
        (
            right[:, : x.shape[1] * stride, : x.shape[2] * stride],
            "The last window may reach beyond H * stride: all of it is there.",
        ),
        (F.pad(right, (0, 1, 0, 1)), "The last window begins at (H - 1) * stride."),
        (right / weight[0, 0].numel(), "The products are added, not averaged."),
    ]


def _overwritten(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Later windows replace what is there, where they should add."""
    y = torch.zeros_like(F.conv_transpose2d(x, weight, stride=stride))
    for i, j in itertools.product(range(x.shape[1]), range(x.shape[2])):
        top = i * stride
        left = j * stride
        value = torch.einsum("c,cdhw->dhw", x[:, i, j], weight)
        y[:, top : top + weight.shape[2], left : left + weight.shape[3]] = value
    return y


@exercise(
    "convolution.max_pool_gradient",
    kind="implement",
    goal="derive a backward pass, and write it",
    minutes=15,
    first_hint="Change one value of a window a little. When does the output change?",
    banned=("pooling", "autograd"),
    instead="Write the formula, with slices or a loop over the windows.",
)
def max_pool_gradient(answer: Answer) -> None:
    """Against autograd, with windows that do not fill the image."""
    for size, (height, width) in ((2, (4, 6)), (3, (7, 9)), (2, (5, 5))):
        x = torch.rand(2, 3, height, width) + 0.1
        leaf = x.clone().requires_grad_()
        y = F.max_pool2d(leaf, size)
        gradient = torch.randn_like(y)
        (want,) = torch.autograd.grad(y, leaf, gradient)
        answer.expect(
            want,
            x,
            gradient,
            size,
            mistakes=_max_pool_mistakes(x, gradient, size, want),
        )


def _max_pool_mistakes(
    x: Tensor, gradient: Tensor, size: int, want: Tensor
) -> Mistakes:
    height, width = x.shape[2:]
    rows = height % size
    columns = width % size
    spread = gradient.repeat_interleave(size, 2).repeat_interleave(size, 3)
    spread = F.pad(spread, (0, columns, 0, rows))
    place = (want != 0).float()
    smallest = -F.max_pool2d(-x, size)
    lowest = F.pad(
        smallest.repeat_interleave(size, 2).repeat_interleave(size, 3),
        (0, columns, 0, rows),
    )
    alone = "Only the largest value of a window has a gradient."
    return [
        (spread, alone),
        (spread / size**2, f"{alone} Shares of it are for the mean."),
        (place, "By the chain rule, this is multiplied by the gradient of the output."),
        (want * x, "The derivative of the maximum is one, and not the value itself."),
        (spread * (x == lowest), "That is the place of the smallest value."),
        (-want, "Look at the sign."),
        (want[:, :, : height - rows, : width - columns], "It has the shape of `x`."),
        (want / size**2, "The maximum is no mean: nothing is divided."),
    ]


@exercise(
    "convolution.is_equivariant",
    kind="implement",
    goal="write a test that a planted fault does not pass",
    minutes=25,
    first_hint="What are x.roll(1, 3) and y.roll(1, 3), for y = layer(x)?",
)
def is_equivariant(answer: Answer) -> None:
    """On layers that are equivariant, and on others that are not, some of them nearly;
    each several times, as tests may draw their images.
    """
    for _ in range(2):
        for layer, want, hint in _layers():
            got = answer(layer)
            on = f"for {_called(layer)}"
            compare(got, want, on=on, mistakes=[(not want, hint)])


def _called(layer: nn.Module) -> str:
    inside = layer.children() if isinstance(layer, nn.Sequential) else [layer]
    return " and ".join(type(each).__name__ for each in inside)


def _layers() -> list[tuple[nn.Module, bool, str]]:
    """Layers, whether they are equivariant, and the hint for who says otherwise."""
    border = "It is, away from the border: do not compare what came in there."
    conv = nn.Conv2d(3, 4, 3, padding=1)
    two = nn.Sequential(conv, nn.ReLU(), nn.Conv2d(4, 2, 5, padding=2))
    half = "Its output moves by less than a pixel: compare it with `y` moved by one."
    random = (
        "This layer treats every position in another way: try noise, not a constant."
    )
    return [
        (nn.ReLU(), True, "Each pixel is treated alike, wherever it is."),
        (conv, True, border),
        (two, True, border),
        (nn.MaxPool2d(3, 1, 1), True, border),
        (nn.BatchNorm2d(3).eval(), True, "It treats every position alike."),
        (nn.MaxPool2d(2), False, half),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), False, half),
        (LocallyConnected2d(3, 2, 3, padding=1, size=16), False, random),
        (nets.Ramp(2), False, "Its output contains the position, from top to bottom."),
        (nets.Ramp(3), False, "Its output contains the position, from left to right."),
        (nets.Turned(2), False, "Its output moves the other way: up, not down."),
        (nets.Turned(3), False, "Its output moves the other way: left, not right."),
        (nn.Softmax(2), True, "The sum over a column is the same wherever a thing is."),
    ]


@exercise(
    "convolution.keeps_its_size",
    kind="repair",
    goal="choose the padding that keeps the size",
    minutes=5,
    first_hint="Look at the padding, and try kernels of 3 and of 5 pixels.",
)
def keeps_its_size(answer: Answer) -> None:
    """Against a block with ``padding="same"``."""
    for channels, kernel_size in ((2, 3), (3, 1), (1, 5), (2, 7)):
        want = _two_convs(channels, kernel_size)
        x = torch.randn(2, channels, 9, 8)
        got = answer(channels, kernel_size)
        with case(f"with a kernel of {kernel_size}, "):
            same_function(
                got,
                want,
                x,
                mistakes=_keeps_its_size_mistakes(want, channels, kernel_size),
            )


def _keeps_its_size_mistakes(
    want: nn.Sequential, channels: int, kernel_size: int
) -> list[tuple[nn.Module, str]]:
    half = kernel_size // 2
    zeros = "Change only the padding; it is made of zeros, as before."
    relu = "Keep the ReLU between the two convolutions, and only that one."
    conv, _, other = want
    shared = nn.Sequential(conv, nn.ReLU(), conv)
    unused = nn.Sequential(conv, nn.ReLU(), conv)
    spare = nn.Conv2d(channels, channels, kernel_size)
    for name, parameter in spare.named_parameters():
        unused.register_parameter(name, parameter)
    bare = nn.Conv2d(channels, channels, kernel_size, padding=half, bias=False)
    modes = OTHER_MODES if half else ()
    return [
        *all_with("These are two convolutions: apply each once.", [shared, unused]),
        *(
            (_two_convs(channels, kernel_size, paddings), hint)
            for paddings, hint in _other_paddings(kernel_size).items()
            if min(paddings) >= 0 and paddings != (half, half)
        ),
        *((_two_convs(channels, kernel_size, mode=mode), zeros) for mode in modes),
        *all_with(relu, [nn.Sequential(conv, other), nn.Sequential(*want, nn.ReLU())]),
        (nn.Sequential(bare, nn.ReLU(), copy.deepcopy(bare)), "Keep the biases."),
    ]


def _other_paddings(kernel_size: int) -> dict[tuple[int, int], str]:
    """Wrong paddings of the two convolutions, each with its hint."""
    half = kernel_size // 2
    small = "Every convolution makes the feature maps smaller: pad more."
    large = "Padding is added on both sides: half of the kernel is enough."
    both = "Each of the two convolutions keeps the size."
    return {
        (kernel_size - 1, 0): both,
        (0, kernel_size - 1): both,
        (half, 0): both,
        (0, half): both,
        (0, 0): small,
        (half - 1, half - 1): small,
        (kernel_size - 1, kernel_size - 1): large,
        (kernel_size, kernel_size): large,
        (half + 1, half + 1): large,
        (1, 1): "It is right for a kernel of 3x3, and for no other.",
    }


#: What `padding_mode` may be instead of zeros.
OTHER_MODES: tuple[Literal["circular", "reflect", "replicate"], ...] = (
    "circular",
    "reflect",
    "replicate",
)


def _two_convs(
    channels: int,
    kernel_size: int,
    paddings: tuple[int, int] | None = None,
    mode: Literal["zeros", "circular", "reflect", "replicate"] = "zeros",
) -> nn.Sequential:
    """The block, with these paddings instead of such that keep the size."""
    first, second = paddings or (kernel_size // 2, kernel_size // 2)
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size, padding=first, padding_mode=mode),
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel_size, padding=second, padding_mode=mode),
    )
