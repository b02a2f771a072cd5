"""Exercises that answer back.

    from course_lib.checks import check

    check("convolution.output_size", my_function)

says whether `my_function` is right and, if not, what is wrong, with a hint that fits.
A check tries several inputs, some of them drawn at random. It takes at most a few
seconds, and never raises. ``check.progress()`` says how far you are.

An answer runs in a process of its own, on the CPU, with a copy of what it uses of the
notebook. Whatever it does there ends with it: if it runs for more than five seconds or
takes more than 4 GiB of memory it is stopped, and what it changes is not changed here.
"""

from course_lib.checks.core import Check

__all__ = ["check"]

check = Check()
