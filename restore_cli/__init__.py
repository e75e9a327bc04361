"""Restore degraded images with pretrained networks, from the command line or from Python.

The public API: `load_restorer` once, then call what it returns with each image; `restore` for a single one. torch is
loaded when the first network is.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from restore_cli._version import __version__

if TYPE_CHECKING:
    from restore_cli.imaging.convert import KeptImage, PilImage
    from restore_cli.inference.restorer import Restorer
    from restore_cli.settings import Context, Padding, Tile
    from restore_cli.weights.manifest import WeightsEntry
else:

    def __getattr__(name: str) -> Any:
        """Import `Restorer`, and torch with it, when it is first asked for."""
        if name == "Restorer":
            from restore_cli.inference.restorer import Restorer

            return Restorer
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


__all__ = ["Restorer", "__version__", "list_weights", "load_restorer", "restore"]

_WEIGHTS_SUFFIXES = {".safetensors", ".pth", ".pt"}


def list_weights() -> tuple[WeightsEntry, ...]:
    """Return all weights that are known, whether they are at hand or not.

    Example:
        >>> from restore_cli import list_weights
        >>> [entry.id for entry in list_weights() if entry.task == "sr" and entry.model == "ramit"]
        ['ramit-sr-x2', 'ramit-sr-x3', 'ramit-sr-x4']
    """
    from restore_cli.weights.manifest import load_manifest

    return load_manifest().entries


def load_restorer(
    id_or_path: str | os.PathLike[str],
    *,
    task: str | None = None,
    scale: int | None = None,
    path: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    tile: Tile = "auto",
    overlap: int = 32,
    context: Context | Literal["auto"] = "auto",
    max_memory: int | None = None,
    pad: Padding = "reflect",
    tta: bool = False,
    sigma: float | None = None,
    strength: float = 1.0,
    compile: bool = False,  # noqa: A002 - the command line's word for it
    threads: int | None = None,
    offline: bool = False,
) -> Restorer:
    """Load a network once, to call it with many images.

    Args:
        id_or_path: A weights id of `list_weights`, fetched if need be; or the name of a model, with `task` and
            `scale` where it has weights for several; or a .safetensors file of this project, which says itself what it
            is.
        path: A file that takes the place of the one of that id, such as a checkpoint of your own.
        task: Command name of the task, for a model's name.
        scale: Factor of super-resolution, for a model's name.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        dtype: "auto", "float32", "bfloat16" or "float16".
        tile: "auto" from the free memory, "off" for the whole image, or the side of a tile in input pixels.
        overlap: Input pixels that neighbouring tiles share.
        context: Where channel attention takes its statistics: "auto" (what the weights were measured best with),
            "global" (the whole image), "local" (cells), "mixed" (a share of both) or "tile".
        max_memory: Bytes an image's feature maps may take; None takes a part of what is free.
        pad: How borders are continued, "reflect" or "symmetric".
        tta: Return the mean over the eight flips and rotations; eight times the work.
        sigma: Level of the noise on the 0..255 scale, for networks that take one; None lets them find it themselves.
        strength: Share of the network's result in what comes out, 0..1, the rest being the input; not for "sr".
        compile: Run the network through torch.compile.
        threads: CPU threads of one operation, for the whole process; None leaves torch's choice.
        offline: Never touch the network.

    Raises:
        UsageError: If the id is unknown, or the settings do not exist or contradict themselves.
        WeightsError: If the file is missing, unreachable, damaged or not what it claims.
        DeviceError: If the device is not there.

    Example:
        >>> from restore_cli import load_restorer
        >>> enlarge = load_restorer("ramit-sr-x4")                  # doctest: +SKIP
        >>> enlarge("photo.jpg").save("photo_x4.png")               # doctest: +SKIP

        A file of your own is loaded the same way; here one with random weights of the smallest network:

        >>> import tempfile
        >>> from dataclasses import replace
        >>> import numpy as np
        >>> from restore_cli.models.ramit.config import Config
        >>> from restore_cli.models.ramit.network import RAMiT
        >>> from restore_cli.weights.load import save_weights
        >>> mine = Path(tempfile.mkdtemp()) / "mine.safetensors"
        >>> entry = replace(list_weights()[0], id="mine-sr-x2", config=Config.tiny().to_json())
        >>> save_weights(mine, RAMiT(Config.tiny()).state_dict(), entry)
        >>> enlarge = load_restorer(mine, device="cpu")
        >>> enlarge(np.zeros((9, 6, 3), dtype=np.uint8)).shape
        (18, 12, 3)
    """
    from restore_cli.inference.restorer import Restorer
    from restore_cli.settings import RunSettings
    from restore_cli.weights.load import load_weights

    settings = RunSettings(
        device=device,
        dtype=dtype,
        tile=tile,
        overlap=overlap,
        context=context,
        max_memory=max_memory,
        pad=pad,
        tta=tta,
        sigma=sigma,
        strength=strength,
        compile=compile,
        threads=threads,
    )
    entry, own_file = _entry_and_file(id_or_path, task, scale)
    file = own_file if path is None else Path(path)
    return Restorer(load_weights(entry, file, offline=offline), settings)


@overload
def restore(
    image: str | os.PathLike[str],
    *,
    task: str,
    scale: int = ...,
    sigma: float | None = ...,
    strength: float = ...,
    model: str | None = ...,
    device: str = ...,
) -> PilImage: ...
@overload
def restore(
    image: KeptImage,
    *,
    task: str,
    scale: int = ...,
    sigma: float | None = ...,
    strength: float = ...,
    model: str | None = ...,
    device: str = ...,
) -> KeptImage: ...
def restore(
    image: Any,
    *,
    task: str,
    scale: int = 1,
    sigma: float | None = None,
    strength: float = 1.0,
    model: str | None = None,
    device: str = "auto",
) -> Any:
    """Restore one image as the command line would; the network stays loaded for the next of its kind.

    Args:
        image: A path, which gives a PIL image; a PIL image or an array, which give their like.
        task: "sr", "denoise", "dejpeg", "derain", "lowlight", "deblur".
        scale: 2, 3 or 4 for "sr", else 1.
        sigma: Level of the noise on the 0..255 scale, where it is known.
        strength: How much of the result is taken, 0..1: 0.5 is halfway between input and result. Not for "sr".
        model: A model's name or a weights id; None means the bundled weights of the task.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        UsageError: If nothing serves the request.
        RestoreError: As in `load_restorer` and in calling a `Restorer`.

    Example:
        >>> from restore_cli import restore
        >>> restore("photo.jpg", task="sr", scale=4).save("photo_x4.png")   # doctest: +SKIP
    """
    from restore_cli.weights.manifest import load_manifest

    entry = load_manifest().select(model, task=task, scale=scale, sigma=sigma)
    return _loaded(entry.id, device, sigma, strength)(image)


@functools.lru_cache(maxsize=2)
def _loaded(weights_id: str, device: str, sigma: float | None, strength: float) -> Restorer:
    return load_restorer(weights_id, device=device, sigma=sigma, strength=strength)


def _entry_and_file(
    id_or_path: str | os.PathLike[str], task: str | None, scale: int | None
) -> tuple[WeightsEntry, Path | None]:
    """Return the manifest's entry of an id or a model's name, or a file and the entry it carries."""
    from restore_cli.errors import UsageError
    from restore_cli.weights.manifest import load_manifest

    file = Path(id_or_path)
    if isinstance(id_or_path, str) and file.suffix.lower() not in _WEIGHTS_SUFFIXES:
        return load_manifest().find(id_or_path, task=task, scale=scale), None
    from restore_cli.weights.file import entry_from_file

    entry = entry_from_file(file)
    if entry is None:
        msg = f"{file} does not say of which network it is"
        raise UsageError(msg, hint="name a weights id, and the file as its path")
    return entry, file
