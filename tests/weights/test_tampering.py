"""Weights that somebody meddled with: a thousand changed files, hundreds of malicious pickles; none is ever parsed.

torch's and safetensors' own readers are replaced by ones that tell on whoever calls them, so that "refused" means by us
and before: not that a reader behind us happened to stumble too.
"""

from __future__ import annotations

import builtins
import code
import codecs
import ctypes
import functools
import importlib
import io
import marshal
import operator
import os
import pickle
import pty
import random
import runpy
import shutil
import socket
import struct
import subprocess
import types
import webbrowser
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from restore_cli.errors import DigestError, WeightsError
from restore_cli.models import get_architecture
from restore_cli.weights.load import load_weights, save_weights
from tests.weights.facts import entry_for

ARCH = get_architecture("ramit")
CONFIG = ARCH.config.from_json({**ARCH.config.tiny().to_json(), "depths": [1, 1, 1, 1]})
CANARY = "canary_that_must_not_be_made"


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No reader of weights may be called, and nothing may be made in the working folder."""

    def tell(*_: object, **__: object) -> None:
        pytest.fail("a file that should be refused was handed to a reader")

    monkeypatch.setattr(torch, "load", tell)
    monkeypatch.setattr(safetensors.torch, "load", tell)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield
    assert list(work.iterdir()) == []


def tampered(data: bytes, shuffle: random.Random) -> bytes:
    """Change some bytes, bits, the length, or the order of what is in a file; never nothing."""
    changed = bytearray(data)
    place, length = shuffle.randrange(len(data)), shuffle.randrange(1, 64)
    kind = shuffle.randrange(6)
    if kind == 0:
        changed[place] ^= 1 << shuffle.randrange(8)
    elif kind == 1:
        changed[place : place + length] = shuffle.randbytes(length)
    elif kind == 2:
        del changed[place : place + length]
    elif kind == 3:
        changed[place:place] = shuffle.randbytes(length)
    elif kind == 4:
        changed += shuffle.randbytes(length)
    else:
        middle = len(data) // 2
        changed = changed[middle:] + changed[:middle]
    return bytes(changed) if changed != data else data + b"\0"


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_tampered_files_are_refused_by_their_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int):
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "mine" / "tiny.pth"
    path.parent.mkdir()
    state_dict, shuffle = ARCH.build(CONFIG).state_dict(), random.Random(0)
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    save_weights(tmp_path / "ours.safetensors", state_dict, entry_for(b"", config=CONFIG.to_json()))
    for good in (buffer.getvalue(), (tmp_path / "ours.safetensors").read_bytes()):
        listed = entry_for(good, config=CONFIG.to_json())
        for _ in range(count // 2):
            path.write_bytes(tampered(good, shuffle))
            with pytest.raises(DigestError, match=r"tiny\.pth"):
                load_weights(listed, offline=True)


class Calls:
    """Pickles to a call, the classic way to run code."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], Any]:
        return self.call


def weapons() -> list[Calls]:
    touch = f"touch {CANARY}"
    python = f"open({CANARY!r}, 'w')"
    return [
        Calls(os.system, touch),
        Calls(os.popen, touch),
        Calls(os.execl, "/bin/sh", "sh", "-c", touch),
        Calls(os.mkdir, CANARY),
        Calls(subprocess.Popen, ["touch", CANARY]),
        Calls(subprocess.check_output, ["touch", CANARY]),
        Calls(builtins.eval, python),
        Calls(builtins.exec, python),
        Calls(builtins.open, CANARY, "w"),
        Calls(builtins.__import__, "antigravity"),
        Calls(builtins.getattr, "text", "upper"),
        Calls(builtins.compile, python, "x", "exec"),
        Calls(builtins.bytearray, 1 << 40),
        Calls(builtins.map, len, []),
        Calls(importlib.import_module, "antigravity"),
        Calls(runpy.run_path, "x.py"),
        Calls(ctypes.CDLL, "x.so"),
        Calls(shutil.rmtree, "."),
        Calls(shutil.copy, "/etc/passwd", CANARY),
        Calls(pickle.loads, b"cos\nsystem\n."),
        Calls(marshal.loads, b"N"),
        Calls(types.SimpleNamespace),
        Calls(operator.attrgetter, "system"),
        Calls(operator.methodcaller, "system", touch),
        Calls(functools.partial, os.system, touch),
        Calls(webbrowser.open, "x"),
        Calls(socket.create_connection, ("127.0.0.1", 9)),
        Calls(codecs.decode, "x", "rot13"),
        Calls(code.interact),
        Calls(pty.spawn, "sh"),
        Calls(torch.hub.load, "owner/name", "model"),
        Calls(torch.jit.load, "x.pt"),
        Calls(torch.compile),
        Calls(Path, "x"),
    ]


def zipped(pickled: bytes, *, folder: str = "archive", before: dict[str, bytes] | None = None) -> bytes:
    """An archive as torch.save lays it out, around a pickle of our own, other members before it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (before or {}).items():
            archive.writestr(name, data)
        archive.writestr(f"{folder}/data.pkl", pickled)
        archive.writestr(f"{folder}/version", b"3\n")
    return buffer.getvalue()


def malicious_pickles() -> Iterator[bytes]:
    """Every weapon under every protocol, bare and hidden deep in what looks like a state dict."""
    for weapon in weapons():
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            tensors = OrderedDict((f"layer.{index}.weight", [float(index)]) for index in range(3))
            for value in (weapon, {"params": OrderedDict(tensors, trojan={"x": [weapon]}), "epoch": 1}):
                yield pickle.dumps(value, protocol=protocol)


HARMLESS = pickle.dumps(OrderedDict(), protocol=2)
SYSTEM = b"cos\nsystem\n(S'touch canary_that_must_not_be_made'\ntR."


@pytest.mark.usefixtures("unread")
def test_malicious_pickles_are_refused_before_they_reach_a_reader(tmp_path: Path):
    path, listed = tmp_path / "a.pth", entry_for(b"", config=CONFIG.to_json())
    pickles = list(malicious_pickles())
    assert len(pickles) > 400
    for pickled in pickles:
        path.write_bytes(zipped(pickled))
        with pytest.raises(WeightsError, match=r"its pickle asks for .*nothing in it was run"):
            load_weights(listed, path)


HAND_MADE = {
    "instance": b"(S'touch x'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'touch x'\no.",
    "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
    "stack global from memo": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x04true\x85R.",
    "harmless words between": b"\x80\x04\x8c\x05posix\x8c\x06system\x8c\x0btorch._utils0\x93.",
    "new object": b"\x80\x02cos\nsystem\n)\x81.",
    "new object with keywords": b"\x80\x04cos\nsystem\n)}\x92.",
    "extension 1": b"\x80\x02\x82\x01.",
    "extension 2": b"\x80\x02\x83\x01\x00.",
    "extension 4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "dotted name": b"\x80\x04ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
    "name with spaces": b"ccollections \nOrderedDict\n.",
    "nested module": b"ctorch\nserialization.os.system\n(S'true'\ntR.",
    "after the stop of another": HARMLESS[:-1] + b"0" + SYSTEM,
    "sparse tensor": b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n.",
    "quantised tensor": b"\x80\x02ctorch._utils\n_rebuild_qtensor\n.",
    "wrapper subclass": b"\x80\x02ctorch._utils\n_rebuild_wrapper_subclass\n.",
    "from type": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n.",
    "numpy": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n.",
    "counter": b"\x80\x02ccollections\nCounter\n.",
    "no stop": SYSTEM[:-1],
    "unknown opcode": b"\x80\x02\xff.",
    "huge string": b"\x80\x02T\xff\xff\xff\x7f.",
    "huge long": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "protocol of the future": b"\x80\x7fcos\nsystem\n.",
}


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_pickles_are_refused_before_they_reach_a_reader(tmp_path: Path, name: str):
    path = tmp_path / "a.pth"
    path.write_bytes(zipped(HAND_MADE[name]))
    with pytest.raises(WeightsError, match=str(path)):
        load_weights(entry_for(b"", config=CONFIG.to_json()), path)


def twice_listed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", HARMLESS)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("archive/data.pkl", SYSTEM)
    return buffer.getvalue()


def compressed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", SYSTEM)
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped(HARMLESS))
    for start, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(start) + at] |= 1
    return bytes(data)


def lying_directory() -> bytes:
    """A table of contents that points at the harmless pickle where the header before it says otherwise."""
    data = bytearray(zipped(SYSTEM, before={"archive/data.pkx": HARMLESS}))
    first = data.index(b"PK\x01\x02")
    return bytes(data[:first] + data[first:].replace(b"archive/data.pkx", b"archive/data.pkl"))


ARCHIVES = {
    "a harmless one in a folder first": lambda: zipped(SYSTEM, before={"archive/a/data.pkl": HARMLESS}),
    "a harmless one of another root": lambda: zipped(SYSTEM, before={"other/data.pkl": HARMLESS}),
    "two of one name": twice_listed,
    "another case": lambda: zipped(SYSTEM, before={"archive/DATA.PKL": HARMLESS}),
    "the malicious one in another case": lambda: zipped(HARMLESS, before={"archive/DATA.PKL": SYSTEM}),
    "the malicious one in a folder": lambda: zipped(HARMLESS, before={"archive/a/data.pkl": SYSTEM}),
    "folders in another case": lambda: zipped(HARMLESS, before={"ARCHIVE/data.pkl": SYSTEM}),
    "outside of the folder": lambda: zipped(SYSTEM, before={"archive/../data.pkl": HARMLESS}),
    "compressed": compressed,
    "encrypted": encrypted,
    "a table of contents that lies": lying_directory,
    "an archive behind an archive": lambda: zipped(HARMLESS) + zipped(SYSTEM),
    "an archive within a comment": lambda: zipped(SYSTEM)[:-2] + struct.pack("<H", 4) + b"PK\x05\x06",
    "a script with TorchScript in it": lambda: zipped(SYSTEM, before={"archive/code/x.py": b""}),
    "constants": lambda: zipped(HARMLESS, before={"archive/constants.pkl": SYSTEM}),
    "no folder": lambda: zipped(SYSTEM, folder=""),
}


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_with_a_pickle_up_their_sleeve_are_refused(tmp_path: Path, name: str):
    path = tmp_path / "a.pth"
    path.write_bytes(ARCHIVES[name]())
    with pytest.raises(WeightsError, match=str(path)):
        load_weights(entry_for(b"", config=CONFIG.to_json()), path)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("pickled", [SYSTEM, pickle.dumps(Calls(os.system, "true")), b"\x80\x02" + SYSTEM])
def test_bare_pickles_are_refused(tmp_path: Path, pickled: bytes):
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(pickled)
        with pytest.raises(WeightsError, match=name):
            load_weights(entry_for(b"", config=CONFIG.to_json()), tmp_path / name)
