"""Image formats by name, suffix and first bytes; no Pillow, so that planning can ask without loading it.

Stages 2, 3 and 7: the plan looks for files by suffix, `decode` goes by the bytes, `encode` by the wanted format.
"""

from __future__ import annotations

from pathlib import PurePath

from restore_cli.errors import EncodeError

# Pillow's name of the format a suffix promises.
_FORMAT_BY_SUFFIX = {
    ".png": "PNG",
    ".apng": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".mpo": "MPO",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".avifs": "AVIF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
    ".pfm": "PPM",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".jxl": "JXL",
}

SUFFIXES: frozenset[str] = frozenset(_FORMAT_BY_SUFFIX)
"""Lower-case suffixes of the files that are taken for images in a folder."""

READABLE_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM")

EXTRA_BY_FORMAT = {"HEIF": "heif", "JXL": "jxl"}
"""Formats whose decoders are optional, and the extra of this package that brings them."""

_SUFFIX_BY_WRITABLE_FORMAT = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "WEBP": ".webp",
    "TIFF": ".tif",
    "AVIF": ".avif",
    "PPM": ".ppm",
    "HEIF": ".heic",
    "JXL": ".jxl",
}

WRITABLE_FORMATS: tuple[str, ...] = tuple(_SUFFIX_BY_WRITABLE_FORMAT)

# What a format that is read but not written becomes; an MPO is a JPEG with more behind it.
_WRITTEN_AS = {"BMP": "PNG", "GIF": "PNG", "MPO": "JPEG"}

_PNM_MAGIC = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf", b"PF")
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II\x2a\x00", "TIFF"),
    (b"MM\x00\x2a", "TIFF"),
    (b"II\x2b\x00", "TIFF"),
    (b"MM\x00\x2b", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\xff\x0a", "JXL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JXL"),
)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}

_RAW = "a camera raw: develop it first, with a raw converter, and restore the TIFF or PNG that it writes"
# Panasonic, Olympus, Fujifilm, Canon, Sigma, Minolta; the other makers' are laid out as TIFFs.
_RAW_MAGIC = (
    b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FUJIFILMCCD-RAW", b"\0\0\0\x18ftypcrx ", b"II\x1a\0\0\0HEAPCCDR", b"FOVb",
    b"\0MRM",
)  # fmt: skip

RAW_SUFFIXES = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos",
    ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
})  # fmt: skip
"""Suffixes of cameras' raw files, in lower case."""

# First bytes of what people rename or drop among their images, for a message that says what the file really is.
_FOREIGN_MAGIC = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"8BPS", "a Photoshop document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"#!", "a script"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x7fELF", "a program"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\x00\x00\x01\x00", "an icon, a folder of images: save the largest as PNG"),
    (b"\x00\x00\x02\x00", "a mouse pointer"),
    (b"\x0a\x05\x01\x08", "a PCX image"),
    (b"DDS ", "a DDS texture"),
    *((magic, _RAW) for magic in _RAW_MAGIC),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance image"),
    (b"{\\rtf", "a document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"MZ", "a program"),
    (b"\x00\x05\x16\x07", "what macOS keeps beside a file (AppleDouble)"),
    (b"\x1a\x45\xdf\xa3", "a film"),
)


def output_format(source_format: str, target_suffix: str) -> str:
    """Decide the format of an output: what its name promises, else what the source was.

    Args:
        source_format: The source's format as Pillow names it.
        target_suffix: The output's suffix with its dot, in any case; "" if it has none.

    Returns:
        One of `WRITABLE_FORMATS`. BMP and GIF sources become PNG, MPO becomes JPEG.

    Raises:
        EncodeError: If the suffix promises a format that is not written.
    """
    suffix = target_suffix.lower()
    if not suffix:
        return _WRITTEN_AS.get(source_format, source_format)
    promised = _FORMAT_BY_SUFFIX.get(suffix)
    if promised == "MPO":
        return "JPEG"
    if promised not in WRITABLE_FORMATS:
        msg = f"images are not written as {target_suffix}"
        known = ", ".join(_SUFFIX_BY_WRITABLE_FORMAT.values())
        raise EncodeError(msg, hint=f"choose one of {known}")
    return promised


def suffix_of(format_name: str) -> str:
    """Return the suffix of a format's files, with its dot.

    Args:
        format_name: Pillow's name of the format; BMP, GIF and MPO give that of what they become.

    Raises:
        ValueError: If the format is not written.
    """
    written = _WRITTEN_AS.get(format_name, format_name)
    if written not in _SUFFIX_BY_WRITABLE_FORMAT:
        msg = f"unknown output format {format_name!r}; known: {', '.join(WRITABLE_FORMATS)}"
        raise ValueError(msg)
    return _SUFFIX_BY_WRITABLE_FORMAT[written]


def format_of_bytes(data: bytes) -> str | None:
    """Return Pillow's name of the format these bytes begin as, or None if it is none we read."""
    for magic, format_name in _MAGIC:
        if data.startswith(magic):
            return format_name
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    brands = _brands(data)
    if _AVIF_BRANDS & brands:
        return "AVIF"
    if _HEIF_BRANDS & brands:
        return "HEIF"
    if data[:2] in _PNM_MAGIC and data[2:3] in (b" ", b"\t", b"\n", b"\r", b"\x0b", b"\x0c", b"#"):
        return "PPM"
    return None


def foreign_kind(data: bytes) -> str:
    """Say in a few words what bytes are that begin as no format we read."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, kind in _FOREIGN_MAGIC:
        if data.startswith(magic) or start.lower().startswith(magic.lower()):
            return kind
    return "of no known format"


def promised_format(name: str) -> str | None:
    """Return the format a file's suffix promises, as Pillow names it, or None if the suffix promises none."""
    return _FORMAT_BY_SUFFIX.get(PurePath(name).suffix.lower())


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of an ISO base media file, none for any other."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12], *(data[offset : offset + 4] for offset in range(16, end - 3, 4))}
