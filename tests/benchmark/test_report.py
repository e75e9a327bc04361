from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from restore_cli.benchmark.report import SCHEMA
from restore_cli.benchmark.workloads import WorkloadFacts
from tests.benchmark.samples import a_measurement, a_report, a_row

FIELDS = {
    "id": str,
    "model": str,
    "task": str,
    "scale": int,
    "arch": str,
    "weights": str,
    "measured_as": str,
    "through": str,
    "size": list,
    "input_size": list,
    "padded_input_size": list,
    "output_size": list,
    "input_pixels": int,
    "output_pixels": int,
    "batch": int,
    "tile": str,
    "context": str,
    "params": int,
    "paper_size": list,
    "mult_adds_paper_size": int,
    "flops_paper_size": int,
    "mult_adds": int,
    "flops": int,
    "traffic_bytes": int,
    "device": str,
    "dtype": str,
    "dtype_reason": str,
    "threads": int,
    "tile_used": str,
    "context_used": str,
    "notes": list,
    "compiled": bool,
    "compile_seconds": float,
    "warmup": int,
    "runs": int,
    "latency_median_seconds": float,
    "latency_p10_seconds": float,
    "latency_p90_seconds": float,
    "latency_min_seconds": float,
    "latency_max_seconds": float,
    "latency_seconds": list,
    "cpu_seconds": float,
    "output_mpixels_per_second": float,
    "peak_memory_bytes": int,
    "loaded_memory_bytes": int,
    "memory_method": str,
    "energy_joules": float,
    "energy_method": str,
    "conv_unit_seconds": float,
    "conv_units": float,
    "flops_per_second": float,
    "conv_flops_per_second": float,
    "share_of_conv_rate": float,
    "traffic_bytes_per_second": float,
    "copy_bytes_per_second": float,
    "share_of_copy_rate": float,
    "error": str,
}


def full_row() -> dict[str, object]:
    """A row that holds everything a row can hold."""
    measurement = a_measurement(joules=31.5)
    timing = replace(measurement.timing, compile_seconds=12.0)
    facts = WorkloadFacts(dtype="float32", dtype_reason="exact", tile="256", context="tile")
    row = a_row(replace(measurement, timing=timing, facts=facts), error="none", scope="engine")
    return replace(row, measured_as="another").to_json()


def test_the_fields_of_a_row_and_their_types_are_those_of_the_schema():
    assert {name: type(value) for name, value in full_row().items()} == FIELDS


def test_a_row_that_was_only_counted_has_the_same_fields():
    row = a_row(None).to_json()
    assert list(row) == list(FIELDS)
    assert row["params"] == 960_616
    assert row["latency_median_seconds"] is None


def test_counts_stay_exact_integers_in_the_document():
    document = json.loads(json.dumps(a_report().to_json()))
    assert document["schema"] == SCHEMA
    assert document["rows"][0]["mult_adds_paper_size"] == 42_130_000_001
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
    assert row["traffic_bytes_per_second"] == pytest.approx(4 * 4e9 / 2)
    assert row["share_of_copy_rate"] == pytest.approx(1.0)
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


def test_the_network_alone_knows_neither_tile_nor_context():
    row = a_row(a_measurement()).to_json()
    assert row["through"] == "network"
    assert row["tile"] is row["context"] is row["tile_used"] is None


def test_the_document_tells_how_cost_grew_where_three_sizes_were_measured():
    sizes = ((256, 256), (512, 512), (1024, 1024))
    rows = [a_row(a_measurement((1.0 + size[0] ** 2 / 1e6,)), size=size) for size in sizes]
    (growth,) = a_report(*rows).to_json()["growth"]
    assert growth["id"] == "ramit-sr-x4"
    assert growth["input_pixels"] == [64**2, 128**2, 256**2]
    assert growth["time_seconds"]["fixed"] == pytest.approx(1.0)
    assert growth["time_seconds"]["per_mpixel"] == pytest.approx(16.0)
    assert growth["cpu_seconds"]["per_mpixel"] == pytest.approx(32.0)
    assert a_report(*rows[:2]).to_json()["growth"] == []
