"""Samples of 16 and more bits come in and go out in full, against files written and read by others."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from restore_cli.errors import DecodeError
from restore_cli.imaging.color.profiles import srgb_profile
from restore_cli.imaging.decode import decode_bytes
from restore_cli.imaging.decoded_image import DecodedImage
from tests.imaging.files import builtin_srgb, chunk, exif_with, packed, png
from tests.imaging.test_color import ADOBE, SRGB, WIDE_GAMMA, matrix_profile, srgb_encoded

LEVELS = np.random.default_rng(3).integers(0, 65536, (19, 27, 4), dtype=np.uint16)
SIXTEEN_BIT_PNGS = {2: 3, 4: 2, 6: 4}  # channels of each colour type
FILTER_COUNT = 5


def levels_of(image: DecodedImage) -> np.ndarray:
    assert image.bit_depth == 16
    return np.rint(image.pixels * 65535).astype(int)


def deep_tiff(samples: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def paeth(left: int, up: int, corner: int) -> int:
    nearest = min((abs(up - corner), 0, left), (abs(left - corner), 1, up), (abs(left + up - 2 * corner), 2, corner))
    return nearest[2]


def filtered(rows: list[bytes], pixel: int) -> bytes:
    """Apply PNG's five filters in turn, byte by byte as the specification writes them."""
    out, above = b"", bytes(len(rows[0]))
    for number, row in enumerate(rows):
        kind = number % FILTER_COUNT
        coded = bytearray()
        for i, byte in enumerate(row):
            left, corner = (row[i - pixel], above[i - pixel]) if i >= pixel else (0, 0)
            guess = (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[kind]
            coded.append((byte - guess) % 256)
        out += bytes([kind]) + coded
        above = row
    return out


def interlaced(levels: np.ndarray) -> bytes:
    """Lay out the seven passes of Adam7."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = (levels[top::down, left::across] for top, left, down, across in passes)
    return b"".join(filtered(packed(part.reshape(part.shape[0], -1), 16), levels.shape[2] * 2) for part in parts)


@pytest.mark.parametrize("color_type", SIXTEEN_BIT_PNGS)
@pytest.mark.parametrize("interlace", [0, 1])
def test_16_bit_colour_png_comes_in_whole_through_every_filter(color_type: int, interlace: int) -> None:
    levels = LEVELS[..., : SIXTEEN_BIT_PNGS[color_type]]
    rows = packed(levels.reshape(len(levels), -1), 16)
    data = interlaced(levels) if interlace else filtered(rows, levels.shape[2] * 2)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 27, 19, 16, color_type, 0, 0, interlace))
    file = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    image = decode_bytes(file, "x.png")
    colors = levels.shape[2] - (color_type != 2)
    assert np.array_equal(levels_of(image), levels[..., :colors])
    assert image.warnings == ()
    if color_type == 2:
        assert image.alpha is None
    else:
        np.testing.assert_allclose(image.alpha * 65535, levels[..., -1], atol=0.01)


def test_a_16_bit_colour_key_is_compared_in_all_its_bits() -> None:
    levels = np.full((4, 4, 3), 0x1234, np.uint16)
    levels[1, 2] = (0x1234, 0x1234, 0x1235)
    key = chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x1234, 0x1235))
    image = decode_bytes(png(4, 4, 16, 2, packed(levels.reshape(4, -1), 16), key), "x.png")
    assert np.argwhere(image.alpha == 0).tolist() == [[1, 2]]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": 2},
        {"compression": "zlib", "predictor": 2, "rowsperstrip": 5},
        {"tile": (16, 16)},
        {"tile": (16, 16), "compression": "zlib", "predictor": 2},
        {"bigtiff": True},
    ],
)
@pytest.mark.parametrize("planar", [False, True])
def test_16_bit_colour_tiff_comes_in_whole_however_it_is_stored(
    order: str, options: dict[str, object], *, planar: bool
) -> None:
    stored = np.ascontiguousarray(LEVELS[..., :3].transpose(2, 0, 1)) if planar else LEVELS[..., :3]
    config = "separate" if planar else "contig"
    data = deep_tiff(stored, photometric="rgb", byteorder=order, planarconfig=config, **options)
    image = decode_bytes(data, "x.tif")
    assert np.array_equal(levels_of(image), LEVELS[..., :3])
    assert (image.warnings, image.alpha) == ((), None)


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_the_fourth_16_bit_channel_is_what_the_tiff_says(kind: str) -> None:
    levels = LEVELS.copy()
    levels[..., 3] |= 0x4000
    levels[..., :3] = levels[..., :3] // 4
    image = decode_bytes(deep_tiff(levels, photometric="rgb", extrasamples=[kind]), "x.tif")
    expected = levels[..., :3].astype(float)
    if kind == "assocalpha":
        expected = np.minimum(expected * 65535 / levels[..., 3:], 65535)
    np.testing.assert_allclose(image.pixels * 65535, expected, atol=0.6)
    assert (image.alpha is None) == (kind == "unspecified")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_floating_point_colour_within_0_and_1_becomes_16_bit(order: str, dtype: str, compression: str | None) -> None:
    values = np.random.default_rng(5).random((9, 11, 3)).astype(dtype)
    data = deep_tiff(values, photometric="rgb", byteorder=order, compression=compression)
    np.testing.assert_allclose(decode_bytes(data, "x.tif").pixels, values.astype(np.float64), atol=0.6 / 65535)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_predictor_for_floats_is_undone(order: str) -> None:
    values = np.random.default_rng(6).random((6, 8, 3)).astype(np.float32)
    bytes_of = values.astype(">f4").view(np.uint8).reshape(6, 8 * 3, 4)
    planes = bytes_of.transpose(0, 2, 1).reshape(6, -1).astype(int)  # each number's first byte, then the second, ...
    coded = planes.copy()
    coded[:, 3:] -= planes[:, :-3]
    plain = deep_tiff(values, photometric="rgb", byteorder=order, compression="zlib", rowsperstrip=6)
    with tifffile.TiffFile(io.BytesIO(plain)) as file:
        tags = file.pages[0].tags
        packed_rows = zlib.compress((coded % 256).astype(np.uint8).tobytes())
        extra = struct.pack(f"{order}HHIHH", 317, 3, 1, 3, 0)
        sizes = {tag.code: tag.offset for tag in tags.values()}
    assert 317 not in sizes
    data = bytearray(plain)
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    entries = [bytes(data[start + 2 + 12 * i : start + 14 + 12 * i]) for i in range(count)]
    place = len(data) + len(data) % 2
    replaced = {273: place, 279: len(packed_rows)}
    entries = [
        struct.pack(f"{order}HHII", code, 4, 1, replaced[code]) if code in replaced else entry
        for entry in entries
        if (code := struct.unpack_from(f"{order}H", entry)[0])
    ]
    entries = sorted([*entries, extra], key=lambda entry: struct.unpack_from(f"{order}H", entry)[0])
    data += bytes(len(data) % 2) + packed_rows + bytes(len(packed_rows) % 2)
    struct.pack_into(f"{order}I", data, 4, len(data))
    data += struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    image = decode_bytes(bytes(data), "x.tif")
    np.testing.assert_allclose(image.pixels, values, atol=0.6 / 65535)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.01, 1.01])
def test_floating_point_colour_outside_0_and_1_is_refused(value: float) -> None:
    values = np.full((4, 5, 3), 0.5, np.float32)
    values[2, 3, 1] = value
    with pytest.raises(DecodeError, match=r"^x\.tif: .*within 0 and 1"):
        decode_bytes(deep_tiff(values, photometric="rgb"), "x.tif")


@pytest.mark.parametrize("dtype", ["i2", "i4", "u4"])
def test_wide_and_signed_integers_are_read_within_16_bits_and_refused_beyond(dtype: str) -> None:
    levels = (LEVELS[..., :1] // 2).astype(dtype)
    assert np.array_equal(levels_of(decode_bytes(deep_tiff(levels[..., 0]), "x.tif")), levels)
    levels[0, 0] = -1 if dtype[0] == "i" else 65536
    with pytest.raises(DecodeError, match="within 0 and 65535"):
        decode_bytes(deep_tiff(levels[..., 0]), "x.tif")


def test_16_bit_cmyk_is_converted_with_a_word() -> None:
    levels = np.zeros((5, 6, 4), np.uint16)
    levels[..., 0] = 65535
    image = decode_bytes(deep_tiff(levels, photometric="separated"), "x.tif")
    assert np.rint(image.pixels[2, 3] * 255).tolist() == [0, 255, 255]
    assert any("16 bits" in line for line in image.warnings)


def test_16_bit_ppm_comes_in_whole() -> None:
    body = LEVELS[..., :3].astype(">u2").tobytes()
    image = decode_bytes(b"P6 27 19 65535\n" + body, "x.ppm")
    assert np.array_equal(levels_of(image), LEVELS[..., :3])


def test_16_bit_colour_keeps_its_depth_through_a_profile() -> None:
    profile = matrix_profile(ADOBE, WIDE_GAMMA)
    packed_profile = chunk(b"iCCP", b"adobe\0\0" + zlib.compress(profile))
    levels = np.linspace(2000, 60000, 16 * 16 * 3).astype(np.uint16).reshape(16, 16, 3)[..., [0, 2, 1]]
    image = decode_bytes(png(16, 16, 16, 2, packed(levels.reshape(16, -1), 16), packed_profile), "x.png")
    assert (image.bit_depth, image.icc_profile, image.warnings) == (16, srgb_profile(), ())
    xyz = (levels / 65535) ** WIDE_GAMMA @ np.array(ADOBE)
    expected = srgb_encoded(xyz @ np.linalg.inv(np.array(SRGB)))
    np.testing.assert_allclose(image.pixels, expected, atol=2e-4)


def test_a_16_bit_image_that_is_srgb_is_not_touched() -> None:
    data = deep_tiff(LEVELS[..., :3], photometric="rgb", iccprofile=builtin_srgb())
    image = decode_bytes(data, "x.tif")
    assert np.array_equal(levels_of(image), LEVELS[..., :3])
    assert image.icc_profile == builtin_srgb()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_images_stand_upright_too(orientation: int) -> None:
    data = deep_tiff(LEVELS[..., :3], photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    high = Image.fromarray((LEVELS[..., :3] >> 8).astype(np.uint8))
    high.getexif()[274] = orientation
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(high))
    assert np.array_equal(levels_of(decode_bytes(data, "x.tif")) >> 8, expected)
    exif = chunk(b"eXIf", exif_with(Orientation=orientation).removeprefix(b"Exif\0\0"))
    file = png(27, 19, 16, 2, packed(LEVELS[..., :3].reshape(19, -1), 16), exif)
    assert np.array_equal(levels_of(decode_bytes(file, "x.png")) >> 8, expected)


@pytest.mark.parametrize("bits", [10, 12])
def test_heif_colour_of_more_than_8_bits_is_never_cut_in_silence(bits: int) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = pillow_heif.from_bytes(mode="RGB;16", size=(27, 19), data=np.ascontiguousarray(LEVELS[..., :3]).tobytes())
    buffer = io.BytesIO()
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    try:
        file.save(buffer, quality=-1)
    finally:
        pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    warning = f"it has {bits} bits a channel: only the upper 8 are used"
    assert decode_bytes(buffer.getvalue(), "x.heic").warnings == (warning,)
