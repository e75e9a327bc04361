"""JPEG files taken apart, into pixels and metadata; how strongly they were packed, and whether all of it is there.

Stage 3, READ. The decoder is handed tables, frame and scans only. What it would make of a file in silence is refused
first: one that stops early, declares more pixels than its bytes can hold, or has so many scans that it would take
minutes.

Compressed data is checked behind the decoder. Where it ends before the image does, libjpeg makes up the rest in gray,
and where some is left over it skips that. It warns of both, and simplejpeg, unlike Pillow, turns its warnings into
errors. At an eighth of the size all data is still read, and next to no memory is needed. Damage that leaves every run
at its length (a changed bit of a coefficient) is another image, as good as the first.
"""

from __future__ import annotations

import io
import re
import struct
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from restore_cli.imaging.containers.further_parts import (
    CREDENTIALS,
    DEPTH_MAP,
    EXTENDED_XMP,
    FURTHER_EXIF,
    FURTHER_XMP,
    GAIN_MAP,
    MAKERS_DATA,
    MATTE,
    SOUND,
    THERMAL,
    VIDEO,
    further_parts,
    parts_claimed,
)
from restore_cli.imaging.containers.parts import (
    MOST_PARTS,
    MOST_PROFILE_BYTES,
    TOO_MANY_PARTS,
    TRUNCATED,
    Parts,
    UnreadableError,
    data_behind,
    not_square,
    texts_of_comments,
)
from restore_cli.imaging.containers.photoshop import SIGNATURE, iptc_of_resources, parts_of_resources
from restore_cli.imaging.decoded_image import JpegFacts

_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_START, _END, _START_OF_SCAN, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP2, _APP6, _APP11 = 0xE0, 0xE1, 0xE2, 0xE6, 0xEB
_APP12, _APP13, _APP14, _LAST_APP = 0xEC, 0xED, 0xEE, 0xEF
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_FIRST_ARITHMETIC_FRAME = 0xC9
# In compressed data 0xFF is followed by 0x00, by a restart marker, or by more of its kind.
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_PROFILE, _MULTI_PICTURE = b"ICC_PROFILE\0", b"MPF\0"
_BESIDE = {
    _APP1: {b"FLIR\0": THERMAL, b"QVCI\0": MAKERS_DATA},
    _APP2: {b"\0\2\0\1IJPEG": THERMAL},
    _APP6: {b"GoPro\0": MAKERS_DATA},
    _APP11: {b"HDR_RI": GAIN_MAP},
}
_JUMBF, _MANIFEST = b"JP", b"c2pa"
# What tells of the old compression, or is a smaller copy of the image: nothing that is missed.
_STALE = {_APP0: (b"JFIF", b"JFXX"), _APP12: (b"Ducky",), _LAST_APP: (b"Q ",)}
_NAME = re.compile(rb"[!-~][ -~]{0,30}[!-~]")
# What may be a JPEG of its own behind the image.
_BEHIND = frozenset({GAIN_MAP, DEPTH_MAP, MATTE, VIDEO, SOUND, EXTENDED_XMP})
_ENTRIES_OF_IMAGES, _ENTRY_BYTES = 0xB002, 16
_KIND_OF_IMAGE, _PREVIEWS = 0xFFFFFF, (0x010001, 0x010002)
_NEXT_IMAGE = b"\xff\xd9\xff\xd8\xff"

# A Huffman-coded block of 64 samples takes a bit at least, an arithmetic-coded one almost nothing.
_MOST_PIXELS_PER_BYTE = 64 * 8
_MOST_ARITHMETIC_PIXELS_PER_BYTE = 1 << 20
# Progressive files have about ten scans; each more is another walk through all blocks.
_MOST_PIXELS_OF_ALL_SCANS = 3_000_000_000
_CENTIMETRES_PER_INCH = 2.54


@dataclass
class _Found:
    """Collect what is met on the way through a file's segments."""

    core: list[bytes | memoryview] = field(default_factory=lambda: [b"\xff\xd8"])
    frame: tuple[int, int, int, int, int] | None = None  # marker, precision, height, width, components
    scans: int = 0
    end: int | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    profile_parts: dict[int, bytes] = field(default_factory=dict)
    profile_count: int = 0
    resources: bytes = b""  # Photoshop's, which may go on in a further segment
    images: int | None = None
    further: frozenset[str] = frozenset()
    dpi: tuple[float, float] | None = None
    proportions: tuple[str, ...] = ()
    comments: list[bytes] = field(default_factory=list)


def dissect_jpeg(data: bytes) -> Parts:
    """Take a JPEG apart.

    Raises:
        UnreadableError: If it declares no image, or one that we do not read.
    """
    found = _Found()
    damage = None
    try:
        damage = _walk(data, found)
    except (IndexError, struct.error):
        damage = TRUNCATED
    if found.frame is None or not found.scans:
        raise UnreadableError(damage or TRUNCATED)
    marker, precision, height, width, components = found.frame
    if precision != 8:
        msg = f"its {precision} bits a sample are not read"
        raise UnreadableError(msg)
    if 0 in (height, width):
        raise UnreadableError("it does not say how large it is")
    if damage is None:
        damage = _implausible(marker, height * width, len(data), found.scans)
    further = _further_parts(data, found) | parts_of_resources(found.resources)
    return Parts(
        core=b"".join(found.core),
        size=(height, width),
        gray=components == 1,
        frames=_count_of_images(data, found, further),
        damage=damage,
        exif=found.exif,
        xmp=found.xmp,
        icc_profile=_joined_profile(found),
        iptc=iptc_of_resources(found.resources),
        dpi=found.dpi,
        text=texts_of_comments(found.comments),
        further=further,
        warnings=found.proportions,
    )


def is_gray_jpeg(head: bytes) -> bool | None:
    """Tell from a JPEG's first bytes whether it is gray; None if they do not reach far enough."""
    found = _Found()
    with suppress(IndexError, struct.error):
        _walk(head, found)
    return None if found.frame is None else found.frame[4] == 1


def _implausible(marker: int, pixels: int, size_bytes: int, scans: int) -> str | None:
    arithmetic = marker >= _FIRST_ARITHMETIC_FRAME
    most = _MOST_ARITHMETIC_PIXELS_PER_BYTE if arithmetic else _MOST_PIXELS_PER_BYTE
    if pixels > most * size_bytes:
        return TRUNCATED
    if scans * pixels > max(_MOST_PIXELS_OF_ALL_SCANS, 16 * pixels):
        raise UnreadableError(f"it has more scans ({scans}) than an image needs")
    return None


def _walk(data: bytes, found: _Found) -> str | None:
    """Sort the segments; return what is missing, or None."""
    view = memoryview(data)
    position = 2
    for _ in range(MOST_PARTS):
        marker = data[position + 1]
        if data[position] != 0xFF or marker in (0x00, 0xFF):
            position += 1  # filling, or junk between segments, which decoders skip
            continue
        if marker == _END:
            found.core.append(view[position : position + 2])
            found.end = position + 2
            return None if found.scans else TRUNCATED
        if marker in _STANDALONE or marker == _START:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if end > len(data) or length < 2:
            return TRUNCATED
        if not _take_aside(marker, data[position + 4 : end], found):
            found.core.append(view[position:end])
        if marker in _FRAMES and found.frame is None:
            found.frame = (marker, *struct.unpack_from(">BHHB", data, position + 4))
        position = end
        if marker == _START_OF_SCAN:
            found.scans += 1
            match = _NEXT_MARKER.search(data, position)
            found.core.append(view[position : match.start() if match else len(data)])
            if match is None:
                return TRUNCATED
            position = match.start()
    return TOO_MANY_PARTS


def _take_aside(marker: int, body: bytes, found: _Found) -> bool:
    """Keep what a segment says beside the pixels; return False for one that the decoder needs."""
    if marker == _APP1 and body.startswith(_EXIF):
        found.further |= {FURTHER_EXIF} if found.exif not in (None, body) else set()
        found.exif = found.exif or body
    elif marker == _APP1 and body.startswith(_XMP):
        packet = body[len(_XMP) :]
        found.further |= {FURTHER_XMP} if found.xmp not in (None, packet) else set()
        found.xmp = found.xmp or packet
    elif marker == _APP1 and body.startswith(_MORE_XMP):
        found.further |= {EXTENDED_XMP} | further_parts(body)
    elif marker == _APP2 and body.startswith(_PROFILE) and len(body) >= 14:
        found.profile_count = max(found.profile_count, body[13])
        found.profile_parts.setdefault(body[12], body[14:])
    elif marker == _APP2 and body.startswith(_MULTI_PICTURE):
        found.images = _indexed_images(body[len(_MULTI_PICTURE) :])
    elif marker == _APP13 and body.startswith(SIGNATURE):
        found.resources += body[len(SIGNATURE) :]
    elif marker == _APP0 and body.startswith(b"JFIF\0") and len(body) >= 12:
        unit, across, down = struct.unpack_from(">BHH", body, 7)
        inches = {1: 1.0, 2: _CENTIMETRES_PER_INCH}.get(unit)
        found.dpi = None if inches is None else (across * inches, down * inches)
        found.proportions = not_square(across, down) if inches is None else ()
        return False
    elif marker == _APP14:
        return False  # tells how four channels are to be understood
    else:
        _note(marker, body, found)
    return _APP0 <= marker <= _LAST_APP or marker == _COMMENT


def _note(marker: int, body: bytes, found: _Found) -> None:
    """Keep a comment, and the name of a part that is not kept."""
    if marker == _COMMENT:
        found.comments.append(body.rstrip(b"\0"))
    elif marker == _APP11 and body.startswith(_JUMBF) and _MANIFEST in body:
        found.further |= {CREDENTIALS}
    elif _APP0 <= marker <= _LAST_APP and not body.startswith(_STALE.get(marker, ())):
        known = {name for start, name in _BESIDE.get(marker, {}).items() if body.startswith(start)}
        found.further |= known or {_unknown(marker, body)}


def _unknown(marker: int, body: bytes) -> str:
    """Name a segment by its number, and by the word it begins with if there is one."""
    name = _NAME.match(body)
    return f"APP{marker - _APP0} data" + (f" ({name[0].decode()})" if name else "")


def _joined_profile(found: _Found) -> bytes | None:
    if not found.profile_parts:
        return None
    numbers = range(1, found.profile_count + 1)
    if set(numbers) != found.profile_parts.keys():
        return b"broken"  # a part is missing; the colour rule has words for it
    profile = b"".join(found.profile_parts[number] for number in numbers)
    return profile if len(profile) <= MOST_PROFILE_BYTES else b"broken"


def _further_parts(data: bytes, found: _Found) -> frozenset[str]:
    """Return what lies beside the image, named by its own marks or by the XMP of the image."""
    behind = data[found.end :] if found.end is not None else b""
    if not behind:
        return found.further
    named = further_parts(behind) | parts_claimed(found.xmp or b"")
    is_known = named or found.images is not None or behind.startswith(_NEXT_IMAGE[2:])
    return found.further | (named if is_known else data_behind(behind))


def _count_of_images(data: bytes, found: _Found, further: frozenset[str]) -> int:
    """Return how many images there are, maps that were named apart, by an index or one behind the other."""
    if found.images is not None:
        return max(1, found.images - len(further & {GAIN_MAP, DEPTH_MAP, MATTE}))
    if found.end is None or further & _BEHIND:
        return 1
    return 1 + data.count(_NEXT_IMAGE, found.end - 2)


def _indexed_images(block: bytes) -> int:
    """Return how many images that are no previews a multi-image index names (CIPA DC-007)."""
    order = "<" if block.startswith(b"II") else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, start)
        for number in range(entries):
            tag, _, length, place = struct.unpack_from(f"{order}HHII", block, start + 2 + 12 * number)
            if tag == _ENTRIES_OF_IMAGES:
                places = range(place, place + length, _ENTRY_BYTES)
                kinds = [struct.unpack_from(f"{order}I", block, place)[0] & _KIND_OF_IMAGE for place in places]
                return sum(kind not in _PREVIEWS for kind in kinds)
    except struct.error:
        pass
    return 1


ENDS_EARLY = "its compressed data ends early: parts of it are made up"
LEFT_OVER = "its compressed data is damaged: some of it is left over"
LOST = "its compressed data is damaged: some of it is missing"
UNSOUND = "its compressed data is damaged: some of it makes no sense"

_CORRUPT, _PREMATURE, _RESTART = "Corrupt JPEG data", "remature end", "instead of RST"
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes")
_END_MARK_BYTES = 2


def fault_of_scans(core: bytes, components: int) -> str | None:
    """Return what is wrong with the compressed data of a JPEG that could be decoded, or None.

    Args:
        core: Tables, frame and scans, nothing else, as `dissect_jpeg` leaves them.
        components: How many it has; four are CMYK.
    """
    colorspace = "CMYK" if components == 4 else "GRAY"
    try:
        simplejpeg.decode_jpeg(core, colorspace=colorspace, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        return _fault_of(str(error), core)
    return None


def _fault_of(words: str, core: bytes) -> str | None:
    """Say in our words what libjpeg warned of; None for what concerns no compressed data."""
    if _PREMATURE in words:
        return ENDS_EARLY
    if _RESTART in words:
        return LOST
    extraneous = _EXTRANEOUS.search(words)
    if extraneous is not None:
        body = core[:-_END_MARK_BYTES]
        padding = len(body) - len(body.rstrip(b"\0"))  # which some cameras write
        return LEFT_OVER if int(extraneous[1]) > padding else None
    return UNSOUND if _CORRUPT in words else None


_HALVED_BOTH_WAYS = 2
# Of the luma table that ITU-T T.81 gives as an example (K.1), which libjpeg scales by the quality.
_SUM_OF_EXAMPLE_TABLE = 3688


def through_jpeg(pixels: npt.NDArray[np.uint8], quality: int) -> tuple[npt.NDArray[np.uint8], JpegFacts | None]:
    """Return an image as it comes back from a JPEG file, 4:2:0 if it is in colour, as cameras and the web have it.

    For scores of how well compression is undone; results are never written so.

    Args:
        pixels: (H, W, 1) or (H, W, 3).
        quality: libjpeg's, 1..100.

    Returns:
        The same shape, and what the file's header says.
    """
    file = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(file, "JPEG", quality=quality, subsampling=_HALVED_BOTH_WAYS)
    with Image.open(file) as compressed:
        return np.asarray(compressed).reshape(pixels.shape), jpeg_facts(compressed)


def jpeg_facts(image: Image.Image) -> JpegFacts | None:
    """Return how strongly a JPEG was compressed, from its header; None for other images."""
    tables = getattr(image, "quantization", None)
    components = getattr(image, "layer", None)
    if not tables or not components:
        return None
    # libjpeg's scaling backwards: 100 % is quality 50, 200 % is 25, 50 % is 75.
    percent = 100.0 * sum(tables[min(tables)]) / _SUM_OF_EXAMPLE_TABLE
    quality = 5000.0 / percent if percent > 100.0 else 100.0 - percent / 2.0
    samples = [across * down for _, across, down, *_ in components]
    return JpegFacts(quality=min(100, max(1, round(quality))), chroma_is_halved=min(samples) < samples[0])
