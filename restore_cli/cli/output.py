"""The one place that prints: data to stdout, everything about the run to stderr.

Stage 1, ASK, and the way back to the person who asked. stdout carries written paths, JSON Lines or tables, so that it
can be piped; progress, notes, warnings and errors go to stderr. Colour needs a terminal (or FORCE_COLOR) and no
NO_COLOR; animation needs a real terminal whatever FORCE_COLOR says. Text from file names is escaped on its way out.
Rich is imported only when a bar or a table is drawn on a terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

from restore_cli.cli.progress import WorkStatus
from restore_cli.errors import RestoreError, StorageError, UsageError
from restore_cli.storage.files import printable

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress

    from restore_cli.cli.report import Report


class Output:
    """Write data, notes, warnings and errors, each to its stream.

    Safe to call from several threads. stdout that was closed by its reader (`| head`) takes no more data, and the run
    goes on: its files are what counts.

    Args:
        json: `json` and `record` objects go to stdout and `data` lines do not.
        quiet: Leave out notes and progress; warnings and errors stay.
        verbose: Show details too.
        progress: Draw bars on a terminal; elsewhere print a line an image, and one whenever there was silence.
        silence_seconds: After how long a silence that line comes.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        progress: bool = True,
        silence_seconds: float = 60.0,
    ) -> None:
        self.wants_json = json
        self._quiet = quiet
        self._verbose = verbose
        self._silence_seconds = silence_seconds
        self._lock = threading.RLock()
        self._bar: Progress | None = None
        self._status: WorkStatus | None = None
        self._spoke_at = time.monotonic()
        self._report: Report | None = None
        self._stdout: TextIO | None = sys.stdout
        self._stderr: TextIO | None = sys.stderr
        for stream in (self._stdout, self._stderr):
            _never_fail_to_encode(stream)
        shown = progress and not quiet
        self._animated = shown and _is_terminal(self._stderr) and os.environ.get("TERM") != "dumb"
        self._reports_in_lines = shown and not self._animated
        # On a terminal that cannot be drawn on, the paths on stdout are those lines.
        self._line_each = shown and not _is_terminal(self._stderr)

    def data(self, line: str) -> None:
        """Print one line of data to stdout, escaped; nothing under --json, whose objects say it already.

        Raises:
            StorageError: If stdout cannot take it (a full disk).
        """
        if not self.wants_json:
            self._print_data(printable(line))

    def json(self, value: Mapping[str, Any] | Sequence[Any]) -> None:
        """Print one JSON value to stdout as a line of ASCII.

        Raises:
            StorageError: If stdout cannot take it (a full disk).
        """
        self._print_data(json.dumps(value))

    def image(self, data: bytes) -> None:
        """Write the bytes of an image to stdout.

        Raises:
            StorageError: If stdout cannot take them all: closed, a reader that has gone, a full disk.
        """
        if self._stdout is None:
            raise StorageError("standard output is closed", hint="name an output file")
        try:
            self._stdout.buffer.write(data)
            self._stdout.buffer.flush()
        except OSError as error:
            _discard(self._stdout)
            msg = f"standard output: it cannot be written: {error.strerror}"
            raise StorageError(msg, hint="name an output file") from error

    def require_pipe(self) -> None:
        """Refuse to send an image to a terminal, or to nowhere.

        Raises:
            UsageError: If stdout is a terminal, or objects are to go there.
            StorageError: If it is closed.
        """
        if self._stdout is None:
            raise StorageError("standard output is closed, and the image should go there", hint="name an output file")
        if self.wants_json:
            raise UsageError("--json and an image on standard output contradict each other", hint="say --report FILE")
        if _is_terminal(self._stdout):
            msg = "an image is not written to a terminal"
            raise UsageError(msg, hint="name an output file, or redirect: > out.png")

    @property
    def keeps_records(self) -> bool:
        """Return whether objects go anywhere: to stdout under --json, or to a report."""
        return self.wants_json or self._report is not None

    def record(self, value: Mapping[str, Any]) -> None:
        """Add one object to the run's JSON Lines: stdout under --json, the report where one is open.

        Raises:
            StorageError: If stdout cannot take it. A report that cannot is told when it ends: the images go on.
        """
        if self.wants_json:
            self.json(value)
        with self._lock:
            if self._report is not None:
                self._report.add(value)

    def table(
        self, headers: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", numeric: Collection[str] = ()
    ) -> None:
        """Print a table to stdout: drawn on a terminal, plain columns in a pipe.

        Args:
            headers: One a column.
            rows: Cells as text, one sequence a row.
            title: A line above; left out in a pipe.
            numeric: Headers of the columns to align right.

        Raises:
            StorageError: If stdout cannot take it (a full disk).
        """
        cells = [[printable(cell) for cell in row] for row in rows]
        right = [header in numeric for header in headers]
        if _is_terminal(self._stdout):
            from restore_cli.cli.drawing import drawn_table

            colour = _wants_colour(self._stdout)
            self._print_data(drawn_table(headers, cells, right=right, title=title, colour=colour))
            return
        widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
        for row in [list(headers), *cells]:
            padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
            self._print_data("  ".join(padded).rstrip())

    def note(self, text: str) -> None:
        """Tell something about the run on stderr, unless --quiet."""
        if not self._quiet:
            self._print_message(printable(text))

    def detail(self, text: str) -> None:
        """Tell something few want to know on stderr, under --verbose only."""
        if self._verbose:
            self._print_message(printable(text))

    def block(self, text: str) -> None:
        """Print our own text of several lines on stderr, as it stands."""
        self._print_message(text)

    def warn(self, text: str) -> None:
        """Print a warning line on stderr."""
        self._print_message(f"restore: {self._label('warning', 'yellow')} {printable(text)}")

    def error(self, error: RestoreError | str) -> None:
        """Print an error line on stderr: what happened; what to do next."""
        self._print_message(f"restore: {self._label('error', 'red')} {printable(str(error))}")

    def traceback(self, error: BaseException) -> None:
        """Print the traceback of an error on stderr, for --debug."""
        lines = "".join(traceback.format_exception(error)).splitlines()
        self.block("\n".join(printable(line) for line in lines))

    def image_path(self, path: str) -> None:
        """Print the path of a finished image to stdout; on a terminal with a bar under --verbose only.

        Raises:
            StorageError: If stdout cannot take it (a full disk).
        """
        if self._verbose or self._bar is None or not _is_terminal(self._stdout):
            self.data(path)

    def image_done(self, text: str | None, *, name: str | None = None) -> None:
        """Move the bar by one image, or print the plain line that stands for it; None where another line did.

        Args:
            text: The line.
            name: What `image_at` called the image.
        """
        with self._lock:
            if self._status is not None:
                self._status.finish(name)
                self._move_bar()
            if self._line_each and text is not None:
                self._print_message(printable(text))

    def image_now(self, text: str) -> None:
        """Say on the bar, where one is shown, what is being done now."""
        with self._lock:
            if self._status is not None:
                self._status.begin(text)
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], description=printable(text))

    def image_at(self, name: str, share: float, more: str = "") -> None:
        """Take how far an image is, 0..1, and what else is known of it ("tile 3 of 12")."""
        with self._lock:
            if self._status is not None:
                self._status.advance(name, share, more)
                self._move_bar(f"{name}, {more}" if more else name)

    @contextlib.contextmanager
    def image_progress(self, total: int, what: str) -> Iterator[None]:
        """Show a bar over the images of a run while inside, or break long silences; `image_done` moves it.

        Args:
            total: Images to come.
            what: What is being done, a word or two before the bar.
        """
        if not (self._animated or self._reports_in_lines):
            yield
            return
        status = WorkStatus(total, what)
        with contextlib.ExitStack() as stack:
            if self._animated:
                from restore_cli.cli.drawing import image_bar

                bar = stack.enter_context(self._bar_shown(image_bar(self._stderr, total=total)))
                bar.add_task(printable(what), total=total)
            else:
                stack.enter_context(self._silence_broken(status.line))
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def _move_bar(self, description: str | None = None) -> None:
        if self._bar is None or self._status is None:
            return
        task = self._bar.task_ids[0]
        if description is None:
            self._bar.update(task, completed=self._status.completed)
        else:
            self._bar.update(task, completed=self._status.completed, description=printable(description))

    @contextlib.contextmanager
    def _silence_broken(self, line: Callable[[], str]) -> Iterator[None]:
        """Print how it stands whenever nothing was printed for long, where no bar shows it."""
        if not self._reports_in_lines:
            yield
            return
        ended = threading.Event()

        def watch() -> None:
            wait = self._silence_seconds
            while not ended.wait(wait):
                with self._lock:
                    wait = self._spoke_at + self._silence_seconds - time.monotonic()
                    if wait <= 0 and not ended.is_set():
                        self._print_message(printable(line()))
                        wait = self._silence_seconds

        watcher = threading.Thread(target=watch, name="silence", daemon=True)
        self._spoke_at = time.monotonic()
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    @contextlib.contextmanager
    def transfer_progress(self, name: str) -> Iterator[Callable[[int, int | None], None]]:
        """Show a download: yield a function that takes the bytes done and the total, None if unknown.

        Nothing is shown before its first call, so that weights at hand load in silence.
        """
        with contextlib.ExitStack() as stack:
            bar: Progress | None = None
            started, received = False, 0

            def advance(done: int, total: int | None) -> None:
                nonlocal bar, started, received
                if not started and self._animated:
                    from restore_cli.cli.drawing import transfer_bar

                    bar = stack.enter_context(self._bar_shown(transfer_bar(self._stderr)))
                    bar.add_task(printable(name), total=total)
                elif not started:
                    self.note(f"fetching {name}" + ("" if total is None else f" ({total / 1e6:.1f} MB)"))
                    stack.enter_context(
                        self._silence_broken(lambda: f"fetching {name}: {received / 1e6:.1f} MB so far")
                    )
                started, received = True, done
                if bar is not None:
                    bar.update(bar.task_ids[0], completed=done, total=total)

            yield advance

    @contextlib.contextmanager
    def report(self, place: Path | str | None, *, overwrite: bool = False, append: bool = False) -> Iterator[None]:
        """Write every `record` into a JSON Lines file too while inside; an object in a bucket is put at the end.

        Args:
            place: The file or object; None for none.
            overwrite: Replace a report that exists; otherwise it is refused.
            append: Add to a report that exists.

        Raises:
            UsageError: If the file exists and may be neither replaced nor added to.
            StorageError: If the file cannot be made; or, when all is done, if it could not take every line.
        """
        if place is None:
            yield
            return
        from restore_cli.cli.report import Report

        with Report.opened(place, overwrite=overwrite, append=append) as report:
            self._report = report
            try:
                yield
            finally:
                self._report = None

    @contextlib.contextmanager
    def _bar_shown(self, bar: Progress) -> Iterator[Progress]:
        """Show a bar, in place of the one that is shown already, if any."""
        with self._lock:
            outer = self._bar
            if outer is not None:
                outer.stop()
            self._bar = bar
            bar.start()
        try:
            yield bar
        finally:
            with self._lock:
                bar.stop()
                self._bar = outer
                if outer is not None:
                    outer.start()

    @contextlib.contextmanager
    def _bar_hidden(self) -> Iterator[None]:
        """Take the bar off the terminal while something else is printed there, whichever stream it goes to."""
        with self._lock:
            if self._bar is None:
                yield
                return
            self._bar.stop()
            try:
                yield
            finally:
                self._bar.start()

    def _print_data(self, text: str) -> None:
        with self._lock:
            if self._stdout is None:
                return
            hidden = self._bar_hidden() if _is_terminal(self._stdout) else contextlib.nullcontext()
            try:
                with hidden:
                    _write(self._stdout, text + "\n", name="standard output")
            except BrokenPipeError:
                _discard(self._stdout)
                self._stdout = None

    def _print_message(self, text: str) -> None:
        # A lost stderr is no reason to stop: there is nobody left to tell.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._spoke_at = time.monotonic()
            if self._stderr is not None:
                with self._bar_hidden():
                    self._stderr.write(text + "\n")
                    self._stderr.flush()

    def _label(self, word: str, colour: str) -> str:
        label = f"{word}:"
        return typer.style(label, fg=colour, bold=True) if _wants_colour(self._stderr) else label


def _write(stream: TextIO, text: str, *, name: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"cannot write to {name}: {error.strerror}"
        raise StorageError(msg, hint="free some space or send it elsewhere") from error


def _discard(stream: TextIO) -> None:
    """Point a broken stream's descriptor at nothing, so that the interpreter's own flush at exit stays silent."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def _never_fail_to_encode(stream: TextIO | None) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _wants_colour(stream: TextIO | None) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (_is_terminal(stream) and os.environ.get("TERM") != "dumb")
