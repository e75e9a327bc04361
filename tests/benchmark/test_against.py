from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from restore_cli.benchmark.against import compare, load_earlier
from restore_cli.benchmark.rows import Row
from restore_cli.errors import UsageError
from tests.benchmark.samples import ENVIRONMENT, a_measurement, a_report, a_row


def earlier(*rows: Row, **environment: object) -> dict[str, object]:
    return replace(a_report(*rows), environment=replace(ENVIRONMENT, **environment)).to_json()


def test_a_report_against_itself_is_unchanged():
    report = a_report()
    (change,) = compare(report, report.to_json()).changes
    assert change is not None
    assert change.latency == change.units == change.memory == 1
    assert not change.changed_counts
    assert not change.exceeds(0)


@pytest.mark.parametrize(("seconds", "exceeds"), [(1.09, False), (1.11, True), (0.5, False)])
def test_latency_beyond_the_tolerance_exceeds_it(seconds: float, exceeds: bool):
    report = a_report(a_row(a_measurement((seconds,))))
    (change,) = compare(report, earlier(a_row(a_measurement((1.0,))))).changes
    assert change is not None
    assert change.latency == pytest.approx(seconds)
    assert change.exceeds(0.1) is exceeds


def test_memory_beyond_the_tolerance_exceeds_it():
    report = a_report(a_row(a_measurement(memory_bytes=130_000_000)))
    (change,) = compare(report, earlier(a_row(a_measurement(memory_bytes=100_000_000)))).changes
    assert change is not None
    assert change.exceeds(0.1)


def test_only_rows_taken_under_the_same_conditions_are_compared():
    report = a_report(a_row(a_measurement(), batch=2), a_row(a_measurement(), size=(64, 64)), a_row(a_measurement()))
    first, second, third = compare(report, earlier()).changes
    assert first is None
    assert second is None
    assert third is not None


def test_reports_without_a_common_row_are_refused():
    with pytest.raises(UsageError, match="no row"):
        compare(a_report(a_row(a_measurement(), batch=2)), earlier())


def test_a_row_that_failed_is_not_compared():
    report = a_report(a_row(a_measurement()), a_row(None, error="out of memory", batch=8))
    assert compare(report, earlier()).changes[1] is None


def test_another_machine_and_another_network_are_told():
    row = a_row(a_measurement())
    fewer = replace(row, counts=replace(row.counts, params=1))
    comparison = compare(a_report(row), earlier(fewer, torch="2.12.0"))
    assert comparison.machine == ("torch 2.12.0 -> 2.13.0",)
    assert comparison.changes[0] is not None
    assert comparison.changes[0].changed_counts == ("params",)


def test_a_report_written_as_json_can_be_read_back(tmp_path: Path):
    path = tmp_path / "before.json"
    path.write_text(json.dumps(a_report().to_json()), encoding="utf-8")
    assert compare(a_report(), load_earlier(path)).changes[0] is not None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "restore-bench/0"}', '{"schema": "restore-bench/2"}'])
def test_a_file_that_is_no_report_is_refused_by_name(tmp_path: Path, text: str):
    path = tmp_path / "notes.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"notes\.json"):
        load_earlier(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path):
    with pytest.raises(UsageError, match=r"gone\.json"):
        load_earlier(tmp_path / "gone.json")
