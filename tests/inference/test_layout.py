"""Whole image or tiles: what was asked for is done or refused, `auto` follows the memory, and notes say why."""

from __future__ import annotations

import pytest

from restore_cli.errors import UsageError
from restore_cli.inference.device import GIB
from restore_cli.inference.footprint import BandsFootprint, Footprint
from restore_cli.inference.layout import (
    Layout,
    MemoryModel,
    check_settings,
    choose_layout,
    note_on_compiling,
    smaller_layout,
)
from restore_cli.layers.bands import Execution
from restore_cli.settings import Context, RunSettings, Tile
from restore_cli.weights.entry import BestContext
from tests.inference.toys import toy_arch

GLOBAL = toy_arch(global_attention=True)
LOCAL = toy_arch()
BANDED = toy_arch(global_attention=True, in_bands=True)
MIXED = BestContext(kind="mixed", cell=96, share=0.25, measured="on toys")
PER_PIXEL = 32 * 1024


def memory(budget: int = GIB) -> MemoryModel:
    footprint = Footprint(fixed_bytes=0, bytes_per_pixel=PER_PIXEL)
    return MemoryModel(budget=lambda: budget, footprint=lambda: footprint)


def memory_of_bands(budget: int) -> MemoryModel:
    at_once = Footprint(fixed_bytes=0, bytes_per_pixel=PER_PIXEL)
    bands = BandsFootprint(bytes_per_column=0, bytes_per_pixel=1024, bytes_per_band_pixel=PER_PIXEL)
    return MemoryModel(budget=lambda: budget, footprint=lambda: at_once, bands=lambda: bands)


def unmeasured() -> Footprint:
    pytest.fail("nothing had to be measured")


def test_an_image_that_fits_is_run_whole():
    assert choose_layout(128, 128, arch=GLOBAL, settings=RunSettings(), memory=memory()) == Layout(tile=None)


def test_a_small_image_is_run_whole_without_measuring():
    asked = MemoryModel(budget=lambda: GIB, footprint=unmeasured)

    assert choose_layout(128, 128, arch=GLOBAL, settings=RunSettings(), memory=asked).tile is None


def test_an_image_that_does_not_fit_is_cut_and_a_network_with_global_attention_says_so():
    layout = choose_layout(1024, 1024, arch=GLOBAL, settings=RunSettings(), memory=memory())

    assert layout.tile == 176  # the largest multiple of 8 whose square is within 32768 pixels
    assert layout.context == "tile"
    assert layout.note is not None
    assert "takes about 32.0 GiB, 1.0 GiB are planned with" in layout.note


def test_a_network_without_global_attention_is_cut_without_a_word():
    layout = choose_layout(1024, 1024, arch=LOCAL, settings=RunSettings(), memory=memory())

    assert layout == Layout(tile=176)


def test_tiles_are_batched_as_far_as_they_fit_where_the_device_gains():
    settings = RunSettings(tile=64)

    alone = choose_layout(1024, 1024, arch=LOCAL, settings=settings, memory=memory())
    together = choose_layout(1024, 1024, arch=LOCAL, settings=settings, memory=memory(), on_cpu=False)

    assert (alone.batch, together.batch) == (1, 32768 // 64**2)


@pytest.mark.parametrize("settings", [RunSettings(tile="off"), RunSettings(context="global")])
def test_the_whole_image_is_run_when_asked_for_and_a_shortage_is_said(settings: RunSettings):
    layout = choose_layout(1024, 1024, arch=GLOBAL, settings=settings, memory=memory())

    assert layout.tile is None
    assert layout.note is not None
    assert "--context tile" in layout.note
    assert choose_layout(64, 64, arch=GLOBAL, settings=settings, memory=memory()).note is None


def test_context_global_means_nothing_to_a_network_without_global_attention():
    layout = choose_layout(1024, 1024, arch=LOCAL, settings=RunSettings(context="global"), memory=memory())

    assert layout.tile == 176


def test_context_tile_cuts_even_what_fits():
    layout = choose_layout(512, 512, arch=GLOBAL, settings=RunSettings(context="tile"), memory=memory(64 * GIB))

    assert layout == Layout(tile=256)


def test_a_tile_off_the_unit_is_rounded_up():
    assert choose_layout(512, 512, arch=LOCAL, settings=RunSettings(tile=100), memory=memory()).tile == 104


def test_a_tile_that_covers_the_image_is_the_whole_image():
    assert choose_layout(96, 64, arch=GLOBAL, settings=RunSettings(tile=96), memory=memory()).context == "global"


def test_hardly_any_memory_still_gives_a_tile_that_advances():
    settings = RunSettings(overlap=96)

    assert choose_layout(1024, 1024, arch=LOCAL, settings=settings, memory=memory(1)).tile == 104


def test_after_running_out_the_batch_shrinks_first_then_the_tile_is_halved_down_to_a_floor():
    tried = [Layout(tile=256, batch=4)]
    while (less := smaller_layout(tried[-1], 1000, 1000, arch=LOCAL, overlap=32)) is not None:
        tried.append(less)

    assert [(layout.tile, layout.batch) for layout in tried] == [(256, 4), (256, 1), (128, 1), (64, 1)]


@pytest.mark.parametrize("first", [
    Layout(tile=None), Layout(tile=None, execution=Execution(rows=40_000)), Layout(tile=1024, batch=16),
    Layout(tile=2000),
])  # fmt: skip
def test_after_running_out_there_are_at_most_seven_more_layouts_and_then_the_cpu(first: Layout):
    less, tries = smaller_layout(first, 30_000, 20_000, arch=BANDED, overlap=32), 0
    while less is not None:
        less, tries = smaller_layout(less, 30_000, 20_000, arch=BANDED, overlap=32), tries + 1

    assert tries <= 7


def test_after_running_out_a_whole_image_becomes_tiles_of_half_its_longer_side():
    less = smaller_layout(Layout(tile=None), 96, 208, arch=LOCAL, overlap=32)

    assert less == Layout(tile=104)


def test_a_whole_image_that_was_asked_for_never_becomes_tiles():
    assert smaller_layout(Layout(tile=None, demanded=True), 512, 512, arch=LOCAL, overlap=32) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (RunSettings(tile=32), "do not advance at an overlap of 32; use --tile 40"),
        (RunSettings(tile=0), "tiles of 0 pixels"),
        (RunSettings(tile=-64), "tiles of -64 pixels"),
        (RunSettings(tile=64, overlap=64), "do not advance"),
        (RunSettings(overlap=-1), "overlap of -1"),
        (RunSettings(tile="of"), "unknown tile 'of'; use auto, off"),  # type: ignore[arg-type]
        (RunSettings(context="all"), "unknown context 'all'; use auto, mixed, local, global, tile"),  # type: ignore[arg-type]
        (RunSettings(pad="zero"), "unknown padding 'zero'; use reflect, symmetric"),  # type: ignore[arg-type]
        (RunSettings(tile=64, context="global"), "--context global needs the whole image"),
        (RunSettings(context="local"), "toy has no --context local; use auto, global or tile"),
    ],
)
def test_impossible_settings_are_refused_with_a_way_out(settings: RunSettings, says: str):
    with pytest.raises(UsageError, match=says):
        check_settings(settings, GLOBAL)


def test_a_tile_and_a_context_of_the_whole_image_contradict_each_other():
    with pytest.raises(UsageError, match="--context mixed needs the whole image, --tile cuts it"):
        check_settings(RunSettings(tile=64, context="mixed"), BANDED)


def test_a_tile_and_context_global_agree_where_no_attention_is_global():
    check_settings(RunSettings(tile=64, context="global"), LOCAL)


@pytest.mark.parametrize("tile", ["auto", "off"])
def test_a_network_with_bands_runs_whole_in_the_context_it_was_measured_best_with(tile: Tile):
    settings = RunSettings(tile=tile)

    layout = choose_layout(256, 512, arch=BANDED, settings=settings, memory=memory_of_bands(64 * GIB), best=MIXED)

    assert layout.execution == Execution(context="mixed", cell=96, share=0.25, rows=128)
    assert (layout.tile, layout.context, layout.note) == (None, "mixed", None)


@pytest.mark.parametrize("context", ["mixed", "local", "global"])
def test_a_context_that_is_asked_for_is_taken(context: Context):
    settings = RunSettings(context=context)

    for best in (None, MIXED):
        layout = choose_layout(256, 512, arch=BANDED, settings=settings, memory=memory_of_bands(64 * GIB), best=best)
        assert layout.context == context
        assert layout.execution is not None
        assert layout.execution.cell == (64 if best is None else 96)


def test_a_small_budget_gives_lower_bands_and_not_tiles():
    # 1024 rows of 256 columns: 256 MiB for the maps, 8 MiB for every row of a band.
    rows = []
    for budget in (10**12, 256 + 8 * 300, 256 + 8 * 8):
        layout = choose_layout(
            1024, 256, arch=BANDED, settings=RunSettings(), memory=memory_of_bands(budget << 20), on_cpu=False
        )
        assert layout.execution is not None
        rows.append(layout.execution.rows)

    assert rows == [1024, 256, 8]


def test_tiles_take_over_where_not_even_the_lowest_bands_fit():
    layout = choose_layout(1024, 256, arch=BANDED, settings=RunSettings(), memory=memory_of_bands(128 << 20))

    assert (layout.context, layout.tile) == ("tile", 64)
    assert layout.note is not None
    assert "takes about 0.3 GiB, 0.1 GiB are planned with" in layout.note

    demanded = choose_layout(
        1024, 256, arch=BANDED, settings=RunSettings(context="mixed"), memory=memory_of_bands(128 << 20)
    )
    assert (demanded.context, demanded.demanded) == ("mixed", True)
    assert "--context tile needs less" in (demanded.note or "")


def test_tiles_and_compiled_runs_have_no_bands():
    for settings in (RunSettings(tile=64), RunSettings(context="tile"), RunSettings(compile=True, context="global")):
        layout = choose_layout(128, 128, arch=BANDED, settings=settings, memory=memory_of_bands(64 * GIB), best=MIXED)
        assert layout.execution is None


def test_after_running_out_bands_come_before_tiles():
    tried = [Layout(tile=None, execution=Execution(rows=1024))]
    while (less := smaller_layout(tried[-1], 1000, 500, arch=BANDED, overlap=32)) is not None:
        tried.append(less)

    assert [layout.execution.rows for layout in tried if layout.execution] == [1024, 120, 8]
    assert [layout.tile for layout in tried if not layout.execution] == [256, 128, 64]


def test_compiling_never_costs_the_context_that_is_best():
    layout = choose_layout(
        64, 64, arch=BANDED, settings=RunSettings(compile=True), memory=memory_of_bands(GIB), best=MIXED
    )
    assert layout.context == "mixed"


@pytest.mark.parametrize(
    ("settings", "best", "on_cpu", "told"),
    [
        (
            RunSettings(compile=True),
            MIXED,
            False,
            "changes nothing: --context mixed, the best of these weights, runs in bands",
        ),
        (RunSettings(compile=True, context="local"), None, True, "which are not compiled; --context global is"),
        (RunSettings(compile=True), None, True, "takes minutes on the CPU for each size of image, and then is slower"),
        (RunSettings(compile=True, tile=128), MIXED, True, "takes minutes on the CPU: it pays on many images"),
    ],
)
def test_what_a_compiler_will_not_bring_is_told(
    settings: RunSettings, best: BestContext | None, on_cpu: bool, told: str
):
    note = note_on_compiling(BANDED, settings, best, on_cpu=on_cpu)
    assert note is not None
    assert told in note


def test_a_compiler_that_may_help_and_one_not_asked_for_are_no_matter_for_a_note():
    assert note_on_compiling(BANDED, RunSettings(compile=True), None, on_cpu=False) is None
    assert note_on_compiling(BANDED, RunSettings(), MIXED, on_cpu=True) is None


@pytest.mark.parametrize(("height", "width", "rows"), [(1000, 1024, 64), (1000, 8192, 32), (16, 8192, 16)])
def test_bands_of_wide_images_stay_high_enough_not_to_compute_their_neighbours_again(
    height: int, width: int, rows: int
):
    layout = choose_layout(height, width, arch=BANDED, settings=RunSettings(), memory=memory_of_bands(4096 * GIB))
    assert layout.execution is not None
    assert layout.execution.rows == rows
