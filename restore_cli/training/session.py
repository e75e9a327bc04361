"""From a request to a loop that is ready to run: the one place where the parts of training are put together.

Second stage of training, PLAN: folders become stores, a recipe becomes a network and a timeline, a checkpoint becomes
a state. All that can be refused is refused here, before the first step.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import torch
from torch import nn

from restore_cli.errors import TrainingError, UsageError
from restore_cli.models import Config, get_architecture
from restore_cli.tasks import DegradeOptions, get_task
from restore_cli.training.batches import GROUPS_MOST, BatchMaker
from restore_cli.training.checkpoint import LAST, read_checkpoint
from restore_cli.training.images import (
    MEBIBYTE,
    ImageFile,
    ImageForm,
    ImageStore,
    find_images,
    named,
    pair_images,
)
from restore_cli.training.journal import Interval
from restore_cli.training.loop import Loop, LoopOptions
from restore_cli.training.page import write_page
from restore_cli.training.processes import Processes
from restore_cli.training.recipes import Recipe
from restore_cli.training.request import TrainRequest
from restore_cli.training.run_file import NAME, TrainingFacts, checkout_commit, read_run
from restore_cli.training.sampling import CropSampler
from restore_cli.training.state import TrainingState
from restore_cli.training.timeline import Timeline, timeline_of_epochs, timeline_of_steps
from restore_cli.training.validation import Validation
from restore_cli.training.warm_start import WarmStart, warm_start


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Say where and how fast a training runs; nothing here changes what it comes to, beyond rounding.

    Attributes:
        device: Where the network is.
        processes: Who else trains.
        compile: Run the network's blocks through torch.compile.
        recompute: Run them once more in the backward pass in place of keeping their activations.
        cache_mebibytes: Memory for decoded images.
        readers: Threads that decode images at the start.
    """

    device: torch.device
    processes: Processes
    compile: bool = False
    recompute: bool = False
    cache_mebibytes: int = 2048
    readers: int = 2


@dataclass(frozen=True, kw_only=True)
class Session:
    """A training that is ready to start.

    Attributes:
        request: What was asked for.
        recipe: The recipe with the request's settings in it.
        config: Of the network.
        state: Where training stands.
        maker: Makes batches.
        validation: Scores the network; None where nothing is held out, or on a process that does not lead.
        started_from: What became of the parameters in a warm start, None without one or where the run is resumed.
        facts: What is noted in the run's folder.
        left_out: Why images are not trained on, one sentence each.
    """

    request: TrainRequest
    recipe: Recipe
    config: Config
    state: TrainingState
    maker: BatchMaker
    validation: Validation | None
    started_from: WarmStart | None
    facts: TrainingFacts
    left_out: tuple[str, ...] = ()


def prepare(request: TrainRequest, machine: Machine, folder: Path | None = None) -> Session:
    """Read the images, build the network, lay out the steps.

    Args:
        request: What is asked for.
        machine: Where it runs.
        folder: The run's folder; a network that will be filled from its checkpoint needs no warm start.

    Raises:
        UsageError: If settings contradict each other.
        TrainingError: If images are missing, broken or too small.
    """
    recipe = request.adjusted_recipe()
    task = get_task(recipe.task)
    options = degrade_options(recipe)
    store = _store(request.data, request.degraded, recipe, machine)
    sampler = CropSampler(store.scan(machine.readers), recipe.scale, request.seed)
    _refuse_misfits(recipe, sampler, store, machine.processes)
    torch.manual_seed(request.seed)
    config = recipe.config()
    arch = get_architecture(recipe.network.arch)
    network: nn.Module = arch.build(config)
    started_from = None
    resumed = folder is not None and (folder / LAST).is_file()
    if request.warm_start is not None and not resumed:
        started_from = warm_start(network, request.warm_start, scale=recipe.scale, channels=recipe.channels)
    network = network.to(machine.device).train()
    timeline = lay_timeline(recipe, request, len(store))
    state = TrainingState(network, recipe.optimisation, timeline)
    maker = BatchMaker(
        store,
        sampler,
        task,
        options,
        levels=arch.takes_level,
        device=machine.device,
        rank=machine.processes.rank,
        processes=machine.processes.count,
    )
    validation = held_out(request, recipe, machine)
    facts = TrainingFacts(
        recipe=recipe,
        config=config.to_json(),
        images=len(store),
        data_digest=data_digest(store.files),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        commit=checkout_commit(),
        floor=None if validation is None else validation.baseline(),
    )
    return Session(
        request=request,
        recipe=recipe,
        config=config,
        state=state,
        maker=maker,
        validation=validation,
        started_from=started_from,
        facts=facts,
        left_out=store.left_out,
    )


def make_loop(
    session: Session, machine: Machine, folder: Path, *, on_interval: Callable[[Interval], None], stop: Event
) -> Loop:
    """Return the loop of a session, at the last checkpoint of its folder where there is one.

    Args:
        session: What is trained.
        machine: Where it runs.
        folder: The run's folder; its page is drawn there at each look back.
        on_interval: Shown how it goes, on the leading process.
        stop: Set from outside to save and leave at the next step.

    Raises:
        TrainingError: If the folder holds a run that was begun with something else.
    """
    if (folder / NAME).is_file():
        begun_with, facts = read_run(folder)
        facts.refuse_change(session.facts, folder)
        if begun_with != session.request:
            raise TrainingError(f"{folder} holds a run of another request", hint="begin a new one in another folder")
    if (folder / LAST).is_file():
        session.state.load_dict(read_checkpoint(folder / LAST))
    request = session.request
    options = LoopOptions(
        device=machine.device,
        bf16=request.bf16,
        block=get_architecture(session.recipe.network.arch).block,
        compile=machine.compile,
        recompute=machine.recompute,
        accumulate=request.accumulate,
        log_every=request.log_every,
        validate_every=request.validate_every,
        minutes=request.minutes,
        frozen=session.recipe.frozen,
    )

    def report(interval: Interval) -> None:
        if interval.look_back:
            write_page(folder, request, session.facts, interval.views)
        on_interval(interval)

    return Loop(
        session.state,
        session.maker,
        session.validation,
        machine.processes,
        folder,
        options,
        on_interval=report,
        stop=stop,
    )


def held_out(request: TrainRequest, recipe: Recipe, machine: Machine) -> Validation | None:
    """Return the images to validate on; None where there are none, or on a process that does not lead.

    Raises:
        TrainingError: If they are missing or cannot be read.
    """
    if not request.val or not machine.processes.leads:
        return None
    # A mixture is judged on the usual form of its task, which is what published scores are taken on.
    options = dataclasses.replace(degrade_options(recipe), variant=recipe.served_variant)
    store = _store(request.val, request.val_degraded, recipe, machine)
    arch = get_architecture(recipe.network.arch).of(recipe.config())
    return Validation(store, get_task(recipe.task), options, arch=arch, device=machine.device)


def degrade_options(recipe: Recipe) -> DegradeOptions:
    """Return what a recipe's degradation does."""
    sigma_range = (0.0, 0.0) if recipe.sigma_range is None else recipe.sigma_range
    return DegradeOptions(scale=recipe.scale, sigma_range=sigma_range, variant=recipe.variant)


def lay_timeline(recipe: Recipe, request: TrainRequest, images: int) -> Timeline:
    """Return the steps of a training; under a budget of time they are a first guess."""
    if request.steps is not None:
        return timeline_of_steps(recipe.phases, request.steps)
    if recipe.epochs is not None:
        return timeline_of_epochs(recipe.phases, recipe.epochs, images * recipe.crops)
    if recipe.steps is None:
        raise UsageError(f"recipe {recipe.name} has no length of its own", hint="give --steps or --minutes")
    return timeline_of_steps(recipe.phases, recipe.steps)


def data_digest(files: Sequence[ImageFile]) -> str:
    """Return a digest of the names and sizes of a set of images: enough to tell two sets apart."""
    digest = hashlib.sha256()
    for file in files:
        for path in (file.clean, file.degraded):
            if path is not None:
                digest.update(f"{path.name}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()


def _store(clean: Sequence[str], degraded: Sequence[str], recipe: Recipe, machine: Machine) -> ImageStore:
    images = find_images(Path(folder) for folder in clean)
    if degraded:
        files = pair_images(images, find_images(Path(folder) for folder in degraded), recipe.scale)
    else:
        files = tuple(ImageFile(clean=path) for path in images)
    # The plain degradation of super-resolution draws nothing, so it is made once an image.
    reduce = recipe.task == "sr" and recipe.variant is None and not degraded
    form = ImageForm(channels=recipe.channels, scale=recipe.scale, reduce=reduce)
    return ImageStore(files, form, machine.cache_mebibytes * MEBIBYTE)


def _refuse_misfits(recipe: Recipe, sampler: CropSampler, store: ImageStore, processes: Processes) -> None:
    multiple_of = get_architecture(recipe.network.arch).of(recipe.config()).multiple_of
    for phase in recipe.phases:
        if phase.patch % multiple_of:
            raise UsageError(f"a patch of {phase.patch} is no multiple of {multiple_of}", hint="choose another --patch")
        if phase.batch % processes.count:
            raise UsageError(f"a batch of {phase.batch} cannot be shared by {processes.count} processes")
        grouped = phase.batch % GROUPS_MOST == 0 and phase.batch > GROUPS_MOST
        if grouped and GROUPS_MOST % processes.count:
            raise UsageError(
                f"a batch of {phase.batch} is degraded in {GROUPS_MOST} groups, which {processes.count} processes "
                "cannot share evenly",
                hint=f"start 1, 2, 4 or {GROUPS_MOST} processes",
            )
    largest = max(phase.patch for phase in recipe.phases)
    sizes = zip(store.files, sampler.sizes, strict=True)
    if small := [file.clean for file, size in sizes if min(size) < largest]:
        hint = "remove them" if largest == multiple_of else "remove them, or choose a smaller --patch"
        raise TrainingError(
            f"{len(small)} of {len(store)} images are smaller than the {largest * recipe.scale} pixels a side that "
            f"patches of {largest} need: {named(small)}",
            hint=hint,
        )
