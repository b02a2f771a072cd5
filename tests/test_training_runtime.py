import subprocess
import sys
import types

import pytest
import torch

from course_lib import runtime


def test_asked_for():
    here = runtime("cpu", "float32")
    assert (here.device, here.precision) == (torch.device("cpu"), torch.float32)
    assert str(here) == "cpu, float32"
    assert here.to_device(torch.zeros(2, 3, 4, 4)).is_contiguous(
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_autocast_computes_in_the_precision(precision, dtype):
    with runtime("cpu", precision).autocast():
        assert (torch.zeros(2, 2) @ torch.zeros(2, 2)).dtype == dtype


def test_asked_for_by_variables(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    monkeypatch.setenv("COURSE_PRECISION", "bfloat16")
    assert str(runtime()) == "cpu, bfloat16"
    assert str(runtime(precision="float32")) == "cpu, float32"


def test_bad_arguments():
    with pytest.raises(
        ValueError,
        match="one of float32, bfloat16, float16, float64, got 'float8'",
    ):
        runtime(precision="float8")
    with pytest.raises(ValueError, match="device 'xpu' is not here"):
        runtime("xpu")


PROGRAM = """\
import os
from course_lib import runtime
for variable in ("ATEN_CPU_CAPABILITY=avx2", "ONEDNN_MAX_CPU_ISA=AVX2", "NOTHING=0"):
    if not os.fork():  # where nothing has asked the processor yet
        name, _, value = variable.partition("=")
        os.environ[name] = value
        print(runtime(), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(
    runtime().device.type != "cpu",
    reason="an accelerator is preferred to any processor",
)
def test_emulated_bfloat16_is_not_chosen():
    """What limits PyTorch or oneDNN to AVX2 leaves bfloat16 to emulation."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    flags = torch.cpu.get_capabilities()
    expected = (
        "bfloat16" if flags.get("amx_bf16") or flags.get("avx512_bf16") else "float32"
    )
    assert done.stdout.splitlines() == [
        *("cpu, float32", "cpu, float32"),
        f"cpu, {expected}",
    ]


@pytest.mark.parametrize(
    ("level", "flags", "supported", "precision"),
    [
        ("AVX2", {}, True, "float32"),
        ("AVX512", {}, True, "float32"),
        ("AVX512", {"avx512_bf16": True}, True, "bfloat16"),
        ("AVX512", {"amx_bf16": True}, True, "bfloat16"),
        ("AVX512", {"avx512_bf16": True}, False, "float32"),
    ],
)
def test_bfloat16_where_a_processor_multiplies_it(
    monkeypatch, level, flags, supported, precision
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: level)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    mkldnn = types.SimpleNamespace(_is_mkldnn_bf16_supported=lambda: supported)
    monkeypatch.setattr(torch.ops, "mkldnn", mkldnn)
    assert str(runtime("cpu")) == f"cpu, {precision}"


def test_preferences(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "T4")
    assert str(runtime()) == "T4, float16"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert runtime().precision == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert str(runtime(precision="float32")) == "cpu, float32"  # until it is asked for
    assert str(runtime("mps")) == "mps, float32"
    with pytest.raises(ValueError, match="'float64' is not to be had on 'mps'"):
        runtime("mps", "float64")


def test_in_64_bits_weights_and_images_are_too():
    here = runtime("cpu", "float64")
    net = here.prepare(torch.nn.Conv2d(1, 1, 3))
    with here.autocast():
        assert net(here.to_device(torch.rand(1, 1, 3, 3))).dtype == torch.float64
