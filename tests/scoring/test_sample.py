"""Inputs are made as the named protocol says, bit for bit, and pairs that do not belong together are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from restore_cli.errors import ImageError
from restore_cli.imaging.decode import decode
from restore_cli.imaging.decoded_image import JpegFacts
from restore_cli.scoring.pairs import Pair, find_pairs
from restore_cli.scoring.protocol import ScoringRequest, choose_protocol
from restore_cli.scoring.sample import Sample, as_8bit, make_sample

Uint8 = npt.NDArray[np.uint8]


def image(height: int = 48, width: int = 60, channels: int = 3, seed: int = 0) -> Uint8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path: Path, pixels: Uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze()).save(path)
    return path


def sample_of(clean: Path, request_: ScoringRequest, degraded: Path | None = None) -> Sample:
    return make_sample(Pair(name=clean.stem, clean=clean, degraded=degraded), choose_protocol(request_))


def test_paper_noise_is_the_published_one_neither_clipped_nor_rounded(tmp_path: Path) -> None:
    pixels = image()
    sample = sample_of(save(tmp_path / "a.png", pixels), ScoringRequest(task="denoise", paired=False, sigma=25.0))
    torch.manual_seed(0)
    expected = torch.from_numpy(pixels).permute(2, 0, 1) / 255 + torch.randn(3, 48, 60) * 25 / 255
    np.testing.assert_allclose(sample.degraded, expected.permute(1, 2, 0).numpy(), atol=1e-6)
    assert sample.degraded.min() < 0
    assert sample.degraded.max() > 1
    np.testing.assert_array_equal(sample.clean, pixels)


def test_every_image_gets_the_same_paper_noise(tmp_path: Path) -> None:
    request_ = ScoringRequest(task="denoise", paired=False, sigma=50.0)
    flat = np.full((32, 32, 3), 128, np.uint8)
    first = sample_of(save(tmp_path / "a.png", flat), request_)
    torch.rand(7)  # whatever else draws from the global generator
    second = sample_of(save(tmp_path / "b.png", flat), request_)
    np.testing.assert_array_equal(first.degraded, second.degraded)


def test_8bit_noise_is_the_same_noise_as_a_file_would_hold_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", image())
    paper = sample_of(path, ScoringRequest(task="denoise", paired=False, sigma=25.0))
    as_file = sample_of(path, ScoringRequest(task="denoise", paired=False, sigma=25.0, protocol="8bit"))
    np.testing.assert_array_equal(as_file.degraded, as_8bit(paper.degraded).astype(np.float32) / np.float32(255))
    assert as_file.degraded.min() == 0
    assert as_file.degraded.max() == 1


def test_gray_scoring_takes_rounded_full_range_luma(tmp_path: Path) -> None:
    pixels = image(seed=3)
    sample = sample_of(
        save(tmp_path / "a.png", pixels), ScoringRequest(task="denoise", paired=False, sigma=25.0, channels=1)
    )
    expected = np.rint(0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2])
    np.testing.assert_array_equal(sample.clean[..., 0], expected.astype(np.uint8))
    assert sample.degraded.shape == (48, 60, 1)


def test_a_gray_file_is_scored_as_three_equal_channels_where_colour_is_asked(tmp_path: Path) -> None:
    sample = sample_of(save(tmp_path / "a.png", image(channels=1)), ScoringRequest(task="sr", paired=False, scale=2))
    assert sample.degraded.shape == (24, 30, 3)
    np.testing.assert_array_equal(sample.clean[..., 0], sample.clean[..., 2])


def test_the_clean_image_is_cut_to_whole_input_pixels(tmp_path: Path) -> None:
    pixels = image(50, 61)
    sample = sample_of(save(tmp_path / "a.png", pixels), ScoringRequest(task="sr", paired=False, scale=3))
    assert sample.degraded.shape == (16, 20, 3)
    np.testing.assert_array_equal(sample.clean, pixels[:48, :60])


def test_rounding_is_half_to_even_after_clipping() -> None:
    levels = np.array([[-0.3, 0.5 / 255, 1.5 / 255, 2.5 / 255, 254.6 / 255, 1.7]], np.float32)[..., np.newaxis]
    assert as_8bit(levels).ravel().tolist() == [0, 0, 2, 2, 255, 255]


@pytest.mark.parametrize(
    "request_",
    [
        ScoringRequest(task="derain", paired=False),
        ScoringRequest(task="lowlight", paired=False),
        ScoringRequest(task="deblur", paired=False, variant="defocus"),
        ScoringRequest(task="denoise", paired=False, sigma=20.0, variant="real"),
        ScoringRequest(task="sr", paired=False, scale=2, variant="photo"),
    ],
)
def test_synthetic_inputs_depend_on_the_name_alone_and_hold_8_bit(tmp_path: Path, request_: ScoringRequest) -> None:
    pixels = image(64, 64)
    first = sample_of(save(tmp_path / "here" / "a.png", pixels), request_)
    torch.rand(5)
    again = sample_of(save(tmp_path / "there" / "a.bmp", pixels), request_)
    other = sample_of(save(tmp_path / "here" / "b.png", pixels), request_)
    np.testing.assert_array_equal(first.degraded, again.degraded)
    assert not np.array_equal(first.degraded, other.degraded)
    np.testing.assert_array_equal(as_8bit(first.degraded) / np.float32(255), first.degraded)


def test_the_truth_is_cut_to_the_size_of_given_inputs(tmp_path: Path) -> None:
    hr, lr = image(50, 62), image(16, 20, seed=1)
    sample = sample_of(
        save(tmp_path / "hr.png", hr), ScoringRequest(task="sr", paired=True, scale=3), save(tmp_path / "lr.png", lr)
    )
    np.testing.assert_array_equal(as_8bit(sample.degraded), lr)
    np.testing.assert_array_equal(sample.clean, hr[:48, :60])


@pytest.mark.parametrize(("task", "scale", "size"), [("sr", 2, (20, 30)), ("sr", 2, (30, 30)), ("derain", 1, (48, 59))])
def test_sizes_that_do_not_belong_together_are_refused(
    tmp_path: Path, task: str, scale: int, size: tuple[int, int]
) -> None:
    clean, degraded = save(tmp_path / "clean.png", image(48, 60)), save(tmp_path / "small.png", image(*size))
    with pytest.raises(ImageError, match=r"clean\.png is 60x48, not .* as .*small\.png"):
        sample_of(clean, ScoringRequest(task=task, paired=True, scale=scale), degraded)


def test_an_image_too_small_to_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="20x20 pixels are too few"):
        sample_of(save(tmp_path / "a.png", image(20, 20)), ScoringRequest(task="sr", paired=False, scale=4))


def test_transparency_is_not_scored_and_said(tmp_path: Path) -> None:
    pixels = image(channels=4)
    sample = sample_of(save(tmp_path / "a.png", pixels), ScoringRequest(task="derain", paired=False))
    assert any("transparency" in warning for warning in sample.warnings)


@pytest.mark.shared
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_set5_is_reduced_as_matlab_did_it_bit_for_bit(shared: Path, scale: int) -> None:
    folder = shared / "data" / "test" / "set5"
    pairs = find_pairs(folder / "HR", folder / "LR_bicubic" / f"X{scale}", scale=scale)
    assert len(pairs) == 5
    for pair in pairs:
        made = sample_of(pair.clean, ScoringRequest(task="sr", paired=False, scale=scale))
        given = sample_of(pair.clean, ScoringRequest(task="sr", paired=True, scale=scale), pair.degraded)
        np.testing.assert_array_equal(made.degraded, given.degraded)
        np.testing.assert_array_equal(made.clean, given.clean)


def test_a_jpeg_input_is_the_file_that_an_encoder_writes_at_that_quality(tmp_path: Path) -> None:
    clean = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    sample = sample_of(save(tmp_path / "a.png", clean), ScoringRequest(task="dejpeg", paired=False, quality=40))
    Image.fromarray(clean).save(tmp_path / "a.jpg", quality=40, subsampling="4:2:0")
    assert sample.jpeg == decode(tmp_path / "a.jpg").jpeg == JpegFacts(quality=40, chroma_is_halved=True)
    assert np.array_equal(np.rint(sample.degraded * 255), np.asarray(Image.open(tmp_path / "a.jpg")))
