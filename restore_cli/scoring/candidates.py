"""What is compared: weights of the manifest or of one's own, side by side, above a floor that needs none.

Stages 2 and 5 of scoring. `choose_weights` settles which weights are meant before anything heavy is loaded, as far as
names tell; `load_candidate` builds the network. A candidate turns an image into an image, so that gray images meet
RGB networks here exactly as they do when users restore them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from restore_cli.errors import UsageError
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.resize import matlab_bicubic
from restore_cli.scoring.protocol import Protocol
from restore_cli.scoring.report import CandidateFacts
from restore_cli.settings import RunSettings
from restore_cli.weights.manifest import Manifest, WeightsEntry
from restore_cli.weights.store import Progress

_FLOOR_LABELS = ("bicubic", "identity")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to restore.

    Attributes:
        facts: What it is, for reports.
        restore: Degraded image to restored one, `scale` times as large; values may leave [0, 1].
    """

    facts: CandidateFacts
    restore: Callable[[DecodedImage], DecodedImage]


@dataclass(frozen=True, kw_only=True)
class ChosenWeights:
    """Weights to compare: their entry, and a file that takes the place of the entry's own, if any."""

    entry: WeightsEntry
    path: Path | None = None
    label: str


def floor_candidate(protocol: Protocol) -> Candidate:
    """Return what every network must beat: MATLAB's bicubic for super-resolution, the input itself elsewhere."""
    bicubic, identity = _FLOOR_LABELS
    if protocol.scale == 1:
        return Candidate(facts=CandidateFacts(label=identity, floor=True), restore=lambda degraded: degraded)

    def enlarge(degraded: DecodedImage) -> DecodedImage:
        height, width = protocol.scale * degraded.height, protocol.scale * degraded.width
        return replace(degraded, pixels=matlab_bicubic(degraded.pixels, height, width))

    return Candidate(facts=CandidateFacts(label=bicubic, floor=True), restore=enlarge)


def choose_weights(
    models: Sequence[str], files: Sequence[str], protocol: Protocol, manifest: Manifest
) -> tuple[ChosenWeights, ...]:
    """Settle which weights are meant; the bundled ones of the task where none are named.

    Args:
        models: -m names or full ids.
        files: Weights files, "FILE" or "NAME=FILE" where the file does not say of which network it is.
        protocol: What they are to do.
        manifest: What there is.

    Raises:
        UsageError: If a name is unknown, a file is missing or of no known network, or weights are for another task.
        WeightsError: If nothing is bundled for the task and none are named, or a file is no weights file.
    """
    chosen = [_listed(model, protocol, manifest) for model in models]
    chosen += [_own_file(file, protocol, manifest) for file in files]
    chosen = chosen or [_listed(None, protocol, manifest)]
    distinct = {(weights.entry.id, weights.path): weights for weights in chosen}
    return _with_distinct_labels(distinct.values())


def load_candidate(
    chosen: ChosenWeights, settings: RunSettings, *, channels: int, offline: bool, progress: Progress | None
) -> Candidate:
    """Load weights and make them ready to restore.

    Args:
        chosen: Which.
        settings: How to run them.
        channels: Channels of the images to come.
        offline: Never touch the network.
        progress: Called with how far a download is.

    Raises:
        WeightsError: If they are missing, unreachable, damaged or do not fit their network.
        UsageError: If the settings contradict themselves or the network.
        DeviceError: If the device is not there.
    """
    from restore_cli.inference.restorer import Restorer
    from restore_cli.weights.load import load_weights

    weights = load_weights(chosen.entry, chosen.path, offline=offline, progress=progress)
    restorer = Restorer(weights, settings)
    run = restorer.describe()
    facts = CandidateFacts(
        label=chosen.label,
        weights=chosen.entry.id,
        digest=weights.digest,
        run={
            "device": run.device,
            "dtype": run.dtype,
            "tile": run.tile,
            "context": run.context,
            "pad": settings.pad,
            "tta": settings.tta,
        },
        # A gray image through an RGB network was not what the numbers of that network were taken on.
        reported=chosen.entry.scores if chosen.entry.channels == channels else (),
        notes=weights.notes if restorer.note is None else (*weights.notes, restorer.note),
    )
    return Candidate(facts=facts, restore=restorer.restore_image)


def _listed(model: str | None, protocol: Protocol, manifest: Manifest) -> ChosenWeights:
    # A full id may be of another form of the task: sr beside sr --photo on the same images.
    for entry in manifest.entries:
        if entry.id == model and (entry.task, entry.scale) == (protocol.task, protocol.scale):
            _refuse_other_purpose(entry, protocol, model)
            return ChosenWeights(entry=entry, label=entry.id)
    entry = manifest.select(
        model,
        task=protocol.task,
        scale=protocol.scale,
        channels=protocol.channels,
        sigma=protocol.sigma,
        variant=protocol.variant,
    )
    return ChosenWeights(entry=entry, label=entry.id)


def _own_file(text: str, protocol: Protocol, manifest: Manifest) -> ChosenWeights:
    """Find out of which network a file is: from NAME=, its own header, its published name, or its tensors."""
    from restore_cli.weights.file import entry_from_file
    from restore_cli.weights.foreign import entry_of

    model, equals, rest = text.partition("=")
    if equals and not Path(text).exists():
        entry = replace(_listed(model, protocol, manifest).entry, scores=())  # they belong to the listed file
        return ChosenWeights(entry=entry, path=_existing(rest), label=Path(rest).stem)
    path = _existing(text)
    known = entry_from_file(path) or next((entry for entry in manifest.entries if entry.file == path.name), None)
    if known is None:
        try:
            known = entry_of(path, task=protocol.task)
        except UsageError as error:  # which names an option of other commands
            raise UsageError(
                error.message, hint=f"write --weights NAME={path} if it is of a network we list"
            ) from error
    _refuse_other_purpose(known, protocol, path)
    return ChosenWeights(entry=known, path=path, label=path.stem)


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"--weights {path}: no such file")
    return path


def _refuse_other_purpose(entry: WeightsEntry, protocol: Protocol, name: Path | str) -> None:
    same = (entry.task, entry.scale) == (protocol.task, protocol.scale) and entry.channels >= protocol.channels
    if not same:
        factor = f" x{entry.scale}" if entry.scale > 1 else ""
        gray = " gray" if entry.channels == 1 else ""
        raise UsageError(f"{name} is for {entry.task}{factor}{gray}, not for {protocol.subject}")


def _with_distinct_labels(chosen: Iterable[ChosenWeights]) -> tuple[ChosenWeights, ...]:
    """Number labels from their second use on: two files may have one name in two folders, or be called as the floor."""
    taken = set(_FLOOR_LABELS)
    labelled = []
    for weights in chosen:
        label, number = weights.label, 1
        while label in taken:
            number += 1
            label = f"{weights.label}-{number}"
        taken.add(label)
        labelled.append(replace(weights, label=label))
    return tuple(labelled)
