"""Answers to the exercises on scaling: wrong ones with the hint that they must get, and
right ones, written differently from the solution.
"""

import itertools

import numpy as np
import torch

import course_lib


def weighted(parts, *, weight=lambda n: n, total=None, skip=True):
    """The weighted mean; mistakes change a part."""
    kept = [(g, n) for g, n in parts if n or not skip]
    whole = sum(weight(n) for _, n in kept) if total is None else total(kept)
    return sum(g * weight(n) for g, n in kept) / whole


def image_by_image(parts):
    """Each gradient as often as it has images."""
    every = [g for g, n in parts for _ in range(n)]
    return torch.stack(every).mean(0)


def with_nan_to_num(parts):
    """In float64, as an array."""
    counts = np.array([n for _, n in parts], dtype=float)
    stacked = np.stack([np.nan_to_num(g.numpy()) for g, _ in parts])
    return np.tensordot(counts / counts.sum(), stacked, 1)


def one_after_the_other(parts):
    mean, seen = 0, 0
    for gradient, count in parts:
        if count > 0:
            seen += count
            mean = mean + (gradient - mean) * count / seen
    return mean


def combined(means, variances, counts, *, between=True, within=True, by_size=True):
    """Mean and variance of the whole; mistakes change a part."""
    share = (counts / counts.sum())[:, None]
    mean = (share * means).sum(0)
    even = torch.full_like(share, 1 / len(counts))
    share = share if by_size else even
    inside = (share * variances).sum(0) if within else 0
    return mean, inside + ((share * (means - mean) ** 2).sum(0) if between else 0)


def less_one(means, variances, counts):
    mean, variance = combined(means, variances, counts)
    n = counts.sum()
    return mean, variance * n / (n - 1)


def not_subtracted(means, variances, counts):
    mean, variance = combined(means, variances, counts)
    return mean, variance + mean**2


def by_sums(means, variances, counts):
    """Sums of values and of squares, in float64."""
    n = counts.double()[:, None]
    total = (n * means.double()).sum(0)
    squares = (n * (variances.double() + means.double() ** 2)).sum(0)
    mean = total / n.sum()
    return [mean, squares / n.sum() - mean**2]


def pair_by_pair(means, variances, counts):
    """One process after the other."""
    n, mean, variance = counts[0].item(), means[0], variances[0]
    for k in range(1, len(counts)):
        m = counts[k].item()
        gap = means[k] - mean
        variance = (n * variance + m * variances[k]) / (n + m)
        variance = variance + n * m / (n + m) ** 2 * gap**2
        mean = mean + gap * m / (n + m)
        n += m
    return mean.numpy(), variance.numpy()


VGG, RESNET = 138_357_544, 25_557_032


def sent(n=8, factor=lambda n: 2 * (n - 1) / n, size=4, first=46):
    return factor(n) * size * VGG / 1e9, factor(n) * size * RESNET / 1e9, first


def by_the_networks():
    with torch.device("meta"):
        nets = course_lib.VGG(16), course_lib.ResNet(50)
    counts = [course_lib.count_parameters(net) for net in nets]
    times = [7e-9 * count for count in counts]
    first = next(n for n in itertools.count(1) if 8e-9 * counts[1] * (1 - 1 / n) > 0.2)
    return *times, first


def rounded():
    return torch.tensor([0.969, 0.179, 46])


def blocks(images, processes, rank):
    """Neighbors, the first ones with one more."""
    sizes = [images // processes + (i < images % processes) for i in range(processes)]
    begin = sum(sizes[:rank])
    return list(range(begin, begin + sizes[rank]))


def by_remainder(images, processes, rank):
    return (i for i in reversed(range(images)) if i % processes == rank)


def split(images, processes, rank):
    return np.array_split(np.arange(images), processes)[rank]


def padded(images, processes, rank):
    each = -(-images // processes)
    return [i % images for i in range(rank * each, (rank + 1) * each)]


def cut(images, processes, rank):
    each = images // processes
    return list(range(rank * each, (rank + 1) * each))


def rest_to_the_last(images, processes, rank):
    part = cut(images, processes, rank)
    each = images // processes
    return part + (
        list(range(processes * each, images)) if rank == processes - 1 else []
    )


#: Exercise -> pairs of a wrong answer and a part of what the check must say.
WRONG = {
    "scaling.together": [
        (lambda parts: weighted(parts, weight=lambda n: 1), "counts five times"),
        (
            lambda parts: weighted(parts, weight=lambda n: 1, total=lambda _: 1),
            "the sum",
        ),
        (lambda parts: weighted(parts, total=lambda _: 1), "of all images"),
        (lambda parts: weighted(parts, total=len), "not of shards"),
        (lambda parts: weighted(parts, weight=lambda n: 1 / n, total=len), "already"),
        (lambda parts: weighted(parts, skip=False), "Zero times NaN"),
        (lambda parts: None, "end with `return`"),
    ],
    "scaling.whole_statistics": [
        (lambda m, v, n: combined(m, v, n, between=False), "that is a variance, too"),
        (lambda m, v, n: (combined(m, v, n)[0], v.mean(0)), "that is a variance, too"),
        (lambda m, v, n: combined(m, v, n, within=False), "inside of each"),
        (lambda m, v, n: (m.mean(0), combined(m, v, n)[1]), "counts more"),
        (lambda m, v, n: combined(m, v, n, by_size=False), "in both parts"),
        (less_one, "not by one less"),
        (not_subtracted, "Subtract the square"),
        (lambda m, v, n: combined(m, v, n)[0], "two results"),
    ],
    "scaling.ring": [
        (lambda: sent(factor=lambda n: 1), "How many times the size"),
        (lambda: sent(factor=lambda n: 2), "a little less than twice"),
        (lambda: sent(factor=lambda n: (n - 1) / n), "and not (n - 1)/n"),
        (lambda: sent(size=1), "four bytes"),
        (lambda: sent(factor=lambda n: 2 * (n - 1)), "along a ring"),
        (lambda: sent(first=45), "one more"),
        (lambda: sent(first=47), "One fewer"),
        (lambda: sent(first=float("inf")), "it is reached"),
        (lambda: sent()[:2], "2 values, where 3"),
    ],
    "scaling.shard": [
        (padded, "belongs to two processes"),
        (cut, "nobody has image"),
        (rest_to_the_last, "one at most"),
        (lambda images, processes, rank: list(range(images)), "What is `rank` for"),
        (lambda n, p, rank: [i + 1 for i in range(rank, n, p)], "does not exist"),
        (lambda images, processes, rank: images // processes, "no list"),
        (lambda n, p, rank: [i / 1 for i in range(rank, n, p)], "no list"),
    ],
}

#: Exercise -> right answers that look different.
RIGHT = {
    "scaling.together": [image_by_image, with_nan_to_num, one_after_the_other],
    "scaling.whole_statistics": [combined, by_sums, pair_by_pair],
    "scaling.ring": [sent, by_the_networks, rounded],
    "scaling.shard": [blocks, by_remainder, split],
}
