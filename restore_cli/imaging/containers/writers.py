"""Samples and metadata to the bytes of each format.

Stage 7, WRITE, below `encode`, which has decided by then what the format can hold. Pillow's writers are used where they
keep everything; all TIFF is laid out here. PNG is written by the module that reads it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags

from restore_cli.errors import EncodeError
from restore_cli.imaging.containers.exif import read_exif, without_orientation
from restore_cli.imaging.containers.parts import COMMENT
from restore_cli.imaging.containers.photoshop import SIGNATURE as PHOTOSHOP
from restore_cli.imaging.containers.photoshop import resources_of_iptc
from restore_cli.imaging.containers.png import write_png
from restore_cli.imaging.containers.tiff import Directory, Value, longs, read_directory, shorts, with_directory
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.pillow import image_of

Samples = npt.NDArray[np.unsignedinteger]
Writer = Callable[[Samples, DecodedImage, int, bool], bytes]

_LEVEL = 6
_BEST_QUALITY = 100
# A JPEG's metadata segments count their bytes in 16 bits, the length field and a signature included.
_JPEG_SEGMENT_BYTES = 65535
_JPEG_ROOMS = {
    "EXIF": _JPEG_SEGMENT_BYTES - 2,
    "XMP": _JPEG_SEGMENT_BYTES - 2 - len(b"http://ns.adobe.com/xap/1.0/\0"),
    "IPTC": _JPEG_SEGMENT_BYTES - 2 - len(PHOTOSHOP) - len(resources_of_iptc(b"")) - 1,
}

_Tag = ExifTags.Base
_IPTC_TAG = 33723
_BYTE, _RATIONAL, _UNDEFINED = 1, 5, 7
_PER_INCH = 2
_MOST_DENOMINATOR = 10_000
_DEFLATE, _DIFFERENCES = 8, 2
_STRIP_BYTES = 1 << 18
_MOST_PPM_COMMENT = 8000  # signs: programs read headers that are not much longer
_MOST_TIFF_BYTES = (1 << 32) - (1 << 24)


def too_long_for_jpeg(image: DecodedImage) -> tuple[str, ...]:
    """Return the names of metadata that do not fit into a JPEG's segments."""
    held = {"EXIF": image.exif, "XMP": image.xmp, "IPTC": image.iptc}
    return tuple(name for name, data in held.items() if data is not None and len(data) > _JPEG_ROOMS[name])


def _write_jpeg(samples: Samples, kept: DecodedImage, quality: int, lossless: bool) -> bytes:  # noqa: ARG001
    too_long = too_long_for_jpeg(kept)
    iptc = b"" if kept.iptc is None or "IPTC" in too_long else _photoshop_segment(kept.iptc)
    buffer = io.BytesIO()
    image_of(samples).save(
        buffer,
        "JPEG",
        quality=quality,
        subsampling=0,
        icc_profile=kept.icc_profile,
        exif=b"" if "EXIF" in too_long else kept.exif or b"",
        xmp=b"" if "XMP" in too_long else kept.xmp or b"",
        dpi=kept.dpi or (0, 0),
        extra=iptc + b"".join(_comment_segments(kept)),
    )
    return buffer.getvalue()


def _comment_segments(kept: DecodedImage) -> Iterator[bytes]:
    for keyword, value in kept.text:
        if keyword == COMMENT:
            body = value.encode("utf-8", "replace")[: _JPEG_SEGMENT_BYTES - 2]
            yield b"\xff\xfe" + struct.pack(">H", 2 + len(body)) + body


def _photoshop_segment(iptc: bytes) -> bytes:
    body = PHOTOSHOP + resources_of_iptc(iptc)
    return b"\xff\xed" + struct.pack(">H", 2 + len(body)) + body


def _write_tiff(samples: Samples, kept: DecodedImage, quality: int, lossless: bool) -> bytes:  # noqa: ARG001
    return write_tiff([(samples, kept)])


def write_tiff(pages: Sequence[tuple[Samples, DecodedImage]]) -> bytes:
    """Write deflated strips behind the metadata of the first page, the directories behind both.

    Args:
        pages: Samples of each, and what it says; details of EXIF are those of the first.

    Raises:
        EncodeError: If a TIFF cannot hold so much.
    """
    parts = [_tiff_of_exif(pages[0][1].exif)]
    directory = read_directory(io.BytesIO(parts[0]))
    end = len(parts[0])
    directories: list[dict[int, Value]] = []
    for samples, kept in pages:
        described = directory if not directories else read_directory(io.BytesIO(_tiff_of_exif(kept.exif)))
        values = dict(described.values) if described.order == directory.order else {}
        if directories:  # their details lie in another block
            values = {tag: value for tag, value in values.items() if tag not in (_Tag.ExifOffset, _Tag.GPSInfo)}
        strips, rows = _strips_of(samples, directory.order)
        lengths = np.array([len(strip) for strip in strips], dtype=np.int64)
        places = end + np.concatenate([[0], np.cumsum(lengths)[:-1]])
        end += int(lengths.sum())
        if end > _MOST_TIFF_BYTES:
            raise EncodeError("a TIFF ends at 4 GiB", hint="add --format png")
        parts += strips
        values |= _described(kept, directory) | _storage(samples, rows, places, lengths, directory)
        directories.append({int(tag): value for tag, value in values.items()})
    return with_directory(b"".join(parts), directory, *directories)


def _strips_of(samples: Samples, order: str) -> tuple[list[bytes], int]:
    """Return deflated strips, and how many rows are in each."""
    rows = max(1, _STRIP_BYTES // (samples.shape[1] * samples.shape[2] * samples.itemsize))
    return [_deflated(samples[top : top + rows], order) for top in range(0, samples.shape[0], rows)], rows


def _storage(
    samples: Samples, rows: int, places: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], directory: Directory
) -> dict[int, Value]:
    """Return the tags of how samples are stored."""
    height, width, channels = samples.shape
    values = {
        _Tag.ImageWidth: longs(directory, [width]),
        _Tag.ImageLength: longs(directory, [height]),
        _Tag.BitsPerSample: shorts(directory, *[samples.dtype.itemsize * 8] * channels),
        _Tag.Compression: shorts(directory, _DEFLATE),
        _Tag.PhotometricInterpretation: shorts(directory, 2 if channels >= 3 else 1),
        _Tag.StripOffsets: longs(directory, places),
        _Tag.SamplesPerPixel: shorts(directory, channels),
        _Tag.RowsPerStrip: longs(directory, [rows]),
        _Tag.StripByteCounts: longs(directory, lengths),
        _Tag.PlanarConfiguration: shorts(directory, 1),
        _Tag.Predictor: shorts(directory, _DIFFERENCES),
    }
    if channels in (2, 4):
        values[_Tag.ExtraSamples] = shorts(directory, 2)  # alpha, not multiplied in
    return {int(tag): value for tag, value in values.items()}


def _tiff_of_exif(exif: bytes | None) -> bytes:
    """Return an EXIF block as the TIFF that it is; an empty one if there is none."""
    if exif is None:
        return b"II" + struct.pack("<HIHI", 42, 8, 0, 0)
    return read_exif(exif).data


def _described(kept: DecodedImage, directory: Directory) -> dict[int, Value]:
    """Return the tags of what an image says beside EXIF."""
    blocks = {_Tag.XMLPacket: (_BYTE, kept.xmp), _IPTC_TAG: (_UNDEFINED, kept.iptc)}
    blocks[_Tag.InterColorProfile] = (_UNDEFINED, kept.icc_profile)
    values = {int(tag): Value(type=kind, count=len(data), data=data) for tag, (kind, data) in blocks.items() if data}
    if kept.dpi is not None:
        across, down = (Fraction(dpi).limit_denominator(_MOST_DENOMINATOR) for dpi in kept.dpi)
        for tag, dots in ((_Tag.XResolution, across), (_Tag.YResolution, down)):
            data = struct.pack(f"{directory.order}II", dots.numerator, dots.denominator)
            values[int(tag)] = Value(type=_RATIONAL, count=1, data=data)
        values[int(_Tag.ResolutionUnit)] = shorts(directory, _PER_INCH)
    return values


def _deflated(rows: Samples, order: str) -> bytes:
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.astype(f"{order}u{rows.itemsize}", copy=False).tobytes(), _LEVEL)


def _write_ppm(samples: Samples, kept: DecodedImage, quality: int, lossless: bool) -> bytes:  # noqa: ARG001
    height, width, channels = samples.shape
    top = 65535 if samples.dtype == np.uint16 else 255
    lines = [line for keyword, text in kept.text if keyword == COMMENT for line in text.splitlines()]
    comments = "".join(f"# {line}\n" for line in lines)[:_MOST_PPM_COMMENT]
    comments += "" if comments.endswith("\n") or not comments else "\n"
    header = f"{'P5' if channels == 1 else 'P6'}\n{comments}{width} {height}\n{top}\n".encode("utf-8", "replace")
    return header + samples.astype(samples.dtype.newbyteorder(">"), copy=False).tobytes()


def _write_webp(samples: Samples, kept: DecodedImage, quality: int, lossless: bool) -> bytes:
    return _saved(samples, "WEBP", kept, quality=quality, lossless=lossless, exact=lossless)


def _write_avif(samples: Samples, kept: DecodedImage, quality: int, lossless: bool) -> bytes:  # noqa: ARG001
    options: dict[str, Any] = {} if samples.shape[2] == 1 else {"subsampling": "4:4:4"}
    # Pillow keeps an orientation elsewhere, and would write the rest of the block anew in its own way.
    bare = replace(kept, exif=None if kept.exif is None else without_orientation(kept.exif))
    return _saved(samples, "AVIF", bare, quality=quality, **options)


def _write_heif(samples: Samples, kept: DecodedImage, quality: int, lossless: bool) -> bytes:
    if lossless:
        # The identity matrix: no rounding on the way to luma and chroma and back.
        return _saved(samples, "HEIF", kept, quality=-1, chroma=444, matrix_coefficients=0)
    return _saved(samples, "HEIF", kept, quality=quality, chroma=444)


def _write_jxl(samples: Samples, kept: DecodedImage, quality: int, lossless: bool) -> bytes:
    # At 100 its encoder has nothing to lose, and refuses to be told that it may.
    whole = lossless or quality == _BEST_QUALITY
    return _saved(samples, "JXL", kept, quality=quality, lossless=whole, use_container=bool(kept.exif or kept.xmp))


def _saved(samples: Samples, format_name: str, kept: DecodedImage, **options: Any) -> bytes:
    metadata = {"icc_profile": kept.icc_profile, "exif": kept.exif, "xmp": kept.xmp}
    buffer = io.BytesIO()
    image_of(samples).save(buffer, format_name, **{name: data for name, data in metadata.items() if data}, **options)
    return buffer.getvalue()


WRITERS: dict[str, Writer] = {
    "PNG": write_png,
    "JPEG": _write_jpeg,
    "TIFF": _write_tiff,
    "PPM": _write_ppm,
    "WEBP": _write_webp,
    "AVIF": _write_avif,
    "HEIF": _write_heif,
    "JXL": _write_jxl,
}
