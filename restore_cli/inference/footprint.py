"""How much memory a network's feature maps take, learnt from two small runs.

Stage 5, RUN. Nothing needs to be written down for an architecture, and nothing can go stale: the peak of the tensors
alive during a run on a small square, and on one of twice the side, gives what a pixel costs and what any run costs.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from restore_cli.tiling.grid import round_up

_PROBE_SIDE = 32
_PROBE_ROWS = 8
# On top of the tensors: scratch space inside operations, and memory the allocator keeps in pieces.
UNSEEN_SHARE = 1.25


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Memory of one run at its peak: `fixed_bytes + bytes_per_pixel * input pixels`."""

    fixed_bytes: float
    bytes_per_pixel: float

    def peak_bytes(self, pixels: int) -> float:
        """Return what a run over so many input pixels takes."""
        return self.fixed_bytes + self.bytes_per_pixel * pixels

    def pixels_within(self, budget: int) -> int:
        """Return how many input pixels a run may have to stay within a budget, at least 0."""
        return max(0, int((budget - self.fixed_bytes) / self.bytes_per_pixel))


@dataclass(frozen=True, kw_only=True)
class BandsFootprint:
    """Memory of one run in bands at its peak, which grows with the image, with its width and with the band."""

    fixed_bytes: float = 0.0
    bytes_per_column: float = 0.0
    bytes_per_pixel: float
    bytes_per_band_pixel: float

    def peak_bytes(self, height: int, width: int, rows: int) -> float:
        """Return what a run over an image of that size in bands of so many rows takes."""
        of_column = self.bytes_per_column + self.bytes_per_pixel * height + self.bytes_per_band_pixel * rows
        return self.fixed_bytes + of_column * width


def measure_bands(forward: Callable[[Tensor, int], Tensor], *, channels: int, multiple_of: int) -> BandsFootprint:
    """Run a network in bands on three small images and return what it takes.

    Args:
        forward: The network as it will be run: a batch as in `measure_footprint` and the rows of a band.
        channels: Image channels in.
        multiple_of: Height and width must be multiples of this.
    """
    side = round_up(_PROBE_SIDE, multiple_of)
    low, high = 2 * side, 4 * side

    def probe(height: int, rows: int) -> float:
        peak = _peak_of_run(lambda batch: forward(batch, rows), (1, channels, height, side))
        return peak * UNSEEN_SHARE / side

    narrow, tall, coarse = probe(low, _PROBE_ROWS), probe(high, _PROBE_ROWS), probe(high, high)
    per_pixel = (tall - narrow) / (high - low)
    per_band_pixel = max(0.0, (coarse - tall) / (high - _PROBE_ROWS))
    return BandsFootprint(
        bytes_per_column=max(0.0, tall - per_pixel * high - per_band_pixel * _PROBE_ROWS),
        bytes_per_pixel=per_pixel,
        bytes_per_band_pixel=per_band_pixel,
    )


def measure_footprint(forward: Callable[[Tensor], Tensor], *, channels: int, multiple_of: int) -> Footprint:
    """Run a network on two small squares and return what it takes.

    Args:
        forward: The network as it will be run, uncompiled: float32 (N, C, H, W) on the CPU in, the result out.
        channels: Image channels in.
        multiple_of: Height and width must be multiples of this.
    """
    side = round_up(_PROBE_SIDE, multiple_of)
    small, large = (_peak_of_run(forward, (1, channels, s, s)) for s in (side, 2 * side))
    per_pixel = (large - small) / (3 * side * side)
    fixed = max(0.0, small - per_pixel * side * side)
    return Footprint(fixed_bytes=fixed * UNSEEN_SHARE, bytes_per_pixel=per_pixel * UNSEEN_SHARE)


def peak_bytes(work: Callable[[], object]) -> int:
    """Return the most bytes of tensors made by some work that were alive at once, scratch space not counted.

    Works on any device, on "meta" too, where nothing is computed: sizes are all it takes.
    """
    live = _LiveBytes()
    with live:
        work()
    return live.peak


def _peak_of_run(forward: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> int:
    def run() -> None:
        batch = torch.zeros(shape)  # named, so that it lives to the end: callers hold theirs too
        forward(batch)

    return peak_bytes(run)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own is untyped
    """Watch every tensor that an operation returns until its storage is freed; works on any device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own is untyped
        self.peak: int = 0
        self._live = 0
        self._watched: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._watch(leaf.untyped_storage())
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._watched:
            return

        def forget(_: object) -> None:
            self._live -= size
            del self._watched[key]

        self._watched[key] = weakref.ref(storage, forget)
        self._live += size
        self.peak = max(self.peak, self._live)
