"""A bundled denoiser that is told of noise that is not there smooths; it puts nothing into the image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.inference.restorer import Restorer
from restore_cli.models import get_architecture
from restore_cli.settings import RunSettings
from restore_cli.weights.load import load_weights
from restore_cli.weights.manifest import WeightsEntry, load_manifest

TOLD = [
    entry
    for entry in load_manifest().entries
    if entry.bundled and entry.task == "denoise" and get_architecture(entry.arch).takes_level
]
SIDE = 160


def soft_blobs(size: int, channels: int) -> torch.Tensor:
    """Return (SIDE, SIDE, channels) of blobs in pure colours with soft edges, as lights out of focus are."""
    cells = torch.rand(1, channels, SIDE // size, SIDE // size, generator=torch.Generator().manual_seed(size))
    smooth = F.interpolate(cells, size=(SIDE, SIDE), mode="bicubic")
    return ((smooth - 0.5) * 6.0 + 0.5).clamp(0.0, 1.0)[0].permute(1, 2, 0)


@pytest.mark.parametrize("sigma", [25.0, 50.0])
@pytest.mark.parametrize("entry", TOLD, ids=lambda entry: entry.id)
def test_soft_blobs_that_are_said_to_be_noisy_stay_what_they_are(entry: WeightsEntry, sigma: float):
    restore = Restorer(load_weights(entry), RunSettings(device="cpu", sigma=sigma))
    for size in (16, 32):
        blobs = soft_blobs(size, entry.channels).numpy()
        change = np.abs(restore.restore_pixels(blobs) - blobs).mean(2)
        # Without a limit of features: 0.98 (gray) and 8,900 (colour) of the range.
        assert change.reshape(SIDE // 8, 8, SIDE // 8, 8).mean((1, 3)).max() < 0.25


@pytest.mark.parametrize("sigma", [None, 25.0, 50.0])
@pytest.mark.parametrize("entry", TOLD, ids=lambda entry: entry.id)
def test_pure_colours_keep_to_the_border(entry: WeightsEntry, sigma: float | None):
    restore = Restorer(load_weights(entry), RunSettings(device="cpu", sigma=sigma))
    for color in itertools.product((0.0, 1.0), repeat=entry.channels):
        flat = np.full((48, 48, entry.channels), color, dtype=np.float32)
        assert np.abs(restore.restore_pixels(flat) - flat).max() < 3 / 255
