"""DRUNet, NAFNet, FBCNN and SCUNet have the published sizes, the official files' keys, and do what they should."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from restore_cli.models import drunet, fbcnn, get_architecture, nafnet, scunet
from restore_cli.weights.manifest import load_manifest
from tests.models.fill import lively

GOPRO = {"encoders": (1, 1, 1, 28), "middle": 1, "decoders": (1, 1, 1, 1)}


@pytest.mark.parametrize(
    ("name", "config", "parameters", "digits"),
    [
        ("drunet", drunet.Config(), 32_640_960, 0),
        ("drunet", drunet.Config(channels=1), 32_638_656, 0),
        ("fbcnn", fbcnn.Config(), 71_920_000, -4),
        ("scunet", scunet.Config(), 17_950_000, -4),
        ("nafnet", nafnet.Config(), 115_980_000, -4),
        ("nafnet", nafnet.Config(**GOPRO), 67_890_000, -4),  # type: ignore[arg-type]
    ],
)
def test_a_network_has_as_many_parameters_as_was_published(name: str, config: Any, parameters: int, digits: int):
    with torch.device("meta"):
        network = get_architecture(name).build(config)
    assert round(sum(parameter.numel() for parameter in network.parameters()), digits) == parameters


@pytest.mark.parametrize(
    ("name", "config", "keys"),
    [
        (
            "drunet",
            drunet.Config(),
            {
                "m_head.weight": (64, 4, 3, 3),
                "m_down1.3.res.2.weight": (64, 64, 3, 3),
                "m_down3.4.weight": (512, 256, 2, 2),
                "m_body.3.res.0.weight": (512, 512, 3, 3),
                "m_up3.0.weight": (512, 256, 2, 2),
                "m_up1.4.res.2.weight": (64, 64, 3, 3),
                "m_tail.weight": (3, 64, 3, 3),
            },
        ),
        (
            "scunet",
            scunet.Config(),
            {
                "m_head.0.weight": (64, 3, 3, 3),
                "m_down1.0.trans_block.msa.relative_position_params": (1, 15, 15),
                "m_down1.0.trans_block.msa.embedding_layer.weight": (96, 32),
                "m_down1.3.conv_block.2.weight": (32, 32, 3, 3),
                "m_down3.4.weight": (512, 256, 2, 2),
                "m_body.0.trans_block.mlp.2.bias": (256,),
                "m_up3.0.weight": (512, 256, 2, 2),
                "m_up1.4.conv1_2.bias": (64,),
                "m_tail.0.weight": (3, 64, 3, 3),
            },
        ),
        (
            "fbcnn",
            fbcnn.Config(),
            {
                "m_head.bias": (64,),
                "m_down2.4.weight": (256, 128, 2, 2),
                "m_body_encoder.0.res.0.weight": (512, 512, 3, 3),
                "m_body_decoder.3.res.2.bias": (512,),
                "m_up3.0.weight": (512, 256, 2, 2),
                "m_up1.4.res.2.weight": (64, 64, 3, 3),
                "qf_pred.3.res.0.weight": (512, 512, 3, 3),
                "qf_pred.6.weight": (512, 512),
                "qf_pred.10.weight": (1, 512),
                "qf_embed.0.weight": (512, 1),
                "qf_embed.4.bias": (512,),
                "to_gamma_3.0.weight": (256, 512),
                "to_beta_1.0.bias": (64,),
            },
        ),
        (
            "nafnet",
            nafnet.Config(),
            {
                "intro.bias": (64,),
                "encoders.3.7.sca.1.weight": (512, 512, 1, 1),
                "middle_blks.11.conv2.weight": (2048, 1, 3, 3),
                "downs.0.weight": (128, 64, 2, 2),
                "ups.0.0.weight": (2048, 1024, 1, 1),
                "decoders.0.1.norm2.weight": (512,),
                "decoders.3.0.beta": (1, 64, 1, 1),
                "ending.weight": (3, 64, 3, 3),
            },
        ),
    ],
)
def test_a_network_has_the_keys_of_the_official_files(name: str, config: Any, keys: dict[str, tuple[int, ...]]):
    with torch.device("meta"):
        state_dict = get_architecture(name).build(config).state_dict()
    assert {key: tuple(state_dict[key].shape) for key in keys} == keys


@torch.inference_mode()
def test_drunet_scales_with_its_input_and_its_level():
    network = lively(drunet.DRUNet(drunet.Config.tiny())).double().eval()
    x, level = torch.rand(1, 3, 16, 24, dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)
    torch.testing.assert_close(network(3 * x, 3 * level), 3 * network(x, level))


@torch.inference_mode()
def test_each_image_has_its_own_level_and_an_unknown_one_is_the_usual():
    network = lively(drunet.DRUNet(drunet.Config.tiny())).eval()
    x, levels = torch.rand(3, 3, 8, 16), torch.tensor([0.02, -1.0, 0.2])
    restored = network(x, levels)
    torch.testing.assert_close(restored[:1], network(x[:1], levels[:1]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(restored[1:2], network(x[1:2]), atol=1e-5, rtol=1e-4)
    usual = torch.tensor([drunet.USUAL_LEVEL])
    torch.testing.assert_close(network(x[1:2], usual), network(x[1:2]), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(network(x[:1], levels[2:]), network(x[:1], levels[:1]))


@torch.inference_mode()
def test_a_new_nafnet_adds_what_its_first_and_last_convolution_make():
    network = nafnet.NAFNet(nafnet.Config.tiny()).eval()
    for parameter in network.ending.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.rand(1, 3, 16, 32)
    assert torch.equal(network(x), x)


@pytest.mark.parametrize("wrong", [{"dims": (8, 8, 8)}, {"blocks": 0}, {"channels": 2}])
def test_a_drunet_that_cannot_be_built_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="DRUNet"):
        drunet.Config(**wrong)


@pytest.mark.parametrize("wrong", [{"encoders": (1, 1)}, {"width": 0}, {"channels": 4}, {"decoders": (1, 1, 0, 1)}])
def test_a_nafnet_that_cannot_be_built_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="NAFNet"):
        nafnet.Config(**wrong)


@torch.inference_mode()
def test_the_quality_that_fbcnn_finds_steers_what_it_returns():
    network = lively(fbcnn.FBCNN(fbcnn.Config.tiny())).eval()
    x = torch.rand(1, 3, 16, 24)
    before = network(x)
    network.qf_pred[-2].bias.add_(5)
    assert not torch.allclose(network(x), before)


@pytest.mark.parametrize("wrong", [{"dims": (8, 8, 8)}, {"quality_dim": 0}, {"channels": 2}])
def test_an_fbcnn_that_cannot_be_built_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="FBCNN"):
        fbcnn.Config(**wrong)


@pytest.mark.parametrize(
    ("model", "task", "variant", "weights_id"),
    [
        ("nafnet", "denoise", "real", "nafnet-denoise-real"),
        ("nafnet", "deblur", "motion", "nafnet-deblur-motion"),
        ("scunet", "denoise", "real", "scunet-denoise-real"),
        ("scunet-gan", "denoise", "real", "scunet-gan-denoise-real"),
        ("drunet", "denoise", None, "drunet-denoise-color"),
        ("fbcnn", "dejpeg", None, "fbcnn-dejpeg-color"),
    ],
)
def test_a_models_name_and_a_task_mean_its_weights(model: str, task: str, variant: str | None, weights_id: str):
    assert load_manifest().select(model, task=task, variant=variant).id == weights_id


@torch.inference_mode()
def test_a_shifted_window_of_scunet_does_not_see_the_opposite_border():
    network = lively(scunet.SCUNet(scunet.Config(dim=16, depths=(2, 1, 1, 1, 1, 1, 1), head_dim=4))).eval()
    shifted = network.m_down1[1].trans_block.msa
    x = torch.rand(1, 16, 24, 8)
    other = x.clone()
    other[:, -2:, :] = 0.0
    assert torch.equal(shifted(x)[:, :4], shifted(other)[:, :4])
    assert not torch.allclose(shifted(x)[:, -4:], shifted(other)[:, -4:])


@pytest.mark.parametrize("wrong", [{"depths": (1, 1)}, {"dim": 48}, {"channels": 2}, {"window_size": 1}])
def test_an_scunet_that_cannot_be_built_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="SCUNet"):
        scunet.Config(**wrong)
