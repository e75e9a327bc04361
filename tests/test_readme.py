"""README tells the truth: its generated parts are fresh and its commands run as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.model_card import make_restored
from tests.readme import BLOCKS, README, render

TEXT = README.read_text(encoding="utf-8")
RUN_ALL = """
import json, sys
from restore_cli.cli.app import run
for arguments in json.loads(sys.argv[1]):
    code = run(arguments)
    assert code == 0, (arguments, code)
"""


def commands() -> list[str]:
    """Every command of README's bash blocks, the installing part left to tests/test_wheel.py."""
    lines = [line for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
    return [line.rpartition("&& ")[2] for line in lines if line.strip() and not line.startswith("#")]


def run_in_checkout(folder: Path, *command: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_generated_parts_are_fresh():
    stale = [str(file) for file in BLOCKS if render(file) != file.read_text(encoding="utf-8")]
    assert not stale, "run `python -m tests.readme`"


def test_the_first_page_is_short():
    assert len(TEXT.splitlines()) < 200


def test_every_link_inside_the_project_leads_somewhere():
    broken = []
    for file in [README, *ROOT.glob(".github/*.md"), *ROOT.glob("tests/*.md"), *ROOT.glob("restore_cli/**/*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", file.read_text(encoding="utf-8")):
            target = file.parent / link[0] if link[0] else file
            anchors = (
                re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE) if target.suffix == ".md" else []
            )
            known = {"#" + re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in anchors}
            if not target.exists() or (link[1] and link[1] not in known):
                broken.append(f"{file.name}: {''.join(link)}")
    assert not broken


def test_the_restored_samples_are_the_work_of_the_bundled_weights():
    assert make_restored.is_fresh(), "run `python -m tests.readme`"
    assert make_restored.RESTORED.stat().st_size < 150_000
    assert make_restored.STRIP.stat().st_size < 150_000


def test_the_test_command_is_the_one_that_runs_these_tests():
    assert any(command.startswith("python -m pytest -n auto") for command in commands())


@pytest.mark.slow
def test_every_command_runs_as_it_stands(tmp_path: Path):
    shutil.copytree(ROOT / "tests" / "samples", tmp_path / "tests" / "samples")
    ours = [shlex.split(command) for command in commands() if command.startswith("restore ")]
    assert len(ours) >= 6
    # One process for all, as a start takes longer than most of them.
    run_in_checkout(tmp_path, sys.executable, "-c", RUN_ALL, json.dumps([command[1:] for command in ours]))


@pytest.mark.slow
def test_the_python_example_runs_as_it_stands(tmp_path: Path):
    shutil.copytree(ROOT / "tests" / "samples", tmp_path / "tests" / "samples")
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        run_in_checkout(tmp_path, sys.executable, "-c", block)
