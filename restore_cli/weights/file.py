"""The bytes of a weights file: read once, digested, and judged before anything parses them.

Stage 5, RUN (and 2, PLAN, for the entry in a header). A file is read once and those very bytes are digested and then
parsed, so that nothing can be exchanged in between. Bytes decide what kind of file it is, not the suffix. A checkpoint
of torch.save is a zip archive around a pickle, or before torch 1.6 a row of pickles and then the numbers. A pickle is a
program: this looks at it without running it and refuses whatever goes beyond naming tensors, so that `load` hands only
harmless bytes on (and torch's own weights_only reader stands behind that). Files of ours carry their manifest entry in
their header: it tells what `--weights FILE` is before anything is loaded; `foreign` finds it out for those of others.
Imports no torch.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickletools
import stat
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from restore_cli.errors import ManifestError, WeightsError
from restore_cli.weights.entry import MAX_WEIGHTS_BYTES, WeightsEntry, entry_from_json, strict_json

Kind = Literal["safetensors", "torch"]

MAX_TENSORS = 10_000
_MAX_HEADER_BYTES = 8 << 20
_MAX_PICKLE_BYTES = 16 << 20

# All that torch.save writes for a state dict of plain tensors; torch allows more, and some of that allocates at will.
_HARMLESS = {"collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"}
_STORAGES = {f"torch.{name}Storage" for name in ("BFloat16", "Half", "Float", "Double", "Long", "Int", "Bool")}
_CALLING_OPCODES = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}

ENTRY_KEY = "restore_entry"
"""Under this key of the header's metadata an entry stands, as JSON."""

# How torch.save began before 1.6: a pickle of a number that stands for the format. Four more follow (its version, facts
# of the system, the tensors, the names of their storages), then the numbers.
_BARE_START = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_BARE_PICKLES = 5

_MAX_CONFIG_NUMBER = 1024  # of a config in a file of unknown origin; no network here comes near

# A FIFO or a device named x.pth must not hang the run: opened without waiting, looked at, refused.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, kw_only=True)
class Content:
    """One file, read once.

    Attributes:
        path: Where it lay, for messages.
        data: All its bytes.
    """

    path: Path
    data: bytes = field(repr=False)

    @cached_property
    def sha256(self) -> str:
        """Return the SHA-256 in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def git_blob_sha1(self) -> str:
        """Return the name git gives to these bytes, in hexadecimal."""
        digest = hashlib.sha1(b"blob %d\0" % len(self.data), usedforsecurity=False)
        digest.update(self.data)
        return digest.hexdigest()


def read_content(path: Path, *, limit: int = MAX_WEIGHTS_BYTES) -> Content:
    """Read a regular file of at most `limit` bytes.

    Raises:
        WeightsError: If it is missing, unreadable, no regular file, empty or too large.
    """
    try:
        handle = os.open(path, _OPEN_FLAGS)
        with open(handle, "rb") as file:  # noqa: PTH123  (a descriptor, which Path cannot open)
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise WeightsError(f"{path} is not a file")
            if facts.st_size > limit:
                raise WeightsError(f"{path} is larger than {limit >> 20} MiB, which no weights file is")
            data = file.read(facts.st_size)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise WeightsError(f"cannot read weights {path}: {getattr(error, 'strerror', None) or error}") from error
    if not data:
        raise WeightsError(f"{path} is empty")
    return Content(path=path, data=data)


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What a weights file says of itself before anything is loaded.

    Attributes:
        kind: How it was saved.
        bytes: Its size.
        sha256: Its digest in hexadecimal.
        tensors: How many it holds, None where that is not known without loading it.
        entry: The manifest entry in its header, None for files of others.
    """

    kind: Kind
    bytes: int
    sha256: str
    tensors: int | None
    entry: WeightsEntry | None


def facts_of(path: Path) -> FileFacts:
    """Look at a weights file without loading it.

    Raises:
        WeightsError: If the file cannot be read, is no weights file, or its entry is broken.
    """
    content = read_content(path)
    kind = recognise(content)
    return FileFacts(
        kind=kind,
        bytes=len(content.data),
        sha256=content.sha256,
        tensors=len(safetensors_header(content).keys() - {"__metadata__"}) if kind == "safetensors" else None,
        entry=entry_in(content, kind),
    )


def entry_from_file(path: Path) -> WeightsEntry | None:
    """Return the manifest entry that a file of ours carries, None if it carries none.

    Raises:
        WeightsError: If the file cannot be read, is no weights file, or its entry is broken.
    """
    content = read_content(path)
    return entry_in(content, recognise(content))


def entry_in(content: Content, kind: Kind) -> WeightsEntry | None:
    """Return the manifest entry in bytes that `recognise` has passed as that kind; as in `entry_from_file`."""
    if kind != "safetensors":
        return None
    metadata = safetensors_header(content).get("__metadata__")
    text = metadata.get(ENTRY_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        return None
    try:
        entry = entry_from_json(strict_json(text), "its entry")
    except ManifestError as error:
        raise ManifestError(f"{content.path}: {error.message}", hint=error.hint) from error
    require_sane(entry.config, content.path)
    return entry


def require_sane(config: Mapping[str, Any], path: Path) -> None:
    """Refuse a configuration that a file of unknown origin names and that would take a machine's memory.

    Raises:
        ManifestError: If it holds a number that no network here comes near.
    """
    if _largest_number(config) > _MAX_CONFIG_NUMBER:
        raise ManifestError(f"{path}: field 'config' holds a number above {_MAX_CONFIG_NUMBER}")


def recognise(content: Content) -> Kind:
    """Tell the kind of a file by its bytes and check that it is harmless to parse.

    Raises:
        WeightsError: If it is no weights file, damaged, of a kind that runs code, or beyond the limits.
    """
    data = content.data
    if data.startswith(b"PK\x03\x04"):
        _require_plain_checkpoint(content)
        return "torch"
    if data[2:].startswith(_BARE_START):
        _require_plain_pickles(content)
        return "torch"
    if data[8:9] == b"{":
        header = safetensors_header(content)
        if len(header) > MAX_TENSORS:
            raise WeightsError(f"{content.path} names {len(header)} tensors; no network here has over {MAX_TENSORS}")
        return "safetensors"
    raise WeightsError(f"{content.path} is not a weights file: {_guess(data)}")


def safetensors_header(content: Content) -> Mapping[str, Any]:
    """Return the JSON header of a .safetensors file, `__metadata__` included.

    Raises:
        WeightsError: If it is cut short, over the limit or not a JSON object.
    """
    data = content.data
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if length > _MAX_HEADER_BYTES:
        raise WeightsError(f"{content.path} is no .safetensors file, or its header is damaged ({length} bytes long)")
    if length > len(data) - 8:
        raise WeightsError(f"{content.path} is damaged: it is cut short within its header")
    try:
        header = strict_json(data[8 : 8 + length])
    except ManifestError as error:
        raise WeightsError(f"{content.path} has a damaged header: {error.message}") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{content.path} has a damaged header: it is no JSON object")
    return header


def _require_plain_checkpoint(content: Content) -> None:
    """Check a zip archive from torch.save: stored tensors and one harmless pickle, nothing else."""
    path = content.path
    try:
        with zipfile.ZipFile(io.BytesIO(content.data)) as archive:
            fault = _archive_fault(archive.infolist(), len(content.data))
            script = b"" if fault else archive.read(f"{archive.namelist()[0].partition('/')[0]}/data.pkl")
    except Exception as error:  # zipfile raises over a dozen kinds on a damaged archive
        raise WeightsError(f"{path} is damaged: {_first_line(error)}") from error
    if fault is not None:
        raise WeightsError(f"{path} {fault}")
    _require_harmless(io.BytesIO(script), content)


def _require_plain_pickles(content: Content) -> None:
    """Check a checkpoint of torch before 1.6: harmless pickles one after another, and then numbers."""
    place = 0
    for _ in range(_BARE_PICKLES):
        # A pickle beyond the limit ends before its end, which is refused like one that was cut.
        script = io.BytesIO(content.data[place : place + _MAX_PICKLE_BYTES])
        _require_harmless(script, content)
        place += script.tell()


def _require_harmless(stream: io.BytesIO, content: Content) -> None:
    """Read one pickle without running it, and refuse whatever asks for more than tensors."""
    asked = _first_harmful(stream, content)
    if asked is not None:
        msg = f"{content.path} refused: its pickle asks for {asked}, and a weights file needs tensors only"
        raise WeightsError(msg, hint="nothing in it was run")


def _archive_fault(members: list[zipfile.ZipInfo], size: int) -> str | None:
    """Return what is wrong with an archive as seen from its table of contents, None for nothing."""
    names = [member.filename for member in members]
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "is a TorchScript program, not a state dict; TorchScript is never loaded"
    if "archive_format" in inner or any(name.startswith(("models/", "data/weights/")) for name in inner):
        return "is an exported program (.pt2), not a state dict; programs are never loaded"
    if len(names) > MAX_TENSORS + 100:
        return f"holds {len(names)} files; no network here has over {MAX_TENSORS} tensors"
    # torch finds members without regard to case, so two that differ in it alone could change places unseen.
    distinct = {name.lower() for name in names}
    if len({name.partition("/")[0] for name in names}) != 1 or len(distinct) != len(names):
        return "is damaged: it is not laid out as torch.save does"
    if "data.pkl" not in inner:
        return "is a zip archive, but no checkpoint of torch.save"
    if sum(name.endswith("data.pkl") for name in distinct) > 1 or any(".." in name for name in names):
        return "refused: it holds more than one pickle, or names that torch.save never gives"
    # torch.save compresses nothing; stored members that do not overlap cannot hold more than the file does.
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        return "refused: it holds compressed members, which torch.save never writes"
    if sum(member.file_size for member in members) > size:
        return "refused: it claims to hold more bytes than it has"
    if any(member.filename.endswith("/data.pkl") and member.file_size > _MAX_PICKLE_BYTES for member in members):
        return f"refused: its pickle is over {_MAX_PICKLE_BYTES >> 20} MiB"
    return None


def _first_harmful(script: io.BytesIO, content: Content) -> str | None:
    """Read a pickle without running it; return the first thing it asks for that is not a tensor, None for nothing.

    The stream stands behind the pickle then.
    """
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(script):
            if opcode.name == "GLOBAL":
                name = str(argument).replace(" ", ".")
                if name not in _HARMLESS and name not in _STORAGES:
                    return name
            elif opcode.name in _CALLING_OPCODES:
                named = str(argument).replace(" ", ".") if argument is not None else ".".join(strings[-2:])
                return named or f"the opcode {opcode.name}"
            elif isinstance(argument, str):
                strings.append(argument)
    except Exception as error:  # pickletools raises ValueError, but also what its decoders raise
        raise WeightsError(f"{content.path} is damaged: {_first_line(error)}") from error
    return None


def _guess(data: bytes) -> str:
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, perhaps of a failed download"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file itself"
    if data.startswith(b"\x80"):
        return "it is a bare pickle, which no version of torch.save writes"
    return "its first bytes are neither those of torch.save nor of .safetensors"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _largest_number(value: object) -> float:
    if isinstance(value, Mapping):
        return max(map(_largest_number, value.values()), default=0.0)
    if isinstance(value, list):
        return max(map(_largest_number, value), default=0.0)
    return abs(cast("Any", value)) if isinstance(value, int | float) else 0.0
