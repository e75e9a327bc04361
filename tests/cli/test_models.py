"""`restore models`: what is known, what is here, and fetching it, against a real server."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from restore_cli.weights import manifest as manifest_module
from restore_cli.weights.entry import entry_to_json
from tests.cli.conftest import Run, environment, image
from tests.weights.facts import COMMIT, entry_for
from tests.weights.server import Server, serving

BODY = bytes(range(256)) * 4
PATH = f"/{COMMIT}/tiny.pth"
DIGEST = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that has the one file the manifest of these tests lists, and no proxy on the way."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as running:
        running.answers[PATH] = lambda request: request.whole(BODY)
        yield running


@pytest.fixture
def listed(here: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest with two entries, the second of which the server has not; return where the first is fetched to."""
    good = entry_for(BODY, server.url + PATH)
    gone = entry_for(BODY, f"{server.url}/{COMMIT}/gone.pth", id="tiny-sr-x3", scale=3, file="gone.pth")
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"schema": 1, "entries": [entry_to_json(good), entry_to_json(gone)]}))
    monkeypatch.setattr(manifest_module, "package_manifest", lambda: path)
    return tmp_path / "cache" / "restore-cli" / "tiny.pth"


def objects(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_list_names_every_weights_id_with_its_licence_and_place(run: Run) -> None:
    ran = run("models", "list")
    assert ran.code == 0
    assert ran.out.splitlines()[0].split() == ["id", "task", "scale", "MB", "speed", "where", "licence"]
    line = next(line for line in ran.out.splitlines() if line.startswith("ramit-slim-sr-x4 "))
    assert " ".join(line.split()) == "ramit-slim-sr-x4 sr x4 3.2 fast - none stated by the authors"
    listed = objects(run("models", "list", "--json").out)
    known = manifest_module.load_manifest().entries
    assert sorted(str(item["id"]) for item in listed) == sorted(entry.id for entry in known)
    tasks = [str(item["task"]) for item in listed]
    assert tasks == sorted(tasks, key=list(dict.fromkeys(tasks)).index)  # those of a task stand together
    assert all({"licence", "config", "path", "place"} <= item.keys() for item in listed)
    assert all("sources" in item or "shared_at" in item or item["place"] == "bundled" for item in listed)


def test_the_list_is_made_without_torch(here: Path) -> None:
    script = (
        "import sys; from restore_cli.cli import app; app.run(['models', 'list']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], env=environment(), stdout=subprocess.DEVNULL).returncode == 0


def test_info_says_all_that_is_known(run: Run) -> None:
    out = run("models", "info", "ramit-1-sr-x4").out
    for said in (
        "RAMiT-1_X4.pth",
        "cca6057e159c7a7e2dd269ff8b52dbb902834d2e462b4435b2cbbe4b3c2e0413",
        "none stated by the authors",
        "arXiv 2305.11474",
        "193ead604a1ab01dd548eb808bf6a11f873fec39/pretrained/RAMiT-1_X4.pth",
        "Set5 x4: psnr_y 32.537 (measured; ",
        "mean [0.4485, 0.4375, 0.4045]",
    ):
        assert said in out
    (item,) = objects(run("models", "info", "ramit-1-sr-x4", "--json").out)
    assert item["training_patch"] == 64
    assert item["path"] is None


def test_the_name_of_a_model_means_all_its_weights(run: Run) -> None:
    ids = [item["id"] for item in objects(run("models", "info", "ramit-slim", "ramit-slim-sr-x2", "--json").out)]
    assert ids == ["ramit-slim-sr-x2", "ramit-slim-sr-x3", "ramit-slim-sr-x4", "ramit-slim-lowlight"]


@pytest.mark.parametrize("command", ["info", "pull", "verify", "path"])
def test_an_unknown_id_is_a_usage_error_with_the_nearest(run: Run, command: str) -> None:
    ran = run("models", command, "ramit-slim-sr-x5")
    assert ran.code == 2
    assert ran.err.startswith("restore: error: unknown weights id 'ramit-slim-sr-x5', did you mean 'ramit-slim-sr-x")
    assert ran.err.count("\n") == 1


def test_pull_fetches_checks_and_says_where(run: Run, listed: Path, server: Server) -> None:
    ran = run("models", "pull", "tiny-sr-x2", "--json")
    assert ran.code == 0
    assert objects(ran.out) == [
        {"id": "tiny-sr-x2", "status": "fetched", "path": str(listed), "digest": DIGEST, "error": None}
    ]
    assert ran.err == "fetching tiny.pth (0.0 MB)\n"
    assert listed.read_bytes() == BODY
    assert run("models", "pull", "tiny-sr-x2").out == f"at hand  tiny-sr-x2  {listed}\n"
    assert len(server.seen) == 1
    assert run("models", "path", "tiny-sr-x2").out == f"{listed}\n"
    assert run("models", "verify").out == f"ok  tiny-sr-x2  {listed}\n"
    assert "cache" in run("models", "list").out


def test_one_that_cannot_be_fetched_does_not_stop_the_others(run: Run, listed: Path) -> None:
    ran = run("models", "pull", "tiny-sr-x3", "tiny-sr-x2", "--json")
    assert ran.code == 3
    failed, fetched = objects(ran.out)
    assert (failed["status"], fetched["status"]) == ("failed", "fetched")
    assert "404" in str(failed["error"])
    assert "lay it into a folder that RESTORE_WEIGHTS_DIR names" in ran.err
    assert listed.read_bytes() == BODY


def test_a_damaged_file_fails_the_check_and_is_fetched_anew_by_pull(run: Run, listed: Path) -> None:
    run("models", "pull", "tiny-sr-x2")
    listed.write_bytes(BODY[::-1])
    ran = run("models", "verify", "--json")
    assert ran.code == 3
    assert objects(ran.out)[0]["status"] == "failed"
    assert f"{listed} is not the file of tiny-sr-x2" in ran.err
    assert "`restore models pull tiny-sr-x2`" in ran.err
    ran = run("models", "pull", "tiny-sr-x2")
    assert ran.code == 0
    assert "restore: warning: " in ran.err
    assert listed.read_bytes() == BODY


def test_a_damaged_file_in_the_persons_own_folder_is_never_touched(
    run: Run, listed: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own" / "deep" / "tiny.pth"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"damaged")
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(tmp_path / "own"))
    ran = run("models", "pull", "tiny-sr-x2")
    assert ran.code == 3
    assert "remove it from there first" in ran.err
    assert own.read_bytes() == b"damaged"
    assert server.seen == []


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_offline_pull_touches_no_network(
    run: Run, listed: Path, server: Server, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "environment":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ran = run("models", "pull", "tiny-sr-x2", *(["--offline"] if by == "flag" else []))
    assert ran.code == 3
    assert server.seen == []
    assert "is not on this machine" in ran.err


def test_what_is_not_here_has_no_path_and_fails_the_check(run: Run, listed: Path) -> None:
    for command in ("path", "verify"):
        ran = run("models", command, "tiny-sr-x2")
        assert ran.code == 3
        assert ran.out == ""
        assert "fetch it with `restore models pull tiny-sr-x2`" in ran.err
    ran = run("models", "verify")
    assert ran.code == 0
    assert "no weights are on this machine" in ran.err


def test_a_broken_manifest_is_one_line_with_exit_code_three(run: Run, listed: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"schema": 1, "entries": [{"id": "a", "surprise": 1}]}')
    ran = run("models", "list")
    assert ran.code == 3
    assert "entry 'a': unknown field 'surprise'" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("command", ["list", "info", "pull", "verify", "path"])
def test_every_command_shows_examples_in_its_help(run: Run, command: str) -> None:
    ran = run("models", command, "--help")
    assert ran.code == 0
    assert f"restore models {command}" in ran.out.partition("Examples:")[2]


@pytest.mark.shared
def test_the_originals_at_hand_pass_the_check(run: Run, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(shared / "weights"))
    verified = objects(run("models", "verify", "--json").out)
    found = [item for item in verified if Path(item["path"]).is_relative_to(shared)]
    assert len(found) == 8
    assert {item["status"] for item in verified} == {"ok"}


def test_info_tells_what_a_file_says_of_itself_without_loading_it(run: Run, here: Path):
    bundled = next(item for item in manifest_module.load_manifest().entries if item.bundled)
    file = Path(manifest_module.__file__).parent / "bundled" / bundled.file
    facts = json.loads(run("models", "info", str(file), "--json").out)
    assert (facts["id"], facts["task"], facts["licence"]) == (bundled.id, bundled.task, bundled.licence)
    assert (facts["bytes"], facts["sha256"], facts["kind"]) == (file.stat().st_size, bundled.sha256, "safetensors")
    assert facts["tensors"] > 10
    assert facts["path"] == str(file)


def test_info_tells_of_files_of_others_what_can_be_seen_and_refuses_what_is_none(run: Run, here: Path):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    body = len(header).to_bytes(8, "little") + header + bytes(4)
    (here / "other.safetensors").write_bytes(body)
    said = run("models", "info", "other.safetensors")
    assert said.code == 0
    assert hashlib.sha256(body).hexdigest() in said.out
    (here / "page.pth").write_bytes(b"<!DOCTYPE html><html>")
    refused = run("models", "info", "page.pth")
    assert refused.code == 3
    assert "page.pth is not a weights file: it is a web page" in refused.err


def network_file(name: str, *, half: bool = False) -> Path:
    """Lay down a small upscaler of others."""
    import torch

    from restore_cli.models import rrdbnet

    torch.manual_seed(0)
    network = rrdbnet.RRDBNet(rrdbnet.Config(dim=8, growth=4, blocks=1))
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"params_ema": (network.half() if half else network).state_dict()}, path)
    return path


def test_the_list_of_a_task_has_those_of_the_task(run: Run) -> None:
    listed = objects(run("models", "list", "--task", "dejpeg", "--json").out)
    assert listed
    assert {item["task"] for item in listed} == {"dejpeg"}
    ran = run("models", "list", "--task", "dejpg")
    assert ran.code == 2
    assert "unknown task 'dejpg', did you mean 'dejpeg'" in ran.err


def test_info_of_a_file_of_others_says_what_its_tensors_tell(run: Run) -> None:
    (item,) = objects(run("models", "info", network_file("4x_net.pth", half=True), "--json").out)
    assert (item["arch"], item["task"], item["scale"], item["dtype"]) == ("rrdbnet", "sr", 4, "float16")
    assert item["sha256"] == hashlib.sha256(Path("4x_net.pth").read_bytes()).hexdigest()
    assert (item["tensors"], item["config"]) == (
        42, {"dim": 8, "growth": 4, "blocks": 1, "fold": 1, "doublings": 2, "channels": 3},
    )  # fmt: skip
    shown = run("models", "info", "4x_net.pth").out
    assert re.search(r"^network +RRDBNet$", shown, re.MULTILINE)
    assert re.search(r"^citation +Real-ESRGAN: ", shown, re.MULTILINE)


def test_a_file_that_was_added_is_listed_checked_and_run_by_its_name(run: Run, tmp_path: Path) -> None:
    path = network_file("downloads/4x Net.pth")
    ran = run("models", "add", path, "--task", "sr", "--licence", "CC-BY-4.0")
    kept = tmp_path / "data" / "restore-cli" / "4x-net.pth"
    assert ran.out == f"added  4x-net  {kept}\n"
    assert "RRDBNet for sr x4, licence CC-BY-4.0" in ran.err
    assert ran.err.endswith("to use it: restore sr -m 4x-net IMAGE\n")
    assert kept.read_bytes() == path.read_bytes()
    path.unlink()
    (item,) = [item for item in objects(run("models", "list", "--json").out) if item["id"] == "4x-net"]
    assert (item["task"], item["scale"], item["licence"], item["place"]) == ("sr", 4, "CC-BY-4.0", "own")
    assert run("models", "verify", "4x-net").out == f"ok  4x-net  {kept}\n"
    image("a.png", size=(9, 7))
    assert run("sr", "-m", "4x-net", "a.png", "b.png").code == 0
    with Image.open("b.png") as restored:
        assert restored.size == (36, 28)
    kept.write_bytes(kept.read_bytes() + b"x")
    assert "is not the file of 4x-net" in run("sr", "-m", "4x-net", "a.png", "c.png").err
    kept.unlink()
    assert "the file of 4x-net that was added, is gone" in run("sr", "-m", "4x-net", "a.png", "c.png").err
    assert run("models", "remove", "4x-net").code == 0
    assert "4x-net" not in run("models", "list").out
    assert run("models", "remove", "4x-net").code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--id", "ramit"), "'ramit' is listed already"),
        (("--id", "mine", "--name", "ramit-lite"), "'ramit-lite' is listed already"),
        (
            ("--id", "Not Kebab"),
            "--id 'Not Kebab' cannot be an id; write it in small letters, digits and single hyphens",
        ),
        (("--name", "a b"), "such as a-b"),
        (("--variant", "foto"), "sr has no special form 'foto', did you mean 'photo'? (known: photo)"),
        (("--task", "denoise"), "is for sr, not for denoise"),
        (("--task", "dnoise"), "did you mean 'denoise'"),
        (("--licence", "two\nlines"), "not one line of printable text"),
    ],
)
def test_what_cannot_be_added_is_refused_and_nothing_is_kept(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    ran = run("models", "add", network_file("net.pth"), *arguments)
    assert ran.code in {2, 3}
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_a_damaged_file_is_not_added_and_a_name_is_given_once(run: Run, tmp_path: Path) -> None:
    path = network_file("net.pth")
    assert run("models", "add", path, "--id", "mine").code == 0
    assert "'mine' was added already" in run("models", "add", path, "--id", "mine").err
    assert run("models", "add", path, "--id", "other", "--name", "mine").code == 3  # the same request twice
    Path("cut.pth").write_bytes(path.read_bytes()[:-100])
    assert run("models", "add", "cut.pth").code == 3
    assert [file.name for file in (tmp_path / "data" / "restore-cli").glob("*.pth")] == ["mine.pth"]


def test_a_list_in_the_folder_a_command_runs_in_is_never_read(run: Run, tmp_path: Path) -> None:
    assert run("models", "add", network_file("net.pth"), "--id", "mine").code == 0
    (tmp_path / "data" / "restore-cli").rename("restore-cli")
    assert Path("restore-cli/weights_manifest.json").is_file()
    assert "mine" not in run("models", "list").out.split()


def test_a_broken_list_of_ones_own_is_named_with_what_to_do(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "data" / "restore-cli" / "weights_manifest.json"
    own.parent.mkdir(parents=True)
    own.write_text("{")
    ran = run("models", "list")
    assert ran.code == 3
    assert f"{own}: " in ran.err
    assert "correct it, or move it away" in ran.err


def test_an_entry_of_a_network_that_is_gone_costs_a_warning_and_can_be_removed(run: Run, tmp_path: Path) -> None:
    for name in ("gone", "mine"):
        assert run("models", "add", network_file("net.pth"), "--id", name).code == 0
    own = tmp_path / "data" / "restore-cli" / "weights_manifest.json"
    values = json.loads(own.read_text())
    values["entries"][0]["arch"] = "toy"  # as of a package that was removed
    own.write_text(json.dumps(values))
    image("photo.png")

    listed = run("models", "list", "--task", "sr", "--json")
    assert listed.code == 0
    assert "mine" in {item["id"] for item in objects(listed.out)}
    assert listed.err.count(f"restore: warning: {own}: entry 'gone': field 'arch' is 'toy'") == 1
    ran = run("sr", "--weights", "net.pth", "photo.png", "-o", "large.png")
    assert ran.code == 0
    assert ran.err.count("warning: ") == 1
    assert run("models", "remove", "gone").code == 0
    assert [path.name for path in sorted(own.parent.iterdir())] == ["mine.pth", own.name]
    assert "warning" not in run("models", "list").err
