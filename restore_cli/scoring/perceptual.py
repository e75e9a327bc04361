"""LPIPS (Zhang et al. 2018, arXiv 1801.03924), through the extra `restore-cli[lpips]`.

A learned distance, lower is better: how far a network trained to tell things apart sees two images. The package
`lpips` is BSD-2-Clause and brings torchvision along; AlexNet's ImageNet weights are not in it: torch.hub downloads them
on first use. Nothing of this is imported, and nothing fetched, unless it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.errors import UsageError, WeightsError
from restore_cli.scoring.sample import Uint8Image

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
ALEXNET_MEGABYTES = 233


def lpips_missing() -> str | None:
    """Return the name of the package that LPIPS lacks, or None where it can be had."""
    return next((name for name in ("lpips", "torchvision") if importlib.util.find_spec(name) is None), None)


def load_lpips(*, offline: bool) -> Callable[[Uint8Image, Uint8Image, int], float]:
    """Load LPIPS with AlexNet and return it as a metric of uint8 (H, W, C) images with a border to cut.

    Raises:
        UsageError: If the extra is not installed, or does not work with this torch.
        WeightsError: If AlexNet's weights are not on this machine and may not be or cannot be fetched.
    """
    missing = lpips_missing()
    if missing is not None:
        raise UsageError(
            f"LPIPS needs the package {missing}, which is not installed",
            hint="run pip install 'restore-cli[lpips]', or leave --lpips out",
        )
    import torch

    kept = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_FILE
    if offline and not kept.is_file():
        raise WeightsError(
            f"LPIPS needs AlexNet's weights, and {kept} does not exist",
            hint=f"run once without --offline ({ALEXNET_MEGABYTES} MB), or leave --lpips out",
        )
    network = _build_network()

    def distance(restored: Uint8Image, clean: Uint8Image, border: int) -> float:
        with torch.inference_mode():
            return float(network(_signed(restored, border), _signed(clean, border)).item())

    return distance


def _build_network() -> Any:
    try:
        lpips = importlib.import_module("lpips")
    except (ImportError, RuntimeError, OSError) as error:  # torchvision built for another torch fails in all three ways
        raise UsageError(
            f"LPIPS cannot be loaded: {error}", hint="install a torchvision that fits this torch, or leave --lpips out"
        ) from error
    try:
        return lpips.LPIPS(net="alex", verbose=False).eval()
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"AlexNet's weights for LPIPS cannot be fetched: {error}", hint="check the network, or leave --lpips out"
        ) from error


def _signed(image: Uint8Image, border: int) -> Any:
    """Return float32 (1, 3, H, W) in [-1, 1], as LPIPS takes images; gray is repeated."""
    import torch

    inside = slice(border, -border or None)
    pixels = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    tensor = torch.from_numpy(np.ascontiguousarray(pixels[inside, inside]))
    return tensor.permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1.0
