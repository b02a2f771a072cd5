"""The exercises on convolution."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.compare import Mistakes, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import case
from course_lib.convolution import output_size as size_of
from course_lib.convolution import receptive_field as field_of
from course_lib.summary import count_parameters


@exercise(
    "convolution.parameters_of_one_layer",
    kind="predict",
    goal="count the parameters of a convolution",
    minutes=3,
    first_hint="How many parameters does one output channel have? And all of them?",
)
def parameters_of_one_layer(answer: Answer) -> None:
    """Counted from the layers themselves."""
    with torch.device("meta"):
        conv = count_parameters(nn.Conv2d(3, 16, 5))
        linear = count_parameters(nn.Linear(3 * 28 * 28, 16 * 24 * 24))
    units = 16 * 24 * 24
    answer.expect(
        (conv, linear),
        mistakes=[
            ((conv - 16, linear - units), "Each output has a bias, too."),
            ((conv - 16, linear), "Each output channel of the convolution has a bias."),
            (
                (conv, linear - units),
                "Each output of the fully connected layer has a bias, too.",
            ),
            (
                (conv, 16 * 28 * 28 * (3 * 28 * 28 + 1)),
                "Without padding, the output is smaller than the input.",
            ),
            ((416, linear), "Each output channel depends on all three input channels."),
        ],
    )


@exercise(
    "convolution.output_size",
    kind="implement",
    goal="know the size of every feature map without running anything",
    minutes=5,
    first_hint="At how many positions does the kernel fit if the stride is one?",
)
def output_size(answer: Answer) -> None:
    """Against the library's, on sizes of the papers and on random ones."""
    cases = [(28, 5, 1, 0), (28, 5, 1, 2), (227, 11, 4, 0), (224, 7, 2, 3)]
    draw = random.Random()
    for _ in range(20):
        kernel_size = draw.randint(1, 7)
        size = draw.randint(kernel_size, 64)
        stride = draw.randint(1, 4)
        padding = draw.randint(0, kernel_size // 2)
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
    return [
        ((n + 2 * p - k) // s, "Count the first position, too: add one."),
        ((n + p - k) // s + 1, "Padding is added on both sides."),
        ((n - k) // s + 1, "What does the padding do?"),
        (n + 2 * p - k + 1, "With a stride, only some of the positions count."),
        (
            -(-(n + 2 * p - k) // s) + 1,
            "A position where the kernel does not fit does not count: round down.",
        ),
        (
            (n + 2 * p - k) / s + 1,
            "The size is a whole number of pixels: a last stride that does not fit is"
            " left out.",
        ),
    ]


@exercise(
    "convolution.receptive_field",
    kind="implement",
    goal="follow the receptive field through a stack of layers",
    minutes=10,
    first_hint="Begin with one pixel. How many does a 3x3 convolution add?",
)
def receptive_field(answer: Answer) -> None:
    """Against the library's: for pairs as in VGG, for the first layers of AlexNet, and
    for random stacks.
    """
    cases = [[(3, 1)], [(3, 1), (3, 1)], [(11, 4), (3, 2), (5, 1)], []]
    draw = random.Random()
    cases += [
        [(draw.randint(1, 7), draw.randint(1, 3)) for _ in range(draw.randint(2, 6))]
        for _ in range(10)
    ]
    for layers in cases:
        answer.expect(
            field_of(layers)[0] if layers else 1,
            layers,
            on=f"layers {layers}",
            mistakes=_receptive_field_mistakes(layers),
        )


def _receptive_field_mistakes(layers: list[tuple[int, int]]) -> Mistakes:
    """For layers of a kernel size and a stride each."""
    sizes = [kernel_size for kernel_size, _ in layers]
    widened_at_once = 1
    jump = 1
    for kernel_size, stride in layers:
        jump *= stride
        widened_at_once += (kernel_size - 1) * jump
    backwards = 1
    for kernel_size, stride in layers:
        backwards = (backwards - 1) * stride + kernel_size
    return [
        (
            1 + sum(size - 1 for size in sizes),
            "After a stride, neighboring units are several pixels apart in the input.",
        ),
        (
            widened_at_once,
            "A layer's own stride affects the layers after it, not the layer itself.",
        ),
        (
            sum(sizes),
            "The receptive fields of neighboring units overlap: a kernel of k adds"
            " k - 1.",
        ),
        (
            backwards,
            "This goes from the last layer to the first: reverse the order, or multiply"
            " up the strides.",
        ),
    ]


@exercise(
    "convolution.convolve",
    kind="implement",
    goal="write a convolutional layer by hand",
    minutes=15,
    first_hint="Compute one value: the first output channel, at the upper left corner.",
)
def convolve(answer: Answer) -> None:
    """Against PyTorch's, with several channels and kernels that are not square."""
    for channels, out, kernel in ((1, 1, (2, 2)), (3, 4, (3, 3)), (2, 3, (2, 5))):
        x = torch.randn(channels, 7, 9)
        weight = torch.randn(out, channels, *kernel)
        answer.expect(
            F.conv2d(x, weight),
            x,
            weight,
            mistakes=_convolve_mistakes(x, weight),
        )


def _convolve_mistakes(x: Tensor, weight: Tensor) -> Mistakes:
    out, _, height, width = weight.shape
    padded = F.pad(x, (0, width - 1, 0, height - 1))
    return [
        (F.conv2d(x, weight.flip(2, 3)), "Do not flip the kernel."),
        (F.conv2d(padded, weight), "There is no padding."),
        (
            F.conv2d(x, weight[:1]).expand(out, -1, -1),
            "Every output channel has a kernel of its own.",
        ),
        (
            F.conv2d(x[:1], weight[:, :1]),
            "An output channel is the sum over all input channels.",
        ),
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
        want = _two_convs(channels, kernel_size, padding=kernel_size // 2)
        valid = _two_convs(channels, kernel_size, padding=0)
        always_one = _two_convs(channels, kernel_size, padding=1)
        bare = nn.Sequential(want[0], want[2])
        x = torch.randn(2, channels, 9, 8)
        got = answer(channels, kernel_size)
        named = f"with a kernel of {kernel_size}, "
        with case(named, hint="How many positions are lost at each border?"):
            same_function(
                got,
                want,
                x,
                mistakes=[
                    (valid, "Every convolution makes the feature maps smaller."),
                    (
                        always_one,
                        "It is right for a kernel of 3x3, and for no other.",
                    ),
                    (bare, "Keep the ReLU between the two convolutions."),
                ],
            )


def _two_convs(channels: int, kernel_size: int, padding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size, padding=padding),
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel_size, padding=padding),
    )
