"""A warm start copies what fits and turns the rest into what does the same work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from restore_cli.errors import TrainingError
from restore_cli.models import get_architecture, span
from restore_cli.models.ramit.config import Config as RamitConfig
from restore_cli.training.checkpoint import BEST, LAST, write_checkpoint
from restore_cli.training.recipes import get_recipe
from restore_cli.training.warm_start import read_source, warm_start
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.load import save_weights


def network_of(recipe: str) -> nn.Module:
    """Return the network of a recipe at a random start, none of its tensors zero."""
    torch.manual_seed(1)
    network: nn.Module = get_architecture(get_recipe(recipe).network.arch).build(get_recipe(recipe).config())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def tiny(**changes: object) -> RamitConfig:
    """Return a small network's configuration."""
    small = RamitConfig(
        dim=16, depths=(1, 1, 1, 1), num_heads=2, chsa_head_ratio=0.5, mv_ver=1, scale=1, image_skip=True
    )
    return replace(small, **changes)


def pass_through(network: nn.Module) -> None:
    """Make the last convolution do nothing, so that what comes before it can be told."""
    final = network.to_target.final_conv
    with torch.no_grad():
        final.weight.zero_()
        final.bias.zero_()
        for channel in range(final.weight.shape[0]):
            final.weight[channel, channel, 1, 1] = 1.0


def saved(network: nn.Module, recipe: str, path: Path) -> Path:
    chosen = get_recipe(recipe)
    entry = WeightsEntry(
        id=recipe,
        model="ramit-lite",
        arch="ramit",
        config=chosen.config().to_json(),
        task=chosen.task,
        scale=chosen.scale,
        channels=chosen.channels,
        training_patch=32,
        file=path.name,
        licence="MIT",
        origin="this test",
        citation="none",
    )
    save_weights(path, network.state_dict(), entry)
    return path


def started(old: nn.Module, recipe: str, folder: Path) -> tuple[nn.Module, tuple[str, ...], tuple[str, ...]]:
    write_checkpoint(folder / BEST, {"network": old.state_dict()})
    chosen = get_recipe(recipe)
    network = network_of(recipe)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    result = warm_start(network, str(folder), scale=chosen.scale, channels=chosen.channels)
    return network, result.adapted, result.left


def residual(network: nn.Module, x: torch.Tensor, scale: int) -> torch.Tensor:
    """Return what a network adds to its input enlarged."""
    enlarged = functional.interpolate(x, scale_factor=scale, mode="bicubic", antialias=True) if scale > 1 else x
    with torch.inference_mode():
        output: torch.Tensor = network(x)
    return output - enlarged


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ramit-lite-sr-x4", "ramit-lite-sr-x4-photo"),
        ("ramit-lite-denoise-color", "ramit-lite-derain"),
        ("ramit-lite-denoise-color", "ramit-lite-lowlight"),
        ("ramit-lite-derain", "ramit-lite-lowlight"),
        ("ramit-lite-deblur-motion", "ramit-lite-deblur-motion"),
        ("crossformer-lite-deblur-motion", "crossformer-lite-deblur-motion"),
    ],
)
def test_a_task_of_the_same_shape_starts_as_the_same_network(old: str, new: str, tmp_path: Path):
    source = network_of(old)
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    network, adapted, left = started(source, new, tmp_path)
    assert (adapted, left) == ((), ())
    with torch.inference_mode():
        assert torch.equal(network(image), source(image))


def test_a_doubled_factor_starts_with_each_subpixel_doing_what_it_did(image: torch.Tensor, tmp_path: Path):
    source = network_of("ramit-lite-sr-x2")
    pass_through(source)
    network, adapted, left = started(source, "ramit-lite-sr-x4", tmp_path)
    assert (adapted, left) == (("to_target.conv.weight", "to_target.conv.bias"), ())
    expected = residual(source, image, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(residual(network, image, 4), expected, atol=1e-5)


def test_a_factor_of_three_starts_with_filters_of_the_factor_of_two(image: torch.Tensor, tmp_path: Path):
    source = network_of("ramit-lite-sr-x2")
    pass_through(source)
    network, _, left = started(source, "ramit-lite-sr-x3", tmp_path)
    assert left == ()
    within = torch.tensor([0, 0, 1])
    fields = residual(source, image, 2).unflatten(3, (32, 2)).unflatten(2, (32, 2))
    expected = fields[:, :, :, within][..., within].flatten(4, 5).flatten(2, 3)
    assert torch.allclose(residual(network, image, 3), expected, atol=1e-5)


def test_a_gray_network_starts_as_the_colour_network_on_gray_images(image: torch.Tensor, tmp_path: Path):
    source = network_of("ramit-lite-denoise-color")
    final = source.to_target.final_conv
    with torch.no_grad():  # the same 3x3 filter in other amounts: then the one filter that is left can be exact
        amounts = torch.tensor([[1.0, -0.5, 0.2], [0.3, 0.8, 0.1], [0.0, 0.4, -1.0]])
        final.weight.copy_(amounts[:, :, None, None] * torch.randn(3, 3))
    network, adapted, left = started(source, "ramit-lite-denoise-gray", tmp_path)
    assert len(adapted) == 5
    assert left == ()
    gray = image[:, :1]
    expected = residual(source, gray.expand(-1, 3, -1, -1), 1).mean(1, keepdim=True)
    assert torch.allclose(residual(network, gray, 1), expected, atol=1e-5)


def test_a_colour_network_starts_as_the_gray_network_of_each_images_mean(image: torch.Tensor, tmp_path: Path):
    source = network_of("ramit-lite-denoise-gray")
    network, _, left = started(source, "ramit-lite-denoise-color", tmp_path)
    assert left == ()
    expected = residual(source, image.mean(1, keepdim=True), 1).expand(-1, 3, -1, -1)
    assert torch.allclose(residual(network, image, 1), expected, atol=1e-5)


def test_a_crossformer_changes_its_factor_and_its_channels_too(image: torch.Tensor, tmp_path: Path):
    source = network_of("crossformer-lite-sr-x2")
    network, adapted, left = started(source, "crossformer-lite-sr-x4", tmp_path)
    assert (adapted, left) == (("to_target.conv.weight", "to_target.conv.bias"), ())
    expected = residual(source, image, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(residual(network, image, 4), expected, atol=1e-5)


def test_a_gray_crossformer_starts_as_the_colour_one_on_gray_images(image: torch.Tensor, tmp_path: Path):
    source = network_of("crossformer-lite-denoise-color")
    network, _, left = started(source, "crossformer-lite-denoise-gray", tmp_path)
    assert left == ()
    gray = image[:, :1]
    expected = residual(source, gray.expand(-1, 3, -1, -1), 1).mean(1, keepdim=True)
    assert torch.allclose(residual(network, gray, 1), expected, atol=1e-5)
    again, _, left = started(network, "crossformer-lite-denoise-color", tmp_path)
    assert left == ()
    expected = residual(network, image.mean(1, keepdim=True), 1).expand(-1, 3, -1, -1)
    assert torch.allclose(residual(again, image, 1), expected, atol=1e-5)


@torch.no_grad()
def test_a_gray_unet_starts_as_the_colour_one_on_gray_images(tmp_path: Path):
    source = network_of("unet-denoise-color")
    write_checkpoint(tmp_path / BEST, {"network": source.state_dict()})
    gray, again = network_of("unet-denoise-gray"), network_of("unet-denoise-color")
    assert warm_start(gray, str(tmp_path), scale=1, channels=1).left == ()
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([0.1])
    expected = source(image[:, :1].expand(-1, 3, -1, -1), level).mean(1, keepdim=True)
    within = 1e-4 * float(expected.abs().max())
    assert torch.allclose(gray(image[:, :1], level), expected, atol=within)
    write_checkpoint(tmp_path / BEST, {"network": gray.state_dict()})
    assert warm_start(again, str(tmp_path), scale=1, channels=3).left == ()
    mean = image.mean(1, keepdim=True)
    expected = image + (gray(mean, level) - mean)
    assert torch.allclose(again(image, level), expected, atol=1e-4 * float(expected.abs().max()))


def test_a_folded_network_changes_its_channels_too(tmp_path: Path):
    build = get_architecture("ramit").build
    grey = tiny(fold=2, channels=1, mean=(0.5,), std=(0.25,))
    torch.manual_seed(2)
    gray, colour, again = build(grey).eval(), build(tiny(fold=2)).eval(), build(grey).eval()
    torch.nn.init.normal_(gray.to_target.final_conv.weight)
    for old, new, channels in ((gray, colour, 3), (colour, again, 1)):
        write_checkpoint(tmp_path / BEST, {"network": old.state_dict()})
        assert warm_start(new, str(tmp_path), scale=1, channels=channels).left == ()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = residual(gray, image.mean(1, keepdim=True), 1).expand(-1, 3, -1, -1)
    assert expected.abs().max() > 0.01
    assert torch.allclose(residual(colour, image, 1), expected, atol=1e-5)
    assert torch.allclose(residual(again, image[:, :1], 1), residual(gray, image[:, :1], 1), atol=1e-5)


def test_of_a_network_folded_otherwise_all_but_its_ends_is_taken(tmp_path: Path):
    build = get_architecture("ramit").build
    for old, new in ((1, 2), (2, 1)):
        write_checkpoint(tmp_path / BEST, {"network": build(tiny(fold=old)).state_dict()})
        result = warm_start(build(tiny(fold=new)), str(tmp_path), scale=1, channels=3)
        assert result.left == ("shallow.conv.weight", "to_target.conv.weight", "to_target.conv.bias")


def test_a_run_gives_its_best_weights_or_else_the_average_of_its_last_state(tmp_path: Path):
    one, other = {"a": torch.ones(1)}, {"a": torch.zeros(1)}
    write_checkpoint(tmp_path / LAST, {"network": other, "averaged": one})
    assert read_source(str(tmp_path)) == one
    write_checkpoint(tmp_path / BEST, {"network": other})
    assert read_source(str(tmp_path)) == other


def test_a_weights_file_of_ours_is_a_source(image: torch.Tensor, tmp_path: Path):
    source = network_of("ramit-lite-sr-x2")
    path = saved(source, "ramit-lite-sr-x2", tmp_path / "x2.safetensors")
    network = network_of("ramit-lite-sr-x2")
    warm_start(network, str(path), scale=2, channels=3)
    with torch.inference_mode():
        assert torch.equal(network(image), source(image))


def test_a_file_that_was_trained_elsewhere_is_a_source(image: torch.Tensor, tmp_path: Path):
    source = network_of("ramit-lite-sr-x2")
    path = tmp_path / "net_g_latest.pth"
    torch.save({"params_ema": {f"module.{key}": tensor for key, tensor in source.state_dict().items()}}, path)
    network = network_of("ramit-lite-sr-x4")
    result = warm_start(network, str(path), scale=4, channels=3)
    assert result.left == ()
    assert len(result.adapted) == 2


@pytest.mark.shared
def test_a_weights_id_is_a_source(shared: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(shared / "weights"))
    network = get_architecture("ramit").build(get_recipe("ramit-slim-sr-x3").config())
    result = warm_start(network, "ramit-slim-sr-x2", scale=3, channels=3)
    assert len(result.adapted) == 2
    assert result.left == ()


def test_a_network_of_another_size_is_refused(tmp_path: Path):
    arch = get_architecture("ramit")
    write_checkpoint(tmp_path / BEST, {"network": arch.build(arch.config.tiny()).state_dict()})
    with pytest.raises(TrainingError, match="of another network"):
        warm_start(network_of("ramit-lite-sr-x2"), str(tmp_path), scale=2, channels=3)


def test_a_network_of_others_that_the_recipe_does_not_train_is_refused_by_its_name(tmp_path: Path):
    path = tmp_path / "4x.pth"
    torch.save({"params": span.SPAN(span.Config.tiny()).state_dict()}, path)
    with pytest.raises(TrainingError, match=r"4x\.pth is of SPAN, and the recipe trains RAMiT: .* tensors do not fit"):
        warm_start(network_of("ramit-lite-sr-x2"), str(path), scale=2, channels=3)


def test_what_is_no_source_is_refused_with_what_would_be(tmp_path: Path):
    with pytest.raises(TrainingError, match="no file, no run's folder and no weights id"):
        read_source(str(tmp_path / "misspelt"))
    with pytest.raises(TrainingError, match="there is no checkpoint"):
        read_source(str(tmp_path))
