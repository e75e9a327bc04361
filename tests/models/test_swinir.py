"""SwinIR has the published sizes and keys, and its shifted windows see what the paper says they see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from restore_cli.models import swinir
from restore_cli.weights.manifest import load_manifest
from tests.models.fill import lively

CLASSICAL: dict[str, Any] = {"dim": 180, "depths": (6,) * 6}


def on_meta(config: swinir.Config) -> swinir.SwinIR:
    with torch.device("meta"):
        return swinir.SwinIR(config)


# In thousands, as the paper's table 3 has them for the light ones: without the tables of position biases.
@pytest.mark.parametrize(("scale", "thousands"), [(2, 878), (3, 886), (4, 897)])
def test_the_light_networks_have_the_published_number_of_parameters(scale: int, thousands: int):
    named = on_meta(swinir.Config(scale=scale)).named_parameters()
    counted = sum(p.numel() for name, p in named if not name.endswith("relative_position_bias_table"))
    assert round(counted / 1000) == thousands


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        ({"upsampler": "shuffle", "scale": 2}, 11_752_487),
        ({"upsampler": "shuffle", "scale": 4}, 11_900_199),
        ({"upsampler": "none", "scale": 1}, 11_504_163),
        ({"upsampler": "none", "scale": 1, "channels": 1, "window_size": 7, "img_range": 255.0}, 11_485_585),
    ],
)
def test_the_larger_networks_have_the_published_number_of_parameters(changes: dict[str, Any], parameters: int):
    assert sum(p.numel() for p in on_meta(swinir.Config(**CLASSICAL, **changes)).parameters()) == parameters


def test_the_listed_file_has_room_for_its_numbers_and_the_tables_of_its_training_size():
    (entry,) = [entry for entry in load_manifest().entries if entry.arch == "swinir"]
    network = on_meta(swinir.Config.from_json(entry.config))
    windows, tokens = (64 // 8) ** 2, 64
    shifted, blocks = 12, 24
    tables = shifted * windows * tokens**2 * 4 + blocks * tokens**2 * 8
    assert entry.bytes is not None
    assert 0 < entry.bytes - tables - 4 * sum(p.numel() for p in network.parameters()) < 0.02 * entry.bytes


def test_a_network_has_the_keys_of_the_official_files_and_leaves_their_tables_out():
    state_dict = on_meta(swinir.Config()).state_dict()
    block = "layers.3.residual_group.blocks.5"
    for key, shape in {
        "conv_first.weight": (60, 3, 3, 3),
        "patch_embed.norm.bias": (60,),
        f"{block}.attn.qkv.weight": (180, 60),
        f"{block}.attn.relative_position_bias_table": (225, 6),
        f"{block}.mlp.fc1.weight": (120, 60),
        f"{block}.norm2.weight": (60,),
        "layers.0.conv.weight": (60, 60, 3, 3),
        "norm.weight": (60,),
        "conv_after_body.bias": (60,),
        "upsample.0.weight": (48, 60, 3, 3),
    }.items():
        assert tuple(state_dict[key].shape) == shape
    tables = {f"{block}.attn_mask": torch.zeros(1), f"{block}.attn.relative_position_index": torch.zeros(1)}
    assert swinir.convert_state_dict({**state_dict, **tables}).keys() == state_dict.keys()


def literal_attention(attention: swinir.WindowAttention, x: Tensor) -> Tensor:
    """Attend token by token: each sees those of its window after the shift that were its neighbours before."""
    height, width, dim = x.shape
    side, shift, heads = attention.window_size, attention.shift, attention.heads
    q, k, v = attention.qkv(x).view(height, width, 3, heads, dim // heads).unbind(2)
    out = torch.zeros(height, width, heads, dim // heads, dtype=x.dtype)
    places = [(i, j) for i in range(height) for j in range(width)]

    def window(i: int, j: int) -> tuple[int, int, bool, bool]:
        a, b = (i - shift) % height, (j - shift) % width
        return a // side, b // side, i < shift, j < shift  # what the shift brought round is apart

    for i, j in places:
        seen = [place for place in places if window(*place) == window(i, j)]
        for head in range(heads):
            logits = []
            for a, b in seen:
                row, column = i - a + side - 1, j - b + side - 1
                bias = attention.relative_position_bias_table[row * (2 * side - 1) + column, head]
                logits.append(q[i, j, head] @ k[a, b, head] / (dim // heads) ** 0.5 + bias)
            weights = torch.stack(logits).softmax(0)
            out[i, j, head] = sum(weight * v[a, b, head] for weight, (a, b) in zip(weights, seen, strict=True))
    merged: Tensor = attention.proj(out.flatten(2))
    return merged


@torch.inference_mode()
@pytest.mark.parametrize("block", [0, 1])
def test_windows_attend_to_what_a_token_by_token_form_attends_to(block: int):
    network = lively(swinir.SwinIR(swinir.Config.tiny())).double()
    attention = network.layers[0].residual_group["blocks"][block].attn
    assert attention.shift == 2 * block
    x = torch.rand(8, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(attention(x[None])[0], literal_attention(attention, x), atol=1e-12, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize(
    "config",
    [
        swinir.Config(dim=12, depths=(1,), num_heads=2, window_size=4, upsampler="shuffle", scale=3),
        swinir.Config(dim=12, depths=(1,), num_heads=2, window_size=4, upsampler="nearest", scale=2),
        swinir.Config(dim=12, depths=(1,), num_heads=2, window_size=4, upsampler="nearest", convolutions=3),
        swinir.Config(dim=12, depths=(1,), num_heads=2, window_size=4, upsampler="none", scale=1, channels=1),
    ],
)
def test_every_way_up_gives_the_size_it_says(config: swinir.Config):
    network = swinir.SwinIR(config).eval()
    assert network(torch.rand(1, config.channels, 8, 12)).shape == (
        1, config.channels, 8 * config.scale, 12 * config.scale,
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [{"depths": ()}, {"num_heads": 7}, {"upsampler": "none"}, {"scale": 1}, {"convolutions": 2}, {"channels": 2}],
)
def test_a_swinir_that_cannot_be_built_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="SwinIR"):
        swinir.Config(**wrong)
