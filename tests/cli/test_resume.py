"""--resume from argv to files: what is proved done is left alone, all else is redone, nothing of others is lost."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_cli.jobs.ledger import LEDGER_NAME, digest_of_file
from tests.cli.conftest import Ran, Run, image

Tiny = Callable[..., Path]
Denoise = Callable[..., Ran]


@pytest.fixture
def denoise(run: Run, tiny: Tiny) -> Denoise:
    def run_denoise(*arguments: object) -> Ran:
        return run("denoise", "--weights", tiny("denoise", scale=1), "--threads", "1", *arguments)

    return run_denoise


@pytest.fixture
def batch(denoise: Denoise) -> dict[str, tuple[bytes, int]]:
    """Four images, restored from in/ to out/; what lies there, and when it was made."""
    for index, name in enumerate(("a.png", "b.png", "deep/c.png", "deep/d.png")):
        image(f"in/{name}", size=(6 + index, 5))
    assert denoise("-r", "in", "out").code == 0
    return contents("out")


def contents(folder: str) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != LEDGER_NAME
    }


def statuses(ran: Ran) -> dict[str, str]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in ran.out.splitlines()]
    return {line["target"]: line["status"] for line in lines if line["type"] == "image"}


def test_a_finished_batch_is_left_alone(denoise: Denoise, batch: dict[str, tuple[bytes, int]]):
    ran = denoise("-r", "in", "out", "--resume", "--json")
    assert ran.code == 0
    assert set(statuses(ran).values()) == {"skipped"}
    summary = json.loads(ran.out.splitlines()[-1])
    assert (summary["type"], summary["ok"], summary["skipped"], summary["failed"]) == ("summary", 0, 4, 0)
    assert summary["digest"].startswith("sha256:")
    assert contents("out") == batch


def test_a_finished_batch_is_found_finished_without_torch(
    denoise: Denoise, batch: dict[str, tuple[bytes, int]], monkeypatch: pytest.MonkeyPatch
):
    for name in ("torch", "restore_cli.weights.load", "restore_cli.inference.restorer"):
        monkeypatch.setitem(sys.modules, name, None)  # to import it is an error from now on
    assert denoise("-r", "in", "out", "--resume").code == 0
    Path("out/a.png").unlink()
    ran = denoise("-r", "in", "out", "--resume")  # needs it as soon as there is something to do
    assert (ran.code, Path("out/a.png").exists()) == (1, False)


def test_threads_order_and_interruptions_leave_the_very_same_bytes(run: Run):
    for name, size in (("a.png", (40, 20)), ("b.png", (33, 30))):
        image(f"in/{name}", size=size)
    digests = set()
    threads = torch.get_num_threads()
    try:
        for index, (count, names) in enumerate([(1, "ab"), (3, "ba"), (2, "a")]):
            ran = run("denoise", "--threads", count, *(f"in/{name}.png" for name in names), "-o", f"out{index}/")
            assert ran.code == 0
            if len(names) == 1:  # as if a kill had come between the two
                assert run("denoise", "--threads", count, "--resume", "in", f"out{index}").code == 0
            digests.add(tuple(digest_of_file(Path(f"out{index}/{name}.png")) for name in "ab"))
    finally:
        torch.set_num_threads(threads)
    assert len(digests) == 1


def test_what_is_missing_or_damaged_is_redone_to_the_very_same_bytes(
    denoise: Denoise, batch: dict[str, tuple[bytes, int]]
):
    Path("out/a.png").unlink()
    damaged = Path("out/deep/c.png")
    before = damaged.stat()
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    os.utime(damaged, ns=(before.st_atime_ns, before.st_mtime_ns))
    ran = denoise("-r", "in", "out", "--resume", "--json")
    assert ran.code == 0
    assert statuses(ran) == {
        "out/a.png": "ok", "out/b.png": "skipped", "out/deep/c.png": "ok", "out/deep/d.png": "skipped",
    }  # fmt: skip
    assert {name: data for name, (data, _) in contents("out").items()} == {n: data for n, (data, _) in batch.items()}


@pytest.mark.usefixtures("batch")
def test_other_inputs_options_or_weights_are_other_results(denoise: Denoise, run: Run, tiny: Tiny):
    image("in/b.png", size=(11, 4))
    assert [s for s in statuses(denoise("-r", "in", "out", "--resume", "--json")).values() if s == "ok"] == ["ok"]
    again = denoise("-r", "in", "out", "--resume", "--json", "--pad", "symmetric")
    assert set(statuses(again).values()) == {"ok"}
    for option in ("--strip", "--allow-damaged"):
        assert set(statuses(denoise("-r", "in", "out", "--resume", "--json", option)).values()) == {"ok"}
    other = tiny("denoise", scale=1, sigma_range=(1.0, 2.0))
    assert set(statuses(run("denoise", "--weights", other, "-r", "in", "out", "--resume", "--json")).values()) == {"ok"}


def test_what_leaves_the_result_as_it_is_is_no_other_option(denoise: Denoise, batch: dict[str, tuple[bytes, int]]):
    for options in (["--threads", "2"], ["--device", "cpu"], ["--jobs", "1"], ["--existing", "skip"]):
        ran = denoise("-r", "in", "out", "--resume", "--json", *options)
        assert (ran.code, set(statuses(ran).values())) == (0, {"skipped"})
    assert contents("out") == batch


def test_a_file_that_no_ledger_tells_of_is_neither_taken_for_done_nor_replaced(denoise: Denoise):
    image("in/a.png")
    image("in/b.png")
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"mine")
    ran = denoise("in", "out", "--resume")
    assert ran.code == 2
    assert "out/a.png exists already; add --resume to go on with a batch, or --existing skip" in ran.err
    ran = denoise("in", "out", "--resume", "--existing", "skip", "--json")
    assert statuses(ran) == {"out/a.png": "skipped", "out/b.png": "ok"}
    assert Path("out/a.png").read_bytes() == b"mine"
    ran = denoise("in", "out", "--resume", "--existing", "overwrite", "--json")
    assert statuses(ran) == {"out/a.png": "ok", "out/b.png": "skipped"}


def test_in_place_is_never_done_twice(denoise: Denoise):
    for name in ("a.png", "b.png"):
        image(f"in/{name}")
    assert denoise("--in-place", "in", "--resume").code == 0
    once = contents("in")
    ran = denoise("--in-place", "in", "--resume", "--json")
    assert set(statuses(ran).values()) == {"skipped"}
    assert contents("in") == once
    image("in/b.png", size=(3, 3))
    assert statuses(denoise("--in-place", "in", "--resume", "--json")) == {"in/a.png": "skipped", "in/b.png": "ok"}


def test_results_among_the_files_of_others_leave_a_ledger_only_when_asked_for(denoise: Denoise):
    image("a.png")
    assert denoise("a.png").code == 0
    assert not Path(LEDGER_NAME).exists()
    assert denoise("a.png", "b.png", "--resume").code == 0
    assert Path(LEDGER_NAME).exists()
    assert "a.png: b.png is done already, skipped" in denoise("a.png", "b.png", "--resume").err


def test_leftovers_of_a_killed_run_are_removed_even_where_all_is_done(
    denoise: Denoise, batch: dict[str, tuple[bytes, int]]
):
    left = [Path("out/.restore-0123456789abcdef"), Path("out/deep/.restore-fedcba9876543210")]
    kept = [Path("out/.restore-mine"), Path("out/.hidden")]
    for path in (*left, *kept):
        path.write_bytes(b"half")
    assert denoise("-r", "in", "out", "--resume").code == 0
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    assert set(batch) < set(contents("out"))


def test_a_dry_run_tells_what_is_done_and_touches_nothing(denoise: Denoise, batch: dict[str, tuple[bytes, int]]):
    Path("out/a.png").unlink()
    Path("out/.restore-0123456789abcdef").touch()
    ran = denoise("-r", "in", "out", "--resume", "--dry-run", "--json")
    assert statuses(ran) == {
        "out/a.png": "planned", "out/b.png": "skipped", "out/deep/c.png": "skipped", "out/deep/d.png": "skipped",
    }  # fmt: skip
    assert Path("out/.restore-0123456789abcdef").exists()


def test_a_ledger_that_cannot_be_used_is_told_and_ends_the_run_with_code_4(denoise: Denoise):
    image("in/a.png")
    Path("out").mkdir()
    Path("out", LEDGER_NAME).mkdir()
    ran = denoise("in", "out")
    assert ran.code == 4
    assert f"out/{LEDGER_NAME}: the ledger cannot be written" in ran.err
    assert [path.name for path in Path("out").iterdir()] == [LEDGER_NAME]


def test_contradicting_settings_are_refused(denoise: Denoise):
    image("a.png")
    assert "--resume and --existing rename contradict" in denoise("a.png", "--resume", "--existing", "rename").err
