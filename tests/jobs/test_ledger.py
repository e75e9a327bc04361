"""The ledger: lines that prove, lines that prove nothing, and claims that die with their process."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from restore_cli.errors import StorageError
from restore_cli.jobs.ledger import LEDGER_NAME, Ledger, Origin, digest_of_bytes, digest_of_file

ORIGIN = Origin(weights="sha256:aa", options="sha256:bb", version="1")
INPUT = digest_of_bytes(b"input")


def write(folder: Path, name: str = "a.png", data: bytes = b"result", origin: Origin = ORIGIN) -> Path:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    Ledger(folder).add(target, origin, input_digest=INPUT, output_digest=digest_of_bytes(data))
    target.write_bytes(data)
    return target


def reread(folder: Path) -> Ledger:
    ledger = Ledger(folder)
    ledger.read()
    return ledger


def lines(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / LEDGER_NAME).read_text().splitlines()]


def in_a_fork(work: Callable[[], None]) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_a_result_is_proved_by_all_its_digests(tmp_path: Path):
    target = write(tmp_path)
    assert reread(tmp_path).proves(target, [ORIGIN], INPUT)
    assert lines(tmp_path) == [
        {
            "ledger": 1,
            "target": "a.png",
            "input": INPUT,
            "weights": "sha256:aa",
            "options": "sha256:bb",
            "version": "1",
            "output": digest_of_bytes(b"result"),
        }
    ]


@pytest.mark.parametrize("field", ["weights", "options", "version"])
def test_another_origin_proves_nothing(tmp_path: Path, field: str):
    target = write(tmp_path)
    other = Origin(**{**vars(ORIGIN), field: "other"})
    assert not reread(tmp_path).proves(target, [other], INPUT)
    assert reread(tmp_path).knows(target)


def test_another_input_proves_nothing(tmp_path: Path):
    target = write(tmp_path)
    assert not reread(tmp_path).proves(target, [ORIGIN], digest_of_bytes(b"other input"))


@pytest.mark.parametrize("content", [b"", b"resul", b"resulT", b"result2", None])
def test_a_result_that_is_not_what_was_written_proves_nothing(tmp_path: Path, content: bytes | None):
    target = write(tmp_path)
    before = target.stat()
    if content is None:
        target.unlink()
    else:
        target.write_bytes(content)
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))  # size and time may lie
    assert not reread(tmp_path).proves(target, [ORIGIN], INPUT)


def test_in_place_the_result_itself_is_the_proof(tmp_path: Path):
    target = write(tmp_path)
    assert reread(tmp_path).proves(target, [ORIGIN], digest_of_bytes(b"result"), in_place=True)
    assert not reread(tmp_path).proves(target, [ORIGIN], INPUT, in_place=True)


def test_the_latest_of_several_results_counts_and_so_does_an_earlier_one(tmp_path: Path):
    write(tmp_path, data=b"one")
    target = write(tmp_path, data=b"two")
    assert reread(tmp_path).proves(target, [ORIGIN], INPUT)
    target.write_bytes(b"one")
    assert reread(tmp_path).proves(target, [ORIGIN], INPUT)


def test_names_are_told_apart_and_kept_whatever_is_in_them(tmp_path: Path):
    names = ["deep/er/a.png", "new\nline.png", "caf\u00e9.png", '{"ledger": 1, .png', os.fsdecode(b"raw\xff.png")]
    for name in names:
        write(tmp_path, name)
    ledger = reread(tmp_path)
    assert all(ledger.proves(tmp_path / name, [ORIGIN], INPUT) for name in names)
    assert [line["target"] for line in lines(tmp_path)] == names
    assert not ledger.knows(tmp_path / "a.png")


def test_a_ledger_moves_with_its_folder(tmp_path: Path):
    write(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert reread(tmp_path / "new").proves(tmp_path / "new" / "a.png", [ORIGIN], INPUT)


def test_a_line_cut_at_any_place_loses_only_itself(tmp_path: Path):
    write(tmp_path, "a.png")
    path = tmp_path / LEDGER_NAME
    first = path.read_bytes()
    write(tmp_path, "b.png")
    whole = path.read_bytes()
    for cut in range(len(first), len(whole)):
        path.write_bytes(whole[:cut])
        ledger = reread(tmp_path)
        assert ledger.proves(tmp_path / "a.png", [ORIGIN], INPUT)
        assert not ledger.knows(tmp_path / "b.png")
    path.write_bytes(whole[:-40])
    target = write(tmp_path, "c.png")
    assert reread(tmp_path).proves(target, [ORIGIN], INPUT)
    path.write_bytes(whole[:-40] + whole)  # torn by one process while another goes on
    assert all(reread(tmp_path).knows(tmp_path / name) for name in ("a.png", "b.png"))


def test_random_damage_never_proves_what_is_not_there(tmp_path: Path):
    for name in "abc":
        write(tmp_path, name)
    path = tmp_path / LEDGER_NAME
    whole, shuffle = path.read_bytes(), random.Random(0)
    (tmp_path / "b").write_bytes(b"something else")
    for _ in range(200):
        changed = bytearray(whole)
        for place in shuffle.sample(range(len(whole)), 3):
            changed[place] = shuffle.randrange(256)
        path.write_bytes(changed)
        assert not reread(tmp_path).proves(tmp_path / "b", [ORIGIN], INPUT)
    path.write_bytes(b"[1]\n{}\nnull\n" + b"[" * 100_000 + b'\n{"ledger": 1, "target": 3}\n' + whole)
    assert reread(tmp_path).proves(tmp_path / "c", [ORIGIN], INPUT)


def test_a_folder_without_ledger_knows_nothing_and_stays_as_it_is(tmp_path: Path):
    ledger = reread(tmp_path / "nowhere")
    assert not ledger.knows(tmp_path / "nowhere" / "a.png")
    assert ledger.claim(tmp_path / "nowhere" / "a.png", create=False)
    assert not (tmp_path / "nowhere").exists()


def test_what_is_no_file_is_no_ledger(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    for make in (
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: path.symlink_to(elsewhere),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        make(folder / LEDGER_NAME)
        with pytest.raises(StorageError, match="the ledger cannot be"):
            Ledger(folder).add(folder / "a.png", ORIGIN, input_digest="", output_digest="")
    assert elsewhere.read_bytes() == b""


def test_a_claim_keeps_other_processes_away_until_it_is_released(tmp_path: Path):
    def others_may(name: str) -> bool:
        process = in_a_fork(lambda: os._exit(0 if Ledger(tmp_path).claim(tmp_path / name, create=False) else 3))
        process.join()
        return process.exitcode == 0

    ledger = Ledger(tmp_path)
    assert ledger.claim(tmp_path / "a", create=True)
    assert ledger.claim(tmp_path / "b", create=True)
    assert not others_may("a")
    assert others_may("c")
    ledger.add(tmp_path / "a", ORIGIN, input_digest="", output_digest="")
    ledger.read()  # neither of them may close what holds the locks
    assert not others_may("a")
    ledger.release(tmp_path / "a")
    assert others_may("a")
    assert not others_may("b")
    ledger.release(tmp_path / "b")
    assert others_may("b")


def test_the_claims_of_a_killed_process_are_gone(tmp_path: Path):
    reading, writing = os.pipe()

    def hold() -> None:
        ledger = Ledger(tmp_path)
        ledger.claim(tmp_path / "a", create=True)
        os.write(writing, b"x")
        signal.pause()

    process = in_a_fork(hold)
    os.read(reading, 1)
    assert not Ledger(tmp_path).claim(tmp_path / "a", create=True)
    process.kill()
    process.join()
    assert Ledger(tmp_path).claim(tmp_path / "a", create=True)
    os.close(reading)
    os.close(writing)


def test_what_others_have_written_is_taken_in_under_a_claim(tmp_path: Path):
    mine, other = Ledger(tmp_path), Ledger(tmp_path)
    other.add(tmp_path / "a.png", ORIGIN, input_digest=INPUT, output_digest=digest_of_bytes(b"x"))
    (tmp_path / "a.png").write_bytes(b"x")
    assert mine.claim(tmp_path / "a.png", create=True)
    mine.read()
    assert mine.proves(tmp_path / "a.png", [ORIGIN], INPUT)


def test_no_descriptor_stays_open_between_claims(tmp_path: Path):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
    ledger = Ledger(tmp_path)
    for index in range(50):
        target = tmp_path / f"{index}.png"
        ledger.claim(target, create=True)
        ledger.add(target, ORIGIN, input_digest=INPUT, output_digest=INPUT)
        ledger.release(target)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - names only


def test_what_is_no_file_has_no_digest(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert digest_of_file(tmp_path / "a") == digest_of_bytes(b"x" * 3_000_000)
    os.mkfifo(tmp_path / "pipe")
    assert [digest_of_file(tmp_path / name) for name in ("pipe", ".", "gone", "a\0b")] == [None] * 4
