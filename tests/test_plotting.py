import matplotlib.pyplot as plt
import pytest
import torch

from course_lib import show_images, style


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
