from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from restore_cli.benchmark.cases import PAPER_SIZE, QUICK_SIZE, cases_of, select_entries
from restore_cli.cli.app import run
from restore_cli.cli.bench_options import ConditionOptions, MeasuringOptions, parse_growth, parse_size, settings_of
from restore_cli.errors import UsageError
from restore_cli.models import compact, get_architecture
from restore_cli.models.crossformer.config import PUBLISHED
from restore_cli.weights.manifest import load_manifest

COUNT = ("bench", "-m", "ramit-slim-lowlight", "--runs", "0")
MEASURE = ("bench", "-m", "ramit-slim-lowlight", "--size", "64x32", "--device", "cpu", "--runs", "2", "--warmup", "1")


def test_a_size_is_read_with_its_width_first():
    assert parse_size("1280x720") == (720, 1280)
    assert parse_size(" 64X32 ") == (32, 64)


@pytest.mark.parametrize("text", ["", "1280", "1280x", "0x720", "-1x720", "1280x720x3", "1e3x720", "1280*720"])
def test_a_size_that_cannot_be_read_is_refused(text: str):
    with pytest.raises(UsageError, match="cannot read --size"):
        parse_size(text)


def test_conditions_take_several_values_with_commas_or_one_by_one():
    conditions = ConditionOptions(
        size=["64x32,128x64", "64x32"], batch=["1,2"], dtype=["float32", "bfloat16"], threads=["1, 2"]
    )
    settings = settings_of(conditions, MeasuringOptions())
    assert settings.sizes == ((32, 64), (64, 128))
    assert settings.batches == (1, 2)
    assert settings.dtypes == ("float32", "bfloat16")
    assert settings.threads == (1, 2)
    assert settings.scope == "network"


def test_tiles_and_contexts_are_read_as_the_restoring_commands_read_them():
    settings = settings_of(ConditionOptions(tile=["off,128"], context=["auto,tile"]), MeasuringOptions())
    assert settings.tiles == ("off", 128)
    assert settings.contexts == ("auto", "tile")
    assert settings.scope == "engine"


def test_growth_is_read_from_its_end_or_from_both():
    assert parse_growth("16") == (0.05, 16)
    assert parse_growth("0.5..2") == (0.5, 2)


@pytest.mark.parametrize("text", ["", "..", "x", "1..", "1...2", "2..1", "1..1", "0..1", "0.05..1000", "-1", "0.01"])
def test_a_growth_that_cannot_be_read_is_refused(text: str):
    with pytest.raises(UsageError, match="--growth"):
        parse_growth(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench"], "--model"),
        (["bench", "-m", "ramit", "--batch", "1,0"], "--batch '0'"),
        (["bench", "-m", "ramit", "--threads", "two"], "--threads 'two'"),
        (["bench", "-m", "ramit", "--tile", "big"], "auto, off"),
        (["bench", "-m", "ramit", "--context", "galactic"], "global"),
        (["bench", "-m", "ramit", "--growth", "16..1"], "no growth"),
        (["bench", "-m", "ramit", "--growth", "16", "--size", "64x64"], "leave --size out"),
        (["bench", "-m", "ramit", "--engine", "--batch", "2"], "leave --batch out"),
        (["bench", "-m", "ramit", "--html", "no/such/folder/bench.html"], "no folder"),
        (["bench", "-m", "ramit", "--html", "/"], "exists"),
        (["bench", "-m", "ramid"], "did you mean"),
        (["bench", "-m", "ramit", "--size", "big"], "1280x720"),
        (["bench", "-m", "ramit", "--dtype", "float8"], "float8"),
        (["bench", "-m", "ramit", "--device", "tpu"], "tpu"),
        (["bench", "-m", "ramit", "--runs", "-1"], "--runs"),
        (["bench", "-m", "ramit", "--csv", "no/such/folder/bench.csv"], "no folder"),
        (["bench", "-m", "ramit", "--against", "nowhere.json"], "nowhere.json"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1


def test_counts_are_shown_as_a_table_with_every_figure_whole(capsys: pytest.CaptureFixture[str]):
    assert run(COUNT) == 0
    headers, row = capsys.readouterr().out.splitlines()
    assert headers.split() == ["network", "params", "Mult-Adds", "FLOPs"]
    assert row.split()[:4] == ["ramit-slim-lowlight", "358,243", "252.76", "G"]


def test_json_is_one_document_and_the_last_thing_on_stdout(capsys: pytest.CaptureFixture[str]):
    assert run([*COUNT, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    document = json.loads(line)
    (row,) = document["rows"]
    assert row["params"] == 358_243
    assert row["mult_adds_paper_size"] == 252_764_774_400
    assert row["weights"] == "random"
    assert document["environment"]["device"]
    assert document["against"] is None


def test_a_page_is_written_beside_the_table_and_never_over_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = tmp_path / "bench.html"
    assert run([*COUNT, "--html", str(page)]) == 0
    assert f"wrote {page}" in capsys.readouterr().err
    text = page.read_text(encoding="utf-8")
    assert "358,243" in text
    assert run([*COUNT, "--html", str(page)]) == 2
    assert "--existing overwrite" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.exhaustive
def test_a_network_of_ones_own_grows_through_the_engine(
    tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ("bench", "--weights", str(tiny()), "--growth", "0.012..0.05", "--runs", "1", "--threads", "1")
    page = tmp_path / "growth.html"
    assert run([*arguments, "--device", "cpu", "--json", "--html", str(page)]) == 0
    document = json.loads(capsys.readouterr().out)
    (growth,) = document["growth"]
    assert growth["id"] == "ramit-tiny-sr"
    assert growth["input_pixels"] == sorted(growth["input_pixels"])
    assert {row["through"] for row in document["rows"]} == {"engine"}
    assert {row["context_used"] for row in document["rows"]} == {"global"}
    assert "Time for each Mpixel" in page.read_text(encoding="utf-8")


def test_figures_are_shown_even_if_the_earlier_report_has_none_of_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    earlier = tmp_path / "earlier.json"
    assert run([*COUNT, "--json"]) == 0
    earlier.write_text(capsys.readouterr().out, encoding="utf-8")
    assert run([*COUNT, "--against", str(earlier)]) == 2  # what was only counted has no time to compare
    printed = capsys.readouterr()
    assert "358,243" in printed.out
    assert "no row of the earlier report" in printed.err


def test_csv_is_written_beside_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "bench.csv"
    assert run([*COUNT, "--csv", str(file)]) == 0
    assert "358,243" in capsys.readouterr().out
    (row,) = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")))
    assert row["params"] == "358243"


def test_the_first_form_measures_a_small_size_and_the_full_one_that_of_papers():
    quick = settings_of(ConditionOptions(), MeasuringOptions())
    full = settings_of(ConditionOptions(), MeasuringOptions(full=True))
    entries = select_entries(load_manifest(), ["ramit"])
    assert {case.size for case in cases_of(entries, quick)} == {QUICK_SIZE}
    assert {case.size for case in cases_of(entries, full)} == {PAPER_SIZE}
    assert quick.seconds < full.seconds


@pytest.mark.slow
def test_a_network_is_measured_and_held_against_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run([*MEASURE, "--json"]) == 0
    text = capsys.readouterr().out
    (row,) = json.loads(text)["rows"]
    assert row["runs"] == 2
    assert row["latency_p10_seconds"] <= row["latency_median_seconds"] <= row["latency_p90_seconds"]
    assert row["output_size"] == [32, 64]
    earlier = tmp_path / "earlier.json"
    earlier.write_text(text, encoding="utf-8")

    assert run([*MEASURE, "--against", str(earlier), "--tolerance", "1000"]) == 0
    printed = capsys.readouterr()
    assert "x latency" in printed.out
    assert "random weights" in printed.err

    faster = json.loads(text)
    faster["rows"][0]["latency_median_seconds"] /= 1000
    earlier.write_text(json.dumps(faster), encoding="utf-8")
    assert run([*MEASURE, "--against", str(earlier)]) == 1
    assert "grew by more than 10%: ramit-slim-lowlight" in capsys.readouterr().err


@pytest.mark.slow
def test_a_row_that_fails_is_shown_and_the_exit_code_tells(capsys: pytest.CaptureFixture[str]):
    assert run([*MEASURE, "--batch", str(10**12)]) == 1  # beyond the address space: refused, not tried
    printed = capsys.readouterr()
    assert "failed" in printed.out
    assert "358,243" in printed.out
    assert "ran out of memory" in printed.err


@pytest.mark.slow
def test_a_file_of_others_stands_beside_a_listed_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "theirs.pth"
    torch.save({"params": compact.ARCH.build(compact.Config.tiny()).state_dict()}, path)
    assert run(["bench", "-m", "ramit-lite-sr-x2", "--weights", str(path), "--runs", "0", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["id"] for row in rows] == ["ramit-lite-sr-x2", "theirs"]


@pytest.mark.slow
def test_a_classifier_is_counted_at_its_own_size_and_a_file_of_its_authors_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arch = get_architecture("crossformer")
    path = tmp_path / "theirs.pth"
    torch.save({"model": arch.build(PUBLISHED["crossformer-t"]).state_dict()}, path)
    arguments = ("bench", "-m", "crossformer-t", "--runs", "0", "--json")
    assert run([*arguments, "--weights", str(path)]) == 0
    printed = capsys.readouterr()
    (row,) = json.loads(printed.out)["rows"]
    assert (row["size"], row["params"], row["mult_adds"]) == ([224, 224], 27_776_794, 2_858_292_352)
    assert f"{path} fits crossformer-t-imagenet (sha256:" in printed.err
    assert run(["bench", "-m", "crossformer-s", "--runs", "0", "--weights", str(path)]) == 3
    assert "does not fit crossformer-s-imagenet" in capsys.readouterr().err
    assert run([*arguments, "-m", "crossformer-s", "--weights", str(path)]) == 2
    assert "does not say of which network it is" in capsys.readouterr().err
