"""The exercises on LeNet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import he_init
from course_lib.checks.compare import Mistakes, WrongAnswer, compare, meant
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import same_function
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
    """Pairs of what is counted as parameters, and as connections."""
    weights = layer.weight.numel()
    once = "A weight counts once for every unit that uses it."
    size = "It is the units of the output that use a weight: 10 by 10 in each map."
    mistakes = [
        ((parameters, weights * units), "Every unit uses its map's bias, too."),
        ((parameters, parameters), once),
        ((parameters, weights), once),
        ((parameters, len(layer.weight)), once),
        ((parameters, 16 * units), once),
        (
            (parameters, parameters * 16 * units),
            "A kernel belongs to one map: the units of that map use it, and no others.",
        ),
        ((parameters, parameters * 14 * 14), size),
        ((parameters, parameters * 6 * 14 * 14), size),
        ((parameters, parameters * 10), size),
    ]
    for count, hint in _other_counts(weights, len(layer.weight)).items():
        mistakes.append(((count, count * units), hint))
        mistakes.append(((count, parameters * units), hint))
        mistakes.append(((count, count), hint))
    return mistakes


def _other_counts(weights: int, kernels: int) -> dict[int, str]:
    """Wrong numbers of parameters, each with its hint."""
    bias = "Each of the sixteen output maps has one bias, too."
    three = "Six of the maps are connected to three, the others to more."
    own = "An output map has a kernel of its own for each input map that it is"
    return {
        weights: bias,
        weights + 1: bias,
        16 * (6 * 25 + 1): "Only one of the sixteen maps is connected to all six.",
        kernels * 26: "An output map has one bias, however many input maps it is"
        " connected to.",
        16 * 26: f"{own} connected to.",
        16 * (4 * 25 + 1): "Nine of the maps are connected to four, the others to three"
        " or to all six.",
        16 * (3 * 25 + 1): three,
        kernels + 16: "A kernel has 5x5 weights.",
        kernels * 5 + 16: "A kernel has 5x5 weights.",
    }


@exercise(
    "lenet.subsample",
    kind="implement",
    goal="write the subsampling of 1998",
    minutes=10,
    first_hint="Take the upper left pixel of every square: `x[:, :, ::2, ::2]`. There"
    " are three more.",
    banned=("course_lib.lenet.Subsampling",),
    instead="Write it with slices of `x`, or with PyTorch's pooling.",
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
    right = a * four + b
    bent = [right.tanh(), right.sigmoid(), right.relu()]
    bent.append(1.7159 * (2 / 3 * right).tanh())
    mistakes = [
        (a * four / 4 + b, "The four are added up, not averaged."),
        (a * (four + b), "The bias comes last; nothing multiplies it."),
        (a * F.max_pool2d(x, 2) + b, "All four count, not only the largest."),
        (a * four, "Where is the bias?"),
        (four + b, "Where is the coefficient?"),
        (a * four + 4 * b, "The bias is added once, to the sum."),
        *all_with("The activation function is not part of this exercise.", bent),
        *((a * squares + b, hint) for squares, hint in _other_squares(x)),
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


def _other_squares(x: Tensor) -> list[tuple[Tensor, str]]:
    """What is taken for the sums of the squares, each with its hint."""
    images, channels, height, width = x.shape
    rows = x.reshape(images, channels, height // 2, width // 2, 4).sum(-1)
    top = sum(x.chunk(2, 2), torch.zeros(()))
    quarters = sum(top.chunk(2, 3), torch.zeros(()))
    first = x[..., ::2, ::2]
    square = "A square is two rows of two values: "
    return [
        (rows, f"{square}these are four values of one row."),
        (quarters, f"{square}these four are half an image apart."),
        (first, f"{square}all four count, not only the first."),
        (
            first + x[..., 1::2, 1::2],
            f"{square}all four count, not only those on the diagonal.",
        ),
        (
            4 * F.avg_pool2d(x, 2, stride=1),
            "The squares do not overlap: no value is in two of them.",
        ),
    ]


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
        got = answer(logits, labels)
        one_value = isinstance(got, Tensor) and got.numel() == 1
        compare(
            got.reshape(()) if one_value else got,
            F.cross_entropy(logits, labels),
            on=f"for {on}",
            mistakes=_loss_of_mistakes(logits, labels),
        )
    answer(logits.requires_grad_(), labels)
    answer.compare_gradients(
        torch.autograd.grad(F.cross_entropy(logits, labels), logits),
        on="",
        hint="Training needs a tensor that depends on the logits: no `.item()`.",
    )


def _loss_of_mistakes(logits: Tensor, labels: Tensor) -> Mistakes:
    probabilities = logits.softmax(1)
    right = F.cross_entropy(logits, labels)
    twice = "What does `F.cross_entropy` do before it takes a logarithm?"
    mean = "The loss is a single value, the mean over the images."
    one_hot = F.one_hot(labels, logits.shape[1]).float()
    others = [
        F.mse_loss(probabilities, one_hot),
        F.mse_loss(logits, one_hot),
        F.binary_cross_entropy_with_logits(logits, one_hot),
    ]
    return [
        (F.cross_entropy(probabilities, labels), twice),
        (F.cross_entropy(logits.softmax(0), labels), twice),
        (F.nll_loss(probabilities, labels), "`F.nll_loss` takes no logarithm."),
        *_in_two_steps(probabilities, labels),
        (F.nll_loss(logits.log_softmax(0), labels), "Each image has its own softmax."),
        (-right, "A probability is at most one, and its logarithm negative."),
        (right / logits.shape[1], "The mean is over the images, not over the classes."),
        (
            F.cross_entropy(logits, logits.argmax(1)),
            "The loss compares with the labels, not with the network's own answer.",
        ),
        *all_with("That is another loss.", others),
        (F.nll_loss(logits, labels), "Logits are not log-probabilities."),
        (F.cross_entropy(logits, labels, reduction="sum"), mean),
        (F.cross_entropy(logits, labels, reduction="none"), mean),
    ]


def _in_two_steps(probabilities: Tensor, labels: Tensor) -> Mistakes:
    """Of a softmax and then a logarithm, with the usual ways to keep it finite."""
    hint = (
        "A small probability is rounded to zero, and its logarithm is infinite. Compute"
        " softmax and logarithm in one step."
    )
    finite = [probabilities]
    for small in (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5):
        finite.append(probabilities + small)
        finite.append(probabilities.clamp(min=small))
    return all_with(hint, [F.nll_loss(each.log(), labels) for each in finite])


@exercise(
    "lenet.lenet_for",
    kind="implement",
    goal="fit the fully connected layers to the size of the feature maps",
    minutes=15,
    first_hint="Build it for 28 pixels first, where `c5` has 400 inputs; then ask where"
    " the 400 come from.",
)
def lenet_for(answer: Answer) -> None:
    """Against the same layers in a row, for sides that pooling has to round or not,
    smaller and larger than the paper's.
    """
    for channels, pixels, classes in ((1, 28, 10), (3, 32, 10), (2, 31, 7), (1, 50, 4)):
        side = (pixels // 2 - 4) // 2
        want = _lenet(channels, side, classes)
        he_init(want)
        for parameter in want.parameters():
            if parameter.dim() == 1:
                nn.init.normal_(parameter, std=0.1)
        got = answer(channels, pixels, classes)
        with case(f"lenet_for({channels}, {pixels}, {classes}): "):
            same_function(
                got,
                want,
                torch.randn(2, channels, pixels, pixels),
                mistakes=_lenet_for_mistakes(channels, pixels, classes),
            )


def _lenet_for_mistakes(
    channels: int, pixels: int, classes: int
) -> list[tuple[nn.Module, str]]:
    side = (pixels // 2 - 4) // 2
    net = _lenet(channels, side, classes)
    up = _rounded_up(pixels)
    valid = ((pixels - 4) // 2 - 4) // 2
    relu = "`modern` has a ReLU where LeNet-5 had a tanh."
    ends = "The last layer outputs logits, which may be negative: nothing follows."
    last = (nn.ReLU(), nn.Softmax(dim=1), nn.LogSoftmax(dim=1))
    return [
        *(
            (_lenet(*size), hint)
            for size, hint in _other_sizes(channels, pixels, classes).items()
            if size != (channels, side, classes)
        ),
        (
            _lenet(channels, valid, classes, padding=0),
            "The first convolution pads, so that it keeps the size.",
        ),
        (
            _lenet(channels, up, classes, pool=partial(nn.MaxPool2d, ceil_mode=True)),
            "Pooling rounds down: a last row that is alone is left out.",
        ),
        (
            _lenet(channels, side, classes, pool=nn.AvgPool2d),
            "`modern` has max pooling.",
        ),
        (_lenet(channels, side, classes, activation=nn.Tanh), relu),
        (_lenet(channels, side, classes, activation=nn.Sigmoid), relu),
        *all_with(ends, [nn.Sequential(*net, each) for each in last]),
        *all_with("Every layer but the last has a ReLU.", without_each(net, nn.ReLU)),
    ]


def _rounded_up(pixels: int) -> int:
    """The side of the last feature maps if both poolings rounded up."""
    first = math.ceil(pixels / 2)
    return math.ceil((first - 4) / 2)


def _other_sizes(
    channels: int, pixels: int, classes: int
) -> dict[tuple[int, int, int], str]:
    """Wrong channels, sides and classes, each with its hint."""
    side = (pixels // 2 - 4) // 2
    return {
        (1, side, 10): "How many channels are there, and how many classes?",
        (1, 5, 10): "That is the network for 28 pixels: what changes?",
        (channels, 5, classes): "400 is right for 28 pixels only.",
        (1, side, classes): "How many channels does the input have?",
        (channels, side, 10): "How many classes are there?",
        (channels, pixels // 4, classes): "The second convolution does not pad: it"
        " makes each side 4 smaller.",
        (channels, _rounded_up(pixels), classes): "Pooling rounds down: a last row that"
        " is alone is left out.",
    }


def _lenet(
    channels: int,
    side: int,
    classes: int,
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    pool: Callable[[int], nn.Module] = nn.MaxPool2d,
    padding: int = 2,
) -> nn.Sequential:
    """`LeNet("modern")` as one flat `nn.Sequential`."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding),
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


#: The input channels that each output channel is connected to.
Table = Sequence[Sequence[int]]


@exercise(
    "lenet.partial_convolution",
    kind="implement",
    goal="build a convolution with partial connections",
    minutes=15,
    first_hint="Which kernel has the same effect as no connection at all?",
    banned=("course_lib.lenet.PartialConv2d",),
    instead="Write it with `F.conv2d`.",
)
def partial_convolution(answer: Answer) -> None:
    """Against a masked convolution: the paper's table, random ones, and one with rows
    in any order; with kernels that are not square.
    """
    random_table = tuple(
        tuple(sorted(torch.randperm(4)[: 1 + row % 3].tolist())) for row in range(5)
    )
    square = ((0,), (0, 1), (0, 1, 2))
    unsorted = ((3, 0), (2,), (1, 3, 0, 2))
    for channels, table, kernel, on in (
        (6, C3_TABLE, (5, 5), "Table I"),
        (4, random_table, (3, 3), "a random table"),
        (3, square, (2, 3), f"the table {square}"),
        (4, unsorted, (1, 2), f"the table {unsorted}"),
    ):
        x = torch.randn(2, channels, 9, 8)
        bias = torch.randn(len(table))
        weight = torch.randn(len(table), channels, *kernel)
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
    shares = mask.sum(1)[:, None, None, None]
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
            F.conv2d(x, connected / shares, bias),
            "What comes from the connected channels is added, not averaged.",
        ),
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
        got = meant(answer(codes), ()) or []
        came = [meant(each, codes) for each in got]
        shapes = [(classes, features), (classes,)]
        if shapes != [tuple(getattr(each, "shape", ())) for each in came]:
            raise WrongAnswer(
                f"it should return a weight and a bias of the shapes {shapes[0]} and"
                f" {shapes[1]}, for {on}",
                "For each class a row of the weight, and one value of the bias.",
            )
        distances = (x[:, None] - codes).square().sum(2)
        weight, bias = (each.float() for each in came)
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
    square = "The logit has the square of the norm."
    as_is = "The weight is made of the codes as they are."
    unit = codes / squared_norm.sqrt()[:, None]
    mean = squared_norm / codes.shape[1]
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
        (probabilities(codes, -squared_norm.sqrt() / 2), square),
        (probabilities(codes, -squared_norm.sqrt()), square),
        (probabilities(codes, -codes.abs().sum(1) / 2), square),
        (probabilities(codes, -codes.sum(1).square() / 2), "Square first, then add."),
        (probabilities(codes, -mean / 2), "The norm is a sum, not a mean."),
        (probabilities(codes / 2, -squared_norm / 2), as_is),
        (probabilities(2 * codes, -squared_norm / 2), as_is),
        (probabilities(unit, 0 * squared_norm), as_is),
        (probabilities(unit, -squared_norm / 2), as_is),
    ]
