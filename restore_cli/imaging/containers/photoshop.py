"""IPTC records as Photoshop lays them into a JPEG, and as ImageMagick and ExifTool lay them into a PNG.

Stages 3 and 7, READ and WRITE. Photoshop's resources are blocks with a number, a name and a length; the one of number
0x0404 holds the records. PNG has no place for them but a text of hexadecimal digits, a "raw profile".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from restore_cli.imaging.containers.further_parts import FURTHER_IPTC, PATHS

SIGNATURE = b"Photoshop 3.0\0"
RAW_IPTC_KEYWORD = "Raw profile type iptc"

_RESOURCE, _IPTC = b"8BIM", 0x0404
# Other programs sign resources of their own among Photoshop's.
_OTHER_RESOURCES = (b"AgHg", b"DCSR", b"MeSa", b"PHUT")
_PATH_NUMBERS = range(2000, 2998)
# How a TIFF holds layers, in either byte order, for 8, 16 and 32 bits.
_LAYERS = re.compile(rb"8BIM(?:Layr|Lr16|Lr32)|MIB8(?:ryaL|61rL|23rL)")
_RECORD = b"\x1c"
_BYTES_A_LINE = 36


def iptc_of_resources(resources: bytes) -> bytes | None:
    """Return the IPTC records among Photoshop's resources, or None."""
    return next((body for number, body in _walk(resources) if number == _IPTC and body), None)


def parts_of_resources(resources: bytes) -> frozenset[str]:
    """Name what lies among Photoshop's resources and is not kept.

    Those are paths, such as ones that cut a product out, and IPTC records behind the first.
    """
    found = list(_walk(resources))
    records = {body for number, body in found if number == _IPTC and body}
    named = {PATHS: any(number in _PATH_NUMBERS for number, _ in found), FURTHER_IPTC: len(records) > 1}
    return frozenset(name for name, is_there in named.items() if is_there)


def has_layers(document: bytes) -> bool:
    """Return whether the data that Photoshop adds to a TIFF holds layers."""
    return _LAYERS.search(document) is not None


def _walk(resources: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the number and the body of each resource of Photoshop's own."""
    position = 0
    while position + 12 <= len(resources):
        signature, number, name_length = struct.unpack_from(">4sHB", resources, position)
        if signature != _RESOURCE and signature not in _OTHER_RESOURCES:
            return
        position += 6 + (name_length + 2) // 2 * 2  # a name with its length, padded to even
        if position + 4 > len(resources):
            return
        (length,) = struct.unpack_from(">I", resources, position)
        position += 4
        if signature == _RESOURCE:
            yield number, resources[position : position + length]
        position += (length + 1) // 2 * 2


def resources_of_iptc(iptc: bytes) -> bytes:
    """Return IPTC records as the one resource they are, without a name."""
    return _RESOURCE + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)


def read_raw_profile(text: str) -> bytes | None:
    """Return what lines of hexadecimal digits hold, a name and a length before them; None if they are none."""
    try:
        return bytes.fromhex("".join(text.strip().split("\n")[2:])) or None
    except ValueError:
        return None


def read_raw_iptc(text: str) -> bytes | None:
    """Return the IPTC records of a raw profile, whether bare or among resources."""
    data = read_raw_profile(text)
    return data if data is None or data.startswith(_RECORD) else iptc_of_resources(data)


def write_raw_iptc(iptc: bytes) -> str:
    """Return IPTC records as a raw profile, bare, as ImageMagick writes them."""
    lines = [iptc[start : start + _BYTES_A_LINE].hex() for start in range(0, len(iptc), _BYTES_A_LINE)]
    return "\n".join(["", "iptc", f"{len(iptc):8}", *lines, ""])
