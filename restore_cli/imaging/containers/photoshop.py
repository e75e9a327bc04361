"""IPTC records as Photoshop lays them into a JPEG, and as ImageMagick and ExifTool lay them into a PNG.

Stages 3 and 7, READ and WRITE. Photoshop's resources are blocks with a number, a name and a length; the one of number
0x0404 holds the records. PNG has no place for them but a text of hexadecimal digits, a "raw profile".
"""

from __future__ import annotations

import struct

SIGNATURE = b"Photoshop 3.0\0"
RAW_IPTC_KEYWORD = "Raw profile type iptc"

_RESOURCE, _IPTC = b"8BIM", 0x0404
_RECORD = b"\x1c"
_BYTES_A_LINE = 36


def iptc_of_resources(resources: bytes) -> bytes | None:
    """Return the IPTC records among Photoshop's resources, or None."""
    position = 0
    while resources[position : position + 4] == _RESOURCE and position + 12 <= len(resources):
        (number,) = struct.unpack_from(">H", resources, position + 4)
        position += 6 + (resources[position + 6] + 2) // 2 * 2  # a name with its length, padded to even
        if position + 4 > len(resources):
            return None
        (length,) = struct.unpack_from(">I", resources, position)
        position += 4
        if number == _IPTC:
            return resources[position : position + length] or None
        position += (length + 1) // 2 * 2
    return None


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
