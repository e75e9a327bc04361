from __future__ import annotations

from dataclasses import replace

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from restore_cli.benchmark.against import compare
from restore_cli.benchmark.table import TextTable, explain, lay_out, lay_out_growth
from tests.benchmark.samples import a_measurement, a_report, a_row, an_entry


def cell(table: TextTable, header: str, row: int = 0) -> str:
    return table.rows[row][table.headers.index(header)]


def test_one_table_holds_it_all_where_there_is_room():
    title, (table,) = lay_out(a_report(), None, tolerance=0.1, width=None)
    assert "size 1280x720, batch 1, float32, 2 threads" in title
    assert cell(table, "network") == "ramit-sr-x4"
    assert cell(table, "params") == "960,616"
    assert cell(table, "Mult-Adds") == "42.13 G"
    assert cell(table, "median") == "2.00 s"
    assert cell(table, "memory") == "250 MB"
    assert cell(table, "units") == "50.0"


def test_where_lines_are_short_several_tables_hold_it_and_none_is_wider():
    report = a_report(a_row(a_measurement(), entry=an_entry(id="ramit-1-denoise-color")))
    _, (costs, latency, resources) = lay_out(report, None, tolerance=0.1, width=80)
    assert max(table.width for table in (costs, latency, resources)) <= 80
    assert cell(costs, "params") == "960,616"
    assert cell(latency, "median") == "2.00 s"
    assert cell(resources, "network") == "ramit-1-denoise-color"
    assert cell(resources, "memory") == "250 MB"


def test_no_column_is_lost_whatever_the_width():
    report = a_report()
    _, (wide,) = lay_out(report, None, tolerance=0.1, width=None)
    _, narrow = lay_out(report, None, tolerance=0.1, width=1)
    assert [header for table in narrow for header in table.headers if header != "network"] == list(wide.headers[1:])


def test_a_width_is_what_a_terminal_needs():
    _, (table,) = lay_out(a_report(), None, tolerance=0.1, width=None)
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in table.headers:
        drawn.add_column(header)
    for row in table.rows:
        drawn.add_row(*row)
    console = Console(width=1000)
    assert Measurement.get(console, console.options, drawn).maximum <= table.width


def test_conditions_that_vary_get_a_column_and_leave_the_title():
    report = a_report(a_row(a_measurement()), a_row(a_measurement(), batch=4))
    title, (table,) = lay_out(report, None, tolerance=0.1, width=None)
    assert "batch" not in title
    assert [cell(table, "batch", row) for row in (0, 1)] == ["1", "4"]
    assert "dtype" not in table.headers


def test_a_row_that_failed_says_so_and_keeps_its_counts():
    _, (table,) = lay_out(a_report(a_row(None, error="out of memory")), None, tolerance=0.1, width=None)
    assert cell(table, "median") == "failed"
    assert cell(table, "params") == "960,616"


def test_rows_that_were_only_counted_show_counts_alone():
    _, (table,) = lay_out(a_report(a_row(None)), None, tolerance=0.1, width=None)
    assert table.headers == ("network", "params", "Mult-Adds", "FLOPs")


def test_ratios_to_an_earlier_report_are_shown_and_marked_beyond_the_tolerance():
    earlier = a_report(a_row(a_measurement((1.0,)))).to_json()
    report = a_report(a_row(a_measurement((1.5,))), a_row(a_measurement(), batch=2))
    _, (table,) = lay_out(report, compare(report, earlier), tolerance=0.1, width=None)
    assert cell(table, "x latency") == "1.500!"
    assert cell(table, "x memory") == "1.000"
    assert cell(table, "x latency", 1) == "new"


def test_compile_time_has_a_column_of_its_own():
    measurement = a_measurement()
    compiled = replace(measurement, timing=replace(measurement.timing, compile_seconds=31.4))
    _, (table,) = lay_out(a_report(a_row(compiled)), None, tolerance=0.1, width=None)
    assert cell(table, "compile") == "31.4 s"


def test_the_notes_say_that_the_weights_are_random():
    assert any("random weights" in line for line in explain(a_report(), None))


def test_energy_has_a_column_where_it_is_told_and_a_reason_where_not():
    _, (table,) = lay_out(a_report(a_row(a_measurement(joules=31.5))), None, tolerance=0.1, width=None)
    assert cell(table, "energy") == "31.5 J"
    _, (table,) = lay_out(a_report(), None, tolerance=0.1, width=None)
    assert "energy" not in table.headers
    assert "Energy: not told: a sample." in explain(a_report(), None)


def test_growth_is_a_table_of_its_own_that_names_what_strays():
    sizes = ((256, 256), (512, 512), (1024, 1024))
    bent = zip(sizes, (1.0, 4.0, 32.0), strict=True)
    table = lay_out_growth(a_report(*(a_row(a_measurement((seconds,)), size=size) for size, seconds in bent)))
    assert table is not None
    assert [row[:2] for row in table.rows] == [
        ("ramit-sr-x4", "time"), ("ramit-sr-x4", "CPU time"), ("ramit-sr-x4", "memory"),
    ]  # fmt: skip
    assert cell(table, "largest step") == "x2.00 at 0.0655 Mpixel"
    assert lay_out_growth(a_report()) is None
