"""What a file holds beside the image, and what its XMP claims of it: gain maps, videos, depth maps, layers, manifests.

Stage 3, READ. None of these is restored, so none is kept: each is named, once, and XMP loses what would still tell of
it. Properties are named as in Adobe's gain map specification 1.0, Google's Motion Photo 1.0, Dynamic Depth 1.0 and
Ultra HDR 1.1, and Adobe's XMP specification, part 3 (extended XMP). The rest of a packet stays byte for byte.
"""

from __future__ import annotations

import re
from contextlib import suppress
from xml.parsers import expat

GAIN_MAP, VIDEO, DEPTH_MAP, MATTE, SOUND = "a gain map", "a video", "a depth map", "a matte", "a sound recording"
EXTENDED_XMP, MASK = "extended XMP", "a transparency mask"
FURTHER_EXIF, FURTHER_XMP, FURTHER_IPTC = "further EXIF data", "a further XMP packet", "further IPTC records"
CREDENTIALS, LAYERS, PATHS = "Content Credentials (C2PA)", "layers", "clipping paths"
THERMAL, GEOREFERENCING, MAKERS_DATA = "thermal data", "georeferencing", "data of its maker"

_SEMANTIC = rb"Semantic\s*(?:=\s*[\"']|>)\s*"
# What tells of a part in bytes of any kind; a vocabulary that is only declared tells of nothing.
_MARKS = {
    GAIN_MAP: re.compile(
        rb"hdrgm:(?:Version|GainMap)|HDRGainMap:|aux:hdrgainmap|iso:ts:21496:-1|" + _SEMANTIC + rb"GainMap"
    ),
    VIDEO: re.compile(rb"ftyp(?:mp4|iso|qt  |avc|3gp|MSNV|hvc)|MotionPhoto_Data|" + _SEMANTIC + rb"MotionPhoto"),
    DEPTH_MAP: re.compile(
        rb"GDepth:(?:Data|Mime|Format)|aux(?:iliary)?:(?:depth|disparity)|auxid:2|DualShot_Depth|"
        + _SEMANTIC
        + rb"Depth"
    ),
    MATTE: re.compile(rb"aux:(?:portrait|semantic)\w*matte"),
    SOUND: re.compile(rb"SoundShot_Meta|GAudio:(?:Data|Mime)"),
}
# Of these vocabularies nothing stays, of any vocabulary nothing so called.
_STALE_VOCABULARIES = {
    "http://ns.adobe.com/hdr-gain-map/": GAIN_MAP,
    "http://ns.apple.com/HDRGainMap/": GAIN_MAP,
    "http://ns.apple.com/pixeldatainfo/": None,
    "http://ns.google.com/photos/1.0/container/": None,
    "http://ns.google.com/photos/1.0/depthmap/": DEPTH_MAP,
    "http://ns.google.com/photos/1.0/image/": None,
    "http://ns.google.com/photos/1.0/audio/": SOUND,
    "http://ns.google.com/photos/1.0/focus/": DEPTH_MAP,
    "http://ns.google.com/photos/dd/": DEPTH_MAP,
}
_STALE_NAMES = {"MotionPhoto": VIDEO, "MicroVideo": VIDEO, "OLivePhoto": VIDEO, "HasExtendedXMP": None}
# Of these vocabularies nothing but a property goes; a manifest holds for the file that it was signed with.
_STALE_PROPERTIES = {("http://purl.org/dc/terms/", "provenance"): CREDENTIALS}
_STALE_URIS = [*_STALE_VOCABULARIES, *(uri for uri, _ in _STALE_PROPERTIES)]
_STALE = re.compile("|".join(map(re.escape, [*_STALE_URIS, *_STALE_NAMES])).encode())
_FIRST_BYTES, _LAST_BYTES = 8 << 20, 1 << 20
# Far more than any program writes, few enough to be walked within seconds.
_MOST_NAMES, _MOST_VOCABULARIES, _MOST_LEVELS = 100_000, 256, 256
_TAG = re.compile(rb"<[^>\"']*(?:(?:\"[^\"]*\"|'[^']*')[^>\"']*)*>")
_ATTRIBUTE = re.compile(rb"\s+([^\s=>\"']+)\s*=\s*(\"[^\"]*\"|'[^']*')")


def further_parts(data: bytes) -> frozenset[str]:
    """Return what some bytes of a file hold or tell of beside the image, in a few words each.

    Of many bytes the first and the last are looked at, where parts begin and where their directory lies.
    """
    ends = (data[:_FIRST_BYTES], data[_FIRST_BYTES:][-_LAST_BYTES:])
    return frozenset(name for name, mark in _MARKS.items() for end in ends if mark.search(end))


def parts_claimed(packet: bytes) -> frozenset[str]:
    """Return what an XMP packet says lies beside the image, in a few words each."""
    if not _STALE.search(packet):
        return frozenset()
    reader = _Reader(packet)
    reader.read()
    return frozenset(reader.claimed) | further_parts(packet)


def without_claims(packet: bytes) -> bytes | None:
    """Return an XMP packet without what tells of parts that are not kept; None if it is broken beyond that.

    Args:
        packet: UTF-8.
    """
    if not _STALE.search(packet):
        return packet
    reader = _Reader(packet)
    if not reader.read():
        return None
    kept, place = bytearray(), 0
    for start, end in sorted(reader.cuts):
        kept += packet[place:start]
        place = max(place, end)
    return bytes(kept + packet[place:])


class _Reader:
    """Find the elements and attributes of a packet that are stale, by their places."""

    def __init__(self, packet: bytes) -> None:
        self.cuts: list[tuple[int, int]] = []
        self.claimed: set[str] = set()
        self._packet = packet
        self._scopes: list[dict[str, str]] = [{}]
        self._stale_from: tuple[int, int] | None = None  # depth and place of the outermost stale element
        self._names = 0
        self._is_whole = False

    def read(self) -> bool:
        """Return whether the packet's element could be read to its end."""
        parser = expat.ParserCreate()
        parser.StartElementHandler = lambda name, attributes: self._start(parser.CurrentByteIndex, name, attributes)
        parser.EndElementHandler = lambda _: self._end(parser.CurrentByteIndex)
        parser.StartDoctypeDeclHandler = self._refuse
        with suppress(expat.ExpatError, ValueError):  # what follows the element, such as zeros, does no harm
            parser.Parse(self._packet, True)
        return self._is_whole

    @staticmethod
    def _refuse(*_: object) -> None:
        msg = "XMP has no document type, and an end"
        raise ValueError(msg)

    def _start(self, place: int, name: str, attributes: dict[str, str]) -> None:
        self._names += 1 + len(attributes)
        declared = {key.removeprefix("xmlns:"): uri for key, uri in attributes.items() if key.startswith("xmlns:")}
        self._scopes.append({**self._scopes[-1], **declared} if declared else self._scopes[-1])
        if (
            max(self._names / _MOST_NAMES, len(self._scopes) / _MOST_LEVELS, len(self._scopes[-1]) / _MOST_VOCABULARIES)
            > 1
        ):
            self._refuse()
        if self._stale_from is not None:
            return
        tag = _TAG.match(self._packet, place)
        end = tag.end() if tag else place
        if self._is_stale(name):
            self._stale_from = len(self._scopes), place
            if self._packet[end - 2 : end] == b"/>":
                self.cuts.append((place, end))  # its end is told to lie behind it
            return
        for match in _ATTRIBUTE.finditer(self._packet, place, end):
            if self._is_stale(match[1].decode("utf-8", "replace")):
                self.cuts.append(match.span())

    def _end(self, place: int) -> None:
        if self._stale_from is not None and self._stale_from[0] == len(self._scopes):
            start, tag = self._stale_from[1], _TAG.match(self._packet, place)
            if not self.cuts or self.cuts[-1][0] != start:
                self.cuts.append((start, tag.end() if tag else place))
            self._stale_from = None
        self._scopes.pop()
        self._is_whole = len(self._scopes) == 1

    def _is_stale(self, name: str) -> bool:
        """Return whether a name is, and note what it claims."""
        prefix, _, local = name.rpartition(":")
        is_declaration = prefix == "xmlns"
        uri = self._scopes[-1].get(local if is_declaration else prefix, "")
        claims = [part for start, part in _STALE_VOCABULARIES.items() if uri.startswith(start)]
        if not is_declaration:
            claims += [part for start, part in _STALE_NAMES.items() if local.startswith(start)]
            claims += [part for property_, part in _STALE_PROPERTIES.items() if property_ == (uri, local)]
            self.claimed.update(part for part in claims if part is not None)
        return bool(claims)
