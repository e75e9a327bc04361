"""`restore watch`: restore what arrives in a folder, with any of the restoring commands.

Stage 1, ASK. What arrives is handed to that command with `--resume`, so the ledger in the output folder remembers what
is done: a watch that was stopped, killed or lost its power goes on where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore_cli.cli.options import COMMON, MESSAGES
from restore_cli.cli.output import Output
from restore_cli.cli.registration import command, option
from restore_cli.cli.signals import stop_on_signals
from restore_cli.errors import ImageError, UsageError
from restore_cli.jobs.steps import parse_steps
from restore_cli.tasks import task_names

app = typer.Typer()

_LOOK_SECONDS = 0.5
# They say where results go or what is done again, which is settled here.
_SETTLED_HERE = frozenset({"--output", "-o", "--beside", "--in-place", "--resume", "--existing", "--dry-run", "-n"})
_ANY_IMAGE = "image.png"
_ENDS_THE_WATCH = frozenset({3, 4, 129, 130, 143})


@command(
    app,
    "watch",
    examples="""
    restore watch inbox/ done/ denoise                restores each image that arrives
    restore watch inbox/ done/ sr --scale 2 --strip   takes all options of the command
    restore watch inbox/ done/ run denoise,sr:2       several tasks, one after the other
    restore watch --once inbox/ done/ derain          restores what is there, then ends
    """,
    passes_on=True,
)
def watch(
    folder: Annotated[Path, typer.Argument(metavar="IN", show_default=False, help="The folder where images arrive.")],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", show_default=False, help="The folder where results go, made if it does not exist."
        ),
    ],
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND...",
            show_default=False,
            help="The command to restore with (sr, denoise, run, ...) and its options.",
        ),
    ],
    settle: Annotated[
        float,
        option(
            COMMON,
            "--settle",
            "Seconds for which a file must not change to count as whole.",
            metavar="SECONDS",
            min=0.0,
        ),
    ] = 2.0,
    once: Annotated[bool, option(COMMON, "--once", "End when all that is there is done.")] = False,
    *,
    quiet: Annotated[bool, option(MESSAGES, "--quiet", "-q", "Show only warnings and errors.")] = False,
) -> None:
    """Restore what arrives in a folder.

    Options of the watch itself stand before IN; behind OUT comes one of the restoring commands with its own options.
    """
    out = Output(quiet=quiet)
    _check(folder, output, words)
    from restore_cli.jobs.arrivals import Arrivals

    arrivals = Arrivals(folder, settle_seconds=settle)
    arguments = [*words, *(["--quiet"] if quiet else []), "--resume", "--output", f"{output}/"]
    out.note(f"watching {folder}; Ctrl-C ends it")
    failed = False
    while True:
        arrived = arrivals.settled()
        images = []
        for image in arrived:
            other = arrivals.namesake(image)
            if other is None:
                images.append(image)
            else:
                failed = True
                msg = f"{image}: its result would replace that of {other}"
                out.error(ImageError(msg, hint="give it another name"))
        if images:
            failed |= _restore(arguments, images) != 0
        elif once and not arrivals.are_awaited():
            break
        _wait()
    if failed:
        raise typer.Exit(ImageError.exit_code)


def _check(folder: Path, output: Path, words: list[str]) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="make it, or look at its name")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is no folder", hint="name another output")
    if output.resolve() == folder.resolve():
        raise UsageError("images cannot arrive where results go", hint="name another output folder")
    restoring = (*task_names(), "run")
    if words[0] not in restoring:
        raise UsageError(f"{words[0]!r} restores nothing", hint=f"choose {', '.join(restoring)}")
    for word in words:
        if word.partition("=")[0] in _SETTLED_HERE:
            raise UsageError(f"{word} is settled by the watch itself", hint="leave it out")
    _check_options(words)


def _check_options(words: list[str]) -> None:
    """Refuse options that do not exist now, not when the first image arrives.

    Raises:
        UsageError: If a path is among them, or a step of a chain makes no sense.
        typer.TyperException: If an option does not exist, or a value of it.
    """
    from restore_cli.cli.app import commands

    name, *options = words
    if words == ["run"]:
        raise UsageError("run is told no steps", hint="write run denoise,sr:2")
    with commands()[name].make_context(f"restore {name}", [*options, _ANY_IMAGE]) as context:
        given, steps = context.params["paths"], context.params.get("steps")
    if given != [_ANY_IMAGE]:
        raise UsageError(f"{given[0]} would be restored again and again", hint="only options go behind the command")
    if steps is not None:
        parse_steps(steps)


def _restore(arguments: list[str], images: list[Path]) -> int:
    """Restore some images; return the exit code.

    Raises:
        typer.Exit: If the command line is wrong, or nothing more can be restored.
    """
    from restore_cli.cli.app import run

    code = run([*arguments, *map(str, images)])
    # An image that went away meanwhile is no fault of the command line.
    if code in _ENDS_THE_WATCH or (code == UsageError.exit_code and all(image.exists() for image in images)):
        raise typer.Exit(code)
    return code


def _wait() -> None:
    """Wait until it is time to look again.

    Raises:
        typer.Exit: If a signal asks to end, with its code.
    """
    with stop_on_signals() as asked:
        asked.stop.wait(_LOOK_SECONDS)
    if asked.exit_code is not None:
        raise typer.Exit(asked.exit_code)
