"""One network on one device: a batch in, the restored batch out, finite or refused.

Stage 5, RUN. Precision, compiler and the way to the device and back are settled here, so that what cuts and stitches
deals with plain float32 on the CPU.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from restore_cli.errors import ImageError
from restore_cli.inference.device import is_out_of_memory, keep_float32_exact
from restore_cli.layers.bands import Execution
from restore_cli.models import Arch

Warn = Callable[[str], None]


class StopRequestedError(Exception):
    """Leave the work because someone asked to stop; nothing of it may be used."""


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
        if compiled:
            self._compiled = torch.compile(self._network, dynamic=False)
        keep_float32_exact(device)

    @property
    def needs_fixed_shapes(self) -> bool:
        """Tell whether every new shape costs a compilation."""
        return self._compiled is not None

    def run(
        self, batch: Tensor, *, warn: Warn, stop: threading.Event | None = None, how: Execution | None = None
    ) -> Tensor:
        """Restore a batch.

        Args:
            batch: float32 (N, C, H, W) on the CPU.
            warn: Told what went wrong and was helped.
            stop: Looked at before every operation on the CPU, and once a batch elsewhere.
            how: Context and bands, for a network that takes them; never compiled.

        Returns:
            float32 (N, C, scale * H, scale * W) on the CPU, all finite.

        Raises:
            StopRequestedError: If `stop` was set.
            ImageError: If the network's result is not finite even in float32.
        """
        check_stop(stop)
        on_device = batch.to(self.device)
        with torch.inference_mode():
            restored = self._forward(on_device, warn, stop, how)
            finite = restored.isfinite().flatten(1).all(1)
            if not finite.all():
                restored[~finite] = self._redo_in_float32(on_device[~finite], warn, stop, how)
            return restored.cpu()

    def forward_plainly(self, batch: Tensor, how: Execution | None = None) -> Tensor:
        """Run a batch uncompiled and unchecked, to see what it takes; arguments and result as in `run`."""
        with torch.inference_mode():
            return self._forward_eagerly(batch.to(self.device), self.dtype, None, how)

    def _forward(self, batch: Tensor, warn: Warn, stop: threading.Event | None, how: Execution | None) -> Tensor:
        if self._compiled is not None and how is None:
            try:
                with _precision(self.device, self.dtype):
                    return self._compiled(batch).float()
            except Exception as error:  # a compiler fails with whatever it likes
                if is_out_of_memory(error):
                    raise
                self._compiled = None
                warn(f"torch.compile failed, going on without it: {_first_line(error)}")
        return self._forward_eagerly(batch, self.dtype, stop, how)

    def _forward_eagerly(
        self, batch: Tensor, dtype: torch.dtype, stop: threading.Event | None, how: Execution | None
    ) -> Tensor:
        # A GPU finishes a tile sooner than anyone can press a key twice, and pays for every look by idling.
        watched = stop if self.device.type == "cpu" else None
        with _precision(self.device, dtype), _stopping(watched):
            if how is None or self._arch.infer is None:
                return self._arch.run(self._network, batch).float()
            return self._arch.infer(self._network, batch, how).float()

    def _redo_in_float32(
        self, batch: Tensor, warn: Warn, stop: threading.Event | None, how: Execution | None
    ) -> Tensor:
        if self.dtype != torch.float32:
            warn(f"some results were not finite in {str(self.dtype).removeprefix('torch.')} and were redone in float32")
            restored = self._forward_eagerly(batch, torch.float32, stop, how)
            if restored.isfinite().all():
                return restored
        msg = "the network's result is not finite"
        raise ImageError(msg, hint="check the weights with `restore models verify`")


def check_stop(stop: threading.Event | None) -> None:
    """Raise StopRequestedError if a stop was asked for."""
    if stop is not None and stop.is_set():
        raise StopRequestedError


@contextmanager
def _precision(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    if dtype == torch.float32:
        yield
    else:
        with torch.autocast(device.type, dtype=dtype):
            yield


@contextmanager
def _stopping(stop: threading.Event | None) -> Iterator[None]:
    if stop is None:
        yield
    else:
        with _StopBetweenOperations(stop):
            yield


class _StopBetweenOperations(TorchFunctionMode):
    """Look at a stop event before each operation: a single layer over a large image is short, the network is not."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        check_stop(self._stop)
        return func(*args, **(kwargs or {}))


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
