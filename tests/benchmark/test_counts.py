from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.benchmark.cases import BenchSettings, cases_of, select_entries
from restore_cli.benchmark.counts import count, count_traffic, geometry_of
from restore_cli.models import architecture_names, count_flops, get_architecture, mult_adds_a_pixel
from restore_cli.weights.manifest import load_manifest
from tests.benchmark.samples import tiny_case

HEIGHT, WIDTH, TOKENS, DIM = 16, 24, 64, 8


class Toy(nn.Module):
    """One of each kind of product, so that each can be counted by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Conv2d(3, DIM, 3, padding=1)
        self.depthwise = nn.Conv2d(DIM, DIM, 3, padding=1, groups=DIM)
        self.strided = nn.Conv2d(DIM, 2 * DIM, 2, stride=2)
        self.linear = nn.Linear(2 * DIM, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.strided(self.depthwise(self.dense(x)))
        tokens = x.flatten(2).transpose(1, 2)
        heads = tokens.unflatten(2, (2, DIM)).transpose(1, 2)
        attended = F.scaled_dot_product_attention(heads, heads, heads)
        gram = torch.einsum("bhld,bhle->bhde", attended, heads)
        return self.linear(tokens) + gram.sum()


def toy_mult_adds() -> int:
    pixels, tokens = HEIGHT * WIDTH, HEIGHT * WIDTH // 4
    convolutions = pixels * DIM * 3 * 9 + pixels * DIM * 9 + tokens * 2 * DIM * DIM * 4
    attention = 2 * (2 * tokens * tokens * DIM)  # heads * (q k^T and the product with v)
    gram = 2 * tokens * DIM * DIM
    linear = tokens * 2 * DIM * 5
    return convolutions + attention + gram + linear


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_flops_equal_a_count_by_hand_attention_included(device: str):
    network = Toy().eval().to(device)
    assert count_flops(network, torch.ones((1, 3, HEIGHT, WIDTH), device=device)) == 2 * toy_mult_adds()


def test_flops_of_a_batch_are_those_of_its_images():
    network = Toy().eval().to("meta")
    one, three = (count_flops(network, torch.empty((n, 3, HEIGHT, WIDTH), device="meta")) for n in (1, 3))
    assert three == 3 * one


@pytest.mark.parametrize(
    "model",
    [
        "ramit-slim-lowlight",
        *(pytest.param(model, marks=pytest.mark.slow) for model in ("ramit-sr-x4", "ramit-1-sr-x4")),
    ],
)
def test_flops_of_ramit_agree_with_its_weights_and_its_two_attentions(model: str):
    """Weights give the convolutions, the published structure the attentions; a folded product may save up to 2 %.

    Spatial attention alone is an eighth of it all, so a counter that misses it fails.
    """
    config = get_architecture("ramit").config.from_json(load_manifest().get(model).config)
    network = get_architecture("ramit").build(config).eval()
    full = 64 * 96

    def area(key: str) -> int:
        if key.startswith(("stage2", "down1")):
            return full // 4
        if key.startswith(("stage3", "down2")):
            return full // 16
        return full * config.scale**2 if "final_conv" in key else full

    weights = {key: value for key, value in network.state_dict().items() if value.ndim == 4 and "weight" in key}
    convolutions = sum(prod(weight.shape) * area(key) for key, weight in weights.items())
    head_dim = config.dim // config.num_heads
    blocks = sum(depth * size for depth, size in zip(config.depths, (full, full // 4, full // 16, full), strict=True))
    attention = blocks * (2 * 64 * 3 * head_dim + 2 * head_dim * head_dim)
    counted = count_flops(network.to("meta"), torch.empty((1, 3, 64, 96), device="meta"))
    assert 0.98 <= counted / (2 * (convolutions + attention)) <= 1


@pytest.mark.parametrize("arch", architecture_names())
def test_every_network_can_be_counted_without_computing(arch: str):
    found = get_architecture(arch)
    network = found.build(found.config.tiny()).eval().to("meta")
    side = max(32, 2 * found.multiple_of)  # no classifier takes less than 32
    assert count_flops(network, torch.empty((1, found.config.tiny().channels, side, side), device="meta")) > 0


class Moves(nn.Module):
    """Reads an image twice and writes both; the views of it move nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x], dim=1).transpose(2, 3).flatten(0, 1)[1:].detach()


class Doubles(nn.Module):
    """Reads an image and writes it where it was."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("network", "images"), [(Moves(), 4), (Doubles(), 2)])
def test_traffic_is_what_operations_read_and_write_and_views_move_nothing(network: nn.Module, images: int, device: str):
    image = torch.ones((1, 3, HEIGHT, WIDTH), device=device)
    assert count_traffic(network, image) == images * image.numel() * image.element_size()


def test_the_input_is_rounded_down_and_padded_up():
    geometry = geometry_of((720, 1280), scale=3, multiple_of=32)
    assert geometry.input == (240, 426)
    assert geometry.padded == (256, 448)
    assert geometry.output == (720, 1278)


def test_a_size_that_fits_is_not_padded():
    assert geometry_of((128, 64), scale=2, multiple_of=32).padded == (64, 32)


def test_counts_come_at_the_size_asked_for_and_at_the_papers():
    counts = count(tiny_case((128, 192)))
    assert counts.mult_adds is not None
    assert counts.mult_adds_paper_size is not None
    # Nearly everything grows with the padded area: 64 x 96 against 384 x 640.
    assert counts.mult_adds_paper_size == counts.mult_adds * 40
    assert counts.flops_paper_size == pytest.approx(counts.flops * 40, rel=0.01)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["RAMiT-1_X4", *(pytest.param(f"RAMiT-1_{n}", marks=pytest.mark.exhaustive) for n in ("X2", "X3", "CDN"))]
)
def test_params_and_mult_adds_are_the_published_ones_to_the_unit(name: str, shared: Path):
    index = json.loads((shared / "golden" / "ramit_index.json").read_text(encoding="utf-8"))
    entries = select_entries(load_manifest(), ["ramit-1"])
    (entry,) = (entry for entry in entries if entry.file.removesuffix(".pth") == name)
    counts = count(cases_of([entry], BenchSettings(full=True))[0])
    assert counts.params == index[name]["params"]
    assert counts.mult_adds == counts.mult_adds_paper_size == index[name]["mult_adds_1280x720"]


def counted(weights_id: str) -> int:
    entry = load_manifest().get(weights_id)
    arch = get_architecture(entry.arch)
    return mult_adds_a_pixel(arch, arch.config.from_json(entry.config))


def test_a_pixel_of_the_result_costs_its_share_of_the_convolutions():
    convolutions = (3 * 64, *[64 * 64] * 16, 64 * 3 * 16)  # of 3x3, at a sixteenth of the result's pixels
    assert counted("real-esrgan-video-x4") == 9 * sum(convolutions) / 16


@pytest.mark.parametrize(
    "weights_id", ["ramit-lite-sr-x3", "unet-derain", "unet-sr-x3-photo", "crossformer-lite-sr-x2", "swinir-light-x4"]
)
def test_the_manifest_states_the_cost_of_a_pixel_that_torch_counts(weights_id: str):
    assert load_manifest().get(weights_id).mult_adds == counted(weights_id)


def test_all_listed_weights_that_restore_state_the_cost_of_a_pixel():
    entries = [entry for entry in load_manifest().entries if get_architecture(entry.arch).restores]
    assert not [entry.id for entry in entries if entry.mult_adds is None]
    speeds = {entry.id: entry.speed for entry in entries}
    assert (speeds["ramit-lite-sr-x4"], speeds["ramit-sr-x2"], speeds["restormer-derain"]) == ("fast", "medium", "slow")
