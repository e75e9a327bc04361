"""From bytes to a network: what fits is loaded exactly, everything else is refused in one line and nothing is run."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import random
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from restore_cli.errors import DigestError, ManifestError, WeightsError
from restore_cli.models import get_architecture
from restore_cli.weights.entry import WeightsEntry, entry_to_json
from restore_cli.weights.file import entry_from_file
from restore_cli.weights.load import LoadedWeights, load_weights, save_weights
from restore_cli.weights.manifest import load_manifest
from tests.weights.facts import entry_for

ARCH = get_architecture("ramit")
CONFIG = ARCH.config.from_json({**ARCH.config.tiny().to_json(), "depths": [1, 1, 1, 1]})


@pytest.fixture(scope="module")
def state_dict() -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return dict(ARCH.build(CONFIG).state_dict())


def entry(body: bytes = b"", **changes: Any) -> WeightsEntry:
    return entry_for(body, **{"config": CONFIG.to_json(), **changes})


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def loaded(path: Path, data: bytes, **changes: Any) -> LoadedWeights:
    """Lay the bytes down and load them as a user's own file."""
    path.write_bytes(data)
    return load_weights(entry(**changes), path)


def refusal(path: Path, data: bytes, **changes: Any) -> str:
    with pytest.raises(WeightsError) as caught:
        loaded(path, data, **changes)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_loads_exactly_and_is_ready_to_run(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    for name, data in (("a.pth", saved(state_dict)), ("b.safetensors", safetensors.torch.save(state_dict))):
        weights = loaded(tmp_path / name, data)
        assert weights.digest == f"sha256:{entry(data).sha256}"
        assert weights.path == tmp_path / name
        assert weights.config == CONFIG
        assert not weights.network.training
        found = weights.network.state_dict()
        assert found.keys() == state_dict.keys()
        assert all(torch.equal(found[key], tensor) for key, tensor in state_dict.items())


def test_the_bytes_decide_not_the_suffix(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    loaded(tmp_path / "really_safetensors.pth", safetensors.torch.save(state_dict))
    loaded(tmp_path / "really_torch.safetensors", saved(state_dict))


def test_loading_does_not_move_the_callers_random_numbers(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    loaded(tmp_path / "a.pth", saved(state_dict))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_become_float32(tmp_path: Path, state_dict: dict[str, Tensor], dtype: torch.dtype) -> None:
    other = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in state_dict.items()}
    found = loaded(tmp_path / "a.pth", saved(other)).network.state_dict()
    for key, tensor in other.items():
        assert found[key].dtype == state_dict[key].dtype
        assert torch.equal(found[key], tensor.to(state_dict[key].dtype))


def test_tensors_are_taken_from_under_a_key_and_named_keys_are_dropped(
    tmp_path: Path, state_dict: dict[str, Tensor]
) -> None:
    nested = saved({"params": {**state_dict, "extra": torch.zeros(1)}, "epoch": 3})
    loaded(tmp_path / "a.pth", nested, state_dict_key="params", drop_keys=("extra",))
    assert "it has extra" in refusal(tmp_path / "a.pth", nested, state_dict_key="params")
    elsewhere = saved({"weights": state_dict, "epoch": 3})
    message = refusal(tmp_path / "a.pth", elsewhere, state_dict_key="state")
    assert "no flat state dict: it holds weights, epoch" in message
    assert "looked for at the top and under params_ema, params, state_dict, model, generator" in message


def prefixed(state_dict: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in state_dict.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "net_g.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("key", ["params_ema", "params", "state_dict", "model", "generator", None])
def test_a_checkpoint_trained_elsewhere_loads_whatever_is_wrapped_around_it(
    tmp_path: Path, state_dict: dict[str, Tensor], key: str | None, prefix: str
) -> None:
    inner = prefixed(state_dict, prefix)
    found = loaded(tmp_path / "a.pth", saved(inner if key is None else {"epoch": 3, key: inner})).network.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state_dict.items())


def test_a_prefix_is_taken_off_safetensors_too_but_never_from_some_keys_only(
    tmp_path: Path, state_dict: dict[str, Tensor]
) -> None:
    loaded(tmp_path / "a.safetensors", safetensors.torch.save(prefixed(state_dict, "module.")))
    first, *rest = state_dict
    mixed = {first: state_dict[first], **{f"module.{key}": state_dict[key] for key in rest}}
    assert "it lacks " in refusal(tmp_path / "a.safetensors", safetensors.torch.save(mixed))


def test_smoothed_weights_are_taken_before_the_last_ones(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    last = {key: tensor * 2 for key, tensor in state_dict.items()}
    for nested in ({"params": last, "params_ema": state_dict}, {"model": {"params": last, "params_ema": state_dict}}):
        found = loaded(tmp_path / "a.pth", saved(nested), state_dict_key="params").network.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in state_dict.items())


def test_a_file_that_came_by_hand_may_have_lost_its_nesting(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    by_hand = {"state_dict_key": "model", "shared_at": "https://example.org/owner/name"}
    for data in (saved({"model": state_dict, "epoch": 3}), saved(state_dict)):
        found = loaded(tmp_path / "a.pth", data, **by_hand).network.state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in state_dict.items())
    assert "no flat state dict" in refusal(tmp_path / "a.pth", saved({"module": state_dict}), **by_hand)


def without(state_dict: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state_dict.items() if name != key}


def test_a_state_dict_must_fit_exactly(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    path, key = tmp_path / "a.pth", "shallow.conv.weight"
    key = key if key in state_dict else next(name for name in state_dict if name.endswith("weight"))
    assert f"it lacks {key}" in refusal(path, saved(without(state_dict, key)))
    assert "it has other" in refusal(path, saved({**state_dict, "other": torch.zeros(2)}))
    assert "has the shape (1, 2), not (" in refusal(path, saved({**state_dict, key: torch.zeros(1, 2)}))
    assert "is of dtype torch.int32" in refusal(path, saved({**state_dict, key: state_dict[key].int()}))
    for bad in (float("nan"), float("inf")):
        tensor = state_dict[key].clone()
        tensor.view(-1)[-1] = bad
        assert f"{key} holds values that are not finite" in refusal(path, saved({**state_dict, key: tensor}))


def test_an_index_table_other_than_the_networks_is_refused(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    key = next(name for name, tensor in state_dict.items() if not tensor.is_floating_point())
    moved = {**state_dict, key: state_dict[key] + 1_000_000}
    assert f"{key} differs from the table" in refusal(tmp_path / "a.pth", saved(moved))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (pickle.dumps({"a": 1}), "it is a bare pickle"),
        (b"some text", "its first bytes are neither"),
        (b"PK\x03\x04 and nothing more", "is damaged"),
        (struct.pack("<Q", 1 << 40) + b"{}", "its header is damaged"),
        (struct.pack("<Q", 100) + b"{}", "cut short within its header"),
        (struct.pack("<Q", 4) + b"{]}}", "not valid JSON"),
        (struct.pack("<Q", 9) + b'{"a":NaN}', "NaN is not a JSON number"),
        (struct.pack("<Q", 2) + b"{}", "it lacks"),
        (saved(torch.zeros(3)), "holds no state dict but a value of type Tensor"),
        (saved({"a": 1}), "is no flat state dict"),
        (saved({1: torch.zeros(1)}), "is no flat state dict"),
        (saved([torch.zeros(1)]), "holds no state dict"),
    ],
)
def test_what_is_no_state_dict_is_refused_with_its_reason(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refusal(tmp_path / "a.pth", data)


def test_a_file_cut_at_any_place_is_refused(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    for data in (saved(state_dict), safetensors.torch.save(state_dict)):
        for cut in random.Random(0).sample(range(len(data)), 40):
            refusal(tmp_path / "a.pth", data[:cut])


def test_bytes_that_differ_from_the_entry_are_never_parsed(
    tmp_path: Path, state_dict: dict[str, Tensor], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(tmp_path / "mine"))
    path = tmp_path / "mine" / "tiny.pth"
    path.parent.mkdir()
    good = saved(state_dict)
    path.write_bytes(good)
    listed = entry(good)
    assert load_weights(listed).path == path
    for place in random.Random(1).sample(range(len(good)), 20):
        changed = bytearray(good)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        with pytest.raises(DigestError):
            load_weights(listed)


def test_random_damage_is_refused_or_changes_values_only(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    shuffle = random.Random(2)
    for data in (saved(state_dict), safetensors.torch.save(state_dict)):
        structure = [*range(2000), *range(len(data) - 2000, len(data))]  # headers, pickle, table of contents
        for _ in range(10):
            changed = bytearray(data)
            for place in shuffle.sample(structure, 4):
                changed[place] = shuffle.randrange(256)
            try:
                weights = loaded(tmp_path / "a.pth", bytes(changed))
            except WeightsError as error:
                assert "\n" not in str(error)  # noqa: PT017  (either outcome is right)
            else:
                assert weights.network.state_dict().keys() == state_dict.keys()


class Calls:
    """Pickles to a call, the classic way to run code."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], Any]:
        return self.call


class WithState:
    """Pickles to an object whose state is set by the reader."""

    def __init__(self, payload: object) -> None:
        self.payload = payload


def zipped(pickled: bytes, *, folder: str = "archive", **members: bytes) -> bytes:
    """An archive as torch.save lays it out, around a pickle of our own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{folder}/data.pkl", pickled)
        archive.writestr(f"{folder}/version", b"3\n")
        for name, data in members.items():
            archive.writestr(f"{folder}/{name}", data)
    return buffer.getvalue()


CANARY = "canary_that_must_not_be_made"
COMMANDS = {
    "os.system": Calls(os.system, f"touch {CANARY}"),
    "eval": Calls(eval, f"open({CANARY!r}, 'w')"),
    "exec": Calls(exec, f"open({CANARY!r}, 'w')"),
    "open": Calls(open, CANARY, "w"),
    "import": Calls(__import__, "this_module_is_nowhere"),
    "getattr": Calls(getattr, "text", "upper"),
    "torch.load itself": Calls(torch.hub.load, "owner/name", "model"),
    "bytearray bomb": Calls(bytearray, 1 << 50),
    "object": WithState(1),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_that_calls_something_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, protocol: int, nested: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    value = {"a": OrderedDict(b=[COMMANDS[name]])} if nested else COMMANDS[name]
    message = refusal(tmp_path / "a.pth", zipped(pickle.dumps(value, protocol=protocol)))
    assert "its pickle asks for " in message
    assert "nothing in it was run" in message
    assert not (tmp_path / CANARY).exists()


@pytest.mark.parametrize("key", ["params_ema", "params", "state_dict", "model", "generator"])
def test_a_call_under_any_wrapper_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps({key: {"module.a": COMMANDS["os.system"]}}, protocol=2)
    assert "nothing in it was run" in refusal(tmp_path / "a.pth", zipped(pickled))
    assert not (tmp_path / CANARY).exists()


def test_a_dictionary_that_lies_in_itself_is_refused(tmp_path: Path) -> None:
    endless = b"\x80\x02}q\x00X\x06\x00\x00\x00paramsh\x00s."
    assert "is no flat state dict" in refusal(tmp_path / "a.pth", zipped(endless, byteorder=b"little"))


@pytest.mark.parametrize(
    "pickled",
    [
        b"cos\nsystem\n(S'touch canary_that_must_not_be_made'\ntR.",
        b"(S'touch canary_that_must_not_be_made'\nios\nsystem\n.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n.",
        b"\x80\x02ccollections\nCounter\n.",
    ],
)
def test_hand_made_pickles_are_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickled: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    assert "its pickle asks for " in refusal(tmp_path / "a.pth", zipped(pickled))
    assert not (tmp_path / CANARY).exists()


def tensor_pickle(*, count: int, size: int, stride: int, offset: int = 0) -> bytes:
    """A hand-made pickle of {"a": tensor} over a storage said to hold `count` floats."""
    return (
        b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + number(count) + b"tQ" + number(offset)
        + number(size) + b"\x85" + number(stride) + b"\x85\x89ccollections\nOrderedDict\n)RtRs."
    )  # fmt: skip


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


@pytest.mark.parametrize(
    ("count", "size", "stride", "offset"),
    [(1 << 40, 4, 1, 0), (400, 400, 1, 0), (4, 400, 1, 0), (4, 4, 1, 100), (4, 2, 1000, 0), (4, 1 << 40, 0, 0)],
)
def test_tensors_that_claim_more_than_their_storage_holds_are_refused(
    tmp_path: Path, count: int, size: int, stride: int, offset: int
) -> None:
    pickled = tensor_pickle(count=count, size=size, stride=stride, offset=offset)
    refusal(tmp_path / "a.pth", zipped(pickled, **{"data/0": bytes(16), "byteorder": b"little"}))


def test_the_hand_made_pickle_is_one_that_torch_reads() -> None:
    data = zipped(tensor_pickle(count=4, size=4, stride=1), **{"data/0": bytes(16), "byteorder": b"little"})
    assert torch.equal(torch.load(io.BytesIO(data), weights_only=True)["a"], torch.zeros(4))  # noqa: TID251  (the reference)


def test_archives_that_are_programs_or_bombs_are_refused(tmp_path: Path) -> None:
    path, plain = tmp_path / "a.pth", pickle.dumps({}, protocol=2)
    assert "TorchScript is never loaded" in refusal(path, zipped(plain, **{"constants.pkl": plain}))
    assert "TorchScript is never loaded" in refusal(path, zipped(plain, **{"code/a.py": b""}))
    assert "exported program (.pt2)" in refusal(path, zipped(plain, archive_format=b"pt2"))
    assert "not laid out as torch.save does" in refusal(path, two_roots(plain))
    assert "compressed members" in refusal(path, bomb())
    assert "is a zip archive, but no checkpoint" in refusal(path, zipped(plain).replace(b"data.pkl", b"data.pkx"))


def two_roots(pickled: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("b/data.pkl", pickled)
    return buffer.getvalue()


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("archive/data/0", bytes(50 << 20))
    return buffer.getvalue()


@pytest.mark.slow
def test_a_real_torchscript_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), str(path))
    assert "TorchScript" in refusal(path, path.read_bytes())


def test_files_of_ours_carry_their_entry_and_need_no_model_name(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    path = tmp_path / "mine.safetensors"
    own = entry(b"x", file="mine.safetensors", training={"recipe": "ramit-lite", "seed": 1}, notes="ours")
    save_weights(path, state_dict, own)
    first = path.read_bytes()
    save_weights(path, dict(reversed(state_dict.items())), own)
    assert path.read_bytes() == first
    found = entry_from_file(path)
    assert found == dataclasses.replace(own, bytes=None, sha256=None)
    assert found is not None
    weights = load_weights(found, path)
    assert all(torch.equal(weights.network.state_dict()[key], tensor) for key, tensor in state_dict.items())
    assert [item.name for item in tmp_path.iterdir()] == ["mine.safetensors"]


def test_files_of_others_carry_no_entry(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    path = tmp_path / "a.safetensors"
    for data in (
        safetensors.torch.save(state_dict, {"format": "pt"}),
        safetensors.torch.save(state_dict),
        saved(state_dict),
    ):
        path.write_bytes(data)
        assert entry_from_file(path) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arch": "nothing"}, "field 'arch' is 'nothing'"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"config": {**CONFIG.to_json(), "dim": 1 << 20}}, "holds a number above"),
        ({"config": {**CONFIG.to_json(), "depths": [1 << 30, 1, 1, 1]}}, "holds a number above"),
    ],
)
def test_a_broken_entry_in_a_header_is_named(
    tmp_path: Path, state_dict: dict[str, Tensor], changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, state_dict, entry())
    own = entry_from_file(path)
    assert own is not None
    text = json.dumps({**entry_to_json(own), **changes})
    path.write_bytes(safetensors.torch.save(state_dict, {"restore_entry": text}))
    with pytest.raises(ManifestError, match=said) as caught:
        entry_from_file(path)
    assert str(path) in str(caught.value)


def test_an_entry_that_contradicts_its_config_is_refused(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(saved(state_dict))
    with pytest.raises(ManifestError, match="field 'scale' is 3, but its config says 2"):
        load_weights(entry(scale=3), path)
    with pytest.raises(ManifestError, match="field 'config': RAMiT: "):
        load_weights(entry(config={"dim": 16}), path)


def test_a_config_cannot_claim_more_memory_than_its_file_holds(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    huge = {**CONFIG.to_json(), "dim": 4096, "depths": [2, 2, 2, 2]}  # four gigabytes of parameters
    assert "does not fit" in refusal(tmp_path / "a.pth", saved(state_dict), config=huge)


def test_weights_that_cannot_be_written_leave_nothing_behind(tmp_path: Path, state_dict: dict[str, Tensor]) -> None:
    with pytest.raises(Exception, match=r"cannot write .*safetensors"):
        save_weights(tmp_path / "nowhere" / "a.safetensors", state_dict, entry())
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(Exception, match=r"cannot write .*safetensors"):
        save_weights(tmp_path / "folder.safetensors", state_dict, entry())
    assert [item.name for item in tmp_path.iterdir()] == ["folder.safetensors"]


@pytest.mark.shared
def test_an_original_loads_under_its_digest(shared: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(shared / "weights"))
    weights = load_weights(load_manifest().get("ramit-slim-lowlight"), offline=True)
    assert weights.digest == "sha256:122723dcb8b8368d60dd426aa13326ec4bf415483044158e5106d4b835ebd75f"
    assert weights.notes == ()


@pytest.mark.slow
@pytest.mark.shared
def test_the_eight_originals_load_under_their_digests(
    shared: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(shared / "weights"))
    index = json.loads((shared / "golden" / "ramit_index.json").read_text())
    at_hand = [item for item in load_manifest().entries if (shared / "weights" / "ramit" / item.file).exists()]
    assert len(at_hand) == 8
    for item in at_hand:
        weights = load_weights(item, offline=True)
        assert weights.digest == f"sha256:{item.sha256}"
        parameters = sum(parameter.numel() for parameter in weights.network.parameters())
        assert parameters == index[Path(item.file).stem]["params"]
