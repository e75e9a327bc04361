"""GIF files taken apart: the first image with what it needs, and a count of the others.

Stage 3, READ. The decoder sees a file of one image and no comments: it would join a comment block by block, each time
copying all before, and count images by decoding them.
"""

from __future__ import annotations

from restore_cli.imaging.containers.further_parts import CREDENTIALS
from restore_cli.imaging.containers.parts import TOO_MANY_PARTS, TRUNCATED, Parts, UnreadableError, left_out

_IMAGE, _EXTENSION, _END, _PADDING = 0x2C, 0x21, 0x3B, 0x00
_GRAPHIC_CONTROL, _APPLICATION = 0xF9, b"\xff\x0b"
_MANIFEST = b"C2PA_GIF"
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
        warnings=left_out(walk.further),
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
        self.further: frozenset[str] = frozenset()

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
                self.frames += data.count(_NEXT_FILE, start - 1)  # as from a pipe
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
                if data.startswith(_APPLICATION + _MANIFEST, start + 1):
                    self.further = frozenset({CREDENTIALS})
            else:
                return TRUNCATED
        return TOO_MANY_PARTS

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
