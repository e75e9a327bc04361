"""The page draws what was measured, asks for no other file, and trusts no name."""

from __future__ import annotations

import re

import pytest

from restore_cli.benchmark.against import compare
from restore_cli.benchmark.charts import cost_drawing, quality_drawings, size_drawings, sweep_drawings
from restore_cli.benchmark.page import bench_page
from restore_cli.weights.entry import Score
from tests.benchmark.samples import a_measurement, a_report, a_row, an_entry


def score(value: float, protocol: str = "paper", **facts: object) -> Score:
    known = {"dataset": "Set5", "metric": "psnr_y", "scale": 4, "origin": "measured"}
    return Score(**{**known, "value": value, "protocol": protocol, **facts})


def network(name: str, *scores: Score):
    return an_entry(id=name, scores=scores)


def test_networks_with_scores_on_the_same_images_are_drawn_against_their_latency():
    fast, slow = network("fast", score(30.0)), network("slow", score(32.0, "paper, symmetric padding"))
    rows = [a_row(a_measurement((0.1,)), entry=fast), a_row(a_measurement((0.9,)), entry=slow)]
    (drawing,) = quality_drawings(rows)
    assert drawing.title == "Set5, x2"
    (series,) = drawing.series
    assert series.points == ((0.1, 30.0), (0.9, 32.0))
    assert series.names == ("fast", "slow")
    assert "symmetric padding" in drawing.note


@pytest.mark.parametrize(
    "other", [score(30.0, dataset="Set14"), score(30.0, "8bit"), score(30.0, sigma=25), score(0.9, metric="ssim_y")]
)
def test_scores_of_other_images_or_protocols_are_not_compared(other: Score):
    rows = [a_row(a_measurement(), entry=network("a", score(30.0))), a_row(a_measurement(), entry=network("b", other))]
    assert list(quality_drawings(rows)) == []


def test_quality_is_drawn_at_one_size():
    entries = [network("a", score(30.0)), network("b", score(31.0))]
    rows = [a_row(a_measurement(), entry=entries[0], size=(64, 64))]
    rows += [a_row(a_measurement((2.0,)), entry=entry, size=(128, 128)) for entry in entries]
    (drawing,) = quality_drawings(rows)
    assert drawing.x.title == "latency for 128x128"
    assert [point[0] for series in drawing.series for point in series.points] == [2.0, 2.0]


def test_time_and_memory_are_drawn_against_input_pixels():
    sizes = ((256, 256), (512, 512), (1024, 1024))
    rows = [a_row(a_measurement((size[0] ** 2 / 1e6,)), size=size) for size in sizes]
    each, memory = size_drawings(rows)
    assert [x for x, _ in each.series[0].points] == pytest.approx([0.004096, 0.016384, 0.065536])
    assert [y for _, y in each.series[0].points] == pytest.approx([16.0] * 3)
    assert memory.series[-1].points[0][1] == 250_000_000
    assert list(size_drawings(rows[:1])) == []


def test_networks_without_common_scores_are_drawn_by_latency_against_arithmetic():
    rows = [a_row(a_measurement((2.0,)), entry=network("a", score(30.0)))]
    (drawing,) = cost_drawing(rows)
    ((x, y),) = drawing.series[0].points
    assert (x, y) == (pytest.approx(rows[0].counts.flops / 1e9), 2.0)
    page = bench_page(a_report(*rows), None, tolerance=0.1)
    assert page.index("Latency against arithmetic") < page.index("All figures")


def test_throughput_is_drawn_against_what_was_varied():
    rows = [a_row(a_measurement((1.0 / threads,)), threads=threads) for threads in (2, 1)]
    throughput, memory = sweep_drawings(rows)
    assert throughput.x.title == "CPU threads"
    ((one, two),) = (series.points for series in throughput.series)
    assert (one[0], two[0]) == (1, 2)
    assert two[1] == pytest.approx(2 * one[1])
    assert memory.title == "Memory against threads"
    assert list(sweep_drawings(rows[:1])) == []


def test_the_page_holds_every_figure_and_asks_for_no_other_file():
    rows = [a_row(a_measurement(), size=(side, side)) for side in (256, 512, 1024)]
    rows.append(a_row(None, error="killed <here>", entry=an_entry(id="b<a>d")))
    report = a_report(*rows)
    page = bench_page(report, compare(report, report.to_json()), tolerance=0.1)
    for text in ("960,616", "1024x1024", "x latency", "A processor", "farthest off the line", "killed &lt;here&gt;"):
        assert text in page
    assert "b<a>d" not in page
    assert page.count('<figure class="plot">') == 3
    assert not re.search(r"https?:|<script|<link|@import|url\(", page)


def test_a_report_of_counts_alone_is_a_page_too():
    page = bench_page(a_report(a_row(None)), None, tolerance=0.1)
    assert "960,616" in page
    assert "<svg" not in page
