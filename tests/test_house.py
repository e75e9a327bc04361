"""The rules of the house: formatting, lint, types, imports, start-up, and a README that tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def run_tool(*command: str) -> None:
    result = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_code_is_formatted():
    run_tool("-m", "ruff", "format", "--check", ".")


def test_the_linter_finds_nothing():
    run_tool("-m", "ruff", "check", ".")


@pytest.mark.slow
def test_every_type_holds():
    run_tool("-m", "mypy")


@pytest.mark.slow
def test_no_module_imports_what_it_must_not():
    run_tool("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")


@pytest.mark.parametrize(
    "module",
    [
        "restore_cli",
        "restore_cli.cli.app",
        "restore_cli.jobs.plan",
        "restore_cli.weights.store",
        "restore_cli.training.recipes",
    ],
)
def test_the_light_modules_load_no_torch(module: str):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'huggingface_hub' in sys.modules)"
    run_tool("-c", code)


def test_no_module_is_longer_than_five_hundred_lines():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in ROOT.glob("restore_cli/**/*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long


def test_the_source_is_ascii():
    odd = [
        str(path.relative_to(ROOT))
        for folder in ("restore_cli", "tests")
        for path in ROOT.glob(f"{folder}/**/*.py")
        if not path.read_bytes().isascii()
    ]
    assert not odd


def test_the_top_level_holds_only_what_its_user_fixed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    top = {Path(line).parts[0] for line in tracked.stdout.splitlines()}
    fixed = {"pyproject.toml", "restore_cli", "weights_manifest.json", "tests", "README.md", "LICENSE"}
    assert {name for name in top if not name.startswith(".")} == fixed


def test_every_dependency_has_a_floor_and_a_reason():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    lines = block.group(1).splitlines()
    assert {re.split(r"[>=]", line.strip().strip('"'))[0] for line in lines} == {
        "torch", "typer", "rich", "pillow", "numpy", "einops", "huggingface_hub", "httpx2", "msgspec", "safetensors",
        "simplejpeg",
    }  # fmt: skip
    assert all(re.fullmatch(r'    "[a-z0-9_]+>=[\d.]+", +# .+', line) for line in lines)
