"""Means are means of per-image scores, and reported figures stand beside ours only where they say the same thing."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from restore_cli.scoring.protocol import ScoringRequest, choose_protocol
from restore_cli.scoring.report import (
    CandidateFacts,
    Failure,
    ImageScore,
    ScoreReport,
    guess_dataset,
    image_json,
    report_csv,
    rounded,
    summary_json,
)
from restore_cli.scoring.table import images_table, means_table
from restore_cli.weights.manifest import Score


def reported(**changes: object) -> Score:
    facts: dict[str, object] = {
        "dataset": "Set5", "protocol": "paper, symmetric padding", "metric": "psnr_y", "value": 32.0, "scale": 4,
        "origin": "published",
    }  # fmt: skip
    return Score(**{**facts, **changes})  # type: ignore[arg-type]


def report_of(*scores: Score, values: tuple[float, ...] = (30.0, 33.0), dataset: str = "set 5") -> ScoreReport:
    floor = CandidateFacts(label="bicubic", floor=True)
    network = CandidateFacts(
        label="net", weights="net-sr-x4", digest="sha256:0", run={"device": "cpu", "tta": False}, reported=scores
    )
    images = [f"img{place}" for place in range(len(values))]
    return ScoreReport(
        protocol=choose_protocol(ScoringRequest(task="sr", paired=True, scale=4)),
        dataset=dataset,
        candidates=(floor, network),
        scores=tuple(
            ImageScore(
                image=image, candidate=label, values={"psnr_y": value - less, "ssim_y": 0.9 - less / 100}, seconds=0.5
            )
            for image, value in zip(images, values, strict=True)
            for label, less in (("bicubic", 2.0), ("net", 0.0))
        ),
        failures=(Failure(image="broken", candidate=None, reason="it is empty"),),
        seconds=2.0,
    )


def test_a_mean_is_the_mean_of_per_image_scores() -> None:
    report = report_of()
    assert report.mean("net", "psnr_y") == 31.5
    assert report.gain("net") == 2.0
    assert report.gain("net", "img0") == 2.0
    assert report.mean("nobody", "psnr_y") is None


def test_one_exact_image_makes_the_mean_infinite_and_json_still_json() -> None:
    report = report_of(values=(30.0, math.inf))
    assert report.mean("net", "psnr_y") == math.inf
    text = json.dumps([summary_json(report), image_json(report.scores[-1], report.protocol)], allow_nan=False)
    assert json.loads(text)[0]["candidates"][1]["mean"]["psnr_y"] == "inf"
    assert "inf" in {cell for row in means_table(report).rows for cell in row}


def test_a_reported_figure_is_found_whatever_the_spelling_of_the_dataset() -> None:
    report = report_of(reported())
    candidate = report.candidates[1]
    assert report.reported(candidate, "psnr_y") is not None
    assert report.difference(candidate, "psnr_y") == -0.5


@pytest.mark.parametrize(
    "other",
    [
        reported(dataset="Set14"),
        reported(protocol="8bit, symmetric padding"),
        reported(protocol="papers"),
        reported(metric="ssim_y"),
        reported(scale=2),
        reported(sigma=25.0),
    ],
)
def test_a_figure_of_another_kind_is_not_set_beside_ours(other: Score) -> None:
    report = report_of(other)
    assert report.reported(report.candidates[1], "psnr_y") is None
    assert report.difference(report.candidates[1], "psnr_y") is None


def test_the_summary_names_protocol_weights_run_and_failures() -> None:
    summary = summary_json(report_of(reported()))
    assert (summary["type"], summary["protocol"], summary["ok"], summary["failed"]) == ("summary", "paper", 2, 1)
    network = summary["candidates"][1]
    assert (network["weights"], network["digest"], network["device"]) == ("net-sr-x4", "sha256:0", "cpu")
    assert network["reported"] == {"psnr_y": {"value": 32.0, "origin": "published"}}
    assert network["difference"] == {"psnr_y": -0.5}


def test_csv_has_images_then_means_then_reported_figures() -> None:
    rows = list(csv.DictReader(io.StringIO(report_csv(report_of(reported())))))
    assert [(row["kind"], row["candidate"], row["image"]) for row in rows] == [
        ("image", "bicubic", "img0"), ("image", "net", "img0"), ("image", "bicubic", "img1"), ("image", "net", "img1"),
        ("mean", "bicubic", ""), ("mean", "net", ""), ("reported", "net", ""), ("difference", "net", ""),
    ]  # fmt: skip
    assert {row["protocol"] for row in rows} == {"paper"}
    assert float(rows[-1]["psnr_y"]) == -0.5
    assert rows[-1]["ssim_y"] == ""


def test_the_table_of_means_carries_protocol_gain_and_difference() -> None:
    table = means_table(report_of(reported()))
    assert table.headers == (
        "mean of", "PSNR-Y", "SSIM-Y", "above bicubic", "reported PSNR-Y", "protocol",
    )  # fmt: skip
    assert table.rows == (
        ("bicubic", "29.500", "0.8800", "", "", "paper"),
        ("net", "31.500", "0.9000", "+2.000", "32.000 (-0.500)", "paper"),
    )


def test_the_table_of_images_has_a_column_for_each_candidate() -> None:
    table = images_table(report_of())
    assert table.headers == ("PSNR-Y / SSIM-Y", "bicubic", "net")
    assert table.rows[0] == ("img0", "28.000 / 0.8800", "30.000 / 0.9000")


def test_scores_are_written_without_a_negative_zero() -> None:
    assert rounded(-0.0001, "psnr", signed=True) == "+0.000"
    assert rounded(None, "psnr") == "-"
    assert rounded(math.inf, "psnr_y") == "inf"


def test_the_dataset_is_told_from_the_folders_on_the_way() -> None:
    assert guess_dataset(Path("/data/test/set5/HR"), [reported()]) == "Set5"
    assert guess_dataset(Path("/data/my_photos"), [reported()]) == "my_photos"
    assert guess_dataset(Path("/data/my_photos/GT"), []) == "my_photos"
