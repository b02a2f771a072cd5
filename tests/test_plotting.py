import matplotlib.pyplot as plt
import pytest
import torch

from course_lib import plot_seeds, show_images, style


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
    from matplotlib_inline import backend_inline

    asked = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(
        backend_inline,
        "set_matplotlib_formats",
        lambda *formats, **kwargs: asked.append((formats, kwargs)),
    )
    with plt.rc_context():
        style()
    assert asked == [(("retina",), {"bbox_inches": None})]


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


def test_one_seed_has_no_spread():
    figure, axes = plt.subplots()
    with pytest.raises(ValueError, match="'a' needs two seeds or more, got 1"):
        plot_seeds(axes, {"a": [0.5]}, "accuracy")
    plt.close(figure)
