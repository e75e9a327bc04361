"""The program: its commands, and the only place where errors become exit codes.

Stage 1, ASK. Every command lives in a module beside this one, listed in `COMMANDS` with the line that `restore --help`
shows for it. The module is imported, and its options are built, only when its command is typed: with all of them
`restore --help` took 0.39 s of CPU, this way 0.19 s. Such a module offers a `typer.Typer` named `app`: one that holds
the command (`registration.command(app, "doctor", ...)`), or one of the command's name that holds its sub-commands
(`typer.Typer(name="models")`).
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from restore_cli import __version__
from restore_cli.cli.output import Output
from restore_cli.cli.signals import interruption_exit_code, is_interruption, leave
from restore_cli.errors import RestoreError, UsageError
from restore_cli.inference.threads import settle_threads
from restore_cli.tasks import task_names

_INTERRUPTED = 130  # what Typer makes of a KeyboardInterrupt, whichever signal raised it
# Python looks for cycles after 700 objects; a plan of ten thousand images holds far more, and no cycles.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000

_PLAINER = {
    "Value error, ": "",
    "Input should be less than or equal to": "it must be at most",
    "Input should be greater than or equal to": "it must be at least",
    "Input should be a valid integer, unable to parse string as an integer": "it must be a whole number",
    "Input should be a valid number, unable to parse string as a number": "it must be a number",
}
"""Phrases of Typer's messages, and what is shown in their place."""

COMMANDS = {
    "sr": ("restore", "Enlarge images 2, 3 or 4 times."),
    "denoise": ("restore", "Take noise out of images."),
    "dejpeg": ("restore", "Take JPEG artefacts out of images, whatever their quality."),
    "derain": ("restore", "Take rain streaks out of images."),
    "lowlight": ("restore", "Lighten images taken in the dark."),
    "deblur": ("restore", "Sharpen images blurred by motion or lack of focus."),
    "run": ("run", "Restore images by several tasks, one after the other."),
    "watch": ("watch", "Restore what arrives in a folder."),
    "status": ("status", "Count what is done, failed and begun in an output folder."),
    "compare": ("compare", "Show images before and after on a page, with a slider between them."),
    "serve": ("serve", "Serve a page to drop images on, and the same over HTTP."),
    "models": ("models", "List, fetch, check and add weights."),
    "export": ("export", "Write weights as a smaller file, or for other programs."),
    "bench": ("bench", "Measure networks: parameters, Mult-Adds, FLOPs, latency, output rate, peak memory, energy."),
    "eval": ("evaluate", "Score weights on images whose truth is known, beside a baseline without a network."),
    "train": ("train", "Train a network from a folder of clean images, degraded on the fly."),
    "doctor": ("doctor", "Show what this machine has, what would be chosen, and whether it works."),
}
"""Name of a command: the module in this folder that has it, and the first line of its help."""


def _all_commands() -> dict[str, tuple[str, str]]:
    """Return these, and one for each task that has none here, as those of installed packages."""
    others = {task: ("restore", f"Restore images by the task {task}.") for task in task_names()}
    return COMMANDS | {task: command for task, command in others.items() if task not in COMMANDS}


class _LazyCommands(Mapping[str, Any]):
    """The commands by name, each built when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        holder = typer.Typer(rich_markup_mode=None)
        if name in COMMANDS:
            holder.add_typer(importlib.import_module(f"restore_cli.cli.{COMMANDS[name][0]}").app)
        else:
            from restore_cli.cli.restore import command_of_task

            holder.add_typer(command_of_task(name, help_line=_all_commands()[name][1]))
        group: Any = get_command(holder)
        return group.commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_all_commands())

    def __len__(self) -> int:
        return len(_all_commands())


def commands() -> Mapping[str, Any]:
    """Return the commands by name, each built when it is asked for."""
    return _LazyCommands()


class _LazyGroup(TyperGroup):
    """The program as a group whose commands are listed without being built."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = commands()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 -- Typer's signature
        """Return the names of the commands in the order of the help."""
        return list(_all_commands())

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that was typed, or say what to type."""
        if args[0] in COMMANDS or args[0].startswith("-") or args[0] in task_names():
            return super().resolve_command(ctx, args)
        from restore_cli.cli.mistakes import no_command

        raise no_command(args, _all_commands())

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 -- Typer's signature
        """Write the names of the commands and their lines to `formatter`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _all_commands().items()])


app = typer.Typer(
    name="restore",
    cls=_LazyGroup,
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
    ctx: typer.Context, *, version: Annotated[bool, typer.Option("--version", "-V", help="Show the version.")] = False
) -> None:
    """Restore degraded images: enlarge, take out noise and rain, lighten, sharpen."""
    if version:
        Output().data(f"restore {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        Output().block(ctx.get_help())
        raise typer.Exit(UsageError.exit_code)
    try:
        Path.cwd()
    except FileNotFoundError as error:  # the arithmetic of torch does not even load without one
        msg = "the folder that this was started in is gone"
        raise UsageError(msg, hint="change to another one, such as with cd ~") from error


def run(arguments: Sequence[str]) -> int:
    """Run the program on `arguments` (without its own name) and return the exit code.

    An error is one line on stderr; its traceback is shown only with --debug, which is looked up in the arguments
    themselves because an error may come before they are parsed.
    """
    debug = "--debug" in arguments
    try:
        code = app(args=_without_help_word(arguments), prog_name="restore", standalone_mode=False)
    except RestoreError as error:
        return _report(error, error, error.exit_code, debug=debug)
    except typer.TyperException as error:
        text = error.format_message()
        if text.startswith("Usage:"):  # a group without its sub-command: the message is the whole help
            Output().block(text)
            return error.exit_code
        return _report(error, _one_line(error), error.exit_code, debug=debug)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _report(error, "interrupted", interruption_exit_code(), debug=debug)
    except Exception as error:  # noqa: BLE001 -- the last stop: a bug too is one line, and a traceback when asked
        if is_interruption(error):
            return _report(error, "interrupted", interruption_exit_code(), debug=debug)
        message = f"internal fault, {type(error).__name__}: {error}; run again with --debug and report what it shows"
        return _report(error, message, RestoreError.exit_code, debug=debug)
    if code == _INTERRUPTED:
        return interruption_exit_code()
    return code if isinstance(code, int) else 0


def _without_help_word(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `help COMMAND...` as `COMMAND... --help`, as other programs have it."""
    return [*arguments[1:], "--help"] if arguments[:1] == ["help"] else list(arguments)


def main() -> None:
    """Run the program on the process's own arguments and exit."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    settle_threads()
    leave(run(sys.argv[1:]))


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
    message = " ".join(error.format_message().split()).rstrip(".")
    for theirs, ours in _PLAINER.items():
        message = message.replace(theirs, ours)
    return f"{message}; see '{place} --help'"
