"""What takes seconds when it is used first, used once before answers come."""

from __future__ import annotations

import torch
from torch import nn

from course_lib.checks import guard, nets

torch.set_num_threads(1)
with guard.watched(list(guard.FAMILIES)):
    nn.Linear(1, 1)(torch.ones(1)).relu()
nets.Heads()  # networks of this kind are arguments
torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
