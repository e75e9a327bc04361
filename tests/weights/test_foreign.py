"""Files of others say nothing of themselves: what they are is found from their tensors, or they are refused."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from restore_cli.errors import ManifestError, UsageError, WeightsError
from restore_cli.models import compact, drunet, fbcnn, get_architecture, nafnet, rrdbnet, span
from restore_cli.training.warm_start import read_source
from restore_cli.weights import file, foreign
from restore_cli.weights.file import read_content
from restore_cli.weights.foreign import entry_of
from restore_cli.weights.load import load_weights, read_tensors
from restore_cli.weights.manifest import Manifest
from tests.models.schemes import as_esrgan, as_kair, as_trained_span
from tests.weights.facts import entry_for

RRDBNET = rrdbnet.Config(dim=8, growth=4, blocks=2)
CANARY = "canary_that_must_not_be_made"

pytestmark = pytest.mark.usefixtures("cache")


class Calls:
    """Pickles to a call, the classic way to run code."""

    def __reduce__(self) -> tuple[Callable[..., Any], Any]:
        return os.system, (f"touch {CANARY}",)


def saved(value: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def network_of(arch: str, config: Any) -> nn.Module:
    torch.manual_seed(0)
    return get_architecture(arch).build(config).eval()


def laid(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


KINDS: dict[str, tuple[str, Any, Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "rrdbnet": ("rrdbnet", RRDBNET, dict, "sr"),
    "rrdbnet of KAIR": ("rrdbnet", RRDBNET, as_kair, "sr"),
    "rrdbnet of ESRGAN": ("rrdbnet", RRDBNET, as_esrgan, "sr"),
    "rrdbnet x2": ("rrdbnet", rrdbnet.Config(dim=8, growth=4, blocks=1, fold=2), dict, "sr"),
    "compact": ("compact", compact.Config(dim=8, convolutions=3), dict, "sr"),
    "span": ("span", span.Config(dim=8), as_trained_span, "sr"),
    "nafnet": ("nafnet", nafnet.Config.tiny(), dict, "deblur"),
    "drunet": ("drunet", drunet.Config.tiny(), dict, "denoise"),
    "fbcnn": ("fbcnn", fbcnn.Config.tiny(), dict, "dejpeg"),
    "ramit": ("ramit", get_architecture("ramit").config.from_json(
        {**get_architecture("ramit").config.tiny().to_json(), "mv_ver": 1}), dict, "sr"),
}  # fmt: skip


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_others_is_recognised_loads_and_gives_its_networks_pixels(tmp_path: Path, kind: str) -> None:
    arch, config, scheme, task = KINDS[kind]
    network = network_of(arch, config)
    theirs = scheme(dict(network.state_dict()))
    path = laid(tmp_path / "4x Their (Model).pth", saved({"params": theirs, "iter": 3}))
    entry = entry_of(path, task=task)
    assert (entry.id, entry.arch, entry.task, entry.scale) == ("4x-their-model", arch, task, config.scale)
    assert (entry.licence, entry.origin) == ("unknown", "unknown")
    loaded = load_weights(entry, path)
    assert loaded.digest == f"sha256:{entry.sha256}"
    if scheme is not as_trained_span:
        found = loaded.network.state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in network.state_dict().items())
    x = torch.rand(1, 3, 64, 64)
    assert loaded.network(x).shape == (1, 3, 64 * config.scale, 64 * config.scale)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", ["params_ema", "params", "state_dict", "model", "generator", None])
@pytest.mark.parametrize("prefix", ["", "module.", "net_g.", "_orig_mod."])
def test_whatever_is_wrapped_around_the_tensors_is_taken_off_in_both_formats_of_torch(
    tmp_path: Path, key: str | None, prefix: str, zipped: bool
) -> None:
    tensors = OrderedDict((prefix + name, t.half()) for name, t in network_of("rrdbnet", RRDBNET).state_dict().items())
    path = laid(tmp_path / "a.pth", saved(tensors if key is None else {"epoch": 3, key: tensors}, zipped=zipped))
    entry = entry_of(path)
    assert entry.config == RRDBNET.to_json()
    found = load_weights(entry, path).network.state_dict()
    assert all(torch.equal(found[name.removeprefix(prefix)], tensor.float()) for name, tensor in tensors.items())


def test_a_safetensors_file_without_an_entry_is_recognised_too(tmp_path: Path) -> None:
    state_dict = network_of("compact", compact.Config.tiny()).bfloat16().state_dict()
    path = laid(tmp_path / "2x.safetensors", safetensors.torch.save(state_dict))
    assert entry_of(path).config == compact.Config.tiny().to_json()
    load_weights(entry_of(path), path)


def bare(pickled: bytes) -> bytes:
    """A file as torch wrote it before 1.6, around a pickle of our own."""
    start = saved({}, zipped=False)
    third = start.index(b"\x80\x02}q\x00.")
    return start[:third] + pickled + pickle.dumps([], protocol=2)


def require_refused(path: Path, canary: Path) -> None:
    """Check that nothing that meets a file first runs what is in it."""
    for attempt in (lambda: entry_of(path), lambda: read_tensors(read_content(path)), lambda: read_source(str(path))):
        with pytest.raises(WeightsError, match=r"its pickle asks for .*nothing in it was run"):
            attempt()
    assert not canary.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", ["params_ema", "params", "state_dict", "model", "generator", None])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_call_among_the_tensors_of_a_real_network_is_refused_in_every_wrapper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None, prefix: str, suffix: str, zipped: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    tensors: dict[str, object] = dict(network_of("compact", compact.Config.tiny()).state_dict())
    named = {prefix + name: value for name, value in {**tensors, "trojan": Calls()}.items()}
    path = laid(tmp_path / f"a{suffix}", saved(named if key is None else {"epoch": 3, key: named}, zipped=zipped))
    require_refused(path, tmp_path / CANARY)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_call_in_place_of_the_tensors_of_before_torch_1_6_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    path = laid(tmp_path / "a.pth", bare(pickle.dumps(Calls(), protocol=protocol)))
    require_refused(path, tmp_path / CANARY)


def test_a_call_in_any_of_the_five_pickles_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = saved({"a": torch.zeros(2)}, zipped=False)
    ends = [at + 1 for at in range(len(good)) if good[at : at + 1] == b"." and good[at + 1 : at + 3] == b"\x80\x02"]
    assert len(ends) == 4
    for end in ends:
        path = laid(tmp_path / "a.pth", good[:end] + pickle.dumps(Calls(), protocol=2) + good[end:])
        with pytest.raises(WeightsError, match="nothing in it was run"):
            entry_of(path)
    assert not (tmp_path / CANARY).exists()


def test_a_file_of_before_torch_1_6_that_is_cut_or_claims_too_much_is_refused(tmp_path: Path) -> None:
    good = saved(dict(network_of("compact", compact.Config.tiny()).state_dict()), zipped=False)
    for cut in range(16, len(good), len(good) // 30):
        with pytest.raises(WeightsError, match="is damaged"):
            entry_of(laid(tmp_path / "a.pth", good[:cut]))
    claims = good.replace(b"K\x08Nt", b"J\xff\xff\xff\x7fNt", 1)
    assert claims != good
    with pytest.raises(WeightsError, match="is damaged"):
        entry_of(laid(tmp_path / "a.pth", claims))


def test_a_pickle_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_MAX_PICKLE_BYTES", 1 << 10)
    path = laid(tmp_path / "a.pth", bare(b"\x80\x02" + b"N0" * (1 << 10) + b"N."))
    with pytest.raises(WeightsError, match="is damaged"):
        entry_of(path)


def test_a_tensor_that_repeats_one_number_cannot_ask_for_a_network_of_any_size(tmp_path: Path) -> None:
    huge = {"conv_first.weight": torch.zeros(1).expand(60_000, 3, 3, 3), "conv_last.weight": torch.zeros(3, 8, 3, 3)}
    path = laid(tmp_path / "a.pth", saved({**huge, "body.0.rdb1.conv1.weight": torch.zeros(4, 8, 3, 3)}))
    with pytest.raises(WeightsError, match="claims to hold more numbers than it has bytes"):
        entry_of(path)
    wide = {**huge, "conv_first.weight": torch.zeros(60_000, 3, 1, 1)}
    path = laid(tmp_path / "a.pth", saved({**wide, "body.0.rdb1.conv1.weight": torch.zeros(4, 8, 3, 3)}))
    with pytest.raises(ManifestError, match="a number above 1024"):
        entry_of(path)


def test_what_is_not_recognised_is_refused_with_what_is(tmp_path: Path) -> None:
    path = laid(tmp_path / "a.pth", saved({f"layer{number}.weight": torch.zeros(3) for number in range(9)}))
    with pytest.raises(UsageError) as caught:
        entry_of(path, task="sr")
    said = str(caught.value)
    assert "its tensors are layer0.weight, layer1.weight, layer2.weight and 6 more" in said
    for name in ("RRDBNet", "SRVGGNetCompact", "SPAN", "NAFNet", "DRUNet", "FBCNN", "SCUNet", "RAMiT", "Restormer"):
        assert name in said


def test_a_part_of_a_network_is_recognised_but_does_not_load(tmp_path: Path) -> None:
    state_dict = network_of("rrdbnet", RRDBNET).state_dict()
    del state_dict["conv_hr.bias"]
    path = laid(tmp_path / "a.pth", saved(state_dict))
    with pytest.raises(WeightsError, match=r"does not fit a: it lacks conv_hr\.bias"):
        load_weights(entry_of(path), path)


def test_the_commands_word_counts_where_the_file_does_not_tell(tmp_path: Path) -> None:
    path = laid(tmp_path / "a.pth", saved(network_of("nafnet", nafnet.Config.tiny()).state_dict()))
    assert entry_of(path, task="lowlight").task == "lowlight"
    with pytest.raises(UsageError, match="does not say what it is for; say it with --task"):
        entry_of(path)
    with pytest.raises(UsageError, match="keeps an image's size, so it is not for sr"):
        entry_of(path, task="sr")
    told = laid(tmp_path / "b.pth", saved(network_of("fbcnn", fbcnn.Config.tiny()).state_dict()))
    assert entry_of(told, task="denoise").task == "dejpeg"
    level = laid(tmp_path / "c.pth", saved(network_of("drunet", drunet.Config.tiny()).state_dict()))
    assert entry_of(level).sigma_range == (0.0, 50.0)


def test_a_listed_file_is_known_by_its_bytes_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(network_of("nafnet", nafnet.Config.tiny()).state_dict())
    listed = entry_for(data, arch="nafnet", config=nafnet.Config.tiny().to_json(), task="deblur", scale=1)
    monkeypatch.setattr(foreign, "load_manifest", lambda: Manifest(entries=(listed,)))
    assert entry_of(laid(tmp_path / "renamed.pth", data)) is listed
