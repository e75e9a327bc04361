"""PNG files taken apart: chunks that hold pixels on one side, metadata on the other.

Stage 3, READ. Pillow lets a broken text or profile fail the image, and pixel chunks that are torn apart pass. So chunks
are sorted here, and checked. Of pixels it hands out the upper 8 bits of 16-bit colour, and fills rows that nobody
stored with black: samples of 16 bits come from two passes, and streams that end early are noticed.

Stage 7, WRITE: `write_png`, beside what it must agree with.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import PngImagePlugin

from restore_cli.imaging.color.profiles import Primaries, color_of_codes, color_of_power
from restore_cli.imaging.containers.deep_png import chunk, write_deep_png
from restore_cli.imaging.containers.exif import SIGNATURE as EXIF_SIGNATURE
from restore_cli.imaging.containers.further_parts import CREDENTIALS, LAYERS
from restore_cli.imaging.containers.parts import (
    DAMAGED,
    MOST_PARTS,
    MOST_PROFILE_BYTES,
    MOST_TEXT_BYTES,
    TOO_MANY_PARTS,
    TRUNCATED,
    Parts,
    UnreadableError,
    chunk_named,
    data_behind,
    inflated,
    not_square,
)
from restore_cli.imaging.containers.photoshop import RAW_IPTC_KEYWORD, read_raw_iptc, read_raw_profile, write_raw_iptc
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.pillow import image_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEXT_FILE = b"IEND\xaeB`\x82" + SIGNATURE
_HEADER = struct.Struct(">IIBBBBB")
GRAY, RGB, _PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
# Samples a pixel of each colour type, and the bits that each may have.
CHANNELS = {GRAY: 1, RGB: 3, _PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
_BITS = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), _PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), RGBA: (8, 16)}
# Chunks that decide on pixels, and are passed on to the decoder.
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Deflate cannot shrink anything further than this.
_MOST_DEFLATION = 1032
_INCHES_PER_METRE = 0.0254
_LEVEL = 6
# gAMA and cHRM count in parts of this, and cICP's last two bytes say that samples are RGB of the full range.
_COLOR_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
_COLOR_UNITS = 100_000
_RGB_MATRIX, _FULL_RANGE = 0, 1
_XMP_KEYWORD = "XML:com.adobe.xmp"
_RAW_PROFILE = "Raw profile type"
_EXIF_KEYWORD = f"{_RAW_PROFILE} exif"
_MOST_TEXTS = 256
# C2PA's manifests, and what Fireworks makes its PNG of.
_BESIDE = {b"caBX": CREDENTIALS, b"mkBF": LAYERS, b"mkBS": LAYERS, b"mkTS": LAYERS}
# How the old samples were stored or shown, smaller copies of them, and frames, which are counted.
_STALE_CHUNKS = (
    b"bKGD", b"hIST", b"sBIT", b"sPLT", b"tIME", b"mDCV", b"cLLI", b"mDCv", b"cLLi",
    b"iDOT", b"fdAT", b"gIFg", b"vpAg", b"caNv", b"orNT", b"prVW",
)  # fmt: skip
_UNPRINTABLE = {*range(32), *range(127, 161)}
_OUT_OF_ORDER = f"{DAMAGED}: its parts are out of order"
_LEFT_OUT = "a damaged or oversized part of its metadata was left out"


@dataclass
class _Found:
    """Collect what is met on the way through a file's chunks."""

    core: list[bytes | memoryview] = field(default_factory=lambda: [SIGNATURE])
    kinds: list[bytes] = field(default_factory=list)
    frames: int = 0  # of an animation
    first_is_frame: bool = False  # whether the image is one of them
    following: int = 0
    exif: bytes | None = None
    icc_profile: bytes | None = None
    codes: tuple[int, int, int, int] | None = None
    is_srgb: bool = False
    power: float | None = None
    primaries: Primaries | None = None
    dpi: tuple[float, float] | None = None
    proportions: tuple[str, ...] = ()
    text: list[tuple[str, str]] = field(default_factory=list)
    pixel_bytes: int = 0
    rest: bytes = b""  # what there is of a last pixel chunk that was cut off
    damage: str | None = None
    left_out: bool = False
    further: set[str] = field(default_factory=set)


def dissect_png(data: bytes) -> Parts:
    """Take a PNG apart.

    Raises:
        UnreadableError: If its header makes no sense or it needs what we do not know.
    """
    height, width, bits, color_type = read_png_header(data)
    found = _Found()
    try:
        _walk(data, found)
    except struct.error:
        found.damage = found.damage or TRUNCATED
    if b"IEND" not in found.kinds:
        found.core += [found.rest, chunk(b"IEND", b"")]
    if found.damage is None:
        found.damage = _disorder(found.kinds, color_type)
    row_bytes = (width * bits * CHANNELS[color_type] + 7) // 8
    if found.damage is None and found.pixel_bytes * _MOST_DEFLATION < height * row_bytes:
        found.damage = TRUNCATED
    icc_profile, color_warning = _color_of(found)
    special = dict(found.text)
    xmp, raw_exif, raw_iptc = (special.get(key) for key in (_XMP_KEYWORD, _EXIF_KEYWORD, RAW_IPTC_KEYWORD))
    return Parts(
        core=b"".join(found.core),
        size=(height, width),
        gray=color_type in (GRAY, GRAY_ALPHA),
        frames=max(1, found.frames + (not found.first_is_frame)) + found.following,
        bits=bits,
        damage=found.damage,
        exif=found.exif or (None if raw_exif is None else read_raw_profile(raw_exif)),
        xmp=None if xmp is None else xmp.encode("utf-8", "replace"),
        icc_profile=icc_profile,
        iptc=None if raw_iptc is None else read_raw_iptc(raw_iptc),
        dpi=found.dpi,
        text=tuple((key, text) for key, text in found.text if not key.startswith((_XMP_KEYWORD, _RAW_PROFILE))),
        further=frozenset(found.further),
        warnings=(
            *([color_warning] if color_warning else []),
            *([_LEFT_OUT] if found.left_out else []),
            *found.proportions,
        ),
    )


def is_gray_png(head: bytes) -> bool:
    """Tell from a PNG's first bytes whether it is gray."""
    return read_png_header(head)[3] in (GRAY, GRAY_ALPHA)


def read_png_size(head: bytes) -> tuple[int, int]:
    """Return (height, width) from a PNG's first bytes."""
    return read_png_header(head)[:2]


def read_png_header(data: bytes) -> tuple[int, int, int, int]:
    """Return height, width, bits and colour type.

    Raises:
        UnreadableError: If they make no sense.
    """
    if len(data) < 33:
        raise UnreadableError(TRUNCATED)
    width, height, bits, color_type, compression, filtering, interlace = _HEADER.unpack_from(data, 16)
    sound = data[8:16] == b"\0\0\0\rIHDR" and zlib.crc32(data[12:29]) == struct.unpack_from(">I", data, 29)[0]
    known = bits in _BITS.get(color_type, ()) and (compression, filtering) == (0, 0) and interlace in (0, 1)
    if not (sound and known) or 0 in (width, height):
        msg = f"{DAMAGED}: its header makes no sense"
        raise UnreadableError(msg)
    return height, width, bits, color_type


def _walk(data: bytes, found: _Found) -> None:
    view = memoryview(data)
    position, last = 8, b""
    for _ in range(MOST_PARTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if kind == b"IDAT" and end + 4 > len(data):
            found.rest = chunk(kind, data[position + 8 : end])
        (stored,) = struct.unpack_from(">I", data, end)
        whole = zlib.crc32(view[position + 4 : end]) == stored
        if kind == b"IDAT" and b"IDAT" in found.kinds and last != b"IDAT":
            found.damage = found.damage or _OUT_OF_ORDER
        last = kind
        if kind in _PIXEL_CHUNKS:
            if not whole:
                part = "pixels" if kind == b"IDAT" else kind.decode()
                found.damage = f"{DAMAGED}: a checksum of its {part} does not match"
            found.core.append(view[position : end + 4])
            found.kinds.append(kind)
            found.pixel_bytes += length if kind == b"IDAT" else 0
            if kind == b"IEND":
                _look_behind(data, end + 4, found)
                return
        elif not kind[0] & 0x20:
            msg = f"it needs a PNG part {kind.decode('ascii', 'replace')!r} that is not known"
            raise UnreadableError(msg)
        elif kind in _BESIDE:
            found.further.add(_BESIDE[kind])
        elif not (whole and kind.isalpha() and _take_aside(kind, data[position + 8 : end], found)):
            found.left_out = True
        position = end + 4
    found.damage = TOO_MANY_PARTS


def _look_behind(data: bytes, end: int, found: _Found) -> None:
    found.following = data.count(_NEXT_FILE, end - len(_NEXT_FILE) + len(SIGNATURE))
    if not found.following and end < len(data):
        found.further |= data_behind(data[end:])


def _take_aside(kind: bytes, body: bytes, found: _Found) -> bool:
    """Keep what an ancillary chunk says; return whether it could be read."""
    try:
        if kind == b"acTL":
            (found.frames,) = struct.unpack_from(">I", body)
        elif kind == b"fcTL":
            found.first_is_frame |= b"IDAT" not in found.kinds
        elif kind == b"eXIf":
            found.exif = body
        elif kind == b"iCCP":
            _, _, rest = body.partition(b"\0")
            found.icc_profile = b"broken"  # unless what follows is whole
            found.icc_profile = inflated(rest[1:], MOST_PROFILE_BYTES)
        elif kind in _COLOR_CHUNKS:
            _take_color(kind, body, found)
        elif kind == b"pHYs":
            across, down, unit = struct.unpack(">IIB", body)
            found.dpi = (across * _INCHES_PER_METRE, down * _INCHES_PER_METRE) if unit == 1 else None
            found.proportions = not_square(across, down) if unit != 1 else ()
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            _take_text(kind, body, found)
        elif kind not in _STALE_CHUNKS:
            found.further.add(chunk_named(kind))
    except (ValueError, struct.error):
        return kind == b"iCCP"  # the colour rule has words of its own for a broken profile
    return True


def _take_text(kind: bytes, body: bytes, found: _Found) -> None:
    if len(found.text) >= _MOST_TEXTS:
        msg = "it has too many texts"
        raise ValueError(msg)
    room = MOST_TEXT_BYTES - sum(len(value) for _, value in found.text)
    found.text.append(_read_text(kind, body, room))


def _take_color(kind: bytes, body: bytes, found: _Found) -> None:
    if kind == b"cICP":
        found.codes = struct.unpack(">4B", body)
    elif kind == b"sRGB":
        found.is_srgb = True
    elif kind == b"gAMA":
        (number,) = struct.unpack(">I", body)
        found.power = _COLOR_UNITS / max(1, number)
    else:
        numbers = [number / _COLOR_UNITS for number in struct.unpack(">8I", body)]
        white, red, green, blue = zip(numbers[::2], numbers[1::2], strict=True)
        found.primaries = Primaries(white=white, red=red, green=green, blue=blue)


def _color_of(found: _Found) -> tuple[bytes | None, str | None]:
    """Decide between all that a file says of its colours, by the order of PNG's third edition, section 4.3.

    Returns:
        A profile, None for sRGB and for what is not known; and a warning, None for none.
    """
    coded = None
    if found.codes is not None:
        primaries, transfer, matrix, span = found.codes
        coded = color_of_codes(primaries, transfer, full_range=(matrix, span) == (_RGB_MATRIX, _FULL_RANGE))
    if found.icc_profile is not None and (coded is None or coded.warning is not None):
        return found.icc_profile, None
    if coded is None and not found.is_srgb and (found.power is not None or found.primaries is not None):
        try:
            coded = color_of_power(found.power, found.primaries)
        except (ValueError, struct.error):
            found.left_out = True
    return (None, None) if coded is None else (coded.icc_profile, coded.warning)


def _read_text(kind: bytes, body: bytes, room: int) -> tuple[str, str]:
    key, _, rest = body.partition(b"\0")
    packed, coding = False, "latin-1"
    if kind == b"zTXt":
        packed, rest = True, rest[1:]
    elif kind == b"iTXt":
        packed, coding = rest[:1] == b"\1", "utf-8"
        rest = rest[2:].split(b"\0", 2)[2] if rest[2:].count(b"\0") >= 2 else b""
    value = inflated(rest, room) if packed else rest
    if len(value) > room:
        msg = "its text is too long"
        raise ValueError(msg)
    if not key.strip() or set(key) & _UNPRINTABLE:
        msg = "its text has no name"
        raise ValueError(msg)
    # Texts may hold no zeros; they end words in files of programs that think of them as terminators.
    return key.decode("latin-1"), value.rstrip(b"\0").replace(b"\0", b"\n").decode(coding, "replace")


def _disorder(kinds: list[bytes], color_type: int) -> str | None:
    """Return what is wrong with the order of the chunks, or None."""
    pixels = [place for place, kind in enumerate(kinds) if kind == b"IDAT"]
    if not pixels:
        return f"{DAMAGED}: it holds no pixels"
    out_of_place = kinds.count(b"IHDR") > 1 or kinds.count(b"PLTE") > 1
    for kind in (b"PLTE", b"tRNS"):
        out_of_place |= kind in kinds and kinds.index(kind) > pixels[0]
    if out_of_place:
        return _OUT_OF_ORDER
    if color_type == _PALETTE and b"PLTE" not in kinds:
        return f"{DAMAGED}: its palette is missing"
    return None


_INTERLACE_OFFSET = 28
# First row, first column, and steps down and across of each pass.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_INFLATED_BYTES = 1 << 18  # at a time


def is_deep_color_png(core: bytes) -> bool:
    """Return whether a PNG has 16 bits a channel and more than one channel."""
    _, _, bits, color_type = read_png_header(core)
    return bits == 16 and color_type != GRAY


def read_deep_png(core: bytes) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32] | None]:
    """Decode a PNG of 16-bit colour, or gray with alpha.

    Pillow has no such mode, but ways to unpack such samples: the one for the other byte order yields their lower bytes,
    so that its C code does the work, in twice the time of a plain read.

    Args:
        core: As `dissect_png` left it.

    Returns:
        uint16 (H, W, C), C = 1 or 3, and alpha float32 (H, W) in [0, 1] or None.
    """
    color_type = read_png_header(core)[3]
    if color_type == GRAY_ALPHA:
        pairs = _unpacked(core, "RGBA")  # four bytes a pixel, as they lie in the file
        samples = pairs.view(">u2").astype(np.uint16)
    else:
        name = "RGBA" if color_type == RGBA else "RGB"
        high, low = _unpacked(core, f"{name};16B"), _unpacked(core, f"{name};16L")
        samples = np.left_shift(high, 8, dtype=np.uint16)
        samples |= low
    if color_type == RGB:
        return samples, _alpha_from_key(core, samples)
    return samples[..., :-1], samples[..., -1].astype(np.float32) / np.float32(65535)


def is_png_short(core: bytes) -> bool:
    """Return whether a PNG's pixel stream ends before its last row, which its decoder would fill with black.

    Args:
        core: As `dissect_png` left it, its size found acceptable.
    """
    height, width, bits, color_type = read_png_header(core)
    pixel_bits = bits * CHANNELS[color_type]
    passes = _ADAM7 if core[_INTERLACE_OFFSET] else ((0, 0, 1, 1),)
    needed = 0
    for top, left, down, across in passes:
        rows, columns = len(range(top, height, down)), len(range(left, width, across))
        needed += rows * (1 + (columns * pixel_bits + 7) // 8) if columns else 0
    stream = zlib.decompressobj()
    try:
        for body in _pixel_chunks(core):
            rest: bytes | memoryview = body
            while rest and needed > 0 and not stream.eof:
                needed -= len(stream.decompress(rest, _INFLATED_BYTES))
                rest = stream.unconsumed_tail
    except zlib.error:
        return False  # the decoder will say what is wrong
    return needed > 0


def _pixel_chunks(core: bytes) -> Iterator[memoryview]:
    view, position = memoryview(core), len(SIGNATURE)
    while position + 8 <= len(core):
        length, kind = struct.unpack_from(">I4s", core, position)
        if kind == b"IDAT":
            yield view[position + 8 : position + 8 + length]
        position += length + 12


def _unpacked(core: bytes, raw_mode: str) -> npt.NDArray[Any]:
    with PngImagePlugin.PngImageFile(io.BytesIO(core)) as image:
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        image.load()
        return np.asarray(image)


def _alpha_from_key(core: bytes, samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32] | None:
    place = core.find(b"tRNS", 33, core.find(b"IDAT"))
    if place < 0:
        return None
    key = np.frombuffer(core, ">u2", 3, place + 4)
    return np.asarray((samples != key).any(axis=2), dtype=np.float32)


def write_png(
    samples: npt.NDArray[np.unsignedinteger],
    kept: DecodedImage,
    quality: int,  # noqa: ARG001 - as all writers
    lossless: bool,  # noqa: ARG001 - likewise
) -> bytes:
    """Write samples as a PNG, through Pillow but for 16-bit colour, with what is kept of the source beside them."""
    if samples.dtype == np.uint16 and samples.shape[2] > 1:
        return write_deep_png(samples, _png_chunks(kept))
    text = PngImagePlugin.PngInfo()
    for keyword, value in _png_texts(kept):
        if _is_plain(keyword, value):
            text.add_text(keyword, value)
        else:
            text.add_itxt(keyword, value)
    buffer = io.BytesIO()
    image_of(samples).save(
        buffer,
        "PNG",
        compress_level=_LEVEL,
        icc_profile=kept.icc_profile,
        exif=kept.exif or b"",
        dpi=kept.dpi,
        pnginfo=text,
    )
    return buffer.getvalue()


def _png_texts(kept: DecodedImage) -> Iterator[tuple[str, str]]:
    if kept.xmp is not None:
        yield _XMP_KEYWORD, kept.xmp.decode("utf-8", "replace")
    if kept.iptc is not None:
        yield RAW_IPTC_KEYWORD, write_raw_iptc(kept.iptc)
    for keyword, value in kept.text:
        name = keyword.strip()[:79]
        if name and name.isprintable() and ord(max(name)) < 256:
            yield name, value.replace("\0", "\n")


def _is_plain(keyword: str, value: str) -> bool:
    """Return whether a text goes into a chunk that every reader knows: a raw profile in another is read by few."""
    return value.isascii() and keyword != _XMP_KEYWORD


def _png_chunks(kept: DecodedImage) -> Iterator[bytes]:
    if kept.icc_profile is not None:
        yield chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(kept.icc_profile, _LEVEL))
    if kept.dpi is not None:
        yield chunk(b"pHYs", struct.pack(">IIB", *(round(dpi / _INCHES_PER_METRE) for dpi in kept.dpi), 1))
    for keyword, value in _png_texts(kept):
        if _is_plain(keyword, value):
            yield chunk(b"tEXt", f"{keyword}\0{value}".encode("latin-1"))
        else:
            yield chunk(b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + value.encode("utf-8", "replace"))
    if kept.exif is not None:
        yield chunk(b"eXIf", kept.exif.removeprefix(EXIF_SIGNATURE))
