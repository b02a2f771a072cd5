"""Device, precision and memory format, chosen once so that the training loop stays
simple.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

#: The precisions by name.
PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


@dataclass(frozen=True)
class Runtime:
    """A device, the precision that autocast computes in, and the memory format: the
    order of an image's values in memory.
    """

    device: torch.device
    precision: torch.dtype
    memory_format: torch.memory_format

    def __str__(self) -> str:
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else self.device.type
        )
        return f"{name}, {str(self.precision).removeprefix('torch.')}"

    def autocast(self) -> torch.autocast:
        """The context in which a network runs forward."""
        return torch.autocast(
            self.device.type,
            self.precision,
            enabled=self.precision not in (torch.float32, torch.float64),
        )

    def scaler(self) -> torch.amp.GradScaler:
        """What multiplies the loss before the backward pass and divides the gradients
        after it, since small gradients are zero in float16. If a gradient is infinite,
        it leaves out the step, and multiplies by less from then on. In other precisions
        it does nothing.
        """
        return torch.amp.GradScaler(
            self.device.type, enabled=self.precision == torch.float16
        )

    @property
    def param_dtype(self) -> torch.dtype:
        """The type of parameters and images; autocast converts copies of them."""
        return torch.float64 if self.precision == torch.float64 else torch.float32

    def prepare(self, net: nn.Module) -> nn.Module:
        """`net` itself, moved to the device and into the memory format."""
        return net.to(self.device, self.param_dtype).to(
            memory_format=self.memory_format
        )

    def holds(self, net: nn.Module) -> bool:
        """Whether `net` is as `prepare` would make it."""
        return all(
            value.device.type == self.device.type
            and (not value.is_floating_point() or value.dtype == self.param_dtype)
            and (
                value.dim() != 4
                or value.is_contiguous(memory_format=self.memory_format)
            )
            for value in (*net.parameters(), *net.buffers())
        )

    def copied(self, net: nn.Module) -> Callable[[torch.Tensor], Any]:
        """A call of `net`, in its present mode, with copies of its weights and buffers
        as `prepare` would make them; `net` stays as it is.
        """
        if any(isinstance(each, torch.jit.ScriptModule) for each in net.modules()):
            return self.prepare(copy.deepcopy(net))  # which have no other way
        copies: dict[int, torch.Tensor] = {}  # what is tied stays tied
        state: dict[str, torch.Tensor] = {}
        # Each module once: of one that stands in two places, functional_call would
        # put back the copy instead of the parameter.
        for prefix, module in net.named_modules():
            for name, value in (
                *module.named_parameters(prefix, False, False),
                *module.named_buffers(prefix, False, False),
            ):
                if id(value) not in copies:
                    copies[id(value)] = value.detach().to(
                        self.device,
                        self.param_dtype if value.is_floating_point() else value.dtype,
                        copy=True,
                        memory_format=self.memory_format
                        if value.dim() == 4
                        else torch.preserve_format,
                    )
                state[name] = copies[id(value)]
        return partial(torch.func.functional_call, net, state, tie_weights=False)

    def to_device(self, x: torch.Tensor) -> torch.Tensor:
        """A batch of images, on the device and in the memory format."""
        return x.to(self.device, self.param_dtype, memory_format=self.memory_format)


def runtime(
    device: str | torch.device | None = None, precision: str | None = None
) -> Runtime:
    """The fastest runtime of this machine, unless the arguments choose another.

    `device` is ``"cuda"``, which is preferred where there is one, ``"cpu"``, or
    ``"mps"``, which is taken only when asked for. `precision` is ``"float32"``;
    ``"bfloat16"``, which is preferred where the processor multiplies it; ``"float16"``,
    which is preferred on other NVIDIA GPUs; or ``"float64"``, for comparisons. Where an
    argument is not given,
    the environment variables COURSE_DEVICE and COURSE_PRECISION are read. The memory
    format is channels-last, which was measured to be faster for every network of the
    course (``make bench``).

    Raises: ValueError if the device is not available or the precision is unknown.
    """
    asked = device or os.environ.get("COURSE_DEVICE") or _device()
    try:
        chosen = torch.device(asked)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"there is no device {asked!r}: {_here()}") from error
    if chosen.type not in _devices():
        raise ValueError(f"device {str(chosen)!r} is not here: {_here()}")
    name = precision or os.environ.get("COURSE_PRECISION") or _precision(chosen)
    if name not in PRECISIONS:
        raise ValueError(
            f"precision must be one of {', '.join(PRECISIONS)}, got {name!r}"
        )
    if name == "float64" and chosen.type == "mps":
        raise ValueError("precision 'float64' is not to be had on 'mps'")
    return Runtime(chosen, PRECISIONS[name], torch.channels_last)


def _here() -> str:
    return f"this machine has {' and '.join(map(repr, _devices()))}"


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _devices() -> list[str]:
    has = {"cuda": torch.cuda, "mps": torch.backends.mps}
    return ["cpu", *(name for name, each in has.items() if each.is_available())]


def _precision(device: torch.device) -> str:
    if _has_bfloat16(device):
        return "bfloat16"
    return "float16" if device.type == "cuda" else "float32"


def _has_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware; emulated, it is up to 20 times
    slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if (
        device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX512"
    ):  # respects ATEN_CPU_CAPABILITY
        return False
    has = torch.cpu.get_capabilities()
    # The second check respects ONEDNN_MAX_CPU_ISA, but is true for emulation, too.
    return (
        bool(has.get("amx_bf16") or has.get("avx512_bf16"))
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
