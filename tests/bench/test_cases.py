from __future__ import annotations

import pytest

from restore_cli.bench.cases import BenchWishes, cases_of, select_entries
from restore_cli.errors import UsageError
from restore_cli.weights.manifest import load_manifest


def ids_of(*names: str) -> list[str]:
    return [entry.id for entry in select_entries(load_manifest(), names)]


def test_a_model_stands_for_all_its_scales_and_tasks():
    assert ids_of("ramit-1") == ["ramit-1-sr-x2", "ramit-1-sr-x3", "ramit-1-sr-x4", "ramit-1-denoise-color"]


def test_a_full_id_stands_for_itself():
    assert ids_of("ramit-sr-x4") == ["ramit-sr-x4"]


def test_what_is_named_twice_is_measured_once_and_in_the_order_asked_for():
    assert ids_of("ramit-1-sr-x4", "ramit-1", "ramit-1-sr-x4")[:2] == ["ramit-1-sr-x4", "ramit-1-sr-x2"]


def test_an_unknown_model_is_refused_with_the_known_and_the_nearest():
    with pytest.raises(UsageError, match=r"ramit-q.*known: ramit, ramit-1") as refused:
        ids_of("ramit-q")
    assert "did you mean" in str(refused.value)


def test_conditions_are_crossed_and_those_of_a_network_stay_together():
    wishes = BenchWishes(sizes=((64, 96), (128, 96)), batches=(1, 4), threads=(1, 2))
    cases = cases_of(select_entries(load_manifest(), ["ramit-1"]), wishes)
    assert len(cases) == 4 * 2 * 2 * 2
    assert len({case.id for case in cases[:8]}) == 1
    assert {(case.size, case.batch, case.threads) for case in cases[:8]} == {
        (size, batch, threads) for size in wishes.sizes for batch in (1, 4) for threads in (1, 2)
    }


def test_an_output_of_less_than_one_input_pixel_is_refused():
    with pytest.raises(UsageError, match="9x3 is less than one input pixel at scale 4"):
        cases_of(select_entries(load_manifest(), ["ramit-sr-x4"]), BenchWishes(sizes=((3, 9),)))
