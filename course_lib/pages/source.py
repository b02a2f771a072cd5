"""Library code on the page: a chapter shows it, and never copies it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.display import Markdown


def show(*objects: Any) -> Markdown:
    """The source of classes and functions of the library, as one block of Python in a
    notebook.

    Raises: TypeError if one of them has no source in Python.
    """
    from IPython.display import Markdown

    return Markdown(
        "```python\n"
        + "\n\n".join(inspect.getsource(item).rstrip() for item in objects)
        + "\n```"
    )
