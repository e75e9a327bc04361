"""The noise level reaches every pixel, and an unknown one is the network's own affair."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.models.unet.config import Config
from restore_cli.models.unet.network import UNet
from tests.models.fill import lively


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    network = UNet(Config.tiny()).eval()
    lively(network)
    return network


@torch.inference_mode()
def test_a_level_changes_the_result_and_each_image_has_its_own(network: UNet):
    x = torch.rand(2, 3, 16, 24)
    low, high = torch.tensor([0.02]), torch.tensor([0.2])
    both = network(x, torch.cat([low, high]))
    torch.testing.assert_close(both[:1], network(x[:1], low), atol=1e-5, rtol=0)
    torch.testing.assert_close(both[1:], network(x[1:], high), atol=1e-5, rtol=0)
    assert not torch.allclose(network(x[:1], low), network(x[:1], high))


@torch.inference_mode()
def test_a_negative_level_means_unknown_and_zero_does_not(network: UNet):
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(network(x, torch.tensor([-1.0])), network(x))
    assert not torch.allclose(network(x, torch.tensor([0.0])), network(x))


@torch.inference_mode()
def test_an_untrained_network_with_a_skip_is_the_identity():
    x = torch.rand(1, 1, 16, 8)
    assert torch.equal(UNet(Config(dims=(8, 8), depths=(1, 1), channels=1))(x), x)


@torch.inference_mode()
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_untrained_network_that_enlarges_is_bicubic(scale: int):
    x = torch.rand(1, 3, 8, 12)
    result = UNet(Config(dims=(8, 8), depths=(1, 1), fold=1, scale=scale))(x)
    torch.testing.assert_close(result, F.interpolate(x, scale_factor=scale, mode="bicubic"), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "wrong", [{"channels": 2}, {"scale": 5}, {"depths": (1, 1)}, {"fold": 0}, {"dims": (8, 0, 8)}, {"limit": -1.0}]
)
def test_what_no_network_can_be_built_from_is_refused(wrong: dict[str, object]):
    with pytest.raises(ValueError, match="UNet"):
        Config(**wrong)  # type: ignore[arg-type]


def test_files_written_before_the_network_enlarged_are_of_the_same_size():
    values = Config.tiny().to_json()
    del values["scale"]
    assert Config.from_json(values) == Config.tiny()


@pytest.fixture
def lightening() -> UNet:
    torch.manual_seed(0)
    network = UNet(Config(dims=(8, 8), depths=(1, 1), scene=True, image_skip=True)).eval()
    lively(network)
    return network


@torch.inference_mode()
def test_a_tile_is_lightened_as_the_whole_image_asks(lightening: UNet):
    curves = lightening.curves
    assert curves is not None
    image = torch.linspace(0.0, 0.3, 64).expand(1, 3, 32, 64).contiguous()
    scene = curves.scene(image)
    whole, _ = curves(image, scene)
    tile, _ = curves(image[..., :16], scene)
    torch.testing.assert_close(tile, whole[..., :16])
    assert not torch.allclose(lightening(image[..., :16]), lightening(image[..., :16], None, scene))
    torch.testing.assert_close(lightening(image), lightening(image, None, scene))


@torch.inference_mode()
def test_curves_keep_the_order_of_levels_and_black(lightening: UNet):
    curves = lightening.curves
    assert curves is not None
    levels = torch.linspace(0.0, 1.0, 256).view(1, 1, 1, 256).expand(1, 3, 16, 256)
    lightened, _ = curves(levels, curves.scene(0.1 * levels))
    assert (lightened.diff(dim=-1) > 0).all()
    assert (lightened[..., 0] == 0).all()


@torch.inference_mode()
def test_the_scene_is_nearly_the_same_at_every_size(lightening: UNet):
    curves = lightening.curves
    assert curves is not None
    small = torch.rand(1, 3, 100, 120, generator=torch.Generator().manual_seed(0)) ** 3
    large = F.interpolate(small, scale_factor=7, mode="nearest")
    assert (curves.scene(small) - curves.scene(large)).abs().max() < 0.1


@torch.inference_mode()
def test_with_replicated_borders_a_flat_image_stays_flat_on_one_scale():
    """On several the border meets squares of 4x4 pixels, each with its own look, which training makes alike."""
    torch.manual_seed(0)
    for padding, is_flat in (("replicate", True), ("zeros", False)):
        network = UNet(Config(dims=(8,), depths=(2,), fold=1, padding=padding)).eval()
        lively(network)
        result = network(torch.full((1, 3, 16, 16), 0.2))
        assert ((result - result[..., 8:9, 8:9]).abs().max().item() < 1e-5) == is_flat


@torch.inference_mode()
def test_a_limit_keeps_features_within_it_and_changes_none_that_are(network: UNet):
    def limited(limit: float) -> UNet:
        other = UNet(replace(network.config, limit=limit)).eval()
        other.load_state_dict(network.state_dict())
        return other

    x, features = torch.rand(1, 3, 16, 16), 100.0 * torch.rand(1, 8, 4, 4)
    assert network.mid(features).abs().max() > 6.0
    assert limited(6.0).mid(features).abs().max() == 6.0
    assert torch.equal(limited(1e4)(x), network(x))
