"""One process or several that train one network together (torchrun).

torchrun tells each process its number through the environment; nothing else is needed, and without it a process is
alone. Processes share a batch, so that their number changes the speed and not the result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from restore_cli.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Say which of how many processes this one is.

    Attributes:
        rank: Number of this process over all machines, 0 leads: it validates, writes and speaks.
        local_rank: Its number on this machine, which chooses its GPU.
        count: How many there are.
    """

    rank: int = 0
    local_rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Return whether this process is the one that validates, writes and speaks."""
        return self.rank == 0

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Return the mean of a tensor over all processes."""
        if self.count > 1:
            distributed.all_reduce(value)
            value = value / self.count
        return value

    def agree(self, values: list[float], device: torch.device) -> list[float]:
        """Return the leading process's numbers to all."""
        if self.count == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.broadcast(shared, src=0)
        return [float(value) for value in shared.tolist()]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()


def processes_from_environment() -> Processes:
    """Read what torchrun says about this process.

    Raises:
        TrainingError: If it says half of it.
    """
    if "WORLD_SIZE" not in os.environ:
        return Processes()
    try:
        return Processes(
            rank=int(os.environ["RANK"]),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            count=int(os.environ["WORLD_SIZE"]),
        )
    except (KeyError, ValueError) as error:
        raise TrainingError(
            f"the environment sets WORLD_SIZE but no usable {error}", hint="start several processes with torchrun"
        ) from error


@contextmanager
def joined(processes: Processes, device: torch.device) -> Iterator[None]:
    """Join the group of processes while inside; alone there is nothing to join."""
    if processes.count == 1:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()
