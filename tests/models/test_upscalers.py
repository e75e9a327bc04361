"""RRDBNet, SRVGGNetCompact and SPAN: published sizes, every key scheme, and whole images in bands."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.inference.footprint import peak_bytes
from restore_cli.layers.bands import Execution
from restore_cli.layers.stages import over_bands
from restore_cli.models import Arch, compact, get_architecture, recognise, rrdbnet, span
from restore_cli.weights.manifest import WeightsEntry, load_manifest
from tests.models.fill import lively
from tests.models.schemes import as_esrgan, as_kair, as_trained_span

NAMES = ("rrdbnet", "compact", "span")


@pytest.fixture(params=NAMES)
def arch(request: pytest.FixtureRequest) -> Arch:
    return get_architecture(request.param)


@pytest.fixture
def network(arch: Arch) -> nn.Module:
    torch.manual_seed(0)
    return lively(arch.build(arch.config.tiny()))


def shapes_of(state_dict: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state_dict.items()}


def on_meta(arch: Arch, config: Any) -> nn.Module:
    with torch.device("meta"):
        return arch.build(config)


# The files' sizes, less what torch.save adds, are four bytes a parameter; SPAN's authors state 498 and 426 thousand.
@pytest.mark.parametrize(
    ("name", "config", "parameters"),
    [
        ("rrdbnet", rrdbnet.Config(), 16_697_987),
        ("rrdbnet", rrdbnet.Config(fold=2), 16_703_171),
        ("rrdbnet", rrdbnet.Config(blocks=6), 4_467_779),
        ("compact", compact.Config(), 1_213_296),
        ("compact", compact.Config(convolutions=16), 621_424),
        ("span", span.Config(dim=52), 498_208),
        ("span", span.Config(), 426_288),
        ("span", span.Config(scale=2), 410_700),
    ],
)
def test_a_network_has_as_many_parameters_as_the_published_files(name: str, config: Any, parameters: int):
    assert sum(parameter.numel() for parameter in on_meta(get_architecture(name), config).parameters()) == parameters


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 8, 24, 64, None])
def test_an_image_in_bands_has_the_pixels_of_the_whole(arch: Arch, network: nn.Module, rows: int | None):
    network, x = network.double(), torch.rand(2, 3, 66, 20, dtype=torch.float64)
    assert arch.infer is not None
    execution = None if rows is None else Execution(rows=rows)
    expected = network(x)
    difference = (arch.infer(network, x, execution) - expected).abs().max()
    assert difference <= 1e-12 * max(1.0, float(expected.abs().max()))


@torch.inference_mode()
def test_no_row_of_a_band_lacks_what_its_network_looks_at():
    """A halo one row short would show: every kernel here reaches as far as it can."""
    ones = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(ones.weight)
    stage = nn.Sequential(ones, ones, nn.Upsample(scale_factor=2), ones)
    x = torch.rand(1, 1, 40, 8, dtype=torch.float64)
    whole = stage.double()(x)
    torch.testing.assert_close(over_bands(stage, x, halo=3, rows=8, scale=2), whole)
    assert not torch.allclose(over_bands(stage, x, halo=1, rows=8, scale=2), whole)
    same = nn.Sequential(ones, ones)
    into = x.clone()
    torch.testing.assert_close(over_bands(same, into, halo=2, rows=1, into=into), same(x))
    torch.testing.assert_close(into, same(x))


PUBLISHED: dict[str, tuple[str, Any]] = {
    "rrdbnet x4": ("rrdbnet", rrdbnet.Config(blocks=1)),
    "rrdbnet x2": ("rrdbnet", rrdbnet.Config(blocks=1, fold=2)),
    "rrdbnet x1": ("rrdbnet", rrdbnet.Config(blocks=1, fold=4)),
    "compact x4": ("compact", compact.Config(convolutions=8)),
    "compact x2": ("compact", compact.Config(scale=2, convolutions=8)),
    "span x4": ("span", span.Config()),
}


@torch.inference_mode()
@pytest.mark.parametrize("name", PUBLISHED)
def test_what_a_run_holds_at_its_peak_is_what_the_network_says_it_holds(name: str):
    """Counted on tensors of sizes only; the memory that is planned with is a quarter more."""
    arch_name, config = PUBLISHED[name]
    arch = get_architecture(arch_name)
    network = on_meta(arch, config)
    assert arch.infer is not None
    assert arch.footprint is not None
    fixed, per_pixel, per_band_pixel = arch.footprint(config)
    height, width = 512, 64
    for rows in (32, 128):
        x = torch.empty(1, 3, height, width, device="meta")
        held = peak_bytes(lambda x=x, rows=rows: arch.infer(network, x, Execution(rows=rows))) + x.nbytes  # type: ignore[misc]
        said = fixed + per_pixel * height * width + per_band_pixel * rows * width
        assert 0.55 * said <= held <= said, (rows, held / said)


RRDBNETS = {
    "x4": rrdbnet.Config(dim=8, growth=4, blocks=2),
    "x2": rrdbnet.Config(dim=8, growth=4, blocks=1, doublings=1),
    "x1": rrdbnet.Config(dim=8, growth=4, blocks=3, doublings=0),
    "x8": rrdbnet.Config(dim=8, growth=4, blocks=2, doublings=3),
    "x2 folded": rrdbnet.Config(dim=8, growth=4, blocks=2, fold=2),
    "x1 folded": rrdbnet.Config(dim=8, growth=4, blocks=2, fold=4),
    "gray": rrdbnet.Config(dim=8, growth=4, blocks=2, channels=1),
}


@pytest.mark.parametrize("config", RRDBNETS.values(), ids=RRDBNETS)
@pytest.mark.parametrize("scheme", [dict, as_kair, as_esrgan])
def test_every_key_scheme_of_rrdbnet_is_recognised_and_renamed(
    config: rrdbnet.Config, scheme: Callable[[dict[str, Tensor]], dict[str, Tensor]]
):
    state_dict = rrdbnet.RRDBNet(config).state_dict()
    official = scheme(dict(state_dict))
    assert recognise(shapes_of(official)) == (rrdbnet.ARCH, config)
    found = rrdbnet.convert_state_dict(official)
    assert found.keys() == state_dict.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in state_dict.items())


def test_the_first_scheme_of_esrgan_names_its_layers_as_its_files_do():
    names = as_esrgan(dict(on_meta(rrdbnet.ARCH, rrdbnet.Config()).state_dict()))
    for key in ("model.0.weight", "model.1.sub.22.RDB3.conv5.0.bias", "model.1.sub.23.weight", "model.3.weight"):
        assert key in names
    assert {"model.6.bias", "model.8.weight", "model.10.weight"} <= names.keys()


@pytest.mark.parametrize(
    "config",
    [
        compact.Config(dim=8, convolutions=3),
        compact.Config(dim=8, convolutions=1, scale=1),
        compact.Config(dim=8, convolutions=3, scale=3, activation="relu"),
        compact.Config(dim=8, convolutions=3, channels=1),
    ],
)
def test_a_compact_network_is_recognised(config: compact.Config):
    network = compact.SRVGGNetCompact(config)
    assert recognise(shapes_of(network.state_dict())) == (compact.ARCH, config)


@torch.inference_mode()
def test_the_fused_convolutions_of_span_do_what_both_ways_do_up_to_the_border():
    torch.manual_seed(0)
    trained = as_trained_span(lively(span.SPAN(span.Config.tiny())).state_dict())
    assert "block_3.c2_r.conv.1.weight" in trained
    network = span.SPAN(span.Config.tiny()).eval()
    network.load_state_dict(span.convert_state_dict(trained), strict=True)
    x = torch.rand(1, 8, 9, 7)
    w = {key.removeprefix("block_3.c2_r."): t for key, t in trained.items() if key.startswith("block_3.c2_r.")}
    chain = F.conv2d(F.pad(x, (1, 1, 1, 1)), w["conv.0.weight"], w["conv.0.bias"])
    chain = F.conv2d(F.conv2d(chain, w["conv.1.weight"], w["conv.1.bias"]), w["conv.2.weight"], w["conv.2.bias"])
    expected = chain + F.conv2d(x, w["sk.weight"], w["sk.bias"])
    torch.testing.assert_close(network.block(3).c2_r(x), expected, atol=1e-5, rtol=1e-5)


def test_branches_count_before_a_fused_form_that_may_be_older():
    torch.manual_seed(0)
    trained = as_trained_span(span.SPAN(span.Config.tiny()).state_dict())
    stale = {f"{key[:-10]}.eval_conv.weight": t + 1 for key, t in trained.items() if key.endswith(".sk.weight")}
    fresh, found = span.convert_state_dict(trained), span.convert_state_dict({**trained, **stale})
    assert fresh.keys() == found.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in fresh.items())


def test_a_span_that_is_fused_already_loads_and_a_half_one_is_refused():
    state_dict = span.SPAN(span.Config.tiny()).state_dict()
    fused = {re.sub(r"^(conv_[12]|block_\d\.c\d_r)\.", r"\1.eval_conv.", key): t for key, t in state_dict.items()}
    assert "block_1.c1_r.eval_conv.weight" in fused
    found = span.convert_state_dict(fused)
    assert found.keys() == state_dict.keys()
    half = {key: t for key, t in as_trained_span(state_dict).items() if key != "conv_1.conv.1.bias"}
    with pytest.raises(ValueError, match=r"it lacks conv_1\.conv\.1\.bias"):
        span.convert_state_dict(half)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(("scale", "dim"), [(2, 48), (4, 8)])
def test_a_span_is_recognised_and_says_whether_it_takes_plain_pixels(scale: int, dim: int, trained: bool):
    state_dict = span.SPAN(span.Config(scale=scale, dim=dim)).state_dict()
    official = as_trained_span(state_dict) if trained else state_dict
    assert recognise(shapes_of(official)) == (span.ARCH, span.Config(scale=scale, dim=dim))
    plain = {**official, "no_norm": torch.zeros(1)}
    assert recognise(shapes_of(plain)) == (
        span.ARCH,
        span.Config(scale=scale, dim=dim, mean=(0.0, 0.0, 0.0), img_range=1.0),
    )
    assert span.convert_state_dict(plain).keys() == state_dict.keys()


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (rrdbnet.Config, {"blocks": 0}),
        (rrdbnet.Config, {"channels": 4}),
        (rrdbnet.Config, {"fold": 3}),
        (rrdbnet.Config, {"fold": 4, "doublings": 1}),
        (rrdbnet.Config, {"doublings": 9}),
        (compact.Config, {"activation": "gelu"}),
        (compact.Config, {"scale": 0}),
        (span.Config, {"mean": (0.5,)}),
        (span.Config, {"img_range": 0.0}),
    ],
)
def test_an_upscaler_that_cannot_be_built_is_refused(config: Any, wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=config.NETWORK):
        config(**wrong)


# Bytes of a file, less what torch.save adds around numbers of four bytes each.
@pytest.mark.parametrize("entry", [e for e in load_manifest().entries if e.arch in NAMES], ids=lambda entry: entry.id)
def test_a_listed_upscaler_has_as_many_numbers_as_its_file_has_room_for(entry: WeightsEntry):
    arch = get_architecture(entry.arch)
    numbers = sum(parameter.numel() for parameter in on_meta(arch, arch.config.from_json(entry.config)).parameters())
    assert entry.bytes is not None
    assert 0 < entry.bytes - 4 * numbers < 0.02 * entry.bytes
    assert entry.generative


@pytest.mark.parametrize(
    ("model", "scale", "variant", "weights_id"),
    [
        ("real-esrgan", 4, "photo", "real-esrgan-x4"),
        ("real-esrgan", 2, "photo", "real-esrgan-x2"),
        ("real-esrgan-general", 4, "photo", "real-esrgan-general-x4"),
        ("real-esrgan-anime", 4, None, "real-esrgan-anime-x4"),
        ("real-esrgan-video", 4, None, "real-esrgan-video-x4"),
        ("bsrgan", 4, "photo", "bsrgan-x4"),
    ],
)
def test_a_models_name_means_its_weights(model: str, scale: int, variant: str | None, weights_id: str):
    assert load_manifest().select(model, task="sr", scale=scale, variant=variant).id == weights_id


def test_each_form_for_inference_runs_its_own_network_only():
    for name in NAMES:
        infer = get_architecture(name).infer
        assert infer is not None
        with pytest.raises(TypeError, match="only"):
            infer(nn.Identity(), torch.rand(1, 3, 8, 8), None)
