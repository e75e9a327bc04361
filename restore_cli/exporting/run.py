"""Export weights: `restore_cli.export`, which `restore export` calls.

Stage 5, RUN: load, make the file, check it, and only then give it its name. It is made and checked in memory, so that
what is refused leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from restore_cli.errors import UsageError, WeightsError
from restore_cli.exporting.program import Doing, Run, inputs_of, program_file
from restore_cli.exporting.request import LARGEST_DIFFERENCE, Check, Exported, Form, StoredAs
from restore_cli.exporting.weights import entry_of_copy, smaller_file
from restore_cli.models import OTHERS, get_architecture
from restore_cli.storage.files import replacing
from restore_cli.tasks import task_names
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


def export(
    name: str | os.PathLike[str],
    form: Form,
    *,
    dtype: StoredAs = "float32",
    task: str | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    check: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
    doing: Doing | None = None,
) -> Exported:
    """Write weights as a smaller file, or as a program that runs without this package.

    Args:
        name: Weights id, name of a model that has one, or a file of weights.
        form: "safetensors", which `load_restorer` and `--weights` take, or a program for images of any size: "pt2" of
            torch.export, or "onnx", which needs the extra. `exporting.program` says what a program takes.
        dtype: How a safetensors file stores its numbers: "float32", "float16", or "int8" with a scale for each output
            channel.
        task: Command name of what a file of others is for, where its network keeps an image's size and does not tell.
        output: Where to write; None for the id and what ends such files, in the current folder.
        overwrite: Replace what is there.
        check: Run a safetensors file beside the network at three sizes, and refuse it where it differs by more than
            1e-4 of white; programs always are.
        offline: Never touch the network.
        progress: Called with how far a download is.
        doing: Called with what is being done, in a few words, whenever that changes: a program takes a while.

    Returns:
        The file, the entry inside it, and how far its pixels are from the network's.

    Raises:
        UsageError: If the id is unknown, the file says not what it is or is for another task, the output exists or is
            named wrongly, or an extra is missing.
        WeightsError: If the weights cannot be had or exported, or what was made gives other pixels than the network.
        StorageError: If the file cannot be written.

    Example:
        >>> import os, tempfile
        >>> from restore_cli import export
        >>> path = os.path.join(tempfile.mkdtemp(), "lite.safetensors")
        >>> export("ramit-lite-sr-x2", "safetensors", dtype="int8", output=path).entry.made_from is not None
        True
    """
    for what, given, known in (
        ("form", form, _ENDINGS),
        ("dtype", dtype, get_args(StoredAs)),
        ("task", task, task_names()),
    ):
        if given is not None and given not in known:
            raise UsageError(f"unknown {what} {given!r}", hint=f"use {', '.join(known)}")
    if form != "safetensors" and dtype != "float32":
        raise UsageError("a program holds its numbers in float32", hint="leave --dtype out")
    entry, own_file = _entry_and_file(os.fspath(name), task)
    stem = entry.id if dtype == "float32" else f"{entry.id}-{dtype}"
    path = Path(f"{stem}{_ENDINGS[form]}" if output is None else output)
    _require_place(path, _ENDINGS[form], overwrite=overwrite)
    say = doing or (lambda _: None)
    weights = load_weights(entry, own_file, offline=offline, progress=progress)
    if weights.entry.arch == OTHERS:
        raise UsageError(f"{weights.path} is of a network that only spandrel builds, which is not exported")
    if form != "safetensors":
        copied = carried_entry(replace(weights.entry, made_from=weights.digest))
        data, program = program_file(weights, copied, form, say)
        say(f"checking {entry.id}")
        checks = _checked(weights, _network_run(weights.network), program)
    else:
        copied = entry_of_copy(weights, dtype, path.name)
        data = smaller_file(weights, copied, dtype)
        read_back = _network_run(load_content(copied, Content(path=path, data=data)).network)
        checks = _checked(weights, read_back, read_back) if check else ()
    with replacing(path) as file:
        file.write(data)
    copied = replace(copied, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return Exported(path=path, entry=copied, checks=checks)


def _entry_and_file(name: str, task: str | None) -> tuple[WeightsEntry, Path | None]:
    """Return the manifest's entry of an id or model, or a file of the user's own and what it is."""
    path = Path(name)
    is_file = path.suffix.lower() in _WEIGHTS_ENDINGS
    entry = entry_of(path, task=task) if is_file else load_manifest().find(name)
    if task not in (None, entry.task):
        raise UsageError(f"{name} is for {entry.task}, not for {task}", hint="correct --task or leave it out")
    return entry, path if is_file else None


def _require_place(path: Path, ending: str, *, overwrite: bool) -> None:
    """Refuse a place for the file.

    Raises:
        UsageError: If something is there already, or its name is none that a manifest could hold.
    """
    if re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._-]*\{ending}", path.name) is None:
        hint = f"end it in {ending} and use letters, digits, '.', '_' and '-'"
        raise UsageError(f"{path.name} is no name for such a file", hint=hint)
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already", hint="name another file with --output, or say --existing overwrite")


def _network_run(network: nn.Module) -> Run:
    """Return what runs a network on the inputs of its program."""
    return lambda inputs: network(*inputs.values())


def _checked(weights: LoadedWeights, reference: Run, run: Run) -> tuple[Check, ...]:
    """Run what was made beside the network at three sizes.

    Args:
        weights: What it was made of.
        reference: Runs the network with the numbers that the file holds.
        run: Runs what was made.

    Raises:
        WeightsError: If the file gives other pixels.
    """
    arch = get_architecture(weights.entry.arch)
    unit = arch.exported_unit_of(weights.config)
    unit *= -(-_LEAST_SIDE // unit)
    generator = torch.Generator().manual_seed(0)
    checks = []
    for rows, columns in _CHECKED_UNITS:
        size = (rows * unit, columns * unit)
        image = torch.rand((1, arch.channels_in(weights.config), *size), generator=generator)
        with torch.inference_mode():
            inputs = inputs_of(weights, image)
            made = run(inputs)
            difference = _difference(made, reference(inputs))
            change = _difference(made, _network_run(weights.network)(inputs))
        if not difference <= LARGEST_DIFFERENCE:  # true for NaN too
            msg = f"what was exported of {weights.entry.id} differs from it by {difference:.2g} at {size[0]}x{size[1]}"
            raise WeightsError(msg, hint=f"nothing was written: more than {LARGEST_DIFFERENCE:g} of white is no copy")
        checks.append(Check(size=size, difference=difference, change=change))
    return tuple(checks)


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
