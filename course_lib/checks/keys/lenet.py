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
    first_hint="How many kernels are there? Add up how many maps each of the sixteen"
    " sees.",
)
def third_stage(answer: Answer) -> None:
    """Counted from the library's stage."""
    layer = PartialConv2d(6, C3_TABLE, 5)
    parameters = count_parameters(layer)
    units = layer(torch.zeros(1, 6, 14, 14))[0, 0].numel()  # of one map
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
    full = 16 * (6 * 25 + 1)
    bias = "Each of the sixteen maps has one bias, too."
    once = "A weight counts once for every unit that uses it."
    return [
        ((weights, weights * units), bias),
        ((parameters, weights * units), "Every unit uses its map's bias, too."),
        ((full, full * units), "Only one of the sixteen maps sees all six."),
        (
            (kernels * 26, kernels * 26 * units),
            "A map has one bias, however many maps it sees.",
        ),
        (
            (16 * 26, 16 * 26 * units),
            "A map has a kernel of its own for each map that it sees.",
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
    """Against the library's layer. First as many columns as maps come out: there a
    wrong line of numbers fits.
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
    """Of ``a * sum + b``; `a` and `b` have a number for each map."""
    four = 4 * F.avg_pool2d(x, 2)
    mistakes = [
        (a * four / 4 + b, "The four are added up, not averaged."),
        (a * (four + b), "The bias comes last; nothing multiplies it."),
        (a * F.max_pool2d(x, 2) + b, "All four count, not only the largest."),
        (a * four, "What became of the bias?"),
        (
            4 * a * F.avg_pool2d(x, 2, stride=1) + b,
            "The squares lie side by side: no pixel is in two of them.",
        ),
    ]
    if len(a.flatten()) == four.shape[-1]:
        mistakes.append(
            (
                a.flatten() * four + b.flatten(),
                "Every map has its own two numbers, and here every column has: PyTorch"
                " lines up shapes from the right.",
            )
        )
    return mistakes


@exercise(
    "lenet.loss_of",
    kind="repair",
    goal="know what the cross-entropy takes",
    minutes=5,
    first_hint="Read what `F.cross_entropy` says of its input. Which kind of numbers"
    " does it want?",
)
def loss_of(answer: Answer) -> None:
    """Against PyTorch's, also for scores whose softmax has zeros."""
    labels = torch.randint(10, (8,))
    for size, on in ((2.0, "a batch of eight"), (300.0, "very large scores")):
        scores = size * torch.randn(8, 10)
        answer.expect(
            F.cross_entropy(scores, labels),
            scores,
            labels,
            on=on,
            mistakes=_loss_of_mistakes(scores, labels),
        )


def _loss_of_mistakes(scores: Tensor, labels: Tensor) -> Mistakes:
    shares = scores.softmax(1)
    twice = "What does `F.cross_entropy` do before it takes a logarithm?"
    mean = "The loss is one number, the mean over the pictures."
    return [
        (F.cross_entropy(shares, labels), twice),
        (F.cross_entropy(scores.softmax(0), labels), twice),
        (F.nll_loss(shares, labels), "`F.nll_loss` takes no logarithm."),
        (
            F.nll_loss(shares.log(), labels),
            "A small share becomes zero, and its logarithm infinite. Take both steps in"
            " one.",
        ),
        (F.nll_loss(scores, labels), "The scores are no log-probabilities."),
        (F.cross_entropy(scores, labels, reduction="sum"), mean),
        (F.cross_entropy(scores, labels, reduction="none"), mean),
    ]


@exercise(
    "lenet.lenet_for",
    kind="implement",
    goal="fit the full layers to what the convolutions leave of a picture",
    minutes=15,
    first_hint="Build it for 28 pixels first, where `c5` has 400 inputs; then ask where"
    " the 400 come from.",
)
def lenet_for(answer: Answer) -> None:
    """Against the same layers in a row, for sides that are pooled evenly or not."""
    for channels, pixels, classes in ((1, 28, 10), (3, 32, 10), (2, 30, 7)):
        side = (pixels // 2 - 4) // 2
        net = _lenet(channels, side, classes)
        got = answer(channels, pixels, classes)
        valid = _lenet(channels, ((pixels - 4) // 2 - 4) // 2, classes)
        up = _lenet(channels, round((pixels / 2 - 4) / 2 + 0.1), classes)
        average = _lenet(channels, side, classes, pool=nn.AvgPool2d)
        tanh = _lenet(channels, side, classes, activation=nn.Tanh)
        relus = "Every layer but the last has a ReLU."
        ends = "The last layer puts out scores, which may be negative: nothing follows."
        with case(f"lenet_for({channels}, {pixels}, {classes}): "):
            same_function(
                got,
                net,
                torch.randn(2, channels, pixels, pixels),
                mistakes=[
                    (_lenet(channels, 5, classes), "400 is right for 28 pixels only."),
                    (valid, "The first convolution pads, so that it keeps the size."),
                    (up, "Pooling rounds down: a last row that is alone is left out."),
                    (_lenet(1, side, classes), "How many channels come in?"),
                    (_lenet(channels, side, 10), "How many classes are there?"),
                    (average, "`modern` pools with maxima."),
                    (tanh, "`modern` has a ReLU where 1998 had a tanh."),
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
    """`LeNet("modern")` in one row."""
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


#: Which maps each output sees.
Table = Sequence[Sequence[int]]


@exercise(
    "lenet.partial_convolution",
    kind="implement",
    goal="build a convolution that does not see all maps",
    minutes=15,
    first_hint="What would a kernel have to be, so that its map might as well be"
    " absent?",
)
def partial_convolution(answer: Answer) -> None:
    """Against a masked convolution: the paper's table, and drawn ones."""
    drawn = tuple(
        tuple(sorted(torch.randperm(4)[: 1 + row % 3].tolist())) for row in range(5)
    )
    square = ((0,), (0, 1), (0, 1, 2))
    for maps, table, on in (
        (6, C3_TABLE, "Table I"),
        (4, drawn, "a drawn table"),
        (3, square, f"the table {square}"),
    ):
        x = torch.randn(2, maps, 9, 8)
        bias = torch.randn(len(table))
        weight = torch.randn(len(table), maps, 3, 3)
        mask = torch.tensor([[float(c in row) for c in range(maps)] for row in table])
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
    """`mask` has a one where an output (row) sees a map (column)."""
    seen = weight * mask[:, :, None, None]
    unseen = weight * (1 - mask)[:, :, None, None]
    packed = torch.zeros_like(weight)
    for out, row in enumerate(table):
        packed[out, list(row)] = weight[out, : len(row)]
    mistakes = [
        (F.conv2d(x, weight, bias), "Each output sees only the maps of its row."),
        (
            F.conv2d(x, seen, bias * mask.sum(1)),
            "The bias is added once an output, not once for each map that it sees.",
        ),
        (F.conv2d(x, seen), "What became of the bias?"),
        (
            F.conv2d(x, packed, bias),
            "`weight[d, c]` belongs to input map c, also when others are absent.",
        ),
        (
            F.conv2d(x, unseen, bias),
            "The table names the maps that are seen, not those that are absent.",
        ),
    ]
    if len(mask) == len(mask.T):
        turned = weight * mask.T[:, :, None, None]
        hint = "Row d of the table is for output d, and names inputs."
        mistakes.append((F.conv2d(x, turned, bias), hint))
    return mistakes


@exercise(
    "lenet.full_layer",
    kind="implement",
    goal="find the full layer in a table of distances",
    minutes=15,
    first_hint="Write out the square of x - c. Which of its terms know of both, which"
    " of c alone?",
)
def full_layer(answer: Answer) -> None:
    """Against the softmax of distances: digits, where all codes are equally long, and
    drawn codes.
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
                "A row of the weight for each class, and a number of the bias.",
            )
        distances = (x[:, None] - codes).square().sum(2)
        weight, bias = got
        compare(
            F.linear(x, weight, bias).softmax(1),
            (-0.5 * distances).softmax(1),
            on=f"for {on}, after the softmax",
            mistakes=_full_layer_mistakes(x, codes),
        )


def _full_layer_mistakes(x: Tensor, codes: Tensor) -> Mistakes:
    long = codes.square().sum(1)

    def named(weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x, weight, bias).softmax(1)

    half = "It is half of the squared distance."
    close = "Close is more likely than far: the sign?"
    return [
        (
            named(codes, 0 * long),
            "That is right for codes that are equally long, as the digits are. These"
            " are not.",
        ),
        (named(codes, long / 2), "A long code is far from most x: the sign?"),
        (named(codes, -long), half),
        (named(2 * codes, -long), half),
        (named(-codes, -long / 2), close),
        (named(-codes, long / 2), close),
    ]
