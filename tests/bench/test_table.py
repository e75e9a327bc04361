from __future__ import annotations

from dataclasses import replace

from restore_cli.bench.against import compare
from restore_cli.bench.table import TextTable, explain, lay_out
from tests.bench.samples import a_measurement, a_report, a_row


def cell(table: TextTable, header: str, row: int = 0) -> str:
    return table.rows[row][table.headers.index(header)]


def test_one_table_holds_it_all_where_there_is_room():
    title, (table,) = lay_out(a_report(), None, tolerance=0.1, width=None)
    assert "1280x720 output, batch 1, float32, 2 threads" in title
    assert cell(table, "network") == "ramit-sr-x4"
    assert cell(table, "params") == "960,616"
    assert cell(table, "Mult-Adds") == "42.13 G"
    assert cell(table, "median") == "2.00 s"
    assert cell(table, "memory") == "250 MB"
    assert cell(table, "units") == "50.0"


def test_two_tables_hold_it_where_a_line_is_short_and_no_line_is_longer():
    _, tables = lay_out(a_report(), None, tolerance=0.1, width=80)
    assert len(tables) == 2
    assert all(table.width <= 80 for table in tables)
    assert cell(tables[0], "params") == "960,616"
    assert cell(tables[1], "median") == "2.00 s"


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
    assert cell(table, "vs latency") == "x1.500!"
    assert cell(table, "vs memory") == "x1.000"
    assert cell(table, "vs latency", 1) == "new"


def test_compile_time_has_a_column_of_its_own():
    measurement = a_measurement()
    compiled = replace(measurement, timing=replace(measurement.timing, compile_seconds=31.4))
    _, (table,) = lay_out(a_report(a_row(compiled)), None, tolerance=0.1, width=None)
    assert cell(table, "compile") == "31.4 s"


def test_the_notes_say_that_the_weights_are_random():
    assert any("random weights" in line for line in explain(a_report()))
