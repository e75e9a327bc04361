"""LPIPS is an extra: without it one clear line, and nothing is fetched behind anybody's back."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from restore_cli.errors import UsageError, WeightsError
from restore_cli.scoring import perceptual
from restore_cli.scoring.perceptual import ALEXNET_FILE, load_lpips


class MeanDistance(nn.Module):
    """Stands where the learned network would: the real one cannot be had without a download."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        assert (net, verbose) == ("alex", False)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        assert a.shape[1] == 3
        assert max(a.abs().max(), b.abs().max()) <= 1
        return (a - b).abs().mean().view(1, 1, 1, 1)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    module = types.ModuleType("lpips")
    module.LPIPS = MeanDistance  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", module)
    monkeypatch.setattr(perceptual, "lpips_missing", lambda: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError) as caught:
        load_lpips(offline=False)
    assert str(caught.value) == (
        "LPIPS needs the package lpips, which is not installed; "
        "run pip install 'restore-cli[lpips]', or leave --lpips out"
    )


def test_images_reach_it_in_minus_one_to_one_with_the_border_cut(installed: Path) -> None:
    distance = load_lpips(offline=False)
    black, white = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 255, np.uint8)
    framed = black.copy()
    framed[:4] = 255
    assert distance(black, white, 0) == 2.0
    assert distance(black, framed, 4) == 0.0
    assert distance(black[..., :1], white[..., :1], 0) == 2.0


def test_offline_it_needs_alexnet_on_this_machine(installed: Path) -> None:
    with pytest.raises(WeightsError, match=ALEXNET_FILE):
        load_lpips(offline=True)
    (installed / "checkpoints").mkdir()
    (installed / "checkpoints" / ALEXNET_FILE).touch()
    assert load_lpips(offline=True) is not None


def test_a_torchvision_that_does_not_fit_is_one_line(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)  # its import raises, as with a torchvision built for another torch
    with pytest.raises(UsageError, match="LPIPS cannot be loaded"):
        load_lpips(offline=False)


def test_weights_that_cannot_be_fetched_are_a_weights_error(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> nn.Module:
        raise OSError("no route to host")

    monkeypatch.setattr(sys.modules["lpips"], "LPIPS", refuse)
    with pytest.raises(WeightsError, match="no route to host"):
        load_lpips(offline=False)
