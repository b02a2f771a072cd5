"""Data to train on: Fashion-MNIST (`fashion`), found or downloaded and verified
(`files`), and folders of images (`folder`).
"""

from course_lib.data.fashion import (
    CLASSES,
    MEAN,
    STD,
    FashionMNIST,
    Split,
    fashion_mnist,
    move,
    normalize,
)
from course_lib.data.files import DataError, find_files

__all__ = [
    "CLASSES",
    "MEAN",
    "STD",
    "DataError",
    "FashionMNIST",
    "Split",
    "fashion_mnist",
    "find_files",
    "move",
    "normalize",
]
