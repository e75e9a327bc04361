"""Each task says how it is scored and what its outputs are called."""

from __future__ import annotations

import subprocess
import sys

import pytest

from restore_cli.tasks import get_task, task_names


def test_the_tasks_are_found():
    assert set(task_names()) >= {"deblur", "dejpeg", "denoise", "derain", "lowlight", "sr"}


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=f"known: {', '.join(task_names())}"):
        get_task("dehaze")


@pytest.mark.parametrize(
    ("name", "metrics", "suffix", "crop_border"),
    [
        ("sr", ("psnr_y", "ssim_y"), "_x4", 4),
        ("denoise", ("psnr", "ssim"), "_denoised", 0),
        ("dejpeg", ("psnr", "ssim"), "_dejpeg", 0),
        ("derain", ("psnr_y", "ssim_y"), "_derained", 0),
        ("lowlight", ("psnr", "ssim"), "_lowlight", 0),
        ("deblur", ("psnr", "ssim"), "_deblurred", 0),
    ],
)
def test_scores_suffixes_and_borders_are_the_protocols(
    name: str, metrics: tuple[str, str], suffix: str, crop_border: int
):
    task = get_task(name)
    assert task.name == name
    assert task.metrics == metrics
    assert task.suffix.format(scale=4) == suffix
    assert task.crop_border(4) == crop_border


def test_listing_the_tasks_imports_no_torch():
    code = "import sys; from restore_cli.tasks import task_names; task_names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
