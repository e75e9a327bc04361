"""One image through one network: padded, cut, run, stitched, cropped, and redone smaller where memory runs out.

Stage 5, RUN, between tiling and the network. Knows arrays only; what a gray image, an alpha channel or a file means
is `restorer`'s and `imaging`'s business.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn

from restore_cli.errors import DeviceError, ImageError
from restore_cli.imaging.decoded_image import FloatImage
from restore_cli.inference.device import (
    GIB,
    DeviceChoice,
    DtypeChoice,
    choose_device,
    choose_dtype,
    free_memory,
    host_free_memory,
    is_out_of_memory,
    plan_budget,
    release_memory,
)
from restore_cli.inference.ensemble import SYMMETRIES, mean_over_symmetries
from restore_cli.inference.footprint import (
    UNSEEN_SHARE,
    BandsFootprint,
    Footprint,
    measure_bands,
    measure_footprint,
)
from restore_cli.inference.layout import (
    Layout,
    MemoryModel,
    check_settings,
    choose_layout,
    context_of,
    note_on_compiling,
    pad_to_multiple,
    padded_size,
    smaller_layout,
)
from restore_cli.inference.report import OnProgress, ProgressTrack
from restore_cli.inference.runner import NetworkRunner, Warn, check_stop
from restore_cli.layers.bands import BAND_POSITIONS, Execution
from restore_cli.models import Arch
from restore_cli.settings import RunSettings
from restore_cli.tiling.blend import Canvas
from restore_cli.tiling.grid import Box, plan_grid
from restore_cli.weights.entry import BestContext

# float32 pixels of the result: as stitched, as clipped, and about as much again to round and encode them.
_RESULT_BYTES_PER_VALUE = 12
# Little beside torch itself. To ask the system for its free memory takes a millisecond.
_NEGLIGIBLE_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A restored image and what happened on the way.

    Attributes:
        pixels: float32 (scale * H, scale * W, C) in [0, 1].
        warnings: What the user should know, a line each.
    """

    pixels: FloatImage
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Watch:
    """Who is told of one image on its way, and who may end it."""

    warn: Warn
    stop: threading.Event | None
    track: ProgressTrack | None


class Engine:
    """Run a network over images of any size.

    Args:
        network: On the CPU, float32, in eval mode; `Arch` says what sizes it takes.
        arch: What is to be known of it.
        channels: Image channels of each view that goes in, and of the result.
        views: Views of a scene that go in, stacked in channels.
        scale: Factor from input to output size.
        settings: How to run it.
        best: The context its weights were measured best with, None for the whole image's.
        patch: Side of the images its weights were trained on: of cells, where they are wanted and `best` names none.
        margin: Pixels to continue images by on all four sides, for weights whose borders come out wrong without.

    Raises:
        UsageError: If the settings do not exist or contradict themselves.
        DeviceError: If the device is not there.
    """

    def __init__(
        self,
        network: nn.Module,
        arch: Arch,
        *,
        channels: int,
        views: int = 1,
        scale: int,
        settings: RunSettings,
        best: BestContext | None = None,
        patch: int = Execution.cell,
        margin: int = 0,
    ) -> None:
        check_settings(settings, arch)
        self.device: DeviceChoice = choose_device(settings.device)
        self.dtype: DtypeChoice = choose_dtype(settings.dtype, self.device.device, arch.dtypes)
        self._network = network
        self._arch = arch
        self._channels = channels
        self._views = views
        self._scale = scale
        self._settings = settings
        self._best = best
        self._patch = patch
        self._margin = margin
        self._runner = NetworkRunner(
            network, device=self.device.device, dtype=self.dtype.dtype, compiled=settings.compile, arch=arch
        )
        self._memory = self._memory_of(self._runner)

    @property
    def note(self) -> str | None:
        """Return what a person should know of the settings before anything is run, None for nothing."""
        on_cpu = self.device.device.type == "cpu"
        return note_on_compiling(self._arch, self._settings, self._best, on_cpu=on_cpu)

    def layout(self, height: int, width: int) -> Layout:
        """Return how an image of this size, before padding, would go through the network."""
        size = padded_size(height, width, self._arch.multiple_of, self._margin)
        return self._layout(*size, self._runner, self._memory)

    def restore(
        self, pixels: FloatImage, *, stop: threading.Event | None = None, progress: OnProgress | None = None
    ) -> Restored:
        """Restore one image.

        Args:
            pixels: float32 (H, W, views * C) in [0, 1].
            stop: Set it to leave the work within moments.
            progress: Called with how far it is.

        Raises:
            ImageError: If memory does not suffice on any device, or the result is not finite.
            DeviceError: If the device fails.
            StopRequestedError: If `stop` was set.
        """
        self._check_result_fits(*pixels.shape[:2])
        warnings: dict[str, None] = {}
        tta = self._settings.tta
        track = None if progress is None else ProgressTrack(progress, runs=len(SYMMETRIES) if tta else 1)
        restore = partial(self._restore, watch=_Watch(warn=warnings.setdefault, stop=stop, track=track))
        result = mean_over_symmetries(restore, pixels) if tta else restore(pixels)
        return Restored(pixels=result, warnings=tuple(warnings))

    def _restore(self, pixels: FloatImage, *, watch: _Watch) -> FloatImage:
        padded = pad_to_multiple(pixels, self._arch.multiple_of, self._settings.pad, self._margin)
        restored = self._try_until_it_fits(padded, watch)
        height, width, start = (self._scale * length for length in (*pixels.shape[:2], self._margin))
        cropped = restored[start : start + height, start : start + width]
        return np.clip(cropped, 0.0, 1.0, out=np.empty(cropped.shape, dtype=np.float32))

    def _try_until_it_fits(self, padded: FloatImage, watch: _Watch) -> FloatImage:
        """Restore on the device, with less at once each time memory runs out, then on the CPU."""
        runner, memory = self._runner, self._memory
        height, width = padded.shape[:2]
        layout = self._layout(height, width, runner, memory)
        if layout.note:
            watch.warn(layout.note)
        while (restored := self._attempt(runner, padded, layout, watch)) is None:
            less = smaller_layout(layout, height, width, arch=self._arch, overlap=self._settings.overlap)
            if less is not None:
                watch.warn(f"memory ran out on {runner.device}; redone in {_in_words(less)}")
                layout = less
            elif runner.device.type != "cpu":
                watch.warn(f"memory ran out on {runner.device}; redone on the CPU")
                runner = NetworkRunner(self._network, device=torch.device("cpu"), dtype=torch.float32, arch=self._arch)
                memory = self._memory_of(runner)
                layout = self._layout(height, width, runner, memory)
            else:
                msg = "memory does not suffice for this image"
                raise ImageError(msg, hint="leave --tile off and --context global out" if layout.demanded else None)
        return restored

    def _attempt(self, runner: NetworkRunner, padded: FloatImage, layout: Layout, watch: _Watch) -> FloatImage | None:
        """Return the restored image, or None if memory ran out; nothing of a failed attempt is kept."""
        try:
            return self._run_tiles(runner, padded, layout, watch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                if isinstance(error, torch.AcceleratorError):
                    raise DeviceError(f"{runner.device} failed: {error}") from error
                raise
        # Outside the except block: the error's frames hold the tensors that filled the memory.
        release_memory(runner.device)
        return None

    def _run_tiles(self, runner: NetworkRunner, padded: FloatImage, layout: Layout, watch: _Watch) -> FloatImage:
        height, width = padded.shape[:2]
        if layout.tile is None:
            check_stop(watch.stop)
            _begin(watch, layout, tiles=1, pixels=height * width)
            (restored,) = _run_batch(runner, [padded], layout, watch)
            return restored
        grid = plan_grid(
            height,
            width,
            tile=layout.tile,
            overlap=self._settings.overlap,
            align=self._arch.multiple_of,
            # A size that was asked for is meant; so is one that the compiler has seen.
            even=self._settings.tile == "auto" and not runner.needs_fixed_shapes,
        )
        canvas = Canvas(grid, scale=self._scale, channels=self._channels)
        boxes = grid.boxes
        _begin(watch, layout, tiles=len(boxes), pixels=boxes[0].height * boxes[0].width)
        for first in range(0, len(boxes), layout.batch):
            check_stop(watch.stop)
            group = boxes[first : first + layout.batch]
            missing = layout.batch - len(group) if runner.needs_fixed_shapes else 0
            tiles = [_cut(padded, box) for box in (*group, *[group[-1]] * missing)]
            for box, tile in zip(group, _run_batch(runner, tiles, layout, watch, count=len(group)), strict=False):
                canvas.add(box, tile)
        return canvas.finish()

    def _layout(self, height: int, width: int, runner: NetworkRunner, memory: MemoryModel) -> Layout:
        on_cpu = runner.device.type == "cpu"
        return choose_layout(
            height,
            width,
            arch=self._arch,
            settings=self._settings,
            memory=memory,
            best=self._best,
            patch=self._patch,
            on_cpu=on_cpu,
        )

    def _memory_of(self, runner: NetworkRunner) -> MemoryModel:
        setting = self._settings.max_memory

        def budget(*, in_bands: bool) -> int:
            free = free_memory(runner.device, self._settings.share)
            return plan_budget(free, runner.device.type, in_bands=in_bands)

        return MemoryModel(
            budget=partial(budget, in_bands=False) if setting is None else lambda: setting,
            footprint=lambda: self._footprint_of(runner),
            bands=partial(self._bands_of, runner) if self._arch.in_bands else None,
            bands_budget=partial(budget, in_bands=True) if setting is None else None,
        )

    def _bands_of(self, runner: NetworkRunner) -> BandsFootprint:
        if self._arch.footprint is not None:
            fixed, per_pixel, per_band_pixel = (UNSEEN_SHARE * s for s in self._arch.footprint(self._network.config))
            return BandsFootprint(fixed_bytes=fixed, bytes_per_pixel=per_pixel, bytes_per_band_pixel=per_band_pixel)
        execution = context_of(self._settings, self._best, self._patch)
        return measure_bands(
            lambda batch, rows: runner.forward_plainly(batch, replace(execution, rows=rows)),
            channels=self._channels * self._views,
            multiple_of=self._arch.multiple_of,
        )

    def _footprint_of(self, runner: NetworkRunner) -> Footprint:
        """Return what a run takes, as the network states it for plain runs on the CPU, else learnt from small ones."""
        is_plain = runner.device.type == "cpu" and runner.dtype == torch.float32 and not runner.needs_fixed_shapes
        if self._arch.footprint is not None and is_plain:
            fixed, per_pixel, per_band_pixel = (UNSEEN_SHARE * s for s in self._arch.footprint(self._network.config))
            return Footprint(fixed_bytes=fixed + per_band_pixel * BAND_POSITIONS, bytes_per_pixel=per_pixel)
        return measure_footprint(
            runner.forward_plainly, channels=self._channels * self._views, multiple_of=self._arch.multiple_of
        )

    def _check_result_fits(self, height: int, width: int) -> None:
        """Refuse an image whose result alone is more than the machine's memory, before any work."""
        values = height * width * self._scale**2 * self._channels
        needed = values * _RESULT_BYTES_PER_VALUE
        if needed > _NEGLIGIBLE_BYTES and needed > (free := host_free_memory()):
            size = f"{width * self._scale}x{height * self._scale}"
            msg = f"the result of {size} pixels takes {needed / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free"
            raise ImageError(msg, hint="restore it in parts")


def _begin(watch: _Watch, layout: Layout, *, tiles: int, pixels: int) -> None:
    if watch.track is not None:
        watch.track.begin(tiles=tiles, pixels=pixels, tile=layout.tile if tiles > 1 else None, note=layout.note)


def _run_batch(
    runner: NetworkRunner, tiles: Sequence[FloatImage], layout: Layout, watch: _Watch, *, count: int = 1
) -> list[FloatImage]:
    """Restore tiles of one size, (H, W, C) each, to (scale * H, scale * W, C); `count` of them are progress."""
    batch = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).contiguous()
    track = watch.track
    advance = None if track is None else partial(track.advance, tiles=count)
    restored = runner.run(batch, warn=watch.warn, stop=watch.stop, execution=layout.execution, advance=advance)
    if track is not None:
        track.end_batch(count)
    return list(restored.permute(0, 2, 3, 1).numpy())


def _in_words(layout: Layout) -> str:
    if layout.execution is not None:
        return f"bands of {layout.execution.rows} rows"
    return f"tiles of {layout.tile}" + (f", {layout.batch} at once" if layout.batch > 1 else "")


def _cut(padded: FloatImage, box: Box) -> FloatImage:
    return padded[box.top : box.top + box.height, box.left : box.left + box.width]
