"""The exercises on AlexNet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.alexnet import AlexNet
from course_lib.blocks import he_init
from course_lib.checks.compare import Mistakes, WrongAnswer, compare, meant
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.modules import same_function
from course_lib.checks.nets import RemembersModes
from course_lib.checks.shared import all_with, case, combined, refuse, without_each
from course_lib.summary import summarize

#: Wrong numbers, each with its hint.
Hints: TypeAlias = dict[int, str]


@exercise(
    "alexnet.sent",
    kind="predict",
    goal="compare what is sent if a network is divided, and if its images are",
    minutes=10,
    first_hint="Which layers read what the other GPU computed? Write down the size of"
    " their inputs.",
)
def sent(answer: Answer) -> None:
    """Counted from the network, against every combination of mistakes."""
    with torch.device("meta"):
        whole = summarize(AlexNet("paper"), (3, 227, 227))
    outputs = {stage.name: math.prod(stage.shape) for stage in whole.stages}
    grouped = sum(outputs[name] for name in ("conv2", "conv5", "fc6", "fc7"))
    others = sum(outputs[name] for name in ("conv1", "conv3", "conv4"))
    right = (
        grouped,
        grouped + others,
        2 * 128 * 4 * grouped,
        2 * 4 * whole.parameters,
    )
    first = _grouped_mistakes(outputs, *right[:2])
    second = _whole_mistakes(outputs, *right[:2])
    third = _step_mistakes(grouped, first)
    fourth = _images_mistakes(whole.parameters)
    options = [
        [(count, ""), *wrong.items()]
        for count, wrong in zip(right, (first, second, third, fourth), strict=True)
    ]
    answer.expect(right, tolerance=0, mistakes=combined(*options))


#: For who counts half of the values, or twice as many.
ONCE = "Each value is computed on one GPU, and sent once: half of them each way."


def _grouped_mistakes(outputs: dict[str, int], grouped: int, whole: int) -> Hints:
    """Wrong numbers of values with groups."""
    fc8 = outputs["fc8"]
    more = outputs["conv3"] + outputs["fc6"] + outputs["fc7"] + fc8
    unpooled = grouped + 256 * (27**2 - 13**2) + 256 * (13**2 - 6**2)
    reads = "What is sent is what a layer reads: the output of the layer before it."
    own = "A layer in groups reads nothing from the other GPU. Which do?"
    return {
        grouped // 2: ONCE,
        2 * grouped: ONCE,
        more: reads,
        grouped + fc8: "No layer reads the output of fc8.",
        grouped - outputs["fc7"]: "Each of the three fully connected layers reads all.",
        outputs["conv2"]: "The fully connected layers read everything, too.",
        outputs["conv2"] + outputs["conv5"]: "fc7 and fc8 read everything, too.",
        grouped - outputs["conv2"]: "conv3 reads everything, too.",
        grouped - outputs["conv5"]: "fc6 reads everything, too.",
        unpooled: "What is read has gone through pooling.",
        whole - grouped: own,
        whole: "With groups, three of the layers read only what is on their own GPU.",
    }


def _whole_mistakes(outputs: dict[str, int], grouped: int, whole: int) -> Hints:
    """Wrong numbers of values without groups."""
    three = "Three layers are in groups. What do they read without?"
    return {
        whole // 2: ONCE,
        2 * whole: ONCE,
        2 * grouped: "The layers in groups do not read as much as the others: add up.",
        grouped: three,
        whole - grouped: "conv3, fc6, fc7 and fc8 read everything as well.",
        whole - outputs["conv1"]: three,
        whole - outputs["conv3"]: three,
        whole - outputs["conv3"] - outputs["conv1"]: three,
        whole + outputs["fc8"]: "No layer reads the output of fc8.",
        whole + 3 * 227**2: "Both GPUs have the images.",
    }


def _step_mistakes(grouped: int, values: Hints) -> Hints:
    """Wrong numbers of bytes with the network divided: by themselves, and such that
    follow from wrong numbers of values.
    """
    back = "A value is sent, and its gradient back, for each of the 128 images."
    step = 2 * 128 * 4
    return {
        **{step * count: hint for count, hint in values.items()},
        128 * 4 * grouped: back,
        3 * 128 * 4 * grouped: "One gradient is sent for each value.",
        2 * 4 * grouped: "Values belong to an image, and a batch has 128 of them.",
        2 * 128 * grouped: "A number has four bytes.",
        4 * grouped: "Values belong to an image, and a batch has 128 of them.",
        128 * grouped: "A number has four bytes.",
    }


def _images_mistakes(parameters: int) -> Hints:
    """Wrong numbers of bytes with the images divided."""
    mean = "There is a gradient for each parameter, however many images it is from."
    return {
        4 * parameters: "Each of the two GPUs sends its gradients to the other.",
        2 * parameters: "A number has four bytes.",
        parameters: "A number has four bytes, and both GPUs send.",
        2 * 128 * 4 * parameters: mean,
        2 * 64 * 4 * parameters: mean,
        128 * 4 * parameters: mean,
        4 * 4 * parameters: "Gradients are sent, and nothing comes back for them.",
    }


@exercise(
    "alexnet.accuracy",
    kind="repair",
    goal="evaluate a network in evaluation mode",
    minutes=10,
    first_hint="Which layer makes the outputs of two calls for the same images differ,"
    " and what turns it off?",
)
def accuracy(answer: Answer) -> None:
    """With a network that remembers the modes in which it was called."""
    names = {True: "training", False: "evaluation"}
    for training in (True, False):
        net = RemembersModes().train(training)
        x = torch.rand(200, 10) + 1
        y = torch.randint(10, (200,))
        x[torch.arange(120), y[:120]] += 5  # the others are right by chance
        got = answer(net, x, y, changes=[0])
        after = answer.arguments[0]
        if any(after.modes):
            raise WrongAnswer(
                "it calls the network in training mode",
                "Dropout still sets activations to zero at random. What turns it off?",
            )
        _accuracy_of(got, x, y)
        left = [each.training is not training for each in after.modules()]
        refuse(
            any(left),
            f"the network was in {names[training]} mode before, and"
            f" {'is' if all(left) else 'a part of it is'} in {names[not training]} mode"
            " after",
            "Remember the mode that it was in, and restore it.",
        )


def _accuracy_of(got: object, x: Tensor, y: Tensor) -> None:
    """Check the share of the images with logits `x` that are classified as in `y`."""
    images = len(y)
    right = x.argmax(1) == y
    number = int(right.sum())
    share = number / images
    modes = "Its layers have modes of their own, too: `net.eval()` sets them all."
    with case("", "" if meant(got, share) is None else modes):
        compare(
            got,
            share,
            on=f"for {images} images",
            tolerance=1e-2,
            mistakes=[
                (number, "It is the share of the images, not their number."),
                (1 - share, "Count what is right."),
                (images - number, "Count what is right, and divide."),
                (100 * share, "A share is a number between 0 and 1."),
                (number / 10, "Divide by the number of images, not of classes."),
                (right.float(), "One number, for all images."),
                (x.argmax(1), "Compare the classes with the labels."),
            ],
        )


@exercise(
    "alexnet.seeds_for",
    kind="implement",
    goal="know how often chance looks like a finding",
    minutes=12,
    first_hint="With n seeds and no effect, how probable is it that all signs are plus?"
    " And that all are the same?",
)
def seeds_for(answer: Answer) -> None:
    """For one idea and for many, and for levels that are met exactly."""
    for ideas, level in ((1, 0.3), (1, 0.25), (5, 0.05), (20, 0.5), (40, 0.02)):
        answer.expect(
            _seeds(level, _by_chance(ideas)),
            ideas,
            level,
            on=f"{ideas} {'idea' if ideas == 1 else 'ideas'} and the level {level}",
            mistakes=_seeds_mistakes(ideas, level),
        )


def _by_chance(ideas: int) -> Callable[[int], float]:
    """The probability that one of them agrees, by the number of seeds."""
    return lambda n: 1 - (1 - 2 ** (1 - n)) ** ideas


def _seeds(level: float, probability: Callable[[int], float]) -> int:
    """The smallest number of seeds whose probability is at most the level."""
    return next(n for n in itertools.count(1) if probability(n) <= level)


def _seeds_mistakes(ideas: int, level: float) -> Mistakes:
    right = _seeds(level, _by_chance(ideas))
    plus = _seeds(level, lambda n: 1 - (1 - 2**-n) ** ideas)
    one = _seeds(level, lambda n: 2 ** (1 - n))
    every = _seeds(level, lambda n: 2 ** (ideas * (1 - n)))
    bound = _seeds(level, lambda n: ideas * 2 ** (1 - n))
    strictly = right + (_by_chance(ideas)(right) == level)
    return [
        (one, "How many ideas are tried? One of them is enough to mislead."),
        (plus, "All signs may be plus, or all minus: both look like a finding."),
        (every, "At least one of them, not all of them."),
        (bound, "The sum of the probabilities counts two findings twice."),
        (strictly, "At most `level`: equal is good enough."),
        (right + 1, "With one seed less the probability is small enough already."),
    ]


@exercise(
    "alexnet.expected_loss",
    kind="implement",
    goal="derive what dropout adds to a loss",
    minutes=25,
    first_hint="For any random number z, the mean of (z - y)^2 is the square of its own"
    " mean less y, plus its variance. What is random in the prediction?",
)
def expected_loss(answer: Answer) -> None:
    """Against the mean over all masks where there are few, and then with many more."""
    for images, features, p in ((4, 6, 0.5), (3, 8, 0.2), (5, 60, 0.8)):
        x = torch.randn(images, features)
        y = torch.randn(images)
        w = torch.randn(features)
        found = _all_masks if features < 10 else _with_penalty
        answer.expect(
            found(x, y, w, p).item(),
            x,
            y,
            w,
            p,
            on=f"{images} images with {features} inputs, p = {p}",
            mistakes=_expected_mistakes(x, y, w, p),
            tolerance=0.01,  # percent
        )


def _all_masks(x: Tensor, y: Tensor, w: Tensor, p: float) -> Tensor:
    """The definition: every mask with its probability."""
    masks = torch.tensor([*itertools.product((0.0, 1.0), repeat=len(w))])
    kept = masks.sum(1)
    probability = (1 - p) ** kept * p ** (len(w) - kept)
    predicted = torch.einsum("mf,nf,f->mn", masks / (1 - p), x, w)
    return probability @ (predicted - y).square().mean(1)


def _with_penalty(
    x: Tensor, y: Tensor, w: Tensor, p: float, factor: float | None = None
) -> Tensor:
    """The derived formula; with another factor, a wrong one."""
    factor = p / (1 - p) if factor is None else factor
    penalty = (x * w).square().sum(1)
    return ((x @ w - y).square() + factor * penalty).mean()


def _expected_mistakes(x: Tensor, y: Tensor, w: Tensor, p: float) -> Mistakes:
    plain = (x @ w - y).square()
    ratio = p / (1 - p)
    scaled = "Dividing by 1 - p multiplies the variance, too: by how much?"
    inputs = "The variance of an input depends on that input: where is x?"
    found = [
        (plain.mean(), "That is the loss without dropout: masks add a variance."),
        (_with_penalty(x, y, w, p, p * (1 - p)), scaled),
        (_with_penalty(x, y, w, p, p), scaled),
        (_with_penalty(x, y, w, p, (1 - p) / p), "p is what is dropped, not kept."),
        (_with_penalty(x, y, w, p, 1.0), "One is right for p = 0.5 only."),
        (_with_penalty(x, y, w, p, -ratio), "A variance is never negative."),
        (plain.mean() + ratio * w.square().sum(), inputs),
        (plain.mean() + ratio * (x @ w).square().mean(), _APART),
        (_with_penalty(x, y, w, p) * len(x), "The mean over the images, not the sum."),
        (_with_penalty(x, y, (1 - p) * w, p), "Dropout divides by 1 - p in training."),
    ]
    each = plain + ratio * (x * w).square().sum(1)
    numbers: Mistakes = [(value.item(), hint) for value, hint in found]
    return [*numbers, (each, "One number: the mean over the images.")]


#: What is independent, in `expected_loss`.
_APART = "The masks are independent: the variances of the inputs add up one by one."


@exercise(
    "alexnet.drop",
    kind="implement",
    goal="write dropout, and know what happens when it is off",
    minutes=10,
    first_hint="Begin with evaluation, where nothing happens. Then draw a random number"
    " for each activation: `torch.rand_like(x)`.",
    banned=("dropout",),
    instead="Write it with random numbers, a comparison and a multiplication.",
)
def drop(answer: Answer) -> None:
    """By what defines dropout: which activations are zero, and that the mean stays."""
    _drop_in_evaluation(answer, torch.randn(4, 6), p=0.3)
    ones = torch.ones(200, 300)
    p = 0.2
    on = f"for ones, in training with p = {p}"
    first = _drawn(answer, ones, p, on)
    kept = first != 0
    _drop_mask(kept, _drawn(answer, ones, p, on) != 0, p)
    compare(first, kept / (1 - p), on=on, mistakes=_drop_mistakes(kept, kept, p))
    _drop_some(answer, torch.randn(30, 40), p=0.6)
    _drop_few(answer)


def _drawn(answer: Answer, x: Tensor, p: float, on: str) -> Tensor:
    """What becomes of `x` in training."""
    got = meant(answer(x, p, True), x)
    if getattr(got, "shape", None) != x.shape:
        hint = "Each activation is dropped or kept: none is left out."
        with case("", hint if isinstance(got, Tensor) else ""):
            compare(got, x, on=on)
    return got


def _drop_mistakes(x: Tensor, kept: Tensor, p: float) -> Mistakes:
    """What becomes of `x` where it is `kept`."""
    gone = f"{p:.0%} of the sum is gone. Make up for it in training."
    return [
        (kept * x, gone),
        (kept / (1 - p), "It is `x` that is kept and enlarged."),
        (kept * x / p, "How much of the sum is left, on average?"),
        ((1 - p) * kept * x, "What is kept becomes larger, not smaller."),
        (kept * x * (1 + p), "What is the mean then? Kept ones are divided by 1 - p."),
        (kept * x / 0.8, "p is an argument."),
        (2 * kept * x, "Twice is right for p = 0.5 only."),
    ]


def _drop_some(answer: Answer, x: Tensor, p: float) -> None:
    """It is `x` that is kept, with another p."""
    on = f"for random x, in training with p = {p}"
    got = _drawn(answer, x, p, on)
    kept = got != 0
    share = 1 - kept.float().mean().item()
    refuse(
        abs(share - p) > 0.08,
        f"in training with p = {p}, {share:.0%} of the units are dropped",
        "p is an argument, and the probability is the same for every activation.",
    )
    compare(got, kept * x / (1 - p), on=on, mistakes=_drop_mistakes(x, kept, p))


def _drop_few(answer: Answer) -> None:
    """How many are dropped is left to chance."""
    x = torch.ones(3, 5)
    zeros = {int((_drawn(answer, x, 0.5, "") == 0).sum()) for _ in range(16)}
    refuse(
        len(zeros) == 1,
        f"in training, it always drops {min(zeros)} of 15 units",
        "Each activation is dropped by itself: how many there are is left to chance.",
    )


def _drop_in_evaluation(answer: Answer, x: Tensor, p: float) -> None:
    """Nothing happens there."""
    paper = "The paper scales outputs down here; we scale them up in training instead."
    got = answer(x, p, False)
    left = got != 0 if getattr(got, "shape", None) == x.shape else 0
    compare(
        got,
        x,
        on="in evaluation",
        mistakes=[
            ((1 - p) * x, paper),
            (left * x / (1 - p), "Dropout is off here."),
        ],
    )


def _drop_mask(kept: Tensor, again: Tensor, p: float) -> None:
    """A share of `p` is zero, each activation by itself, and others in the next call.

    Raises: WrongAnswer if that is not so.
    """
    share = 1 - kept.float().mean().item()
    swapped = abs(share - (1 - p)) < 0.02
    training = f"in training with p = {p}"
    own = "Each activation is dropped or kept by itself: the mask has the shape of x."
    refuse(kept.all(), f"{training}, nothing is dropped", "What becomes zero?")
    refuse(
        (kept == kept[:1]).all(),
        f"{training}, the same units are dropped for all images",
        own,
    )
    refuse(
        (kept == kept[:, :1]).all(),
        f"{training}, all units of an image are dropped or none",
        own,
    )
    refuse(
        _repeats(kept) > 0.05,
        f"{training}, the mask follows a pattern",
        "Draw a random number for each activation, of each image.",
    )
    refuse(
        abs(share - p) > 0.02,
        f"{training}, {share:.0%} of the units are dropped",
        "p is the share that is dropped, not the one that is kept." if swapped else "",
    )
    refuse(
        torch.equal(kept, again),
        f"{training}, the same units are dropped in every call",
        "The mask is drawn anew each time: do not set the seed.",
    )


def _repeats(kept: Tensor) -> float:
    """How much the mask has in common with itself when it is shifted, at most: nothing
    if all of it is independent.
    """
    centered = kept.float() - kept.float().mean()
    spectrum = torch.fft.fft2(centered).abs().square()
    common = torch.fft.ifft2(spectrum).real.flatten() / centered.square().sum()
    rows = centered.mean(1).square().mean() * kept.shape[1] / centered.square().mean()
    return max(common[1:].max().item(), (rows.item() - 1.5) / 10)


@exercise(
    "alexnet.merge",
    kind="implement",
    goal="write a grouped convolution as one with zeros",
    minutes=15,
    first_hint="Draw a table for two groups: which outputs depend on which inputs?",
)
def merge(answer: Answer) -> None:
    """Against the definition, with other numbers of inputs and of outputs."""
    for groups, outputs, inputs, size in (
        (2, 2, 3, (1, 1)),
        (2, 4, 2, (3, 5)),
        (3, 2, 2, (3, 3)),
        (4, 1, 2, (1, 2)),
        (1, 2, 3, (2, 2)),
    ):
        weight = torch.randn(groups * outputs, inputs, *size)
        answer.expect(
            _merged(weight, groups),
            weight,
            groups,
            on=f"a weight of shape {tuple(weight.shape)} in {groups} groups",
            mistakes=_merge_mistakes(weight, groups, outputs, inputs),
        )


def _merged(weight: Tensor, groups: int) -> Tensor:
    """The weight in one group."""
    outputs = len(weight) // groups
    inputs = weight.shape[1]
    merged = weight.new_zeros(len(weight), groups * inputs, *weight.shape[2:])
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        merged[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return merged


def _merge_mistakes(weight: Tensor, groups: int, outputs: int, inputs: int) -> Mistakes:
    want = _merged(weight, groups)
    mixed = torch.zeros_like(want)
    alternating = torch.zeros_like(want)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        mixed[rows, group::groups] = weight[rows]
        columns = slice(group * inputs, (group + 1) * inputs)
        alternating[group::groups, columns] = weight[group::groups]
    everyone = weight.repeat(1, groups, 1, 1)
    own = "Every output depends on all groups; it should depend on its own alone."
    mistakes = [
        (everyone, own),
        (everyone / groups, own),
        (
            F.pad(weight, (0, 0, 0, 0, 0, inputs * (groups - 1))),
            "Now all outputs depend on the first group.",
        ),
        (mixed, "The inputs of a group are adjacent."),
        (alternating, "The outputs of a group are adjacent."),
        (want.roll(inputs, 1), "The first outputs depend on the first inputs."),
        (want.transpose(0, 1), "The outputs come first in the shape of a weight."),
        (weight, "The weight has all inputs, with zeros where nothing is connected."),
    ]
    if groups > 2 and len(weight) % 2 == 0:
        mistakes.append((_merged(weight, 2), "There may be more groups than two."))
    return mistakes


@exercise(
    "alexnet.front",
    kind="implement",
    goal="build a network from its description",
    minutes=10,
    first_hint="Begin with conv1 and what follows it: 227 pixels become 55, and then"
    " 27.",
)
def front(answer: Answer) -> None:
    """Against figure 2, with few channels."""
    channels = (4, 6, 8, 10, 12)
    net = _front(channels)
    he_init(net)
    for parameter in net.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, std=0.1)
    same_function(
        answer(channels),
        net,
        torch.randn(1, 3, 227, 227),
        mistakes=_front_mistakes(channels, net),
    )


def _front_mistakes(
    channels: tuple[int, ...], net: nn.Sequential
) -> list[tuple[nn.Module, str]]:
    grouped = "conv2, conv4 and conv5 are in two groups, the others are not."
    sides = "conv2 to conv5 keep the size of their feature maps: which padding does?"
    relus = "Each of the five convolutions has a ReLU, and nothing else has."
    paper = (96, 256, 384, 384, 256)
    groups = [
        (_front(channels, groups=chosen), grouped)
        for chosen in itertools.product((1, 2), repeat=4)
        if chosen not in ((2, 1, 2, 2), (1, 1, 1, 1), (2, 2, 2, 2))
    ]
    paddings = [(0, 1, 1, 1), (2, 0, 1, 1), (2, 1, 0, 1), (2, 1, 1, 0), (2, 0, 0, 0)]
    paddings += [(0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (1, 0, 0, 0)]
    return [
        (_front(channels, groups=(1, 1, 1, 1)), "Where are the two groups?"),
        (_front(channels, groups=(2, 2, 2, 2)), "conv3 is not in groups."),
        *groups,
        (_front(paper), "The numbers of channels are those of `channels`."),
        (_front(channels, pool_size=2), "The pooling overlaps: 3x3 with stride 2."),
        (_front(channels, pool_stride=3), "The pooling overlaps: 3x3 with stride 2."),
        (_front(channels, pool=nn.AvgPool2d), "It is max pooling."),
        (_front(channels, first=2), "With 227 pixels, conv1 needs no padding."),
        (_front(channels, first=5), "With 227 pixels, conv1 needs no padding."),
        *all_with(sides, [_front(channels, padding=each) for each in paddings]),
        (_front(channels, pooled=(1, 2)), "conv5 is followed by pooling, too."),
        (_front(channels, pooled=(1, 2, 3, 5)), "Three of them are pooled."),
        (_front(channels, pooled=(2, 5)), "conv1 is followed by pooling, too."),
        (_front(channels, pooled=(1, 5)), "conv2 is followed by pooling, too."),
        (
            nn.Sequential(*net, nn.Flatten()),
            "Convolutions and pooling are all: the output is feature maps.",
        ),
        (
            nn.Sequential(*net[:2], nn.LocalResponseNorm(5, k=2.0), *net[2:]),
            "Leave out the local response normalization.",
        ),
        *all_with(relus, without_each(net, nn.ReLU)),
        (nn.Sequential(*(each for each in net if type(each) is not nn.ReLU)), relus),
    ]


def _front(
    channels: tuple[int, ...],
    *,
    groups: tuple[int, ...] = (2, 1, 2, 2),
    first: int = 0,
    padding: tuple[int, ...] = (2, 1, 1, 1),
    pooled: tuple[int, ...] = (1, 2, 5),
    pool: Callable[[int, int], nn.Module] = nn.MaxPool2d,
    pool_size: int = 3,
    pool_stride: int = 2,
) -> nn.Sequential:
    """Convolutions and pooling; `first` is the padding of conv1, `groups` and `padding`
    are those of the others.
    """
    options = zip((5, 3, 3, 3), padding, groups, strict=True)
    convs = [nn.Conv2d(3, channels[0], 11, stride=4, padding=first)]
    for i, (size, pad, count) in enumerate(options, start=1):
        wide, out = channels[i - 1 : i + 1]
        convs.append(nn.Conv2d(wide, out, size, padding=pad, groups=count))
    net = nn.Sequential()
    for number, conv in enumerate(convs, start=1):
        net.extend([conv, nn.ReLU()])
        if number in pooled:
            net.append(pool(pool_size, pool_stride))
    return net
