"""`restore compare`: a page of images that exist, before and after.

Stage 1, ASK. Loads no torch.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from restore_cli.cli.options import COMMON, MessageOptions
from restore_cli.cli.registration import command, option
from restore_cli.errors import ImageError

app = typer.Typer()

_Image = Annotated[Path, typer.Argument(metavar="BEFORE", show_default=False, help="An image, or a folder of images.")]
_Result = Annotated[
    Path,
    typer.Argument(
        metavar="AFTER",
        show_default=False,
        help="The image after, or a folder of them by the same names with or without _denoised, _x4, ...",
    ),
]


@command(
    app,
    "compare",
    examples="""
    restore compare photo.jpg photo_denoised.jpg               writes photo_denoised_compared.html
    restore compare scans/ clean/ --output page.html           pairs images by their names
    restore compare noisy.png denoised.png --truth clean.png   tells PSNR and SSIM too
    """,
)
def show_compared(
    before: _Image,
    after: _Result,
    truth: Annotated[
        Path | None,
        option(
            COMMON,
            "--truth",
            "Compare with the perfect image, or a folder of them: adds PSNR and SSIM.",
            metavar="PATH",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        option(
            COMMON, "--output", "-o", "Write the page here. [default: beside AFTER, named after it]", metavar="PAGE"
        ),
    ] = None,
    *,
    messages: MessageOptions,
) -> None:
    """Show images before and after on a page, with a slider between them."""
    from restore_cli.comparison.files import Pair, compare, find_pairs

    out = messages.open()
    total = len(find_pairs(before, after, truth))

    def show(number: int, total: int, pair: Pair, error: ImageError | None) -> None:
        if error is not None:
            out.error(error)
        out.image_done(None if error is not None else f"[{number}/{total}] {pair[0]} and {pair[1]}")

    with out.image_progress(total, "comparing"):
        compared = compare(before, after, output, truth=truth, progress=show)
    for entry in compared.entries:
        scores = entry.scores
        out.record(
            {
                "type": "image",
                "before": str(entry.before),
                "after": str(entry.after),
                "mean_difference": round(entry.change.mean, 4),
                "largest_difference": round(entry.change.largest, 2),
                "psnr": None if scores is None else [_finite(scores.before[0]), _finite(scores.after[0])],
                "ssim": None if scores is None else [_finite(scores.before[1]), _finite(scores.after[1])],
            }
        )
    if compared.page is not None:
        out.data(str(compared.page))
    if compared.failures:
        raise typer.Exit(ImageError.exit_code)


def _finite(value: float) -> float | None:
    """Return a number that JSON knows; equal images have an infinite PSNR."""
    return value if math.isfinite(value) else None
