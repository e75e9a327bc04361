"""What a network does, operation by operation: looked at to stop it in the middle, and to tell how far it is.

Stage 5, RUN, on the CPU. Nearly all time goes into products (convolutions, matrices), and their multiply-adds grow with
the pixels, so the share of them that is done is the share of the time: over RAMiT, Restormer and the U-Net it is never
more than an eighth off. Networks need not know of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


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
