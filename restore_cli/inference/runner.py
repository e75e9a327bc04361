"""One network on one device: a batch in, the restored batch out, finite or refused.

Stage 5, RUN. Precision, compiler and the way to the device and back are settled here, so that what cuts and stitches
deals with plain float32 on the CPU.

On the CPU a network is looked at operation by operation, to stop it in the middle and to report how far it is
(`OperationWatch`). Nearly all time goes into products (convolutions, matrices), and their multiply-adds grow with the
pixels, so the share of them that is done is the share of the time: over RAMiT, Restormer and the U-Net it is never more
than an eighth off. Networks need not know of it.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from restore_cli.errors import ImageError
from restore_cli.inference.device import is_out_of_memory, keep_float32_exact
from restore_cli.inference.layout import padded_size
from restore_cli.layers.bands import Execution
from restore_cli.models import Arch

__all__ = ["NetworkRunner", "StopRequestedError", "Warn", "check_stop"]

Warn = Callable[[str], None]
Advance = Callable[[float], None]

# A run over a small square tells how much work a pixel is, within a fifteenth; it is made for images that are at least
# this many times as large, unless an earlier run has told it.
_SQUARE_SIDE = 64
_WORTH_A_SQUARE = 64
# What is through the network within so many seconds is done before anybody could stop it or look at a bar. Looking at
# each of its operations took an eighth of the time of RAMiT on 64x64 pixels.
_MOMENT_SECONDS = 0.1
# Until a run is over nobody knows that nothing is left of it.
_MOST_SHARE = 0.99


class NetworkRunner:
    """Run a network in inference mode on a device.

    Args:
        network: On the CPU, float32; it stays there and as it is, another device gets a copy.
        device: Where to run.
        dtype: float32, or what autocast takes for the products.
        compiled: Run through torch.compile; where the compiler fails, as it is, with one warning.
        arch: What is to be known of it: its form for inference.
    """

    def __init__(
        self, network: nn.Module, *, device: torch.device, dtype: torch.dtype, compiled: bool = False, arch: Arch
    ) -> None:
        self.device = device
        self.dtype = dtype
        self._arch = arch
        self._network = network if device.type == "cpu" else copy.deepcopy(network).to(device)
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self._work_of_pixel: dict[Execution | None, float] = {}
        self._seconds_of_pixel: dict[Execution | None, float] = {}
        if compiled:
            self._compiled = torch.compile(self._network, dynamic=False)
        keep_float32_exact(device)

    @property
    def needs_fixed_shapes(self) -> bool:
        """Return whether every new shape costs a compilation."""
        return self._compiled is not None

    def run(
        self,
        batch: Tensor,
        *,
        warn: Warn,
        stop: threading.Event | None = None,
        execution: Execution | None = None,
        advance: Advance | None = None,
    ) -> Tensor:
        """Restore a batch.

        Args:
            batch: float32 (N, C, H, W) on the CPU.
            warn: Told what went wrong and was helped.
            stop: Looked at before every operation on the CPU, but for batches that are known to be done in a moment,
                and once a batch elsewhere.
            execution: Context and bands, for a network that takes them; never compiled.
            advance: Told on the CPU which share of the batch is done, 0..1.

        Returns:
            float32 (N, C, scale * H, scale * W) on the CPU, all finite.

        Raises:
            StopRequestedError: If `stop` was set.
            ImageError: If the network's result is not finite even in float32.
        """
        check_stop(stop)
        on_device = batch.to(self.device)
        with torch.inference_mode():
            restored = self._forward(on_device, warn, stop, execution, advance)
            finite = restored.isfinite().flatten(1).all(1)
            if not finite.all():
                restored[~finite] = self._redo_in_float32(on_device[~finite], warn, stop, execution)
            return restored.cpu()

    def forward_plainly(self, batch: Tensor, execution: Execution | None = None) -> Tensor:
        """Run a batch uncompiled and unchecked, to see what it takes; arguments and result as in `run`."""
        with torch.inference_mode():
            return self._forward_eagerly(batch.to(self.device), self.dtype, None, execution)

    def _forward(
        self,
        batch: Tensor,
        warn: Warn,
        stop: threading.Event | None,
        execution: Execution | None,
        advance: Advance | None,
    ) -> Tensor:
        if self._compiled is not None and execution is None:
            try:
                with _precision(self.device, self.dtype):
                    return self._compiled(batch).float()
            except Exception as error:  # a compiler fails with whatever it likes
                if is_out_of_memory(error):
                    raise
                self._compiled = None
                warn(f"torch.compile failed, going on without it: {_first_line(error)}")
        return self._forward_eagerly(batch, self.dtype, stop, execution, advance)

    def _forward_eagerly(
        self,
        batch: Tensor,
        dtype: torch.dtype,
        stop: threading.Event | None,
        execution: Execution | None,
        advance: Advance | None = None,
    ) -> Tensor:
        # A GPU finishes a tile sooner than anyone can press a key twice, and pays for every look by idling.
        is_looked_at = stop is not None or advance is not None
        if self.device.type != "cpu" or not is_looked_at or self._takes_a_moment(batch, execution):
            with _precision(self.device, dtype):
                return self._infer(batch, execution)
        expected = None if advance is None else self._expected_work(batch, dtype, stop, execution)

        def report(work: int) -> None:
            if advance is not None and expected:
                advance(min(work / expected, _MOST_SHARE))

        watch = OperationWatch(stop, None if advance is None else report)
        began = time.monotonic()
        with _precision(self.device, dtype), watch:
            restored = self._infer(batch, execution)
        self._learn(watch.work, batch, execution)
        self._learn_time(time.monotonic() - began, batch, execution)
        return restored

    def _infer(self, batch: Tensor, execution: Execution | None) -> Tensor:
        if execution is None or self._arch.infer is None:
            return self._arch.run(self._network, batch).float()
        return self._arch.infer(self._network, batch, execution).float()

    def _expected_work(
        self, batch: Tensor, dtype: torch.dtype, stop: threading.Event | None, execution: Execution | None
    ) -> float | None:
        """Return the multiply-adds of a batch's products; None where nobody knows and it is not worth a run."""
        side, _ = padded_size(_SQUARE_SIDE, _SQUARE_SIDE, self._arch.multiple_of)
        if _key(execution) not in self._work_of_pixel and _pixels_of(batch) >= _WORTH_A_SQUARE * side**2:
            square = batch.new_zeros(1, batch.shape[1], side, side)
            watch = OperationWatch(stop, lambda _work: None)
            with _precision(self.device, dtype), watch:
                self._infer(square, execution)
            self._learn(watch.work, square, execution)
        known = self._work_of_pixel.get(_key(execution))
        return None if known is None else known * _pixels_of(batch)

    def _learn(self, work: int, batch: Tensor, execution: Execution | None) -> None:
        """Remember how much work a pixel was, unless the batch was too small to tell."""
        pixels = _pixels_of(batch)
        if work and pixels >= _SQUARE_SIDE**2:
            self._work_of_pixel[_key(execution)] = work / pixels

    def _learn_time(self, seconds: float, batch: Tensor, execution: Execution | None) -> None:
        key, pace = _key(execution), seconds / _pixels_of(batch)
        self._seconds_of_pixel[key] = min(pace, self._seconds_of_pixel.get(key, pace))

    def _takes_a_moment(self, batch: Tensor, execution: Execution | None) -> bool:
        """Return whether a batch is known to be done before looking at it matters."""
        pace = self._seconds_of_pixel.get(_key(execution))
        return pace is not None and pace * _pixels_of(batch) < _MOMENT_SECONDS

    def _redo_in_float32(
        self, batch: Tensor, warn: Warn, stop: threading.Event | None, execution: Execution | None
    ) -> Tensor:
        if self.dtype != torch.float32:
            warn(f"some results were not finite in {str(self.dtype).removeprefix('torch.')} and were redone in float32")
            restored = self._forward_eagerly(batch, torch.float32, stop, execution)
            if restored.isfinite().all():
                return restored
        msg = "the network's result is not finite"
        raise ImageError(msg, hint="check the weights with `restore models verify`")


@contextmanager
def _precision(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    if dtype == torch.float32:
        yield
    else:
        with torch.autocast(device.type, dtype=dtype):
            yield


def _key(execution: Execution | None) -> Execution | None:
    """Return what the work of a pixel depends on: bands change next to nothing."""
    return None if execution is None else replace(execution, rows=None)


def _pixels_of(batch: Tensor) -> int:
    return batch.shape[0] * batch.shape[2] * batch.shape[3]


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


class StopRequestedError(Exception):
    """Leave the work because someone asked to stop; nothing of it may be used."""


def check_stop(stop: threading.Event | None) -> None:
    """Raise StopRequestedError if a stop was asked for."""
    if stop is not None and stop.is_set():
        raise StopRequestedError


def _last_of_first(args: Sequence[Any]) -> int:
    return int(args[0].shape[-1])


def _last_of_second(args: Sequence[Any]) -> int:
    return int(args[1].shape[-1])


def _filter(args: Sequence[Any]) -> int:
    return int(args[1][0].numel())


def _keys_twice(args: Sequence[Any]) -> int:
    return 2 * int(args[1].shape[-2])


# How many multiply-adds a number of the result takes, by the operation's arguments.
_LENGTH_OF_PRODUCT: dict[str, Callable[[Sequence[Any]], int]] = {
    "conv2d": _filter,
    "_convolution_pointwise": _filter,
    "linear": _last_of_first,
    "_linear_pointwise": _last_of_first,
    "mm": _last_of_first,
    "bmm": _last_of_first,
    "matmul": _last_of_first,
    "__matmul__": _last_of_first,
    "addmm": _last_of_second,
    "addmm_": _last_of_second,
    "baddbmm": _last_of_second,
    "scaled_dot_product_attention": _keys_twice,
}


class OperationWatch(TorchFunctionMode):
    """Look at every operation while inside: a single layer over a large image is short, the network is not.

    Args:
        stop: Looked at before each.
        on_work: Told the multiply-adds that are done after each product; None counts none.
    """

    def __init__(self, stop: threading.Event | None, on_work: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self.work = 0
        self._stop = stop
        self._on_work = on_work

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        check_stop(self._stop)
        result = func(*args, **(kwargs or {}))
        if self._on_work is not None:
            length_of = _LENGTH_OF_PRODUCT.get(getattr(func, "__name__", ""))
            if length_of is not None and isinstance(result, Tensor) and len(args) > 1:
                self.work += result.numel() * length_of(args)
                self._on_work(self.work)
        return result
