import inspect

import pytest

from course_lib import Residual, basic_block, show


def test_shows_the_source_as_one_block():
    text = show(Residual, basic_block).data
    assert text.startswith("```python\nclass Residual(nn.Module):")
    assert text.endswith("\n```")
    assert text.count("```") == 2
    assert inspect.getsource(basic_block).rstrip() in text


def test_what_has_no_source():
    with pytest.raises(TypeError):
        show(len)
