"""CrossFormer against its goldens, its published figures and a reference that goes token by token."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from restore_cli.layers.cross_scale import GroupAttention, Grouping, share_channels
from restore_cli.models.crossformer.arch import ARCH
from restore_cli.models.crossformer.config import PUBLISHED, Config, mult_adds
from restore_cli.models.crossformer.network import Block, CrossFormer
from tests.models.fill import deterministic_fill

QUICK = ("crossformer_seed_example", "crossformer_pp_small")
LARGE = ("crossformer_tiny", "crossformer_small", "crossformer_base", "crossformer_large", "crossformer_pp_base")
FIGURES = {
    "crossformer-t": (27_776_794, 2_858_292_352),
    "crossformer-s": (30_657_394, 4_909_815_360),
    "crossformer-b": (51_971_554, 9_165_430_080),
    "crossformer-l": (91_971_184, 16_115_635_968),
    "crossformer-pp-s": (23_325_340, 4_388_547_456),
    "crossformer-pp-b": (51_994_594, 9_504_118_080),
}
Array = npt.NDArray[np.float64]


def golden_entry(shared: Path, name: str) -> dict[str, Any]:
    index = json.loads((shared / "golden" / "crossformer_index.json").read_text(encoding="utf-8"))
    entry: dict[str, Any] = index[name]
    return entry


@torch.inference_mode()
def assert_golden(shared: Path, name: str) -> None:
    entry = golden_entry(shared, name)
    network = CrossFormer(**entry["config"]).eval()
    state = network.state_dict()
    assert {key: list(tensor.shape) for key, tensor in state.items()} == {
        key: shape for key, (shape, _) in entry["state_dict"].items()
    }
    assert sum(parameter.numel() for parameter in network.parameters()) == entry["params"]
    assert mult_adds(network.config, 224, 224) == entry["flops_as_published"]
    network.load_state_dict(deterministic_fill(state))
    x = torch.from_numpy(np.load(shared / "golden" / "crossformer_input.npz")["x"])
    golden = np.load(shared / "golden" / f"{name}.npz")
    features = network.forward_features(x)
    for output, expected in ((features, golden["features"]), (network.head(features), golden["logits"])):
        difference = np.abs(output.numpy() - expected).max() / max(1.0, np.abs(expected).max())
        assert difference <= 2e-6


@pytest.mark.shared
@pytest.mark.parametrize("name", QUICK)
def test_goldens_hold_so_closely_that_another_layer_norm_eps_would_show(name: str, shared: Path):
    assert_golden(shared, name)


@pytest.mark.exhaustive
@pytest.mark.shared
@pytest.mark.parametrize("name", LARGE)
def test_goldens_of_the_other_networks_hold_as_closely(name: str, shared: Path):
    assert_golden(shared, name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_flops_are_the_published_ones(name: str):
    with torch.device("meta"):
        network = ARCH.build(PUBLISHED[name])
    params = sum(parameter.numel() for parameter in network.parameters())
    assert (params, mult_adds(PUBLISHED[name], 224, 224)) == FIGURES[name]


def test_the_constructors_defaults_are_the_configurations():
    with torch.device("meta"):
        network = CrossFormer()
    assert network.config == Config()
    assert sum(parameter.numel() for parameter in network.parameters()) == 7_887_742


def test_one_mlp_ratio_stands_for_all_stages_and_lists_do_as_well_as_tuples():
    with torch.device("meta"):
        network = CrossFormer(mlp_ratio=2, depths=[1, 1, 1, 1], qk_scale=0.5)
    assert network.config.mlp_ratio == (2.0, 2.0, 2.0, 2.0)
    assert network.config.depths == (1, 1, 1, 1)
    assert network.config.qk_scale == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"ape": True},
        {"group_type": "linear_div"},
        {"use_cpe": True},
        {"adaptive_interval": True},
        {"num_heads": [5, 6, 12, 24]},
        {"depths": [2, 2, 6]},
        {"merge_size": [[2, 4], [2, 4]]},
        {"merge_size": [[2, 3], [2, 4], [2, 4]]},
        {"patch_size": [4, 7]},
        {"embed_dim": 40},
        {"drop_path_rate": 1.0},
        {"in_chans": 2},
        {"pad_type": 2},
        {"img_size": 31},
    ],
)
def test_arguments_that_cannot_be_are_refused(changes: dict[str, Any]):
    with pytest.raises(ValueError, match="CrossFormer: "):
        CrossFormer(**changes)


def test_channels_are_shared_by_halves_and_the_last_two_are_equal():
    assert share_channels(96, 4) == (48, 24, 12, 12)
    assert share_channels(64, 2) == (32, 32)
    assert share_channels(5, 1) == (5,)
    with pytest.raises(ValueError, match="4 channels cannot be halved for 4 kernels"):
        share_channels(4, 4)


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (64, 50), (57, 128)])
@torch.inference_mode()
def test_any_size_of_at_least_32_gives_finite_logits_each_image_its_own(shape: tuple[int, int]):
    torch.manual_seed(0)
    network = ARCH.build(Config.tiny()).eval()
    x = torch.rand(3, 3, *shape)
    logits = network(x)
    assert logits.shape == (3, 10)
    torch.testing.assert_close(logits, torch.cat([network(image[None]) for image in x]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 3, 64, 31), (1, 1, 64, 64), (3, 64, 64), (0, 3, 64, 64)])
def test_an_input_that_does_not_fit_is_refused(shape: tuple[int, ...]):
    network = ARCH.build(Config.tiny())
    with pytest.raises(ValueError, match=r"takes \(N, 3, H, W\) with H and W of at least 32"):
        network(torch.zeros(shape))


@pytest.mark.parametrize(
    ("height", "width", "size", "interval", "centred"),
    [(8, 12, 4, 1, False), (8, 16, 4, 2, False), (7, 10, 3, 1, False), (9, 13, 2, 3, False), (9, 13, 2, 3, True)],
)
@pytest.mark.parametrize("masked", [True, False])
@torch.inference_mode()
def test_attention_is_what_goes_token_by_token(
    height: int, width: int, size: int, interval: int, centred: bool, masked: bool
):
    torch.manual_seed(0)
    attention = GroupAttention(12, 3, 4).double().eval()
    attention.load_state_dict({k: v.double() for k, v in deterministic_fill(attention.state_dict()).items()})
    grouping = Grouping(height=height, width=width, size=size, interval=interval, centred=centred)
    x = torch.randn(2, height, width, 12, dtype=torch.float64)
    mask = grouping.mask(x.device) if masked else None
    ours = grouping.merge(attention(grouping.cut(x), size, mask))
    expected = np.stack([literal_attention(attention, grouping, image.numpy(), masked=masked) for image in x])
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-12)


def test_fused_attention_is_what_training_computes():
    torch.manual_seed(0)
    attention = GroupAttention(24, 2, 4, qk_scale=0.3).eval()
    groups = torch.randn(6, 16, 24)
    with torch.inference_mode():
        fused = attention(groups, 4)
    torch.testing.assert_close(fused, attention(groups, 4).detach(), atol=1e-6, rtol=0)


def literal_attention(attention: GroupAttention, grouping: Grouping, x: Array, *, masked: bool) -> Array:
    """Attend from each token of (H, W, C) to those whose place in the padded map says they share its group."""
    state = {key: tensor.numpy() for key, tensor in attention.state_dict().items()}
    height, width, channels = x.shape
    size, interval, heads = grouping.size, grouping.interval, attention.heads
    region = size * interval
    missing = (-height % region, -width % region)
    top, left = (missing[0] // 2, missing[1] // 2) if grouping.centred else (0, 0)
    out = np.zeros_like(x)

    def qkv(y: int, x_: int) -> Array:
        inside = 0 <= y < height and 0 <= x_ < width
        token = x[y, x_] if inside else np.zeros(channels)
        projected: Array = (state["qkv.weight"] @ token + state["qkv.bias"]).reshape(3, heads, -1)
        return projected

    for y, x_ in itertools.product(range(height), range(width)):
        in_region = [(place + pad) % region for place, pad in ((y, top), (x_, left))]
        starts = [place - within + within % interval for place, within in zip((y, x_), in_region, strict=True)]
        own = [within // interval for within in in_region]
        keys = []
        for row, column in itertools.product(range(size), repeat=2):
            at = (starts[0] + row * interval, starts[1] + column * interval)
            if not masked or (0 <= at[0] < height and 0 <= at[1] < width):
                keys.append((at, literal_bias(state, own[0] - row, own[1] - column)))
        query = qkv(y, x_)[0] * attention.scale
        logits = np.stack([(query * qkv(*at)[1]).sum(-1) + bias for at, bias in keys])  # (keys, heads)
        weights = np.exp(logits - logits.max(0))
        weights /= weights.sum(0)
        mixed = sum(weight[:, None] * qkv(*at)[2] for weight, (at, _) in zip(weights, keys, strict=True))
        out[y, x_] = state["proj.weight"] @ np.ravel(mixed) + state["proj.bias"]
    return out


def literal_bias(state: dict[str, Any], dy: int, dx: int) -> Array:
    """Return the bias of each head for one offset."""
    hidden = state["pos.pos_proj.weight"] @ np.array([dy, dx], dtype=np.float64) + state["pos.pos_proj.bias"]
    for layer in ("pos.pos1", "pos.pos2", "pos.pos3"):
        normal = (hidden - hidden.mean()) / np.sqrt(hidden.var() + 1e-5)
        positive = np.maximum(normal * state[f"{layer}.0.weight"] + state[f"{layer}.0.bias"], 0)
        hidden = state[f"{layer}.2.weight"] @ positive + state[f"{layer}.2.bias"]
    bias: Array = hidden
    return bias


def test_a_map_no_larger_than_a_group_has_near_groups_as_large_as_fit():
    block = Block(PUBLISHED["crossformer-s"], 3, 1, 0.0)
    assert block._grouping(7, 7) == Grouping(height=7, width=7, size=7)
    assert block._grouping(3, 9) == Grouping(height=3, width=9, size=3)
    far = Block(PUBLISHED["crossformer-s"], 0, 1, 0.0)
    assert far._grouping(56, 56) == Grouping(height=56, width=56, size=7, interval=8)


def test_cooling_stands_in_every_third_block_but_a_stages_last():
    with torch.device("meta"):
        network = ARCH.build(PUBLISHED["crossformer-pp-s"])
    cooled = [name for name, module in network.named_modules() if isinstance(module, Block) and module.cools]
    assert cooled == [f"layers.2.blocks.{index}" for index in (2, 5, 8, 11, 14)]


def test_groups_of_padding_alone_stay_finite_under_half_precision():
    torch.manual_seed(0)
    grouping = Grouping(height=5, width=5, size=2, interval=4)
    attention = GroupAttention(12, 3, 4)
    with torch.autocast("cpu", torch.float16):
        out = grouping.merge(attention(grouping.cut(torch.randn(1, 5, 5, 12)), 2, grouping.mask(torch.device("cpu"))))
    assert out.isfinite().all()


def test_tables_of_older_checkpoints_are_left_out():
    convert = ARCH.convert_state_dict
    assert convert is not None
    network = ARCH.build(Config.tiny())
    state = network.state_dict()
    old = {
        "layers.0.blocks.0.attn.biases": torch.zeros(25, 2),
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(9, 9, dtype=torch.int64),
        "layers.0.blocks.1.attn_mask": torch.zeros(4, 9, 9),
    }
    assert convert({**state, **old}).keys() == state.keys()


def test_checkpointing_changes_no_gradient():
    gradients = []
    for use_checkpoint in (False, True):
        torch.manual_seed(0)
        network: nn.Module = CrossFormer(
            embed_dim=48,
            patch_size=(4,),
            depths=(1, 1),
            num_heads=(3, 6),
            group_size=(4, 4),
            crs_interval=(1, 1),
            merge_size=((2,),),
            num_classes=2,
            drop_path_rate=0.0,
            use_checkpoint=use_checkpoint,
        )
        network(torch.rand(1, 3, 16, 16)).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    torch.testing.assert_close(*gradients)
