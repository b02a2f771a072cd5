import pytest

from course_lib.arguments import check_one_of, check_variant, data_shape


def test_a_known_variant_passes():
    check_variant("Net", 16, {11: None, 16: None})


def test_an_unknown_variant_is_told_those_that_there_are():
    with pytest.raises(ValueError, match=r"Net has the variants 11, 'small'; got 12"):
        check_variant("Net", 12, [11, "small"])


def test_one_of():
    check_one_of(("a", "b"), kind="a", other="b")
    with pytest.raises(ValueError, match="other must be one of 'a', 'b'; got 'c'"):
        check_one_of(("a", "b"), kind="a", other="c")


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (("imagenet", None, None), (1000, 3)),
        (("fashion", None, None), (10, 1)),
        (("cifar", 7, None), (7, 3)),
        (("cifar", None, 5), (10, 5)),
    ],
)
def test_what_is_not_said_is_of_the_data(given, shape):
    assert data_shape(*given) == shape


def test_no_classes():
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        data_shape("fashion", 0, None)
    with pytest.raises(ValueError, match="in_channels must be at least 1, got -1"):
        data_shape("fashion", None, -1)
