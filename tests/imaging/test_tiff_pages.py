"""A TIFF gives the image that it is, never a preview of it, and a camera's raw none; files written by tifffile."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from restore_cli.errors import DecodeError, EncodeError
from restore_cli.imaging.decode import decode, decode_bytes
from restore_cli.imaging.encode import encode
from restore_cli.imaging.gray import is_gray, is_gray_data
from restore_cli.settings import ReadSettings
from tests.imaging.files import opened, pattern, saved

WHOLE, PREVIEW = pattern(48, 64), pattern(12, 16, 1)[..., 0]
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
COLOR_FILTERS = 32803


def tiff(*pages: tuple[np.ndarray, dict[str, object]], order: str = "<", big: bool = False) -> bytes:
    """Return a TIFF of pages, each with its options of tifffile's."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=order, bigtiff=big) as writer:
        for samples, options in pages:
            writer.write(samples, metadata=None, **{"photometric": "rgb" if samples.ndim == 3 else 1, **options})
    return buffer.getvalue()


def retagged(data: bytes, added: dict[int, int], renamed: dict[int, int] | None = None) -> bytes:
    """Return a TIFF whose first directory lies behind all else, with some tags renamed and 16-bit values added."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    rows = [struct.unpack_from(f"{order}HHI4s", data, start + 2 + 12 * i) for i in range(count)]
    entries = {(renamed or {}).get(row[0], row[0]): row[1:] for row in rows}
    entries |= {tag: (3, 1, struct.pack(f"{order}HH", value, 0)) for tag, value in added.items()}
    data += bytes(len(data) % 2)
    table = b"".join(struct.pack(f"{order}HHI4s", tag, *entries[tag]) for tag in sorted(entries))
    head = data[:4] + struct.pack(f"{order}I", len(data))
    return head + data[8:] + struct.pack(f"{order}H", len(entries)) + table + bytes(4)


def bytes_of(data: bytes) -> np.ndarray:
    return np.rint(decode_bytes(data, "x.tif", ReadSettings(strict=True)).pixels * 255).astype(np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_a_preview_before_the_image_is_passed_over(order: str, big: bool) -> None:
    preview = (PREVIEW, {"subfiletype": 1, "extratags": [(271, 2, 0, "Scanner", True), (274, 3, 1, 3, True)]})
    data = tiff(preview, (WHOLE, {}), order=order, big=big)
    image = decode_bytes(data, "x.tif", ReadSettings(strict=True))
    assert np.array_equal(bytes_of(data), WHOLE[::-1, ::-1])  # turned as the first directory says of the whole file
    assert is_gray_data(data) is False
    assert b"Scanner" in (image.exif or b"")


@pytest.mark.parametrize("flag", [1, 0])
def test_a_preview_above_the_image_is_passed_over(flag: int) -> None:
    data = tiff((PREVIEW, {"subifds": 1, "subfiletype": flag}), (WHOLE, {}))
    assert np.array_equal(bytes_of(data), WHOLE)


def test_reduced_copies_behind_the_image_are_no_further_images() -> None:
    data = tiff((WHOLE, {"subifds": 1}), (WHOLE[::2, ::2], {"subfiletype": 1}), (PREVIEW, {"subfiletype": 1}))
    assert np.array_equal(bytes_of(data), WHOLE)
    assert decode_bytes(tiff((WHOLE, {}), (WHOLE, {})), "x.tif").warnings == (
        "it holds 2 images: only the first is used",
    )


def test_a_mask_is_no_image_and_is_named() -> None:
    data = tiff((WHOLE, {}), (PREVIEW > 100, {"subfiletype": 4, "photometric": 4}))
    assert decode_bytes(data, "x.tif").warnings == ("it also holds a transparency mask: left out",)


def test_a_preview_alone_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"^x\.tif: it holds nothing but a reduced preview of its image; export "):
        decode_bytes(tiff((PREVIEW, {"subfiletype": 1})), "x.tif")


def dng(order: str) -> bytes:
    return tiff((WHOLE, {"extratags": [(50706, 1, 4, b"\1\4\0\0", True)]}), order=order)


def raw_of_one_page(order: str) -> bytes:
    return tiff((PREVIEW.astype(np.uint16), {"photometric": COLOR_FILTERS}), order=order)


def raw_below_its_preview(order: str) -> bytes:
    preview = (WHOLE, {"subifds": 1, "subfiletype": 1})
    return tiff(preview, (PREVIEW.astype(np.uint16), {"photometric": COLOR_FILTERS}), order=order)


def raw_behind_its_preview(order: str) -> bytes:
    return tiff((WHOLE, {}), (WHOLE.astype(np.uint16), {"photometric": 34892}), order=order)


def raw_by_its_mark(order: str) -> bytes:
    data = retagged(tiff((WHOLE, {}), order=order), {})
    return data[:8] + b"CR\2\0" + data[12:]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [dng, raw_of_one_page, raw_below_its_preview, raw_behind_its_preview, raw_by_its_mark])
def test_a_camera_raw_is_refused_with_what_to_do(kind: object, order: str, tmp_path: Path) -> None:
    path = tmp_path / "holiday.dng"
    path.write_bytes(kind(order))  # type: ignore[operator]
    with pytest.raises(DecodeError, match=r"^[^\n]*holiday\.dng: it is a camera raw[^\n]*; develop it first[^\n]*$"):
        decode(path)
    assert is_gray(path) is None


@pytest.mark.parametrize(
    "start",
    [
        b"IIU\0",
        b"IIRO",
        b"MMOR",
        b"FUJIFILMCCD-RAW ",
        b"\0\0\0\x18ftypcrx ",
        b"FOVb",
        b"\0MRM",
        b"II\x1a\0\0\0HEAPCCDR",
    ],
)
def test_a_raw_that_is_no_tiff_is_named_too(start: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^x\.raw: it is a camera raw[^\n]*develop it first"):
        decode_bytes(start.ljust(4096, b"\0"), "x.raw")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (50001, "WebP"),
        (50002, "JPEG XL"),
        (34712, "JPEG 2000"),
        (34676, "LogLuv"),
        (34887, "LERC"),
        (4711, "4711"),
    ],
)
def test_a_compression_that_is_not_read_is_named(number: int, name: str) -> None:
    data = retagged(tiff((WHOLE, {})), {259: number})
    with pytest.raises(DecodeError, match=rf"^x\.tif: its pixels are compressed by [^\n]*{name}, which is not read"):
        decode_bytes(data, "x.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_plane_that_is_neither_colour_nor_transparency_is_named(dtype: type[np.generic]) -> None:
    infrared = np.dstack([WHOLE, WHOLE[..., :1]]).astype(dtype)
    data = tiff((infrared, {"extrasamples": [0]}))
    assert decode_bytes(data, "x.tif").warnings == ("it has a plane beside its colours, such as infrared: left out",)
    with pytest.raises(DecodeError, match="infrared"):
        decode_bytes(data, "x.tif", ReadSettings(strict=True))
    assert decode_bytes(tiff((infrared, {"extrasamples": [2]})), "x.tif", ReadSettings(strict=True)).alpha is not None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_bits_stored_lowest_first_are_read_as_written(
    order: str, compression: str | None, dtype: type[np.generic], channels: int
) -> None:
    levels = pattern(9, 11, channels).astype(dtype)
    levels[0, 0] = 1000 % (np.iinfo(dtype).max + 1)
    if channels == 1:
        levels = levels[..., 0]
    plain = tiff((levels, {"compression": compression, "predictor": compression is not None}), order=order)
    data = bytearray(retagged(plain, {266: 2}))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        strips = list(zip(file.pages[0].dataoffsets, file.pages[0].databytecounts, strict=True))
    for start, length in strips:
        data[start : start + length] = data[start : start + length].translate(REVERSED)
    image = decode_bytes(bytes(data), "x.tif")
    found = np.rint(image.pixels * np.iinfo(dtype).max).astype(dtype)
    assert np.array_equal(found.reshape(levels.shape), levels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_whose_places_are_called_strips_are_read(dtype: type[np.generic]) -> None:
    levels = pattern(40, 50).astype(dtype)
    data = retagged(tiff((levels, {"tile": (16, 16)})), {}, {324: 273, 325: 279})
    found = decode_bytes(data, "x.tif", ReadSettings(strict=True)).pixels * np.iinfo(dtype).max
    assert np.array_equal(np.rint(found).astype(dtype), levels)


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_pages_come_in_and_go_out_as_they_are(order: str) -> None:
    deep = pattern(9, 7, seed=3).astype(np.uint16) * 257
    gray = pattern(20, 30, 1, seed=4)[..., 0]
    pages = [
        (WHOLE, {"extratags": [(271, 2, 0, "Scanner", True)]}),
        (PREVIEW, {"subfiletype": 1}),
        (gray, {}),
        (deep, {}),
    ]
    image = decode_bytes(tiff(*pages, order=order), "x.tif", ReadSettings(all_pages=True, strict=True))
    assert len(image.more) == 2
    data = encode(image, format="TIFF")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.byteorder == order
        for page, expected in zip(file.pages, (WHOLE, gray, deep), strict=True):
            assert np.array_equal(page.asarray(), expected)
        assert [271 in page.tags for page in file.pages] == [True, False, False]
    again = decode_bytes(data, "x.tif", ReadSettings(all_pages=True))
    for one, other in zip((image, *image.more), (again, *again.more), strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_several_pages_are_written_as_tiff_alone_and_within_the_limit_together() -> None:
    data = tiff((WHOLE, {}), (WHOLE, {}), (WHOLE, {}))
    with pytest.raises(EncodeError, match=r"^PNG holds one image, not 3 pages; write TIFF, or leave --all-pages out$"):
        encode(decode_bytes(data, "x.tif", ReadSettings(all_pages=True)), format="PNG")
    limit = 2 * WHOLE.shape[0] * WHOLE.shape[1]
    with pytest.raises(DecodeError, match=r"^x\.tif: the 9216 pixels of its 3 pages are more than the 6144 allowed; "):
        decode_bytes(data, "x.tif", ReadSettings(all_pages=True, max_pixels=limit))
    assert decode_bytes(data, "x.tif", ReadSettings(max_pixels=limit)).more == ()


def test_what_a_further_page_costs_is_told_with_its_number() -> None:
    infrared = np.dstack([WHOLE, WHOLE[..., :1]])
    image = decode_bytes(tiff((WHOLE, {}), (infrared, {"extrasamples": [0]})), "x.tif", ReadSettings(all_pages=True))
    assert [line[:28] for line in image.warnings] == ["page 2: it has a plane besid"]


@pytest.mark.shared
def test_the_cases_of_the_development_material_are_read_or_refused_rightly(shared: Path) -> None:
    cases = shared / "cases"
    assert (
        decode(cases / "thumb_first.tif", ReadSettings(strict=True)).height,
        decode(cases / "pages3.tif").height,
    ) == (160, 80)
    for name, words in (("webpc.tif", "by WebP"), ("jxlc.tif", "by JPEG XL"), ("a0scan.tif", "--max-pixels")):
        with pytest.raises(DecodeError, match=words):
            decode(cases / name)


WHAT_WAS_DONE_TO_SAMPLES = [(280, 3, 1, 0), (281, 3, 1, 255), (326, 4, 1, 0), (332, 3, 1, 1), (297, 3, 2, (0, 1))]
SRGB_WHITE, SRGB_LIGHTS = (3127, 10000, 3290, 10000), (64, 100, 33, 100, 3, 10, 6, 10, 15, 100, 6, 100)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_in_the_first_directory_is_kept_and_the_old_samples_cost_no_word(order: str) -> None:
    camera = [(33434, 5, 1, (1, 160)), (36867, 2, 0, "2006:02:14 22:00:58"), (286, 5, 1, (3, 2))]
    colors = [(318, 5, 2, SRGB_WHITE), (319, 5, 6, SRGB_LIGHTS)]
    tags = [(*tag, True) for tag in (*camera, *WHAT_WAS_DONE_TO_SAMPLES, *colors)]
    image = decode_bytes(tiff((WHOLE, {"extratags": tags}), order=order), "x.tif", ReadSettings(strict=True))
    with tifffile.TiffFile(io.BytesIO(encode(image, format="TIFF"))) as file:
        values = {tag.code: tag.value for tag in file.pages.first.tags.values()}
    assert (values[33434], values[36867], values[286]) == ((1, 160), "2006:02:14 22:00:58", (3, 2))
    assert not {280, 281, 326, 332, 297, 318, 319} & values.keys()


@pytest.mark.parametrize("profile", [None, b"a profile"])
def test_primaries_that_are_not_followed_are_told(profile: bytes | None) -> None:
    adobe = (64, 100, 33, 100, 21, 100, 71, 100, 15, 100, 6, 100)
    tags = [(318, 5, 2, SRGB_WHITE, True), (319, 5, 6, adobe, True)]
    image = decode_bytes(tiff((WHOLE, {"extratags": tags, "iccprofile": profile})), "x.tif")
    assert any("primaries" in line for line in image.warnings) == (profile is None)
    assert np.array_equal(np.rint(image.pixels * 255), WHOLE)


@pytest.mark.parametrize(
    "broken", [(282, 2, b"72\0\0"), (282, 4, b"H\0\0\0"), (283, 5, b""), (296, 3, b"\xff\xff\0\0")]
)
def test_a_resolution_that_is_none_does_not_reach_a_tiff(broken: tuple[int, int, bytes]) -> None:
    """Pillow opens no TIFF whose resolution is a text, and libtiff writes of an unknown unit to the terminal."""
    tag, kind, value = broken
    count = len(value) // {2: 1, 3: 4, 4: 4, 5: 8}[kind]
    entries = (271, 2, 4, b"Ace\0"), (tag, kind, count, value)
    table = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)
    written = encode(decode_bytes(saved(pattern(), "JPEG", exif=exif), "x.jpg"), format="TIFF")
    assert opened(written).getexif()[271] == "Ace"
    with tifffile.TiffFile(io.BytesIO(written)) as file:
        assert tag not in {tag.code for tag in file.pages.first.tags.values()}
