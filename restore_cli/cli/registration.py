"""The one way to make a function a command, and the form all help has.

Stage 1, ASK. A command takes its options in frozen dataclasses (`options`), whose fields are spread on the command
line, so that five commands need not repeat thirty options:

    @command(app, "derain", examples="restore derain street.jpg")
    def derain(paths: Paths, files: FileOptions, messages: MessageOptions) -> None:
        "Take rain streaks out of images."

Help is plain text in sections rather than Rich panels: with them `restore --help` took 0.36 s, without 0.17 s.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

Command = Callable[..., None]

_WHOLE_SENTENCE = 200
_WIDTH_OF_EXAMPLES = 76  # of 80 columns, of which the help indents them by four


class SectionedCommand(TyperCommand):
    """Print the help of a command with its options under the headings they were declared with."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the command's name in the usage line, arguments as their metavar writes them."""
        pieces: list[str] = super().collect_usage_pieces(ctx)
        return [pieces[0], *(parameter.metavar or parameter.name for parameter in self._arguments())]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options to `formatter`, a heading for each section."""
        _write_sections(self.get_params(ctx), ctx, formatter)

    def _arguments(self) -> list[Any]:
        return [parameter for parameter in self.params if parameter.param_type_name == "argument"]


class SectionedGroup(TyperGroup):
    """Print the help of a command that has commands below it in the same form."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write options and the commands below to `formatter`, a heading for each section."""
        _write_sections(self.get_params(ctx), ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names of the commands below and their first sentences, in full, to `formatter`."""
        lines = [(name, self.commands[name].get_short_help_str(_WHOLE_SENTENCE)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(lines)


def _write_sections(parameters: list[Any], ctx: Any, formatter: Any) -> None:
    """Write arguments, then the common options, then the other sections in the order of their first option."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in parameters:
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        heading = getattr(parameter, "rich_help_panel", None) or "Options"
        names, text = record[0], _without_range(record[1])
        if parameter.param_type_name == "argument":
            heading, names = "Arguments", parameter.metavar or names
            text = text.removesuffix("  [required]")
        sections.setdefault(heading, []).append((names, text))
    if arguments := sections.pop("Arguments"):
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_dl(arguments)
    formatter.write_paragraph()
    for heading, records in sections.items():
        if records:  # without blank lines between them, so that all fits a screen
            formatter.write_heading(heading)
            with formatter.indentation():
                formatter.write_dl(records)


def _without_range(text: str) -> str:
    """Leave the range of a number out of what Typer puts behind a help text; a default stays."""
    found = re.search(r"  \[([^\[\]]*)\]$", text)
    if found is None:
        return text
    kept = [part for part in found[1].split("; ") if re.search(r"x[<>]=|<=x", part) is None]
    return text[: found.start()] + (f"  [{'; '.join(kept)}]" if kept else "")


def command(app: typer.Typer, name: str, *, examples: str, passes_on: bool = False) -> Callable[[Command], Command]:
    """Register a function as the command `name`; its dataclass parameters become the options of their fields.

    Args:
        app: Where to register it.
        name: What is typed.
        examples: Command lines to show at the end of --help, one a line.
        passes_on: Its own options stand first; from its first argument on, all words are arguments, for it to pass on.
    """
    settings = {"allow_interspersed_args": False} if passes_on else {}

    def register(function: Command) -> Command:
        app.command(name, cls=SectionedCommand, epilog=_epilog(examples), context_settings=settings)(_spread(function))
        return function

    return register


def option(section: str, *names_and_help: str, **settings: Any) -> Any:
    """Declare an option.

    Args:
        section: Heading it stands under in the help.
        names_and_help: How it is typed ("--model", "-m"), then a sentence that says what it does.
        settings: More of `typer.Option`: metavar, min, max, parser, ...; the help shows the defaults of numbers, whose
            least is named, and others' where `show_default` is true or says it in words.
    """
    *names, text = names_and_help
    settings.setdefault("show_default", "min" in settings)
    return typer.Option(*names, rich_help_panel=section, help=text, **settings)


def command_of_its_own(app: typer.Typer, *, examples: str) -> Callable[[Command], Command]:
    """Register a function as what `app` does itself when none of the commands below it is called.

    The function takes a `typer.Context` too and returns at once where its `invoked_subcommand` is set.

    Args:
        app: The group.
        examples: Command lines to show at the end of --help, one a line.
    """

    def register(function: Command) -> Command:
        app.callback(invoke_without_command=True, cls=SectionedGroup, epilog=_epilog(examples))(_spread(function))
        return function

    return register


def _epilog(examples: str) -> str:
    """Lay examples out for the end of a help; notes go below their commands where they are too long to stand beside."""
    lines = inspect.cleandoc(examples).splitlines()
    if max(map(len, lines)) > _WIDTH_OF_EXAMPLES:
        lines = [part for line in lines for part in re.sub(r"(?<=\S)  +", "\n    ", line).splitlines()]
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def _spread(function: Command) -> Command:
    """Return `function` with each dataclass parameter replaced by the dataclass's fields."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        members = [parameter]
        group: Any = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            hints = get_type_hints(group, include_extras=True)  # of inherited fields too, each in its own module
            members = [m.replace(annotation=hints[m.name]) for m in inspect.signature(group).parameters.values()]
        parameters += [member.replace(kind=inspect.Parameter.KEYWORD_ONLY) for member in members]

    def invoke(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        function(**values)

    invoke.__doc__ = function.__doc__
    invoke.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    invoke.__dict__["__signature__"] = inspect.Signature(parameters)
    return invoke
