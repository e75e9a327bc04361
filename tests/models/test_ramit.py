"""RAMiT against its goldens, its published figures and a literal reference."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from restore_cli.layers.tensors import DropPath, Pointwise
from restore_cli.models.ramit.arch import ARCH
from restore_cli.models.ramit.block import ChannelSelfAttention, ChannelSums, DRAMiTransformer
from restore_cli.models.ramit.config import PUBLISHED, Config, mult_adds
from restore_cli.models.ramit.network import RAMiT
from tests.models.fill import deterministic_fill
from tests.models.literal_ramit import literal_block

Variant = tuple[str, str, int, int]
Form = Callable[[RAMiT, Tensor], Tensor]

# Parameters and multiply-adds at 1280x720 output, as published.
FIGURES: dict[Variant, tuple[int, int]] = {
    ("ramit", "sr", 2, 3): (939_844, 163_424_317_440),
    ("ramit", "sr", 3, 3): (948_499, 77_255_585_792),
    ("ramit", "sr", 4, 3): (960_616, 42_130_099_200),
    ("ramit", "denoise", 1, 3): (934_651, 620_777_256_960),
    ("ramit", "denoise", 1, 1): (932_271, 618_538_874_880),
    ("ramit", "lowlight", 1, 3): (934_651, 621_576_140_800),
    ("ramit", "derain", 1, 3): (934_651, 620_777_256_960),
    ("ramit-1", "sr", 2, 3): (823_164, 149_337_784_320),
    ("ramit-1", "sr", 3, 3): (831_819, 70_681_870_336),
    ("ramit-1", "sr", 4, 3): (843_936, 38_608_465_920),
    ("ramit-1", "denoise", 1, 3): (817_971, 566_778_880_000),
    ("ramit-slim-sr", "sr", 2, 3): (581_008, 127_821_496_320),
    ("ramit-slim-sr", "sr", 3, 3): (587_503, 60_393_209_856),
    ("ramit-slim-sr", "sr", 4, 3): (596_596, 32_910_888_960),
    ("ramit-slim-lle", "lowlight", 1, 3): (358_243, 252_764_774_400),
}
ORIGINAL_NAMES = {
    "ramit": "RAMiT",
    "ramit-1": "RAMiT-1",
    "ramit-slim-sr": "RAMiT-slimSR",
    "ramit-slim-lle": "RAMiT-slimLLE",
}


def original_name(variant: Variant) -> str:
    """Return the origin's name of a variant: "RAMiT-1_X4" for ("ramit-1", "sr", 4, 3)."""
    name, task, scale, channels = variant
    noise = "CDN" if channels == 3 else "GDN"
    return f"{ORIGINAL_NAMES[name]}_{ {'sr': f'X{scale}', 'denoise': noise, 'derain': 'DR', 'lowlight': 'LLE'}[task] }"


def config_of(variant: Variant) -> Config:
    name, task, scale, channels = variant
    return Config.variant(name, task=task, scale=scale, channels=channels)


def tiny_network(**changes: Any) -> RAMiT:
    torch.manual_seed(0)
    return RAMiT(replace(Config.tiny(), **changes))


every_variant = pytest.mark.parametrize("variant", FIGURES, ids=original_name)


@pytest.fixture(scope="module")
def index(shared: Path) -> dict[str, Any]:
    """What the original networks are, one entry a golden."""
    entries: dict[str, Any] = json.loads((shared / "golden" / "ramit_index.json").read_text(encoding="utf-8"))
    return entries


def load_original(network: nn.Module, shared: Path, name: str, entry: dict[str, Any]) -> None:
    """Load the original checkpoint where there is one, else the fill its golden was made with; strictly."""
    if entry["weights"] == "official checkpoint":
        path = shared / "weights" / "ramit" / f"{name}.pth"
        state = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - the rule protects users' files
    else:
        state = deterministic_fill(network.state_dict())
    network.load_state_dict(state)
    network.eval()


def relative_error(output: Tensor, golden: npt.NDArray[np.float32]) -> float:
    """Return the largest difference, relative to the largest golden value or to 1."""
    return float(np.abs(output.numpy() - golden).max() / max(1.0, np.abs(golden).max()))


def assert_golden(
    variant: Variant, shared: Path, index: dict[str, Any], *, within: float, forms: tuple[Form, ...] = (ARCH.run,)
) -> None:
    name = original_name(variant)
    network = RAMiT(config_of(variant))
    load_original(network, shared, name, index[name])
    arrays = np.load(shared / "golden" / f"{name}.npz")
    with torch.inference_mode():
        for restored in (form(network, torch.from_numpy(arrays["x"])) for form in forms):
            assert relative_error(restored, arrays["y"]) <= within


@pytest.mark.shared
@pytest.mark.parametrize("variant", [("ramit-1", "sr", 2, 3), ("ramit", "lowlight", 1, 3)], ids=original_name)
def test_goldens_hold_so_closely_that_another_layer_norm_eps_would_show(
    variant: Variant, shared: Path, index: dict[str, Any]
):
    assert_golden(variant, shared, index, within=5e-6)


@pytest.mark.shared
@pytest.mark.slow
@every_variant
def test_every_published_variant_gives_the_originals_pixels(variant: Variant, shared: Path, index: dict[str, Any]):
    assert_golden(variant, shared, index, within=2e-5, forms=(ARCH.run, RAMiT.__call__))


@pytest.mark.shared
def test_one_block_gives_the_originals_four_outputs(shared: Path, index: dict[str, Any]):
    block = DRAMiTransformer(dim=64)
    load_original(block, shared, "DRAMiTransformer_dim64", index["DRAMiTransformer_dim64"])
    assert sum(p.numel() for p in block.parameters()) == index["DRAMiTransformer_dim64"]["params"]
    arrays = np.load(shared / "golden" / "DRAMiTransformer_dim64.npz")
    with torch.inference_mode():
        outputs = block(torch.from_numpy(arrays["x"]))
    assert max(relative_error(output, arrays[f"y{i}"]) for i, output in enumerate(outputs)) <= 2e-5


@pytest.mark.shared
@every_variant
def test_configurations_and_state_dicts_are_the_originals(variant: Variant, index: dict[str, Any]):
    entry, config = index[original_name(variant)], config_of(variant)
    assert (list(config.mean), list(config.std)) == (entry["mean"], entry["std"])
    assert FIGURES[variant] == (entry["params"], entry["mult_adds_1280x720"])
    with torch.device("meta"):
        state = RAMiT(config).state_dict()
    assert {k: [list(t.shape), str(t.dtype).removeprefix("torch.")] for k, t in state.items()} == entry["state_dict"]


@every_variant
def test_parameters_and_multiply_adds_are_the_published_ones(variant: Variant):
    config = config_of(variant)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in RAMiT(config).parameters())
    assert (parameters, mult_adds(config, 720 // config.scale, 1280 // config.scale)) == FIGURES[variant]


def test_every_published_variant_is_listed_and_no_other_is_made():
    assert set(PUBLISHED) == set(FIGURES)
    with pytest.raises(ValueError, match=r"no published RAMiT \('ramit-1', 'derain', 1, 3\); known: .*'ramit-slim-sr'"):
        Config.variant("ramit-1", task="derain")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dim": 24}, "dim must be"),
        ({"num_heads": 3}, "num_heads must divide"),
        ({"chsa_head_ratio": 0.1}, "heads of both kinds"),
        ({"depths": (2, 2, 2)}, "depths must be"),
        ({"mv_ver": 3}, "mv_ver"),
        ({"mix_exp_groups": 4}, "must divide what they expand"),
        ({"exp_groups": 0}, "must divide what they expand"),
        ({"channels": 2}, "channels must be"),
        ({"mean": (0.5,)}, "one number a channel"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be positive"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_an_impossible_configuration_is_refused(changes: dict[str, Any], reason: str):
    with pytest.raises(ValueError, match=reason):
        replace(Config.tiny(), **changes)


def test_a_value_of_the_wrong_type_in_json_is_refused_by_name():
    values = Config.tiny().to_json()
    for wrong in ({"dim": "16"}, {"helper": 1}, {"depths": 4}, {"mean": [0.5, "a", 0.5]}, {"scale": 2.0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            Config.from_json(values | wrong)


BLOCKS = {
    "as published": {},
    "shifted": {"shift": 4},
    "other window": {"window": 4, "shift": 1, "mv_ver": 2},
    "odd window": {"window": 5, "shift": 2},
    "two channel heads": {"window": 4, "shift": 2, "channel_heads": 2, "helpers": True},
    "helpers": {"window": 4, "shift": 2, "helpers": True, "mv_ver": 2},
    "large logit scale": {"window": 4, "logit_scale": 6.0},
    "short queries": {"window": 4, "query_size": 2e-14},
}


@pytest.mark.parametrize("case", BLOCKS.values(), ids=BLOCKS)
def test_a_block_is_what_the_literal_reference_says(case: dict[str, Any]):
    dim, heads = 16, 4
    window, shift, mv_ver, channel_heads = (
        case.get(name, default) for name, default in (("window", 8), ("shift", 0), ("mv_ver", 1), ("channel_heads", 1))
    )
    block = DRAMiTransformer(dim, heads, channel_heads / heads, window, shift, mv_ver=mv_ver)
    block.load_state_dict(deterministic_fill(block.state_dict()))
    block = block.double().eval()
    with torch.no_grad():
        for attention in (block.sp_attn, block.ch_attn):
            if "logit_scale" in case:
                attention.logit_scale.fill_(case["logit_scale"])
        if "query_size" in case:
            # Norms of d = 4 channels fall below the floor of 1e-12; the channel heads' sums stay above it.
            queries = block.qkv_proj.qkv.weight.view(heads, 3, dim // heads, dim)[:, 0]
            queries.mul_(case["query_size"])
            assert block.qkv_proj.qkv.bias is not None
            block.qkv_proj.qkv.bias.view(heads, 3, dim // heads)[:, 0] *= case["query_size"]
    generator = torch.Generator().manual_seed(1)
    size = (2 * window, 3 * window) if window < 8 else (8, 16)

    def draw(channels: int) -> Tensor:
        return torch.randn((1, channels, *size), dtype=torch.float64, generator=generator)

    x, sp, ch = draw(dim), draw(dim - channel_heads * 4), draw(channel_heads * 4)
    helpers = (sp, ch) if case.get("helpers") else (None, None)
    with torch.inference_mode():
        outputs = block(x, *helpers)
    expected = literal_block(
        {key: value.numpy() for key, value in block.state_dict().items()},
        x[0].numpy(), heads=heads, channel_heads=channel_heads, window=window, shift=shift, mv_ver=mv_ver,
        sp=None if helpers[0] is None else sp[0].numpy(), ch=None if helpers[1] is None else ch[0].numpy(),
    )  # fmt: skip
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours[0].numpy(), theirs, atol=1e-9)


def test_a_block_takes_helpers_and_returns_four_outputs_without_touching_its_inputs():
    block = DRAMiTransformer(dim=64).eval()
    x, sp, ch = torch.randn(4, 64, 32, 32), torch.randn(4, 48, 32, 32), torch.randn(4, 16, 32, 32)
    before = [tensor.clone() for tensor in (x, sp, ch)]
    with torch.inference_mode():
        outputs = block(x, sp, ch)
        alone = block(x)
    assert [output.shape[1] for output in outputs] == [64, 48, 16, 64]
    assert all(torch.equal(*pair) for pair in zip(before, (x, sp, ch), strict=True))
    assert not torch.allclose(outputs.x, alone.x)


def test_a_block_without_helper_ignores_what_it_is_given():
    block = DRAMiTransformer(dim=16, helper=False).eval()
    x = torch.randn(1, 16, 8, 8)
    with torch.inference_mode():
        assert torch.equal(block(x).x, block(x, torch.randn(1, 12, 8, 8), torch.randn(1, 4, 8, 8)).x)


def test_sums_of_two_halves_give_the_channel_attention_of_the_whole():
    attention = ChannelSelfAttention(4, 2)
    qkv = torch.randn(2, 40, 3, 2, 4)
    halves = [attention.sums(part[:, :, :2]) for part in qkv.split([16, 24], 1)]
    whole = attention.matrix(attention.sums(qkv[:, :, :2]))
    torch.testing.assert_close(attention.matrix(halves[0].plus(halves[1])), whole)
    assert isinstance(halves[0], ChannelSums)
    torch.testing.assert_close(whole.sum(-1), torch.ones(2, 2, 4))


def test_channel_sums_beyond_one_chunk_are_exact():
    qk = torch.randint(-3, 4, (1, 40_000, 2, 1, 4)).float()
    sums = ChannelSelfAttention.sums(qk)
    q, k = qk[0, :, 0, 0].long(), qk[0, :, 1, 0].long()
    assert torch.equal(sums.products[0, 0].long(), q.t() @ k)
    assert torch.equal(sums.k_squares[0, 0].long(), (k * k).sum(0))


def test_the_multiples_depend_on_the_window():
    network = tiny_network(window_size=4, mv_ver=1).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 16, 48)).shape == (1, 3, 32, 96)
        with pytest.raises(ValueError, match=r"multiples of 16, not \(1, 3, 16, 40\)"):
            network(torch.rand(1, 3, 16, 40))


def test_drop_path_drops_whole_samples_only_while_training_and_keeps_the_mean():
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 1, 1)
    torch.manual_seed(0)
    values = drop(x).squeeze()
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(values[:, 0], values[:, 1])
    assert values.mean().item() == pytest.approx(1, abs=0.03)
    assert drop.eval()(x) is x


def test_drop_path_rises_linearly_over_all_blocks():
    network = tiny_network(depths=(2, 1, 1, 2), drop_path=0.5)
    rates = [module.rate for module in network.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def cubic(distance: float) -> float:
    """Return Keys' cubic kernel with a = -0.5, the field's bicubic."""
    t = abs(distance)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_with_image_skip_a_fresh_network_enlarges_bicubically(scale: int):
    network = tiny_network(scale=scale, image_skip=True).double().eval()
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    matrix = torch.tensor(
        [[cubic((row + 0.5) / scale - 0.5 - column) for column in range(32)] for row in range(32 * scale)],
        dtype=torch.float64,
    )
    inside = slice(2 * scale, -2 * scale)
    with torch.inference_mode():
        torch.testing.assert_close(
            network(x)[..., inside, inside], (matrix @ x @ matrix.t())[..., inside, inside], atol=1e-6, rtol=0
        )


def test_with_image_skip_a_fresh_network_of_scale_one_is_the_identity():
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(tiny_network(scale=1, image_skip=True).eval()(x), x)
        assert not torch.allclose(tiny_network(scale=1).eval()(x), x)


def test_with_image_skip_training_leaves_the_identity():
    network = tiny_network(image_skip=True)
    x = torch.rand(1, 3, 32, 32)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):  # the first step can move the last convolution only
        optimiser.zero_grad()
        (network(x) - 0.5).abs().mean().backward()
        optimiser.step()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_a_fresh_network_starts_with_the_logit_scale_of_its_kind():
    scales = [p for name, p in tiny_network().named_parameters() if name.endswith("logit_scale")]
    assert all(torch.equal(scale, torch.full_like(scale, math.log(10))) for scale in scales)


def test_gradients_agree_with_differences():
    network = tiny_network().double()
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    weights, direction = torch.randn(1, 3, 64, 64, dtype=torch.float64), torch.randn_like(x)
    (gradient,) = torch.autograd.grad((network(x) * weights).sum(), x)
    with torch.no_grad():
        ahead, behind = ((network(x + step * direction) * weights).sum() for step in (1e-7, -1e-7))
    assert (gradient * direction).sum().item() == pytest.approx((ahead - behind).item() / 2e-7, rel=1e-5)


def test_a_zero_query_gives_finite_gradients():
    block = DRAMiTransformer(dim=16)
    nn.init.zeros_(block.qkv_proj.qkv.weight)
    nn.functional.mse_loss(block(torch.zeros(1, 16, 8, 8)).x, torch.ones(1, 16, 8, 8)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


@pytest.mark.parametrize("size", [(2, 24, 5), (1, 7, 3), (17, 2, 2)])
def test_a_pointwise_convolution_is_differentiated_as_torch_differentiates_it(size: tuple[int, int, int]):
    count, height, width = size
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 6, height, width, dtype=torch.float64, generator=generator)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    conv = Pointwise(6, 4).double()

    ours, torchs = conv(x), torch.nn.functional.conv2d(x, conv.weight, conv.bias)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, torchs)
    for mine, theirs in zip(
        *(torch.autograd.grad(y.square().sum(), (x, *conv.parameters())) for y in (ours, torchs)), strict=True
    ):
        torch.testing.assert_close(mine, theirs)
