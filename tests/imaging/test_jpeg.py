"""A JPEG whose compressed data was damaged between sound markers decodes without an error: it is told all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import DecodeError
from restore_cli.imaging.containers.jpeg import ENDS_EARLY, LEFT_OVER, LOST, fault_of_scans
from restore_cli.imaging.decode import decode_bytes
from restore_cli.settings import ReadSettings
from tests.conftest import ROOT
from tests.imaging.files import saved

KINDS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "optimised": {"optimize": True, "quality": 95, "subsampling": 0},
    "restarted": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
}


def photo() -> Image.Image:
    with Image.open(ROOT / "tests/samples/still_life.png") as image:
        return image.convert("RGB")


def scan_of(data: bytes) -> tuple[int, int]:
    """Return where the compressed data of the longest scan begins and ends."""
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    ends = [*starts[1:], len(data) - 2]
    begins = [at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") for at in starts]
    return max(zip(begins, ends, strict=True), key=lambda scan: scan[1] - scan[0])


def lose(data: bytes) -> bytes:
    begin, end = scan_of(data)
    middle = (begin + end) // 2
    return data[:middle] + data[middle + 300 :]


def lose_a_stretch(data: bytes) -> bytes:
    first, second = data.index(b"\xff\xd0"), data.index(b"\xff\xd1")
    return data[:first] + data[second:]


def say_twice(data: bytes) -> bytes:
    begin, end = scan_of(data)
    middle = (begin + end) // 2
    return data[:middle] + data[middle - 300 : middle] + data[middle:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_file_costs_no_warning(kind: str) -> None:
    flat = Image.new("RGB", (200, 120), "white")
    flat.paste(photo().crop((0, 0, 40, 40)), (10, 10))  # white to its end, where filler could hide
    for image in (photo(), flat, photo().convert("L"), photo().resize((9, 7))):
        data = saved(image, "JPEG", **KINDS[kind])
        for padding in (b"", b"\xff\xff", bytes(7)):
            assert decode_bytes(data[:-2] + padding + data[-2:], "x").warnings == ()


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("sequential", lose, ENDS_EARLY),
        ("optimised", lose, ENDS_EARLY),
        ("progressive", lose, ENDS_EARLY),
        ("restarted", lose_a_stretch, LOST),
        ("sequential", say_twice, LEFT_OVER),
        ("optimised", say_twice, LEFT_OVER),
    ],
)
def test_data_that_was_lost_or_slipped_in_is_told(kind: str, change: Callable[[bytes], bytes], says: str) -> None:
    data = change(saved(photo(), "JPEG", **KINDS[kind]))

    assert decode_bytes(data, "x").warnings == (says,)
    with pytest.raises(DecodeError, match=f"^x: {says}; leave --strict out"):
        decode_bytes(data, "x", ReadSettings(strict=True))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_damage_is_told_in_every_number_of_components(mode: str) -> None:
    image = photo().convert(mode)
    data = saved(image, "JPEG")
    assert fault_of_scans(data, len(mode)) is None
    assert fault_of_scans(lose(data), len(mode)) == ENDS_EARLY


def test_files_without_a_fault_of_their_data_cost_no_warning() -> None:
    assert fault_of_scans(np.random.default_rng(0).bytes(2000), 3) is None
    rgb = saved(photo(), "JPEG", keep_rgb=True)
    assert fault_of_scans(rgb, 3) is None
    assert fault_of_scans(lose(rgb), 3) == ENDS_EARLY
