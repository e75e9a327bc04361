"""Children of a script that guards nothing do not run it again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

SCRIPT = """
import multiprocessing
from restore_cli.inference.children import main_module_hidden

print("script")
process = multiprocessing.get_context("spawn").Process(target=print, args=("child",))
with main_module_hidden():
    process.start()
process.join()
"""


def test_a_child_does_not_run_the_script_that_started_it(tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-u", "script.py"], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("script\nchild\n", "")
