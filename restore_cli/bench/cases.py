"""What is measured: networks of the manifest, crossed with sizes, batches, dtypes and thread counts.

A case is one row of the report. It carries all that a fresh process needs to build the network (architecture and
configuration), so nothing but this small object crosses over. No weights: they are random, which changes no count and
no time. Loads no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from restore_cli.errors import UsageError
from restore_cli.weights.fields import did_you_mean
from restore_cli.weights.manifest import Manifest, WeightsEntry

Size = tuple[int, int]

PAPER_SIZE: Size = (720, 1280)
"""(height, width) of the output for which papers state their Mult-Adds."""


@dataclass(frozen=True, kw_only=True)
class BenchWishes:
    """Say what is to be varied and how long it may take.

    Attributes:
        sizes: (height, width) of the output.
        batches: Images a run.
        dtypes: "auto", "float32", "bfloat16" or "float16".
        threads: CPU threads of one operation; None leaves torch's choice.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        compile: Run through torch.compile, its time told apart.
        runs: Timed runs; None takes as many as fit `seconds`, three even if they take three times that; 0 counts only.
        warmup: Runs before them that are not timed, at least one; None takes as many as fill a second.
        seconds: How long the timed runs of a row may take where `runs` is None.
    """

    sizes: tuple[Size, ...] = (PAPER_SIZE,)
    batches: tuple[int, ...] = (1,)
    dtypes: tuple[str, ...] = ("auto",)
    threads: tuple[int | None, ...] = (None,)
    device: str = "auto"
    compile: bool = False
    runs: int | None = None
    warmup: int | None = None
    seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network under one set of conditions.

    Attributes:
        id: Id of the manifest entry whose network this is.
        model: Name of the model (`--model`).
        task: Name of the task.
        scale: Factor from input to output size.
        arch: File in models/.
        config: JSON of the network's configuration.
        size: (height, width) wanted of the output; what comes out is `scale` times a whole number of input pixels.
        batch: Images a run.
        dtype: As in `BenchWishes`.
        threads: As in `BenchWishes`.
    """

    id: str
    model: str
    task: str
    scale: int
    arch: str
    config: dict[str, Any]
    size: Size = PAPER_SIZE
    batch: int = 1
    dtype: str = "auto"
    threads: int | None = None


def select_entries(manifest: Manifest, names: Iterable[str]) -> tuple[WeightsEntry, ...]:
    """Find the manifest entries that models or full ids name, in the order asked for, each once.

    Raises:
        UsageError: If a name is neither a model nor an id; the known models and the nearest name are in the message.
    """
    found: dict[str, WeightsEntry] = {}
    for name in names:
        entries = [entry for entry in manifest.entries if name in (entry.model, entry.id)]
        if not entries:
            ids = [entry.id for entry in manifest.entries]
            nearest = did_you_mean(name, manifest.models) or did_you_mean(name, ids)
            known = ", ".join(manifest.models)
            raise UsageError(f"unknown model {name!r}{nearest} (known: {known}, or an id of `restore models list`)")
        found |= {entry.id: entry for entry in entries}
    return tuple(found.values())


def cases_of(entries: Iterable[WeightsEntry], wishes: BenchWishes) -> tuple[Case, ...]:
    """Cross every entry with every condition; the conditions of one network stay together.

    Raises:
        UsageError: If a size is smaller than one input pixel of a network.
    """
    conditions = list(itertools.product(wishes.sizes, wishes.batches, wishes.dtypes, wishes.threads))
    cases = []
    for entry in entries:
        for size, batch, dtype, threads in conditions:
            if min(size) < entry.scale:
                msg = f"--size {size[1]}x{size[0]} is less than one input pixel at scale {entry.scale} ({entry.id})"
                raise UsageError(msg)
            cases.append(
                Case(
                    id=entry.id,
                    model=entry.model,
                    task=entry.task,
                    scale=entry.scale,
                    arch=entry.arch,
                    config=dict(entry.config),
                    size=size,
                    batch=batch,
                    dtype=dtype,
                    threads=threads,
                )
            )
    return tuple(cases)
