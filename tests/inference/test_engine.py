"""An image through a network: tiles give the whole image, faults of memory and numbers are survived or named."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restore_cli.errors import DeviceError, ImageError, UsageError
from restore_cli.inference import engine as engine_module
from restore_cli.inference.engine import Engine
from restore_cli.inference.runner import StopRequestedError
from restore_cli.settings import RunSettings
from restore_cli.weights.entry import BestContext
from tests.inference.toys import UNIT, Convolutions, ImageMean, InBands, OutOfMemoryAbove, Recorder, toy_arch

CPU_OUT_OF_MEMORY = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")


def make_engine(network: nn.Module, settings: RunSettings | None = None, *, scale: int = 1, **facts: bool) -> Engine:
    settings = settings or RunSettings(device="cpu")
    return Engine(network, toy_arch(**facts), channels=3, scale=scale, settings=settings)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(("tile", "overlap"), [(64, 16), (48, 32), (40, 8)])
@pytest.mark.parametrize(("height", "width"), [(200, 152), (57, 193), (30, 30)])
def test_tiles_give_exactly_the_whole_image(scale: int, tile: int, overlap: int, height: int, width: int):
    network = Convolutions(depth=2, scale=scale)
    whole = make_engine(network, RunSettings(device="cpu", tile="off"), scale=scale)
    tiled = make_engine(network, RunSettings(device="cpu", tile=tile, overlap=overlap), scale=scale)

    result = tiled.restore(noise(height, width)).pixels

    assert result.shape == (scale * height, scale * width, 3)
    np.testing.assert_allclose(result, whole.restore(noise(height, width)).pixels, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (33, 1), (8, 8), (65, 64)])
def test_any_size_comes_back_at_its_own_size(height: int, width: int):
    recorder = Recorder()
    pixels = noise(height, width)

    np.testing.assert_array_equal(make_engine(recorder).restore(pixels).pixels, pixels)
    assert recorder.shapes == [(1, 3, -(-height // UNIT) * UNIT, -(-width // UNIT) * UNIT)]


@pytest.mark.parametrize("settings", [RunSettings(device="cpu", tile="off"), RunSettings(device="cpu", tile=48)])
@pytest.mark.parametrize(("height", "width"), [(64, 40), (57, 93), (3, 1)])
def test_a_margin_lets_the_network_see_the_image_mirrored_on_all_sides(settings: RunSettings, height: int, width: int):
    network = Convolutions(depth=3, scale=2)
    engine = Engine(network, toy_arch(), channels=3, scale=2, settings=settings, margin=8)
    pixels = noise(height, width)
    mirrored = np.pad(pixels, ((8, 8 + -height % 8), (8, 8 + -width % 8), (0, 0)), mode="reflect")
    expected = network(torch.from_numpy(mirrored).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()

    result = engine.restore(pixels).pixels

    np.testing.assert_allclose(result, expected[16 : 16 + 2 * height, 16 : 16 + 2 * width], atol=1e-6)


def test_every_tile_has_the_same_shape_and_the_stated_number_is_run():
    recorder = Recorder()
    make_engine(recorder, RunSettings(device="cpu", tile=64, overlap=16)).restore(noise(150, 100))

    assert recorder.shapes == [(1, 3, 64, 64)] * 6


def test_results_are_clipped():
    class Brighter(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 4 - 1

    result = make_engine(Brighter()).restore(noise(16, 16)).pixels

    assert (result.min(), result.max()) == (0.0, 1.0)


def test_self_ensemble_is_the_mean_over_the_eight_symmetries():
    network = Convolutions(depth=2)
    pixels = noise(24, 40)  # on the unit both ways, so that padding plays no part
    plain = make_engine(network, RunSettings(device="cpu", tile="off"))
    expected = np.zeros_like(pixels)
    for turns in range(4):
        turned = plain.restore(np.ascontiguousarray(np.rot90(pixels, turns))).pixels
        expected += np.rot90(turned, -turns) / 8
        flipped = plain.restore(np.ascontiguousarray(np.flipud(np.rot90(pixels, turns)))).pixels
        expected += np.rot90(np.flipud(flipped), -turns) / 8

    result = make_engine(network, RunSettings(device="cpu", tta=True)).restore(pixels).pixels

    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_self_ensemble_takes_any_size():
    pixels = noise(5, 19)

    result = make_engine(Recorder(), RunSettings(device="cpu", tta=True)).restore(pixels).pixels

    np.testing.assert_allclose(result, pixels, atol=1e-6)


def test_statistics_of_tiles_differ_without_a_seam():
    pixels = np.zeros((64, 256, 3), dtype=np.float32)
    pixels[:, 128:] = 1
    settings = RunSettings(device="cpu", tile=64, overlap=32)

    row = make_engine(ImageMean(), settings, global_attention=True).restore(pixels).pixels[32, :, 0]

    assert (row[0], row[-1]) == (0.0, 1.0)
    assert np.abs(np.diff(row)).max() < 0.05


@pytest.mark.parametrize(
    "error", [CPU_OUT_OF_MEMORY, MemoryError(), torch.OutOfMemoryError("CUDA out of memory")], ids=type
)
@pytest.mark.parametrize("after", [0, 2])
def test_out_of_memory_halves_the_tile_and_begins_from_scratch(error: Exception, after: int):
    network = OutOfMemoryAbove(64 * 64, error, after=after)
    pixels = noise(256, 256)

    restored = make_engine(network, RunSettings(device="cpu", tile=128)).restore(pixels)

    np.testing.assert_allclose(restored.pixels, pixels, atol=1e-6)
    assert network.shapes[after] == (1, 3, 128, 128)
    assert network.shapes[after + 1 :] == [(1, 3, 64, 64)] * 49
    assert restored.warnings == ("memory ran out on cpu; redone in tiles of 64",)


def test_a_whole_image_that_does_not_fit_after_all_becomes_tiles():
    network = OutOfMemoryAbove(100 * 100, CPU_OUT_OF_MEMORY)
    pixels = noise(150, 190)

    restored = make_engine(network).restore(pixels)

    np.testing.assert_allclose(restored.pixels, pixels, atol=1e-6)
    assert set(network.shapes) == {(1, 3, 152, 192), (1, 3, 96, 88)}  # of 96, made even


def test_a_network_with_bands_runs_in_lower_bands_before_it_is_cut():
    network = InBands(rows=16, pixels=100 * 100)
    pixels = noise(256, 64)
    engine = make_engine(network, RunSettings(device="cpu"), global_attention=True, in_bands=True)

    restored = engine.restore(pixels)

    np.testing.assert_array_equal(restored.pixels, pixels)
    assert [execution.rows for execution in network.runs if execution] == [256, 32, 8]
    assert restored.warnings == tuple(f"memory ran out on cpu; redone in bands of {rows} rows" for rows in (32, 8))

    network.rows, network.runs[:] = 0, []
    np.testing.assert_allclose(engine.restore(pixels).pixels, pixels, atol=1e-6)
    assert [execution.rows if execution else None for execution in network.runs][:4] == [256, 32, 8, None]
    assert len([warning for warning in engine.restore(pixels).warnings if "ran out" in warning]) <= 8


def test_the_context_of_the_weights_reaches_the_network_and_a_setting_goes_before_it():
    best = BestContext(kind="mixed", cell=96, share=0.25, measured="on toys")
    for setting, context in (("auto", "mixed"), ("local", "local"), ("global", "global")):
        network = InBands()
        arch, settings = (
            toy_arch(global_attention=True, in_bands=True),
            RunSettings(device="cpu", context=setting, tta=True),
        )
        Engine(network, arch, channels=3, scale=1, settings=settings, best=best).restore(noise(40, 64))
        assert {(execution.context, execution.cell) for execution in network.runs if execution} == {(context, 96)}
        assert len(network.runs) == 8


def test_cells_of_weights_without_a_measured_context_are_as_large_as_what_they_were_trained_on():
    network, arch = InBands(), toy_arch(global_attention=True, in_bands=True)
    Engine(network, arch, channels=3, scale=1, settings=RunSettings(device="cpu", context="local"), patch=160).restore(
        noise(40, 64)
    )
    assert [execution.cell for execution in network.runs if execution] == [160]


def test_bands_are_as_high_as_is_usual_and_lower_where_what_the_network_states_does_not_fit():
    network = InBands()
    arch = replace(toy_arch(global_attention=True, in_bands=True), footprint=lambda _: (0.0, 1.0, 1 << 17))
    network.config = None
    for budget in (1 << 40, 200 << 20):
        Engine(network, arch, channels=3, scale=1, settings=RunSettings(device="cpu", max_memory=budget)).restore(
            noise(256, 64)
        )
    assert [execution.rows for execution in network.runs if execution] == [256, 16]


def test_memory_that_suffices_for_nothing_is_an_error_of_that_image_and_the_next_goes_on():
    network = OutOfMemoryAbove(0, MemoryError())
    engine = make_engine(network, RunSettings(device="cpu", tile=256))
    with pytest.raises(ImageError, match="memory does not suffice"):
        engine.restore(noise(300, 300))
    assert [shape[-1] for shape in network.shapes] == [256, 128, 64]

    network.pixels = 10**9
    np.testing.assert_allclose(engine.restore(noise(300, 300)).pixels, noise(300, 300), atol=1e-6)


def test_a_whole_image_that_was_asked_for_is_not_cut_behind_the_users_back():
    network = OutOfMemoryAbove(0, MemoryError())
    with pytest.raises(ImageError, match="leave --tile off"):
        make_engine(network, RunSettings(device="cpu", tile="off")).restore(noise(300, 300))
    assert len(network.shapes) == 1


def test_other_faults_of_a_network_are_not_taken_for_lack_of_memory():
    network = OutOfMemoryAbove(0, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        make_engine(network).restore(noise(16, 16))


def test_a_result_too_large_for_the_machine_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch):
    recorder = Recorder()
    monkeypatch.setattr(engine_module, "host_free_memory", lambda: 10**6)
    with pytest.raises(ImageError, match=r"the result of 800x400 pixels takes .* restore it in parts"):
        make_engine(recorder, scale=4).restore(noise(100, 200))
    assert recorder.shapes == []


class OverflowsBelowFloat32(nn.Module):
    """Gives infinity for bright tiles wherever products are rounded, as float16 networks do."""

    def forward(self, x: Tensor) -> Tensor:
        rounded = (x.flatten(2) @ torch.eye(x[0, 0].numel())).dtype != torch.float32
        bright = x.mean((1, 2, 3), keepdim=True) > 0.5
        return torch.where(bright & rounded, torch.inf, x)


def test_a_tile_that_is_not_finite_is_redone_in_float32_with_one_warning():
    pixels = np.zeros((24, 72, 3), dtype=np.float32)
    pixels[:, 40:] = 0.9
    settings = RunSettings(device="cpu", dtype="bfloat16", tile=24, overlap=0)

    restored = make_engine(OverflowsBelowFloat32(), settings).restore(pixels)

    np.testing.assert_array_equal(restored.pixels, pixels)
    assert restored.warnings == ("some results were not finite in bfloat16 and were redone in float32",)


def test_a_result_that_is_not_finite_even_in_float32_is_refused():
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 0

    for dtype in ("float32", "bfloat16"):
        with pytest.raises(ImageError, match="not finite"):
            make_engine(Broken(), RunSettings(device="cpu", dtype=dtype)).restore(noise(8, 8) + 0.1)


def test_a_stop_is_honoured_inside_a_network():
    stop = threading.Event()

    class AsksToStopHalfway(nn.Module):
        reached_the_end = False

        def forward(self, x: Tensor) -> Tensor:
            x = x + 1
            stop.set()
            x = x - 1
            self.reached_the_end = True
            return x

    network = AsksToStopHalfway()
    with pytest.raises(StopRequestedError):
        make_engine(network).restore(noise(16, 16), stop=stop)
    assert not network.reached_the_end


def test_a_stop_is_honoured_between_tiles_and_the_next_image_is_whole():
    stop = threading.Event()
    recorder = Recorder()
    engine = make_engine(recorder, RunSettings(device="cpu", tile=64))
    stop.set()
    with pytest.raises(StopRequestedError):
        engine.restore(noise(100, 100), stop=stop)
    assert recorder.shapes == []

    stop.clear()
    np.testing.assert_allclose(engine.restore(noise(100, 100), stop=stop).pixels, noise(100, 100), atol=1e-6)


def test_a_compiler_that_fails_is_left_out_with_one_warning(monkeypatch: pytest.MonkeyPatch):
    def failing(_: Tensor) -> Tensor:
        raise RuntimeError("no C++ compiler found\ninstall one")

    # A real failure of the compiler takes seconds to arrive here.
    monkeypatch.setattr(torch, "compile", lambda _network, **_options: failing)
    engine = make_engine(Convolutions(), RunSettings(device="cpu", compile=True, tile=32, overlap=16))
    plain = make_engine(Convolutions(), RunSettings(device="cpu", tile=32, overlap=16))

    first, second = engine.restore(noise(64, 64)), engine.restore(noise(64, 64))

    assert first.warnings == ("torch.compile failed, going on without it: no C++ compiler found",)
    assert second.warnings == ()
    np.testing.assert_array_equal(first.pixels, plain.restore(noise(64, 64)).pixels)


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own making
def test_a_compiled_network_gives_the_same_pixels():
    settings = {"device": "cpu", "tile": 32, "overlap": 16}
    compiled = make_engine(Convolutions(), RunSettings(compile=True, **settings)).restore(noise(64, 80))
    plain = make_engine(Convolutions(), RunSettings(**settings)).restore(noise(64, 80))

    np.testing.assert_allclose(compiled.pixels, plain.pixels, atol=1e-6)


def test_the_layout_can_be_asked_for_beforehand():
    engine = make_engine(Recorder(), RunSettings(device="cpu", tile=64))

    assert engine.layout(63, 57).context == "global"
    assert engine.layout(65, 57).tile == 64


def test_impossible_settings_and_absent_devices_are_refused_when_the_engine_is_made():
    with pytest.raises(UsageError):
        make_engine(Recorder(), RunSettings(tile=8))
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError):
            make_engine(Recorder(), RunSettings(device="cuda"))


def test_threads_do_not_change_the_pixels():
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            settings = RunSettings(device="cpu", tile=64)
            results.append(make_engine(Convolutions(depth=3), settings).restore(noise(120, 120)).pixels)
    finally:
        torch.set_num_threads(before)

    np.testing.assert_array_equal(*results)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_the_cpus_pixels_in_batches_of_tiles():
    network, pixels = Convolutions(depth=2), noise(200, 152)
    results = [
        make_engine(network, RunSettings(device=device, tile=64, overlap=16)).restore(pixels).pixels
        for device in ("cpu", "cuda")
    ]

    np.testing.assert_allclose(*results, atol=1e-5)


def test_a_network_that_states_what_it_takes_is_believed_and_not_tried():
    class Untried(nn.Module):
        config = None

        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError(x)

    for bytes_per_pixel, is_cut in ((1.0, False), (1e6, True)):
        arch = replace(toy_arch(), footprint=lambda _, stated=bytes_per_pixel: (0.0, stated, 0.0))
        engine = Engine(Untried(), arch, channels=3, scale=1, settings=RunSettings(device="cpu"))
        assert (engine.layout(4096, 4096).tile is not None) == is_cut
