"""The program: its commands, and the only place where errors become exit codes.

Stage 1, ASK. Typer's public API only. Every command lives in its own module beside this one and is registered below;
none of them imports torch, Pillow or Rich when it is imported, only inside the functions that need them, so
`restore --help` answers at once. A module with several commands offers a `typer.Typer` named `app`, added with
`app.add_typer(models.app, name="models")`; one with a single command decorates it with
`options.command(app, "doctor", ...)` on an `app` of its own, added without a name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from restore_cli import __version__
from restore_cli.cli.output import Output
from restore_cli.errors import RestoreError, UsageError

INTERRUPTED = 130  # 128 + SIGINT, as shells count

app = typer.Typer(
    name="restore",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback(
    epilog="\b\nExamples:\n"
    "  restore sr --scale 4 photo.jpg            writes photo_x4.jpg beside it\n"
    "  restore denoise --sigma 25 scans/ clean/  restores a folder into another\n"
    "  restore doctor                            shows what this machine can do"
)
def _root(
    ctx: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Restore degraded pictures: enlarge, take out noise and rain, lighten, sharpen."""
    if version:
        Output().data(f"restore {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        Output().block(ctx.get_help())
        raise typer.Exit(UsageError.exit_code)


def run(arguments: Sequence[str]) -> int:
    """Run the program on `arguments` (without its own name) and return the exit code.

    An error is one line on stderr; its traceback is shown only with --debug, which is looked up in the arguments
    themselves because an error may come before they are parsed.
    """
    debug = "--debug" in arguments
    try:
        code = app(args=list(arguments), prog_name="restore", standalone_mode=False)
    except RestoreError as error:
        return _report(error, error, error.exit_code, debug=debug)
    except typer.TyperException as error:
        return _report(error, _one_line(error), error.exit_code, debug=debug)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _report(error, "interrupted", INTERRUPTED, debug=debug)
    except Exception as error:  # noqa: BLE001 -- the last stop: a bug too is one line, and a traceback when asked
        message = f"internal fault, {type(error).__name__}: {error}; run again with --debug and report what it shows"
        return _report(error, message, RestoreError.exit_code, debug=debug)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the program on the process's own arguments and exit."""
    sys.exit(run(sys.argv[1:]))


def _report(error: BaseException, message: RestoreError | str, code: int, *, debug: bool) -> int:
    output = Output()
    if debug:
        output.traceback(error)
    output.error(message)
    return code


def _one_line(error: typer.TyperException) -> str:
    """Put Typer's message, which may have several lines, and the way to the help into one line."""
    context = getattr(error, "ctx", None)
    place = "restore" if context is None else context.command_path
    message = " ".join(error.format_message().split()).replace("Value error, ", "").rstrip(".")
    return f"{message}; see '{place} --help'"
