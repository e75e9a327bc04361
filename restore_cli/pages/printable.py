"""Text from names and files made safe for whatever shows it: a terminal, a page, a table.

What could move a cursor, turn the reading direction, fake a line or fail to encode is written out as an escape.
"""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, bidi marks, surrogates, line and paragraph ends
_BYTE_SURROGATES = range(0xDC80, 0xDD00)  # how Python holds the undecodable bytes 0x80..0xff of a file name


def printable(text: str, *, keeping: str = "") -> str:
    r"""Escape what could move a cursor, fake a line or fail to encode.

    Args:
        text: Any, a whole file of CSV or HTML too.
        keeping: What may stay, such as the ends of lines of a whole file.

    Example:
        >>> printable("line\nbreak \udcff")
        'line\\nbreak \\xff'
    """
    if text.isprintable():
        return text
    found = {c for c in set(text) - set(keeping) if unicodedata.category(c) in _UNPRINTABLE}
    return text.translate({ord(character): _escaped(character) for character in found})


def _escaped(character: str) -> str:
    if ord(character) in _BYTE_SURROGATES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
