"""The colour rule: what goes to the network is sRGB, and the profile that goes out fits the pixels beside it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from restore_cli.imaging.color.profiles import gray_profile, srgb_profile
from restore_cli.imaging.decode import decode_bytes
from tests.imaging.files import builtin_srgb, chunk, packed, pattern, png, saved

# Adobe RGB (1998) and sRGB: XYZ of their primaries, adapted to D50.
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.4360747, 0.2225045, 0.0139322), (0.3850649, 0.7168786, 0.0971045), (0.1430804, 0.0606169, 0.7141733))
WIDE_GAMMA = 563 / 256


def matrix_profile(colorants: tuple[tuple[float, ...], ...], gamma: float) -> bytes:
    """Build a version 2 RGB profile of three primaries and one gamma."""
    tags = [
        (name, b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in xyz)))
        for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)
    ]
    return icc(b"RGB ", tags + [(name, gamma_curve(gamma)) for name in (b"rTRC", b"gTRC", b"bTRC")])


def gray_gamma_profile(gamma: float) -> bytes:
    return icc(b"GRAY", [(b"kTRC", gamma_curve(gamma))])


def gamma_curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)


def icc(space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    tags = [(b"wtpt", b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)), *tags]
    start = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags:
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data
    head = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x02400000, b"mntr", space, b"XYZ ", b"acsp")
    return head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061) + bytes(48) + table + body


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_our_srgb_profile_means_what_lcms_calls_srgb() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    ours = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    theirs = ImageCms.createProfile("sRGB")
    for source, target in ((ours, theirs), (theirs, ours)):
        converted = ImageCms.profileToProfile(image, source, target, ImageCms.Intent.RELATIVE_COLORIMETRIC)
        assert np.abs(np.asarray(converted).astype(int) - np.asarray(image)).max() <= 1


def test_our_gray_profile_is_the_gray_axis_of_srgb() -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    gray = ImageCms.ImageCmsProfile(io.BytesIO(gray_profile()))
    converted = np.asarray(ImageCms.profileToProfile(ramp, gray, ImageCms.createProfile("sRGB"), outputMode="RGB"))
    assert np.abs(converted.astype(int) - np.asarray(ramp)[..., np.newaxis]).max() <= 1


def test_an_untagged_image_stays_untagged() -> None:
    assert decode_bytes(saved(pattern(), "PNG"), "x").icc_profile is None


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_a_wide_gamut_image_comes_in_as_srgb(format_name: str) -> None:
    flat = np.empty((24, 24, 3), np.uint8)
    flat[...] = (120, 90, 60)
    options = {"quality": 100} if format_name in ("JPEG", "WEBP", "AVIF") else {}
    data = saved(flat, format_name, icc_profile=matrix_profile(ADOBE, WIDE_GAMMA), **options)
    image = decode_bytes(data, "x")
    assert image.icc_profile == srgb_profile()
    xyz = np.array(ADOBE).T @ (np.array([120, 90, 60]) / 255) ** WIDE_GAMMA
    srgb = np.array(
        [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
    )
    expected = srgb_encoded(np.linalg.solve(srgb, xyz)) * 255
    np.testing.assert_allclose(image.pixels.mean(axis=(0, 1)) * 255, expected, atol=2.5)


def test_a_profile_within_rounding_of_srgb_is_kept_byte_for_byte() -> None:
    for profile in (builtin_srgb(), srgb_profile()):
        image = decode_bytes(saved(pattern(), "PNG", icc_profile=profile), "x")
        assert image.icc_profile == profile
        assert np.array_equal(np.rint(image.pixels * 255), pattern())
        assert image.warnings == ()


def test_gray_with_a_gray_profile_is_brought_to_srgbs_curve() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = decode_bytes(saved(levels, "PNG", icc_profile=gray_gamma_profile(1.0)), "x.png")
    assert image.icc_profile == gray_profile()
    assert image.channels == 1
    np.testing.assert_allclose(image.pixels[..., 0] * 255, srgb_encoded(levels / 255) * 255, atol=1.0)


def test_16_bit_gray_keeps_its_depth_through_a_profile() -> None:
    levels = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = decode_bytes(saved(levels, "PNG", icc_profile=gray_gamma_profile(1.0)), "x.png")
    assert image.bit_depth == 16
    np.testing.assert_allclose(image.pixels[..., 0], srgb_encoded(levels / 65535), atol=2e-4)


@pytest.mark.parametrize("bits", [8, 16])
def test_gray_with_an_rgb_profile_means_that_spaces_gray_axis(bits: int) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    samples = levels if bits == 8 else levels * np.uint16(257)
    image = decode_bytes(saved(samples, "PNG", icc_profile=matrix_profile(ADOBE, 1.0)), "x.png")
    assert (image.channels, image.icc_profile, image.bit_depth) == (1, gray_profile(), bits)
    np.testing.assert_allclose(image.pixels[..., 0] * 255, srgb_encoded(levels / 255) * 255, atol=1.5)
    kept = decode_bytes(saved(samples, "PNG", icc_profile=builtin_srgb()), "x.png")
    assert kept.icc_profile == gray_profile()
    np.testing.assert_allclose(kept.pixels[..., 0] * 255, levels, atol=1e-3)


def test_alpha_is_no_colour() -> None:
    pixels = np.dstack([pattern(), np.full((20, 28), 77, np.uint8)])
    image = decode_bytes(saved(pixels, "PNG", icc_profile=matrix_profile(ADOBE, WIDE_GAMMA)), "x.png")
    assert image.alpha is not None
    assert (np.rint(image.alpha * 255) == 77).all()


def test_a_palette_goes_through_its_profile_too() -> None:
    pixels = Image.fromarray(pattern()).quantize(8)
    profile = matrix_profile(ADOBE, WIDE_GAMMA)
    image = decode_bytes(saved(pixels, "PNG", icc_profile=profile), "x.png")
    plain = decode_bytes(saved(pixels.convert("RGB"), "PNG", icc_profile=profile), "x.png")
    assert np.array_equal(image.pixels, plain.pixels)


@pytest.mark.parametrize(
    "profile", [b"not a profile", srgb_profile()[:200], bytes(500), matrix_profile(ADOBE, 2.2)[:150]]
)
def test_a_broken_profile_costs_one_warning_and_nothing_else(profile: bytes) -> None:
    for pixels in (pattern(), pattern()[..., 0]):
        image = decode_bytes(saved(pixels, "PNG", icc_profile=profile), "x.png")
        assert image.icc_profile is None
        assert len(image.warnings) == 1
        assert "colour profile" in image.warnings[0]
        assert np.array_equal(np.rint(image.pixels * 255), pixels.reshape(20, 28, -1))


def test_a_profile_for_other_pixels_is_named_and_left_out() -> None:
    image = decode_bytes(saved(pattern(), "PNG", icc_profile=gray_profile()), "x.png")
    assert image.icc_profile is None
    assert image.warnings == ("its colour profile is for GRAY pixels, not RGB: it was left out",)


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile_is_converted_by_a_named_formula(format_name: str) -> None:
    ink = np.empty((16, 16, 4), np.uint8)
    ink[...] = (255, 0, 0, 51)
    options = {"quality": 100} if format_name == "JPEG" else {}
    image = decode_bytes(saved(Image.fromarray(ink, "CMYK"), format_name, **options), "x")
    assert (image.channels, image.alpha) == (3, None)
    np.testing.assert_allclose(image.pixels[8, 8] * 255, [0, 204, 204], atol=3)
    assert len(image.warnings) == 1
    assert "(1 - C)(1 - K)" in image.warnings[0]


def test_a_jpeg_of_inks_coded_as_luma_and_differences_is_the_same_image() -> None:
    ink = np.empty((16, 16, 4), np.uint8)
    ink[...] = (200, 30, 90, 51)
    coded = ink.copy()
    coded[..., :3] = 255 - np.asarray(Image.fromarray(ink[..., :3]).convert("YCbCr"))
    data = bytearray(saved(Image.fromarray(coded, "CMYK"), "JPEG", quality=100))
    data[data.index(b"Adobe") + 11] = 2  # YCCK
    ycck = decode_bytes(bytes(data), "x")
    assert (ycck.channels, ycck.alpha, len(ycck.warnings)) == (3, None, 1)
    np.testing.assert_allclose(
        ycck.pixels, decode_bytes(saved(Image.fromarray(ink, "CMYK"), "TIFF"), "x").pixels, atol=0.02
    )


def cmyk_profile() -> bytes:
    """Build a CMYK profile whose table turns any ink into Lab of its blackness alone, clearly not the plain formula."""
    grid, outputs = 2, 3
    identity = struct.pack(">2H", 0, 65535)
    nodes = b""
    for index in range(grid**4):
        black = index & 1
        nodes += struct.pack(">3H", 0 if black else 0xFF00, 0x8000, 0x8000)
    table = b"mft2\0\0\0\0" + struct.pack(">4B9i2H", 4, outputs, grid, 0, 65536, 0, 0, 0, 65536, 0, 0, 0, 65536, 2, 2)
    table += identity * 4 + nodes + identity * outputs
    profile = bytearray(icc(b"CMYK", [(b"A2B0", table)]))
    profile[12:16], profile[20:24] = b"prtr", b"Lab "
    return bytes(profile)


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile(format_name: str) -> None:
    ink = np.empty((16, 16, 4), np.uint8)
    ink[...] = (255, 0, 0, 0)
    pixels = Image.fromarray(ink, "CMYK")
    options = {"quality": 100} if format_name == "JPEG" else {}
    image = decode_bytes(saved(pixels, format_name, icc_profile=cmyk_profile(), **options), "x")
    assert image.icc_profile == srgb_profile()
    assert image.warnings == ()
    np.testing.assert_allclose(image.pixels, 1.0, atol=0.02)  # this profile says that cyan alone is white


def test_cmyk_with_a_broken_profile_falls_back_with_one_warning() -> None:
    pixels = Image.fromarray(pattern(channels=4), "CMYK")
    image = decode_bytes(saved(pixels, "TIFF", icc_profile=b"broken"), "x.tif")
    assert len(image.warnings) == 1
    assert "broken" in image.warnings[0]
    assert "(1 - C)(1 - K)" in image.warnings[0]


def test_few_bit_gray_goes_through_its_profile() -> None:
    import zlib

    profile = chunk(b"iCCP", b"gray\0\0" + zlib.compress(gray_gamma_profile(1.0)))
    levels = np.arange(16).reshape(4, 4)
    image = decode_bytes(png(4, 4, 4, 0, packed(levels, 4), profile), "x.png")
    np.testing.assert_allclose(image.pixels[..., 0], srgb_encoded(levels / 15), atol=2 / 255)
