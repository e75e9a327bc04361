"""Freed memory stays in the process, so that feature maps need no fresh pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, sys
import torch
from restore_cli.inference.device import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)
torch.zeros(12_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(12_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


FLAGS = """
import sys
import torch
from pathlib import Path
from restore_cli.inference.device import keep_freed_memory
from restore_cli.layers.tensors import new_map

if sys.argv[1] == "keep":
    assert keep_freed_memory()
    tensor = torch.empty(12_000_000)
else:
    tensor = new_map(torch.empty(0), 12_000_000)
middle = tensor.data_ptr() + tensor.nbytes // 2
inside = False
for line in Path("/proc/self/smaps").read_text().splitlines():
    if "-" in line.split()[0] and ":" not in line.split()[0]:
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        inside = first <= middle < last
    elif inside and line.startswith("VmFlags:"):
        print("hg" in line.split())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").is_dir(), reason="no large pages here")
@pytest.mark.parametrize("how", ["keep", "map"])
def test_large_pages_are_asked_for(how: str):
    done = subprocess.run([sys.executable, "-c", FLAGS, how], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has this allocator")
def test_repeated_large_tensors_take_fewer_fresh_pages():
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert faults("keep") < faults("plain") / 2
