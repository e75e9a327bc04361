"""What every network of the folder promises, whoever wrote it: a new file is tested here without an edit."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from restore_cli.models import Arch, architecture_names, get_architecture
from tests.models.fill import lively

LEAST_SIDE = 8
CLASSIFIED_SIDE = 64  # leaves a classifier's last stage more than one token
# The last bias of the MLP that works out position biases: one number a head, added to all logits of a query alike. It
# changes nothing; published checkpoints hold it.
IGNORED_BY_SOFTMAX = ".pos.pos3.2.bias"


@pytest.fixture(params=architecture_names())
def arch(request: pytest.FixtureRequest) -> Arch:
    return get_architecture(request.param)


@pytest.fixture
def restoring(arch: Arch) -> Arch:
    """The same, where it maps images to images."""
    if not arch.restores:
        pytest.skip("it restores nothing")
    return arch


@pytest.fixture
def network(arch: Arch) -> nn.Module:
    torch.manual_seed(0)
    return arch.build(arch.config.tiny()).eval()


Form = Callable[[nn.Module, Tensor], Tensor]


@pytest.fixture(params=["plain", "for inference"])
def form(request: pytest.FixtureRequest, arch: Arch) -> Form:
    """Run a network as it is written, or in its form for inference."""
    return arch.run if request.param == "for inference" else lambda network, x: network(x)


def unit_of(arch: Arch) -> int:
    """Return what the tiny network's sizes are multiples of."""
    return arch.of(arch.config.tiny()).multiple_of


def images(arch: Arch, *, count: int = 2) -> Tensor:
    """Return smooth images with some grain, twice as wide as high."""
    side = max(unit_of(arch), LEAST_SIDE) if arch.restores else CLASSIFIED_SIDE
    channels = arch.config.tiny().channels
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((count, channels, 4, 8), generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(side, 2 * side), mode="bilinear", align_corners=False)
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def test_the_files_name_is_the_architectures(arch: Arch):
    assert get_architecture(arch.name) is arch
    assert arch.dtypes[0] == "float32"


def test_an_unknown_architecture_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"unknown architecture 'ramitt'; known: .*ramit"):
        get_architecture("ramitt")


@torch.inference_mode()
def test_the_output_is_scale_times_the_input(restoring: Arch, network: nn.Module, form: Form):
    x = images(restoring)
    scale = restoring.config.tiny().scale
    restored = form(network, x)
    assert restored.shape == (*x.shape[:2], scale * x.shape[2], scale * x.shape[3])
    assert restored.dtype == torch.float32


@torch.inference_mode()
@pytest.mark.parametrize("change", ["height", "width", "channels", "dimensions", "empty"])
def test_an_input_that_does_not_fit_is_refused(restoring: Arch, network: nn.Module, form: Form, change: str):
    x, unit = images(restoring), unit_of(restoring)
    if unit == 1 and change in {"height", "width"}:
        pytest.skip("it takes any size")
    wrong = {
        "height": x[:, :, 1:],
        "width": x[..., : unit + 1],
        "channels": torch.cat((x, x), 1),
        "dimensions": x[0],
        "empty": x[:, :, :0],
    }
    with pytest.raises(ValueError, match=rf"takes \(N, .*\b{unit}\b" if unit > 1 else r"takes \(N, "):
        form(network, wrong[change])


@torch.inference_mode()
def test_a_batch_gives_what_its_images_give_one_by_one(arch: Arch, network: nn.Module, form: Form):
    x = images(arch, count=3)
    one_by_one = torch.cat([form(network, image[None]) for image in x])
    torch.testing.assert_close(form(network, x), one_by_one, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_input_is_left_as_it_was_and_a_second_run_gives_the_same(arch: Arch, network: nn.Module, form: Form):
    x = images(arch)
    before = x.clone()
    assert torch.equal(form(network, x), form(network, x))
    assert torch.equal(x, before)


@torch.inference_mode()
def test_memory_layout_does_not_matter(arch: Arch, network: nn.Module, form: Form):
    x = images(arch)
    other = form(network, x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(form(network, x), other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_images_stay_finite_and_so_do_their_gradients(arch: Arch, network: nn.Module, level: float):
    restored = network(torch.full_like(images(arch), level))
    restored.square().mean().backward()
    assert restored.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@torch.inference_mode()
def test_bfloat16_autocast_comes_near_float32(arch: Arch, network: nn.Module, form: Form):
    x = images(arch)
    with torch.autocast("cpu", torch.bfloat16):
        near = form(network, x)
    difference = (near.float() - form(network, x)).abs()
    assert difference.max() <= 0.03
    assert difference.mean() <= 0.005


@torch.inference_mode()
def test_float64_agrees_with_float32(arch: Arch, network: nn.Module, form: Form):
    x = images(arch)
    restored = form(network, x)
    exact = form(network.double(), x.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(restored.double(), exact, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_form_for_inference_gives_the_pixels_of_the_plain_one(arch: Arch, network: nn.Module):
    network, x = lively(network).double(), images(arch).double()
    torch.testing.assert_close(arch.run(network, x), network(x), atol=1e-11, rtol=0)


@torch.inference_mode()
def test_a_state_dict_makes_another_network_the_same(arch: Arch, network: nn.Module):
    torch.manual_seed(1)
    other = arch.build(arch.config.tiny()).eval()
    x = images(arch)
    assert not torch.equal(network(x), other(x))
    other.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(network(x), other(x))


def test_a_state_dict_shares_no_memory_and_has_no_gaps(network: nn.Module):
    tensors = list(network.state_dict().values())
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)
    assert all(tensor.is_contiguous() for tensor in tensors)


def test_a_configuration_survives_json(arch: Arch):
    config = arch.config.tiny()
    assert arch.config.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_unknown_and_missing_fields_of_a_configuration_are_named(arch: Arch):
    values = arch.config.tiny().to_json()
    with pytest.raises(ValueError, match="wings"):
        arch.config.from_json(values | {"wings": 2})
    for name in values.keys() - arch.config.LATER:
        with pytest.raises(ValueError, match=name):
            arch.config.from_json({key: value for key, value in values.items() if key != name})
    older = {key: value for key, value in values.items() if key not in arch.config.LATER}
    assert arch.config.from_json(older) == arch.config.tiny()


def test_gradients_reach_every_parameter(arch: Arch, network: nn.Module):
    network = lively(network).double().train()  # in float64 rounding is far below the least gradient
    restored = network(images(arch).double())
    (restored - 0.5).abs().mean().backward()
    gradients = {name: p.grad.abs().max() for name, p in network.named_parameters() if p.grad is not None}
    floor = 1e-13 * max(gradients.values())
    idle = [name for name, _ in network.named_parameters() if name not in gradients or gradients[name] <= floor]
    assert idle == [name for name, _ in network.named_parameters() if name.endswith(IGNORED_BY_SOFTMAX)]


@torch.inference_mode()
def test_what_softmax_ignores_moves_no_pixel(arch: Arch, network: nn.Module):
    network, x = lively(network).double(), images(arch).double()
    before = network(x)
    for name, parameter in network.named_parameters():
        if name.endswith(IGNORED_BY_SOFTMAX):
            parameter.add_(1)
    torch.testing.assert_close(network(x), before, atol=1e-12, rtol=0)


def test_training_under_bfloat16_autocast_gives_float32_gradients(arch: Arch, network: nn.Module):
    with torch.autocast("cpu", torch.bfloat16):
        restored = network.train()(images(arch))
    (restored.float() - 0.5).abs().mean().backward()
    for p in network.parameters():
        assert p.grad is not None
        assert p.grad.dtype == torch.float32
        assert p.grad.isfinite().all()


@torch.inference_mode()
@pytest.mark.exhaustive
def test_the_graph_compiles_in_one_piece(arch: Arch, network: nn.Module):
    x = images(arch)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), network(x))


def test_multiply_adds_grow_with_the_padded_size(restoring: Arch):
    if restoring.mult_adds is None:
        pytest.skip("the paper states none")
    config, side = restoring.config.tiny(), restoring.multiple_of
    one, two = restoring.mult_adds(config, side, side), restoring.mult_adds(config, side + 1, side)
    assert 0 < one < two == restoring.mult_adds(config, 2 * side, side)
