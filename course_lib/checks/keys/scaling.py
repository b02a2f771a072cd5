"""The exercises on scaling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.checks.compare import Mistakes, compare
from course_lib.checks.exercises import Answer, exercise
from course_lib.checks.shared import Number, combined, refuse

#: A gradient, and the number of images that it is from.
Part = tuple[Tensor, int]


@exercise(
    "scaling.together",
    kind="repair",
    goal="weight the parts of a batch by their sizes",
    minutes=12,
    first_hint="What is the sum of the losses on one process, if their mean is known?"
    " And the mean over all images?",
)
def together(answer: Answer) -> None:
    """For shards of equal and other sizes, and one without images."""
    empty = torch.full((3, 2), math.nan)
    for counts in ((4, 4), (1, 5, 2), (3, 0, 5), (7,)):
        parts: list[Part] = [
            (torch.randn(3, 2) if count else empty, count) for count in counts
        ]
        want = sum((g * n for g, n in parts if n), torch.zeros(3, 2)) / sum(counts)
        on = f"for shards of {' and '.join(map(str, counts))} images"
        got = answer(parts)
        refuse(
            isinstance(got, Tensor) and got.isnan().any(),
            f"it returns NaN {on}",
            "Zero times NaN is NaN: leave out who has no images.",
        )
        compare(got, want, on=on, mistakes=_together_mistakes(parts, want))


def _together_mistakes(parts: list[Part], want: Tensor) -> Mistakes:
    some = [(g, n) for g, n in parts if n]
    mean = torch.stack([g for g, _ in some]).mean(0)
    total = sum(n for _, n in parts)
    return [
        (mean, "A shard of five images counts five times as much as one of one."),
        (sum((g for g, _ in some), 0 * want), "A mean is wanted, not the sum."),
        (want * total, "Divide by the number of all images."),
        (want * total / len(parts), "Divide by the number of images, not of shards."),
        (want * total / len(some), "Divide by the number of images, not of shards."),
        (
            sum((g / n for g, n in some), 0 * want) / len(some),
            "The gradients are means already: multiply by the size.",
        ),
        (sum((g / n for g, n in some), 0 * want), "These are means: multiply instead."),
    ]


@exercise(
    "scaling.whole_statistics",
    kind="implement",
    goal="derive the variance of a whole from those of its parts",
    minutes=20,
    first_hint="A variance is the mean of the squares minus the square of the mean."
    " What is the mean of the squares on one process?",
)
def whole_statistics(answer: Answer) -> None:
    """Against all values in one place."""
    for counts in ((6, 6), (2, 9, 5)):
        values = [3 * torch.randn(3) + torch.randn(n, 3) for n in counts]
        means = torch.stack([each.mean(0) for each in values])
        variances = torch.stack([each.var(0, unbiased=False) for each in values])
        every = torch.cat(values)
        sizes = torch.tensor(counts)
        got = answer(means, variances, sizes)
        pair = list(got) if isinstance(got, tuple | list) else []
        refuse(
            len(pair) != 2,
            "two results are wanted",
            "Return the means of all channels, and the variances.",
        )
        on = f"for {' and '.join(map(str, counts))} values"
        compare(
            pair[0],
            every.mean(0),
            on=f"for the mean, {on}",
            mistakes=[
                (means.mean(0), "A process with more values counts more."),
                (means.sum(0), "A mean is wanted, not a sum."),
            ],
        )
        compare(
            pair[1],
            every.var(0, unbiased=False),
            on=f"for the variance, {on}",
            mistakes=_variance_mistakes(means, variances, sizes, every),
        )


def _variance_mistakes(
    means: Tensor, variances: Tensor, counts: Tensor, every: Tensor
) -> Mistakes:
    share = (counts / counts.sum())[:, None]
    inside = (share * variances).sum(0)
    mean = (share * means).sum(0)
    between = (share * (means - mean).square()).sum(0)
    far = "The means differ from process to process, and that is a variance, too."
    spread = "A process with more values counts more, in both parts."
    return [
        (inside, far),
        (variances.mean(0), far),
        (between, "And the variance inside of each process?"),
        (variances.mean(0) + means.var(0, unbiased=False), spread),
        (inside + means.var(0, unbiased=False), spread),
        (variances.mean(0) + between, spread),
        (variances.mean(0) + (means - mean).square().mean(0), spread),
        (
            (variances + means.square()).mean(0) - means.mean(0).square(),
            spread,
        ),
        (inside + means.var(0), "Divide by the number of values: nothing is lost."),
        (every.var(0), "Divide by the number of values, not by one less."),
        ((inside + between).sqrt(), "The variance is wanted, not its root."),
        (inside + (share * means.square()).sum(0), "Subtract the square of the mean."),
    ]


@exercise(
    "scaling.ring",
    kind="predict",
    goal="compute how the communication grows with the number of processes",
    minutes=12,
    first_hint="How many bytes do the gradients of VGG-16 have? How many times that"
    " does one of eight processes send?",
)
def ring(answer: Answer) -> None:
    """Two times to three digits, and a number of processes."""
    answer.expect(
        (_seconds(VGG16, 8), _seconds(RESNET50, 8), _first()),
        tolerance=0.6,
        mistakes=combined(
            _seconds_numbers(VGG16), _seconds_numbers(RESNET50), _first_numbers()
        ),
    )


#: Parameters of both networks.
VGG16 = 138_357_544
RESNET50 = 25_557_032


def _seconds(parameters: int, n: int) -> float:
    """For the gradients, at four bytes each, with n processes."""
    return 2 * (n - 1) / n * 4 * parameters / 1e9


def _seconds_numbers(parameters: int) -> Number:
    once = 4 * parameters / 1e9
    right = _seconds(parameters, 8)
    alone = "Each sends to its neighbor, along a ring, and not to all others."
    return [
        (right, ""),
        (once, "How many times the size of the gradients does each process send?"),
        (2 * once, "It is a little less than twice: 2 (n - 1)/n."),
        (right / 4, "A gradient has four bytes."),
        (right / 2, "The factor is 2 (n - 1)/n, and not (n - 1)/n."),
        (7 * once, alone),
        (14 * once, f"{alone} And the link is in bytes, not in bits."),
        (right * 1e3, "Seconds are wanted."),
        (right * 1e9, "Seconds are wanted."),
        (right / 1024**3 * 1e9, "A gigabyte is 10^9 bytes here."),
    ]


def _first() -> int:
    return next(n for n in range(2, 99) if _seconds(RESNET50, n) > 0.2)


def _first_numbers() -> Number:
    return [
        (_first(), ""),
        (_first() - 1, "With so many it is still below: one more."),
        (_first() + 1, "One fewer is enough."),
        (9, "With nine it is 0.18 seconds. Solve 2 (n - 1)/n = x for n."),
        (10, "With ten it is 0.18 seconds. Solve 2 (n - 1)/n = x for n."),
        (math.inf, "Twice the size takes 0.204 seconds, so it is reached."),
    ]


@exercise(
    "scaling.shard",
    kind="implement",
    goal="divide a data set so that nothing counts twice",
    minutes=10,
    first_hint="Deal the images out like cards. Which does process 0 get of three?",
)
def shard(answer: Answer) -> None:
    """All ranks together have each image once, whoever has which."""
    for images, processes in ((6, 3), (10, 4), (7, 2), (2, 5), (9, 1)):
        parts = []
        for rank in range(processes):
            got = answer(images, processes, rank)
            on = f"for {images} images and {processes} processes"
            part = got.tolist() if isinstance(got, Tensor) else got
            refuse(
                not isinstance(part, list | tuple)
                or any(type(each) is not int for each in part),
                f"it returns no list of whole numbers {on}",
                "Return the indices themselves, as a list.",
            )
            parts.append(list(part))
        _each_once(parts, images, on)


def _each_once(parts: list[list[int]], images: int, on: str) -> None:
    every = sorted(each for part in parts for each in part)
    twice = sorted({each for each in every if every.count(each) > 1})
    missing = sorted({*range(images)} - {*every})
    beyond = sorted({*every} - {*range(images)})
    same = len(parts) > 1 and parts[0] == parts[1] and parts[0] != []
    refuse(
        beyond,
        f"image {beyond[0] if beyond else ''} does not exist, {on}",
        f"They are numbered from 0 to {images - 1}.",
    )
    refuse(same, f"two processes have the same images, {on}", "What is `rank` for?")
    refuse(
        twice,
        f"image {twice[0] if twice else ''} belongs to two processes, {on}",
        "No padding: some processes have one image fewer.",
    )
    refuse(
        missing,
        f"nobody has image {missing[0] if missing else ''}, {on}",
        "If the number cannot be divided, some processes have one more.",
    )
    sizes = [len(part) for part in parts]
    refuse(
        max(sizes) - min(sizes) > 1,
        f"the processes have {sizes} images, {on}",
        "The numbers of two processes differ by one at most.",
    )
