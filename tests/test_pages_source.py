import inspect

import pytest

from course_lib import Residual, basic_block, show
from course_lib.degradation import watch_gradients


def test_shows_the_source_as_one_block():
    text = show(Residual, basic_block).data
    assert text.startswith("```python\nclass Residual(nn.Module):")
    assert text.count("```") == 2
    assert text.endswith("*With all that is around it, in `course_lib.resnet`.*")
    assert inspect.getsource(basic_block).splitlines()[-1] in text


def test_shows_the_forward_pass_alone():
    text = show(Residual.forward).data
    assert text.startswith("```python\ndef forward(self, x: Tensor)")
    assert "class" not in text


def test_of_a_docstring_there_is_the_first_paragraph():
    text = show(Residual, watch_gradients).data
    assert "Raises:" not in text
    assert text.count('"""') == 4 or text.count('"""') % 2 == 0
    code = text.removeprefix("```python\n").partition("\n```")[0]
    compile(code, "shown", "exec")


def test_what_has_no_source():
    with pytest.raises(TypeError):
        show(len)
