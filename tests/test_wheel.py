"""What users install: the wheel, in an environment of its own, away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RESTORE_"))}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a fresh environment's programs.

    The dependencies are those of the environment that runs the tests, on the path as a plain folder: its .pth files
    (an editable install of this project among them) are not read, so only the wheel can provide restore_cli.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    site = run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    run(programs / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return programs


def test_the_wheel_holds_the_manifest_the_bundled_weights_and_no_tests(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert "restore_cli/weights_manifest.json" in names
    entries = json.loads((ROOT / "weights_manifest.json").read_text(encoding="utf-8"))["entries"]
    bundled = {f"restore_cli/weights/bundled/{entry['file']}" for entry in entries if entry.get("bundled")}
    assert {name for name in names if name.endswith(".safetensors")} == bundled
    assert not [name for name in names if name.startswith("tests") or name.endswith((".pth", ".pt"))]


def test_the_installed_program_finds_its_manifest(installed: Path, tmp_path: Path):
    lines = run(installed / "restore", "models", "list", "--json", cwd=tmp_path).splitlines()
    assert "ramit-1-sr-x4" in {json.loads(line)["id"] for line in lines}
    where = run(installed / "python", "-c", "import restore_cli; print(restore_cli.__file__)", cwd=tmp_path)
    assert ROOT not in Path(where).parents


def test_the_installed_program_restores_an_image_without_a_network(installed: Path, tmp_path: Path):
    image = ROOT / "tests" / "samples" / "still_life.png"
    written = run(installed / "restore", "sr", "--scale", "4", "--offline", image, "out.png", cwd=tmp_path)
    assert (tmp_path / written.strip()).is_file()
