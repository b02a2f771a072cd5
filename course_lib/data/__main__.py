"""``python -m course_lib.data``: find or fetch Fashion-MNIST, check it, and say where
it came from.
"""

import sys

from . import DataError, fashion_mnist

try:
    data = fashion_mnist()
except DataError as error:
    sys.exit(f"DataError: {error}")
print(f"{data}\nfrom {data.source}, every byte as published (SHA-256)")
