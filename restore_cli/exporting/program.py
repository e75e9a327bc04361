"""A network as a program of torch.export (.pt2) or as .onnx, which run without this package.

Stage 5, RUN, of `restore export`. A program takes `image`, (1, channels, H, W) in [0, 1], with H and W any multiples of
the network's unit. A denoiser's that can be told the level of noise takes `level` too, (1,): the standard deviation on
the scale of the pixels (sigma / 255), negative where it is unknown. Channel attention takes its statistics over the
whole input. The archive or the metadata hold the entry as `entry.json`, with the digest of the weights.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from restore_cli.errors import UsageError, WeightsError
from restore_cli.exporting.request import Form
from restore_cli.models import get_architecture
from restore_cli.weights.entry import WeightsEntry, entry_to_json
from restore_cli.weights.load import LoadedWeights

ENTRY_FILE = "entry.json"

_LARGEST_SIDE = 1 << 14
_TRACED_UNITS = (2, 3)
_LEAST_SIDE = 16
_OPSET = 20
_CHECKED_LEVEL = 25.0 / 255.0

Inputs = Mapping[str, Tensor]
Run = Callable[[Inputs], Tensor]
Doing = Callable[[str], None]


class _Program(nn.Module):
    """Run a network on inputs named as a program's are, and let torch see that sizes are multiples of the unit."""

    def __init__(self, network: nn.Module, unit: int) -> None:
        super().__init__()
        self.network, self.unit = network, unit

    def forward(self, image: Tensor, level: Tensor | None = None) -> Tensor:
        # Cuts nothing off. A size that is only declared to be a multiple is none to torch once the network divides it.
        height, width = (side // self.unit * self.unit for side in image.shape[2:])
        whole = image[:, :, :height, :width]
        restored: Tensor = self.network(whole) if level is None else self.network(whole, level)
        return restored


def inputs_of(weights: LoadedWeights, image: Tensor) -> dict[str, Tensor]:
    """Return what a network's program takes with an image, each under its name."""
    told = get_architecture(weights.entry.arch).takes_level and weights.entry.task == "denoise"
    return {"image": image, "level": torch.full((1,), _CHECKED_LEVEL)} if told else {"image": image}


def program_file(weights: LoadedWeights, entry: WeightsEntry, form: Form, doing: Doing) -> tuple[bytes, Run]:
    """Return the bytes of a .pt2 or .onnx file, and what runs them as a reader of such files does.

    Args:
        weights: The network.
        entry: What the file is to say of itself.
        form: "pt2" or "onnx".
        doing: Called with what is being done, in a few words, whenever that changes.

    Raises:
        UsageError: If the extra is missing.
        WeightsError: If torch cannot follow the network.
    """
    if form == "onnx":
        _require_onnx()
    said = json.dumps(entry_to_json(entry), sort_keys=True)
    try:
        with torch.no_grad():
            doing(f"tracing {weights.entry.id}")
            program = _traced(weights)
            doing(f"translating {weights.entry.id} to {form}")
            return _onnx(program, said) if form == "onnx" else _pt2(program, said)
    except Exception as error:  # torch raises whatever its tracing stumbles over
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"torch.export cannot follow {weights.entry.id}: {first}") from error


def _traced(weights: LoadedWeights) -> ExportedProgram:
    arch = get_architecture(weights.entry.arch)
    unit = arch.exported_unit_of(weights.config)
    rows, columns = (torch.export.Dim(name, min=1, max=_LARGEST_SIDE // unit) for name in ("rows", "columns"))
    height, width = (count * unit * -(-_LEAST_SIDE // unit) for count in _TRACED_UNITS)
    inputs = inputs_of(weights, torch.zeros((1, arch.channels_in(weights.config), height, width)))
    sizes = {"image": {2: unit * rows, 3: unit * columns} if unit > 1 else {2: rows, 3: columns}}
    return torch.export.export(
        _Program(weights.network, unit),
        tuple(inputs.values()),
        dynamic_shapes={name: sizes.get(name) for name in inputs},
        strict=False,
    )


def _pt2(traced: ExportedProgram, said: str) -> tuple[bytes, Run]:
    buffer = io.BytesIO()
    torch.export.save(traced, buffer, extra_files={ENTRY_FILE: said})
    data = buffer.getvalue()
    program = torch.export.load(io.BytesIO(data)).module()
    return data, lambda inputs: program(*inputs.values())


def _require_onnx() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        raise UsageError("writing .onnx needs an extra", hint="pip install 'restore-cli[onnx]'")


def _onnx(program: ExportedProgram, said: str) -> tuple[bytes, Run]:
    """Translate a program; its reader is onnxruntime on the CPU."""
    import onnxruntime

    # That torchvision's operators are missing, and what is left unfolded, concerns nobody.
    for name in ("torch.onnx._internal.exporter._registration", "onnxscript"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch to itself, of what its next release will change
        made = torch.onnx.export(program, dynamo=True, opset_version=_OPSET, verbose=False, optimize=False)
    if made is None:
        raise RuntimeError("no program came of it")
    _shorten(made.model)
    model = made.model_proto
    model.metadata_props.add(key=ENTRY_FILE, value=said)
    data: bytes = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda inputs: torch.from_numpy(session.run(None, {name: x.numpy() for name, x in inputs.items()})[0])


def _shorten(model: Any) -> None:
    """Take out of a translation what is known once and for all or stands in it twice, in place.

    torch's own way to do so (`optimize=True`) tries a hundred rewriting rules on every node besides, which onnxruntime
    does anew when it reads the file.
    """
    import onnx_ir.passes.common as passes
    from onnxscript import optimizer

    passes.InlinePass()(model)
    optimizer.fold_constants(model, onnx_shape_inference=False)
    for step in (
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedOpsetsPass(),
    ):
        step(model)
