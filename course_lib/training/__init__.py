"""Training: the loop, its runtime, settings, history and checkpoints.

    history = fit(net, fashion_mnist(), Settings(epochs=4, lr=0.1))

``python -m course_lib.training`` does the same from the command line, on as many
processes as wanted. Chapters: LeNet, Scaling.
"""

from course_lib.training.errors import TrainingError
from course_lib.training.history import Epoch, History, Score
from course_lib.training.loop import evaluate, fit
from course_lib.training.protocols import Data, ImageSplit
from course_lib.training.runtime import Runtime, runtime
from course_lib.training.settings import Settings

__all__ = [
    "Data",
    "Epoch",
    "History",
    "ImageSplit",
    "Runtime",
    "Score",
    "Settings",
    "TrainingError",
    "evaluate",
    "fit",
    "runtime",
]
