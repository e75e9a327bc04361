from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from restore_cli.benchmark.memory import measure_peak

MIB = 2**20
CPU = torch.device("cpu")


# In a process of its own: in this one an earlier test may have told the allocator to keep what is freed.
PEAK = """
import torch
from restore_cli.benchmark.memory import measure_peak

def touch(size):
    torch.ones(size, dtype=torch.uint8)

touch(300 << 20)  # an earlier and larger peak must not hide the one to be measured
memory = measure_peak(lambda: touch(100 << 20), torch.device("cpu"))
print(memory.above_loaded_bytes, memory.loaded_bytes, memory.method)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the mark is the process's own since it began")
def test_the_peak_of_memory_given_back_at_once_is_seen():
    ran = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    above_loaded, loaded, method = ran.stdout.split(maxsplit=2)
    assert int(above_loaded) == pytest.approx(100 * MIB, rel=0.2)
    assert int(loaded) > 50 * MIB
    assert "resident set" in method


@pytest.mark.skipif(sys.platform != "linux", reason="needs the resettable mark")
def test_work_that_needs_nothing_shows_nothing():
    memory = measure_peak(lambda: None, CPU)
    assert memory is not None
    assert 0 <= memory.above_loaded_bytes < 8 * MIB


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_peak_on_a_gpu_is_the_allocators_own():
    device = torch.device("cuda")
    memory = measure_peak(lambda: torch.ones(100 * MIB, dtype=torch.uint8, device=device), device)
    assert memory is not None
    assert memory.above_loaded_bytes == 100 * MIB
