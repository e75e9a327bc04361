"""Images in a page: PNG data URIs at their own resolution, enlarged by the browser without smoothing.

What is seen is what was scored: no pixel is resampled or compressed on the way.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.encode import encode

Uint8Image = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""(top, left, height, width) in pixels of the truth."""


def figure(image: Uint8Image, box: Box, title: str, detail: str, *, style: str = "") -> str:
    """Return an image with a caption.

    Args:
        image: uint8 (h, w, C); shown in the shape of `box` whatever its own size.
        box: The place it shows.
        title: What it is, a word.
        detail: What is to be said of it.
        style: CSS of the numbers.
    """
    png = encode(DecodedImage(pixels=image.astype(np.float32) / np.float32(255.0)), format="PNG")
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    return (
        f'<figure style="{style}"><img style="--shape:{box[3]}/{box[2]}" alt="{escape(title)}" src="{source}">'
        f"<figcaption><b>{escape(title)}</b> {escape(detail)}</figcaption></figure>"
    )


def views(name: str, box: Box, figures: Sequence[str], *, columns: int) -> str:
    """Return several views of one place beside each other, under the name of the image they are from."""
    top, left, height, width = box
    place_text = f"{width}x{height} pixels at {left}, {top}"
    return (
        f'<div class="crop"><h3>{escape(name)} <span>{place_text}</span></h3>'
        f'<div class="views" style="--columns:{columns}">{"".join(figures)}</div></div>'
    )


def decibels(squared_error: float) -> str:
    """Write a mean squared error, on 0..255 values, as the PSNR of a crop over all its channels."""
    return "equal" if squared_error == 0 else f"{10 * math.log10(255.0**2 / squared_error):.2f} dB"
