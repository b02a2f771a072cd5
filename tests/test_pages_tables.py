import pytest
from torch import nn

from course_lib import AlexNet, LeNet, summarize
from course_lib.pages.tables import Table, layer_table

TABLE = Table(
    ["network", "parameters", "error, %"],
    [["LeNet & co", 61706, 0.8], ["ResNet-50", 25_557_032, 22.85]],
    "Two networks",
)


def test_as_text_it_is_aligned():
    assert repr(TABLE).splitlines() == [
        "Two networks",
        "network     parameters  error, %",
        "LeNet & co      61,706      0.80",
        "ResNet-50   25,557,032     22.85",
    ]


def test_on_a_page_numbers_are_at_the_right():
    html = TABLE._repr_html_()
    assert "<caption>Two networks</caption>" in html
    assert '<td style="text-align: left">LeNet &amp; co</td>' in html
    assert '<td style="text-align: right">25,557,032</td>' in html
    assert '<th style="text-align: right">parameters</th>' in html


def test_rows_that_do_not_fit():
    with pytest.raises(ValueError, match=r"2 columns need as many cells .* got \[1\]"):
        Table(["a", "b"], [[1]])


def test_without_rows_and_caption():
    assert repr(Table(["a", "b"], [])) == "a  b"
    assert "<caption>" not in Table(["a"], [["x"]])._repr_html_()


def test_layers_as_courses_print_them():
    net = AlexNet("paper")
    table = layer_table(net, (3, 227, 227))
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["conv1.0"][:5] == ["3x227x227", "11x11", "4", "0", "96x55x55"]
    assert rows["conv2.0"][-3:-1] == [307_456, 223_948_800]
    assert rows["fc8"][:5] == ["4096", "", "", "", "1000"]
    memory = sum(float(row[-1].replace(",", "")) for row in table.rows)
    saved = summarize(net, (3, 227, 227)).saved_bytes
    assert memory == pytest.approx(saved / 1000, abs=0.05 * len(rows))


def test_sizes_that_differ_by_axis():
    net = nn.Sequential(nn.Conv2d(1, 2, (3, 1), padding=(1, 0)), nn.ReLU())
    (row,) = layer_table(net, (1, 8, 8)).rows
    assert list(row[:6]) == ["0", "1x8x8", "3x1", "1", "1x0", "2x8x8"]


def test_layers_of_other_kinds_have_no_window():
    rows = {row[0]: row for row in layer_table(LeNet("paper"), (1, 32, 32)).rows}
    assert rows["s2.0"][2:5] == ["", "", ""]
