"""How long each chapter that trains takes: all of its cells, and the training in them.

For the processor as it is and for one limited to AVX2, as in older laptops:

    python experiments/chapters.py
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python experiments/chapters.py

It wants a machine that does nothing else.
"""

import sys
import time

import nbformat
from record import ROOT, Experiment, Row, main

sys.path.append(str(ROOT / "tools"))
from notebooks import BOOK, code, execute, from_text, texts

#: Put in front of a chapter: count the seconds that `fit` takes.
BEFORE = """
def _watch():
    import functools, time
    import course_lib
    fit, course_lib.seconds_of_training = course_lib.fit, 0.0

    @functools.wraps(fit)
    def watched(*arguments, **options):
        start = time.perf_counter()
        try:
            return fit(*arguments, **options)
        finally:
            course_lib.seconds_of_training += time.perf_counter() - start

    course_lib.fit = watched

_watch()
"""
AFTER = "print(course_lib.seconds_of_training)"


def measure(key: Row) -> Row:
    """Execute one chapter."""
    text = BOOK / f"{key['chapter']}.md"
    notebook = from_text(text)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEFORE))
    notebook.cells.append(nbformat.v4.new_code_cell(AFTER))
    start = time.perf_counter()
    execute(notebook, text.parent)
    whole = time.perf_counter() - start
    training = float(notebook.cells[-1].outputs[0].text)
    return {"whole_seconds": f"{whole:.0f}", "training_seconds": f"{training:.0f}"}


EXPERIMENT = Experiment(
    table="chapters",
    keys=[
        {"chapter": text.stem}
        for text in texts()
        if "fit(" in "".join(code(from_text(text)))
    ],
    measure=measure,
    modules=(
        "course_lib/blocks.py",
        "course_lib/data/__init__.py",
        "course_lib/training.py",
        "experiments/chapters.py",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
