"""What Rich draws on a terminal: bars and tables. Imported by `output` when the first of them is needed.

Stage 1, ASK. Text is never read as Rich's markup: an image may be called `[red].png`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text


class _BarConsole(Console):
    """A console whose cursor stays: a signal may end the process while a bar is drawn, with nobody to bring it back."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 - Rich's signature
        """Leave the cursor as it is."""
        return False


def image_bar(stream: TextIO | None) -> Progress:
    """Return a bar that counts images; it leaves no trace when it stops."""
    return _bar(
        stream, SpinnerColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn()
    )


def transfer_bar(stream: TextIO | None) -> Progress:
    """Return a bar that counts bytes; it leaves no trace when it stops."""
    return _bar(stream, None, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())


def _bar(stream: TextIO | None, before: ProgressColumn | None, *after: ProgressColumn) -> Progress:
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), *after]
    return Progress(
        *([] if before is None else [before]),
        *columns,
        console=_BarConsole(file=stream),
        transient=True,
        redirect_stdout=False,  # data must reach stdout itself, which may be a pipe
        redirect_stderr=False,
    )


def drawn_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[bool], title: str, colour: bool
) -> str:
    """Return a table as wide as the terminal allows, without a final line end.

    Args:
        headers: One a column.
        rows: Cells, one sequence a row.
        right: For each column, whether to align it right.
        title: A line above, "" for none.
        colour: Whether to colour it.
    """
    table = Table(title=Text(title) if title else None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for header, aligned_right in zip(headers, right, strict=True):
        table.add_column(Text(header), justify="right" if aligned_right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(no_color=not colour, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")
