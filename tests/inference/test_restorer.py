"""An image through the network of a weights file: gray and RGB, alpha, warnings, facts, and images from memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from restore_cli import load_restorer
from restore_cli.errors import ImageError
from restore_cli.imaging.decoded_image import DecodedImage, JpegFacts
from restore_cli.imaging.resize import matlab_bicubic
from restore_cli.inference.restorer import Restorer
from restore_cli.models import get_architecture
from restore_cli.models.ramit.config import Config
from restore_cli.settings import RunSettings
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.load import LoadedWeights

CPU = RunSettings(device="cpu")


def random_weights(*, scale: int = 2, channels: int = 3) -> LoadedWeights:
    """Weights of the tiny RAMiT, filled at random and held close to the input so that results stay within range."""
    config = replace(Config.tiny(), scale=scale, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
    entry = WeightsEntry(
        id="tiny-random",
        model="tiny",
        arch="ramit",
        config=config.to_json(),
        task="sr",
        scale=scale,
        channels=channels,
        training_patch=64,
        file="tiny.safetensors",
        licence="none",
        origin="random",
        citation="none",
    )
    torch.manual_seed(0)
    network = get_architecture("ramit").build(config).eval()
    return LoadedWeights(entry=entry, config=config, network=network, digest="sha256:0", path=Path("tiny.safetensors"))


@pytest.fixture(scope="module")
def enlarger() -> Restorer:
    return Restorer(random_weights(), CPU)


@pytest.fixture(scope="module")
def gray_denoiser() -> Restorer:
    return Restorer(random_weights(scale=1, channels=1), CPU)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 1), (32, 64)])
def test_pixels_come_back_larger_and_in_range(enlarger: Restorer, size: tuple[int, int]):
    restored = enlarger.restore_pixels(noise(*size, 3))

    assert restored.shape == (2 * size[0], 2 * size[1], 3)
    assert restored.dtype == np.float32
    assert restored.min() >= 0
    assert restored.max() <= 1


@pytest.mark.parametrize(
    "pixels",
    [
        noise(8, 8, 1),
        noise(8, 8),
        np.zeros((0, 8, 3), dtype=np.float32),
        noise(8, 8, 3).astype(np.float64),
        np.full((8, 8, 3), 255, dtype=np.uint8),
        noise(8, 8, 3) * 255,
        np.full((8, 8, 3), np.nan, dtype=np.float32),
    ],
    ids=["gray", "flat", "empty", "float64", "uint8", "out of range", "nan"],
)
def test_pixels_of_another_kind_are_a_value_error(enlarger: Restorer, pixels: np.ndarray):
    with pytest.raises(ValueError, match=r"takes|must be"):
        enlarger.restore_pixels(pixels)


def test_noise_that_was_not_clipped_reaches_the_network_as_it_is(gray_denoiser: Restorer):
    clean = np.full((16, 16, 1), 0.98, dtype=np.float32)
    noise_beyond = clean + 0.1 * np.random.default_rng(1).standard_normal(clean.shape, dtype=np.float32)
    unclipped = gray_denoiser.restore_pixels(noise_beyond)
    clipped = gray_denoiser.restore_pixels(noise_beyond.clip(0, 1))
    assert unclipped.max() <= 1
    assert not np.array_equal(unclipped, clipped)


def test_a_gray_image_through_an_rgb_network_is_the_luma_of_three_equal_channels(enlarger: Restorer):
    gray = noise(12, 10, 1)
    in_color = enlarger.restore_pixels(gray.repeat(3, axis=2))

    restored = enlarger.restore_image(DecodedImage(pixels=gray))

    assert restored.channels == 1
    expected = 0.299 * in_color[..., 0] + 0.587 * in_color[..., 1] + 0.114 * in_color[..., 2]
    np.testing.assert_allclose(restored.pixels[..., 0], expected, atol=1e-6)


def test_a_gray_network_takes_gray_and_refuses_rgb(gray_denoiser: Restorer):
    assert gray_denoiser.restore_image(DecodedImage(pixels=noise(9, 9, 1))).pixels.shape == (9, 9, 1)
    with pytest.raises(ImageError, match="it is in colour, and tiny-random is for gray images"):
        gray_denoiser.restore_image(DecodedImage(pixels=noise(9, 9, 3)))


def test_an_rgb_image_of_equal_channels_is_gray_to_a_gray_network(gray_denoiser: Restorer):
    gray = noise(9, 9, 1)

    restored = gray_denoiser.restore_image(DecodedImage(pixels=gray.repeat(3, axis=2)))

    np.testing.assert_array_equal(restored.pixels, gray_denoiser.restore_pixels(gray).repeat(3, axis=2))


def test_alpha_is_enlarged_on_its_own_and_never_enters_the_network(enlarger: Restorer):
    pixels, alpha = noise(12, 10, 3), noise(12, 10) ** 4

    restored = enlarger.restore_image(DecodedImage(pixels=pixels, alpha=alpha))

    assert restored.alpha is not None
    np.testing.assert_array_equal(restored.alpha, matlab_bicubic(alpha[..., None], 24, 20)[..., 0].clip(0, 1))
    np.testing.assert_array_equal(restored.pixels, enlarger.restore_pixels(pixels))


def test_constant_alpha_stays_exactly_constant(enlarger: Restorer):
    alpha = np.full((12, 10), 0.7, dtype=np.float32)

    restored = enlarger.restore_image(DecodedImage(pixels=noise(12, 10, 3), alpha=alpha)).alpha

    np.testing.assert_array_equal(restored, np.full((24, 20), 0.7, dtype=np.float32))


def test_alpha_of_the_same_size_is_left_alone(gray_denoiser: Restorer):
    alpha = noise(9, 8)

    assert gray_denoiser.restore_image(DecodedImage(pixels=noise(9, 8, 1), alpha=alpha)).alpha is alpha


def test_everything_else_of_an_image_is_kept(enlarger: Restorer):
    image = DecodedImage(
        pixels=noise(6, 6, 3),
        bit_depth=16,
        format="TIFF",
        icc_profile=b"icc",
        exif=b"exif",
        dpi=(72, 72),
        warnings=("a",),
    )

    restored = enlarger.restore_image(image)

    assert replace(restored, pixels=image.pixels) == image


def test_batches_of_images_do_not_influence_each_other(enlarger: Restorer):
    first, second = noise(40, 30, 3), 1 - noise(20, 50, 3)
    alone = enlarger.restore_pixels(first)

    enlarger.restore_pixels(second)

    np.testing.assert_array_equal(enlarger.restore_pixels(first), alone)


def test_facts_are_what_was_requested_and_for_a_size_what_comes_of_it():
    restorer = Restorer(random_weights(), RunSettings(device="cpu", tile=64))

    requested, small, large = restorer.describe(), restorer.describe((64, 64)), restorer.describe((65, 64))

    assert (requested.device, requested.dtype, requested.tile, requested.context) == ("cpu", "float32", "64", "auto")
    assert (small.tile, small.context) == ("off", "global")
    assert (large.tile, large.context) == ("64", "tile")
    assert "asked for" in requested.reason


def test_threads_are_set_for_the_process():
    before = torch.get_num_threads()
    try:
        Restorer(random_weights(), RunSettings(device="cpu", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_weights_that_invent_detail_say_so_before_the_first_image():
    weights = random_weights()
    assert Restorer(weights, CPU).note is None
    inventing = replace(weights, entry=replace(weights.entry, generative=True))
    note = "tiny-random invents detail: it was trained to look sharp, not to be true"
    assert Restorer(inventing, CPU).facts().notes == (note,)


def test_a_jpeg_is_changed_the_less_the_better_its_header_says_it_is():
    dejpeg = load_restorer("unet-dejpeg-color", device="cpu")
    noise = np.random.default_rng(0).normal(0.0, 0.06, (48, 48, 3))
    pixels = np.clip(0.5 + noise, 0.0, 1.0).astype(np.float32)
    changes = {}
    for quality in (None, 10, 50, 95):
        facts = None if quality is None else JpegFacts(quality=quality, chroma_is_halved=False)
        restored = dejpeg.restore_image(DecodedImage(pixels=pixels, jpeg=facts))
        changes[quality] = float(np.abs(restored.pixels - pixels).mean())
    assert changes[10] > changes[50] > changes[95]
    assert changes[95] < 0.8 * changes[None]
