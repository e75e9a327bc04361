"""Whole image or tiles: what was asked for is done or refused, `auto` follows the memory, and notes say why."""

from __future__ import annotations

import pytest

from restore_cli.errors import UsageError
from restore_cli.inference.footprint import Footprint
from restore_cli.inference.layout import Layout, MemoryModel, check_wishes, choose_layout, smaller_layout
from restore_cli.inference.memory import GIB
from restore_cli.plan import RunWishes
from tests.inference.toys import toy_arch

GLOBAL = toy_arch(global_attention=True)
LOCAL = toy_arch()
PER_PIXEL = 32 * 1024


def memory(budget: int = GIB) -> MemoryModel:
    footprint = Footprint(fixed_bytes=0, bytes_per_pixel=PER_PIXEL)
    return MemoryModel(budget=lambda: budget, footprint=lambda: footprint)


def unmeasured() -> Footprint:
    pytest.fail("nothing had to be measured")


def test_an_image_that_fits_is_run_whole():
    assert choose_layout(128, 128, arch=GLOBAL, wishes=RunWishes(), memory=memory()) == Layout(tile=None)


def test_a_small_image_is_run_whole_without_measuring():
    asked = MemoryModel(budget=lambda: GIB, footprint=unmeasured)

    assert choose_layout(128, 128, arch=GLOBAL, wishes=RunWishes(), memory=asked).tile is None


def test_an_image_that_does_not_fit_is_cut_and_a_network_with_global_attention_says_so():
    layout = choose_layout(1024, 1024, arch=GLOBAL, wishes=RunWishes(), memory=memory())

    assert layout.tile == 176  # the largest multiple of 8 whose square is within 32768 pixels
    assert layout.context == "tile"
    assert layout.note is not None
    assert "takes about 32.0 GiB, 1.0 GiB are planned with" in layout.note


def test_a_network_without_global_attention_is_cut_without_a_word():
    layout = choose_layout(1024, 1024, arch=LOCAL, wishes=RunWishes(), memory=memory())

    assert layout == Layout(tile=176)


def test_tiles_are_batched_as_far_as_they_fit_where_the_device_gains():
    wishes = RunWishes(tile=64)

    alone = choose_layout(1024, 1024, arch=LOCAL, wishes=wishes, memory=memory())
    together = choose_layout(1024, 1024, arch=LOCAL, wishes=wishes, memory=memory(), in_batches=True)

    assert (alone.batch, together.batch) == (1, 32768 // 64**2)


@pytest.mark.parametrize("wishes", [RunWishes(tile="off"), RunWishes(context="global")])
def test_the_whole_image_is_run_when_asked_for_and_a_shortage_is_said(wishes: RunWishes):
    layout = choose_layout(1024, 1024, arch=GLOBAL, wishes=wishes, memory=memory())

    assert layout.tile is None
    assert layout.note is not None
    assert "--context tile" in layout.note
    assert choose_layout(64, 64, arch=GLOBAL, wishes=wishes, memory=memory()).note is None


def test_context_global_means_nothing_to_a_network_without_global_attention():
    layout = choose_layout(1024, 1024, arch=LOCAL, wishes=RunWishes(context="global"), memory=memory())

    assert layout.tile == 176


def test_context_tile_cuts_even_what_fits():
    layout = choose_layout(512, 512, arch=GLOBAL, wishes=RunWishes(context="tile"), memory=memory(64 * GIB))

    assert layout == Layout(tile=256)


def test_a_tile_off_the_unit_is_rounded_up():
    assert choose_layout(512, 512, arch=LOCAL, wishes=RunWishes(tile=100), memory=memory()).tile == 104


def test_a_tile_that_covers_the_image_is_the_whole_image():
    assert choose_layout(96, 64, arch=GLOBAL, wishes=RunWishes(tile=96), memory=memory()).context == "global"


def test_hardly_any_memory_still_gives_a_tile_that_advances():
    wishes = RunWishes(overlap=96)

    assert choose_layout(1024, 1024, arch=LOCAL, wishes=wishes, memory=memory(1)).tile == 104


def test_after_running_out_the_batch_then_the_tile_is_halved_down_to_a_floor():
    tried = [Layout(tile=256, batch=4)]
    while (less := smaller_layout(tried[-1], 1000, 1000, arch=LOCAL, overlap=32)) is not None:
        tried.append(less)

    assert [(layout.tile, layout.batch) for layout in tried] == [(256, 4), (256, 2), (256, 1), (128, 1), (64, 1)]


def test_after_running_out_a_whole_image_becomes_tiles_of_half_its_longer_side():
    less = smaller_layout(Layout(tile=None), 96, 208, arch=LOCAL, overlap=32)

    assert less == Layout(tile=104)


def test_a_whole_image_that_was_asked_for_never_becomes_tiles():
    assert smaller_layout(Layout(tile=None, demanded=True), 512, 512, arch=LOCAL, overlap=32) is None


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        (RunWishes(tile=32), "do not advance at an overlap of 32; take --tile 40"),
        (RunWishes(tile=0), "tiles of 0 pixels"),
        (RunWishes(tile=-64), "tiles of -64 pixels"),
        (RunWishes(tile=64, overlap=64), "do not advance"),
        (RunWishes(overlap=-1), "overlap of -1"),
        (RunWishes(tile="of"), "unknown tile 'of'; take auto, off"),  # type: ignore[arg-type]
        (RunWishes(context="all"), "unknown context 'all'; take auto, global, tile"),  # type: ignore[arg-type]
        (RunWishes(pad="zero"), "unknown padding 'zero'; take reflect, symmetric"),  # type: ignore[arg-type]
        (RunWishes(tile=64, context="global"), "--context global needs the whole image"),
    ],
)
def test_impossible_wishes_are_refused_with_a_way_out(wishes: RunWishes, says: str):
    with pytest.raises(UsageError, match=says):
        check_wishes(wishes, GLOBAL)


def test_a_tile_and_context_global_agree_where_no_attention_is_global():
    check_wishes(RunWishes(tile=64, context="global"), LOCAL)
