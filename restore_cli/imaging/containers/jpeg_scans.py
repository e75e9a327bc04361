"""Whether a JPEG's compressed data is all there, which its decoder knows and Pillow does not pass on.

Stage 3, READ, behind the decoder. Where data ends before the image does, libjpeg makes up the rest in gray, and where
some is left over it skips that. It warns of both, and simplejpeg, unlike Pillow, turns its warnings into errors. At an
eighth of the size all data is still read, and next to no memory is needed.

Damage that leaves every run at its length (a changed bit of a coefficient) is another image, as good as the first.
"""

from __future__ import annotations

import re

import simplejpeg

ENDS_EARLY = "its compressed data ends early: parts of it are made up"
LEFT_OVER = "its compressed data is damaged: some of it is left over"
LOST = "its compressed data is damaged: some of it is missing"
UNSOUND = "its compressed data is damaged: some of it makes no sense"

_CORRUPT, _PREMATURE, _RESTART = "Corrupt JPEG data", "remature end", "instead of RST"
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes")
_END_MARK_BYTES = 2


def fault_of_scans(core: bytes, components: int) -> str | None:
    """Return what is wrong with the compressed data of a JPEG that could be decoded, or None.

    Args:
        core: Tables, frame and scans, nothing else, as `dissect_jpeg` leaves them.
        components: How many it has; four are CMYK.
    """
    colorspace = "CMYK" if components == 4 else "GRAY"
    try:
        simplejpeg.decode_jpeg(core, colorspace=colorspace, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        return _fault_of(str(error), core)
    return None


def _fault_of(words: str, core: bytes) -> str | None:
    """Say in our words what libjpeg warned of; None for what concerns no compressed data."""
    if _PREMATURE in words:
        return ENDS_EARLY
    if _RESTART in words:
        return LOST
    extraneous = _EXTRANEOUS.search(words)
    if extraneous is not None:
        body = core[:-_END_MARK_BYTES]
        padding = len(body) - len(body.rstrip(b"\0"))  # which some cameras write
        return LEFT_OVER if int(extraneous[1]) > padding else None
    return UNSOUND if _CORRUPT in words else None
