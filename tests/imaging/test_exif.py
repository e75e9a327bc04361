"""EXIF goes through with every value as it was stored, in whatever byte order, format and language."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import ExifTags

from restore_cli.imaging.containers.tiff import Directory, read_directory
from restore_cli.imaging.decode import decode_bytes
from restore_cli.imaging.encode import encode
from tests.imaging.files import opened, pattern, saved

DETAILS, PLACE, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
BYTE, ASCII, SHORT, RATIONAL, UNDEFINED, SIGNED_RATIONAL = 1, 2, 3, 5, 7, 10
Entry = tuple[int, int, int, bytes]  # tag, type, count, bytes


def entry(order: str, tag: int, kind: int, *values: int) -> Entry:
    form = {BYTE: "B", SHORT: "H", RATIONAL: "II", SIGNED_RATIONAL: "ii"}[kind]
    count = len(values) // len(form)
    return tag, kind, count, struct.pack(order + form * count, *values)


def words(tag: int, text: str) -> Entry:
    data = text.encode() + b"\0"
    return tag, ASCII, len(data), data


def said(order: str) -> dict[int, list[Entry]]:
    """Return the entries of each directory, none of which a restoration makes untrue."""
    return {
        0: [
            words(ExifTags.Base.ImageDescription, "Stra\u00dfe in M\u00fcnchen"),
            words(ExifTags.Base.Artist, "J\u00fcrgen \u5c71\u7530"),
            words(ExifTags.Base.Copyright, "\u00a9 2024"),
            (ExifTags.Base.XPTitle, BYTE, 4, "\u00e9".encode("utf-16-le") + bytes(2)),
        ],
        DETAILS: [
            entry(order, ExifTags.Base.ExposureTime, RATIONAL, 10, 2500),
            entry(order, ExifTags.Base.ExposureBiasValue, SIGNED_RATIONAL, -2, 6),
            (ExifTags.Base.UserComment, UNDEFINED, 10, b"UNICODE\0\xe9\0"),
            (ExifTags.Base.MakerNote, UNDEFINED, 31, bytes(range(31))),
        ],
        INTEROPERABILITY: [words(1, "R03")],
        PLACE: [words(1, "N"), entry(order, 2, RATIONAL, 48, 1, 8, 1, 3012, 100)],
    }


def block(order: str) -> bytes:
    """Lay out a block, the first directory last."""
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 0))
    places: dict[int, int] = {}
    directories = said(order)
    for pointer in (INTEROPERABILITY, DETAILS, PLACE, 0):
        entries = [*directories[pointer]]
        held = {DETAILS: [INTEROPERABILITY], 0: [DETAILS, PLACE]}.get(pointer, [])
        entries += [(inner, 4, 1, struct.pack(f"{order}I", places[inner])) for inner in held]
        if pointer == 0:
            entries.append(entry(order, ExifTags.Base.Orientation, SHORT, 6))
        fields = []
        for tag, kind, count, data in sorted(entries):
            field = data.ljust(4, b"\0")
            if len(data) > 4:
                field = struct.pack(f"{order}I", len(out))
                out += data + bytes(len(data) % 2)
            fields.append(struct.pack(f"{order}HHI4s", tag, kind, count, field))
        places[pointer] = len(out)
        out += struct.pack(f"{order}H", len(fields)) + b"".join(fields) + bytes(4)
    struct.pack_into(f"{order}I", out, 4, places[0])
    return b"Exif\0\0" + bytes(out)


def stored(directory: Directory) -> set[Entry]:
    return {(tag, value.type, value.count, value.data) for tag, value in directory.values.items()}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("target", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_value_of_exif_comes_out_as_it_was_stored(order: str, source: str, target: str) -> None:
    if source == "TIFF":  # its own directory is the block's first, so that only a block of ours will do
        first = encode(decode_bytes(saved(pattern(), "JPEG", exif=block(order)), "x"), format="TIFF")
    else:
        first = saved(pattern(), source, exif=block(order))
    again = encode(decode_bytes(first, "x"), format=target)
    data = again if target == "TIFF" else opened(again).info["exif"]
    file = io.BytesIO(data.removeprefix(b"Exif\0\0"))
    found = read_directory(file)
    assert found.order == order
    assert set(said(order)[0]) <= stored(found)
    assert found.integer(ExifTags.Base.Orientation, 1) == 1
    details = read_directory(file, found.integer(DETAILS, 0))
    for pointer, home in ((DETAILS, found), (PLACE, found), (INTEROPERABILITY, details)):
        assert set(said(order)[pointer]) <= stored(read_directory(file, home.integer(pointer, 0))), hex(pointer)
