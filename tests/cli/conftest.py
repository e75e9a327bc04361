"""A tiny real network in files of our own, and a way to run the program in this process or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run of the program left: exit code and both streams."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in; nothing of the user's own settings reaches the program."""
    for name in ("NO_COLOR", "FORCE_COLOR", "RESTORE_WEIGHTS_DIR", "HF_HOME", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def run(here: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the program in this process."""
    from restore_cli.cli import app

    def run_here(*arguments: object) -> Ran:
        capfd.readouterr()
        code = app.run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code=code, out=captured.out, err=captured.err)

    return run_here


def command(*arguments: object) -> list[str]:
    """Return the command line that runs the program in a process of its own."""
    return [sys.executable, "-m", "restore_cli", *map(str, arguments)]


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of such a process: it finds this checkout wherever it stands."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **extra}


def run_apart(arguments: Sequence[object], **extra: str) -> Ran:
    """Run the program in a process of its own."""
    done = subprocess.run(
        command(*arguments), env=environment(**extra), capture_output=True, text=True, timeout=240, check=False
    )
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a tiny RAMiT with random weights that says itself what it is; return its file."""
    from restore_cli.models import get_architecture
    from restore_cli.weights.load import save_weights
    from restore_cli.weights.manifest import WeightsEntry

    folder = tmp_path_factory.mktemp("weights")
    arch = get_architecture("ramit")

    def write(
        task: str = "sr", *, scale: int = 2, channels: int = 3, sigma_range: tuple[float, float] | None = None
    ) -> Path:
        trained_at = "" if sigma_range is None else f"-{sigma_range[0]:g}-{sigma_range[1]:g}"
        path = folder / f"{task}-x{scale}-{channels}{trained_at}.safetensors"
        if not path.exists():
            config = arch.config.from_json(
                {**arch.config.tiny().to_json(), "scale": scale, "channels": channels, "mean": [0.5] * channels,
                 "std": [0.25] * channels}
            )  # fmt: skip
            entry = WeightsEntry(
                id=f"ramit-tiny-{task}",
                model="ramit-tiny",
                arch="ramit",
                config=config.to_json(),
                task=task,
                scale=scale,
                channels=channels,
                sigma_range=sigma_range,
                training_patch=32,
                file=path.name,
                licence="MIT",
                origin="random numbers",
                citation="none",
            )
            save_weights(path, arch.build(config).state_dict(), entry)
        return path

    return write


@pytest.fixture
def sr(run: Run, tiny: Callable[..., Path]) -> Run:
    """Run `restore sr` with a tiny network that enlarges twice."""

    def run_sr(*arguments: object) -> Ran:
        return run("sr", "--weights", tiny(), "--threads", "1", *arguments)

    return run_sr


def json_lines(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def image(name: str, *, mode: str = "RGB", size: tuple[int, int] = (9, 7)) -> Path:
    """Write a small image of random pixels; `size` is (width, height)."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], *((len(mode),) if len(mode) > 1 else ()))
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path
