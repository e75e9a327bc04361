"""An icon is a folder of small images, none of which is the image: it is refused, with what to do."""

from __future__ import annotations

import pytest
from PIL import Image

from restore_cli.errors import DecodeError
from restore_cli.imaging.decode import decode_bytes
from restore_cli.settings import ReadSettings
from tests.imaging.files import pattern, saved


@pytest.mark.parametrize("kind", ["png", "bmp"])
@pytest.mark.parametrize("name", ["x.ico", "x.png", "x"])
def test_an_icon_is_refused_by_name_with_what_to_do(kind: str, name: str) -> None:
    data = saved(Image.fromarray(pattern(32, 32)), "ICO", sizes=[(16, 16), (32, 32)], bitmap_format=kind)
    for damaged in (data, data[:40]):
        with pytest.raises(DecodeError, match=rf"^{name}: it is an icon, .*: save the largest as PNG"):
            decode_bytes(damaged, name, ReadSettings(allow_damaged=True))
