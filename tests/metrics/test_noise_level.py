"""The estimate of an image's noise against noise that was put in: shared by channels or not, through JPEG or not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.metrics.noise_level import estimate_noise
from tests.conftest import ROOT

STILL_LIFE = np.asarray(Image.open(ROOT / "tests" / "samples" / "still_life.png"))
SHARE_OF_LUMA = float(np.hypot.reduce([0.299, 0.587, 0.114]))


def noisy(clean: np.ndarray, sigma: float, *, shared: bool = False) -> np.ndarray:
    """Return float32 pixels in [0, 1] with noise beyond it, neither clipped nor rounded."""
    shape = (*clean.shape[:2], 1) if shared else clean.shape
    noise = np.random.RandomState(1).standard_normal(shape) * sigma
    return ((clean + noise) / 255.0).astype(np.float32)


def as_file(pixels: np.ndarray, *, subsampling: int | None = None, quality: int = 90) -> np.ndarray:
    """Return what a file of 8 bits gives back: a JPEG, or without a subsampling one that loses nothing else."""
    image = Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))
    if subsampling is not None:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, subsampling=subsampling)
        image = Image.open(file)
    return np.asarray(image, dtype=np.float32) / 255.0


@pytest.mark.parametrize("sigma", [0, 5, 15, 25, 50])
def test_the_estimate_is_near_the_noise_that_was_added(sigma: float):
    estimate = estimate_noise(noisy(STILL_LIFE, sigma))

    assert estimate.sigma == pytest.approx(sigma, abs=0.6 + 0.03 * sigma)
    assert estimate.luma == pytest.approx(SHARE_OF_LUMA * sigma, abs=0.6 + 0.05 * sigma)
    assert estimate.chroma == pytest.approx(sigma, abs=0.6 + 0.06 * sigma)
    gray = estimate_noise(noisy(STILL_LIFE[..., :1], sigma))
    assert (gray.sigma, gray.chroma) == (pytest.approx(sigma, abs=1.0 + 0.05 * sigma), None)


@pytest.mark.parametrize("sigma", [5, 15, 25])
def test_noise_that_the_channels_share_is_found_in_luma(sigma: float):
    estimate = estimate_noise(as_file(noisy(STILL_LIFE, sigma, shared=True)))

    assert estimate.sigma == pytest.approx(sigma, rel=0.1)
    assert estimate.chroma is not None
    assert estimate.chroma < 1.5


@pytest.mark.parametrize("sigma", [5, 12, 25, 50])
def test_black_and_white_in_colour_counts_as_gray(sigma: float):
    gray = np.repeat(STILL_LIFE[..., 1:2], 3, axis=2)
    for pixels in (as_file(noisy(gray, sigma, shared=True)), as_file(noisy(gray, sigma, shared=True), subsampling=2)):
        estimate = estimate_noise(pixels, chroma_is_halved=True)
        assert (estimate.sigma, estimate.chroma) == (pytest.approx(sigma, rel=0.2), None)


@pytest.mark.parametrize("subsampling", [1, 2])
@pytest.mark.parametrize("sigma", [12, 25])
def test_halved_chroma_hides_little_of_it(sigma: float, subsampling: int):
    pixels = as_file(noisy(STILL_LIFE, sigma), subsampling=subsampling)

    assert estimate_noise(pixels, chroma_is_halved=True).sigma == pytest.approx(sigma, rel=0.25)
    assert estimate_noise(pixels, chroma_is_halved=True).sigma > 10


@pytest.mark.shared
@pytest.mark.parametrize("sigma", [12, 25])
@pytest.mark.parametrize("name", ["truth_color.png", "truth_gray.png"])
def test_images_of_others_are_no_harder(shared: Path, name: str, sigma: float):
    clean = np.asarray(Image.open(shared / "cases" / name).convert("RGB"))
    is_gray = "gray" in name

    estimate = estimate_noise(as_file(noisy(clean, sigma, shared=is_gray)))
    packed = estimate_noise(as_file(noisy(clean, sigma, shared=is_gray), subsampling=2), chroma_is_halved=True)

    assert estimate.sigma == pytest.approx(sigma, rel=0.1)
    assert packed.sigma == pytest.approx(sigma, rel=0.3)
    assert packed.sigma >= 10


def test_an_image_too_small_to_tell_counts_as_clean():
    for size in ((5, 40, 3), (10, 10, 3), (9, 30, 1)):
        assert estimate_noise(np.random.RandomState(0).random_sample(size).astype(np.float32)).sigma == 0.0


def test_a_flat_image_has_no_noise():
    assert estimate_noise(np.full((64, 64, 3), 0.5, dtype=np.float32)).sigma == pytest.approx(0.0, abs=1e-6)


def test_a_sky_that_is_all_white_does_not_hide_the_noise_below_it():
    pixels = noisy(STILL_LIFE, 15)
    pixels[:100] = 1.0

    assert estimate_noise(pixels).sigma == pytest.approx(15, rel=0.1)
