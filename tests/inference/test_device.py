"""Devices and precisions are chosen with a reason, and what is not there is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from restore_cli.errors import DeviceError, UsageError
from restore_cli.inference.device import (
    available_devices,
    choose_device,
    choose_dtype,
    free_memory,
    is_out_of_memory,
    release_memory,
)

CPU = torch.device("cpu")
CUDA = torch.device("cuda:0")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
without_mps = pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an Apple GPU")


@pytest.mark.parametrize("setting", ["gpu", "cuda:", "cuda:x", "cpu:0", "mps:1", "", "CUDA"])
def test_an_unknown_device_is_a_usage_error_that_says_what_there_is(setting: str):
    with pytest.raises(UsageError, match="use auto, cpu, cuda"):
        choose_device(setting)


@without_cuda
@pytest.mark.parametrize("setting", ["cuda", "cuda:0", "cuda:3"])
def test_an_absent_card_is_a_device_error_that_names_what_is_there(setting: str):
    with pytest.raises(DeviceError, match=f"device {setting} is not available; available: .*cpu"):
        choose_device(setting)


@without_mps
def test_an_absent_apple_gpu_is_a_device_error():
    with pytest.raises(DeviceError, match="device mps is not available"):
        choose_device("mps")


def test_auto_takes_the_best_device_and_says_why():
    choice = choose_device("auto")

    assert str(choice.device) == available_devices()[0]
    assert choice.reason


def test_the_cpu_can_always_be_asked_for():
    assert choose_device("cpu").device == CPU


def test_the_cpu_computes_in_float32_unless_told_otherwise():
    assert choose_dtype("auto", CPU, ("float32", "bfloat16")).dtype == torch.float32
    assert choose_dtype("bfloat16", CPU, ("float32", "bfloat16")).dtype == torch.bfloat16


def test_a_dtype_nobody_measured_is_taken_when_asked_for_and_said_so():
    choice = choose_dtype("float16", CPU, ("float32",))

    assert choice.name == "float16"
    assert "not measured" in choice.reason


def test_cuda_keeps_to_float32_where_bfloat16_was_not_measured():
    assert choose_dtype("auto", CUDA, ("float32",)).dtype == torch.float32


def test_an_unknown_dtype_is_a_usage_error():
    with pytest.raises(UsageError, match="use auto, float32, bfloat16, float16"):
        choose_dtype("half", CPU, ("float32",))


def test_the_cpu_has_free_memory():
    assert free_memory(CPU) > 0
    release_memory(CPU)


def test_torchs_own_allocation_failure_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)


def test_numpys_own_allocation_failure_is_recognised():
    with pytest.raises(MemoryError) as caught:
        np.empty(2**56, dtype=np.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_exhausted_memory_are_told_from_others(error: Exception, expected: bool):
    assert is_out_of_memory(error) is expected
