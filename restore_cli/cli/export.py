"""`restore export`: weights as a smaller file, or as a program that needs nothing of this package.

Stage 1, ASK. The work is `exporting.run`'s.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from restore_cli.cli.options import COMMON, MessageOptions, Offline, complete_model
from restore_cli.cli.output import Output
from restore_cli.cli.registration import command, option
from restore_cli.exporting.request import Exported, Form, StoredAs

app = typer.Typer()


@command(
    app,
    "export",
    examples="""
    restore export ramit-1-sr-x4 --to safetensors --dtype int8    a quarter of the size; then: --weights FILE
    restore export mine.safetensors --to safetensors --dtype float16 --check
    restore export their-nafnet.pth --task deblur --to onnx       of a file that does not tell what it is for
    restore export ramit-lite-sr-x4 --to pt2                      a program of torch.export, for images of any size
    restore export ramit-lite-sr-x4 --to onnx                     the same for onnxruntime; needs the extra onnx
    """,
)
def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID|FILE",
            show_default=False,
            autocompletion=complete_model,
            help="A weights id, or a weights file, also one of others.",
        ),
    ],
    form: Annotated[Form, option(COMMON, "--to", "Form of the file.")],
    stored_as: Annotated[
        StoredAs,
        option(
            COMMON, "--dtype", "How numbers are stored; int8 has a scale for each output channel.", show_default=True
        ),
    ] = "float32",
    check: Annotated[
        bool,
        option(
            COMMON,
            "--check",
            "Run the file at three sizes, and refuse it where its pixels differ; pt2 and onnx always are.",
        ),
    ] = False,
    task: Annotated[
        str | None,
        option(COMMON, "--task", "What a file is for that does not tell: denoise, deblur, ...", metavar="TASK"),
    ] = None,
    output: Annotated[
        Path | None, option(COMMON, "--output", "-o", "Write to this file. [default: the id, here]", metavar="FILE")
    ] = None,
    existing: Annotated[
        Literal["error", "overwrite"],
        option(COMMON, "--existing", "For an existing file: error or overwrite.", metavar="WHAT"),
    ] = "error",
    *,
    messages: MessageOptions,
    offline: Offline = False,
) -> None:
    """Write weights as a smaller file, or for other programs.

    Their manifest entry goes inside, with the digest of the file they were made of.
    """
    out = messages.open()

    from restore_cli.exporting.run import export as export_weights

    def show(what: str) -> None:
        out.image_now(what)
        out.note(what)

    with out.transfer_progress(name) as progress, out.image_progress(1, name):
        made = export_weights(
            name,
            form,
            dtype=stored_as,
            task=task,
            output=output,
            overwrite=existing == "overwrite",
            check=check,
            offline=offline,
            progress=progress,
            doing=show,
        )
    _show(made, out)


def _show(made: Exported, out: Output) -> None:
    """Print what was written and how far from the network it is."""
    from restore_cli.weights.entry import entry_to_json

    checks = [
        {"height": c.size[0], "width": c.size[1], "difference": c.difference, "change": c.change} for c in made.checks
    ]
    out.record({"path": str(made.path), "checks": checks, "entry": entry_to_json(made.entry)})
    out.data(str(made.path))
    for check in made.checks:
        height, width = check.size
        out.note(
            f"{height}x{width}: at most {check.difference:.1e} from what its numbers give, "
            f"{check.change * 255:.2f} of 255 levels from the original"
        )
    out.note(f"{made.entry.id}: {made.entry.bytes} bytes, sha256 {made.entry.sha256}")
    if made.path.suffix == ".safetensors":
        out.note(f"to use it: restore {made.entry.task} --weights {shlex.quote(str(made.path))} IMAGE")
