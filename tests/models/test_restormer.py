"""Restormer against its goldens, its published figures and a literal reference; its two forms against each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from restore_cli.inference.footprint import UNSEEN_SHARE, peak_bytes
from restore_cli.layers.bands import BAND_POSITIONS, Cells, Execution
from restore_cli.models.restormer.block import Block, ChannelSums, TransposedAttention
from restore_cli.models.restormer.config import Config, footprint, mult_adds
from restore_cli.models.restormer.network import Restormer
from restore_cli.models.restormer.passes import AttentionPass, FeedForwardPass
from tests.models.fill import deterministic_fill, in_bands
from tests.models.literal_restormer import literal_block

# Parameters, as published.
FIGURES: dict[str, tuple[dict[str, Any], int]] = {
    "restormer_deraining": ({}, 26_126_644),
    "restormer_gaussian_color_denoising": ({"LayerNorm_type": "BiasFree"}, 26_111_668),
    "restormer_gaussian_gray_denoising": (
        {"inp_channels": 1, "out_channels": 1, "LayerNorm_type": "BiasFree"},
        26_109_076,
    ),
    "restormer_dual_pixel_defocus": ({"inp_channels": 6, "dual_pixel_task": True}, 26_132_548),
}

every_golden = pytest.mark.parametrize("name", FIGURES)


@pytest.fixture(scope="module")
def index(shared: Path) -> dict[str, Any]:
    """What the original networks are, one entry a golden."""
    entries: dict[str, Any] = json.loads((shared / "golden" / "restormer_index.json").read_text(encoding="utf-8"))
    return entries


def filled(network: Restormer) -> Restormer:
    network.load_state_dict(deterministic_fill(network.state_dict()), assign=True)
    return network.eval()


def relative_error(output: Tensor, golden: Any) -> float:
    """Return the largest difference, relative to the largest golden value or to 1."""
    return float(np.abs(output.detach().numpy() - golden).max() / max(1.0, np.abs(golden).max()))


@pytest.mark.shared
@pytest.mark.slow
@every_golden
def test_both_forms_give_the_originals_pixels(name: str, shared: Path, index: dict[str, Any]):
    with torch.device("meta"):
        network = Restormer(**index[name]["config"])
    filled(network)
    arrays = np.load(shared / "golden" / f"{name}.npz")
    x = torch.from_numpy(arrays["x"])
    assert relative_error(network(x), arrays["y"]) <= 1e-5
    with torch.inference_mode():
        assert relative_error(in_bands(network, x), arrays["y"]) <= 1e-5


@pytest.mark.shared
@every_golden
def test_state_dicts_are_the_originals_in_their_order(name: str, index: dict[str, Any]):
    with torch.device("meta"):
        state = Restormer(**index[name]["config"]).state_dict()
    ours = {key: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for key, tensor in state.items()}
    assert list(ours.items()) == list(index[name]["state_dict"].items())


@every_golden
def test_parameters_are_the_published_ones(name: str):
    changes, parameters = FIGURES[name]
    with torch.device("meta"):
        network = Restormer.from_config(replace(Config(), **changes))
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_multiply_adds_are_the_published_ones():
    assert mult_adds(Config(), 256, 256) / 1e9 == pytest.approx(154.88, abs=0.005)
    products = sum(  # of the attention: 2 c a channel and position
        blocks * channels * 96 * 65536 // 4**level
        for blocks, channels, level in ((4, 48, 0), (12, 96, 1), (12, 192, 2), (8, 384, 3), (16, 96, 0))
    )
    assert (mult_adds(Config(), 256, 256) - products) / 1e9 == pytest.approx(140.99, abs=0.005)


def test_the_network_is_built_from_the_names_people_know_and_tells_its_configuration():
    network = Restormer(
        inp_channels=6,
        out_channels=3,
        dim=8,
        num_blocks=[1, 1, 1, 1],
        num_refinement_blocks=1,
        heads=[1, 2, 2, 4],
        ffn_expansion_factor=2.66,
        bias=True,
        LayerNorm_type="BiasFree",
        dual_pixel_task=True,
    )
    assert network.config == replace(
        Config.tiny(), inp_channels=6, bias=True, LayerNorm_type="BiasFree", dual_pixel_task=True
    )
    assert Restormer.from_config(network.config).config == network.config
    assert (network.config.channels, network.config.scale) == (3, 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inp_channels": 6}, "inp_channels must be 1 times"),
        ({"dual_pixel_task": True}, "inp_channels must be 2 times"),
        ({"inp_channels": 2, "out_channels": 2}, "out_channels"),
        ({"dim": 7}, "dim must be"),
        ({"num_blocks": (1, 1, 1)}, "num_blocks"),
        ({"heads": (1, 2)}, "heads must be 4"),
        ({"heads": (1, 2, 2, 0)}, "positive"),
        ({"heads": (3, 2, 2, 4)}, "heads must divide"),
        ({"ffn_expansion_factor": 0.0}, "hidden channels"),
        ({"LayerNorm_type": "None"}, "LayerNorm_type"),
    ],
)
def test_an_impossible_configuration_is_refused(changes: dict[str, Any], reason: str):
    with pytest.raises(ValueError, match=reason):
        replace(Config.tiny(), **changes)


def test_a_value_of_the_wrong_type_in_json_is_refused_by_name():
    values = Config.tiny().to_json()
    for wrong in ({"dim": "16"}, {"bias": 1}, {"num_blocks": 4}, {"heads": [1, 2, 4, 8.0]}, {"LayerNorm_type": 3}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            Config.from_json(values | wrong)


FORMS = {
    "with bias": {"LayerNorm_type": "WithBias"},
    "bias free": {"LayerNorm_type": "BiasFree"},
    "biased convolutions": {"bias": True},
    "two views": {"inp_channels": 6, "dual_pixel_task": True},
    "gray": {"inp_channels": 1, "out_channels": 1},
}


def tiny_network(**changes: Any) -> Restormer:
    return filled(Restormer.from_config(replace(Config.tiny(), **changes)))


@pytest.mark.parametrize("changes", FORMS.values(), ids=FORMS)
def test_bands_of_any_height_give_the_plain_forms_pixels(changes: dict[str, Any]):
    network = tiny_network(**changes).double()
    x = torch.rand(2, network.config.inp_channels, 24, 16, dtype=torch.float64)
    plain = network(x).detach()
    with torch.inference_mode():
        torch.testing.assert_close(in_bands(network, x), plain, atol=1e-11, rtol=0)
        for execution in (
            Execution(rows=2),
            Execution(context="local", cell=32, rows=5),
        ):  # one cell is the whole image
            torch.testing.assert_close(in_bands(network, x[1:], execution), plain[1:], atol=1e-11, rtol=0)


BLOCKS = pytest.mark.parametrize(("norm_bias", "bias", "heads"), [(True, False, 1), (False, False, 2), (True, True, 4)])


def literal_and_ours(norm_bias: bool, bias: bool, heads: int) -> tuple[Block, dict[str, Any]]:
    """Return a block and its tensors in NumPy."""
    block = Block(8, heads=heads, hidden=21, bias=bias, norm_bias=norm_bias).double().eval()
    state = {key: tensor.double() for key, tensor in deterministic_fill(block.state_dict()).items()}
    block.load_state_dict(state)
    return block, {key: tensor.numpy() for key, tensor in state.items()}


def block_in_bands(block: Block, x: Tensor, cells: Cells, *, numbers: int) -> Tensor:
    """Run the form for bands on one image (1, C, H, W)."""
    image = x[0].permute(1, 2, 0).contiguous()
    with torch.no_grad():
        AttentionPass(block, x.dtype).add_(image, torch.empty_like(image), cells, numbers)
        FeedForwardPass(block, x.dtype).add_(image, numbers)
    return image.permute(2, 0, 1)


@BLOCKS
def test_a_block_does_what_the_paper_writes(norm_bias: bool, bias: bool, heads: int):
    block, state = literal_and_ours(norm_bias, bias, heads)
    x = torch.randn(1, 8, 7, 5, dtype=torch.float64)
    expected = literal_block(state, x[0].numpy(), heads=heads)
    np.testing.assert_allclose(block(x)[0].detach().numpy(), expected, atol=1e-10)
    whole = Cells(Execution(), (7, 5), down=1, grain=1, like=x)
    np.testing.assert_allclose(block_in_bands(block, x, whole, numbers=1 << 20).numpy(), expected, atol=1e-10)


@BLOCKS
@pytest.mark.parametrize("size", [(12, 20), (12, 4), (4, 12)], ids=["many cells", "one column", "one row"])
def test_a_block_with_statistics_of_cells_is_the_blend_of_the_cells(
    norm_bias: bool, bias: bool, heads: int, size: tuple[int, int]
):
    block, state = literal_and_ours(norm_bias, bias, heads)
    x = torch.randn(1, 8, *size, dtype=torch.float64)
    cells = Cells(Execution(context="local", cell=16), (2 * size[0], 2 * size[1]), down=2, grain=8, like=x)
    edges = [[*range(0, length, 4), length] for length in size]
    assert [cells.row_strips, cells.column_strips] == edges
    expected = literal_block(state, x[0].numpy(), heads=heads, edges=(edges[0], edges[1]))
    for numbers in (1, 5 * size[1] * 24, 1 << 20):  # bands of two rows, of five, and one
        np.testing.assert_allclose(block_in_bands(block, x, cells, numbers=numbers).numpy(), expected, atol=1e-7)


@torch.inference_mode()
@pytest.mark.parametrize("context", ["global", "mixed"])
def test_bands_take_autocasts_products_and_come_near_float32(context: Any):
    network, x, execution = tiny_network(), torch.rand(1, 3, 64, 64), Execution(context=context, cell=32)
    exact = in_bands(network, x, execution)
    with torch.autocast("cpu", torch.bfloat16):
        near = in_bands(network, x, execution)
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().max() <= 0.03 * exact.abs().max()


def test_sums_of_two_parts_give_the_attention_of_the_whole():
    attention = TransposedAttention(8, 2, bias=False)
    q, k, v = torch.randn(3, 2, 40, 2, 4).unbind()
    parts = [attention.sums(*part) for part in zip(q.split([16, 24], 1), k.split([16, 24], 1), strict=True)]
    assert isinstance(parts[0], ChannelSums)
    whole = attention.matrix(attention.sums(q, k))
    torch.testing.assert_close(attention.matrix(parts[0].plus(parts[1])), whole)
    torch.testing.assert_close(whole.sum(-1), torch.ones(2, 2, 4))
    halves = [attention.apply_matrix(whole, part) for part in v.split([16, 24], 1)]
    torch.testing.assert_close(torch.cat(halves, 1), attention.apply_matrix(whole, v))


def test_sums_beyond_one_chunk_are_exact():
    q, k = torch.randint(-3, 4, (2, 1, 40_000, 1, 4)).float()
    sums = TransposedAttention.sums(q, k)
    assert torch.equal(sums.products[0, 0].long(), q[0, :, 0].long().t() @ k[0, :, 0].long())
    assert torch.equal(sums.k_squares[0, 0].long(), k[0, :, 0].long().square().sum(0))


def peak_of(network: Restormer, height: int, execution: Execution) -> int:
    """Return what a run over an image of 64 columns holds at its peak."""
    with torch.inference_mode():
        return peak_bytes(lambda: in_bands(network, torch.zeros((1, 3, height, 64)), execution))


@pytest.mark.slow
def test_a_run_holds_what_the_network_states_and_wide_maps_never_whole():
    network = tiny_network(dim=16)
    _, per_pixel, per_band_pixel = footprint(network.config)
    small, tall, coarse = (
        peak_of(network, height, Execution(rows=rows)) for height, rows in ((64, 16), (128, 16), (128, 64))
    )
    assert 0.9 * per_pixel < (tall - small) / (64 * 64) <= per_pixel
    assert 0.6 * per_band_pixel < (coarse - tall) / (48 * 64) <= per_band_pixel
    # A run with cells adds their matrices, which a small share of a map holds for cells as large as were trained on.
    mixed = peak_of(network, 128, Execution(context="mixed", cell=64, rows=16))
    assert mixed - tall <= 16 * 4 * 128 * 64


def test_a_full_hd_frame_goes_through_whole_within_four_gib():
    fixed, per_pixel, per_band_pixel = footprint(Config())
    assert UNSEEN_SHARE * (fixed + per_pixel * 1920 * 1080 + per_band_pixel * BAND_POSITIONS) < 4 << 30
    assert per_pixel <= 10 * Config().dim * 4  # at most ten maps at full size


def test_multiples_of_eight_and_nothing_else_are_taken():
    network = tiny_network()
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 8, 40)).shape == (1, 3, 8, 40)
        with pytest.raises(ValueError, match=r"\(N, 3, H, W\) with H and W multiples of 8, not \(1, 3, 8, 36\)"):
            network(torch.rand(1, 3, 8, 36))


def test_two_views_give_one_image_which_is_not_either_of_them():
    network = tiny_network(inp_channels=6, dual_pixel_task=True)
    views = torch.rand(1, 6, 16, 16)
    with torch.inference_mode():
        restored = network(views)
        swapped = network(torch.cat((views[:, 3:], views[:, :3]), 1))
    assert restored.shape == (1, 3, 16, 16)
    assert not torch.allclose(restored, swapped)
