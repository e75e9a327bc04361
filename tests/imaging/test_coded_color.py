"""Colours that a file names by numbers, not by a profile, come in as they were meant."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest

from restore_cli.imaging.color.profiles import gray_profile, srgb_profile
from restore_cli.imaging.decode import decode_bytes
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.encode import encode
from tests.imaging.files import builtin_srgb, chunk, opened, packed, pattern, png, saved

# CSS Color 4, section 17: Display P3 and BT.2020 of linear light to linear sRGB.
P3_TO_SRGB = np.array([[1.2249402, -0.2249402, 0.0], [-0.0420570, 1.0420570, 0.0], [-0.0196376, -0.0786361, 1.0982735]])
BT2020_TO_SRGB = np.array(
    [[1.6604910, -0.5876411, -0.0728499], [-0.1245505, 1.1328999, -0.0083494], [-0.0181508, -0.1005789, 1.1187297]]
)
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3 = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
FLAT = np.tile(np.array([130, 100, 80], np.uint8), (16, 16, 1))


def cicp(primaries: int, transfer: int, matrix: int = 0, full: int = 1) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, matrix, full]))


def gama(power: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(100_000 / power)))


def chrm(numbers: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * number) for number in numbers)))


def tagged(samples: np.ndarray, *chunks: bytes) -> bytes:
    """Return a PNG of these samples with chunks before its pixels."""
    data = saved(samples, "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def read(data: bytes, name: str = "x.png") -> DecodedImage:
    return decode_bytes(data, name)


def decoded_srgb(encoded: np.ndarray) -> np.ndarray:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def encoded_srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def color(image: DecodedImage) -> np.ndarray:
    return image.pixels.mean(axis=(0, 1)) * 255


@pytest.mark.parametrize(
    ("chunks", "matrix"),
    [((cicp(12, 13),), P3_TO_SRGB), ((cicp(9, 14),), BT2020_TO_SRGB), ((chrm(P3),), P3_TO_SRGB)],
)
def test_wide_gamut_in_numbers_comes_in_as_srgb(chunks: tuple[bytes, ...], matrix: np.ndarray) -> None:
    image = read(tagged(FLAT, *chunks))
    expected = encoded_srgb(matrix @ decoded_srgb(FLAT[0, 0] / 255)) * 255
    np.testing.assert_allclose(color(image), expected, atol=1.0)
    assert (image.icc_profile, image.warnings) == (srgb_profile(), ())


def test_wide_gamut_in_numbers_keeps_16_bits() -> None:
    samples = np.random.default_rng(0).integers(25_000, 40_000, (8, 8, 3), dtype=np.uint16)
    image = read(png(8, 8, 16, 2, [row.astype(">u2").tobytes() for row in samples], cicp(12, 13)))
    expected = encoded_srgb(decoded_srgb(samples / 65535) @ P3_TO_SRGB.T)
    assert image.bit_depth == 16
    np.testing.assert_allclose(
        image.pixels, expected, atol=2e-4
    )  # D65 of ICC profiles and of CSS differ in the fourth digit


@pytest.mark.parametrize("power", [1.0, 1.8, 2.6])
def test_a_power_of_gama_is_undone(power: float) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = read(tagged(levels, gama(power)))
    np.testing.assert_allclose(image.pixels[..., 0], encoded_srgb((levels / 255) ** power), atol=1.5 / 255)
    assert (image.channels, image.icc_profile) == (1, gray_profile())
    assert color(read(tagged(FLAT, gama(power)))) == pytest.approx(
        encoded_srgb((FLAT[0, 0] / 255) ** power) * 255, abs=1.0
    )


@pytest.mark.parametrize(
    "chunks",
    [
        (gama(2.2),),
        (gama(2.2), chrm(SRGB)),
        (chrm(SRGB),),
        (chunk(b"sRGB", b"\0"), gama(1.0), chrm(P3)),
        (cicp(1, 13),),
        (cicp(2, 2),),
        (cicp(1, 1), gama(1.0)),
    ],
)
def test_numbers_that_mean_srgb_leave_an_image_untagged_and_untouched(chunks: tuple[bytes, ...]) -> None:
    image = read(tagged(pattern(), *chunks))
    assert np.array_equal(np.rint(image.pixels * 255), pattern())
    assert (image.icc_profile, image.warnings) == (None, ())


def test_codes_come_before_a_profile_and_a_profile_before_a_power() -> None:
    data = saved(FLAT, "PNG", icc_profile=builtin_srgb())
    by_codes = read(data[:33] + cicp(12, 13) + data[33:])
    assert color(by_codes) == pytest.approx(color(read(tagged(FLAT, cicp(12, 13)))))
    by_profile = read(data[:33] + gama(1.0) + data[33:])
    assert by_profile.icc_profile == builtin_srgb()
    assert np.array_equal(np.rint(by_profile.pixels * 255), FLAT)
    fallback = read(data[:33] + cicp(9, 16) + data[33:])
    assert (fallback.icc_profile, fallback.warnings) == (builtin_srgb(), ())


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (cicp(9, 16), r"high dynamic range \(PQ\): they are taken for sRGB"),
        (cicp(9, 18), r"high dynamic range \(HLG\): they are taken for sRGB"),
        (cicp(10, 13), r"an unusual way \(10, 13\): they are taken for sRGB"),
        (cicp(1, 13, full=0), r"an unusual way \(1, 13, video range\)"),
    ],
)
def test_codes_that_cannot_be_followed_cost_a_warning(codes: bytes, words: str) -> None:
    image = read(tagged(pattern(), codes))
    assert len(image.warnings) == 1
    assert image.warnings[0].startswith("its colours are coded")
    assert re.search(words, image.warnings[0])
    assert np.array_equal(np.rint(image.pixels * 255), pattern())


@pytest.mark.parametrize(
    "broken",
    [
        chunk(b"gAMA", bytes(4)),
        chunk(b"gAMA", bytes(3)),
        chunk(b"gAMA", struct.pack(">I", 4_000_000_000)),
        chunk(b"cHRM", bytes(32)),
        chunk(b"cHRM", bytes(31)),
        chrm((0.3, 0.3, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4)),
        chrm((0.3127, 0.329, 0.64, 0.00001, 0.3, 0.00001, 0.15, 0.00002)),
        chunk(b"cICP", b"\1"),
    ],
)
def test_numbers_that_make_no_sense_cost_one_warning_and_nothing_else(broken: bytes) -> None:
    image = read(tagged(pattern(), broken))
    assert image.warnings == ("a damaged or oversized part of its metadata was left out",)
    assert np.array_equal(np.rint(image.pixels * 255), pattern())


def avif(primaries: int, transfer: int, **options: object) -> bytes:
    """Return an AVIF whose colour box holds these codes."""
    data = bytearray(saved(FLAT, "AVIF", quality=100, subsampling="4:4:4", **options))
    place = data.index(b"colrnclx") + 8
    data[place : place + 4] = struct.pack(">HH", primaries, transfer)
    return bytes(data)


def test_an_avif_of_wide_gamut_codes_comes_in_as_srgb() -> None:
    image = read(avif(12, 13), "x.avif")
    stored = np.asarray(opened(avif(1, 13)))[0, 0]
    np.testing.assert_allclose(color(image), encoded_srgb(P3_TO_SRGB @ decoded_srgb(stored / 255)) * 255, atol=1.0)
    assert image.icc_profile == srgb_profile()
    plain = read(avif(1, 13), "x.avif")
    assert (plain.icc_profile, plain.warnings) == (None, ())
    assert "high dynamic range (PQ)" in read(avif(9, 16), "x.avif").warnings[0]


def test_a_profile_in_an_avif_counts_more_than_its_codes() -> None:
    image = read(avif(12, 13, icc_profile=builtin_srgb()), "x.avif")
    assert image.icc_profile == builtin_srgb()
    np.testing.assert_allclose(color(image), FLAT[0, 0], atol=2.0)


def test_what_is_written_says_what_its_colours_are_now() -> None:
    written = encode(read(tagged(FLAT, cicp(12, 13))), format="PNG")
    assert b"cICP" not in written
    assert opened(written).info["icc_profile"] == srgb_profile()


def test_gray_of_few_bits_follows_its_power() -> None:
    levels = np.arange(16).reshape(4, 4)
    image = read(png(4, 4, 4, 0, packed(levels, 4), gama(1.0)))
    np.testing.assert_allclose(image.pixels[..., 0], encoded_srgb(levels / 15), atol=1.5 / 255)
