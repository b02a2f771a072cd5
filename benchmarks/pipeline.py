"""Images per second out of the input pipeline: d2l's loader with its four workers, and
ours, which has none. A round is an epoch.

    python -m benchmarks.pipeline
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from torch import Tensor

from benchmarks import d2l_here
from benchmarks.measure import Result, main, side_by_side, take_turns, timed
from course_lib import fashion_mnist

BATCH = 128

#: Case -> pixels and rounds.
CASES = {"28 pixels": (28, 5), "96 pixels": (96, 3), "224 pixels": (224, 3)}


def measure(case: str, quick: bool) -> Iterator[Result]:
    """Read every image and touch every pixel of it."""
    size, rounds = CASES[case]
    limit = 2 if quick else None
    train, (loader, _) = fashion_mnist().train, d2l_here.load(BATCH, size)

    def ours() -> float:
        resize = None if size == 28 else size
        return touch(islice(train.batches(BATCH, seed=0, size=resize), limit))

    def theirs() -> float:
        return touch(islice(loader, limit))

    turns = take_turns(1 if quick else rounds, timed(ours), timed(theirs))
    images = (len(train), d2l_here.IMAGES)
    if quick:
        images = (2 * BATCH, 2 * BATCH)
    per_image = (
        [seconds / count for seconds in side]
        for side, count in zip(turns, images, strict=True)
    )
    yield side_by_side(*per_image, against="d2l", unit="images/s", amount=1)


def touch(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Add everything up, so that nothing is left undone."""
    return sum(x.sum().item() + y.sum().item() for x, y in batches)


if __name__ == "__main__":
    main("pipeline", CASES, measure)
