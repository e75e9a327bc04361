"""Idle threads sleep soon, unless the user's environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import os, sys
from restore_cli.cli import app
app.leave = lambda code: print(os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules)
sys.argv = ["restore", "--version"]
app.main()
"""


@pytest.mark.parametrize(
    ("settings", "spins"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_the_program_settles_how_threads_wait_before_torch_is_there(settings: dict[str, str], spins: str):
    own = {name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    done = subprocess.run([sys.executable, "-c", CODE], env=own | settings, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{spins} False"
