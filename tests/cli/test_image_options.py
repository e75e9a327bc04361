"""Options of how images are read and written, from argv to the bytes of results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.cli.conftest import Ran, Run, image
from tests.imaging.files import packed, pattern, png, saved

Tiny = Callable[..., Path]


@pytest.fixture
def denoise(run: Run, tiny: Tiny) -> Run:
    """Run `restore denoise` with a tiny network."""

    def run_denoise(*arguments: object) -> Ran:
        return run("denoise", "--weights", tiny("denoise", scale=1), "--threads", "1", *arguments)

    return run_denoise


def test_16_bit_colour_goes_in_and_out(denoise: Run) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (9, 11, 3), dtype=np.uint16)
    Path("deep.png").write_bytes(png(11, 9, 16, 2, packed(levels.reshape(9, -1), 16)))
    assert denoise("deep.png", "out.tif", "--strict").code == 0
    result = tifffile.imread("out.tif")
    assert (result.dtype, result.shape) == (np.uint16, levels.shape)
    assert len(np.unique(result & 0xFF)) > 64  # the lower bytes are alive


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (("--width", 6), (6, 5)),
        (("--height", 14), (18, 14)),
        (("--long-side", 27), (27, 21)),
        (("--width", 8, "--height", 2), (3, 2)),
    ],
)
def test_results_have_the_size_asked_for(denoise: Run, options: tuple[object, ...], size: tuple[int, int]) -> None:
    image("photo.png", size=(9, 7))
    ran = denoise("photo.png", "out.png", *options)
    assert ran.code == 0
    with Image.open("out.png") as pixels:
        assert pixels.size == size
    assert ("enlarged beyond the network's result" in ran.err) == (size[0] > 9)


def test_lossless_webp_is_lossless_and_lossless_jpeg_is_refused(denoise: Run) -> None:
    image("photo.png")
    assert denoise("photo.png", "plain.png").code == 0
    assert denoise("photo.png", "exact.webp", "--lossless").code == 0
    with Image.open("plain.png") as plain, Image.open("exact.webp") as exact:
        assert np.array_equal(np.asarray(plain), np.asarray(exact))
    ran = denoise("photo.png", "photo.jpg", "--lossless")
    assert ran.code == 1
    assert "photo.png: JPEG is not written without loss; leave --lossless out" in ran.err


def test_transparency_is_laid_on_the_background_with_a_word(denoise: Run) -> None:
    transparent = np.dstack([pattern(), np.zeros((20, 28), np.uint8)])
    Path("clear.png").write_bytes(saved(transparent, "PNG"))
    ran = denoise("clear.png", "out.ppm", "--background", "#ff0066")
    assert ran.code == 0
    assert "laid on the background" in ran.err
    with Image.open("out.ppm") as image:
        assert image.getpixel((3, 4)) == (255, 0, 102)
    assert denoise("clear.png", "other.ppm", "--background", "no colour").code == 2
    assert denoise("clear.png", "other.ppm", "--strict").code == 1
    assert not Path("other.ppm").exists()


def test_strict_refuses_what_would_cost_a_warning(denoise: Run) -> None:
    frames = [Image.fromarray(pattern(seed=seed)) for seed in range(3)]
    Path("film.gif").write_bytes(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    ran = denoise("film.gif", "film.png")
    assert ran.code == 0
    assert "film.gif: it holds 3 images: only the first is used" in ran.err
    ran = denoise("film.gif", "strict.png", "--strict")
    assert ran.code == 1
    assert "film.gif: it holds 3 images: only the first is used; leave --strict out" in ran.err
    assert not Path("strict.png").exists()


def test_damaged_images_are_read_as_far_as_they_go_if_asked(denoise: Run) -> None:
    data = saved(pattern(64, 64), "JPEG", quality=95)
    Path("half.jpg").write_bytes(data[: len(data) // 2])
    ran = denoise("half.jpg", "half.png")
    assert ran.code == 1
    assert "half.jpg: it is truncated" in ran.err
    ran = denoise("half.jpg", "half.png", "--allow-damaged")
    assert ran.code == 0
    assert "half.jpg: only what could be decoded is used: it is truncated" in ran.err


def test_larger_images_than_allowed_are_refused(denoise: Run) -> None:
    image("photo.png", size=(9, 7))
    ran = denoise("photo.png", "out.png", "--max-pixels", 62)
    assert ran.code == 1
    assert "photo.png: its 9x7 pixels are more than the 62 allowed; allow more with --max-pixels" in ran.err
    assert denoise("photo.png", "out.png", "--max-pixels", 63).code == 0
    ran = denoise("photo.png", "huge.png", "--long-side", 1_000_000)
    assert ran.code == 1
    assert "is larger than the" in ran.err


def test_sizes_that_contradict_each_other_are_refused(denoise: Run) -> None:
    image("photo.png")
    ran = denoise("photo.png", "out.png", "--long-side", 5, "--width", 4)
    assert (ran.code, "--long-side and --width contradict each other" in ran.err) == (2, True)
