"""What a lossy format makes of an image, without a file: written, and read again; and how strongly a file was packed.

Stage 3, READ. A score of how well compression is undone needs the real encoder at a known quality, with the
chroma halved both ways (4:2:0) as cameras and the web have it; results are never written so.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from restore_cli.imaging.decoded_image import JpegFacts

_HALVED_BOTH_WAYS = 2
# Of the luma table that ITU-T T.81 gives as an example (K.1), which libjpeg scales by the quality.
_SUM_OF_EXAMPLE_TABLE = 3688


def through_jpeg(pixels: npt.NDArray[np.uint8], quality: int) -> tuple[npt.NDArray[np.uint8], JpegFacts | None]:
    """Return an image as it comes back from a JPEG file, 4:2:0 if it is in colour.

    Args:
        pixels: (H, W, 1) or (H, W, 3).
        quality: libjpeg's, 1..100.

    Returns:
        The same shape, and what the file's header says.
    """
    file = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(file, "JPEG", quality=quality, subsampling=_HALVED_BOTH_WAYS)
    with Image.open(file) as compressed:
        return np.asarray(compressed).reshape(pixels.shape), jpeg_facts(compressed)


def jpeg_facts(image: Image.Image) -> JpegFacts | None:
    """Return how strongly a JPEG was compressed, from its header; None for other images."""
    tables = getattr(image, "quantization", None)
    components = getattr(image, "layer", None)
    if not tables or not components:
        return None
    # libjpeg's scaling backwards: 100 % is quality 50, 200 % is 25, 50 % is 75.
    percent = 100.0 * sum(tables[min(tables)]) / _SUM_OF_EXAMPLE_TABLE
    quality = 5000.0 / percent if percent > 100.0 else 100.0 - percent / 2.0
    samples = [across * down for _, across, down, *_ in components]
    return JpegFacts(quality=min(100, max(1, round(quality))), chroma_is_halved=min(samples) < samples[0])
