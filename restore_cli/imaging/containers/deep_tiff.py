"""Samples of 16 and more bits of a TIFF, whatever their number, order, type and arrangement.

Stage 3, READ. Pillow and libtiff know how strips and tiles are compressed, but have no image of three 16-bit channels,
nor of floats. So they are told that the file is a wide gray image of 16-bit words, which they return untouched; the
words become samples here. Differences that a compressor was fed (the predictor) are summed up here too.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, TiffImagePlugin

from restore_cli.imaging.containers.parts import DAMAGED, UnreadableError
from restore_cli.imaging.containers.tiff import (
    Directory,
    Value,
    longs,
    read_directory,
    shorts,
    storage_of,
    with_directory,
)
from restore_cli.imaging.pillow import load

_Tag = ExifTags.Base
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _CMYK: 4}
_PREMULTIPLIED, _ALPHA = 1, 2
_RAW = 1
_LOWEST_BIT_FIRST = 2
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3
_TOP = 65535
_DTYPES = {
    (_UNSIGNED, 16): "u2", (_UNSIGNED, 32): "u4", (_SIGNED, 16): "i2", (_SIGNED, 32): "i4",
    (_FLOAT, 16): "f2", (_FLOAT, 32): "f4", (_FLOAT, 64): "f8",
}  # fmt: skip


def is_deep_tiff(core: bytes) -> bool:
    """Return whether a TIFF's samples have 16 or more bits each."""
    directory = read_directory(io.BytesIO(core))
    bits = set(directory.integers(_Tag.BitsPerSample).tolist())
    return len(bits) == 1 and bits <= {16, 32, 64}


def read_deep_tiff(
    core: bytes, *, lenient: bool = False
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32] | None]:
    """Decode a TIFF for which `is_deep_tiff` holds.

    Args:
        core: As `dissect_tiff` left it.
        lenient: Leave samples that cannot be decoded 0.

    Returns:
        uint16 (H, W, C) that fill 0..65535, C = 1 (gray, 0 black), 3 (RGB) or 4 (CMYK), and alpha float32 (H, W) in
        [0, 1] or None. Colour premultiplied with alpha is divided by it.

    Raises:
        UnreadableError: If the kind of samples is not read, or values lie outside 0..65535 (integers) or 0..1 (floats).
    """
    directory = read_directory(io.BytesIO(core))
    photometric = directory.integer(_Tag.PhotometricInterpretation, _BLACK_IS_ZERO)
    kind = directory.integer(_Tag.SampleFormat, _UNSIGNED), directory.bits
    colors = _COLORS.get(photometric)
    if colors is None or kind not in _DTYPES or directory.samples < colors:
        msg = f"its {kind[1]}-bit samples of kind {photometric}/{kind[0]} are not read"
        raise UnreadableError(msg)
    if directory.integer(_Tag.FillOrder, 1) == _LOWEST_BIT_FIRST:
        core = _highest_bit_first(core, directory)
    samples = _to_16_bits(_read_samples(core, directory, _DTYPES[kind], lenient=lenient))
    color = samples[..., :colors]
    if photometric == _WHITE_IS_ZERO:
        color = _TOP - color
    if directory.samples == colors:
        return np.ascontiguousarray(color), None
    extra = directory.integer(_Tag.ExtraSamples, _ALPHA if photometric == _RGB else 0)
    if extra not in (_PREMULTIPLIED, _ALPHA):
        return np.ascontiguousarray(color), None
    alpha = samples[..., colors].astype(np.float32) / np.float32(_TOP)
    if extra == _PREMULTIPLIED:
        whole = color / np.maximum(alpha, 1 / _TOP)[..., np.newaxis]
        color = np.rint(np.minimum(whole, _TOP)).astype(np.uint16)
    return np.ascontiguousarray(color), alpha


def _highest_bit_first(core: bytes, directory: Directory) -> bytes:
    """Return a file whose strips or tiles, as they are compressed, have the bits of each byte in the usual order."""
    (places_tag, counts_tag), _, _ = storage_of(directory)
    data = bytearray(core)
    places, counts = directory.integers(places_tag).tolist(), directory.integers(counts_tag).tolist()
    parts = set(zip(places, counts, strict=False))  # equal strips may be stored once
    if len(places) != len(counts) or sum(count for _, count in parts) > len(core):
        msg = f"{DAMAGED}: its strips or tiles make no sense"
        raise UnreadableError(msg)
    for place, count in parts:
        data[place : place + count] = core[place : place + count].translate(_REVERSED_BITS)
    return bytes(data)


def _to_16_bits(samples: npt.NDArray[np.number]) -> npt.NDArray[np.uint16]:
    if samples.dtype == np.uint16:
        return samples.astype(np.uint16, copy=False)
    top = 1 if samples.dtype.kind == "f" else _TOP
    if not (samples.min() >= 0 and samples.max() <= top):  # false for NaN too
        msg = f"its samples are not all within 0 and {top}"
        raise UnreadableError(msg)
    if samples.dtype.kind != "f":
        return samples.astype(np.uint16)
    whole: npt.NDArray[np.uint16] = np.rint(samples * np.float64(_TOP)).astype(np.uint16)
    return whole


def _read_samples(core: bytes, directory: Directory, dtype: str, *, lenient: bool) -> npt.NDArray[np.number]:
    """Return all samples (H, W, samples a pixel) in the file's type."""
    samples, predictor = directory.samples, directory.integer(_Tag.Predictor, 1)
    if directory.integer(_Tag.Compression, _RAW) == _RAW:
        predictor = 1
    if directory.integer(_Tag.PlanarConfiguration, 1) != 2 or samples == 1:
        return _read_plane(core, directory, dtype, samples, predictor, plane=0, lenient=lenient)
    planes = [
        _read_plane(core, directory, dtype, 1, predictor, plane=plane, lenient=lenient) for plane in range(samples)
    ]
    return np.concatenate(planes, axis=2)


def _read_plane(
    core: bytes, directory: Directory, dtype: str, samples: int, predictor: int, *, plane: int, lenient: bool
) -> npt.NDArray[np.number]:
    """Return the samples (H, W, samples) of one plane, or of all where they lie together."""
    height, width = directory.size
    words = np.dtype(dtype).itemsize // 2
    disguised = with_directory(core, directory, _as_words(directory, samples * words, plane))
    with TiffImagePlugin.TiffImageFile(io.BytesIO(disguised)) as image:
        load(image, lenient=lenient)
        raw = np.asarray(image).astype(directory.order + "u2").view(np.uint8)  # (H, bytes of a row), as stored
    columns = storage_of(directory)[2] * samples
    stored_width = _stored_width(directory)
    if predictor == _FLOAT_DIFFERENCES:
        rows = _undo_float_differences(raw, columns, samples, words * 2).view(">" + dtype)
    else:
        rows = raw.view(directory.order + dtype)
        if predictor == _DIFFERENCES:
            rows = _undo_differences(rows, columns, samples)
    return rows.reshape(height, stored_width, samples)[:, :width].astype(dtype, copy=False)


def _stored_width(directory: Directory) -> int:
    """Return the width in pixels with what the last tile of a row has beyond the image."""
    columns = storage_of(directory)[2]
    return -(-directory.size[1] // columns) * columns


def _as_words(directory: Directory, words: int, plane: int) -> Mapping[int, Value]:
    """Return tags that tell of a gray image of 16-bit words, so many for each pixel."""
    (places_tag, counts_tag), rows, columns = storage_of(directory)
    height, width = directory.size[0], _stored_width(directory)
    here = slice(None)
    if directory.integer(_Tag.PlanarConfiguration, 1) == 2 and directory.samples > 1:
        count = -(-height // rows) * -(-width // columns)
        here = slice(plane * count, (plane + 1) * count)
    values = {
        _Tag.ImageWidth: longs(directory, [width * words]),
        _Tag.ImageLength: longs(directory, [height]),
        _Tag.BitsPerSample: shorts(directory, 16),
        _Tag.Compression: shorts(directory, directory.integer(_Tag.Compression, _RAW)),
        _Tag.PhotometricInterpretation: shorts(directory, _BLACK_IS_ZERO),
        _Tag.SamplesPerPixel: shorts(directory, 1),
        _Tag.PlanarConfiguration: shorts(directory, 1),
        places_tag: longs(directory, directory.integers(places_tag)[here]),
        counts_tag: longs(directory, directory.integers(counts_tag)[here]),
    }
    if _Tag.TileWidth in directory.values:
        values |= {_Tag.TileWidth: longs(directory, [columns * words]), _Tag.TileLength: longs(directory, [rows])}
    else:
        values |= {_Tag.RowsPerStrip: longs(directory, [rows])}
    return {int(tag): value for tag, value in values.items() if value.count}


def _undo_differences(rows: npt.NDArray[np.number], columns: int, samples: int) -> npt.NDArray[np.number]:
    """Sum up differences between neighbouring pixels, which begin anew in each column of tiles."""
    integers = rows.view(f"{rows.dtype.byteorder}u{rows.itemsize}").astype(f"u{rows.itemsize}")
    for start in range(0, integers.shape[1], columns):
        tile = integers[:, start : start + columns]
        lanes = tile.reshape(tile.shape[0], -1, samples)
        tile[:] = np.cumsum(lanes, axis=1, dtype=integers.dtype).reshape(tile.shape)
    return integers.view(f"{rows.dtype.kind}{rows.itemsize}")


def _undo_float_differences(raw: npt.NDArray[np.uint8], columns: int, samples: int, size: int) -> npt.NDArray[np.uint8]:
    """Sum up differences of bytes, and gather each number's bytes, which were stored apart, the highest first."""
    gathered = np.empty_like(raw)
    for start in range(0, raw.shape[1], columns * size):
        tile = raw[:, start : start + columns * size]
        lanes = tile.reshape(tile.shape[0], -1, samples)
        summed = np.cumsum(lanes, axis=1, dtype=np.uint8).reshape(tile.shape[0], size, -1)
        gathered[:, start : start + columns * size] = summed.transpose(0, 2, 1).reshape(tile.shape)
    return gathered
