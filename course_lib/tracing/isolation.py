"""What a forward pass may change outside its module, restored afterwards."""

from __future__ import annotations

import gc
import pickle
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def isolated(net: nn.Module) -> Iterator[None]:
    """Restore all random states afterwards, and follow what is behind shortcuts:
    PyTorch's fused transformer layers, and functions that were compiled. Meanwhile no
    garbage is collected: it is all in use, and looking through it takes longer than the
    run.
    """
    devices = {p.device.index for p in net.parameters() if p.is_cuda}
    states = random.getstate(), np.random.get_state()
    fused = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.inference_mode(mode=False))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        torch.backends.mha.set_fastpath_enabled(False)
        collecting = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()
            torch.backends.mha.set_fastpath_enabled(fused)
            random.setstate(states[0])
            np.random.set_state(states[1])


def random_states() -> tuple[Any, ...]:
    """The states of the random generators that a forward pass may draw from."""
    return (
        random.getstate(),
        pickle.dumps(np.random.get_state()),
        torch.get_rng_state().numpy().tobytes(),
    )
