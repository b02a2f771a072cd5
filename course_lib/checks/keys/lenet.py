"""The exercises on LeNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import he_init
from course_lib.checks.compare import Mistakes, WrongAnswer, compare, same_function
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import all_with, case, without_each
from course_lib.lenet import C3_TABLE, RBF, PartialConv2d, Subsampling
from course_lib.summary import count_parameters


@exercise(
    "lenet.third_stage",
    kind="predict",
    goal="tell parameters from connections",
    minutes=5,
    first_hint="How many kernels are there? Add up how many input maps each of the"
    " sixteen is connected to.",
)
def third_stage(answer: Answer) -> None:
    """Counted from the library's stage."""
    layer = PartialConv2d(6, C3_TABLE, 5)
    parameters = count_parameters(layer)
    units = layer(torch.zeros(1, 6, 14, 14))[0, 0].numel()  # of one feature map
    answer.expect(
        (parameters, parameters * units),
        tolerance=0,
        mistakes=_third_stage_mistakes(layer, parameters, units),
    )


def _third_stage_mistakes(
    layer: PartialConv2d, parameters: int, units: int
) -> Mistakes:
    weights = layer.weight.numel()
    kernels = len(layer.weight)
    every_pair = 16 * (6 * 25 + 1)
    bias = "Each of the sixteen output maps has one bias, too."
    once = "A weight counts once for every unit that uses it."
    return [
        ((weights, weights * units), bias),
        ((parameters, weights * units), "Every unit uses its map's bias, too."),
        (
            (every_pair, every_pair * units),
            "Only one of the sixteen maps is connected to all six.",
        ),
        (
            (kernels * 26, kernels * 26 * units),
            "An output map has one bias, however many input maps it is connected to.",
        ),
        (
            (16 * 26, 16 * 26 * units),
            "An output map has a kernel of its own for each input map that it is"
            " connected to.",
        ),
        ((parameters, parameters), once),
        ((parameters, 16 * units), once),
        (
            (parameters, parameters * 16 * units),
            "A kernel belongs to one map: the units of that map use it, and no others.",
        ),
    ]


@exercise(
    "lenet.subsample",
    kind="implement",
    goal="write the subsampling of 1998",
    minutes=10,
    first_hint="Take the upper left pixel of every square: `x[:, :, ::2, ::2]`. There"
    " are three more.",
)
def subsample(answer: Answer) -> None:
    """Against the library's layer. In the first case the output has as many columns as
    channels: there an answer that confuses the two runs, too.
    """
    for shape in ((2, 4, 6, 8), (1, 1, 4, 4), (3, 6, 8, 10)):
        x = torch.randn(shape)
        layer = Subsampling(shape[1])
        nn.init.normal_(layer.coefficient, mean=1.0)
        nn.init.normal_(layer.bias)
        coefficient = layer.coefficient.detach()
        bias = layer.bias.detach()
        answer.expect(
            layer(x).detach(),
            x,
            coefficient.flatten(),
            bias.flatten(),
            on=f"x of shape {shape}",
            mistakes=_subsample_mistakes(x, coefficient, bias),
        )


def _subsample_mistakes(x: Tensor, a: Tensor, b: Tensor) -> Mistakes:
    """Of ``a * sum + b``; `a` and `b` have a value for each channel."""
    four = 4 * F.avg_pool2d(x, 2)
    mistakes = [
        (a * four / 4 + b, "The four are added up, not averaged."),
        (a * (four + b), "The bias comes last; nothing multiplies it."),
        (a * F.max_pool2d(x, 2) + b, "All four count, not only the largest."),
        (a * four, "Where is the bias?"),
        (
            4 * a * F.avg_pool2d(x, 2, stride=1) + b,
            "The squares do not overlap: no value is in two of them.",
        ),
    ]
    if len(a.flatten()) == four.shape[-1]:
        mistakes.append(
            (
                a.flatten() * four + b.flatten(),
                "Each channel has its own coefficient and bias, but here each column"
                " has: PyTorch's broadcasting aligns shapes from the right.",
            )
        )
    return mistakes


@exercise(
    "lenet.loss_of",
    kind="repair",
    goal="know what the cross-entropy takes",
    minutes=5,
    first_hint="Read in PyTorch's documentation what the input of `F.cross_entropy`"
    " has to be.",
)
def loss_of(answer: Answer) -> None:
    """Against PyTorch's, also for logits whose softmax has zeros."""
    labels = torch.randint(10, (8,))
    for size, on in ((2.0, "a batch of eight"), (300.0, "very large logits")):
        logits = size * torch.randn(8, 10)
        answer.expect(
            F.cross_entropy(logits, labels),
            logits,
            labels,
            on=on,
            mistakes=_loss_of_mistakes(logits, labels),
        )


def _loss_of_mistakes(logits: Tensor, labels: Tensor) -> Mistakes:
    probabilities = logits.softmax(1)
    twice = "What does `F.cross_entropy` do before it takes a logarithm?"
    mean = "The loss is a single value, the mean over the images."
    return [
        (F.cross_entropy(probabilities, labels), twice),
        (F.cross_entropy(logits.softmax(0), labels), twice),
        (F.nll_loss(probabilities, labels), "`F.nll_loss` takes no logarithm."),
        (
            F.nll_loss(probabilities.log(), labels),
            "A small probability is rounded to zero, and its logarithm is infinite."
            " Compute softmax and logarithm in one step.",
        ),
        (F.nll_loss(logits, labels), "Logits are not log-probabilities."),
        (F.cross_entropy(logits, labels, reduction="sum"), mean),
        (F.cross_entropy(logits, labels, reduction="none"), mean),
    ]


@exercise(
    "lenet.lenet_for",
    kind="implement",
    goal="fit the fully connected layers to the size of the feature maps",
    minutes=15,
    first_hint="Build it for 28 pixels first, where `c5` has 400 inputs; then ask where"
    " the 400 come from.",
)
def lenet_for(answer: Answer) -> None:
    """Against the same layers in a row, for sides that pooling has to round or not."""
    for channels, pixels, classes in ((1, 28, 10), (3, 32, 10), (2, 30, 7)):
        side = (pixels // 2 - 4) // 2
        net = _lenet(channels, side, classes)
        got = answer(channels, pixels, classes)
        valid = _lenet(channels, ((pixels - 4) // 2 - 4) // 2, classes)
        up = _lenet(channels, round((pixels / 2 - 4) / 2 + 0.1), classes)
        average = _lenet(channels, side, classes, pool=nn.AvgPool2d)
        tanh = _lenet(channels, side, classes, activation=nn.Tanh)
        relus = "Every layer but the last has a ReLU."
        ends = "The last layer outputs logits, which may be negative: nothing follows."
        with case(f"lenet_for({channels}, {pixels}, {classes}): "):
            same_function(
                got,
                net,
                torch.randn(2, channels, pixels, pixels),
                mistakes=[
                    (_lenet(channels, 5, classes), "400 is right for 28 pixels only."),
                    (valid, "The first convolution pads, so that it keeps the size."),
                    (up, "Pooling rounds down: a last row that is alone is left out."),
                    (
                        _lenet(1, side, classes),
                        "How many channels does the input have?",
                    ),
                    (_lenet(channels, side, 10), "How many classes are there?"),
                    (average, "`modern` has max pooling."),
                    (tanh, "`modern` has a ReLU where LeNet-5 had a tanh."),
                    (nn.Sequential(*net, nn.ReLU()), ends),
                    (nn.Sequential(*net, nn.Softmax(dim=1)), ends),
                    *all_with(relus, without_each(net, nn.ReLU)),
                ],
            )


def _lenet(
    channels: int,
    side: int,
    classes: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    pool: Callable[[int], nn.Module] = nn.MaxPool2d,
) -> nn.Sequential:
    """`LeNet("modern")` as one flat `nn.Sequential`."""
    net = nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        activation(),
        pool(2),
        nn.Conv2d(6, 16, 5),
        activation(),
        pool(2),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        activation(),
        nn.Linear(120, 84),
        activation(),
        nn.Linear(84, classes),
    )
    he_init(net)
    return net


#: The input channels that each output channel is connected to.
Table = Sequence[Sequence[int]]


@exercise(
    "lenet.partial_convolution",
    kind="implement",
    goal="build a convolution with partial connections",
    minutes=15,
    first_hint="Which kernel has the same effect as no connection at all?",
)
def partial_convolution(answer: Answer) -> None:
    """Against a masked convolution: the paper's table, and random ones."""
    random_table = tuple(
        tuple(sorted(torch.randperm(4)[: 1 + row % 3].tolist())) for row in range(5)
    )
    square = ((0,), (0, 1), (0, 1, 2))
    for channels, table, on in (
        (6, C3_TABLE, "Table I"),
        (4, random_table, "a random table"),
        (3, square, f"the table {square}"),
    ):
        x = torch.randn(2, channels, 9, 8)
        bias = torch.randn(len(table))
        weight = torch.randn(len(table), channels, 3, 3)
        mask = torch.tensor(
            [[float(c in row) for c in range(channels)] for row in table]
        )
        answer.expect(
            F.conv2d(x, weight * mask[:, :, None, None], bias),
            x,
            weight,
            bias,
            table,
            on=on,
            mistakes=_partial_convolution_mistakes(x, weight, bias, table, mask),
        )


def _partial_convolution_mistakes(
    x: Tensor, weight: Tensor, bias: Tensor, table: Table, mask: Tensor
) -> Mistakes:
    """`mask` is one where an output (row) is connected to an input (column)."""
    connected = weight * mask[:, :, None, None]
    others = weight * (1 - mask)[:, :, None, None]
    packed = torch.zeros_like(weight)
    for out, row in enumerate(table):
        packed[out, list(row)] = weight[out, : len(row)]
    mistakes = [
        (
            F.conv2d(x, weight, bias),
            "Each output channel is connected only to the input channels of its row.",
        ),
        (
            F.conv2d(x, connected, bias * mask.sum(1)),
            "The bias is added once per output channel, not once for each input channel"
            " that it is connected to.",
        ),
        (F.conv2d(x, connected), "Where is the bias?"),
        (
            F.conv2d(x, packed, bias),
            "`weight[d, c]` is for input channel c, also when others are left out.",
        ),
        (
            F.conv2d(x, others, bias),
            "The table lists the input channels that are connected, not the others.",
        ),
    ]
    if len(mask) == len(mask.T):
        transposed = weight * mask.T[:, :, None, None]
        hint = "Row d of the table is for output channel d, and lists input channels."
        mistakes.append((F.conv2d(x, transposed, bias), hint))
    return mistakes


@exercise(
    "lenet.equivalent_linear",
    kind="implement",
    goal="write distances as a fully connected layer",
    minutes=15,
    first_hint="Expand the square of x - c. Which of its terms contain both, which c"
    " alone?",
)
def equivalent_linear(answer: Answer) -> None:
    """Against the softmax of distances: for random codes, and for the digits, whose
    norms are equal.
    """
    for codes, on in (
        (0.3 * torch.randn(6, 12), "random codes"),
        (RBF(10).codes, "the digits"),
    ):
        classes, features = codes.shape
        x = 0.3 * torch.randn(5, features)
        got = answer(codes)
        shapes = [(classes, features), (classes,)]
        if not isinstance(got, tuple | list) or shapes != [
            tuple(getattr(each, "shape", ())) for each in got
        ]:
            raise WrongAnswer(
                f"it should return a weight and a bias of the shapes {shapes[0]} and"
                f" {shapes[1]}, for {on}",
                "For each class a row of the weight, and one value of the bias.",
            )
        distances = (x[:, None] - codes).square().sum(2)
        weight, bias = got
        compare(
            F.linear(x, weight, bias).softmax(1),
            (-0.5 * distances).softmax(1),
            on=f"for {on}, after the softmax",
            mistakes=_equivalent_linear_mistakes(x, codes),
        )


def _equivalent_linear_mistakes(x: Tensor, codes: Tensor) -> Mistakes:
    squared_norm = codes.square().sum(1)

    def probabilities(weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x, weight, bias).softmax(1)

    half = "The logit has half of the squared distance."
    close = "A smaller distance must give a higher probability: check the sign."
    return [
        (
            probabilities(codes, 0 * squared_norm),
            "That is right for codes with equal norms, as the digits have. These codes"
            " have different norms.",
        ),
        (
            probabilities(codes, squared_norm / 2),
            "A code with a large norm is far from most x: check the sign of the bias.",
        ),
        (probabilities(codes, -squared_norm), half),
        (probabilities(2 * codes, -squared_norm), half),
        (probabilities(-codes, -squared_norm / 2), close),
        (probabilities(-codes, squared_norm / 2), close),
    ]
