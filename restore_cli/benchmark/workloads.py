"""What is run and timed: a network alone, or an image through the engine around it.

The network alone gets its input padded and on the device, as papers measure. The engine gets an image in memory and
gives one back, as the restoring commands do: padding, layout, tiles, the way to the device and back are all in it. Both
have random weights, and nothing is read from a disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from restore_cli.benchmark.cases import BenchSettings, Case, Size
from restore_cli.benchmark.counts import build_network, geometry_of
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.inference.device import choose_device, choose_dtype, keep_float32_exact
from restore_cli.inference.restorer import Restorer
from restore_cli.models import get_architecture
from restore_cli.weights.load import LoadedWeights

SEED = 0


@dataclass(frozen=True, kw_only=True)
class WorkloadFacts:
    """Say how it was run.

    Attributes:
        dtype: Name of the dtype it ran in.
        dtype_reason: Why that one.
        tile: Side of the tiles in input pixels, "off" for the whole image; None for the network alone.
        context: Where channel attention took its statistics; None for the network alone.
        notes: What a user would have been told.
    """

    dtype: str
    dtype_reason: str
    tile: str | None = None
    context: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Something to run again and again.

    Attributes:
        run: One run.
        synchronize: Waits until the device is idle.
        device: Where it runs.
        dtype: What its products are in.
        compiled: Whether the first run compiles.
        describe: Says how it was run, once it was.
    """

    run: Callable[[], object]
    synchronize: Callable[[], None]
    device: torch.device
    dtype: torch.dtype
    compiled: bool
    describe: Callable[[], WorkloadFacts]


def prepare(case: Case, settings: BenchSettings) -> Workload:
    """Build what a case asks for, with random weights.

    Raises:
        UsageError: If device, dtype, tile or context are not known.
        DeviceError: If the device is not there.
    """
    if case.threads is not None:
        torch.set_num_threads(case.threads)
    torch.manual_seed(SEED)
    network = build_network(case.entry.arch, case.entry.config, case.file)
    return _engine(case, settings, network) if case.scope == "engine" else _network(case, settings, network)


def _network(case: Case, settings: BenchSettings, network: nn.Module) -> Workload:
    arch = get_architecture(case.entry.arch)
    device = choose_device(settings.device).device
    choice = choose_dtype(case.dtype, device, arch.dtypes)
    keep_float32_exact(device)
    network.to(device)
    if settings.compile:
        network.compile(dynamic=False)
    config = arch.config.from_json(case.entry.config)
    padded = geometry_of(case.size, scale=case.entry.scale, multiple_of=arch.of(config).multiple_of).padded
    channels = arch.channels_in(config)
    image = torch.rand((case.batch, channels, *padded)).to(device)
    mixed = choice.dtype != torch.float32

    def run() -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, dtype=choice.dtype, enabled=mixed):
            output: Tensor = network(image) if settings.compile else arch.run(network, image)
        return output

    return Workload(
        run=run,
        synchronize=partial(_synchronize, device),
        device=device,
        dtype=choice.dtype,
        compiled=settings.compile,
        describe=lambda: WorkloadFacts(dtype=choice.name, dtype_reason=choice.reason),
    )


def _engine(case: Case, settings: BenchSettings, network: nn.Module) -> Workload:
    entry = case.entry
    arch = get_architecture(entry.arch)
    config = arch.config.from_json(entry.config)
    weights = LoadedWeights(entry=entry, config=config, network=network, digest="random", path=Path(entry.file))
    restorer = Restorer(weights, case.run_settings(settings))
    notes: dict[str, None] = {}

    def image_of(size: Size) -> DecodedImage:
        height, width = geometry_of(size, scale=entry.scale, multiple_of=1).input
        random = np.random.default_rng(SEED)
        views = [random.random((height, width, entry.channels), dtype=np.float32) for _ in range(arch.views_of(config))]
        return DecodedImage(pixels=views[0], right=views[1] if len(views) > 1 else None)

    def restoring(image: DecodedImage) -> Callable[[], object]:
        return lambda: notes.update(dict.fromkeys(restorer.restore_image(image).warnings))

    image = image_of(case.size)

    def describe() -> WorkloadFacts:
        facts = restorer.describe(image.pixels.shape[:2])
        return WorkloadFacts(
            dtype=facts.dtype,
            dtype_reason=facts.reason,
            tile=facts.tile,
            context=facts.context,
            notes=tuple(notes),
        )

    facts = restorer.describe()
    return Workload(
        run=restoring(image),
        synchronize=lambda: None,  # an image is back in memory before it is returned
        device=torch.device(facts.device),
        dtype=choose_dtype(facts.dtype, torch.device(facts.device), ()).dtype,
        compiled=settings.compile,
        describe=describe,
    )


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
