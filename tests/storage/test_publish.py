"""A file appears whole or not at all, and nothing else is left in the folder."""

from __future__ import annotations

import errno
import io
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from restore_cli.errors import ImageError, StorageError
from restore_cli.storage import files
from restore_cli.storage.files import Like, make_folder, publish, remove_unfinished

DATA = bytes(range(256)) * 400


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(fault: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(fault, os.strerror(fault))

    return fail


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("data", [DATA, b"", b"x"])
def test_the_bytes_arrive_and_nothing_else(tmp_path: Path, data: bytes, overwrite: bool) -> None:
    publish(data, tmp_path / "x.png", overwrite=overwrite)
    assert (tmp_path / "x.png").read_bytes() == data
    assert names(tmp_path) == ["x.png"]


def test_a_new_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    publish(DATA, tmp_path / "x.png", overwrite=False)
    (tmp_path / "y.png").touch()
    assert (tmp_path / "x.png").stat().st_mode == (tmp_path / "y.png").stat().st_mode


@pytest.mark.usefixtures("usual_umask")
@pytest.mark.parametrize(("source_mode", "mode"), [(0o600, 0o600), (0o640, 0o640), (0o444, 0o644), (0o777, 0o644)])
def test_the_result_of_a_private_file_is_private(tmp_path: Path, source_mode: int, mode: int) -> None:
    source, target = tmp_path / "source.png", tmp_path / "x.png"
    source.touch()
    source.chmod(source_mode)
    publish(DATA, target, overwrite=False, like=Like(source=source))
    assert target.stat().st_mode & 0o777 == mode


@pytest.mark.usefixtures("usual_umask")
def test_what_shows_several_files_is_read_by_those_who_may_read_all_of_them(tmp_path: Path) -> None:
    shown = [tmp_path / name for name in "abc"]
    for path, mode in zip(shown, (0o644, 0o640, 0o604), strict=True):
        path.touch()
        path.chmod(mode)
    for count, mode in ((1, 0o644), (2, 0o640), (3, 0o600)):
        publish(DATA, tmp_path / f"{count}.html", overwrite=False, like=Like.all_of([None, *shown[:count]]))
        assert (tmp_path / f"{count}.html").stat().st_mode & 0o777 == mode
    assert Like.all_of([None]) is None


@pytest.mark.skipif(not hasattr(os, "chown") or os.getuid() != 0, reason="only root gives files away")
def test_the_makers_group_may_read_no_more_of_another_groups_file_than_everybody(tmp_path: Path) -> None:
    source, target = tmp_path / "source.png", tmp_path / "x.png"
    source.touch()
    source.chmod(0o640)
    os.chown(source, -1, os.getegid() + 1)
    publish(DATA, target, overwrite=False, like=Like(source=source))
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_list_of_single_readers_gives_the_makers_group_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "source.png", tmp_path / "x.png"
    source.touch()
    source.chmod(0o600)
    entries = [(0x01, 6, -1), (0x02, 4, os.getuid() + 1), (0x04, 0, -1), (0x10, 4, -1), (0x20, 0, -1)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)  # as acl(5) orders them
    try:
        os.setxattr(source, "system.posix_acl_access", packed)
    except (OSError, AttributeError):
        pytest.skip("this file system has no such lists")
    assert source.stat().st_mode & 0o777 == 0o640  # the mask, which stands where the group's rights would
    publish(DATA, target, overwrite=False, like=Like(source=source))
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o400, 0o755])
def test_what_takes_a_files_place_keeps_its_mode_owner_and_attributes(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "x.png"
    target.write_bytes(b"old")
    target.chmod(mode)
    if os.getuid() == 0:
        os.chown(target, 1234, 4321)
    try:
        os.setxattr(target, "user.rating", b"5")
    except (OSError, AttributeError):  # not every file system has attributes, nor every system the calls
        has_attributes = False
    else:
        has_attributes = True
    before = target.stat()
    publish(DATA, target, overwrite=True, like=Like(source=target, takes_its_place=True))
    after = target.stat()
    assert target.read_bytes() == DATA
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert not has_attributes or os.getxattr(target, "user.rating") == b"5"


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize(
    "name", ["x" * 255, "\u00e4" * 127, "new\nline.png", b"\xff\xfe.png".decode(errors="surrogateescape")]
)
def test_any_name_the_file_system_takes_works(tmp_path: Path, name: str, overwrite: bool) -> None:
    publish(DATA, tmp_path / name, overwrite=overwrite)
    assert (tmp_path / name).read_bytes() == DATA


def test_an_existing_file_is_kept_unless_overwriting_is_requested(tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    target.write_bytes(b"old")
    with pytest.raises(ImageError, match="exists already"):
        publish(DATA, target, overwrite=False)
    assert target.read_bytes() == b"old"
    publish(DATA, target, overwrite=True)
    assert target.read_bytes() == DATA
    assert names(tmp_path) == ["x.png"]


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to("nowhere")
    with pytest.raises(ImageError, match="exists already"):
        publish(DATA, tmp_path / "x.png", overwrite=False)
    publish(DATA, tmp_path / "x.png", overwrite=True)
    assert not (tmp_path / "x.png").is_symlink()


def test_of_many_writers_without_overwriting_exactly_one_wins(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            publish(bytes([number]) * 1000, tmp_path / "x.png", overwrite=False)
            outcomes.append("written")
        except ImageError:
            outcomes.append("refused")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["written"]
    assert len(set((tmp_path / "x.png").read_bytes())) == 1
    assert names(tmp_path) == ["x.png"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_faults_of_a_name_are_told_apart_from_faults_of_the_storage(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / ("x" * 256), tmp_path / "file" / "x.png", tmp_path / "folder"):
        with pytest.raises(ImageError):
            publish(DATA, target, overwrite=overwrite)
    with pytest.raises(StorageError, match=r"gone.x\.png: it cannot be written: No such file"):
        publish(DATA, tmp_path / "gone" / "x.png", overwrite=overwrite)
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES])
@pytest.mark.parametrize(
    ("step", "overwrite"),
    [("open", True), ("open", False), ("fsync", True), ("fsync", False), ("replace", True), ("link", False)],
)
def test_a_fault_of_the_storage_at_any_step_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: int, overwrite: bool
) -> None:
    target = tmp_path / "x.png"
    if overwrite:
        target.write_bytes(b"old")
    owner = Path if step == "replace" else os
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, failing(fault))
        with pytest.raises(StorageError, match=os.strerror(fault)) as caught:
            publish(DATA, target, overwrite=overwrite)
    assert caught.value.exit_code == 4
    assert names(tmp_path) == (["x.png"] if overwrite else [])
    assert not overwrite or target.read_bytes() == b"old"


def test_a_file_that_does_not_read_back_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.truncate(descriptor, 10))
    with pytest.raises(StorageError, match="read back"):
        publish(DATA, tmp_path / "x.png", overwrite=False)
    assert names(tmp_path) == []


def test_file_systems_without_hard_links_are_served_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    publish(DATA, tmp_path / "x.png", overwrite=False)
    assert (tmp_path / "x.png").read_bytes() == DATA
    with pytest.raises(ImageError, match="exists already"):
        publish(DATA, tmp_path / "x.png", overwrite=False)
    assert names(tmp_path) == ["x.png"]


def test_folders_that_cannot_be_synced_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 - a descriptor's path
            raise OSError(errno.EINVAL, "folders cannot be synced")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    publish(DATA, tmp_path / "x.png", overwrite=False)
    assert names(tmp_path) == ["x.png"]


@pytest.mark.parametrize("step", ["_write", "_give_name"])
def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    real = getattr(files, step)

    def interrupted(*arguments: object, **options: object) -> None:
        if step == "_write":
            real(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(files, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(DATA, tmp_path / "x.png", overwrite=True)
    assert names(tmp_path) == []


def test_a_file_size_limit_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from restore_cli.storage.files import publish\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "publish(bytes(100_000), Path(sys.argv[1]), overwrite=True)"
    )
    target = tmp_path / "x.png"
    target.write_bytes(b"old")
    run = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=False)
    assert "StorageError" in run.stderr
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["x.png"]


def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from restore_cli.storage.files import publish\n"
        "print(flush=True)\n"
        "while True:\n"
        "    for byte in (1, 2): publish(bytes([byte]) * 300_000, Path(sys.argv[1]), overwrite=True)"
    )
    target = tmp_path / "x.png"
    for delay in (0.02, 0.033, 0.05):
        with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            threading.Event().wait(delay)
            process.send_signal(signal.SIGKILL)
        if target.exists():
            content = target.read_bytes()
            assert len(content) == 300_000
            assert len(set(content)) == 1


def unfinished(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.startswith(".restore-")]


def test_the_unfinished_file_of_a_killed_process_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from restore_cli.storage import files\n"
        "files._give_name = lambda *a, **o: (print(flush=True), time.sleep(600))\n"
        "files.publish(bytes(1000), Path(sys.argv[1]), overwrite=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "x.png")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(unfinished(tmp_path)) == 1
        assert remove_unfinished(tmp_path) == 0
        assert len(unfinished(tmp_path)) == 1
        process.kill()
    assert remove_unfinished(tmp_path) == 1
    assert names(tmp_path) == []


def test_only_files_of_our_own_naming_are_taken_for_unfinished(tmp_path: Path) -> None:
    (tmp_path / ".restore-0123456789abcdef").mkdir()
    (tmp_path / ".restore-1123456789abcdef").symlink_to("x")
    os.mkfifo(tmp_path / ".restore-2123456789abcdef")
    for name in (".restore-0", ".restore-ledger.jsonl", "x", ".restore-0123456789abcdef.png"):
        (tmp_path / name).touch()
    before = set(names(tmp_path))
    remove_unfinished(tmp_path)
    assert before - set(names(tmp_path)) <= {".restore-2123456789abcdef"}
    assert remove_unfinished(tmp_path / "gone") == 0


def test_a_file_that_was_taken_for_a_dead_ones_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, taken = files._is_kept, []

    def is_kept(file: io.FileIO) -> bool:
        if not taken:  # another process comes between making the file and locking it
            taken.extend(unfinished(tmp_path))
            assert remove_unfinished(tmp_path) == 1
        return real(file)

    monkeypatch.setattr(files, "_is_kept", is_kept)
    publish(DATA, tmp_path / "x.png", overwrite=False)
    assert taken
    assert names(tmp_path) == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == DATA


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
    for number in range(20):
        publish(DATA, tmp_path / f"{number}.png", overwrite=False)
        with pytest.raises(ImageError):
            publish(DATA, tmp_path / f"{number}.png", overwrite=False)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - names only


@pytest.mark.usefixtures("usual_umask")
def test_nobody_looks_into_a_new_folder_who_may_not_look_into_the_one_that_it_repeats(tmp_path: Path) -> None:
    source = tmp_path / "in" / "private"
    source.mkdir(parents=True)
    source.chmod(0o700)
    source.parent.chmod(0o555)
    made = tmp_path / "above" / "out" / "private"
    make_folder(made, like=(source, source.parent))
    assert [path.stat().st_mode & 0o777 for path in (made, *made.parents[:2])] == [0o700, 0o755, 0o755]


def test_folders_are_made_once_and_what_stands_in_the_way_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "b", tmp_path / ("x" * 256)):
        with pytest.raises(ImageError, match="folder cannot be made"):
            make_folder(folder)
