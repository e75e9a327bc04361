"""The manifest: its schema, and which entry a request means."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from restore_cli.errors import ManifestError, UsageError, WeightsError
from restore_cli.models import get_architecture
from restore_cli.weights.entry import entry_from_json, entry_to_json
from restore_cli.weights.manifest import Manifest, load_manifest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENTRY: dict[str, Any] = {
    "id": "ramit-sr-x2",
    "model": "ramit",
    "arch": "ramit",
    "config": {"dim": 16},
    "task": "sr",
    "scale": 2,
    "channels": 3,
    "training_patch": 64,
    "file": "one.pth",
    "bytes": 1000,
    "sha256": "ab" * 32,
    "sources": [{"kind": "https", "url": f"https://example.org/{COMMIT}/one.pth"}],
    "licence": "MIT",
    "origin": "owner/name@commit",
    "citation": "Somebody 2024",
}
SCORE = {"dataset": "Set5", "protocol": "paper", "metric": "psnr", "value": 30, "origin": "measured"}
HUB = {"kind": "huggingface", "repo": "owner/name", "revision": COMMIT, "filename": "folder/one.pth"}


def entry(**changes: Any) -> dict[str, Any]:
    values = {**copy.deepcopy(ENTRY), **changes}
    return {name: value for name, value in values.items() if value != "absent"}


def noise(number: int, sigma_range: list[float], **changes: Any) -> dict[str, Any]:
    own = {"id": f"ramit-noise-{number}", "file": f"noise{number}.pth", "task": "denoise", "scale": 1}
    return entry(**own, sigma_range=sigma_range, **changes)


def written(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps({"schema": 1, "entries": entries}))
    return path


def manifest(folder: Path, *entries: dict[str, Any]) -> Manifest:
    return load_manifest(written(folder, *entries))


def refusal(folder: Path, *entries: dict[str, Any]) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifest(written(folder, *entries))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_the_fifteen_published_files_are_listed_with_pinned_addresses_and_digests() -> None:
    entries = load_manifest().entries
    published = [item for item in entries if item.origin.startswith("rami0205/RAMiT@")]
    assert len(published) == 15
    for item in published:
        (source,) = item.sources
        place = "https://raw.githubusercontent.com/rami0205/RAMiT/193ead604a1ab01dd548eb808bf6a11f873fec39/pretrained/"
        assert source.url == place + item.file
        assert source.is_pinned
        assert item.git_blob_sha1 is not None
        assert (item.sha256 is None) == (item.bytes is None)


# In bytes and by sha256 where they are known, else trusted on first use.
RESTORMER_FILES = {
    "motion_deblurring": 104_700_429,
    "single_image_defocus_deblurring": None,
    "dual_pixel_defocus_deblurring": 104_724_374,
    "deraining": 104_700_429,
    "real_denoising": 104_611_957,
    "gaussian_color_denoising_blind": 104_611_957,
    "gaussian_color_denoising_sigma15": 104_611_957,
    "gaussian_color_denoising_sigma25": None,
    "gaussian_color_denoising_sigma50": None,
    "gaussian_gray_denoising_blind": None,
    "gaussian_gray_denoising_sigma15": None,
    "gaussian_gray_denoising_sigma25": None,
    "gaussian_gray_denoising_sigma50": None,
}


def test_every_published_file_of_restormer_is_held_to_its_digest_or_to_a_commit_and_the_first_one_seen() -> None:
    entries = {Path(item.file).stem: item for item in load_manifest().entries if item.model == "restormer"}
    assert {name: item.bytes for name, item in entries.items()} == RESTORMER_FILES
    for name, item in entries.items():
        assert item.trust_on_first_use == (item.sha256 is None) == (item.bytes is None)
        assert {source.kind for source in item.sources if not source.is_pinned} <= {"https"}
        kinds = [source.kind for source in item.sources]
        assert kinds == (["huggingface"] if item.trust_on_first_use else ["https", "huggingface"])[: len(kinds)]
        assert ("huggingface" in kinds) == (name != "motion_deblurring")
        assert item.state_dict_key == "params"


@pytest.mark.parametrize(
    ("setting", "detail"),
    [
        ({"task": "denoise"}, "denoise-color-blind"),
        ({"task": "denoise", "sigma": 25.0}, "denoise-color-sigma25"),
        ({"task": "denoise", "sigma": 30.0}, "denoise-color-sigma25"),
        ({"task": "denoise", "sigma": 20.0}, "denoise-color-sigma25"),
        ({"task": "denoise", "sigma": 17.0, "channels": 1}, "denoise-gray-sigma15"),
        ({"task": "denoise", "sigma": 50.0, "channels": 1}, "denoise-gray-sigma50"),
        ({"task": "denoise", "channels": 1}, "denoise-gray-blind"),
        ({"task": "denoise", "variant": "real"}, "denoise-real"),
        ({"task": "denoise", "variant": "real", "channels": 1}, "denoise-real"),
        ({"task": "derain"}, "derain"),
        ({"task": "deblur", "variant": "motion"}, "deblur-motion"),
        ({"task": "deblur", "variant": "defocus"}, "deblur-defocus"),
        ({"task": "deblur", "variant": "dual-pixel"}, "deblur-dual-pixel"),
    ],
)
def test_every_request_for_restormer_means_the_checkpoint_trained_for_it(setting: dict[str, Any], detail: str) -> None:
    assert load_manifest().select("restormer", **setting).id == f"restormer-{detail}"


def test_every_listed_config_builds_and_agrees_with_its_entry() -> None:
    for item in load_manifest().entries:
        config = get_architecture(item.arch).config.from_json(item.config)
        assert (config.scale, config.channels) == (item.scale, item.channels), item.id
        later = {name: config.to_json()[name] for name in config.LATER}
        assert config.to_json() == {**later, **item.config}, item.id


@pytest.mark.shared
def test_listed_configs_have_the_mean_and_std_of_the_originals(shared: Path) -> None:
    index = json.loads((shared / "golden" / "ramit_index.json").read_text())
    golden = {item: index[Path(item.file).stem] for item in load_manifest().entries if Path(item.file).stem in index}
    assert len(golden) == 15
    for item, facts in golden.items():
        assert (item.config["mean"], item.config["std"]) == (facts["mean"], facts["std"]), item.id
        assert (item.scale, item.channels) == (facts["scale"], facts["in_chans"]), item.id


@pytest.mark.slow
@pytest.mark.shared
def test_listed_configs_build_networks_of_the_originals_size(shared: Path) -> None:
    index = json.loads((shared / "golden" / "ramit_index.json").read_text())
    for item in load_manifest().entries:
        arch = get_architecture(item.arch)
        golden = index.get(Path(item.file).stem)
        if golden is not None:
            network = arch.build(arch.config.from_json(item.config))
            assert sum(parameter.numel() for parameter in network.parameters()) == golden["params"], item.id


def test_the_manifest_is_read_without_torch() -> None:
    script = "import sys, restore_cli.weights.manifest as m; m.load_manifest(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], env={**os.environ}).returncode == 0


def test_an_entry_goes_through_json_and_back_unchanged() -> None:
    for item in load_manifest().entries:
        assert entry_from_json(json.loads(json.dumps(entry_to_json(item))), "entry") == item
    score = {"dataset": "A", "protocol": "p", "metric": "psnr", "value": 0.0, "sigma": 0, "origin": "measured"}
    full = entry(scores=[score], training={"seed": 0}, drop_keys=["a"], notes="n", variant="photo", sigma_range=[0, 50])
    item = entry_from_json(full, "entry")
    assert item.scores[0].sigma == 0.0
    assert entry_from_json(entry_to_json(item), "entry") == item


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("licence", "absent", "'licence' is missing"),
        ("sigma_range", [0, 256], "'sigma_range[1]' is 256, but must be <= 255"),
        ("sigma_range", [0, "x"], "'sigma_range[1]' must be a number, not text"),
        ("scores", "none", "'scores' must be a list, not text"),
        ("scores", [{**SCORE, "value": 1e300}], "scores[0]: field 'value' is 1e+300, but must be <= "),
        ("scores", [{**SCORE, "metric": "psnrr"}], "'metric' is 'psnrr', did you mean 'psnr'? (known: psnr, psnr_y, "),
        ("license", "MIT", "unknown field 'license', did you mean 'licence'"),
        ("id", "Ramit SR", "'id' is 'Ramit SR'"),
        ("id", 7, "'id' must be text, not the number 7"),
        ("arch", "ramti", "'arch' is 'ramti', did you mean 'ramit'? (known: "),
        ("task", "superres", "'task' is 'superres' (known: classify, deblur, dejpeg, denoise, derain, lowlight, sr)"),
        ("scale", "2", "'scale' must be a whole number, not text"),
        ("scale", True, "'scale' must be a whole number, not true or false"),
        ("scale", 0, "'scale' is 0, but must be >= 1"),
        ("channels", 2, "'channels' is 2 (known: 1 for gray, 3 for RGB)"),
        ("config", [1], "'config' must be an object, not a list"),
        ("bytes", 1 << 31, "'bytes' is 2147483648, but must be <= "),
        ("sha256", "AB" * 32, "'sha256' is 'ABAB"),
        ("sha256", "absent", "'sha256' is missing, and so is 'git_blob_sha1'"),
        ("file", "../one.pth", "'file' is '../one.pth'"),
        ("file", "one.exe", "'file' is 'one.exe'"),
        ("sources", [], "'sources' is missing"),
        ("sources", ["https://example.org"], "sources[0] must be an object, not text"),
        ("sources", [{"kind": "ftp"}], "sources[0]: field 'kind' is 'ftp' (known: https, huggingface)"),
        ("sources", [{"kind": "https", "url": "http://example.org/x"}], "which is no https address"),
        ("sources", [{"kind": "https", "url": "file:///etc/passwd"}], "which is no https address"),
        ("sources", [{**HUB, "revision": "main"}], "'revision' is 'main'"),
        ("sources", [{**HUB, "filename": "../../x.pth"}], "'filename' is '../../x.pth'"),
        ("sources", [{**HUB, "url": "https://example.org/x"}], "'url' has no meaning for kind 'huggingface'"),
        ("sigma_range", [50, 0], "'sigma_range' is [50, 0], which is not a rising range"),
        ("sigma_range", [1, 2, 3], "'sigma_range' must hold 2 values, not 3"),
        ("bundled", "yes", "'bundled' must be true or false, not text"),
        ("bundled", True, "'file' must end in .safetensors"),
        ("drop_keys", ["a", 1], "'drop_keys[1]' must be text, not the number 1"),
        ("notes", "clear\x1b[2J", "'notes' is 'clear\\x1b[2J'"),
        ("trust_on_first_use", True, "'trust_on_first_use' contradicts the digest"),
        ("scores", [{"dataset": "Set5"}], "scores[0]: fields 'protocol', 'metric', 'value', 'origin' are missing"),
    ],
)
def test_a_broken_field_is_named_with_its_entry_and_the_known_names(
    tmp_path: Path, field: str, value: Any, said: str
) -> None:
    message = refusal(tmp_path, entry(**{field: value}))
    assert said in message
    assert "entry '" in message or field == "id"


def test_all_missing_fields_of_an_entry_are_named_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, entry(licence="absent", origin="absent", citation="absent"))
    assert "entry 'ramit-sr-x2': fields 'licence', 'origin', 'citation' are missing" in message


def test_a_file_without_digest_is_trusted_on_first_use_only_from_a_pinned_place(tmp_path: Path) -> None:
    policy = {"sha256": "absent", "trust_on_first_use": True}
    loose = [{"kind": "https", "url": "https://example.org/latest/one.pth"}]
    assert "needs sources that are pinned" in refusal(tmp_path, entry(**policy, sources=loose))
    assert manifest(tmp_path, entry(**policy)).entries[0].trust_on_first_use
    assert manifest(tmp_path, entry(**policy, sources=[HUB])).entries[0].sources[0].repo == "owner/name"


def test_entries_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    other = entry(id="ramit-sr-x3", file="two.pth", scale=3)
    assert "field 'id' is the same" in refusal(tmp_path, entry(), entry(file="two.pth", scale=3))
    assert "field 'file' is the same" in refusal(tmp_path, entry(), {**other, "file": "ONE.pth"})
    assert "field 'model' serves the same request" in refusal(tmp_path, entry(), {**other, "scale": 2})
    bundled = {"bundled": True, "sources": "absent", "file": "one.safetensors"}
    serving_two = [entry(**bundled), {**other, **bundled, "sources": None, "task": "denoise", "scale": 1}]
    assert len(manifest(tmp_path, *serving_two).entries) == 2
    serving_two[1]["sha256"] = "0" * 64
    assert "field 'file' is the same" in refusal(tmp_path, *serving_two)
    assert "is the name of a model too" in refusal(tmp_path, entry(), {**other, "model": "ramit-sr-x2"})
    assert len(manifest(tmp_path, entry(), other).entries) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("[]", "must be an object, not a list"),
        ('{"schema": 2, "entries": []}', "'schema' is 2; this version reads 1"),
        ('{"schema": 1}', "'entries' is missing"),
        ('{"schema": 1, "entries": [], "entries": []}', "'entries' is given twice"),
        ('{"schema": 1, "entries": [NaN]}', "NaN is not a JSON number"),
        ('{"schema": 1, "entries": ' + "[" * 100_000, "not valid JSON"),
        ("\xff", "not valid JSON"),
    ],
)
def test_a_broken_manifest_is_refused_in_one_line_naming_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ManifestError, match=re.escape(said)) as caught:
        load_manifest(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot read the manifest"):
        load_manifest(tmp_path / "nothing.json")


def test_a_model_name_with_task_and_scale_means_one_entry() -> None:
    known = load_manifest()
    assert known.select("ramit-slim", task="sr", scale=4).id == "ramit-slim-sr-x4"
    assert known.select("ramit-slim", task="lowlight").id == "ramit-slim-lowlight"
    assert known.select("ramit-1-sr-x3", task="sr", scale=3).id == "ramit-1-sr-x3"
    assert known.get("ramit-derain").task == "derain"


@pytest.mark.parametrize(
    ("name", "setting", "weights_id"),
    [
        ("ramit-slim-sr-x4", {}, "ramit-slim-sr-x4"),
        ("ramit-slim-sr-x4", {"task": "sr", "scale": 4}, "ramit-slim-sr-x4"),
        ("ramit-slim", {"task": "sr", "scale": 4}, "ramit-slim-sr-x4"),
        ("ramit-slim", {"scale": 3}, "ramit-slim-sr-x3"),
        ("ramit-slim", {"task": "lowlight"}, "ramit-slim-lowlight"),
        ("ramit", {"task": "denoise", "channels": 1}, "ramit-denoise-gray"),
        ("restormer", {"task": "denoise", "sigma": 25.0}, "restormer-denoise-color-sigma25"),
        ("restormer", {"task": "denoise", "variant": "real"}, "restormer-denoise-real"),
        ("restormer", {"task": "derain"}, "restormer-derain"),
    ],
)
def test_a_program_may_name_an_id_or_a_model_and_what_it_is_for(
    name: str, setting: dict[str, Any], weights_id: str
) -> None:
    assert load_manifest().find(name, **setting).id == weights_id


def test_a_model_of_one_purpose_needs_no_task_and_its_only_variant_is_meant(tmp_path: Path) -> None:
    known = manifest(tmp_path, entry(variant="photo"))
    assert known.find("ramit").id == "ramit-sr-x2"


def test_a_models_name_that_leaves_a_choice_names_the_choices() -> None:
    with pytest.raises(UsageError, match=r"model 'ramit-lite' has weights for sr x2, .*say which by task"):
        load_manifest().find("ramit-lite")
    with pytest.raises(UsageError, match=r"'ramit-slim' has no weights for derain; it has sr x2, sr x3, sr x4, lowlig"):
        load_manifest().find("ramit-slim", task="derain")
    with pytest.raises(UsageError, match="unknown weights id 'ramit-slmi', did you mean 'ramit-slim"):
        load_manifest().find("ramit-slmi", task="sr")
    with pytest.raises(UsageError, match=r"'ramit-sr-x2' has no weights for sr x4; it has sr x2"):
        load_manifest().find("ramit-sr-x2", scale=4)


def test_gray_images_take_the_gray_network_where_the_model_has_one() -> None:
    known = load_manifest()
    assert known.select("ramit", task="denoise", channels=1, sigma=25).id == "ramit-denoise-gray"
    assert known.select("ramit", task="denoise", channels=3, sigma=25).id == "ramit-denoise-color"
    assert known.select("ramit-1", task="denoise", channels=1).id == "ramit-1-denoise-color"
    with pytest.raises(UsageError, match="are for denoise gray, not for denoise"):
        known.select("ramit-denoise-gray", task="denoise", channels=3)


def test_the_noise_level_chooses_the_nearest_trained_level_else_the_narrowest_range_that_holds_it(
    tmp_path: Path,
) -> None:
    levels = [noise(1, [15, 15]), noise(2, [25, 25]), noise(3, [50, 50])]
    known = manifest(tmp_path, *levels)
    chosen = {sigma: known.select("ramit", task="denoise", sigma=sigma).id[-1] for sigma in (0, 15, 19, 20, 30, 44)}
    assert chosen == {0: "1", 15: "1", 19: "1", 20: "2", 30: "2", 44: "3"}
    known = manifest(tmp_path, *levels, noise(4, [0, 50]))
    assert known.select("ramit", task="denoise", sigma=15).id == "ramit-noise-1"
    assert known.select("ramit", task="denoise", sigma=16).id == "ramit-noise-1"
    assert known.select("ramit", task="denoise").id == "ramit-noise-4"
    known = manifest(tmp_path, noise(1, [0, 20]), noise(2, [0, 50]))
    chosen = {sigma: known.select("ramit", task="denoise", sigma=sigma).id[-1] for sigma in (15, 20, 21, 60)}
    assert chosen == {15: "1", 20: "1", 21: "2", 60: "2"}


def test_a_variant_is_taken_only_when_asked_for(tmp_path: Path) -> None:
    known = manifest(tmp_path, entry(), entry(id="ramit-photo-x2", file="two.pth", variant="photo"))
    assert known.select("ramit", task="sr", scale=2).variant is None
    assert known.select("ramit", task="sr", scale=2, variant="photo").id == "ramit-photo-x2"
    with pytest.raises(UsageError, match="has no weights for sr x2 motion; it has sr x2, sr x2 photo"):
        known.select("ramit", task="sr", scale=2, variant="motion")


def test_without_a_model_the_bundled_weights_of_the_task_are_taken(tmp_path: Path) -> None:
    own = entry(id="ramit-lite-sr-x2", model="ramit-lite", file="lite.safetensors", bundled=True, sources="absent")
    known = manifest(tmp_path, entry(), own)
    assert known.select(task="sr", scale=2).id == "ramit-lite-sr-x2"
    with pytest.raises(WeightsError, match="no weights are bundled for sr x2; name a model to fetch with -m: ramit"):
        manifest(tmp_path, entry()).select(task="sr", scale=2)


@pytest.mark.parametrize(
    ("model", "setting", "said"),
    [
        ("ramit-slmi", {"task": "sr", "scale": 2}, "unknown model 'ramit-slmi', did you mean 'ramit-slim'? (known: ra"),
        ("ramit-sr-x22", {"task": "sr", "scale": 2}, "did you mean 'ramit-sr-x2"),
        ("ramit-slim", {"task": "denoise"}, "has no weights for denoise; it has sr x2, sr x3, sr x4, lowlight"),
        ("ramit-sr-x2", {"task": "sr", "scale": 4}, "weights 'ramit-sr-x2' are for sr x2, not for sr x4"),
        (None, {"task": "sr", "scale": 7}, "no weights are known for sr x7; there are sr x2"),
    ],
)
def test_a_request_for_what_is_not_there_names_what_is(model: str | None, setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        load_manifest().select(model, **setting)


def test_an_unknown_id_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown weights id 'ramit-sr-x5', did you mean 'ramit-sr-x"):
        load_manifest().get("ramit-sr-x5")


def test_a_file_shared_by_hand_has_a_page_and_no_sources(tmp_path: Path):
    page = "https://example.org/owner/name"
    by_hand = {"shared_at": page, "sources": "absent", "sha256": "absent", "trust_on_first_use": True}
    assert manifest(tmp_path, entry(**by_hand)).entries[0].shared_at == page
    assert "'shared_at' contradicts" in refusal(tmp_path, entry(**{**by_hand, "sources": [HUB]}))
    assert "which is no https address" in refusal(tmp_path, entry(**{**by_hand, "shared_at": "the authors' drive"}))


def test_a_classifier_is_known_and_restores_nothing():
    known = load_manifest()
    assert known.get("crossformer-s-imagenet").task == "classify"
    with pytest.raises(UsageError, match="model 'crossformer-s' has no weights for sr x2; it has classify"):
        known.select("crossformer-s", task="sr", scale=2)


def test_without_a_name_the_best_bundled_network_restores_and_the_others_go_by_name():
    known = load_manifest()
    assert known.select(task="denoise").model == "unet"
    assert known.select(task="denoise", channels=1).model == "unet"
    assert known.select("ramit-lite", task="denoise").bundled
    assert known.select(task="lowlight").model == "unet"
    assert {known.select(task="sr", scale=scale, variant="photo").model for scale in (2, 3, 4)} == {"unet"}
    assert known.select(task="sr", scale=2).model == "ramit-lite"
    assert known.select("crossformer-lite", task="sr", scale=2).bundled
