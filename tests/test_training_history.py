import matplotlib.pyplot as plt
import pytest

from course_lib.training.history import Epoch, History, Score

RUN = History(
    [Epoch(1.5, Score(1.25, 0.6), 2.0, 1.7), Epoch(1.0, Score(0.95, 0.7125), 4.5, 1.3)],
    [2.0, 1.5, 1.0, 1.2, 1.0, 0.8],
    Score(0.99, 0.70049),
)


def test_prints_as_a_table():
    assert str(RUN).splitlines() == [
        "epoch  train loss  val loss  val accuracy",
        "    1        1.50      1.25         0.600",
        "    2        1.00      0.95         0.713",
        " test                  0.99         0.700",
    ]


def test_seconds_are_those_of_the_last_epoch():
    assert RUN.seconds == 4.5
    assert History().seconds == 0
    assert str(History()) == "epoch  train loss  val loss  val accuracy"


def test_plots():
    figure, (left, right) = plt.subplots(1, 2)
    RUN.plot(left, "LeNet")
    RUN.plot_losses(right, "LeNet", window=2)
    assert left.lines[0].get_ydata().tolist() == [0.6, 0.7125]
    smooth = right.lines[0]
    assert smooth.get_ydata() == pytest.approx([1.75, 1.25, 1.1, 1.1, 0.9])
    assert smooth.get_xdata()[[0, -1]] == pytest.approx([2 / 3, 2])
    plt.close(figure)


def test_a_short_run_is_drawn_too():
    figure, axes = plt.subplots()
    History([Epoch(1.5, Score(1.25, 0.5), 2.0, 1.7)], [3.0, 2.0, 1.0]).plot_losses(
        axes, "net"
    )
    (line,) = axes.lines
    assert line.get_ydata().tolist() == [2.5, 1.5]
    with pytest.raises(ValueError, match="no batch yet"):
        History().plot_losses(axes, "net")
    plt.close(figure)
