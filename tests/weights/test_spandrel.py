"""Files that only spandrel knows run as any other, and what it cannot give is refused in a line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from restore_cli import bench, load_restorer, restore_files
from restore_cli.benchmark.cases import BenchSettings
from restore_cli.errors import UsageError, WeightsError
from restore_cli.inference.restorer import Restorer
from restore_cli.models import OTHERS, _spandrel, architecture_names, get_architecture
from restore_cli.weights.adding import Adding, add_weights
from restore_cli.weights.file import read_content
from restore_cli.weights.foreign import entry_of, recognised
from restore_cli.weights.load import load_weights
from tests.imaging.files import builtin_srgb, chunk, packed, png

installed = pytest.mark.skipif(not _spandrel.is_installed(), reason="spandrel is not installed")
pytestmark = [
    pytest.mark.usefixtures("cache"),
    pytest.mark.filterwarnings("ignore"),  # theirs: of torch.meshgrid, and of tensors without numbers
]

# Small ones of some families: what they are called, how they are made, and the unit and advice of each.
KINDS: dict[str, tuple[str, dict[str, Any], int, int, bool]] = {
    "SAFMN": ("SAFMN", {"dim": 8, "n_blocks": 1, "upscaling_factor": 4}, 4, 8, False),
    "PLKSR": ("PLKSR", {"dim": 16, "n_blocks": 1, "upscaling_factor": 2, "kernel_size": 5}, 2, 1, False),
    "OmniSR": ("OmniSR", {"num_feat": 16, "res_num": 1, "up_scale": 2}, 2, 1, False),
    "MoSR": ("MoSR", {"dim": 8, "n_block": 1, "upscale": 2}, 2, 1, False),
    "DnCNN": ("DnCNN", {"in_nc": 3, "out_nc": 3, "nc": 16, "nb": 5}, 1, 1, False),
    "RetinexFormer": ("RetinexFormer", {"n_feat": 4, "stage": 1, "num_blocks": [1, 1, 1]}, 1, 8, True),
    "HAT": (
        "HAT",
        {"embed_dim": 60, "depths": [1], "num_heads": [2], "window_size": 8, "upscale": 2, "img_size": 16,
         "upsampler": "pixelshuffle"},
        2, 1, False,
    ),
    "KBNet": (
        "KBNet_s",
        {"width": 8, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1], "middle_blk_num": 1},
        1, 1, False,
    ),
}  # fmt: skip


def network_of(kind: str) -> nn.Module:
    with _spandrel.torchvision_or_none():
        module = importlib.import_module(f"spandrel.architectures.{kind}")
    torch.manual_seed(0)
    made: nn.Module = getattr(module, KINDS[kind][0])(**KINDS[kind][1])
    return made.eval()


def laid(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    torch.save({"params_ema": tensors}, path)
    return path


@installed
@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_spandrels_networks_is_recognised_and_gives_their_pixels(tmp_path: Path, kind: str) -> None:
    network, (_, _, scale, unit, whole) = network_of(kind), KINDS[kind]
    path = laid(tmp_path / "theirs.pth", dict(network.state_dict()))
    entry = entry_of(path, task="denoise")
    assert (entry.arch, entry.scale, entry.channels, entry.task) == (OTHERS, scale, 3, "sr" if scale > 1 else "denoise")
    assert (entry.config["network"], entry.licence) == (kind, "unknown")
    weights = load_weights(entry, path)
    assert weights.digest == f"sha256:{entry.sha256}"
    arch = get_architecture(OTHERS).of(weights.config)
    assert (arch.multiple_of, arch.global_attention) == (unit, whole)
    x = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    assert torch.equal(weights.network(x), network(x).clamp(0, 1))


@installed
@pytest.mark.parametrize("kind", ["SAFMN", "HAT"])  # multiples of 8, and 16 pixels at least
def test_images_of_every_size_come_back_in_the_right_one(tmp_path: Path, kind: str) -> None:
    path = laid(tmp_path / "theirs.pth", dict(network_of(kind).state_dict()))
    restorer = load_restorer(path, device="cpu")
    for height, width in ((1, 1), (5, 3), (17, 30)):
        shape = restorer(np.full((height, width, 3), 0.5, np.float32)).shape
        assert shape == (restorer.scale * height, restorer.scale * width, 3)


@installed
def test_a_batch_goes_on_where_it_ended_and_keeps_16_bits_and_the_profile(tmp_path: Path) -> None:
    path = laid(tmp_path / "theirs.pth", dict(network_of("SAFMN").state_dict()))
    levels = np.random.default_rng(0).integers(0, 1 << 16, (9, 14 * 3))
    profile = chunk(b"iCCP", b"theirs\0\0" + zlib.compress(builtin_srgb()))
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).write_bytes(png(14, 9, 16, 2, packed(levels, 16), profile))
    reports = [restore_files(tmp_path / "in", tmp_path / "out", task="sr", weights=path, resume=True) for _ in range(2)]
    assert [(report.ok, report.skipped, report.failed) for report in reports] == [(2, 0, 0), (0, 2, 0)]
    made = (tmp_path / "out" / "a.png").read_bytes()
    assert (made[16:26], b"iCCP" in made) == (bytes([0, 0, 0, 56, 0, 0, 0, 36, 16, 2]), True)


@installed
def test_tiles_are_advised_against_where_spandrel_does(tmp_path: Path) -> None:
    path = laid(tmp_path / "theirs.pth", dict(network_of("RetinexFormer").state_dict()))
    weights = load_weights(entry_of(path, task="lowlight"), path)
    image = np.full((64, 64, 3), 0.5, np.float32)
    assert Restorer(weights).describe((64, 64)).tile == "off"
    assert np.isfinite(Restorer(weights).restore_pixels(image)).all()


@installed
def test_half_precision_is_read_as_the_numbers_that_it_holds(tmp_path: Path) -> None:
    tensors = {key: tensor.half() for key, tensor in network_of("PLKSR").state_dict().items()}
    path = laid(tmp_path / "theirs.pth", tensors)
    found = load_weights(entry_of(path), path).network.state_dict()
    assert all(torch.equal(found[f"model.{key}"], tensor.float()) for key, tensor in tensors.items())


@installed
def test_no_list_of_weights_takes_them_and_nothing_builds_them_without_their_file(tmp_path: Path) -> None:
    path = laid(tmp_path / "theirs.pth", dict(network_of("PLKSR").state_dict()))
    with pytest.raises(UsageError, match="only spandrel builds"):
        add_weights(Adding(path=path, id="theirs"))
    assert OTHERS not in architecture_names()
    config = load_weights(entry_of(path), path).config
    with pytest.raises(UsageError, match="a PLKSR of spandrel can only be built from its file"):
        get_architecture(OTHERS).build(config)


@installed
def test_they_are_measured_as_ours_are(tmp_path: Path) -> None:
    network = network_of("PLKSR")
    path = laid(tmp_path / "theirs.pth", dict(network.state_dict()))
    settings = BenchSettings(sizes=((32, 48),), runs=1, warmup=1, device="cpu")
    (theirs,) = bench(weights=[path], settings=settings).rows
    assert theirs.error is None
    assert theirs.counts.params == sum(parameter.numel() for parameter in network.parameters())
    assert theirs.counts.flops > 0
    assert theirs.measurement is not None
    assert theirs.case.file == path


@installed
def test_what_only_looks_like_one_of_them_is_refused_in_a_line(tmp_path: Path) -> None:
    tensors = dict(network_of("PLKSR").state_dict())
    cut = dict(list(tensors.items())[:-2])
    with pytest.raises(WeightsError, match=r"a\.pth refused: spandrel cannot build it: ") as refused:
        entry_of(laid(tmp_path / "a.pth", cut))
    assert "\n" not in str(refused.value)
    name, first = next((name, t) for name, t in tensors.items() if t.is_floating_point())
    with pytest.raises(WeightsError, match="not finite"):
        entry_of(laid(tmp_path / "b.pth", {**tensors, name: torch.full_like(first, torch.nan)}))


@installed
@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
def test_nobody_else_takes_the_stand_in_of_torchvision_for_it() -> None:
    network_of("PLKSR")
    assert "torchvision" not in sys.modules
    with pytest.raises(ImportError):
        importlib.import_module("torchvision")


def test_without_it_the_refusal_says_how_to_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spandrel, "is_installed", lambda: False)
    path = laid(tmp_path / "theirs.pth", {"weight": torch.zeros(3)})
    assert recognised(read_content(path)) is None
    with pytest.raises(UsageError, match="is of none that is known here") as refused:
        entry_of(path)
    assert "pip install --no-deps spandrel" in str(refused.value.hint)
