"""`restore compare`: a page of images that exist, before and after.

Stage 1, ASK. Loads no torch.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from restore_cli.cli.options import MessageOptions
from restore_cli.cli.registration import command
from restore_cli.errors import ImageError

app = typer.Typer()

_Image = Annotated[Path, typer.Argument(metavar="BEFORE", show_default=False, help="An image, or a folder of images.")]
_Result = Annotated[
    Path,
    typer.Argument(
        metavar="AFTER",
        show_default=False,
        help="The image after; or a folder of them, by the same names with or without _denoised, _x4, ...",
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
def compare(
    before: _Image,
    after: _Result,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", metavar="PATH", help="The perfect image, or a folder of them: adds PSNR and SSIM."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PAGE.html", help="The page. [default: beside AFTER, named after it]"),
    ] = None,
    *,
    messages: MessageOptions,
) -> None:
    """Show images before and after on a page, with a slider between them."""
    from restore_cli.comparison.files import compare_files, find_pairs, require_place, write_page
    from restore_cli.comparison.gallery import Gallery

    out = messages.open()
    page = after.absolute().with_name(f"{after.absolute().stem}_compared.html") if output is None else output
    pairs = find_pairs(before, after, truth)
    require_place(page)
    gallery = Gallery(len(pairs))
    failed = 0
    with out.image_progress(len(pairs), "comparing"):
        for number, (error, pair) in enumerate(zip(compare_files(pairs, gallery), pairs, strict=True), start=1):
            if error is not None:
                failed += 1
                out.error(error)
            out.image_done(None if error is not None else f"[{number}/{len(pairs)}] {pair[0]} and {pair[1]}")
    gallery.close()
    for entry in gallery.entries():
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
    if gallery.taken:
        write_page(gallery, page)
        out.data(str(page))
    if failed:
        raise typer.Exit(ImageError.exit_code)


def _finite(value: float) -> float | None:
    """Return a number that JSON knows; equal images have an infinite PSNR."""
    return value if math.isfinite(value) else None
