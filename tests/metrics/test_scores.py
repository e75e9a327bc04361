"""Scores against independent float64 references and against published values, never against ourselves."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restore_cli.imaging.resize import matlab_bicubic
from restore_cli.metrics.psnr import psnr, psnr_y
from restore_cli.metrics.ssim import ssim, ssim_y

Uint8 = npt.NDArray[np.uint8]


def noisy_pair(height: int = 47, width: int = 61, channels: int = 3, seed: int = 0) -> tuple[Uint8, Uint8]:
    random = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(height) * 3.0, np.arange(width) * 1.5)[..., np.newaxis]
    clean = np.clip(ramp + random.normal(0, 20, (height, width, channels)), 0, 255)
    degraded = np.clip(clean + random.normal(0, 12, clean.shape), 0, 255)
    return clean.astype(np.uint8), degraded.astype(np.uint8)


def reference_luma(image: Uint8) -> npt.NDArray[np.float64]:
    return 16 + image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def reference_ssim(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    _, similarity = structural_similarity(
        a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return float(similarity[5:-5, 5:-5].mean())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", [0, 4])
def test_psnr_agrees_with_skimage(channels: int, border: int) -> None:
    a, b = noisy_pair(channels=channels)
    inside = slice(border, -border or None)
    expected = peak_signal_noise_ratio(a[inside, inside], b[inside, inside], data_range=255)
    assert psnr(a, b, crop_border=border) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("border", [0, 3])
def test_psnr_y_agrees_with_skimage_on_unrounded_luma(border: int) -> None:
    a, b = noisy_pair(seed=1)
    inside = slice(border, -border or None)
    expected = peak_signal_noise_ratio(
        reference_luma(a)[inside, inside], reference_luma(b)[inside, inside], data_range=255
    )
    assert psnr_y(a, b, crop_border=border) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(47, 61), (11, 30), (11, 11)])
def test_ssim_agrees_with_skimage_where_the_window_lies_inside(height: int, width: int) -> None:
    a, b = noisy_pair(height, width, seed=2)
    planes = [(a[..., c].astype(np.float64), b[..., c].astype(np.float64)) for c in range(3)]
    assert ssim(a, b) == pytest.approx(np.mean([reference_ssim(*pair) for pair in planes]), abs=1e-6)
    assert ssim_y(a, b) == pytest.approx(reference_ssim(reference_luma(a), reference_luma(b)), abs=1e-6)


def test_ssim_cuts_the_border_before_its_windows() -> None:
    a, b = noisy_pair(seed=3)
    assert ssim_y(a, b, crop_border=4) == pytest.approx(ssim_y(a[4:-4, 4:-4], b[4:-4, 4:-4]), abs=1e-12)


def test_equal_images_score_inf_and_one() -> None:
    a, _ = noisy_pair()
    assert psnr(a, a.copy()) == psnr_y(a, a.copy()) == math.inf
    assert ssim(a, a.copy()) == pytest.approx(1.0, abs=1e-12)


def test_black_against_white_scores_zero_decibels() -> None:
    black = np.zeros((16, 16, 3), np.uint8)
    assert psnr(black, black + 255) == pytest.approx(0.0, abs=1e-12)
    assert psnr_y(black, black + 255) == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)


def test_a_gray_image_scores_as_its_rgb_copy_does() -> None:
    a, b = noisy_pair(channels=1)
    assert psnr_y(a, b) == pytest.approx(psnr_y(a.repeat(3, axis=2), b.repeat(3, axis=2)), abs=1e-9)


def test_different_shapes_are_refused_with_both() -> None:
    a, b = np.zeros((12, 12, 3), np.uint8), np.zeros((12, 13, 3), np.uint8)
    for score in (psnr, psnr_y, ssim, ssim_y):
        with pytest.raises(ValueError, match=r"\(12, 12, 3\) and \(12, 13, 3\)"):
            score(a, b)


@pytest.mark.parametrize(
    ("shape", "dtype", "border", "reason"),
    [
        ((12, 12, 3), np.float64, 0, "float64"),
        ((12, 12), np.uint8, 0, r"\(12, 12\)"),
        ((12, 12, 4), np.uint8, 0, r"\(12, 12, 4\)"),
        ((12, 12, 3), np.uint8, 6, "leaves nothing"),
        ((12, 12, 3), np.uint8, -1, "leaves nothing"),
        ((12, 12, 3), np.uint8, 1, "10x10"),
    ],
)
def test_images_that_cannot_be_scored_are_refused(
    shape: tuple[int, ...], dtype: type, border: int, reason: str
) -> None:
    image = np.zeros(shape, dtype)
    with pytest.raises(ValueError, match=reason):
        ssim(image, image, crop_border=border)


@pytest.mark.shared
@pytest.mark.parametrize(("scale", "published"), [(2, 33.64), (3, 30.39), (4, 28.42)])
def test_bicubic_on_set5_scores_what_was_published(shared: Path, scale: int, published: float) -> None:
    """The published floor rounds the luma to whole numbers; ours does not and is 0.01 to 0.04 dB higher."""
    folder = shared / "data" / "test" / "set5"
    ours, rounded = [], []
    for path in sorted((folder / "HR").glob("*.png")):
        truth = np.asarray(Image.open(path).convert("RGB"))
        lr = np.asarray(Image.open(folder / f"LR_bicubic/X{scale}/{path.stem}x{scale}.png").convert("RGB"))
        height, width = lr.shape[0] * scale, lr.shape[1] * scale
        truth, enlarged = truth[:height, :width], matlab_bicubic(lr, height, width)
        ours.append(psnr_y(enlarged, truth, crop_border=scale))
        inside = slice(scale, -scale)
        whole = [np.round(reference_luma(image))[inside, inside] for image in (enlarged, truth)]
        rounded.append(peak_signal_noise_ratio(*whole, data_range=255))
    assert np.mean(rounded) == pytest.approx(published, abs=0.006)
    assert published < np.mean(ours) < published + 0.04
