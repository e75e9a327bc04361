from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from restore_cli.benchmark.cases import BenchSettings, cases_of, growth_sizes, paper_size, select_entries
from restore_cli.errors import UsageError
from restore_cli.models import get_architecture
from restore_cli.weights.manifest import load_manifest
from tests.benchmark.samples import an_entry


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
    settings = BenchSettings(sizes=((64, 96), (128, 96)), batches=(1, 4), threads=(1, 2))
    cases = cases_of(select_entries(load_manifest(), ["ramit-1"]), settings)
    assert len(cases) == 4 * 2 * 2 * 2
    assert len({case.entry.id for case in cases[:8]}) == 1
    assert {(case.size, case.batch, case.threads) for case in cases[:8]} == {
        (size, batch, threads) for size in settings.sizes for batch in (1, 4) for threads in (1, 2)
    }


def test_an_output_of_less_than_one_input_pixel_is_refused():
    with pytest.raises(UsageError, match="9x3 is less than one input pixel at scale 4"):
        cases_of(select_entries(load_manifest(), ["ramit-sr-x4"]), BenchSettings(sizes=((3, 9),)))


def test_the_engine_is_measured_where_only_it_can_answer():
    assert BenchSettings().scope == "network"
    for settings in (BenchSettings(tiles=(64,)), BenchSettings(contexts=("tile",)), BenchSettings(growth=(0.1, 1))):
        assert settings.scope == "engine"


def test_contexts_and_tiles_are_crossed_too():
    settings = BenchSettings(tiles=("off", 64, 128), contexts=("auto", "tile"))
    cases = cases_of([an_entry()], settings)
    assert {(case.context, case.tile) for case in cases} == {
        (context, tile) for context in ("auto", "tile") for tile in ("off", 64, 128)
    }
    assert {case.scope for case in cases} == {"engine"}


def test_conditions_that_contradict_each_other_are_refused_before_anything_is_measured():
    with pytest.raises(UsageError, match="--context global --tile 64"):
        cases_of([an_entry()], BenchSettings(tiles=(64,), contexts=("global",)))
    with pytest.raises(UsageError, match="one image at a time"):
        cases_of([an_entry()], BenchSettings(engine=True, batches=(1, 2)))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_sizes_that_grow_reach_from_end_to_end_and_need_no_padding(scale: int):
    sizes = growth_sizes(0.05, 16, scale)
    assert all(side % (64 * scale) == 0 for size in sizes for side in size)
    pixels = [height * width / scale**2 / 1e6 for height, width in sizes]
    assert pixels[0] == pytest.approx(0.05, rel=0.1)
    assert pixels[-1] == pytest.approx(16, rel=0.1)
    assert all(1.4 < after / before < 2.8 for before, after in itertools.pairwise(pixels))


def test_growth_takes_the_place_of_sizes():
    sizes = [case.size for case in cases_of([an_entry()], BenchSettings(growth=(0.05, 0.2)))]
    assert sizes == list(growth_sizes(0.05, 0.2, an_entry().scale))


def test_a_classifier_is_measured_at_the_size_it_was_trained_at_and_gives_no_image():
    arch = replace(get_architecture("ramit"), restores=False)
    assert paper_size(an_entry(training_patch=224), arch) == (224, 224)
    assert paper_size(an_entry(training_patch=64), get_architecture("ramit")) == (720, 1280)
