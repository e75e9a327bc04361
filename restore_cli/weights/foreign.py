"""What a weights file is of which nobody says it: recognised by the names and shapes of its tensors.

Stage 2, PLAN, between `file` (which judges the bytes) and `load` (which builds the network). Networks, scales and sizes
follow from the tensors; what a network of one size was trained to do does not, and there the command's word counts. The
entry made here says so: its licence and origin are unknown. Loading still compares every tensor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from restore_cli.errors import UsageError, WeightsError
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.file import Content, entry_in, read_content, recognise, require_sane
from restore_cli.weights.manifest import load_manifest

if TYPE_CHECKING:
    from torch import Tensor

    from restore_cli.models import Arch, Config

UNKNOWN = "unknown"

_USUAL_PATCH = 64
_LARGEST_SIGMA = 50.0  # of the levels that published denoisers which are told one were trained for
_SHOWN_NAMES = 3


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """A network that was found from a file's tensors.

    Attributes:
        arch: Its architecture.
        config: Its configuration.
        task: Command name of what it is for, None where its form leaves that open.
        tensors: How many tensors the file holds.
        numbers: How many numbers they hold together.
        dtypes: Of what kind these are.
    """

    arch: Arch
    config: Config
    task: str | None
    tensors: int
    numbers: int
    dtypes: tuple[str, ...]

    @property
    def network(self) -> str:
        """Return the network's name as people write it."""
        from restore_cli.models import network_name

        return str(getattr(self.config, "network", network_name(self.arch)))


def entry_of(path: Path, *, task: str | None = None) -> WeightsEntry:
    """Return the entry that a weights file carries, the listed one of its bytes, or one made of what its tensors tell.

    Args:
        path: The file.
        task: Command name of what it is used for, which counts where the file does not tell; None where nobody says it.

    Raises:
        UsageError: If no known network has such tensors, or what it is for is open.
        WeightsError: If the file cannot be read, or is no weights file.
    """
    content = read_content(path)
    stated = entry_in(content, recognise(content))
    return stated or entry_of_foreign(content, task=task)


def entry_of_foreign(content: Content, *, task: str | None = None) -> WeightsEntry:
    """Return the entry of a file that carries none; arguments and errors as in `entry_of`."""
    listed = _listed(content, task)
    if listed is not None:
        return listed
    found = recognised(content, task=task)
    if found is None:
        _refuse(content)
    purpose = found.task or task
    if purpose is None:
        msg = f"{content.path} is of {found.network}, which keeps an image's size, and does not say what it is for"
        raise UsageError(msg, hint="say it with --task, such as --task deblur (task= in Python)")
    if purpose == "sr" and found.config.scale == 1:
        msg = f"{content.path} is of {found.network} and keeps an image's size, so it is not for sr"
        raise UsageError(msg, hint="use it with the command it was trained for, such as denoise or dejpeg")
    name = name_of(content.path) or found.arch.name.replace("_", "-")
    return WeightsEntry(
        id=name,
        model=name,
        arch=found.arch.name,
        config=found.config.to_json(),
        task=purpose,
        scale=found.config.scale,
        channels=found.config.channels,
        sigma_range=(0.0, _LARGEST_SIGMA) if found.arch.takes_level and purpose == "denoise" else None,
        training_patch=_USUAL_PATCH,
        file=f"{name}.safetensors" if recognise(content) == "safetensors" else f"{name}.pth",
        bytes=len(content.data),
        sha256=content.sha256,
        licence=UNKNOWN,
        origin=UNKNOWN,
        citation=found.arch.paper,
    )


def recognised(content: Content, *, task: str | None = None) -> Recognised | None:
    """Find the network that the tensors of a file are of, None where none is known.

    Raises:
        WeightsError: If the file is damaged, holds other things than tensors, or claims more than it has.
    """
    from restore_cli.models import recognise as recognise_network

    tensors = _tensors_of(content)
    found = recognise_network({key: tuple(tensor.shape) for key, tensor in tensors.items()}, task)
    found = found or _of_others(tensors, content.path)
    if found is None:
        return None
    arch, config = found
    require_sane(config.to_json(), content.path)
    return Recognised(
        arch=arch,
        config=config,
        task="sr" if config.scale > 1 else arch.task,
        tensors=len(tensors),
        numbers=sum(tensor.numel() for tensor in tensors.values()),
        dtypes=tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})),
    )


def _of_others(tensors: dict[str, Tensor], path: Path) -> tuple[Arch, Config] | None:
    """Return what spandrel finds, None where it is not installed or knows no such network either."""
    from restore_cli.models import OTHERS, get_architecture
    from restore_cli.weights.load import build_from

    arch = get_architecture(OTHERS)
    try:
        network: Any = build_from(arch, tensors)
    except ValueError as error:
        raise WeightsError(f"{path} refused: {error}") from error
    return None if network is None else (arch, network.config)


def _listed(content: Content, task: str | None) -> WeightsEntry | None:
    """Return the manifest's entry whose file has these very bytes, that of the task of several."""
    same = [entry for entry in load_manifest().entries if entry.sha256 == content.sha256]
    return min(same, key=lambda entry: entry.task != task, default=None)


def _tensors_of(content: Content) -> dict[str, Tensor]:
    from restore_cli.weights.load import read_tensors

    tensors = read_tensors(content)
    # Every number takes a byte at least; a tensor that repeats one number could be of any size.
    if sum(tensor.numel() for tensor in tensors.values()) > len(content.data):
        raise WeightsError(f"{content.path} refused: it claims to hold more numbers than it has bytes")
    return tensors


def _refuse(content: Content) -> NoReturn:
    from restore_cli.models import known_networks

    names = list(_tensors_of(content))
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    held = f"its tensors are {', '.join(names[:_SHOWN_NAMES])}{more}" if names else "it holds no tensors"
    msg = f"{content.path} does not say of which network it is, and is of none that is known here: {held}"
    raise UsageError(msg, hint=f"recognised are {known_networks()}; add --model where it is of another one listed")


def name_of(path: Path) -> str:
    """Return a file's name as ids are written; empty where it has no letter or digit of theirs."""
    return as_id(path.stem)


def as_id(text: str) -> str:
    """Return any text as ids are written; empty where it has no letter or digit of theirs."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
