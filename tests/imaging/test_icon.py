"""Icons are read like other files of several images: the largest, with a word about the rest."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import DecodeError
from restore_cli.imaging.decode import decode_bytes
from tests.imaging.files import packed, pattern, png, saved

SIDE = 16


def icon(*images: tuple[int, bytes]) -> bytes:
    """Lay out an icon of square images, each with the side its directory is to state."""
    start = 6 + 16 * len(images)
    table, body = b"", b""
    for side, data in images:
        table += struct.pack("<BBBBHHII", side % 256, side % 256, 0, 0, 1, 32, len(data), start + len(body))
        body += data
    return struct.pack("<HHH", 0, 1, len(images)) + table + body


def bitmap(image: np.ndarray, bits: int) -> bytes:
    """Return a bitmap as icons hold them, from the bottom up, its mask hiding the first row."""
    height, width = image.shape[:2]
    head = struct.pack("<IiiHHIIiiII", 40, width, 2 * height, 1, bits, 0, 0, 0, 0, 0, 0)
    colors = image[::-1, :, [2, 1, 0, 3][: bits // 8]]
    mask = np.zeros((height, (width + 31) // 32 * 4), np.uint8)
    mask[-1] = 255
    return head + colors.tobytes() + mask.tobytes()


def test_the_largest_png_of_an_icon_is_used_and_the_count_named() -> None:
    small, large = pattern(SIDE, SIDE), np.dstack([pattern(40, 40), pattern(40, 40, 1)[..., 0] | 1])
    data = icon((SIDE, saved(small, "PNG")), (40, saved(large, "PNG")), (SIDE, saved(small, "PNG")))
    image = decode_bytes(data, "x.ico")
    assert np.array_equal(np.rint(image.pixels * 255), large[..., :3])
    assert np.array_equal(np.rint(image.alpha * 255), large[..., 3])
    assert (image.format, image.warnings) == ("ICO", ("it holds 3 images: only the largest is used",))
    assert "its name promises PNG" in decode_bytes(data, "x.png").warnings[0]
    with pytest.raises(DecodeError, match="it holds 3 images"):
        decode_bytes(data, "x.ico", strict=True)


@pytest.mark.parametrize("bits", [24, 32])
def test_a_bitmap_in_an_icon_comes_in_with_its_transparency(bits: int) -> None:
    pixels = np.dstack([pattern(SIDE, SIDE), np.full((SIDE, SIDE), 255, np.uint8)])
    pixels[0, :, 3] = 0
    image = decode_bytes(icon((SIDE, bitmap(pixels, bits))), "x.ico")
    assert np.array_equal(np.rint(image.alpha * 255), pixels[..., 3])
    assert np.array_equal(np.rint(image.pixels[1:] * 255), pixels[1:, :, :3])
    assert image.warnings == ()


def test_16_bit_colour_in_an_icon_keeps_its_depth() -> None:
    levels = np.random.default_rng(4).integers(0, 65536, (SIDE, SIDE * 3))
    image = decode_bytes(icon((SIDE, png(SIDE, SIDE, 16, 2, packed(levels, 16)))), "x.ico")
    assert image.bit_depth == 16
    assert np.array_equal(np.rint(image.pixels.reshape(SIDE, -1) * 65535), levels)


def test_the_limit_on_pixels_holds_for_what_an_icon_really_holds() -> None:
    data = icon((SIDE, saved(pattern(300, 300), "PNG")))
    with pytest.raises(DecodeError, match="its 300x300 pixels are more than the 89999 allowed"):
        decode_bytes(data, "x.ico", max_pixels=89_999)
    assert decode_bytes(data, "x.ico").height == 300


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_a_truncated_icon_is_refused_with_its_reason(kind: str) -> None:
    data = saved(Image.fromarray(pattern(SIDE, SIDE)), "ICO", sizes=[(SIDE, SIDE)], bitmap_format=kind)
    assert decode_bytes(data, "x.ico").width == SIDE
    for length in (4, 10, 30, len(data) // 2, len(data) - 1):
        with pytest.raises(DecodeError, match=r"^x\.ico: it is truncated"):
            decode_bytes(data[:length], "x.ico")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (icon(), "it holds no image"),
        (icon((SIDE, bytes(200))), "it is damaged: its image makes no sense"),
        (icon((SIDE, bitmap(np.zeros((300, 300, 4), np.uint8), 32))), "it is damaged: its image makes no sense"),
    ],
)
def test_an_icon_without_a_sound_image_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=rf"^x: {reason}"):
        decode_bytes(data, "x")
