"""Images in a program's memory, restored one by one: `restore_cli.load_restorer` and `restore_cli.restore`.

Weights are chosen and run as for the command line's files, so that the same request gives the same pixels. torch is
loaded with the first network.
"""

from __future__ import annotations

import functools
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict, Unpack, overload

from restore_cli.jobs.choose import Chooser, WeightsRequest, sigma_warning
from restore_cli.settings import Context, Padding, RunSettings, Tile
from restore_cli.weights.foreign import entry_of
from restore_cli.weights.manifest import WeightsEntry, load_manifest

if TYPE_CHECKING:
    from restore_cli.imaging.convert import ImageFile, KeptImage, PilImage
    from restore_cli.imaging.decoded_image import DecodedImage
    from restore_cli.inference.restorer import Restorer

_WEIGHTS_SUFFIXES = {".safetensors", ".pth", ".pt"}
_NETWORKS_KEPT = 2


def load_restorer(
    id_or_path: str | os.PathLike[str],
    *,
    task: str | None = None,
    scale: int | None = None,
    variant: str | None = None,
    path: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    tile: Tile = "auto",
    overlap: int = 32,
    context: Context | Literal["auto"] = "auto",
    max_memory: int | None = None,
    pad: Padding = "reflect",
    tta: bool = False,
    compile: bool = False,  # noqa: A002 - the command line's word for it
    threads: int | None = None,
    sigma: float | None = None,
    strength: float = 1.0,
    offline: bool = False,
) -> Restorer:
    """Load a network once, to call it with many images.

    Args:
        id_or_path: A weights id of `list_weights`, fetched if need be; or the name of a model, with `task` and
            `scale` where it has weights for several; or a weights file, which says itself what it is or is recognised
            by its tensors.
        task: Command name of the task, for a model's name, or a file that does not tell.
        scale: Factor of super-resolution, for a model's name; None for 4.
        variant: Special form of the task, for a model's name: "photo", "real", "motion", ...; None for the usual.
        path: A file that takes the place of the one of that id, such as a checkpoint of your own.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        dtype: "auto", "float32", "bfloat16" or "float16".
        tile: "auto" from the free memory, "off" for the whole image, or the side of a tile in input pixels.
        overlap: Input pixels that neighbouring tiles share.
        context: Where channel attention takes its statistics: "auto" (what the weights were measured best with),
            "global" (the whole image), "local" (cells), "mixed" (a share of both) or "tile".
        max_memory: Bytes an image's feature maps may take; None takes a part of what is free.
        pad: How borders are continued, "reflect" or "symmetric".
        tta: Return the mean over the eight flips and rotations; eight times the work.
        compile: Run the network through torch.compile.
        threads: CPU threads of one operation, for the whole process; None leaves torch's choice.
        sigma: Level of the noise on the 0..255 scale, for networks that take one; None lets them find it themselves.
        strength: Share of the network's result in what comes out, 0..1, the rest being the input; not for "sr".
        offline: Never touch the network.

    Raises:
        UsageError: If the id is unknown, or the settings do not exist or contradict themselves.
        WeightsError: If the file is missing, unreachable, damaged or not what it claims.
        DeviceError: If the device is not available.

    Example:
        >>> from restore_cli import load_restorer
        >>> enlarge = load_restorer("ramit-sr-x4")                  # doctest: +SKIP
        >>> enlarge("photo.jpg").save("photo_x4.png")               # doctest: +SKIP

        A file of your own is loaded the same way; here one with random weights of the smallest network:

        >>> import tempfile
        >>> from dataclasses import replace
        >>> import numpy as np
        >>> from restore_cli import list_weights
        >>> from restore_cli.models.ramit.config import Config
        >>> from restore_cli.models.ramit.network import RAMiT
        >>> from restore_cli.weights.load import save_weights
        >>> mine = Path(tempfile.mkdtemp()) / "mine.safetensors"
        >>> entry = replace(list_weights()[0], id="mine-sr-x2", config=Config.tiny().to_json())
        >>> save_weights(mine, RAMiT(Config.tiny()).state_dict(), entry)
        >>> enlarge = load_restorer(mine, device="cpu")
        >>> enlarge
        <Restorer mine-sr-x2 on cpu in float32>
        >>> enlarge(np.zeros((9, 6, 3), dtype=np.uint8)).shape
        (18, 12, 3)
    """
    settings = RunSettings(
        device=device,
        dtype=dtype,
        tile=tile,
        overlap=overlap,
        context=context,
        max_memory=max_memory,
        pad=pad,
        tta=tta,
        compile=compile,
        threads=threads,
        sigma=sigma,
        strength=strength,
    )
    file = Path(id_or_path)
    if isinstance(id_or_path, str) and file.suffix.lower() not in _WEIGHTS_SUFFIXES:
        if task is None:
            entry = load_manifest().find(id_or_path, scale=scale, variant=variant)
        else:
            entry = Chooser(WeightsRequest(task=task, model=id_or_path, scale=scale, variant=variant)).default
        return _load(entry, None if path is None else Path(path), settings, offline=offline)
    return _load(entry_of(file, task=task), file if path is None else Path(path), settings, offline=offline)


class RestoreOptions(TypedDict, total=False):
    """The keywords of `restore`, for type checkers."""

    task: Required[str]
    scale: int | None
    sigma: float | Literal["auto"] | None
    variant: str | None
    gray: bool | None
    strength: float
    right: Any
    model: str | None
    weights: str | os.PathLike[str] | None
    device: str
    dtype: str
    tile: Tile
    tta: bool
    offline: bool


@overload
def restore(image: ImageFile, **options: Unpack[RestoreOptions]) -> PilImage: ...
@overload
def restore(image: KeptImage, **options: Unpack[RestoreOptions]) -> KeptImage: ...
@overload
def restore(image: list[KeptImage], **options: Unpack[RestoreOptions]) -> list[KeptImage]: ...
@overload
def restore(image: list[Any], **options: Unpack[RestoreOptions]) -> list[Any]: ...
def restore(
    image: Any,
    *,
    task: str,
    scale: int | None = None,
    sigma: float | Literal["auto"] | None = None,
    variant: str | None = None,
    gray: bool | None = None,
    strength: float = 1.0,
    right: Any = None,
    model: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    tile: Tile = "auto",
    tta: bool = False,
    offline: bool = False,
) -> Any:
    """Restore an image as the command line would; the last networks stay loaded for the next of their kind.

    Args:
        image: A file (its path, its bytes, or one that is open for reading bytes), which gives a PIL image; a PIL
            image; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), gray, RGB or RGBA, uint8, uint16, or floats in
            [0, 1]; a tensor of these dtypes, (H, W), (C, H, W) or (N, C, H, W); or a list of any of these.
        task: "sr", "denoise", "dejpeg", "derain", "lowlight", "deblur".
        scale: 2, 3 or 4 for "sr"; None for 4, or what the weights say.
        sigma: Level of the noise, 0..50 on the 0..255 scale; "auto" estimates it in the image.
        variant: "photo" for sr, "real" for denoise, "motion", "defocus" or "dual-pixel" for deblur; None for the usual.
        gray: Whether to use the gray network of the task; None uses it for gray images.
        strength: Share of the network's result in what comes out, 0..1, the rest being the input; not for "sr".
        right: The right view of a "dual-pixel" image, which is the left one; of the same kind.
        model: A model's name or a weights id; None for the bundled weights of the task.
        weights: A weights file of your own; with `model` where it does not say of which network it is.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        dtype: "auto", "float32", "bfloat16" or "float16".
        tile: "auto" from the free memory, "off" for the whole image, or the side of a tile in input pixels.
        tta: Return the mean over the eight flips and rotations; eight times the work.
        offline: Never touch the network.

    Raises:
        UsageError: If nothing serves the request.
        RestoreError: As in `load_restorer` and in calling a `Restorer`.

    Example:
        >>> from restore_cli import restore
        >>> restore("photo.jpg", task="sr", scale=4).save("photo_x4.png")      # doctest: +SKIP
        >>> restore("photo.jpg", task="sr", variant="photo")                   # doctest: +SKIP
        >>> import numpy as np
        >>> restore(np.zeros((9, 6, 3), dtype=np.uint8), task="deblur", device="cpu").shape
        (9, 6, 3)
    """
    file = None if weights is None else Path(weights)
    request = WeightsRequest(
        task=task, model=model, path=file, scale=scale, sigma=sigma, gray=gray, variant=variant, offline=offline
    )
    chooser = Chooser(request)
    settings = RunSettings(device=device, dtype=dtype, tile=tile, tta=tta, strength=strength)
    level = None if sigma == "auto" else sigma
    lines = [] if (line := sigma_warning(chooser.default, level)) is None else [line]

    from restore_cli.imaging.convert import converted, decoded_from
    from restore_cli.jobs.stages import clipping_warning

    other = None if right is None else decoded_from(right).pixels

    def restore_one(one: DecodedImage) -> DecodedImage:
        choice = chooser.choose(one)
        changed = None if file is None else file.stat().st_mtime_ns
        restorer = _loaded(choice.entry, file, changed, settings, offline)
        known = level if choice.noise is None else choice.level
        restored = restorer.restore_image(replace(one, right=other), sigma=known)
        lines.extend(restored.warnings)
        if (clipping := clipping_warning(one, restored, task)) is not None:
            lines.append(clipping)
        return restored

    result = converted(image, restore_one)
    for line in lines:
        warnings.warn(line, stacklevel=2)
    return result


@functools.lru_cache(maxsize=_NETWORKS_KEPT)
def _loaded(
    entry: WeightsEntry,
    file: Path | None,
    changed: int | None,  # noqa: ARG001 - a part of the key: the file may have become another
    settings: RunSettings,
    offline: bool,
) -> Restorer:
    return _load(entry, file, settings, offline=offline)


def _load(entry: WeightsEntry, file: Path | None, settings: RunSettings, *, offline: bool) -> Restorer:
    from restore_cli.inference.restorer import Restorer
    from restore_cli.weights.load import load_weights

    return Restorer(load_weights(entry, file, offline=offline), settings)
