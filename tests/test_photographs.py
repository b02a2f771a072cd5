import importlib.util
import inspect
import sys

import pytest
import torch

from course_lib.photographs import PHOTOGRAPHS, photograph

installed = pytest.mark.skipif(
    not importlib.util.find_spec("skimage"), reason="pip install scikit-image"
)


@installed
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph(name):
    pixels = photograph(name)
    assert pixels.dtype == torch.uint8
    assert pixels.dim() == (2 if name == "camera" else 3)
    assert min(pixels.shape[:2]) >= 300
    assert pixels.max() > 200 > 50 > pixels.min()


@installed
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_its_terms_are_those_that_scikit_image_names(name):
    import skimage.data

    said = " ".join(inspect.getdoc(getattr(skimage.data, name)).split())
    assert PHOTOGRAPHS[name].license in said
    assert PHOTOGRAPHS[name].author in said


def test_there_is_no_such_photograph():
    with pytest.raises(ValueError, match=r"one of 'chelsea'.*got 'dog'"):
        photograph("dog")


def test_without_scikit_image_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match="pip install scikit-image"):
        photograph("chelsea")
