"""What `restore doctor` tells, and that it fails where something is broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy
import PIL
import pytest
import torch

from restore_cli import __version__
from restore_cli.cli import doctor
from restore_cli.cli.doctor import Findings
from restore_cli.imaging.formats import READABLE_FORMATS
from tests.cli.conftest import Run


def test_a_sound_machine_is_told_in_lines(run: Run):
    ran = run("doctor")
    assert (ran.code, ran.err) == (0, "")
    told = dict(line.split(None, 1) for line in ran.out.splitlines() if not line.startswith(" "))
    assert told["restore"] == __version__
    assert torch.__version__ in told["packages"]
    assert told["self-test"].startswith("ok, ")
    assert told["reads"].startswith(", ".join(READABLE_FORMATS))


def test_the_same_as_json(run: Run, here: Path):
    facts = json.loads(run("doctor", "--json").out)
    assert facts["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["versions"]["pillow"] == PIL.__version__
    assert facts["versions"]["numpy"] == numpy.__version__
    assert facts["devices"][-1] == "cpu"
    assert facts["device"] in facts["devices"]
    assert facts["reason"]
    assert facts["threads"] == torch.get_num_threads()
    assert facts["free_memory_bytes"] > 0
    assert facts["cache"] == str(here.parent / "cache" / "restore-cli")
    assert facts["environment"] == {"XDG_CACHE_HOME": str(here.parent / "cache")}
    assert facts["weights"]["ramit-sr-x4"] is None
    assert 0 <= facts["largest_difference"] < 1e-3
    assert facts["faults"] == []


def test_weights_at_hand_are_told_with_their_place(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    path = tmp_path / "mine" / "deep" / "RAMiT_X4.pth"
    path.touch()
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(tmp_path / "mine"))
    lines = [line for line in run("doctor").out.splitlines() if line.startswith(" ")]
    assert f"ramit-sr-x4 {path}" in [" ".join(line.split()) for line in lines]
    assert len({line.index(line.split()[1]) for line in lines}) == 1  # under each other, however long the names


def test_a_broken_setting_is_told_beside_everything_else(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", "nowhere")
    ran = run("doctor")
    assert ran.code == 3
    assert ran.err.startswith("restore: error: RESTORE_WEIGHTS_DIR is set to nowhere, which is no folder")
    assert "self-test    ok" in ran.out


def test_a_device_that_computes_wrongly_is_code_4(run: Run, monkeypatch: pytest.MonkeyPatch):
    outputs = iter([torch.zeros(1), torch.full((1,), 0.5)])
    monkeypatch.setattr(doctor, "_output", lambda *_: next(outputs))
    ran = run("doctor")
    assert ran.code == 4
    assert "a test network on cpu is off by 0.5; run with --device cpu" in ran.err
    assert "self-test    FAILED" in ran.out


def test_a_broken_installation_is_told_and_not_raised(run: Run, monkeypatch: pytest.MonkeyPatch):
    def fail(_: Findings) -> None:
        raise OSError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "_look_at_devices", fail)
    ran = run("doctor")
    assert ran.code == 1
    assert "OSError: libtorch.so: cannot open shared object file; install restore-cli and torch again" in ran.err


@pytest.mark.parametrize("installed", [False, True])
def test_formats_of_extras_are_told_where_they_are_installed_alone(installed: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("restore_cli.imaging.pillow.has_plugin", lambda _name: installed)
    found = Findings()
    doctor._look_at_versions(found)
    assert {"HEIF", "JXL"}.issubset(found.reads) == installed
    assert {"HEIF", "JXL"}.issubset(found.writes) == installed
    assert set(found.reads).isdisjoint({"HEIF", "JXL"}) != installed
    assert set(found.writes).isdisjoint({"HEIF", "JXL"}) != installed
