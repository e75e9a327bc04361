from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from restore_cli.bench.report import SCHEMA
from tests.bench.samples import a_measurement, a_report, a_row

FIELDS = {
    "id": str,
    "model": str,
    "task": str,
    "scale": int,
    "arch": str,
    "weights": str,
    "size": list,
    "input_size": list,
    "padded_input_size": list,
    "output_size": list,
    "batch": int,
    "params": int,
    "mult_adds_1280x720": int,
    "flops_1280x720": int,
    "mult_adds": int,
    "flops": int,
    "device": str,
    "dtype": str,
    "dtype_reason": str,
    "threads": int,
    "compiled": bool,
    "compile_seconds": float,
    "warmup": int,
    "runs": int,
    "latency_median_seconds": float,
    "latency_p10_seconds": float,
    "latency_p90_seconds": float,
    "latency_seconds": list,
    "output_mpixels_per_second": float,
    "peak_memory_bytes": int,
    "loaded_memory_bytes": int,
    "memory_method": str,
    "flops_per_second": float,
    "conv_unit_seconds": float,
    "conv_units": float,
    "conv_flops_per_second": float,
    "share_of_conv_rate": float,
    "copy_bytes_per_second": float,
    "error": str,
}


def compiled_row() -> dict[str, object]:
    measurement = a_measurement()
    timing = replace(measurement.timing, compile_seconds=12.0)
    return a_row(replace(measurement, timing=timing), error="none").to_json()


def test_the_fields_of_a_row_and_their_types_are_those_of_the_schema():
    assert {name: type(value) for name, value in compiled_row().items()} == FIELDS


def test_a_row_that_was_only_counted_has_the_same_fields():
    row = a_row(None).to_json()
    assert list(row) == list(FIELDS)
    assert row["params"] == 960_616
    assert row["latency_median_seconds"] is None


def test_counts_stay_exact_integers_in_the_document():
    document = json.loads(json.dumps(a_report().to_json()))
    assert document["schema"] == SCHEMA
    assert document["rows"][0]["mult_adds_1280x720"] == 42_130_000_001
    assert document["environment"]["torch"] == "2.13.0"


def test_figures_of_a_row_follow_from_its_samples():
    row = a_row(a_measurement((2.0, 1.0, 3.0)), batch=4).to_json()
    assert row["latency_median_seconds"] == 2.0
    assert row["latency_p10_seconds"] == pytest.approx(1.2)
    assert row["latency_p90_seconds"] == pytest.approx(2.8)
    assert row["latency_seconds"] == [2.0, 1.0, 3.0]
    assert row["output_mpixels_per_second"] == pytest.approx(4 * 720 * 1280 / 1e6 / 2)
    assert row["conv_units"] == pytest.approx(2.0 / 0.04)
    assert row["peak_memory_bytes"] == 250_000_000
    assert row["flops_per_second"] == pytest.approx(4 * 83_000_000_002 / 2)
    assert row["share_of_conv_rate"] == pytest.approx(row["flops_per_second"] / row["conv_flops_per_second"])


def test_the_unit_is_two_flops_a_multiply_add_of_a_64_channel_convolution():
    row = a_row(a_measurement()).to_json()
    assert row["conv_flops_per_second"] == pytest.approx(2 * 192 * 320 * 64 * 64 * 9 / 0.04)


def test_csv_has_a_line_a_row_with_exact_integers_and_empty_fields_for_what_is_unknown():
    report = a_report(a_row(a_measurement()), a_row(None, error="it failed, twice"))
    first, second = csv.DictReader(io.StringIO(report.to_csv()))
    assert list(first) == list(FIELDS)
    assert first["mult_adds"] == "42130000001"
    assert json.loads(first["size"]) == [720, 1280]
    assert second["latency_median_seconds"] == ""
    assert second["error"] == "it failed, twice"
