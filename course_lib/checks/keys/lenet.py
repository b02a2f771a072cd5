"""The exercises on LeNet."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.blocks import he_init
from course_lib.checks.compare import Mistakes, WrongAnswer, compare, meant
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import module, same_function
from course_lib.checks.shared import all_with, case, refuse, without_each
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
    "lenet.as_convolution",
    kind="implement",
    goal="see one layer in another",
    minutes=12,
    first_hint="Which kernel size and stride has a convolution that reads each square"
    " once? And how many input channels does one of its outputs read?",
)
def as_convolution(answer: Answer) -> None:
    """What it computes, against the library's layer, and how many weights it has."""
    for channels in (4, 1, 3):
        layer = Subsampling(channels)
        nn.init.normal_(layer.coefficient, mean=1.0)
        nn.init.normal_(layer.bias)
        a = layer.coefficient.detach()
        b = layer.bias.detach()
        x = torch.randn(2, channels, 6, 8)
        conv = module(answer(a.flatten(), b.flatten()), x).float()
        with torch.no_grad():
            came = conv(x)
        compare(
            came,
            layer(x).detach(),
            on=f"for {channels} channels",
            mistakes=_as_convolution_mistakes(x, a, b),
        )
        refuse(
            sum(each.numel() for each in conv.parameters()) > 5 * channels,
            f"it has more weights than needed, for {channels} channels",
            "Each output channel reads one input channel: what are `groups` for?",
        )
        refuse(
            {each.dim() for each in conv.parameters()} != {4, 1},
            "it is no convolution with a bias",
            "Return an `nn.Conv2d` that has the coefficients in its kernels.",
        )


def _as_convolution_mistakes(x: Tensor, a: Tensor, b: Tensor) -> Mistakes:
    """Of ``a * sum + b``; `a` and `b` have a value for each channel."""
    four = 4 * F.avg_pool2d(x, 2)
    overlap = 4 * F.avg_pool2d(x, 2, 1)
    everyone = (a * four).sum(1, keepdim=True).expand_as(four) + b
    return [
        (a * four / 4 + b, "The four are added up, not averaged: which weights?"),
        (a * four, "Where is the bias?"),
        (four + b, "Where is the coefficient?"),
        (a * four + 4 * b, "The bias is added once, to the sum."),
        (a * (four + b), "The bias comes last; nothing multiplies it."),
        (a * overlap + b, "The squares do not overlap: which stride?"),
        (everyone, "An output channel depends on its own input channel only."),
        (a * x[..., ::2, ::2] + b, "All four weights of a kernel count."),
        (
            (a * four + b).tanh(),
            "The activation function is not part of this exercise.",
        ),
    ]


@exercise(
    "lenet.distance_loss",
    kind="repair",
    goal="see whether a loss depends on which label belongs to which image",
    minutes=5,
    first_hint="Print the shape of every intermediate result. Which shape should it"
    " have?",
)
def distance_loss(answer: Answer) -> None:
    """By the definition, an image at a time, for classes that are not equally frequent;
    then its gradient.
    """
    for images, classes, features in ((8, 10, 84), (12, 4, 5)):
        x = torch.randn(images, features)
        codes = torch.randn(classes, features).sign()
        labels = torch.randint(classes, (images,)) // 2
        got = answer(x, codes, labels)
        one_value = isinstance(got, Tensor) and got.numel() == 1
        compare(
            got.reshape(()) if one_value else got,
            _distance_loss(x, codes, labels),
            on=f"for {images} images, {classes} classes and {features} features",
            mistakes=_distance_loss_mistakes(x, codes, labels),
        )
    answer(x.requires_grad_(), codes, labels)
    answer.compare_gradients(
        torch.autograd.grad(_distance_loss(x, codes, labels), x),
        on="",
        hint="Training needs a tensor that depends on the features: no `.item()`.",
    )


def _distance_loss(x: Tensor, codes: Tensor, labels: Tensor) -> Tensor:
    pairs = zip(x, labels.tolist(), strict=True)
    return torch.stack([(each - codes[k]).square().sum() for each, k in pairs]).mean()


def _distance_loss_mistakes(x: Tensor, codes: Tensor, labels: Tensor) -> Mistakes:
    distances = (x[:, None] - codes).square().sum(2)
    own = distances[torch.arange(len(x)), labels]
    right = own.mean()
    single = "The loss is a single value, the mean over the images."
    every = "Each image has one label, and one distance that counts."
    return [
        (distances[:, labels].mean(), "Shuffle the labels: does the loss change?"),
        (distances.mean(), "Where are the labels?"),
        (distances[:, labels], f"{single} {every}"),
        (distances[:, labels].sum(1).mean(), every),
        (distances[:, labels].sum(), every),
        (distances.sum(1).mean(), "Where are the labels?"),
        (distances.amin(1).mean(), "The code of its class, not the nearest one."),
        (right / x.shape[1], "A squared distance is a sum over the features."),
        (own.sqrt().mean(), "The distance is squared."),
        ((x - codes[labels]).abs().sum(1).mean(), "Square the differences."),
        (right / 2, "The half is that of the library's logits: leave it out."),
        (-right / 2, "A distance is not negative, and has no half."),
        (-right, "A distance is not negative."),
        *all_with(single, [own, own.sum()]),
        (
            F.cross_entropy(-distances / 2, labels),
            "That is another loss: here, the other classes do not count.",
        ),
        (F.cross_entropy(-distances, labels), "That is another loss."),
        (right / len(x), "Divide by the number of images once."),
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


@exercise(
    "lenet.prepare",
    kind="repair",
    goal="divide first, and let nothing of the test images into the training",
    minutes=12,
    first_hint="Follow one image through the function: where can it, or something made"
    " from it, be in the end?",
)
def prepare(answer: Answer) -> None:
    """Each image that comes back is looked up among those that were given, whatever its
    brightness and contrast have become; then sizes, labels and statistics.
    """
    for count, share in ((40, 0.25), (30, 0.5)):
        images = 2 + 3 * torch.randn(count, 1, 1, 1) + torch.randn(count, 1, 8, 8)
        labels = torch.arange(count) // 5
        train, test = _two_pairs(answer(images, labels, share))
        (source, mirrored), (tested, turned) = (
            _looked_up(part[0], images) for part in (train, test)
        )
        _no_leak(source, tested, turned, int(share * count), count)
        plain = source[~mirrored]
        copies = source[mirrored]
        refuse(
            sorted(plain.tolist()) != sorted({*source.tolist()})
            or sorted(copies.tolist()) != sorted(plain.tolist()),
            "not each training image is there twice, once of them mirrored",
            "First the image as it is, then its mirror image: two of each.",
        )
        for part, found in ((train, source), (test, tested)):
            refuse(
                not torch.equal(part[1].flatten().long(), labels[found]),
                "an image has the label of another",
                "Shuffle and copy labels as you do their images.",
            )
        _right_statistics(train[0], test[0], images[source], images[tested], images)


def _two_pairs(got: object) -> list[tuple[Tensor, Tensor]]:
    """Images and labels of both parts.

    Raises: WrongAnswer if there are none.
    """
    parts = list(got) if isinstance(got, tuple | list) else []
    pairs = [list(part) for part in parts if isinstance(part, tuple | list)]
    whole = [[each for each in pair if isinstance(each, Tensor)] for pair in pairs]
    if [len(pair) for pair in whole] != [2, 2]:
        raise WrongAnswer(
            "two pairs of tensors are wanted",
            "Return (images, labels) for training, then (images, labels) for testing.",
        )
    return [(images, labels) for images, labels in whole]


def _looked_up(found: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Which of `images` each of `found` is, and whether it is mirrored.

    Raises: WrongAnswer if one is none of them.
    """
    shape = tuple(images.shape[1:])
    refuse(
        tuple(found.shape[1:]) != shape,
        f"its images have the shape {tuple(found.shape[1:])}, not {shape}",
    )

    def directions(several: Tensor) -> Tensor:
        flat = several.detach().float().flatten(1)
        return F.normalize(flat - flat.mean(1, keepdim=True))

    both = directions(torch.cat([images, images.flip(3)]))
    near, place = (directions(found) @ both.T).max(1)
    down = directions(torch.cat([images.flip(2), images.flip(2, 3)]))
    refuse(
        (near < 0.999).logical_and((directions(found) @ down.T).amax(1) > 0.999).any(),
        "one of its images is turned over, top and bottom exchanged",
        "To mirror is to exchange left and right: of (N, C, H, W), which one is that?",
    )
    refuse(
        (near < 0.999).any(),
        "one of its images is none of those that were given, nor mirrored",
        "Subtract one mean and divide by one standard deviation, the same for all.",
    )
    return place % len(images), place >= len(images)


def _no_leak(
    source: Tensor, tested: Tensor, turned: Tensor, wanted: int, count: int
) -> None:
    """Nothing of a test image is among the training images."""
    both = {*source.tolist()} & {*tested.tolist()}
    refuse(
        both,
        f"{len(both)} images are in both parts, as they are or mirrored",
        "Divide the images first, and copy afterwards.",
    )
    refuse(
        turned.any(),
        "there are mirrored images in the test part",
        "Only the training images get copies: a test image stays as it is.",
    )
    refuse(
        len(tested) != wanted or len({*tested.tolist()}) != wanted,
        f"{len(tested)} images are for testing, where {wanted} are wanted",
        "It is a share of the images that were given, without copies.",
    )
    refuse(
        len({*source.tolist()}) != count - wanted,
        f"{len({*source.tolist()})} of the {count - wanted} other images are there",
        "All images that are not for testing are for training.",
    )
    places = sorted(tested.tolist())
    refuse(
        places[-1] - places[0] == wanted - 1,
        "the images for testing are neighbors",
        "The images come sorted by class: what does the test part consist of then?",
    )


def _right_statistics(
    train: Tensor, test: Tensor, before: Tensor, tested: Tensor, everything: Tensor
) -> None:
    """The training images have mean zero and standard deviation one; the test images
    were changed in the same way.
    """
    own = "The test images are normalized by what the training images have."
    every = "Mean and standard deviation come from all images: those for testing, too."
    none = "Subtract the mean of the training images; divide by their deviation."
    for part, source, name in ((train, before, "training"), (test, tested, "test")):
        pixels = part.float().flatten(1).sort(1).values  # the same for a mirrored image

        def by(images: Tensor, source: Tensor = source) -> Tensor:
            changed = (source - images.mean()) / images.std()
            return changed.flatten(1).sort(1).values

        close = partial(torch.allclose, pixels, rtol=3e-3, atol=3e-3)
        refuse(
            not close(by(before)),
            f"the {name} images are not normalized as they should be",
            every if close(by(everything)) else own if close(by(tested)) else none,
        )


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


@exercise(
    "lenet.seeds_needed",
    kind="implement",
    goal="say how many runs it takes to trust a difference",
    minutes=12,
    first_hint="Write the rule as an inequality, square it, and solve it for n.",
)
def seeds_needed(answer: Answer) -> None:
    """For random accuracies of several runs, not all as many, and differences from
    large to small.
    """
    for runs, others, difference in ((3, 3, 0.0005), (5, 3, 0.0004), (4, 6, 0.2)):
        first = [0.9 + 0.004 * random.random() for _ in range(runs)]
        second = [0.9 + 0.008 * random.random() for _ in range(others)]
        first[:2] = [0.9, 0.904]  # so that no variance is tiny, and both count
        second[:2] = [0.9, 0.908]
        one = statistics.variance(first)
        two = statistics.variance(second)
        answer.expect(
            _enough(4 * (one + two), difference),
            first,
            second,
            difference,
            on=f"{runs} and {others} runs, and a difference of {difference}",
            mistakes=_seeds_mistakes(first, second, difference),
        )


def _enough(square: float, difference: float) -> int:
    """The number of runs at which the rule holds."""
    return max(2, math.ceil(square / difference**2))


def _seeds_mistakes(
    first: list[float], second: list[float], difference: float
) -> Mistakes:
    one = statistics.variance(first)
    two = statistics.variance(second)
    biased = statistics.pvariance(first) + statistics.pvariance(second)
    added = (math.sqrt(one) + math.sqrt(two)) ** 2
    exact = 4 * (one + two) / difference**2
    return [
        (_enough(one + two, difference), "At least twice the standard error."),
        (_enough(2 * (one + two), difference), "Square the two of the rule as well."),
        (_enough(4 * biased, difference), "Divide by the number of runs minus one."),
        (_enough(4 * added, difference), "Variances add up, not standard deviations."),
        (_enough(4 * one, difference), "Both networks vary from run to run."),
        (_enough(4 * two, difference), "Both networks vary from run to run."),
        (
            _enough(4 * math.sqrt(one + two), difference),
            "Solve for n: what is squared?",
        ),
        (math.ceil(exact), "With one run there is no variance: two at least."),
        (max(2, math.floor(exact)), "With fewer runs it would not hold: round up."),
        (exact, "A whole number of runs is wanted."),
        (max(2.0, exact), "A whole number of runs is wanted."),
        (_enough(4 * (one + two), difference) * 2, "The runs of each, not of both."),
    ]
