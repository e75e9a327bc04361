"""What is exported is the network it was made of, says so itself, and never takes another file's place unasked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from restore_cli import export, list_weights, load_restorer
from restore_cli.errors import UsageError, WeightsError
from restore_cli.exporting import run as run_module
from restore_cli.exporting.request import Exported
from restore_cli.models import architecture_names, get_architecture, nafnet
from restore_cli.models.ramit.block import ReshapeLayerNorm
from restore_cli.weights.file import entry_from_file
from restore_cli.weights.foreign import entry_of
from restore_cli.weights.load import load_weights, save_weights
from restore_cli.weights.manifest import load_manifest
from tests.models.fill import deterministic_fill

LITE = "ramit-lite-sr-x2"


def exported(path: Path, **changes: object) -> Exported:
    facts: dict[str, object] = {"name": LITE, "form": "safetensors", "output": path, **changes}
    return export(**facts)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "lite.safetensors"
    exported(path, dtype="int8")
    return path


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rows, columns = np.mgrid[:40, :56]
    waves = 0.5 + 0.3 * np.sin(rows / 5)[..., None] * np.cos(columns[..., None] / np.array([4.0, 6.0, 9.0]))
    return waves.astype(np.float32)


def test_float32_holds_every_number_of_the_original(tmp_path: Path):
    made = exported(tmp_path / "a.safetensors", check=True)
    original = load_weights(load_manifest().get(LITE)).network.state_dict()
    copied = load_weights(made.entry, made.path).network.state_dict()
    assert all(torch.equal(original[name], tensor) for name, tensor in copied.items())
    assert [check.difference for check in made.checks] == [0.0, 0.0, 0.0]
    assert [check.change for check in made.checks] == [0.0, 0.0, 0.0]


def test_an_int8_file_enlarges_as_the_original_does_to_a_fraction_of_a_level(int8: Path, image: np.ndarray):
    original, copied = load_restorer(LITE, device="cpu")(image), load_restorer(int8, device="cpu")(image)
    assert 0 < np.abs(original - copied).mean() * 255 < 0.5


def test_an_int8_file_holds_hardly_more_than_a_byte_a_number(int8: Path):
    network = load_weights(load_manifest().get(LITE)).network
    numbers = sum(parameter.numel() for parameter in network.parameters())
    names = 110 * len(network.state_dict())  # what the header takes
    assert int8.stat().st_size < 1.2 * numbers + names


def test_the_file_says_what_it_is_and_of_which_file_it_was_made(int8: Path):
    entry, listed = entry_from_file(int8), load_manifest().get(LITE)
    assert entry is not None
    assert (entry.id, entry.model, entry.task, entry.scale) == (f"{LITE}-int8", listed.model, "sr", 2)
    assert entry.made_from == load_weights(listed).digest
    assert entry.licence == listed.licence
    assert not entry.scores


def test_an_export_can_be_exported_again(int8: Path, tmp_path: Path, image: np.ndarray):
    again = exported(tmp_path / "again.safetensors", name=str(int8)).path
    assert np.array_equal(load_restorer(int8, device="cpu")(image), load_restorer(again, device="cpu")(image))


def test_what_gives_other_pixels_is_refused_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_module, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(WeightsError, match=r"what was exported of ramit-lite-sr-x2 differs from it .* nothing was"):
        exported(tmp_path / "a.safetensors", check=True)
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_replaced_only_when_that_was_said(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        exported(path)
    assert path.read_bytes() == b"mine"
    assert exported(path, overwrite=True).entry.bytes == path.stat().st_size


@pytest.mark.parametrize("name", ["a.pth", "a", ".safetensors", "a b.safetensors"])
def test_a_name_that_no_manifest_could_hold_is_refused(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match="is no name for such a file"):
        exported(tmp_path / name)


def test_a_file_that_does_not_say_what_it_is_is_refused(tmp_path: Path):
    path = tmp_path / "theirs.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(UsageError, match="does not say of which network it is"):
        exported(tmp_path / "a.safetensors", name=str(path))


def test_a_file_of_others_that_does_not_tell_its_task_is_exported_for_the_one_that_is_said(tmp_path: Path):
    theirs = tmp_path / "theirs.pth"
    torch.save({"params": deterministic_fill(nafnet.ARCH.build(nafnet.Config.tiny()).state_dict())}, theirs)
    with pytest.raises(UsageError, match="say it with --task"):
        exported(tmp_path / "a.safetensors", name=theirs)
    made = exported(tmp_path / "a.safetensors", name=theirs, task="deblur", dtype="float16", check=True)
    assert (made.entry.task, made.entry.arch, made.entry.licence) == ("deblur", "nafnet", "unknown")
    assert entry_of(tmp_path / "a.safetensors") == replace(made.entry, bytes=None, sha256=None)
    for wrong, words in (("denoise", "is for deblur, not for denoise"), ("sharpen", "unknown task 'sharpen'")):
        with pytest.raises(UsageError, match=words):
            exported(tmp_path / "b.safetensors", name=tmp_path / "a.safetensors", task=wrong)


def test_a_program_runs_at_any_size_without_this_package_and_says_what_it_is(tmp_path: Path):
    made = exported(tmp_path / "unet.pt2", name="unet-lowlight", form="pt2")
    assert len(made.checks) == 3
    assert all(check.difference <= 1e-4 for check in made.checks)
    said = {"entry.json": ""}
    program = torch.export.load(made.path, extra_files=said).module()
    original = load_weights(load_manifest().get("unet-lowlight"))
    entry = json.loads(said["entry.json"])
    assert (entry["id"], entry["made_from"]) == ("unet-lowlight", original.digest)
    image = torch.rand(1, 3, 40, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(program(image), original.network(image), atol=1e-4, rtol=0)


def test_a_trace_holds_no_context_of_autocast_each_of_which_costs_torch_a_new_graph():
    program = torch.export.export(ReshapeLayerNorm(4), (torch.zeros(1, 4, 2, 2),), strict=False)
    assert not [node.target for node in program.graph.nodes if "autocast" in str(node.target)]


def test_a_program_has_no_other_numbers_than_float32(tmp_path: Path):
    with pytest.raises(UsageError, match="in float32"):
        exported(tmp_path / "a.pt2", name="unet-lowlight", form="pt2", dtype="int8")
    assert not list(tmp_path.iterdir())


def tiny(arch_name: str, path: Path, *, task: str = "denoise") -> Path:
    """Write a file of the tiny network of an architecture, with numbers that leave no part of it without effect."""
    arch = get_architecture(arch_name)
    config = arch.config.tiny()
    entry = replace(
        list_weights()[0],
        id=arch_name.replace("_", "-"),
        arch=arch_name,
        config=config.to_json(),
        scale=config.scale,
        channels=config.channels,
        task="sr" if config.scale > 1 else task,
    )
    save_weights(path, deterministic_fill(arch.build(config).state_dict()), entry)
    return path


def test_a_network_of_groups_near_and_far_is_a_program_of_any_size_that_needs_no_padding(tmp_path: Path):
    made = exported(
        tmp_path / "tiny.pt2", name=tiny("crossformer_ir", tmp_path / "tiny.safetensors"), form="pt2"
    )  # fmt: skip
    assert [check.difference <= 1e-4 for check in made.checks] == [True, True, True]
    assert {side % 16 for check in made.checks for side in check.size} == {0}


def restored_by_onnxruntime(path: Path, **inputs: torch.Tensor) -> torch.Tensor:
    """Return what onnxruntime makes of a file, told to run in the plainest way."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: x.numpy() for name, x in inputs.items()})[0])


QUICK = ("drunet", "swinir", "unet")


@pytest.mark.parametrize(
    "arch_name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.exhaustive) for name in architecture_names()],
)
@torch.inference_mode()
def test_onnxruntime_gives_the_pixels_of_the_network_at_any_size(arch_name: str, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    if not get_architecture(arch_name).restores:
        pytest.skip("it restores nothing")
    source = tiny(arch_name, tmp_path / "tiny.safetensors")
    made = exported(tmp_path / "tiny.onnx", name=source, form="onnx")
    assert len(made.checks) == 3
    entry = entry_from_file(source)
    assert entry is not None
    original = load_weights(entry, source)
    arch = get_architecture(arch_name)
    unit = arch.exported_unit_of(original.config)
    unit *= -(-8 // unit)
    image = torch.rand(1, arch.channels_in(original.config), unit, 4 * unit, generator=torch.Generator().manual_seed(0))
    inputs = {"image": image, "level": torch.tensor([0.2])} if arch.takes_level else {"image": image}
    wanted = original.network(*inputs.values())
    assert torch.allclose(restored_by_onnxruntime(made.path, **inputs), wanted, atol=1e-4, rtol=0)
    assert wanted.std() > 0.01
