"""Export weights: load them, make the file, check it, and only then give it its name.

Stage 5, RUN, of `restore export`; a program calls `export_weights`. The file is made and checked in memory, so that
what is refused leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from restore_cli.errors import UsageError, WeightsError
from restore_cli.export.program import program_file
from restore_cli.export.request import LARGEST_DIFFERENCE, Check, Exported, ExportRequest
from restore_cli.export.weights import entry_of_copy, smaller_file
from restore_cli.models import OTHERS, get_architecture
from restore_cli.storage.files import replacing
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.file import Content
from restore_cli.weights.foreign import entry_of
from restore_cli.weights.load import LoadedWeights, carried_entry, load_content, load_weights
from restore_cli.weights.manifest import load_manifest
from restore_cli.weights.store import Progress

_ENDINGS = {"safetensors": ".safetensors", "pt2": ".pt2", "onnx": ".onnx"}
_WEIGHTS_ENDINGS = {".safetensors", ".pth", ".pt"}
# In units of what sizes must be multiples of: square, wide, high, none like another.
_CHECKED_UNITS = ((2, 2), (3, 5), (6, 3))
_LEAST_SIDE = 16

Run = Callable[[Tensor], Tensor]


def export_weights(request: ExportRequest, *, progress: Progress | None = None) -> Exported:
    """Export weights.

    Args:
        request: What, and how.
        progress: Called with how far a download is.

    Raises:
        UsageError: If the id is unknown, the file says not what it is, or the output exists or is named wrongly.
        WeightsError: If the weights cannot be had or exported, or what was made gives other pixels than the network.
        StorageError: If the file cannot be written.

    Example:
        >>> import os, tempfile
        >>> from restore_cli.export.request import ExportRequest
        >>> from restore_cli.export.run import export_weights
        >>> path = Path(tempfile.mkdtemp()) / "lite.safetensors"
        >>> made = export_weights(ExportRequest(name="ramit-lite-sr-x2", form="safetensors", dtype="int8", output=path))
        >>> made.entry.bytes == path.stat().st_size
        True
    """
    if request.form != "safetensors" and request.dtype != "float32":
        raise UsageError("a program holds its numbers in float32", hint="leave --dtype out")
    entry, own_file = _entry_and_file(request.name)
    path = _place(request, entry.id)
    weights = load_weights(entry, own_file, offline=request.offline, progress=progress)
    if weights.entry.arch == OTHERS:
        raise UsageError(f"{weights.path} is of a network that only spandrel builds, which is not exported")
    if request.form != "safetensors":
        copied = carried_entry(replace(weights.entry, made_from=weights.digest))
        data, program = program_file(weights, copied, request.form)
        checks = _checked(weights, weights.network, program)
    else:
        copied = entry_of_copy(weights, request.dtype, path.name)
        data = smaller_file(weights, copied, request.dtype)
        read_back = load_content(copied, Content(path=path, data=data))
        checks = _checked(weights, read_back.network, read_back.network) if request.check else ()
    with replacing(path) as file:
        file.write(data)
    copied = replace(copied, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return Exported(path=path, entry=copied, checks=checks)


def _entry_and_file(name: str) -> tuple[WeightsEntry, Path | None]:
    """Return the manifest's entry of an id or model, or a file of the user's own and what it is."""
    path = Path(name)
    if path.suffix.lower() not in _WEIGHTS_ENDINGS:
        return load_manifest().find(name), None
    return entry_of(path), path


def _place(request: ExportRequest, weights_id: str) -> Path:
    """Return where the file goes.

    Raises:
        UsageError: If something is there already, or its name is none that a manifest could hold.
    """
    ending = _ENDINGS[request.form]
    stem = weights_id if request.dtype == "float32" else f"{weights_id}-{request.dtype}"
    path = request.output or Path(f"{stem}{ending}")
    if re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._-]*\{ending}", path.name) is None:
        hint = f"end it in {ending} and use letters, digits, '.', '_' and '-'"
        raise UsageError(f"{path.name} is no name for such a file", hint=hint)
    if path.exists() and not request.overwrite:
        raise UsageError(f"{path} exists already", hint="name another file with --output, or say --existing overwrite")
    return path


def _checked(weights: LoadedWeights, reference: nn.Module, run: Run) -> tuple[Check, ...]:
    """Run what was made beside the network at three sizes.

    Args:
        weights: What it was made of.
        reference: The network with the numbers that the file holds.
        run: Takes what the network takes, returns what the file makes of it.

    Raises:
        WeightsError: If the file gives other pixels.
    """
    arch = get_architecture(weights.entry.arch).of(weights.config)
    unit = arch.multiple_of * -(-_LEAST_SIDE // arch.multiple_of)
    generator = torch.Generator().manual_seed(0)
    checks = []
    for rows, columns in _CHECKED_UNITS:
        size = (rows * unit, columns * unit)
        image = torch.rand((1, arch.channels_in(weights.config), *size), generator=generator)
        with torch.inference_mode():
            made = run(image)
            difference = _difference(made, reference(image))
            check = Check(size=size, difference=difference, change=_difference(made, weights.network(image)))
        if not difference <= LARGEST_DIFFERENCE:  # true for NaN too
            msg = f"what was exported of {weights.entry.id} differs from it by {difference:.2g} at {size[0]}x{size[1]}"
            raise WeightsError(msg, hint=f"nothing was written: more than {LARGEST_DIFFERENCE:g} of white is no copy")
        checks.append(check)
    return tuple(checks)


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
