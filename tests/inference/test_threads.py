"""Idle threads sleep soon and numpy has none, unless the user's environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import os, sys
from restore_cli.cli import app
app.leave = lambda code: print(
    *map(os.environ.get, ("GOMP_SPINCOUNT", "OPENBLAS_NUM_THREADS")), *({"numpy", "torch"} & set(sys.modules))
)
sys.argv = ["restore", "--version"]
app.main()
"""


NAMES = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS"}


@pytest.mark.parametrize(
    ("settings", "settled"),
    [
        ({}, "2000 1"),
        ({"GOMP_SPINCOUNT": "7", "OPENBLAS_NUM_THREADS": "3"}, "7 3"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None 1"),
    ],
)
def test_the_program_settles_threads_before_numpy_and_torch_are_there(settings: dict[str, str], settled: str):
    own = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run([sys.executable, "-c", CODE], env=own | settings, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == settled
