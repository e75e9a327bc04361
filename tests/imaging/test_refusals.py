"""Whatever lies under an image's name: an image comes out or one line with the file's name, and nothing else."""

from __future__ import annotations

import os
import re
import socket
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from restore_cli.errors import DecodeError
from restore_cli.imaging.decode import decode, decode_bytes
from restore_cli.imaging.gray import is_gray
from restore_cli.imaging.pillow import require_plugin
from restore_cli.settings import ReadSettings
from tests.imaging.files import chunk, packed, pattern, png, saved

FORMATS = {
    "PNG": {},
    "JPEG": {},
    "progressive JPEG": {"progressive": True},
    "lossy WEBP": {},
    "lossless WEBP": {"lossless": True, "xmp": b"x" * 40},
    "TIFF": {},
    "LZW TIFF": {"compression": "tiff_lzw"},
    "deflated TIFF": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
    "GIF": {},
    "AVIF": {},
    "PPM": {},
}


def file_of(kind: str) -> bytes:
    return saved(pattern(), kind.split()[-1], **FORMATS[kind])


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_refused_with_its_reason(kind: str) -> None:
    data = file_of(kind)
    cuts = {*range(1, len(data), max(1, len(data) // 60)), *range(len(data) - 14, len(data))}
    for cut in sorted(cuts):
        with pytest.raises(DecodeError, match=r"^holiday\.dat: it "):
            decode_bytes(data[:cut], "holiday.dat")
    assert decode_bytes(data, "holiday.dat").channels == 3


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_behind_the_end_do_no_harm(kind: str) -> None:
    data = file_of(kind)
    if kind == "AVIF":
        data += struct.pack(">I4s", 16, b"free") + b"\0" * 8
    else:
        data += b"appended by some program"
    assert decode_bytes(data, "x").height == 20


def refusal_of(data: bytes) -> str | None:
    """Return the one line a file is refused with, or None for a sound image."""
    try:
        image = decode_bytes(data, "holiday.dat", ReadSettings(max_pixels=1000000))
    except DecodeError as error:
        return str(error)
    assert np.isfinite(image.pixels).all()
    return None


@pytest.mark.parametrize("kind", FORMATS)
def test_random_damage_raises_nothing_but_our_error(kind: str) -> None:
    random = np.random.default_rng(11)
    data = file_of(kind)
    for _ in range(25):
        damaged = bytearray(data)
        for position in random.integers(0, len(data), int(random.integers(1, 6))):
            damaged[position] = int(random.integers(0, 256))
        if random.random() < 0.3:
            start = int(random.integers(0, len(data)))
            del damaged[start : start + int(random.integers(1, 40))]
        refusal = refusal_of(bytes(damaged))
        assert refusal is None or (refusal.startswith("holiday.dat: it") and "\n" not in refusal)


def test_a_png_with_a_damaged_pixel_is_refused() -> None:
    data = bytearray(file_of("PNG"))
    data[data.index(b"IDAT") + 100] ^= 1
    with pytest.raises(DecodeError, match="damaged"):
        decode_bytes(bytes(data), "x.png")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X", "what macOS keeps beside a file"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\n<!doctype HTML><html>404", "web page"),
        (b"#!/bin/sh\necho gone", "script"),
        (b"MZ\x90\0", "program"),
        (b"plain words", "no known format"),
        (b"\0" * 100, "no known format"),
        (b"\0\0\2\0\1\0", "mouse pointer"),
    ],
)
def test_what_is_no_image_of_ours_is_named_for_what_it_is(start: bytes, kind: str) -> None:
    with pytest.raises(DecodeError, match=rf"^photo\.jpg: it is .*{kind}"):
        decode_bytes(start, "photo.jpg")


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    folder, pipe, empty = tmp_path / "folder.png", tmp_path / "pipe.png", tmp_path / "empty.png"
    folder.mkdir()
    os.mkfifo(pipe)
    empty.touch()
    for path, reason in [
        (folder, "it is a folder, not a file"),
        (pipe, "it is a named pipe, not a file; name - to read one image from standard input"),
        (empty, "empty"),
        (Path("/dev/zero"), "it is a device"),
        (tmp_path / "absent.png", "No such file"),
        (tmp_path / ("x" * 300), "too long"),
        (tmp_path / "nul\0.png", "null"),
    ]:
        with pytest.raises(DecodeError, match=reason) as caught:
            decode(path)
        assert str(caught.value).startswith(f"{path}: it ")


def test_a_socket_and_a_dangling_link_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        Path("link.png").symlink_to("nowhere.png")
        for name in ("socket.png", "link.png"):
            with pytest.raises(DecodeError, match=name):
                decode(Path(name))


def test_refused_files_leave_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(file_of("PNG")[:90])
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
    for path in (tmp_path, tmp_path / "broken.png", tmp_path / "absent.png"):
        with pytest.raises(DecodeError):
            decode(path)
        is_gray(path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - names only


@pytest.mark.parametrize("part", [b"\0", b"\xff\xfe\0\x02"])
def test_a_jpeg_of_endless_parts_is_refused_soon(part: bytes) -> None:
    with pytest.raises(DecodeError, match="no end"):
        decode_bytes(b"\xff\xd8\xff\xfe\0\x02" + part * 300_000, "x.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(file_of("PNG"))
    path.chmod(0)
    with pytest.raises(DecodeError, match="Permission denied"):
        decode(path)


def bomb(width: int, height: int) -> bytes:
    return png(width, height, 8, 2, [b"\0" * 100])


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)])
def test_a_pixel_bomb_is_refused_before_memory_is_spent(size: tuple[int, int]) -> None:
    data = bomb(*size)
    decode_bytes(file_of("PNG"), "x")  # Pillow's plugins are loaded outside the measurement
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="pixels"):
            decode_bytes(data, "x.png")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_limit_on_pixels_is_exact(kind: str) -> None:
    assert decode_bytes(file_of(kind), "x", ReadSettings(max_pixels=20 * 28)).height == 20
    with pytest.raises(DecodeError, match="28x20 pixels are more than the 559 allowed"):
        decode_bytes(file_of(kind), "x", ReadSettings(max_pixels=559))
    with pytest.raises(DecodeError, match="more than the 100 "):
        decode_bytes(file_of(kind), "x", ReadSettings(max_pixels=100))


def test_an_image_larger_than_pillows_own_limit_is_read_when_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert decode_bytes(file_of("PNG"), "x").width == 28
    with pytest.raises(DecodeError):
        decode_bytes(file_of("JPEG")[:-40], "x")
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == (10, True)


def test_a_file_far_too_long_for_its_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(file_of("PNG"))
    os.truncate(path, 400 * 1024 * 1024)  # a hole: no disk space is used
    with pytest.raises(DecodeError, match=r"larger .* than any image"):
        decode(path, ReadSettings(max_pixels=1000000))


@pytest.mark.parametrize(
    "bomb",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 8_000_000)),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"\0" * 8_000_000)),
        chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000),
    ],
)
def test_a_text_chunk_that_inflates_is_left_out_with_a_word(bomb: bytes) -> None:
    image = decode_bytes(png(1, 1, 8, 0, [b"\0"], bomb, chunk(b"tEXt", b"Title\0kept")), "x.png")
    assert image.text == (("Title", "kept"),)
    assert image.warnings == ("a damaged or oversized part of its metadata was left out",)


def test_a_hole_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "AVIF", "PPM"):
        path = tmp_path / "x"
        path.write_bytes(file_of(kind))
        os.truncate(path, 2 * 1024**3)  # no disk space is used
        tracemalloc.start()
        with pytest.raises(DecodeError, match=r"larger .* than any image"):
            decode(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


def test_a_profile_that_inflates_is_a_broken_one() -> None:
    bomb = chunk(b"iCCP", b"bomb\0\0" + zlib.compress(b"\0" * 50_000_000))
    image = decode_bytes(png(1, 1, 8, 0, [b"\0"], bomb), "x.png")
    assert image.icc_profile is None
    assert image.warnings == ("its colour profile is broken: it was left out",)


def test_a_tiff_whose_pages_run_in_a_circle_is_read() -> None:
    data = bytearray(file_of("TIFF"))
    start = struct.unpack_from("<I", data, 4)[0]
    end = start + 2 + 12 * struct.unpack_from("<H", data, start)[0]
    struct.pack_into("<I", data, end, start)
    assert decode_bytes(bytes(data), "x.tif").warnings == ()


def test_a_jpeg_that_only_looks_complete_because_of_its_thumbnail_is_refused() -> None:
    data = saved(pattern(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + b"\xff\xd8\xff\xd9")
    assert decode_bytes(data, "x").height == 20
    with pytest.raises(DecodeError, match="truncated"):
        decode_bytes(data[:-2], "x")


def test_no_library_writes_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(3)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        data = saved(pattern(64, 64), "TIFF", compression=compression)
        for _ in range(20):
            damaged = bytearray(data)
            for position in random.integers(8, len(data) - 200, 20):
                damaged[position] = int(random.integers(0, 256))
            refusal_of(bytes(damaged))
    many = bytearray(file_of("TIFF"))
    start = struct.unpack_from("<I", many, 4)[0]
    for entry in range(start + 2, start + 2 + 12 * many[start], 12):
        if struct.unpack_from("<H", many, entry)[0] == 277:
            struct.pack_into("<H", many, entry + 8, 5000)
    assert "samples a pixel" in (refusal_of(bytes(many)) or "")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("start", "extra"), [(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heif"), (b"\xff\x0a\x00", "jxl")]
)
def test_formats_of_extras_name_the_extra_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, start: bytes, extra: str
) -> None:
    from restore_cli.imaging import pillow

    monkeypatch.setattr(pillow, "has_plugin", lambda _: False)
    with pytest.raises(DecodeError, match=rf"^x: it is a .* image, for which .*pip install 'restore-cli\[{extra}\]'"):
        decode_bytes(start + bytes(100), "x")


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (256, 256), (300, 400), (1080, 1920), (3, 257)])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(size: tuple[int, int], *, container: bool) -> None:
    pytest.importorskip("pillow_jxl")
    data = saved(np.zeros((*size, 3), np.uint8), "JXL", use_container=container, effort=1)
    with pytest.raises(DecodeError, match=f"its {size[1]}x{size[0]} pixels are more than"):
        decode_bytes(data, "x", ReadSettings(max_pixels=size[0] * size[1] - 1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"P6\n2 1\n255\nabc", "truncated"),
        (b"P6 2 one 255\nabcdef", "header makes no sense"),
        (b"P6 2 1 70000\nabcdef", "header makes no sense"),
        (b"P5 2 1 100\n\xffb", "larger than 100"),
        (b"P2 2 1 255\n1 x", "not all numbers"),
        (b"P1 2 1\n1 7", "not all 0 or 1"),
        (b"Pf 1 1 -1.0\n\0\0\xc0\x7f", "within 0 and 1"),
    ],
)
def test_broken_netpbm_files_are_refused_with_the_reason(text: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=rf"^x: .*{reason}"):
        decode_bytes(text, "x")


@pytest.mark.parametrize("bits", [1, 8, 16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_whose_pixels_end_a_row_early_is_refused(bits: int, *, interlaced: bool) -> None:
    """The stream ends as it should, so that no decoder complains: it leaves the rest black."""
    levels = np.arange(20).reshape(5, 4) % 2**bits
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [levels[top::down, left::across] for top, left, down, across in passes] if interlaced else [levels]
    rows = [b"\0" + row for part in parts if part.size for row in packed(part, bits)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 5, bits, 0, 0, 0, int(interlaced)))
    whole, short = (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"".join(part))) + chunk(b"IEND", b"")
        for part in (rows, rows[:-1])
    )
    top = 2 ** max(bits, 8) - 1
    expected = levels * top // (2**bits - 1)
    assert np.array_equal(np.rint(decode_bytes(whole, "x").pixels[..., 0] * top), expected)
    with pytest.raises(DecodeError, match=r"^x: it is truncated"):
        decode_bytes(short, "x")
    assert decode_bytes(short, "x", ReadSettings(allow_damaged=True)).warnings == (
        "only what could be decoded is used: it is truncated",
    )


WORDS_OF_DECODERS = re.compile(
    r"Error|Exception|b\'|b\"|decoder|encoder|0x[0-9a-f]|not processed|cannot identify|-\d|\bstruct\b"
    r"|broken data stream|buffer|codec|unpack|pixel mode|index out"
)


@pytest.mark.parametrize("kind", [*FORMATS, "JXL", "HEIF"])
@pytest.mark.parametrize("lenient", [False, True])
def test_no_word_of_a_decoder_reaches_a_person(kind: str, *, lenient: bool) -> None:
    if kind in ("JXL", "HEIF"):
        pytest.importorskip("pillow_jxl" if kind == "JXL" else "pillow_heif")
        require_plugin(kind)
    random = np.random.default_rng(17)
    data = file_of(kind) if kind in FORMATS else saved(pattern(), kind)
    for _ in range(40):
        damaged = bytearray(data)
        for position in random.integers(12, len(data), int(random.integers(1, 9))):
            damaged[position] = int(random.integers(0, 256))
        if random.random() < 0.3:
            del damaged[int(random.integers(12, len(data))) :]
        try:
            lines = decode_bytes(
                bytes(damaged), "holiday.dat", ReadSettings(max_pixels=100000, allow_damaged=lenient)
            ).warnings
        except DecodeError as error:
            lines = (str(error),)
        for line in lines:
            assert not WORDS_OF_DECODERS.search(line), line
            assert "\n" not in line
