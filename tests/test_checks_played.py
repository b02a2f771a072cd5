"""What the page Lab counts, counted in PyTorch for the exercises."""

import pytest
import torch

from course_lib.checks.played import Counts, counted, norms, shifted
from course_lib.lab import network
from course_lib.pages.lab import gallery


def test_counts_of_an_unchanged_network():
    shown = gallery()
    x, labels = next(shown.batches(len(shown)))
    with torch.inference_mode():
        right = (network("lenet")(x).argmax(dim=1) == labels).sum().item()
    assert counted("lenet") == Counts(right, lost=0, gained=0, images=200)


def test_without_its_last_layer_every_answer_is_the_same():
    found = counted("lenet", off=("output",))
    assert found.right == 20  # of ten classes, each as often
    assert found.right == counted("lenet").right - found.lost + found.gained


def test_passed_by_and_off_are_the_same_behind_a_relu():
    assert counted("resnet", passed=("conv2_x",)) == counted(
        "resnet", off=("conv2_x.0.body",)
    )


def test_deviations():
    assert Counts(10, lost=4, gained=4).deviations() == 0
    assert Counts(10, lost=0, gained=0).deviations() == 0
    # Four changed by -1 and 196 by 0: a standard deviation of 1.98 for the sum.
    assert Counts(10, lost=4, gained=0).deviations() == pytest.approx(4 / 3.92**0.5)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, 0), (0, 1), (-2, 1), (1, -2)])
def test_shifted_images(right, down):
    images = torch.arange(1, 26).reshape(1, 1, 5, 5)
    moved = shifted(images, right, down)
    for row in range(5):
        for column in range(5):
            r, c = row - down, column - right
            inside = 0 <= r < 5 and 0 <= c < 5
            assert moved[0, 0, row, column] == (images[0, 0, r, c] if inside else 0)


def test_norms_are_in_order():
    assert norms("nin")[:2] == ["mlpconv1.1", "mlpconv1.4"]
    assert norms("lenet") == []
