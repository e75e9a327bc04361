"""What was measured to be good in bfloat16 gives nearly the same image in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restore_cli.imaging.decode import decode
from restore_cli.inference.restorer import Restorer
from restore_cli.models import get_architecture
from restore_cli.settings import RunSettings
from restore_cli.weights.load import load_weights
from restore_cli.weights.manifest import WeightsEntry, load_manifest

GOOD = [
    entry for entry in load_manifest().entries if entry.bundled and "bfloat16" in get_architecture(entry.arch).dtypes
]
NOISY = Path(__file__).parent.parent / "samples" / "still_life_noisy.png"


@pytest.mark.parametrize("entry", GOOD, ids=lambda entry: entry.id)
def test_bfloat16_changes_little(entry: WeightsEntry):
    image = decode(NOISY).pixels[:96, :96, : entry.channels]
    weights, run = load_weights(entry), RunSettings(device="cpu")
    exact, fast = (
        Restorer(weights, replace(run, dtype=dtype)).restore_pixels(image) for dtype in ("float32", "bfloat16")
    )
    levels = 255.0 * (fast - exact)
    assert np.sqrt(np.mean(levels**2)) < 0.3
    assert np.abs(levels).max() < 3.0
