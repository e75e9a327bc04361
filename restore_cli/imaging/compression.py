"""What a lossy format makes of an image, without a file: written, and read again.

Stage 3 of scoring, READ. A score of how well compression is undone needs the real encoder at a known quality, with the
chroma halved both ways (4:2:0) as cameras and the web have it; results are never written so.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

_HALVED_BOTH_WAYS = 2


def through_jpeg(pixels: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """Return an image as it comes back from a JPEG file, 4:2:0 if it is in colour.

    Args:
        pixels: (H, W, 1) or (H, W, 3).
        quality: libjpeg's, 1..100.

    Returns:
        The same shape.
    """
    file = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(file, "JPEG", quality=quality, subsampling=_HALVED_BOTH_WAYS)
    with Image.open(file) as compressed:
        return np.asarray(compressed).reshape(pixels.shape)
