"""GIF files taken apart: the first image with what it needs, what is said of it, and a count of the others.

Stage 3, READ. The decoder sees a file of one image and no comments: it would join a comment block by block, each time
copying all before, and count images by decoding them. Profile, XMP and IPTC lie in blocks of applications, the last as
ImageMagick puts it.
"""

from __future__ import annotations

from restore_cli.imaging.containers.further_parts import CREDENTIALS
from restore_cli.imaging.containers.parts import (
    MOST_PROFILE_BYTES,
    TOO_MANY_PARTS,
    TRUNCATED,
    Parts,
    UnreadableError,
    data_behind,
    data_of,
    texts_of_comments,
)
from restore_cli.imaging.containers.photoshop import iptc_of_resources

_IMAGE, _EXTENSION, _END, _PADDING = 0x2C, 0x21, 0x3B, 0x00
_GRAPHIC_CONTROL, _COMMENT, _PLAIN_TEXT, _APPLICATION = 0xF9, 0xFE, 0x01, 0xFF
_APPLICATION_BYTES = 11
_PROFILE, _XMP, _IPTC, _RESOURCES = b"ICCRGBG1012", b"XMP DataXMP", b"MGKIPTC0000", b"MGK8BIM0000"
# A packet is no sub-blocks; this, behind it, leads those who take it for some to its end.
_END_OF_XMP = b"\x01\xff\xfe\xfd"
# How often an animation is shown.
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_BESIDE = {b"C2PA_GIF": CREDENTIALS}
_HEADER_BYTES = 13
_NEXT_FILE = b"\0;GIF8"
# Blocks hold 255 bytes at most, so this is a file of 255 MB.
_MOST_BLOCKS = 1_000_000


def dissect_gif(data: bytes) -> Parts:
    """Take a GIF apart.

    Raises:
        UnreadableError: If it holds no image.
    """
    if len(data) < _HEADER_BYTES:
        raise UnreadableError(TRUNCATED)
    walk = _Walk(data)
    damage = walk.run()
    if walk.first is None:
        raise UnreadableError(damage or "it holds no image")
    start, stop = walk.first
    core = data[: walk.header_end] + walk.control + data[start:stop] + bytes([_END])
    left, top, width, height = (int.from_bytes(data[start + i : start + i + 2], "little") for i in (1, 3, 5, 7))
    screen_width, screen_height = (int.from_bytes(data[i : i + 2], "little") for i in (6, 8))
    return Parts(
        core=core,
        size=(max(screen_height, top + height), max(screen_width, left + width)),
        gray=False,
        frames=max(1, walk.frames),
        damage=damage,
        xmp=walk.said.get(_XMP),
        icc_profile=walk.said.get(_PROFILE),
        iptc=walk.said.get(_IPTC) or iptc_of_resources(walk.said.get(_RESOURCES, b"")),
        text=texts_of_comments(walk.comments),
        further=frozenset(walk.further),
    )


class _Walk:
    """Go through the blocks of a GIF."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._steps = 0
        self.header_end = _HEADER_BYTES + _palette_bytes(data[10])
        self.frames = 0
        self.first: tuple[int, int] | None = None
        self.control = b""
        self.comments: list[bytes] = []
        self.said: dict[bytes, bytes] = {}  # by the names of applications
        self.further: set[str] = set()

    def run(self) -> str | None:
        """Return what is missing, or None if the end mark was met."""
        try:
            return self._run()
        except IndexError:
            return TRUNCATED

    def _run(self) -> str | None:
        data, position = self._data, self.header_end
        while self._steps < _MOST_BLOCKS:
            self._steps += 1
            block, start = data[position], position
            if block == _END:
                following = data.count(_NEXT_FILE, start - 1)  # as from a pipe
                self.frames += following
                if not following:
                    self.further |= data_behind(data[start + 1 :])
                return None
            if block == _PADDING:
                position += 1
            elif block == _IMAGE:
                self.frames += 1
                position += 11 + _palette_bytes(data[position + 9])
                if self.first is None:
                    self.first = (start, len(data))  # holds if the data ends within it
                position = self._behind_sub_blocks(position)
                if self.frames == 1:
                    self.first = (start, position)
            elif block == _EXTENSION:
                position = self._behind_sub_blocks(position + 2)
                if data[start + 1] == _GRAPHIC_CONTROL and self.first is None:
                    self.control = data[start:position]
                self._take_aside(data[start + 1], start + 2, position)
            else:
                return TRUNCATED
        return TOO_MANY_PARTS

    def _take_aside(self, kind: int, start: int, end: int) -> None:
        """Keep what an extension says, or its name."""
        if kind == _COMMENT:
            self.comments.append(self._joined(start, end).rstrip(b"\0"))
        elif kind == _PLAIN_TEXT:
            self.further.add("a text drawn over it")
        elif kind == _APPLICATION:
            name, start = self._data[start + 1 : start + 1 + _APPLICATION_BYTES], start + 1 + _APPLICATION_BYTES
            if name == _XMP:
                self.said.setdefault(name, self._data[start:end].partition(_END_OF_XMP)[0])
            elif name in (_PROFILE, _IPTC, _RESOURCES):
                self.said.setdefault(name, self._joined(start, end)[:MOST_PROFILE_BYTES])
            elif name not in _LOOPS:
                self.further.add(_BESIDE.get(name[:8]) or data_of(name))

    def _joined(self, position: int, end: int) -> bytes:
        parts = []
        while position < end and (length := self._data[position]):
            parts.append(self._data[position + 1 : position + 1 + length])
            position += length + 1
        return b"".join(parts)

    def _behind_sub_blocks(self, position: int) -> int:
        data = self._data
        while length := data[position]:
            position += length + 1
            self._steps += 1
            if self._steps >= _MOST_BLOCKS:
                break
        return position + 1


def _palette_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
