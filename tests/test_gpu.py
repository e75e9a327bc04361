"""The script that shows what a GPU does comes through on a machine without one, and says what it found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import gpu
from tests.conftest import ROOT

# Small enough for every part to end by itself, long before the limit.
SMALL = """
    --device cpu --seconds 1200 --tests tests/benchmark/test_memory.py --networks unet-denoise-color --dtypes float32
    --size 64x64 --photo 64x48 --images 2 --recipes ramit-lite-sr-x2 --steps 2
"""


@pytest.mark.slow
def test_every_part_leaves_its_figures_on_the_page_and_the_training_a_checkpoint(tmp_path: Path):
    page = gpu.main(["--out", str(tmp_path), "--data", str(ROOT / "tests" / "samples"), *SMALL.split()])

    text = page.read_text(encoding="utf-8")
    for figures in ("1 skipped", "1 rows, all that there are", "unet-denoise-color", "2 images in", "ramit-lite-sr-x2"):
        assert figures in text
    assert (tmp_path / "ramit-lite-sr-x2" / "last.pt").is_file()


def test_a_part_that_has_no_time_left_says_so(tmp_path: Path):
    wanted = ["--out", str(tmp_path), "--data", str(tmp_path), "--device", "cpu", "--seconds", "0", "--images", "0"]
    text = gpu.main(wanted).read_text(encoding="utf-8")
    assert "not finished in a quarter of the time" in text
    assert text.count("had no time left") == 2
    assert not list(tmp_path.glob("*.log"))
