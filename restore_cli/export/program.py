"""A network as a program of torch.export (.pt2) or as .onnx, which run without this package.

Stage 5, RUN, of `restore export`. Height and width stay open, in multiples of the network's unit. A program takes
(1, channels, H, W) in [0, 1] and, of a network that can be told the level of noise, finds that out itself. Its archive
or metadata hold the entry as `entry.json`, with the digest of the weights.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from restore_cli.errors import UsageError, WeightsError
from restore_cli.export.request import Form
from restore_cli.models import get_architecture
from restore_cli.weights.entry import WeightsEntry, entry_to_json
from restore_cli.weights.load import LoadedWeights

ENTRY_FILE = "entry.json"
NETWORKS = ("compact", "fbcnn", "nafnet", "rrdbnet", "span", "unet")
"""Architectures whose arithmetic torch follows for all sizes at once: convolutions, no windows.

DRUNet is none of them, since it must be told the level of noise.
"""

_LARGEST_SIDE = 1 << 14
_TRACED_UNITS = (2, 3)
_LEAST_SIDE = 16
_OPSET = 20

Run = Callable[[Tensor], Tensor]


class _Plain(nn.Module):
    """Take the image alone, under a name that the program's input has."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        restored: Tensor = self.network(image)
        return restored


def program_file(weights: LoadedWeights, entry: WeightsEntry, form: Form) -> tuple[bytes, Run]:
    """Return the bytes of a .pt2 or .onnx file, and what runs them as a reader of such files does.

    Args:
        weights: The network.
        entry: What the file is to say of itself.
        form: "pt2" or "onnx".

    Raises:
        UsageError: If networks of its kind cannot be exported so, or the extra is missing.
        WeightsError: If torch cannot follow this one.
    """
    if entry.arch not in NETWORKS:
        msg = f"{weights.entry.id} is of {entry.arch}, whose sizes torch.export cannot leave open"
        raise UsageError(msg, hint=f"those of {', '.join(NETWORKS)} can be exported; --to safetensors takes every one")
    if form == "onnx":
        _require_onnx()
    said = json.dumps(entry_to_json(entry), sort_keys=True)
    try:
        with torch.no_grad():
            program = _traced(weights)
            return _onnx(program, said) if form == "onnx" else _pt2(program, said)
    except Exception as error:  # torch raises whatever its tracing stumbles over
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"torch.export cannot follow {weights.entry.id}: {first}") from error


def _traced(weights: LoadedWeights) -> ExportedProgram:
    arch = get_architecture(weights.entry.arch).of(weights.config)
    unit = arch.multiple_of
    sides = [torch.export.Dim(name, min=1, max=_LARGEST_SIDE // unit) for name in ("rows", "columns")]
    open_sides = {axis: side if unit == 1 else unit * side for axis, side in zip((2, 3), sides, strict=True)}
    height, width = (count * unit * -(-_LEAST_SIDE // unit) for count in _TRACED_UNITS)
    image = torch.zeros((1, arch.channels_in(weights.config), height, width))
    return torch.export.export(_Plain(weights.network), (image,), dynamic_shapes={"image": open_sides}, strict=False)


def _pt2(program: ExportedProgram, said: str) -> tuple[bytes, Run]:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={ENTRY_FILE: said})
    data = buffer.getvalue()
    return data, torch.export.load(io.BytesIO(data)).module()


def _require_onnx() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        raise UsageError("writing .onnx needs an extra", hint="pip install 'restore-cli[onnx]'")


def _onnx(program: ExportedProgram, said: str) -> tuple[bytes, Run]:
    """Translate a program; its reader is onnxruntime on the CPU."""
    import onnxruntime

    # That torchvision's operators are missing concerns nobody.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch to itself, of what its next release will change
        made = torch.onnx.export(program, dynamo=True, opset_version=_OPSET, verbose=False)
    if made is None:
        raise RuntimeError("no program came of it")
    model = made.model_proto
    model.metadata_props.add(key=ENTRY_FILE, value=said)
    data: bytes = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
