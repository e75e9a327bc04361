"""RAMiT against its goldens, its published figures and a literal reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from restore_cli.models.ramit import PUBLISHED, Config, DRAMiTransformer, RAMiT
from tests.models.fill import deterministic_fill

GOLDEN_NAMES = {
    "ramit": "RAMiT",
    "ramit-1": "RAMiT-1",
    "ramit-slim-sr": "RAMiT-slimSR",
    "ramit-slim-lle": "RAMiT-slimLLE",
}
GOLDEN_TASKS = {"derain": "DR", "lowlight": "LLE"}
GOLDENS = [(name, task, scale, channels) for name, task, scale, channels in PUBLISHED]


def golden_name(name: str, task: str, scale: int, channels: int) -> str:
    """Return "RAMiT-1_X4" for ("ramit-1", "sr", 4, 3)."""
    if task == "denoise":
        return f"{GOLDEN_NAMES[name]}_{'CDN' if channels == 3 else 'GDN'}"
    return f"{GOLDEN_NAMES[name]}_{f'X{scale}' if task == 'sr' else GOLDEN_TASKS[task]}"


def load_golden_weights(network: nn.Module, shared: Path, name: str, entry: dict[str, Any]) -> None:
    """Load the original checkpoint where there is one, else the deterministic fill; strictly."""
    if entry["weights"] == "official checkpoint":
        path = shared / "weights" / "ramit" / f"{name}.pth"
        state = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  (reads no user's file)
    else:
        state = deterministic_fill(network.state_dict())
    network.load_state_dict(state)
    network.eval()


@pytest.fixture(scope="module")
def index(shared: Path) -> dict[str, Any]:
    """What the original networks are, one entry a golden."""
    entries: dict[str, Any] = json.loads((shared / "golden" / "ramit_index.json").read_text(encoding="utf-8"))
    return entries


def relative_error(output: torch.Tensor, golden: np.ndarray[Any, Any]) -> float:
    """Return the largest difference, relative to the largest golden value or to 1."""
    return float(np.abs(output.numpy() - golden).max() / max(1.0, np.abs(golden).max()))


@pytest.mark.shared
@pytest.mark.parametrize("variant", PUBLISHED, ids=lambda variant: golden_name(*variant))
def test_every_published_variant_gives_the_original_networks_pixels(
    shared: Path, index: dict[str, Any], variant: tuple[str, str, int, int]
):
    torch.set_num_threads(2)
    name, task, scale, channels = variant
    golden = golden_name(*variant)
    config = Config.variant(name, task=task, scale=scale, channels=channels)
    assert [list(config.mean), list(config.std)] == [index[golden]["mean"], index[golden]["std"]]
    network = RAMiT(config)
    load_golden_weights(network, shared, golden, index[golden])
    arrays = np.load(shared / "golden" / f"{golden}.npz")
    with torch.inference_mode():
        restored = network(torch.from_numpy(arrays["x"]))
    # The two tight ones would notice a LayerNorm eps of 1e-6.
    assert relative_error(restored, arrays["y"]) <= (5e-6 if golden in {"RAMiT-1_X2", "RAMiT_LLE"} else 2e-5)


@pytest.mark.shared
@pytest.mark.parametrize("variant", PUBLISHED, ids=lambda variant: golden_name(*variant))
def test_the_state_dict_has_the_original_keys_shapes_and_dtypes(
    index: dict[str, Any], variant: tuple[str, str, int, int]
):
    name, task, scale, channels = variant
    network = RAMiT(Config.variant(name, task=task, scale=scale, channels=channels))
    ours = {key: [list(t.shape), str(t.dtype).removeprefix("torch.")] for key, t in network.state_dict().items()}
    assert ours == index[golden_name(*variant)]["state_dict"]


@pytest.mark.shared
def test_one_block_gives_the_original_blocks_four_outputs(shared: Path, index: dict[str, Any]):
    block = DRAMiTransformer(dim=64)
    load_golden_weights(block, shared, "DRAMiTransformer_dim64", index["DRAMiTransformer_dim64"])
    arrays = np.load(shared / "golden" / "DRAMiTransformer_dim64.npz")
    with torch.inference_mode():
        outputs = block(torch.from_numpy(arrays["x"]))
    for i, output in enumerate(outputs):
        assert relative_error(output, arrays[f"y{i}"]) <= 2e-5
