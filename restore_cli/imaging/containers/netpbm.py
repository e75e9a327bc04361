"""PBM, PGM, PPM and PFM: headers of words, then samples; read here, since Pillow does odd maxima pixel by pixel.

Stage 3, READ. Samples keep their depth: anything beyond 8 bits becomes 16, as a maximum of 65535 means.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from restore_cli.imaging.containers.parts import DAMAGED, MOST_PARTS, TRUNCATED, UnreadableError

_WORD = re.compile(rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])*([^ \t\r\n\v\f#]{1,20})")
_COMMENT = re.compile(rb"#[^\r\n]*")
_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3}
_BITMAPS, _FLOATS, _PLAIN = (b"P1", b"P4"), (b"Pf", b"PF"), (b"P1", b"P2", b"P3")
# Longest a sample is in a plain file, in digits and spaces, before it is padded for padding's sake.
_MOST_PLAIN_BYTES = 64
_MOST_HEADER_BYTES = 65536


@dataclass(frozen=True, kw_only=True)
class NetpbmHeader:
    """Describe a file: its kind, size, top value (negative: little-endian floats), comment, and where samples begin."""

    magic: bytes
    height: int
    width: int
    top: float
    start: int
    comment: bytes = b""

    @property
    def channels(self) -> int:
        """Return 1 for gray, 3 for colour."""
        return _CHANNELS[self.magic]


def read_netpbm_header(data: bytes) -> NetpbmHeader:
    """Read the header.

    Raises:
        UnreadableError: If it makes no sense.
    """
    magic, position = data[:2], 2
    words = []
    for _ in range(2 if magic in _BITMAPS else 3):
        match = _WORD.match(data, position, _MOST_HEADER_BYTES)
        if match is None:
            short = len(data) < _MOST_HEADER_BYTES
            raise UnreadableError(TRUNCATED if short else f"{DAMAGED}: its header makes no sense")
        words.append(match.group(1))
        position = match.end()
    try:
        width, height = int(words[0]), int(words[1])
        top = 1.0 if magic in _BITMAPS else float(words[2])
    except ValueError as error:
        msg = f"{DAMAGED}: its header makes no sense"
        raise UnreadableError(msg) from error
    sound = math.isfinite(top) and top != 0 if magic in _FLOATS else 1 <= top <= 65535 and top == int(top)
    if min(width, height) < 1 or not sound:
        msg = f"{DAMAGED}: its header makes no sense"
        raise UnreadableError(msg)
    comment = b"\n".join(line[1:].strip() for line in _COMMENT.findall(data, 2, position))
    return NetpbmHeader(magic=magic, height=height, width=width, top=top, start=position + 1, comment=comment)


def is_netpbm_short(data: bytes, header: NetpbmHeader) -> bool:
    """Tell by its length alone that a file cannot hold all its samples, before memory is spent on them."""
    return len(data) - header.start < _least_bytes(header)


def count_netpbm(data: bytes, header: NetpbmHeader) -> int:
    """Return how many images follow each other; only one can where samples are words."""
    count, end = 1, header.start + _least_bytes(header)
    while header.magic not in _PLAIN and data[end : end + 2] in _CHANNELS and count < MOST_PARTS:
        try:
            header = read_netpbm_header(data[end : end + _MOST_HEADER_BYTES])
        except UnreadableError:
            break
        count, end = count + 1, end + header.start + _least_bytes(header)
    return count


def _least_bytes(header: NetpbmHeader) -> int:
    """Return how many bytes the samples take, at least where they are words."""
    count = header.height * header.width * header.channels
    if header.magic == b"P4":
        return (header.width + 7) // 8 * header.height
    if header.magic in _FLOATS:
        return 4 * count
    if header.magic == b"P1":
        return count
    return count * (2 if header.top > 255 or header.magic in _PLAIN else 1) - (header.magic in _PLAIN)


def read_netpbm(data: bytes, header: NetpbmHeader) -> tuple[npt.NDArray[np.unsignedinteger], str | None]:
    """Read the samples.

    Args:
        data: The whole file.
        header: Its header, the size found acceptable.

    Returns:
        uint8 or uint16 (H, W, C) filling their range, and what is damaged (missing samples are 0), or None.

    Raises:
        UnreadableError: If samples are no numbers, or lie outside the range the header states.
    """
    shape = (header.height, header.width, header.channels)
    count = math.prod(shape)
    if header.magic in _FLOATS:
        values = _counted(data, header.start, count, "<f4" if header.top < 0 else ">f4")
        samples, damage = _whole(values, count)
        if not (np.isfinite(samples).all() and samples.min() >= 0 and samples.max() <= 1):
            raise UnreadableError("its samples are not all within 0 and 1")
        return np.rint(samples.reshape(shape)[::-1] * np.float64(65535)).astype(np.uint16), damage
    if header.magic == b"P4":
        row_bytes = (header.width + 7) // 8
        rows, damage = _whole(_counted(data, header.start, row_bytes * header.height, "u1"), row_bytes * header.height)
        bits = np.unpackbits(rows.reshape(header.height, row_bytes).astype(np.uint8, copy=False), axis=1)[
            :, : header.width
        ]
        return (255 - 255 * bits)[..., np.newaxis], damage
    if header.magic in _PLAIN:
        samples, damage = _read_plain(data, header, count)
    else:
        samples, damage = _whole(_counted(data, header.start, count, ">u2" if header.top > 255 else "u1"), count)
    if samples.max() > header.top:
        msg = f"{DAMAGED}: a sample is larger than {header.top:g}, the largest its header allows"
        raise UnreadableError(msg)
    return _stretched(samples.reshape(shape), int(header.top)), damage


def _counted(data: bytes, start: int, count: int, dtype: str) -> npt.NDArray[np.number]:
    """Return as many samples as there are, `count` at most."""
    there = max(0, len(data) - start) // np.dtype(dtype).itemsize
    return np.frombuffer(data, dtype, min(count, there), min(start, len(data)))


def _whole(samples: npt.NDArray[np.number], count: int) -> tuple[npt.NDArray[np.number], str | None]:
    if samples.size == count:
        return samples, None
    return np.concatenate([samples, np.zeros(count - samples.size, samples.dtype)]), TRUNCATED


def _read_plain(data: bytes, header: NetpbmHeader, count: int) -> tuple[npt.NDArray[np.number], str | None]:
    body = data[header.start - 1 :]
    if len(body) > count * _MOST_PLAIN_BYTES + 65536:
        raise UnreadableError(f"{DAMAGED}: its samples have no end")
    if b"#" in body:
        body = _COMMENT.sub(b"", body)
    if header.magic == b"P1":
        digits = np.frombuffer(body, np.uint8)
        digits = digits[digits > 32] - 48
        if digits.size and digits.max() > 1:
            raise UnreadableError(f"{DAMAGED}: its samples are not all 0 or 1")
        samples, damage = _whole(digits[:count], count)
        return 1 - samples.astype(np.int32), damage
    if body.translate(None, b"0123456789 \t\r\n\v\f"):
        raise UnreadableError(f"{DAMAGED}: its samples are not all numbers")
    values = np.fromstring(body, dtype=np.int32, sep=" ")
    return _whole(values[:count], count)


def _stretched(samples: npt.NDArray[np.number], top: int) -> npt.NDArray[np.unsignedinteger]:
    """Make samples of 0..top fill 8 bits, or 16 if they need more."""
    full, dtype = (255, np.uint8) if top <= 255 else (65535, np.uint16)
    if top == full:
        return samples.astype(dtype)
    table = np.rint(np.arange(top + 1) * (full / top)).astype(dtype)
    stretched: npt.NDArray[np.unsignedinteger] = table[samples]
    return stretched
