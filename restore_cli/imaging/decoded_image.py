"""A decoded image: its pixels as the networks want them, and everything else a file must not lose.

Stages 3 and 7, READ and WRITE: `decode` makes one, the networks change `pixels` (and the size), `encode` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class JpegFacts:
    """How strongly a JPEG was compressed.

    Attributes:
        quality: On libjpeg's scale, 1..100, as its luma table tells it; other programs count otherwise.
        chroma_is_halved: Whether it holds fewer samples of chroma than of luma (4:2:0, 4:2:2).
    """

    quality: int
    chroma_is_halved: bool


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """Hold one image in memory.

    Attributes:
        pixels: float32 (H, W, C), C = 1 (gray) or 3 (RGB), sRGB-encoded, in [0, 1].
        alpha: float32 (H, W) in [0, 1], or None where the file is opaque by format.
        bit_depth: Bits a channel of the source, 8 or 16; the output keeps it where the format can.
        format: The source's format as Pillow names it ("PNG", "JPEG", ...).
        lossless: Whether the source was stored without loss, in a format that has a choice.
        icc_profile: Profile that fits `pixels` as they are now, embedded in the output; None if untagged.
        exif: EXIF block with orientation 1, or None.
        xmp: XMP packet, or None.
        iptc: IPTC-IIM records, or None.
        text: Keywords and texts of a PNG.
        dpi: Horizontal and vertical resolution, or None.
        jpeg: How strongly the source was compressed, None where it is no JPEG.
        right: Pixels of the right view of the scene, shaped as `pixels`; None where there is one view.
        more: Further pages of a TIFF, where all were asked for.
        warnings: What was decided or lost on the way, a line each, to be shown once.
    """

    pixels: FloatImage
    alpha: FloatImage | None = None
    bit_depth: int = 8
    format: str = "PNG"
    lossless: bool = False
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    dpi: tuple[float, float] | None = None
    jpeg: JpegFacts | None = None
    right: FloatImage | None = None
    more: tuple[DecodedImage, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """Return the height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Return the width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """Return 1 for gray, 3 for RGB (alpha not counted)."""
        return int(self.pixels.shape[2])
