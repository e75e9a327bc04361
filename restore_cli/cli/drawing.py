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
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

# Columns of a terminal on which elapsed time and speed have room beside the bar.
_WIDTH_FOR_ALL = 72


class _BarConsole(Console):
    """A console whose cursor stays: a signal may end the process while a bar is drawn, with nobody to bring it back."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 - Rich's signature
        """Leave the cursor as it is."""
        return False


def image_bar(stream: TextIO | None, *, total: int) -> Progress:
    """Return a bar that counts images, as wide as the terminal; it leaves no trace when it stops.

    Args:
        stream: Where it is drawn.
        total: Images in all; of a single one the share that is done is shown instead.
    """
    console = _BarConsole(file=stream)
    count = MofNCompleteColumn() if total > 1 else TaskProgressColumn()
    columns: list[ProgressColumn] = [SpinnerColumn(), _description(console), BarColumn(bar_width=None), count]
    if console.width >= _WIDTH_FOR_ALL:
        columns += [TimeElapsedColumn(), TextColumn("left:")]
    return _bar(console, *columns, TimeRemainingColumn())


def transfer_bar(stream: TextIO | None) -> Progress:
    """Return a bar that counts bytes, as wide as the terminal; it leaves no trace when it stops."""
    console = _BarConsole(file=stream)
    columns: list[ProgressColumn] = [_description(console), BarColumn(bar_width=None), DownloadColumn()]
    if console.width >= _WIDTH_FOR_ALL:
        columns.append(TransferSpeedColumn())
    return _bar(console, *columns, TimeRemainingColumn())


def _description(console: Console) -> TextColumn:
    """Return the column of what is being done, cut off where it would leave no room for the bar."""
    room = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, console.width * 2 // 5))
    return TextColumn("{task.description}", markup=False, table_column=room)


def _bar(console: Console, *columns: ProgressColumn) -> Progress:
    return Progress(
        *columns,
        console=console,
        expand=True,
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
