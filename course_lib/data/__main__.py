"""``python -m course_lib.data``: find or download Fashion-MNIST, verify it, and print
its source.
"""

import sys

from . import DataError, fashion_mnist

try:
    data = fashion_mnist()
except DataError as error:
    sys.exit(f"DataError: {error}")
print(f"{data}\nfrom {data.source}, every byte as published (SHA-256)")
