"""What a picture file's header alone tells, for decisions that come before any pixel is decoded.

Stage 2, PLAN, asks: a run takes one network, so whether all its pictures are gray must be known before the first.
"""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path

from PIL import Image

from restore_cli.imaging.formats import READABLE_FORMATS

_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_COLOR_MODES = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


def is_gray(path: Path) -> bool | None:
    """Tell whether a file decodes to gray; None where its header cannot be read, which `decode` will give a reason for.

    Palettes count as colour. A pipe or device is not waited for.
    """
    try:
        with open(os.open(path, _OPEN_FLAGS), "rb") as file, warnings.catch_warnings():  # noqa: PTH123 - pathlib has no flags
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            warnings.simplefilter("ignore")
            with Image.open(file, formats=READABLE_FORMATS) as image:
                return image.mode not in _COLOR_MODES
    except Exception:  # noqa: BLE001 - Pillow's readers raise nearly every built-in exception on damaged files
        return None
