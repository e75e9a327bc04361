"""The report as one HTML page that needs no other file: every number, and charts of what they mean together."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from restore_cli.benchmark.against import Comparison
from restore_cli.benchmark.charts import Drawing, cost_drawing, quality_drawings, size_drawings, sweep_drawings
from restore_cli.benchmark.machine import Environment
from restore_cli.benchmark.report import BenchReport
from restore_cli.benchmark.table import TextTable, explain, lay_out, lay_out_growth
from restore_cli.pages.document import document, table


def bench_page(report: BenchReport, comparison: Comparison | None, *, tolerance: float) -> str:
    """Return the page as text.

    Args:
        report: At least one row.
        comparison: Adds the ratios to an earlier report.
        tolerance: Ratios that exceed it are marked with "!".
    """
    names = ", ".join(dict.fromkeys(row.case.entry.model for row in report.rows))
    title, tables = lay_out(report, comparison, tolerance=tolerance, width=None)
    body = "".join(
        [
            f"<header><h1>Bench of {escape(names)}</h1><p>{escape(title)}</p>{_facts(report.environment)}</header>",
            _first_section(report),
            _section("Time and memory against pixels", "", size_drawings(report.rows)),
            _growth_table(report),
            _section("What else was varied", "", sweep_drawings(report.rows)),
            "<h2>All figures</h2>",
            *(_markup(each) for each in tables),
            f'<p class="note">{"<br>".join(map(escape, explain(report, comparison)))}</p>',
            _failures(report),
        ]
    )
    return document(f"restore bench: {names}", body)


def _facts(environment: Environment) -> str:
    facts = {
        "processor": f"{environment.processor}, {environment.cores} cores",
        "device": f"{environment.device}: {environment.device_reason}",
        "software": f"restore {environment.restore}, torch {environment.torch}, Python {environment.python}",
        "system": environment.platform,
    }
    return f'<p class="faint">{"<br>".join(f"{escape(name)}: {escape(text)}" for name, text in facts.items())}</p>'


def _markup(cells: TextTable) -> str:
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in cells.rows)
    return table(cells.headers, "".join(f"<tr>{row}</tr>" for row in rows), kind="figures")


def _section(title: str, note: str, drawings: Iterable[Drawing]) -> str:
    drawn = "".join(drawing.markup for drawing in drawings)
    if not drawn and not note:
        return ""
    paragraph = f'<p class="note">{escape(note)}</p>' if note else ""
    plots = f'<div class="plots">{drawn}</div>' if drawn else ""
    return f"<h2>{escape(title)}</h2>{paragraph}{plots}"


def _growth_table(report: BenchReport) -> str:
    cells = lay_out_growth(report)
    return "" if cells is None else _markup(cells)


def _failures(report: BenchReport) -> str:
    failed = [row for row in report.rows if row.error is not None]
    items = "".join(f"<li><b>{escape(row.case.entry.id)}</b> {escape(row.error or '')}</li>" for row in failed)
    return f'<h2>Not measured</h2><ul class="failed">{items}</ul>' if failed else ""


def _first_section(report: BenchReport) -> str:
    """Show latency against quality if two networks have scores on the same images, else against arithmetic."""
    drawings = tuple(quality_drawings(report.rows))
    if drawings:
        note = "Scores are the manifest's, of the trained weights; further left and further up is better."
        return _section("Latency against quality", note, drawings)
    return _section("Latency", "", cost_drawing(report.rows))
