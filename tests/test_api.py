"""The public Python API: names load late, ids and files give restorers, images come back as they went in."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import restore_cli
from restore_cli import Restorer, list_weights, load_restorer, restore
from restore_cli.errors import DecodeError, DeviceError, UsageError, WeightsError
from restore_cli.models.crossformer_ir.config import Config as CrossFormerConfig
from restore_cli.models.crossformer_ir.network import CrossFormerIR
from restore_cli.models.ramit.config import Config
from restore_cli.models.ramit.network import RAMiT
from restore_cli.weights.load import save_weights
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def own_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    config = Config.tiny()
    entry = replace(
        list_weights()[0], id="tiny", config=config.to_json(), scale=config.scale, channels=config.channels, task="sr"
    )
    save_weights(path, RAMiT(config).state_dict(), entry)
    return path


@pytest.fixture(scope="module")
def enlarge(own_weights: Path) -> Restorer:
    return load_restorer(own_weights, device="cpu")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape)


def test_the_public_names_are_all_there_and_no_others():
    verbs = {
        "bench",
        "compare",
        "evaluate",
        "export",
        "list_weights",
        "load_restorer",
        "restore",
        "restore_files",
        "serve",
        "train",
    }
    assert set(restore_cli.__all__) == {*verbs, "Restorer", "__version__"}
    assert all(callable(getattr(restore_cli, verb)) and getattr(restore_cli, verb).__doc__ for verb in verbs)
    assert all(hasattr(restore_cli, name) for name in restore_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Restore'"):
        restore_cli.Restore  # noqa: B018  (asking is the test)


def test_the_version_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert restore_cli.__version__ == project["version"]


def test_importing_and_listing_load_neither_torch_nor_numpy():
    code = "import sys, restore_cli; restore_cli.list_weights(); sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4)])
def test_an_array_comes_back_as_an_array_of_its_kind(enlarge: Restorer, dtype: type, shape: tuple[int, ...]):
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    image = (noise(*shape) * top).astype(dtype)

    result = enlarge(image)

    assert result.dtype == dtype
    assert result.shape == (18, 14, *shape[2:])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_pil_image_comes_back_as_a_pil_image_of_its_mode(enlarge: Restorer, mode: str):
    result = enlarge(Image.new(mode, (7, 9)))

    assert isinstance(result, Image.Image)
    assert (result.mode, result.size) == (mode, (14, 18))


@pytest.mark.parametrize("as_path", [Path, str])
def test_a_path_gives_a_pil_image(enlarge: Restorer, tmp_path: Path, as_path: type):
    file = tmp_path / "a.png"
    Image.fromarray((noise(9, 7, 3) * 255).astype(np.uint8)).save(file, dpi=(300, 300))

    result = enlarge(as_path(file))

    assert isinstance(result, Image.Image)
    assert (result.mode, result.size) == ("RGB", (14, 18))
    assert round(result.info["dpi"][0]) == 300
    with Image.open(file) as image:
        np.testing.assert_array_equal(np.asarray(result), enlarge(np.asarray(image)))


def test_what_is_no_image_is_refused(enlarge: Restorer, tmp_path: Path):
    with pytest.raises(DecodeError, match="cannot be read"):
        enlarge(tmp_path / "absent.png")
    with pytest.raises(TypeError, match="expected a path, bytes, an open file, a PIL image"):
        enlarge([1, 2, 3])
    with pytest.raises(ValueError, match="within 0 and 1"):
        enlarge(np.full((4, 4, 3), 255.0))


def test_what_a_person_should_know_is_a_python_warning(enlarge: Restorer, tmp_path: Path):
    file = tmp_path / "a.png"
    Image.new("RGB", (7, 9)).save(file, "JPEG")

    with pytest.warns(UserWarning, match="its name promises PNG"):
        enlarge(file)


def test_a_file_takes_the_place_of_an_ids_own(own_weights: Path):
    with pytest.raises(WeightsError):
        load_restorer("ramit-sr-x2", path=own_weights, device="cpu")  # another shape than the id's network
    assert load_restorer(own_weights, path=own_weights, device="cpu").weights.path == own_weights


def test_an_unknown_id_names_the_nearest():
    with pytest.raises(UsageError, match="ramit-sr-x4"):
        load_restorer("ramit-sr-4x")


def test_a_file_that_is_missing_or_says_nothing_of_itself_is_refused(tmp_path: Path):
    with pytest.raises(WeightsError):
        load_restorer(tmp_path / "absent.safetensors")
    anonymous = tmp_path / "anonymous.pth"
    import torch

    torch.save({}, anonymous)
    with pytest.raises(UsageError, match="does not say of which network it is, and is of none"):
        load_restorer(str(anonymous))


def test_settings_reach_the_run(own_weights: Path):
    facts = load_restorer(own_weights, device="cpu", tile=96, dtype="bfloat16", context="tile").describe()

    assert (facts.device, facts.dtype, facts.tile, facts.context) == ("cpu", "bfloat16", "96", "tile")
    with pytest.raises(UsageError, match="unknown padding"):
        load_restorer(own_weights, pad="zero")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown device"):
        load_restorer(own_weights, device="gpu")


def test_every_setting_changes_the_pixels(own_weights: Path, enlarge: Restorer):
    image = noise(33, 40, 3)
    settings = ({"tile": 32, "overlap": 0}, {"tta": True}, {"pad": "symmetric"}, {"dtype": "bfloat16"})
    results = [enlarge(image), *(load_restorer(own_weights, device="cpu", **setting)(image) for setting in settings)]

    for index, result in enumerate(results):
        assert all(np.abs(result - other).max() > 0 for other in results[:index])


@pytest.mark.shared
def test_restore_picks_the_weights_of_a_task_and_keeps_them(shared: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(shared / "weights"))
    image = (noise(12, 8, 3) * 255).astype(np.uint8)

    larger = restore(image, task="sr", scale=4, model="ramit-slim", device="cpu")

    assert larger.shape == (48, 32, 3)
    np.testing.assert_array_equal(larger, restore(image, task="sr", scale=4, model="ramit-slim-sr-x4", device="cpu"))


def test_restore_refuses_what_nothing_serves():
    with pytest.raises(UsageError):
        restore(np.zeros((4, 4, 3), dtype=np.uint8), task="sr", scale=7)
    with pytest.raises(UsageError):
        restore(np.zeros((4, 4, 3), dtype=np.uint8), task="colorize")


def test_an_absent_device_is_refused(own_weights: Path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(DeviceError):
        load_restorer(own_weights, device="cuda")


def test_a_crossformer_restores_any_size_whole_and_in_tiles(tmp_path: Path):
    path = tmp_path / "crossformer.safetensors"
    config = replace(CrossFormerConfig.tiny(), image_skip=True)
    entry = replace(list_weights()[0], id="tiny", arch="crossformer_ir", config=config.to_json(), training_patch=32)
    network = CrossFormerIR(config)
    torch.nn.init.normal_(network.to_target.conv.weight, std=0.02)
    save_weights(path, network.state_dict(), entry)
    image = noise(77, 91, 3)
    whole = load_restorer(path, device="cpu", tile="off")(image)
    tiled = load_restorer(path, device="cpu", tile=64)(image)
    assert whole.shape == tiled.shape == (154, 182, 3)
    assert np.abs(whole - tiled).max() < 0.05
    assert np.abs(whole - tiled).mean() < 0.002


def test_a_models_name_is_enough_where_task_and_scale_say_which_of_its_weights():
    assert load_restorer("ramit-lite", task="sr", scale=2, device="cpu").weights.entry.id == "ramit-lite-sr-x2"
    assert load_restorer("ramit-lite", task="sr", device="cpu").weights.entry.id == "ramit-lite-sr-x4"
    photo = load_restorer("unet", task="sr", variant="photo", device="cpu")
    assert photo.weights.entry.id == "unet-sr-x4-photo"
    with pytest.raises(UsageError, match="model 'ramit-lite' has weights for sr x2"):
        load_restorer("ramit-lite")
