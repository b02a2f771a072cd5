import io
from itertools import pairwise

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from course_lib import plot_seeds, show_images, style
from course_lib.catalog import FAMILIES, LATER
from course_lib.plotting import (
    COLORS,
    FAMILY_COLORS,
    family_style,
    label_lines,
    overlay,
    show_photographs,
    small_jpeg,
    small_png,
)


def test_figures_have_one_size_whatever_their_labels(tmp_path):
    sizes = set()
    with plt.rc_context():
        style()
        for label in ("x", "a much longer label\nof two lines"):
            figure, axes = plt.subplots()
            axes.plot([0, 1], [0, 1e6])
            axes.set(ylabel=label)
            figure.savefig(tmp_path / "figure.png")
            sizes.add(plt.imread(tmp_path / "figure.png").shape[:2])
            plt.close(figure)
    assert sizes == {(360, 640)}


@pytest.mark.parametrize("shape", [(12, 28, 28), (12, 1, 28, 28)])
def test_images(shape):
    show_images(torch.zeros(shape), [str(i) for i in range(12)])
    figure = plt.gcf()
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == [str(i) for i in range(12)]
    assert len(figure.axes) == 20
    width, height = figure.get_size_inches()
    assert height == pytest.approx(width / 10 * 2 * 1.25)  # two rows, with titles
    plt.close(figure)


def test_images_without_titles():
    show_images(torch.zeros(3, 8, 8), columns=3)
    figure = plt.gcf()
    assert len(figure.axes) == 3
    plt.close(figure)


def test_titles_that_do_not_match():
    with pytest.raises(ValueError, match="2 images need as many titles, got 1"):
        show_images(torch.zeros(2, 8, 8), ["one"])


def test_style_in_a_notebook_asks_for_exact_sizes(monkeypatch):
    import IPython
    from IPython.core.interactiveshell import InteractiveShell
    from matplotlib_inline import backend_inline

    asked, shell = [], InteractiveShell()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr(
        backend_inline,
        "set_matplotlib_formats",
        lambda *formats, **kwargs: asked.append((formats, kwargs)),
    )
    with plt.rc_context():
        style()
    assert asked == [(("retina",), {"bbox_inches": None})]
    formatter = shell.display_formatter.formatters["image/png"]
    assert formatter.lookup_by_type(Figure) is small_png
    formatter = shell.display_formatter.formatters["image/jpeg"]
    assert formatter.enabled
    assert formatter.lookup_by_type(Figure) is small_jpeg


def test_seeds_are_dots_with_their_mean_and_deviation():
    figure, axes = plt.subplots()
    plot_seeds(axes, {"a": [0.5, 0.7], "b": [0.8, 0.8, 0.8]}, "accuracy")
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [[0.5, 0.7], [0.8] * 3]
    (segment,) = axes.containers[0].lines[2][0].get_segments()
    assert segment[:, 0] == pytest.approx([0.6 - 0.2 / 2**0.5, 0.6 + 0.2 / 2**0.5])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_ylim() == (1.5, -0.5)  # the first name is on top
    plt.close(figure)


@pytest.mark.parametrize("spread", [0.005, 0.012, 0.02, 0.05, 0.3, 1.5])
def test_labels_of_seeds_do_not_touch(spread):
    """Beside a name as long as one of VGG's blocks."""
    with plt.rc_context():
        style()
        figure, axes = plt.subplots()
        seeds = [0.9, 0.9 + spread]
        plot_seeds(axes, {"two 3x3, no ReLU between": seeds}, "test accuracy")
        figure.draw_without_rendering()
        left, right = axes.get_xlim()
        boxes = [
            label.get_window_extent()
            for label in axes.get_xticklabels()
            if left <= label.get_position()[0] <= right
        ]
    assert len(boxes) > 2
    assert all(one.x1 + 12 < other.x0 for one, other in pairwise(boxes))
    plt.close(figure)


def test_one_seed_has_no_spread():
    figure, axes = plt.subplots()
    with pytest.raises(ValueError, match="'a' needs two seeds or more, got 1"):
        plot_seeds(axes, {"a": [0.5]}, "accuracy")
    plt.close(figure)


def test_every_family_has_its_color():
    assert list(FAMILY_COLORS) == list(FAMILIES)
    assert len({*FAMILY_COLORS.values()}) == len(FAMILY_COLORS)
    assert {*FAMILY_COLORS.values()} == {*COLORS}  # distinct for color-blind readers


def test_every_family_has_a_style_that_tells_it_apart():
    styles = {name: family_style(name) for name in FAMILIES | LATER}
    assert len({tuple(each.values()) for each in styles.values()}) == len(styles)
    assert {styles[name]["color"] for name in LATER} == {FAMILY_COLORS["ResNet"]}
    figure, axes = plt.subplots()
    for style_ in styles.values():  # of functions that take both
        axes.plot([0], [0], **style_)
        axes.scatter([0], [0], **style_)
    plt.close(figure)
    with pytest.raises(ValueError, match=r"family must be one of .* got .Transformer."):
        family_style("Transformer")


def test_labels_at_the_ends_of_lines_do_not_touch():
    figure, axes = plt.subplots(layout="constrained")
    for height, name in ((1.0, "a"), (1.001, "b"), (0.0, "c"), (0.5, "_hidden")):
        axes.plot([0, 1], [0, height], label=name)
    label_lines(axes)
    heights = {text.get_text(): text.xy[1] for text in axes.texts}
    assert set(heights) == {"a", "b", "c"}
    assert heights["b"] - heights["a"] > 0.03
    assert heights["c"] < heights["a"] < heights["b"] <= 1.01
    colors = [text.get_color() for text in axes.texts]
    assert axes.lines[0].get_color() in colors
    plt.close(figure)


def test_a_line_that_leaves_the_axes_moves_no_other_label():
    figure, axes = plt.subplots(layout="constrained")
    axes.plot([0, 1], [0, 9], label="steep")
    axes.plot([0, 1], [0, 1], label="flat")
    axes.set(ylim=(0, 2))
    label_lines(axes)
    heights = {text.get_text(): text.xy[1] for text in axes.texts}
    assert heights == {"steep": 1, "flat": pytest.approx(0.5)}
    plt.close(figure)


def test_no_lines_need_no_labels():
    figure, axes = plt.subplots()
    label_lines(axes)
    assert not axes.texts
    plt.close(figure)


def test_rows_of_images_have_labels():
    show_images(torch.zeros(4, 8, 8), columns=2, rows=["input", "trained"])
    figure = plt.gcf()
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["input", "", "trained", ""]
    plt.close(figure)
    with pytest.raises(ValueError, match="2 rows need as many labels, got 1"):
        show_images(torch.zeros(4, 8, 8), columns=2, rows=["input"])


def test_figures_of_notebooks_are_small():
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    axes.plot([0, 1], [0, 1])
    content, size = small_png(figure)
    image = Image.open(io.BytesIO(content))
    assert (image.size, image.mode) == ((1280, 720), "P")
    assert size == {"width": 640, "height": 360}
    plt.close(figure)


def test_photographs_and_maps():
    photo = torch.linspace(0, 255, 3 * 4 * 5).view(3, 4, 5)
    heat = torch.arange(20.0).view(4, 5)
    show_photographs(
        [[photo, heat], [photo]], rows=["one", "two"], titles=["photo", "map"]
    )
    figure = plt.gcf()
    assert [axes.get_ylabel() for axes in figure.axes] == ["one", "", "two", ""]
    assert [axes.get_title() for axes in figure.axes] == ["photo", "map", "", ""]
    first, second, third = (axes.images[0].get_array() for axes in figure.axes[:3])
    assert torch.allclose(torch.tensor(first), photo.permute(1, 2, 0) / 255)
    assert torch.equal(torch.tensor(third), torch.tensor(first))
    assert second.min() == 0
    assert second.max() == 1  # the largest value is cut to that of the 99th percentile
    assert second[1, 1] == pytest.approx(6 / heat.flatten().quantile(0.99).item())
    assert not figure.axes[3].images
    content, size = small_jpeg(figure)
    image = Image.open(io.BytesIO(content))
    assert image.format == "JPEG"
    assert size["width"] == 640
    assert image.width == 800
    assert small_png(figure) is None
    plt.close(figure)


def test_other_figures_are_no_jpeg():
    figure, _ = plt.subplots()
    assert small_jpeg(figure) is None
    plt.close(figure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": ["a"]}, "2 rows need as many labels, got 1"),
        ({"rows": ["a", "b"], "titles": ["c"]}, "2 columns need as many titles, got 1"),
    ],
)
def test_photographs_without_their_words(arguments, message):
    image = torch.zeros(3, 2, 2)
    with pytest.raises(ValueError, match=message):
        show_photographs([[image, image], [image]], **arguments)


def test_an_overlay_is_bright_where_the_map_is_large():
    pixels = torch.full((3, 8, 8), 100.0)
    heat = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    shown = overlay(pixels, heat)
    assert shown.shape == pixels.shape
    assert 0 <= shown.min() <= shown.max() <= 255
    brightness = shown.mean(dim=0)
    assert brightness[0, 7] > brightness[0, 0] + 50
    assert torch.equal(brightness[7, 0], brightness[0, 0])
    assert overlay(pixels, torch.zeros(2, 2)).isfinite().all()
