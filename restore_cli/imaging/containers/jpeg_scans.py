"""Whether a JPEG's compressed data is all there, which its decoder knows and Pillow does not pass on.

Stage 3, READ, behind the decoder. Where data ends before the image does, libjpeg makes up the rest in gray, and where
some is left over it skips that; either way bytes were changed or lost on the way, and the image is another from there
on. It warns of both, to nobody. So it is asked by experiment: decoded once more with filler behind each run of data, a
whole image comes out as it did, since its decoder never gets there; and with filler in place of the last bytes it
cannot. That costs two to three times the decoding, of which there are a hundred to one run of a network.

Damage that leaves every run at its length (a changed bit of a coefficient) is another image, as good as the first.
"""

from __future__ import annotations

import random
import re
import struct
import zlib

from restore_cli.imaging.containers.pillow import open_as

ENDS_EARLY = "its compressed data ends early: parts of it are made up"
LOST = "its compressed data is damaged: some of it is missing"
LEFT_OVER = "its compressed data is damaged: some of it is left over"

_FILLER_BYTES = 64
_TAIL_BYTES = 4
_FILLERS = 4
_MOST_SCANS = 20
# Beyond, the experiment would take as much memory again as the image.
_MOST_PIXELS_AT_FULL_SIZE = 24_000_000
_MOST_RESTARTS = 10_000
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
_START_OF_SCAN, _END, _RESTART_INTERVAL = 0xDA, 0xD9, 0xDD
_PROGRESSIVE = 0xC2
_HUFFMAN_CODED = {0xC0, 0xC1, _PROGRESSIVE}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def fault_of_scans(core: bytes, pixels: int) -> str | None:
    """Return what is wrong with the compressed data of a JPEG that could be decoded, or None.

    Args:
        core: Tables, frame and scans, nothing else, as `dissect_jpeg` leaves them.
        pixels: How many it has.
    """
    try:
        frame, pieces, scans = _parted(core)
    except (IndexError, struct.error, ValueError):
        return None
    # An arithmetic coder leaves out what its decoder makes up.
    if not 0 < len(scans) <= _MOST_SCANS or frame not in _HUFFMAN_CODED:
        return None
    if not all(_restarts_in_order(pieces[index]) for index in scans):
        return LOST
    eighth = pixels > _MOST_PIXELS_AT_FULL_SIZE
    as_it_is = _decoded(core, eighth=eighth)
    longer = [_lengthened(piece, _filler(0)) if index in scans else piece for index, piece in enumerate(pieces)]
    if _decoded(b"".join(longer), eighth=eighth) not in (None, as_it_is):
        return ENDS_EARLY
    last = scans[-1]
    data = pieces[last].rstrip(b"\xff")
    if eighth or frame == _PROGRESSIVE or len(data) <= _TAIL_BYTES or len(set(data[-_TAIL_BYTES:])) == 1:  # padding
        return None
    kept = data[:-_TAIL_BYTES].rstrip(b"\xff")
    for seed in range(_FILLERS):  # white may hide what is whiter; nothing hides several random textures
        other = b"".join([*pieces[:last], kept, _filler(seed), *pieces[last + 1 :]])
        if _decoded(other, eighth=False) != as_it_is:
            return None
    return LEFT_OVER


def _parted(core: bytes) -> tuple[int, list[bytes], list[int]]:
    """Return the frame's marker, the file in pieces, and which of these are compressed data."""
    frame, scans = 0, []
    pieces = [core[:2]]
    position = 2
    while core[position + 1] != _END:
        marker = core[position + 1]
        (length,) = struct.unpack_from(">H", core, position + 2)
        end = position + 2 + length
        pieces.append(core[position:end])
        frame = frame or (marker if marker in _FRAMES else 0)
        position = end
        if marker == _START_OF_SCAN:
            match = _NEXT_MARKER.search(core, position)
            if match is None:
                raise ValueError
            scans.append(len(pieces))
            pieces.append(core[position : match.start()])
            position = match.start()
    return frame, [*pieces, core[position:]], scans


def _restarts_in_order(scan: bytes) -> bool:
    """Tell whether the restart markers within some compressed data count from 0 to 7 over and over."""
    numbers = (found.group()[-1] & 7 for found in _RESTART.finditer(scan))
    return all(number == index & 7 for index, number in enumerate(numbers))


def _lengthened(scan: bytes, filler: bytes) -> bytes:
    """Return compressed data with filler behind it and before each restart marker."""
    if scan.count(b"\xff") < _MOST_RESTARTS or len(_RESTART.findall(scan)) < _MOST_RESTARTS:
        scan = _RESTART.sub(lambda found: filler + found.group(), scan)
    return scan.rstrip(b"\xff") + filler


def _filler(seed: int) -> bytes:
    return random.Random(seed).randbytes(_FILLER_BYTES).replace(b"\xff", b"\x5a")  # noqa: S311 - no secret


def _decoded(core: bytes, *, eighth: bool) -> int | None:
    """Return a checksum of the samples a decoder makes of a file; None where it refuses."""
    try:
        with open_as("JPEG", core) as image:
            if eighth:
                image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
            return zlib.crc32(image.tobytes())
    except (OSError, ValueError, SyntaxError):
        return None
