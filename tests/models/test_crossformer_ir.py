"""CrossFormer-IR: what its construction promises; attention and groups are tested with CrossFormer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from restore_cli.layers.cross_scale import Grouping
from restore_cli.models.crossformer_ir.arch import ARCH
from restore_cli.models.crossformer_ir.config import Config
from restore_cli.models.crossformer_ir.network import Block, CrossFormerIR
from tests.models.fill import in_bands


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_standard_network_has_about_a_million_parameters():
    with torch.device("meta"):
        assert 0.9e6 < count(CrossFormerIR(Config())) < 1.3e6


@pytest.mark.parametrize("channels", [1, 3])
@torch.inference_mode()
def test_it_starts_from_the_identity(channels: int):
    statistics = {"mean": (0.4,) * channels, "std": (0.2,) * channels}
    config = replace(Config.tiny(), scale=1, image_skip=True, channels=channels, **statistics)
    x = torch.rand(2, channels, 20, 28)
    torch.testing.assert_close(CrossFormerIR(config)(x), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
@torch.inference_mode()
def test_it_starts_from_bicubic_where_it_enlarges(scale: int):
    x = torch.rand(1, 3, 12, 16)
    enlarged = CrossFormerIR(replace(Config.tiny(), scale=scale, image_skip=True))(x)
    bicubic = functional.interpolate(x, scale_factor=scale, mode="bicubic", antialias=True)
    torch.testing.assert_close(enlarged, bicubic, atol=1e-6, rtol=0)


def test_near_and_far_groups_take_turns_in_every_stage():
    with torch.device("meta"):
        network = CrossFormerIR(Config())
    intervals = [[block.interval for block in stage] for stage in network.stages]
    assert intervals == [[1, 4, 1, 4], [1, 2], [1, 1], [1, 2], [1, 4, 1, 4]]


@torch.inference_mode()
def test_padding_of_groups_is_never_seen():
    """What stands in the padding must not matter: an image whose groups fit is cut, and its cut groups are masked."""
    torch.manual_seed(0)
    block = Block(16, 2, 4, 1, hidden_ratio=1.0, drop_path=0.0).eval()
    features = torch.randn(1, 6, 8, 16)
    lower = block(torch.cat((features, torch.full((1, 2, 8, 16), 7.0)), 1))
    first_groups = slice(0, 3)  # the fourth row sees the next group through the depthwise convolution
    torch.testing.assert_close(block(features)[:, first_groups], lower[:, first_groups], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_one_level_takes_any_size():
    config = replace(Config.tiny(), dims=(16,), depths=(2,), num_heads=(2,), intervals=(2,), scale=1)
    assert CrossFormerIR(config).eval()(torch.rand(1, 3, 5, 7)).shape == (1, 3, 5, 7)


@torch.inference_mode()
def test_what_lies_far_away_is_seen_through_far_groups_alone():
    x = torch.rand(1, 3, 32, 32)
    changed = x.clone()
    changed[..., 30, 30] = 0.0
    reached = {}
    for interval in (1, 4):
        torch.manual_seed(0)
        config = replace(Config.tiny(), dims=(16,), depths=(2,), num_heads=(2,), group_size=8, intervals=(interval,))
        network = CrossFormerIR(config).eval()
        reached[interval] = bool((network(x) - network(changed))[..., :8, :8].abs().max() > 0)
    assert reached == {1: False, 4: True}


@pytest.mark.parametrize(
    "changes",
    [
        {"dims": (16, 16)},
        {"dims": (12, 16, 24)},
        {"depths": (1, 1, 1)},
        {"depths": (1, 1, 0, 1, 1)},
        {"num_heads": (3, 2, 2)},
        {"intervals": (2, 2)},
        {"kernels": (3, 4)},
        {"kernels": ()},
        {"group_size": 1},
        {"hidden_ratio": 0.0},
        {"fold": 0},
        {"fold": 2},
        {"scale": 0},
        {"channels": 2},
        {"mean": (0.5,)},
        {"std": (0.0, 0.2, 0.2)},
        {"drop_path": 1.0},
    ],
)
def test_configurations_that_cannot_be_are_refused(changes: dict[str, Any]):
    with pytest.raises(ValueError, match="CrossFormer-IR: "):
        replace(Config.tiny(), **changes)


def test_a_dropped_branch_leaves_its_input():
    block = Block(16, 2, 4, 1, hidden_ratio=1.0, drop_path=0.999).train()
    torch.manual_seed(0)
    x = torch.randn(4, 4, 4, 16)
    assert torch.equal(block(x), x)


def test_its_architecture_says_it_needs_multiples_of_four():
    assert (ARCH.multiple_of, ARCH.global_attention, ARCH.restores) == (4, False, True)
    assert Config().unit == ARCH.multiple_of


FOLDED = replace(
    Config.tiny(), dims=(16, 24), depths=(2, 1, 1), num_heads=(1, 2), intervals=(2, 1), fold=2, scale=1, image_skip=True
)


@pytest.mark.parametrize(
    "config", [Config(), Config.tiny(), Config(intervals=(4, 3, 1)), Config(dims=(32, 48), depths=(1, 1, 1),
    num_heads=(1, 1), intervals=(3, 1), fold=2)]
)  # fmt: skip
def test_no_group_is_padded_at_the_sizes_that_a_program_of_it_takes(config: Config):
    unit = ARCH.exported_unit_of(config)
    assert unit % config.unit == 0
    for level, interval in enumerate(config.intervals):
        side = unit // config.fold >> level
        for distance in (1, interval):
            grouping = Grouping(height=side, width=3 * side, size=config.group_size, interval=distance)
            assert not any(grouping.padding)


def test_programs_of_the_usual_network_take_multiples_of_32():
    assert ARCH.exported_unit_of(Config()) == 32


def test_folded_pixels_go_the_same_way_back():
    network = CrossFormerIR(FOLDED).eval()
    x = torch.rand(1, 3, 12, 20)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), x)
        network.to_target.conv.bias.copy_(torch.arange(12.0))
        added = network(x) - x
    # The shuffled channels are the places of a square, as torch's own unshuffling numbers them.
    expected = torch.arange(12.0).view(1, 3, 2, 2).repeat(1, 1, 6, 10) * 0.25
    torch.testing.assert_close(added, expected, atol=1e-5, rtol=0)


def test_a_file_written_before_pixels_could_be_folded_still_says_all():
    values = Config.tiny().to_json()
    del values["fold"]
    assert Config.from_json(values) == Config.tiny()


@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 8), (36, 52), (96, 200)])
@pytest.mark.parametrize("heads", [(1, 1, 1), (1, 2, 2)])
def test_parts_give_the_pixels_of_the_layers_at_once(height: int, width: int, heads: tuple[int, ...]):
    """A map smaller than a group, one group, padded groups, and more rows than a band: as training sees them."""
    torch.manual_seed(0)
    network = CrossFormerIR(replace(Config.tiny(), num_heads=heads)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    x = torch.rand(2, 3, height, width)
    at_once = network(x).detach()
    before = x.clone()
    with torch.inference_mode():
        torch.testing.assert_close(in_bands(network, x), at_once, atol=1e-5, rtol=1e-5)
    assert torch.equal(x, before)


def test_bands_of_many_rows_meet_without_a_border():
    torch.manual_seed(0)
    block = Block(16, 2, 4, 2, hidden_ratio=2.0, drop_path=0.0).eval()
    features = torch.randn(1, 80, 1200, 16)  # bands of 16 rows
    expected = block(features).detach()
    with torch.inference_mode():
        torch.testing.assert_close(block(features), expected, atol=1e-6, rtol=0)
