"""What a picture file's header alone tells, for decisions that come before any pixel is decoded.

Stage 2, PLAN, asks: a run takes one network, so whether all its pictures are gray must be known before the first.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from restore_cli.imaging.formats import READABLE_FORMATS
from restore_cli.imaging.regular_file import open_regular_file

_COLOR_MODES = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


def is_gray(path: Path) -> bool | None:
    """Tell whether a file decodes to gray; None where its header cannot be read, which `decode` will give a reason for.

    Palettes count as colour. A pipe or device is not waited for.
    """
    try:
        with open_regular_file(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=READABLE_FORMATS) as image:
                return image.mode not in _COLOR_MODES
    except Exception:  # noqa: BLE001 - Pillow's readers raise nearly every built-in exception on damaged files
        return None
