"""From the bytes of a weights file to a network that is ready to run; the only place that parses weight files.

Stage 5, RUN, behind `manifest` (which file) and `store` (where it lies). Each load reads the file once, digests those
very bytes, compares, and only then parses them: .safetensors, or torch.save's archives through torch's weights_only
reader after `file` has looked at them. The state dict must fit the network exactly; half and bfloat16 become
float32.

Files we write carry their own manifest entry in the header, so that they run without being listed anywhere.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from restore_cli.errors import ManifestError, WeightsError
from restore_cli.models import Arch, Config, get_architecture
from restore_cli.storage.files import replacing
from restore_cli.weights import safetensors_cache, store
from restore_cli.weights.entry import WeightsEntry, entry_to_json
from restore_cli.weights.file import ENTRY_KEY, MAX_TENSORS, Content, read_content, recognise, safetensors_header
from restore_cli.weights.quantised import restored

_SLACK_NUMBERS = 1 << 20  # tables that a network builds and does not save
_SLACK_NUMBERS_OF_OTHERS = 1 << 25  # masks for a usual size, which some build at once
_ALLOCATING = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}
# How convolutions and linear layers start. Not what these call: trunc_normal_ draws until the numbers are within range.
_FILLING = {nn.init.kaiming_uniform_, nn.init.uniform_}
_SHOWN_KEYS = 3

WRAPPERS = ("params_ema", "params", "state_dict", "model", "generator")
"""Under these keys training programs lay their tensors, the best first: smoothed weights before the last ones."""

_PREFIXES = ("module.", "net_g.", "_orig_mod.")  # of data parallelism, BasicSR and torch.compile
_MAX_WRAPPERS = 4


@dataclass(frozen=True, kw_only=True)
class LoadedWeights:
    """A network with its weights, and what it came from.

    Attributes:
        entry: Its manifest entry.
        config: Its configuration.
        network: float32 on the CPU, in evaluation mode.
        digest: "sha256:" and the hexadecimal digest of the file's bytes.
        path: The file.
        notes: What a person should be told once (a digest recorded at first use).
    """

    entry: WeightsEntry
    config: Config
    network: nn.Module = field(repr=False)
    digest: str
    path: Path
    notes: tuple[str, ...] = ()


def load_weights(
    entry: WeightsEntry, path: Path | None = None, *, offline: bool = False, progress: store.Progress | None = None
) -> LoadedWeights:
    """Fetch the file of an entry if need be, check it and build its network.

    Args:
        entry: What to load.
        path: A file of the user's own in place of the entry's; its digest is reported, not compared.
        offline: Never touch the network.
        progress: Called with how far a download is.

    Raises:
        WeightsError: If the file is missing, unreachable, damaged, malicious, or does not fit the entry's network.
    """
    if path is not None:
        return load_content(entry, read_content(path), is_own=True)
    fetched = store.fetch(entry, offline=offline, progress=progress)
    may_be_pickled = fetched.suffix != ".safetensors"
    copy = safetensors_cache.find_copy(entry, fetched) if may_be_pickled else None
    if copy is not None:
        return replace(load_content(entry, copy.content), digest=f"sha256:{copy.sha256}", path=fetched)
    identity = safetensors_cache.identity_of(fetched) if may_be_pickled else None
    content = read_content(fetched)
    store.check(entry, content)
    weights = load_content(entry, content)
    note = store.record_first_use(entry, content)  # only now: a web page under the right name is no first use
    if len(content.data) >= safetensors_cache.WORTHWHILE_BYTES and recognise(content) == "torch":
        safetensors_cache.keep_copy(entry, content, identity, weights_file(weights.network.state_dict(), entry))
    return weights if note is None else replace(weights, notes=(note,))


def load_content(entry: WeightsEntry, content: Content, *, is_own: bool = False) -> LoadedWeights:
    """Build the network of the bytes of a file, whose digest is not compared with the entry's.

    Args:
        entry: What it is.
        content: The bytes.
        is_own: They are a user's own, which may nest their tensors otherwise than the entry says.

    Raises:
        WeightsError: If they are damaged, malicious, or do not fit the entry's network.
    """
    arch, config = _architecture(entry)
    state_dict = _read_state_dict(content, entry, arch, is_own=is_own)
    with _naming_the_file(content.path, entry):
        network = _build(arch, config, state_dict)
    digest = f"sha256:{content.sha256}"
    return LoadedWeights(entry=entry, config=config, network=network, digest=digest, path=content.path)


def save_weights(path: Path, state_dict: Mapping[str, Tensor], entry: WeightsEntry) -> None:
    """Write a state dict and its entry as .safetensors, see `weights_file`; it appears whole or not at all.

    Args:
        path: Where to; an existing file is replaced.
        state_dict: Tensors of the network of `entry`, as its own `state_dict` returns them.
        entry: What the file is.

    Raises:
        StorageError: If it cannot be written.
    """
    data = weights_file(state_dict, entry)
    with replacing(path) as file:
        file.write(data)


def weights_file(state_dict: Mapping[str, Tensor], entry: WeightsEntry) -> bytes:
    """Return the bytes of a .safetensors file that carries its entry; the same input gives the same bytes.

    What only the finished file could tell (its digest, its size) or only a listed one has (sources) is left out of the
    entry.
    """
    own = carried_entry(entry)
    # One key only: the order of several in the header is not fixed, and equal weights shall give equal bytes.
    metadata = {ENTRY_KEY: json.dumps(entry_to_json(own), sort_keys=True)}
    tensors = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in state_dict.items()}
    return safetensors.torch.save(tensors, metadata)


def carried_entry(entry: WeightsEntry) -> WeightsEntry:
    """Return an entry as a file may carry it: without what only the finished file could tell, and without sources."""
    return replace(
        entry, bytes=None, sha256=None, git_blob_sha1=None, trust_on_first_use=False, sources=(), shared_at=None,
        bundled=False, state_dict_key=None, drop_keys=(),
    )  # fmt: skip


def _architecture(entry: WeightsEntry) -> tuple[Arch, Config]:
    """Return the entry's architecture and configuration, checked against what the entry says of itself."""
    arch = get_architecture(entry.arch)
    try:
        config = arch.config.from_json(entry.config)
    except (TypeError, ValueError) as error:
        raise ManifestError(f"entry {entry.id!r}: field 'config': {error}") from error
    for name, said in (("scale", entry.scale), ("channels", entry.channels)):
        built = getattr(config, name)
        if built != said:
            raise ManifestError(f"entry {entry.id!r}: field {name!r} is {said}, but its config says {built}")
    return arch, config


def read_tensors(content: Content, keys: Sequence[str] = WRAPPERS) -> dict[str, Tensor]:
    """Parse a file into its tensors under the names it gives them, without what training programs wrap around them.

    Args:
        content: The bytes.
        keys: Where a checkpoint may lay its tensors, the best first.

    Raises:
        WeightsError: If they are damaged, malicious, or hold anything but tensors.
    """
    if recognise(content) == "safetensors":
        try:
            parsed: object = safetensors.torch.load(content.data)
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsError(f"{content.path} is damaged: {_first_line(error)}") from error
    else:
        parsed = _unwrapped(_read_checkpoint(content), keys)
    state_dict = _require_tensors(content.path, parsed)
    if torch.int8 not in {tensor.dtype for tensor in state_dict.values()}:
        return state_dict
    try:
        return restored(state_dict)
    except ValueError as error:
        raise WeightsError(f"{content.path} is damaged: {error}") from error


def _read_state_dict(content: Content, entry: WeightsEntry, arch: Arch, *, is_own: bool) -> dict[str, Tensor]:
    """Parse a file into tensors named as the network names them."""
    named = () if entry.state_dict_key is None else (entry.state_dict_key,)
    # A listed file nests as its entry says; in one of the user's own the smoothed weights are the better ones.
    state_dict = read_tensors(content, (*WRAPPERS, *named) if is_own else (*named, *WRAPPERS))
    for key in entry.drop_keys:
        state_dict.pop(key, None)
    kind = recognise(content)
    ours = kind == "safetensors" and ENTRY_KEY in (safetensors_header(content).get("__metadata__") or {})
    if arch.convert_state_dict is None or ours:
        return state_dict
    try:
        return arch.convert_state_dict(state_dict)
    except (KeyError, ValueError, RuntimeError) as error:
        msg = f"{content.path} is no checkpoint of {entry.arch}: {_first_line(error)}"
        raise WeightsError(msg) from error


def _read_checkpoint(content: Content) -> object:
    """Parse an archive of torch.save that `recognise` has passed."""
    try:
        return torch.load(io.BytesIO(content.data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive or pickle raises whatever its reader stumbles over
        raise WeightsError(f"{content.path} is damaged or no state dict: {_first_line(error)}") from error


def _unwrapped(parsed: object, keys: Sequence[str]) -> object:
    """Return what lies under the first of some keys, as long as there is one of them; tensors are left alone."""
    for _ in range(_MAX_WRAPPERS):  # a file may hold a dictionary that lies in itself
        if not isinstance(parsed, Mapping):
            break
        inner = next((parsed[key] for key in keys if isinstance(parsed.get(key), Mapping)), None)
        if inner is None:
            break
        parsed = inner
    return parsed


def _require_tensors(path: Path, parsed: object) -> dict[str, Tensor]:
    """Return a flat state dict, without the prefix that wrappers around a network give to all its keys."""
    if not isinstance(parsed, Mapping):
        raise WeightsError(f"{path} holds no state dict but a value of type {type(parsed).__name__}")
    for key, value in parsed.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path} is no flat state dict: it holds {_shown(parsed)}, of which {key!r} is no tensor",
                hint=f"tensors are looked for at the top and under {', '.join(WRAPPERS)}",
            )
    if len(parsed) > MAX_TENSORS:
        raise WeightsError(f"{path} holds {len(parsed)} tensors; no network here has over {MAX_TENSORS}")
    state_dict = dict(parsed)
    for _ in range(_MAX_WRAPPERS):
        prefix = next((name for name in _PREFIXES if all(key.startswith(name) for key in state_dict)), None)
        if prefix is None:
            break
        state_dict = {key.removeprefix(prefix): tensor for key, tensor in state_dict.items()}
    return state_dict


def build_from(arch: Arch, state_dict: Mapping[str, Tensor]) -> nn.Module | None:
    """Build a network that follows from its tensors alone, None where they are of none.

    Raises:
        ValueError: If it cannot be built or used, is far larger than its file, or a number is not finite.
    """
    if arch.build_from is None:
        return None
    for key, tensor in state_dict.items():
        if tensor.layout is not torch.strided or not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{key} is sparse or holds values that are not finite")
    held = sum(tensor.numel() for tensor in state_dict.values())
    with torch.random.fork_rng(devices=[]), _Unfilled(2 * held + _SLACK_NUMBERS_OF_OTHERS):
        return arch.build_from(state_dict)


def _build(arch: Arch, config: Config, state_dict: dict[str, Tensor]) -> nn.Module:
    """Build the network and fill it, strictly.

    Raises:
        ValueError: If the state dict does not fit the network.
    """
    if arch.build_from is not None:
        built = build_from(arch, state_dict)
        if built is None or built.config != config:
            raise ValueError("it is of another network")
        return built
    held = sum(tensor.numel() for tensor in state_dict.values())
    # What still draws must not move the caller's generator.
    with torch.random.fork_rng(devices=[]), _Unfilled(2 * held + _SLACK_NUMBERS):
        network = arch.build(config)
    own = network.state_dict()
    tables = {key: tensor for key, tensor in own.items() if not tensor.is_floating_point()}
    state_dict = tables | state_dict  # which a file may leave out, as the network builds them itself
    _require_fit(own, state_dict)
    tensors = {key: _sound(key, tensor, own[key]) for key, tensor in state_dict.items()}
    network.load_state_dict(tensors, strict=True)
    return network.eval()


class _Unfilled(TorchFunctionMode):
    """Build a network whose layers are not filled at random, and of at most so many numbers.

    The state dict overwrites them all, and drawing them is most of the time that building takes. The limit is there
    because a config in a file may ask for any size.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self._left = numbers

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _ALLOCATING:
            size = args[0] if args and isinstance(args[0], tuple | list) else args
            self._left -= math.prod(size)
            if self._left < 0:
                raise ValueError("the network of its config is far larger than the file")
        if func in _FILLING:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _require_fit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing, unknown = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    if missing or unknown:
        parts = [f"{what} {_shown(sorted(keys))}" for what, keys in (("lacks", missing), ("has", unknown)) if keys]
        raise ValueError(f"it {' and '.join(parts)}")
    for key, tensor in found.items():
        if tensor.shape != wanted[key].shape:
            raise ValueError(f"{key} has the shape {tuple(tensor.shape)}, not {tuple(wanted[key].shape)}")


def _sound(key: str, tensor: Tensor, own: Tensor) -> Tensor:
    """Return a tensor in the network's dtype after checking kind, dtype and values.

    Raises:
        ValueError: If it is sparse, of another class of dtype, not finite, or an index table other than the network's.
    """
    may_convert = tensor.is_floating_point() and own.is_floating_point()
    if tensor.layout is not torch.strided or not (may_convert or tensor.dtype == own.dtype):
        raise ValueError(f"{key} is of dtype {tensor.dtype}, not {own.dtype}")
    if not may_convert:
        if not torch.equal(tensor, own):  # indices from a file could point anywhere
            raise ValueError(f"{key} differs from the table the network builds")
        return own
    tensor = tensor.to(own.dtype)
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{key} holds values that are not finite")
    return tensor


@contextlib.contextmanager
def _naming_the_file(path: Path, entry: WeightsEntry) -> Iterator[None]:
    """Turn a misfit between file and network into the user's error."""
    try:
        yield
    except (ValueError, RuntimeError, MemoryError) as error:
        raise WeightsError(f"{path} does not fit {entry.id}: {_first_line(error)}") from error


def _shown(keys: object) -> str:
    names = [str(key) for key in cast("Any", keys)]
    rest = f" and {len(names) - _SHOWN_KEYS} more" if len(names) > _SHOWN_KEYS else ""
    return ", ".join(names[:_SHOWN_KEYS]) + rest


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
