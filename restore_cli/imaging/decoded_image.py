"""A decoded image: its pixels as the networks want them, and everything else a file must not lose.

Stages 3 and 7, READ and WRITE: `decode` makes one, the networks change `pixels` (and the size), `encode` writes it.
Samples of files become floats, and floats samples, here alone (`floats_from`, `integers_from`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]

TOP_8_BIT, TOP_16_BIT = 255, 65535
"""The largest sample of 8 and of 16 bits."""


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


@dataclass(frozen=True, kw_only=True)
class SrgbImage:
    """Hold an image in sRGB's encoding.

    Attributes:
        samples: uint8 or uint16 (H, W, C), C = 1 (gray) or 3 (RGB).
        icc_profile: Profile that fits the pixels as they are now; None if untagged.
        warnings: What was lost, a line each.
    """

    samples: npt.NDArray[np.unsignedinteger]
    icc_profile: bytes | None
    warnings: tuple[str, ...] = ()


def floats_from(samples: npt.NDArray[Any]) -> FloatImage:
    """Turn 8-bit or 16-bit samples of any shape into float32 in [0, 1]; the inverse of `integers_from`."""
    top = np.float32(np.iinfo(samples.dtype).max)
    floats: FloatImage = np.divide(samples, top, dtype=np.float32)
    return floats


def integers_from(values: npt.NDArray[np.floating], bit_depth: int) -> npt.NDArray[Any]:
    """Clip to [0, 1], scale and round half to even.

    Args:
        values: Any shape, finite.
        bit_depth: 8 or 16.

    Returns:
        uint8 or uint16 of the same shape.
    """
    top, dtype = (TOP_16_BIT, np.uint16) if bit_depth == 16 else (TOP_8_BIT, np.uint8)
    scaled = np.clip(values, 0.0, 1.0)
    scaled *= top
    rounded: npt.NDArray[Any] = np.rint(scaled, out=scaled).astype(dtype)
    return rounded
