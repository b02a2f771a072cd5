"""What the kernel of a notebook that is compared runs first: `make nbval` names this
file in PYTHONSTARTUP.

On a graphics card, operations are asked to be deterministic, with a warning from those
that cannot be; `make nbval` also forbids NVIDIA's libraries to round to TF32. Weights
and shuffles are drawn on the processor wherever they are used. What is left between
devices is rounding, and the bands are for that.
"""

import torch

if torch.cuda.is_available():
    torch.use_deterministic_algorithms(True, warn_only=True)
del torch  # no notebook should find it imported
