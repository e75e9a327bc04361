"""Whole images in bands: the pixels of the plain network whatever the bands, and cells that leave no border."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restore_cli.inference.footprint import peak_bytes
from restore_cli.layers.bands import Band, Cells, Execution, bands, conv3x3
from restore_cli.layers.tensors import exp2_, silu
from restore_cli.models import Arch, architecture_names, get_architecture
from restore_cli.models.ramit.bands import ChannelPass
from restore_cli.models.ramit.block import ChannelSums, DRAMiTransformer
from restore_cli.models.ramit.config import Config
from restore_cli.models.ramit.network import RAMiT
from tests.models.fill import in_bands, lively

# Those of convolutions alone have no context; test_upscalers has them.
IN_BANDS = [
    arch.name for arch in map(get_architecture, architecture_names()) if arch.in_bands and arch.global_attention
]
HEIGHT, WIDTH = 96, 128


@pytest.fixture(params=IN_BANDS)
def arch(request: pytest.FixtureRequest) -> Arch:
    return get_architecture(request.param)


@pytest.fixture
def network(arch: Arch) -> nn.Module:
    torch.manual_seed(0)  # what an unlucky start amplifies is rounding, not a fault
    return lively(arch.build(arch.config.tiny()))


@pytest.fixture
def keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def image(channels: int = 3, height: int = HEIGHT, width: int = WIDTH, count: int = 1) -> Tensor:
    """Return smooth images whose contrast and colour differ from place to place."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand((count, channels, 6, 10), generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return smooth + 0.1 * smooth.square() * torch.randn(smooth.shape, generator=generator)


def assert_same(result: Tensor, expected: Tensor, *, atol: float) -> None:
    """Compare images, relative to the largest value where that is beyond 1: lively networks leave [0, 1]."""
    torch.testing.assert_close(result, expected, atol=atol * max(1.0, float(expected.abs().max())), rtol=0)


RAMITS = {
    "tiny": Config.tiny(),
    "version 1, no helpers, same size": replace(Config.tiny(), mv_ver=1, helper=False, scale=1),
    "two channel heads, gray": replace(
        Config.tiny(), dim=32, num_heads=8, chsa_head_ratio=0.25, channels=1, mean=(0.4,), std=(0.2,), image_skip=True
    ),
    "squares of 2 folded": replace(Config.tiny(), fold=2, window_size=4, image_skip=True),
    "windows of 4, no bias": replace(Config.tiny(), window_size=4, qkv_bias=False, scale=3),
}


@torch.inference_mode()
@pytest.mark.parametrize("config", RAMITS.values(), ids=RAMITS)
def test_ramit_in_bands_gives_the_pixels_of_ramit_at_once(config: Config):
    torch.manual_seed(0)
    network = lively(RAMiT(config))
    x = image(config.channels, count=2)
    exact = copy.deepcopy(network).double()
    at_once = exact(x.double())

    for rows in (8, 40):
        assert_same(in_bands(exact, x.double(), Execution(rows=rows)), at_once, atol=1e-12)
        assert_same(in_bands(network, x, Execution(rows=rows)).double(), at_once, atol=rounding(network))


def rounding(network: nn.Module) -> float:
    """Return what float32 may lose: each layer rounds once, and what was lost before goes on as it is.

    Over twelve seeds and three instruction sets the tiny RAMiTs in bands lost at most 14 roundings of 2**-24, with 72
    layers or more; the plain form, whose small queries amplify what they lost, up to 47.
    """
    return 2**-24 * sum(isinstance(layer, nn.Conv2d | nn.LayerNorm) for layer in network.modules())


@torch.inference_mode()
def test_under_autocast_bands_round_products_alone():
    torch.manual_seed(0)
    network = lively(RAMiT(Config.tiny()))
    exact = in_bands(network, image())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = in_bands(network, image())

    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert_same(rounded, exact, atol=0.02)


@torch.inference_mode()
def test_logits_beyond_any_power_of_float32_stay_finite():
    network = lively(RAMiT(replace(Config.tiny(), depths=(2, 1, 1, 1))))
    for name, parameter in network.named_parameters():
        if name.endswith("logit_scale"):
            parameter.fill_(9.0)
        elif name.endswith("relative_position_bias_table"):
            parameter.mul_(100)
    x = image(height=32, width=64)
    torch.testing.assert_close(in_bands(network, x), network(x), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("context", ["global", "mixed", pytest.param("local", marks=pytest.mark.exhaustive)])
def test_pixels_do_not_depend_on_the_bands(arch: Arch, network: nn.Module, context: str):
    x = image(arch.config.tiny().channels)
    results = [in_bands(network, x, Execution(context=context, cell=64, rows=rows)) for rows in (HEIGHT, 8, 24)]

    for result in results[1:]:
        assert_same(result, results[0], atol=1e-5)


@torch.inference_mode()
@pytest.mark.usefixtures("keep_threads")
@pytest.mark.parametrize("context", ["global", "mixed"])
def test_bytes_do_not_depend_on_the_threads(arch: Arch, network: nn.Module, context: str):
    x = image(arch.config.tiny().channels, 64, 96)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(in_bands(network, x, Execution(context=context)))

    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.usefixtures("keep_threads")
def test_powers_of_two_have_the_same_bits_on_any_number_of_threads_and_are_exact():
    x = 8 * torch.randn((7, 64, 401), generator=torch.Generator().manual_seed(0))
    results = []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        results.append(exp2_(x.clone()))

    assert all(torch.equal(result, results[0]) for result in results[1:])
    torch.testing.assert_close(results[0].double(), 2.0 ** x.double(), rtol=2**-22, atol=0)


@torch.inference_mode()
@pytest.mark.usefixtures("keep_threads")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_silu_has_the_same_bits_on_any_number_of_threads(memory_format: torch.memory_format):
    x = torch.randn((1, 37, 61, 67), generator=torch.Generator().manual_seed(0)).to(memory_format=memory_format)
    results = []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        results.append(silu(x.clone()))

    assert all(torch.equal(result, results[0]) for result in results[1:])
    torch.testing.assert_close(results[0], x * torch.sigmoid(x))


def test_silu_leaves_what_is_differentiated_as_it_is():
    x = torch.randn(8, requires_grad=True)
    before = x.detach().clone()

    silu(x).sum().backward()

    assert torch.equal(x.detach(), before)
    assert x.grad is not None


@torch.inference_mode()
def test_an_image_no_larger_than_a_cell_has_one_context(arch: Arch, network: nn.Module):
    x = image(arch.config.tiny().channels, 64, 64)
    whole, local = (in_bands(network, x, Execution(context=context, cell=64)) for context in ("global", "local"))

    assert_same(whole, local, atol=1e-6)


@torch.inference_mode()
def test_mixed_lies_between_local_and_global(arch: Arch, network: nn.Module):
    x = image(arch.config.tiny().channels)
    whole, local = (in_bands(network, x, Execution(context=context)) for context in ("global", "local"))

    assert not torch.allclose(whole, local, atol=1e-4)
    for share, expected in ((0.0, local), (1.0, whole)):
        assert_same(in_bands(network, x, Execution(context="mixed", share=share)), expected, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("share", [0.0, 0.75])
def test_a_cell_attends_by_its_own_mean_products_and_the_images_for_its_share(share: float):
    block = lively(DRAMiTransformer(32, num_head=8, chsa_head_ratio=0.25))
    x = image(32, 128, 192)[0].permute(1, 2, 0).contiguous()  # (H, W, C)
    x[:64, :64] *= 0.01
    cells = Cells(Execution(context="mixed", cell=64, share=share), (128, 192), down=1, grain=32, like=x)
    qk = block.qkv_proj.parts(x[None], slice(block.spatial_heads, None), slice(2))  # (1, H * W, 2, h2, d)
    qk = qk.view(*x.shape[:2], *qk.shape[2:])
    projection = block.ch_attn.proj.weight.view(-1, *qk.shape[3:]).transpose(0, 1)  # (h2, out, d)

    matrices = ChannelPass(block).matrices(x, cells, bands(128, 192, unit=8, rows=24, device=x.device))

    def mean_sums(positions: Tensor) -> list[Tensor]:
        flat = positions.flatten(0, 1)
        return [part / len(flat) for part in block.ch_attn.sums(flat[None])]

    whole = mean_sums(qk)
    for i, j in itertools.product(range(3), range(5)):
        own = mean_sums(qk[32 * i : 32 * i + 64, 32 * j : 32 * j + 64])
        blended = ChannelSums(*((1 - share) * mine + share * all_ for mine, all_ in zip(own, whole, strict=True)))
        expected = (projection @ block.ch_attn.matrix(blended)[0]).transpose(1, 2).flatten(0, 1)  # (in, out)
        torch.testing.assert_close(matrices[i, j], expected, atol=1e-5, rtol=1e-4)


def test_a_cell_of_little_contrast_follows_the_image_and_one_of_much_follows_itself():
    cells = Cells(Execution(context="mixed", cell=64, share=0.5), (64, 96), down=1, grain=32, like=torch.empty(0))
    quiet, loud, generator = 1e-4, 1e4, torch.Generator().manual_seed(0)
    own = torch.rand((1, 2, 3, 3), generator=generator) * torch.tensor([quiet, loud]).view(1, 2, 1, 1)
    whole = torch.rand((3, 3), generator=generator) * 64 * 96
    blended = cells.blend(whole, own * 64 * 64)[0]

    for result, followed in zip(blended, (whole, own[0, 1]), strict=True):
        torch.testing.assert_close(result / result.sum(), followed / followed.sum(), atol=1e-3, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("context", ["local", "mixed"])
def test_neither_cells_nor_bands_leave_a_border(arch: Arch, network: nn.Module, context: str):
    x = image(arch.config.tiny().channels, 128, 192)
    scale = arch.config.tiny().scale
    change = in_bands(network, x, Execution(context=context, rows=32)) - in_bands(network, x, Execution(rows=HEIGHT))
    # What cells add, minus what a smooth field would add: jumps from row to row and from column to column.
    jumps = [change.diff(dim=dim).abs().mean((0, 1, 5 - dim)) for dim in (2, 3)]

    for jump in jumps:
        edges = np.arange(32 * scale - 1, len(jump), 32 * scale)
        others = np.delete(jump.numpy(), edges)
        assert change.abs().mean() > 1e-5
        assert jump[edges].mean() <= 1.5 * others.mean()


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("context", ["global", "mixed"])
def test_peak_memory_is_at_most_ten_feature_maps(context: str):
    config = replace(Config.variant("ramit-1", task="sr", scale=4), depths=(2, 1, 1, 1))
    height, width = 320, 32
    network, image = RAMiT(config).eval(), torch.rand(1, 3, height, width)

    peak = peak_bytes(lambda: in_bands(network, image, Execution(context=context, rows=8)))

    assert 4 * config.dim * height * width * 4 < peak <= 10 * config.dim * height * width * 4


def test_bands_cover_a_map_once_whatever_is_asked_for():
    for height, rows, kind in itertools.product((8, 40, 1000), (None, 1, 8, 30, 5000), ("cpu", "cuda")):
        cut = list(bands(height, 320, unit=8, rows=rows, device=torch.device(kind)))
        assert [band.first for band in cut] == [0, *[band.last for band in cut[:-1]]]
        assert cut[-1].last == height
        assert all((band.last - band.first) % 8 == 0 for band in cut[:-1])


def test_a_convolution_of_a_band_is_the_bands_part_of_the_convolution():
    x, weight, bias = torch.rand(20, 9, 4), torch.rand(5, 4, 3, 3), torch.rand(5)
    whole = nn.functional.conv2d(x.permute(2, 0, 1)[None], weight, bias, padding=1)[0].permute(1, 2, 0)
    for first, last in ((0, 20), (0, 7), (5, 13), (13, 20)):
        band = Band(first, last, 20)
        result = conv3x3(band.of(x), band, weight, bias)
        torch.testing.assert_close(result, band.narrowed().of(whole))


@pytest.mark.parametrize(("size", "cell"), [((64, 96), 64), ((160, 32), 64), ((224, 416), 96), ((1024, 640), 192)])
def test_every_place_has_cells_that_weigh_one_together(size: tuple[int, int], cell: int):
    cells = Cells(Execution(context="local", cell=cell), size, down=2, grain=32, like=torch.empty(0))

    torch.testing.assert_close(cells.row_weights.sum(1), torch.ones(size[0] // 2))
    assert (cells.row_weights > 0).any(0).all()
    for edges, length in zip((cells.row_strips, cells.column_strips), size, strict=True):
        heights = np.diff(edges)
        assert (edges[0], edges[-1]) == (0, length // 2)
        assert heights.min() > 0
        assert heights.max() - heights.min() <= 16


def test_sums_over_cells_are_those_of_their_own_pixels():
    size, values = (128, 192), torch.rand(128, 192, 3)
    cells = Cells(Execution(context="local", cell=64), size, down=1, grain=32, like=values)

    def products(band: Band) -> Tensor:
        return band.of(values).view(-1, 8, 6, 32, 3).sum((1, 3))

    whole, local = cells.gather(products, bands(*size, unit=8, rows=24, device=values.device))

    torch.testing.assert_close(whole, values.sum((0, 1)))
    assert local.shape == (3, 5, 3)
    for i, j in itertools.product(range(3), range(5)):
        torch.testing.assert_close(local[i, j], values[32 * i : 32 * i + 64, 32 * j : 32 * j + 64].sum((0, 1)))


def test_matrices_are_blended_linearly_between_the_middles_of_cells():
    size = (128, 192)
    generator = torch.Generator().manual_seed(0)
    matrices = torch.rand((3, 5, 4, 6), generator=generator, dtype=torch.float64)
    v = torch.rand((*size, 4), generator=generator, dtype=torch.float64)
    cells = Cells(Execution(context="local", cell=64), size, down=1, grain=32, like=v)
    rows, columns = (
        torch.from_numpy(
            np.stack([np.interp(np.arange(n) + 0.5, 32 * np.arange(1, k + 1), np.eye(k)[i]) for i in range(k)], 1)
        )
        for n, k in zip(size, (3, 5), strict=True)
    )
    expected = torch.einsum("yi,xj,ijab,yxa->yxb", rows, columns, matrices, v)

    result = torch.cat([cells.apply(matrices, v[r], cells.row_weights[r]) for r in (slice(0, 40), slice(40, 128))])

    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("setting", "says"),
    [({"context": "all"}, "unknown context"), ({"cell": 0}, "at least 1"), ({"share": 1.5}, "share")],
)
def test_impossible_executions_are_refused(setting: dict[str, object], says: str):
    with pytest.raises(ValueError, match=says):
        Execution(**setting)  # type: ignore[arg-type]
