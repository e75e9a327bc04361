"""Colours as people write them, for what transparency is laid on; Pillow is loaded when one is asked for.

Stage 1, ASK, hands the word down; stage 7, WRITE, takes the colour.
"""

from __future__ import annotations


def color_named(text: str) -> tuple[float, float, float]:
    """Return RGB in [0, 1] of a colour's name or its hexadecimal form ("white", "#336699").

    Raises:
        ValueError: If it is none.

    Example:
        >>> color_named("#ff0080")
        (1.0, 0.0, 0.5019607843137255)
    """
    from PIL import ImageColor

    red, green, blue = (level / 255 for level in ImageColor.getrgb(text)[:3])
    return red, green, blue
