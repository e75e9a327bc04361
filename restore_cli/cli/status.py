"""`restore status`: how far the batch of an output folder is.

Stage 1, ASK.
"""

from __future__ import annotations

from typing import Annotated

import typer

from restore_cli.cli.options import Json
from restore_cli.cli.output import Output
from restore_cli.cli.registration import command

app = typer.Typer()


@command(
    app,
    "status",
    examples="""
    restore status out/              8 done, 1 failed, 1 begun
    restore status --json out/       the same for programs, with the names
    restore status s3://photos/out   of a batch into a bucket
    """,
)
def status(
    folder: Annotated[
        str,
        typer.Argument(metavar="OUT", show_default=False, help="The output folder of a batch, here or in a bucket."),
    ],
    *,
    json: Json = False,
) -> None:
    """Count what is done, failed and begun in an output folder."""
    from restore_cli.jobs.status import status_of

    out = Output(json=json)
    found = status_of(folder)
    out.data(f"{found.done} done, {len(found.failures)} failed, {len(found.begun)} begun")
    for name, error in found.failures.items():
        out.note(f"failed: {name}: {error}")
    for name in found.begun:
        out.note(f"begun: {name}")
    out.record(
        {
            "type": "status",
            "done": found.done,
            "failed": len(found.failures),
            "begun": len(found.begun),
            "failures": [{"target": name, "error": error} for name, error in found.failures.items()],
            "unfinished": list(found.begun),
        }
    )
