"""The estimate of an image's noise against noise that was put in."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from restore_cli.metrics.noise_level import estimate_sigma
from tests.conftest import ROOT

STILL_LIFE = np.asarray(Image.open(ROOT / "tests" / "samples" / "still_life.png"), dtype=np.float32) / 255.0


@pytest.mark.parametrize("sigma", [0, 5, 15, 25, 50])
def test_the_estimate_is_near_the_noise_that_was_added(sigma: float):
    noise = np.random.RandomState(1).standard_normal(STILL_LIFE.shape) * sigma / 255.0
    noisy = (STILL_LIFE + noise).astype(np.float32)
    assert estimate_sigma(noisy) == pytest.approx(sigma, abs=0.6 + 0.03 * sigma)
    # One channel of so small an image has too few patches to tell fine texture from little noise.
    assert estimate_sigma(noisy[..., :1]) == pytest.approx(sigma, abs=5.0)


def test_an_image_too_small_to_tell_counts_as_clean():
    assert estimate_sigma(np.random.RandomState(0).random_sample((5, 40, 3)).astype(np.float32)) == 0.0


def test_a_flat_image_has_no_noise():
    assert estimate_sigma(np.full((64, 64, 3), 0.5, dtype=np.float32)) == pytest.approx(0.0, abs=1e-6)
