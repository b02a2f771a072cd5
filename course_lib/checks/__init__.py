"""Exercises that answer back.

    from course_lib.checks import check

    check("convolution.output_size", my_function)

says whether `my_function` is right and, if not, what is wrong, with a hint that fits.
A check tries several inputs, some of them drawn at random; it hands over copies, takes
at most a few seconds, and never raises. ``check.progress()`` says how far you are.

What it cannot stop is a single call of PyTorch that computes for long or asks for more
memory than there is: Python gets no word in until the call is over. A result above
1 GiB is refused when it comes.
"""

from course_lib.checks.core import Check

__all__ = ["check"]

check = Check()
