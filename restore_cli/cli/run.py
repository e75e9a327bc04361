"""`restore run`: several tasks one after the other on each image, which is read once and written once.

Stage 1, ASK.
"""

from __future__ import annotations

from typing import Annotated

import typer

from restore_cli.cli.options import FileOptions, MessageOptions, Offline, Paths, RunOptions
from restore_cli.cli.registration import command
from restore_cli.cli.restore import restore_batch
from restore_cli.jobs.choose import WeightsRequest
from restore_cli.jobs.steps import parse_steps

app = typer.Typer()


@command(
    app,
    "run",
    examples="""
    restore run denoise,sr:2 photo.jpg              writes photo_denoised_x2.jpg beside it
    restore run denoise:25,sr:4 scans/ large/       with a noise level; a folder into another
    restore run dejpeg:strength=0.7,sr:2 in/ out/   70 % of what dejpeg does, 30 % of the input, then enlarged
    restore run dejpeg,sr:2:photo photo.jpg         with the network for photos
    restore run derain,sr:2@ramit-1 --resume in/ out/    with other weights; goes on where a run was cut off
    """,
)
def run(
    steps: Annotated[
        str,
        typer.Argument(
            metavar="STEPS",
            show_default=False,
            help="Tasks with commas between them, such as denoise:25,sr:2. After a colon: the noise level or auto, "
            "the factor, photo, real, defocus, or strength=0..1; after an @ the model or weights.",
        ),
    ],
    paths: Paths,
    *,
    files: FileOptions,
    offline: Offline = False,
    network: RunOptions,
    messages: MessageOptions,
) -> None:
    """Restore images by several tasks, one after the other."""
    restore_batch(WeightsRequest(task="", offline=offline), paths, files, network, messages, steps=parse_steps(steps))
