"""EXIF goes through with every value as it was stored, in whatever byte order, format and language."""

from __future__ import annotations

import io
import struct

import pytest
import tifffile
from PIL import ExifTags

from restore_cli.imaging.containers.tiff import Directory, longs, read_directory, shorts, with_directory
from restore_cli.imaging.decode import decode_bytes
from restore_cli.imaging.encode import encode
from restore_cli.settings import ReadSettings
from tests.imaging.files import exif_with, opened, pattern, saved

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


NOTE_PLACE = 700


def camera_block(order: str, *, thumbnail: bytes = b"", gap: int = 200) -> bytes:
    """Lay out a block as cameras do: a note whose values lie at addresses of the block, one of them outside it."""
    inside, outside = b"lens of the inside", b"a value behind the note"
    behind = NOTE_PLACE + 30 + len(inside) + gap
    note = struct.pack(f"{order}HHHIIHHII", 2, 1, 2, len(inside), NOTE_PLACE + 30, 2, 2, len(outside), behind) + bytes(
        4
    )
    note += inside
    said_of_it = words(ExifTags.Base.Model, "A camera with a long name")
    table = [
        said_of_it,
        entry(order, ExifTags.Base.Orientation, SHORT, 6),
        (DETAILS, 4, 1, struct.pack(f"{order}I", 200)),
    ]
    details = [
        entry(order, ExifTags.Base.ExposureTime, RATIONAL, 10, 2500),
        (ExifTags.Base.MakerNote, UNDEFINED, len(note), note),
        entry(order, ExifTags.Base.ExifImageWidth, SHORT, 28),
    ]
    places = {ExifTags.Base.Model: 400, ExifTags.Base.ExposureTime: 500, ExifTags.Base.MakerNote: NOTE_PLACE}
    out = bytearray(behind + len(outside) + len(thumbnail) + 60)
    out[:8] = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    out[behind : behind + len(outside)] = outside
    thumbnail_table, thumbnail_place = behind + len(outside) + 1, behind + len(outside) + 40
    lengths = [
        (513, 4, 1, struct.pack(f"{order}I", thumbnail_place)),
        (514, 4, 1, struct.pack(f"{order}I", len(thumbnail))),
    ]
    for start, rows, following in ((8, table, thumbnail_table), (200, details, 0), (thumbnail_table, lengths, 0)):
        fields = b""
        for tag, kind, count, data in rows:
            field = data.ljust(4, b"\0")
            if len(data) > 4:
                out[places[tag] : places[tag] + len(data)] = data
                field = struct.pack(f"{order}I", places[tag])
            fields += struct.pack(f"{order}HHI4s", tag, kind, count, field)
        table_bytes = struct.pack(f"{order}H", len(rows)) + fields + struct.pack(f"{order}I", following)
        out[start : start + len(table_bytes)] = table_bytes
    out[thumbnail_place : thumbnail_place + len(thumbnail)] = thumbnail
    return b"Exif\0\0" + bytes(out)


def values_of_note(data: bytes) -> tuple[int, list[bytes]]:
    """Return where the note lies in a block or a TIFF, and what its addresses lead to."""
    file = io.BytesIO(data.removeprefix(b"Exif\0\0"))
    first = read_directory(file)
    note = read_directory(file, first.integer(DETAILS, 0)).values[ExifTags.Base.MakerNote]
    assert note.place is not None
    found = read_directory(file, note.place)
    return note.place, [value.data for value in found.values.values()]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("target", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_addresses_in_a_makers_note_lead_to_the_same_values(order: str, source: str, target: str) -> None:
    thumbnail = b"\xff\xd8a thumbnail that is stale\xff\xd9"
    exif = camera_block(order, thumbnail=thumbnail)
    before = values_of_note(exif)
    assert before == (NOTE_PLACE, [b"lens of the inside", b"a value behind the note"])
    again = encode(decode_bytes(saved(pattern(), source, exif=exif), "x"), format=target)
    data = again if target == "TIFF" else opened(again).info["exif"]
    assert values_of_note(data) == before
    assert thumbnail not in data
    found = read_directory(io.BytesIO(data.removeprefix(b"Exif\0\0")))
    assert found.values[ExifTags.Base.Model].data == b"A camera with a long name\0"
    assert (found.integer(ExifTags.Base.Orientation, 1), found.next_place) == (1, 0)
    details = read_directory(io.BytesIO(data.removeprefix(b"Exif\0\0")), found.integer(DETAILS, 0))
    assert ExifTags.Base.ExifImageWidth not in details.values
    if target != "TIFF":
        assert len(data) <= len(exif)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("target", ["JPEG", "TIFF"])
def test_a_makers_note_of_a_tiff_stays_at_its_place(order: str, target: str) -> None:
    camera = camera_block(order, gap=0).removeprefix(b"Exif\0\0")
    directory = read_directory(io.BytesIO(camera))
    pixels = pattern()
    strip = pixels.tobytes()
    height, width, channels = pixels.shape
    values = {
        tag: longs(directory, [value])
        for tag, value in ((256, width), (257, height), (259, 1), (262, 2), (273, len(camera)), (277, channels))
    }
    values |= {258: shorts(directory, 8, 8, 8), 278: longs(directory, [height]), 279: longs(directory, [len(strip)])}
    source = with_directory(camera + strip, directory, {**directory.values, **values})
    assert values_of_note(source)[0] == NOTE_PLACE
    again = encode(decode_bytes(source, "x"), format=target)
    place, kept = values_of_note(again if target == "TIFF" else opened(again).info["exif"])
    assert (place, kept[0]) == (NOTE_PLACE, b"lens of the inside")


def test_a_block_without_a_makers_note_keeps_nothing_that_nobody_points_at() -> None:
    exif = exif_with(Make="Maker") + b"left over"
    image = decode_bytes(saved(pattern(), "JPEG", exif=exif), "x")
    assert b"left over" not in (image.exif or b"")


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


@pytest.mark.parametrize("pointer", [PLACE, DETAILS])
def test_a_broken_directory_costs_itself_alone(pointer: int) -> None:
    data = bytearray(block("<"))
    found = read_directory(io.BytesIO(data[6:]))
    struct.pack_into("<H", data, 6 + found.integer(pointer, 0), 60_000)  # entries
    image = decode_bytes(saved(pattern(), "JPEG", exif=bytes(data)), "x")
    assert image.warnings == ("a broken part of its EXIF data was left out",)
    again = read_directory(io.BytesIO((image.exif or b"").removeprefix(b"Exif\0\0")))
    assert set(said("<")[0]) <= stored(again)
    assert (pointer in again.values, {PLACE, DETAILS} & again.values.keys()) == (False, {PLACE, DETAILS} - {pointer})


def big_directory(order: str, place: int, entries: list[Entry]) -> bytes:
    """Lay out a directory of a BigTIFF, its values behind it."""
    behind = place + 8 + 20 * len(entries) + 8
    table, values = struct.pack(f"{order}Q", len(entries)), b""
    for tag, kind, count, data in sorted(entries):
        field = data.ljust(8, b"\0")
        if len(data) > 8:
            field = struct.pack(f"{order}Q", behind + len(values))
            values += data + bytes(len(data) % 2)
        table += struct.pack(f"{order}HHQ", tag, kind, count) + field
    return table + bytes(8) + values


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("target", ["JPEG", "PNG", "TIFF"])
def test_exif_of_a_bigtiff_comes_out_as_it_was_stored(order: str, target: str) -> None:
    buffer = io.BytesIO()
    placeholders = {DETAILS: 65001, PLACE: 65002}  # tifffile writes no tags that it has other ways for
    pointers = [(tag, 16, 1, 0, True) for tag in placeholders.values()]  # of 64 bits
    tifffile.imwrite(
        buffer, pattern(), photometric="rgb", bigtiff=True, byteorder=order, extratags=pointers, metadata=None
    )
    data = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        found_tags = {pointer: file.pages[0].tags[placeholder] for pointer, placeholder in placeholders.items()}
        fields = {pointer: tag.valueoffset for pointer, tag in found_tags.items()}
    for pointer, tag in found_tags.items():
        struct.pack_into(f"{order}H", data, tag.offset, pointer)
    for pointer, inner in ((DETAILS, INTEROPERABILITY), (PLACE, None)):
        entries = [*said(order)[pointer]]
        if inner is not None:
            place = len(data)
            data += big_directory(order, place, said(order)[inner])
            entries.append((inner, 16, 1, struct.pack(f"{order}Q", place)))
        struct.pack_into(f"{order}Q", data, fields[pointer], len(data))
        data += big_directory(order, len(data), entries)
    image = decode_bytes(bytes(data), "x.tif", ReadSettings(strict=True))
    again = encode(image, format=target)
    written = io.BytesIO(again if target == "TIFF" else opened(again).info["exif"].removeprefix(b"Exif\0\0"))
    found = read_directory(written)
    details = read_directory(written, found.integer(DETAILS, 0))
    for pointer, home in ((DETAILS, found), (PLACE, found), (INTEROPERABILITY, details)):
        assert set(said(order)[pointer]) <= stored(read_directory(written, home.integer(pointer, 0))), hex(pointer)
