"""Batches for the network, made ahead of need by a thread.

Third stage of training: crops become float tensors on the device and are degraded there. The thread keeps a few batches
ready, so that neither two CPU cores nor a GPU wait for data.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch

from restore_cli.tasks import DegradeOptions, Task
from restore_cli.training.images import ImageStore, Uint8Image
from restore_cli.training.sampling import CropSampler, cut, degradation_seed

GROUPS_MOST = 8
AHEAD = 3
_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """Say how large the batch of one step is.

    Attributes:
        batch: Samples of all processes together.
        patch: Side of a patch in degraded pixels.
    """

    batch: int
    patch: int

    @property
    def group(self) -> int:
        """Return how many samples are degraded together, with one generator.

        It follows from the whole batch alone, so that 1, 2, 4 or 8 processes draw the same random numbers.
        """
        return self.batch // GROUPS_MOST if self.batch % GROUPS_MOST == 0 else 1


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Hold the samples of one process at one step.

    Attributes:
        shape: Size of the whole batch.
        degraded: float32 (n, C, patch, patch).
        clean: float32 (n, C, scale * patch, scale * patch) in [0, 1].
        level: (n,) standard deviation of each sample's noise, negative where it is unknown; None for a network that
            takes none.
    """

    shape: BatchShape
    degraded: torch.Tensor
    clean: torch.Tensor
    level: torch.Tensor | None = None


class BatchMaker:
    """Make the batch of any step.

    Args:
        store: The images.
        sampler: Where to cut.
        task: Whose degradation is applied to images that carry no degraded partner.
        options: What the degradation does.
        levels: Measure the noise of each sample, for a network that takes it.
        device: Where batches are wanted.
        rank: Number of this process.
        processes: How many processes share a batch.
    """

    def __init__(
        self,
        store: ImageStore,
        sampler: CropSampler,
        task: Task,
        options: DegradeOptions,
        *,
        levels: bool = False,
        device: torch.device,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.store = store
        self.sampler = sampler
        self.task = task
        self.options = options
        self.measure = task.degrade_and_measure if levels else None
        self.device = device
        self.rank = rank
        self.processes = processes

    def make(self, step: int, shape: BatchShape) -> Batch:
        """Make this process's share of the batch of `step`."""
        share = shape.batch // self.processes
        first = self.rank * share
        cleans: list[Uint8Image] = []
        inputs: list[Uint8Image] = []
        for index in range(first, first + share):
            crop = self.sampler.draw(step, index, shape.patch)
            clean, degraded = cut(self.store.get(crop.image), crop, shape.patch, self.options.scale)
            cleans.append(clean)
            if degraded is not None:
                inputs.append(degraded)
        clean_batch = self._to_device(cleans)
        if inputs:
            return Batch(shape=shape, degraded=self._to_device(inputs), clean=clean_batch)
        degraded_batch, level = self._degrade(clean_batch, step, first, shape.group)
        return Batch(shape=shape, degraded=degraded_batch, clean=clean_batch, level=level)

    def _to_device(self, images: list[Uint8Image]) -> torch.Tensor:
        stacked = torch.from_numpy(np.stack(images))
        if self.device.type == "cuda":
            stacked = stacked.pin_memory()
        moved = stacked.to(self.device, non_blocking=True).permute(0, 3, 1, 2)  # channels last in memory
        return moved.to(torch.float32) / 255.0

    def _degrade(
        self, clean: torch.Tensor, step: int, first: int, group: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        generator = torch.Generator(device=self.device)
        parts: list[torch.Tensor] = []
        levels: list[torch.Tensor] = []
        for start in range(0, clean.shape[0], group):
            generator.manual_seed(degradation_seed(self.sampler.seed, step, (first + start) // group))
            images = clean[start : start + group].contiguous()
            if self.measure is None:
                parts.append(self.task.degrade(images, self.options, generator))
            else:
                degraded, level = self.measure(images, self.options, generator)
                parts.append(degraded)
                levels.append(level)
        degraded = torch.cat(parts).contiguous(memory_format=torch.channels_last)
        return degraded, torch.cat(levels) if levels else None


class Prefetcher:
    """Make the batches of consecutive steps in a thread, a few ahead; a context manager.

    Args:
        make: Makes the batch of a step; called in the thread only.
        first: The first step.
    """

    def __init__(self, make: Callable[[int], Batch], first: int) -> None:
        self._make = make
        self._first = first
        self._ready: queue.Queue[Batch | Exception] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def next(self) -> Batch:
        """Return the batch of the next step; what went wrong in the thread is raised here."""
        item = self._ready.get()
        if isinstance(item, Exception):
            raise item
        return item

    def _work(self) -> None:
        try:
            for step in itertools.count(self._first):
                if not self._offer(self._make(step)):
                    return
        except Exception as error:  # noqa: BLE001 - handed over to the thread that waits, whatever it is
            self._offer(error)

    def _offer(self, item: Batch | Exception) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
