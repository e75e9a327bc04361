"""What a program hands in it gets back: the same kind, mode, dtype and number of dimensions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from restore_cli.imaging.color.profiles import srgb_profile
from restore_cli.imaging.convert import as_kind_of, decoded_from, pil_image_of
from restore_cli.imaging.decoded_image import DecodedImage
from tests.imaging.files import exif_with, pattern

SHAPES = [(20, 28), (20, 28, 1), (20, 28, 3), (20, 28, 4)]


def doubled(image: DecodedImage) -> DecodedImage:
    """Stand in for a network of scale 2."""
    alpha = None if image.alpha is None else image.alpha.repeat(2, 0).repeat(2, 1)
    return replace(image, pixels=image.pixels.repeat(2, 0).repeat(2, 1), alpha=alpha)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_arrays_come_back_in_their_dtype_and_shape(shape: tuple[int, ...], dtype: type) -> None:
    values = np.random.default_rng(0).random(shape)
    array = values.astype(dtype) if dtype in (np.float32, np.float64) else (values * np.iinfo(dtype).max).astype(dtype)
    if array.ndim == 3 and array.shape[2] == 4:
        array[..., 3] = np.maximum(array[..., 3], array.dtype.type(1 if dtype in (np.uint8, np.uint16) else 0.01))
    image = decoded_from(array)
    assert image.channels == (3 if len(shape) == 3 and shape[2] > 1 else 1)
    assert (image.alpha is not None) == (shape[-1] == 4)
    back = as_kind_of(doubled(image), array)
    assert back.dtype == array.dtype
    assert back.shape == (40, 56, *shape[2:])
    np.testing.assert_allclose(back[::2, ::2].astype(np.float64), array, rtol=0, atol=1e-7)


def test_arrays_may_be_views() -> None:
    array = pattern()[::-1, ::2].transpose(1, 0, 2)
    assert np.array_equal(as_kind_of(decoded_from(array), array), array)


def test_float_results_are_clipped() -> None:
    array = np.full((4, 4, 3), 0.5)
    image = replace(decoded_from(array), pixels=np.full((4, 4, 3), 1.25, np.float32))
    assert as_kind_of(image, array).max() == 1.0


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "I", "F"])
def test_pil_images_come_back_in_their_mode(mode: str) -> None:
    if mode in ("I;16", "I", "F"):
        levels = np.arange(560, dtype=np.uint16).reshape(20, 28) * 117
        image = Image.fromarray(
            levels if mode == "I;16" else levels.astype(np.int32) if mode == "I" else np.float32(levels / 65535)
        )
    else:
        image = Image.fromarray(np.dstack([pattern(), pattern(channels=1)[..., 0] | 1])).convert(mode)
    back = as_kind_of(doubled(decoded_from(image)), image)
    assert back.mode == image.mode
    assert back.size == (56, 40)
    np.testing.assert_allclose(np.asarray(back)[::2, ::2], np.asarray(image), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("mode", "expected"), [("1", "L"), ("P", "RGB"), ("PA", "RGBA"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("La", "LA")]
)
def test_other_pil_modes_come_back_as_gray_or_colour(mode: str, expected: str) -> None:
    image = Image.fromarray(pattern()).convert("P").convert("PA") if mode == "PA" else Image.fromarray(pattern())
    image = image.convert("LA").convert("La") if mode == "La" else image.convert(mode)
    back = as_kind_of(decoded_from(image), image)
    assert back.mode == expected
    assert np.array_equal(np.asarray(back), np.asarray(image.convert(expected)))


def test_a_transparent_palette_colour_becomes_alpha() -> None:
    image = Image.fromarray(pattern()).quantize(4)
    image.info["transparency"] = 2
    back = as_kind_of(decoded_from(image), image)
    assert back.mode == "RGBA"
    assert np.array_equal(np.asarray(back)[..., 3] == 0, np.asarray(image) == 2)
    assert "transparency" not in back.info


def test_what_an_image_carries_goes_along() -> None:
    image = Image.fromarray(pattern())
    image.info = {"exif": exif_with(Make="Maker"), "dpi": (300, 300), "icc_profile": srgb_profile(), "gamma": 0.4}
    back = as_kind_of(doubled(decoded_from(image)), image)
    assert back.info == {key: image.info[key] for key in ("exif", "dpi", "icc_profile")}


def test_an_image_of_a_file_becomes_an_image_with_what_the_file_said() -> None:
    exif = exif_with(Make="Maker")
    facts = {"icc_profile": srgb_profile(), "exif": exif, "xmp": b"<x/>", "dpi": (300.0, 150.0)}
    image = pil_image_of(replace(decoded_from(pattern()), **facts))
    assert (image.mode, image.info) == ("RGB", facts)
    assert np.array_equal(np.asarray(image), pattern())
    assert pil_image_of(decoded_from(np.zeros((4, 4), np.uint16))).mode == "I;16"


def test_pixels_are_taken_as_they_lie() -> None:
    image = Image.fromarray(pattern())
    image.info["exif"] = exif_with(Orientation=6)
    assert decoded_from(image).height == 20


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((4,), np.uint8), r"\(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((4, 4), bool), "bool"),
        (np.full((4, 4), 1.5), "within 0 and 1"),
        (np.full((4, 4), np.nan), "within 0 and 1"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array: npt.NDArray[np.generic], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decoded_from(array)


def test_anything_else_is_refused_by_its_type() -> None:
    with pytest.raises(TypeError, match="list"):
        decoded_from([[0, 1], [1, 0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="HSV"):
        decoded_from(Image.fromarray(pattern()).convert("HSV"))
    with pytest.raises(ValueError, match="65535"):
        decoded_from(Image.fromarray(np.full((4, 4), 70_000, np.int32)))
