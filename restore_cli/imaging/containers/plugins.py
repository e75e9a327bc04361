"""Decoders that come with extras: HEIF and JPEG XL, registered with Pillow when the first such file is met.

Stages 3 and 7, READ and WRITE. Neither is in Pillow, so both are optional; without one, a file is refused with the
command that brings it.
"""

from __future__ import annotations

import importlib
from functools import cache

from restore_cli.errors import DecodeError
from restore_cli.imaging.formats import EXTRA_BY_FORMAT

_NAMES = {"HEIF": "a HEIF image", "JXL": "a JPEG XL image"}


def require_plugin(format_name: str) -> None:
    """Make sure that a format's decoder and encoder are there.

    Raises:
        DecodeError: If the extra that brings them is not installed.
    """
    if format_name in EXTRA_BY_FORMAT and not has_plugin(format_name):
        extra = EXTRA_BY_FORMAT[format_name]
        msg = f"it is {_NAMES[format_name]}, for which the extra {extra!r} is needed"
        raise DecodeError(msg, hint=f"pip install 'restore-cli[{extra}]'")


@cache
def has_plugin(format_name: str) -> bool:
    """Register the plugin of an optional format; return whether it is installed."""
    try:
        if format_name == "HEIF":
            importlib.import_module("pillow_heif").register_heif_opener(thumbnails=False)
        else:
            importlib.import_module("pillow_jxl")
    except ImportError:
        return False
    return True
