"""A file's network is found from the names and shapes of its tensors, whatever its size."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from restore_cli.models import drunet, fbcnn, get_architecture, nafnet, recognise, scunet, swinir
from restore_cli.models.ramit.config import PUBLISHED
from restore_cli.models.ramit.config import Config as RAMiTConfig
from restore_cli.models.restormer.config import Config as RestormerConfig
from restore_cli.weights.manifest import load_manifest

OTHERS: list[tuple[str, Any]] = [
    ("nafnet", nafnet.Config()),
    ("nafnet", nafnet.Config(width=32, encoders=(1, 1, 1, 28), middle=1, decoders=(1, 1, 1, 1))),
    ("drunet", drunet.Config()),
    ("drunet", drunet.Config(channels=1)),
    ("fbcnn", fbcnn.Config()),
    ("fbcnn", fbcnn.Config.tiny()),
    ("scunet", scunet.Config()),
    ("swinir", swinir.Config()),
    ("swinir", swinir.Config(dim=180, depths=(6,) * 6, upsampler="shuffle", scale=3)),
    ("swinir", swinir.Config(dim=24, depths=(2,), upsampler="shuffle", scale=8)),
    ("swinir", swinir.Config(dim=24, depths=(2,), upsampler="nearest", convolutions=3)),
    ("swinir", swinir.Config(dim=24, depths=(2,), upsampler="nearest", scale=2)),
    ("swinir", swinir.Config(dim=24, upsampler="none", scale=1, channels=1, window_size=7, img_range=255.0)),
    ("scunet", scunet.Config(channels=1, depths=(2, 2, 2, 2, 2, 2, 2))),
    ("restormer", RestormerConfig()),
    ("restormer", RestormerConfig(LayerNorm_type="BiasFree", inp_channels=1, out_channels=1)),
    ("restormer", RestormerConfig(inp_channels=6, dual_pixel_task=True)),
    ("restormer", RestormerConfig.tiny()),
    ("ramit", RAMiTConfig.variant("ramit-1", task="sr", scale=2)),
]


def shapes_of(arch: str, config: Any) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state_dict = get_architecture(arch).build(config).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in state_dict.items()}


@pytest.mark.parametrize(("arch", "config"), OTHERS)
def test_a_network_is_recognised_with_its_whole_configuration(arch: str, config: Any):
    assert recognise(shapes_of(arch, config)) == (get_architecture(arch), config)


@pytest.mark.parametrize(("name", "task", "scale", "channels"), PUBLISHED)
def test_a_published_ramit_is_recognised_by_its_shapes_and_its_task(name: str, task: str, scale: int, channels: int):
    config = RAMiTConfig.variant(name, task=task, scale=scale, channels=channels)
    found = recognise(shapes_of("ramit", config), task)
    assert found is not None
    assert found[1] == config if config.mv_ver == 2 else found[1].to_json().items() >= _used(config).items()


def _used(config: RAMiTConfig) -> dict[str, Any]:
    """Leave out what the first version of MobiVari does not use."""
    return {key: value for key, value in config.to_json().items() if "exp_" not in key}


def test_a_ramit_for_what_none_was_published_for_is_recognised_too():
    config = RAMiTConfig(mv_ver=1, window_size=4, num_heads=2, chsa_head_ratio=0.5, fold=2)
    found = recognise(shapes_of("ramit", config), "deblur")
    assert found is not None
    assert {key: found[1].to_json()[key] for key in ("window_size", "num_heads", "chsa_head_ratio", "fold")} == {
        "window_size": 4, "num_heads": 2, "chsa_head_ratio": 0.5, "fold": 2,
    }  # fmt: skip


def test_listed_files_of_others_would_be_recognised_as_what_they_are_listed_as():
    for entry in load_manifest().entries:
        arch = get_architecture(entry.arch)
        if entry.bundled or arch.recognise is None:
            continue
        found = recognise(shapes_of(entry.arch, arch.config.from_json(entry.config)), entry.task)
        assert found is not None, entry.id
        same = {key: value for key, value in entry.config.items() if "exp_" not in key}
        assert found[0] is arch
        assert found[1].to_json().items() >= same.items(), entry.id


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"conv.weight": (3, 3, 3, 3)},
        {"body.0.weight": (8, 3, 3, 3), "body.1.weight": ()},
        {"conv_first.weight": (8, 3, 3, 3), "conv_last.weight": (0, 8, 3, 3), "body.0.rdb1.conv1.weight": (4, 8, 3, 3)},
        {"m_head.weight": (64, 4, 3, 3), "m_tail.weight": (3, 64, 3, 3), "m_body.0.res.2.weight": (1, 1, 3, 3)},
        {"intro.weight": (1, 3, 3, 3), "ending.weight": (3,), "middle_blks.0.sca.1.weight": (1,)},
    ],
)
def test_tensors_of_no_known_network_are_not_recognised(shapes: dict[str, tuple[int, ...]]):
    assert recognise(shapes) is None
