"""JPEG XL: what its header says of depth, turning and animation is believed, since its decoder says nothing."""

from __future__ import annotations

import base64
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from restore_cli.imaging.decode import decode_bytes
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.encode import encode, losses
from restore_cli.settings import ReadSettings
from tests.imaging.files import exif_with, pattern, saved

pytest.importorskip("pillow_jxl")

SIDE = 8
HEADER_BYTES = 5  # of a small square file: signature, size, all that is not said of its metadata
# Of 8 by 8 pixels, by libjxl 0.11, since nothing else that the tests use writes such.
MATERIAL = {
    "16 bits": "AAAADEpYTCANCocKAAAAFGZ0eXBqeGwgAAAAAGp4bCAAAAAJanhsbAoAAAAnanhsY"
    "/8KQfADULQICAQBAEQASxLFggVSrAH1PwAG+KYmgDg=",
    "animated": "/wpBBE0AICYIBAEAPABLGIsVgF3U/wAYkq6a4AAIBAUAPABLGIsVgB3U/wAY0K+acAA=",
}


def bits_of(*fields: tuple[int, int]) -> bytes:
    """Pack (value, bits), the lowest bit first."""
    digits = "".join(format(value, f"0{count}b")[::-1] if count else "" for value, count in fields)
    digits = digits.ljust(-(-len(digits) // 8) * 8, "0")
    return bytes(int(digits[start : start + 8][::-1], 2) for start in range(0, len(digits), 8))


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def turned_file(image: np.ndarray, orientation: int, exif: bytes) -> bytes:
    """Return a lossless file whose codestream says how it is to be turned, with EXIF that says the same."""
    plain = saved(image, "JXL", lossless=True, effort=1)
    usual = ((1, 1), (0, 5), (1, 3))  # 8 by 8
    rest = ((0, 1), (0, 2), (1, 1), (0, 2), (0, 1), (1, 1))  # 8-bit integers, no further channels, RGB, sRGB
    assert plain[2:HEADER_BYTES] == bits_of(*usual, (0, 1), (0, 1), *rest, (0, 2), (1, 1))
    header = bits_of(*usual, (0, 1), (1, 1), (orientation - 1, 3), (0, 3), *rest, (1, 1), (0, 2), (1, 1))
    stream = b"\xff\x0a" + header + plain[HEADER_BYTES:]
    boxes = [box(b"Exif", bytes(4) + exif.removeprefix(b"Exif\0\0")), box(b"jxlc", stream)]
    return box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ") + b"".join(boxes)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_jpeg_xl_that_its_decoder_has_turned_is_not_turned_again(orientation: int) -> None:
    pixels = pattern(SIDE, SIDE)
    image = decode_bytes(turned_file(pixels, orientation, exif_with(Orientation=orientation, Make="Maker")), "x.jxl")
    shown = Image.fromarray(pixels)
    shown.getexif()[274] = orientation
    assert np.array_equal(np.rint(image.pixels * 255), np.asarray(ImageOps.exif_transpose(shown)))
    kept = Image.Exif()
    kept.load(image.exif or b"")
    assert (kept[274], kept[271]) == (1, "Maker")


@pytest.mark.parametrize(
    ("kind", "warning"),
    [
        ("16 bits", "it has 16 bits a channel: only the upper 8 are used"),
        ("animated", "it is animated: only its first image is used"),
    ],
)
def test_what_the_decoder_of_jpeg_xl_leaves_out_is_told(kind: str, warning: str) -> None:
    assert decode_bytes(base64.b64decode(MATERIAL[kind]), "x.jxl").warnings == (warning,)


def test_16_bit_gray_of_jpeg_xl_keeps_its_depth() -> None:
    levels = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 1000
    image = decode_bytes(saved(Image.fromarray(levels), "JXL", lossless=True), "x.jxl")
    assert (image.bit_depth, image.warnings) == (16, ())


def test_the_best_quality_of_jpeg_xl_loses_nothing() -> None:
    pixels = pattern().astype(np.float32) / 255
    again = decode_bytes(encode(DecodedImage(pixels=pixels), format="JXL", quality=100), "x.jxl")
    assert np.array_equal(np.rint(again.pixels * 255), pattern())


@pytest.mark.parametrize("channels", [1, 3])
def test_an_untagged_jpeg_xl_in_srgb_costs_no_warning_in_and_out(channels: int) -> None:
    pixels = pattern(channels=channels)
    image = decode_bytes(saved(pixels[..., 0] if channels == 1 else pixels, "JXL"), "x.jxl", ReadSettings(strict=True))
    assert losses(image, format="JXL") == ()
    assert decode_bytes(encode(image, format="JXL"), "x.jxl", ReadSettings(strict=True)).channels == channels
