"""One entry of the manifest: everything a checkpoint needs, as a frozen fact and as JSON.

Stage 2, PLAN: `manifest` reads entries from weights_manifest.json, `load` carries them in the header of the files we
write. msgspec checks the types and limits that the fields declare; its words are turned into ours, which speak of the
entry and the field. Imports no torch; which architectures and tasks exist is asked of their folders.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from restore_cli.errors import ManifestError
from restore_cli.models import architecture_names
from restore_cli.tasks import task_names

MAX_WEIGHTS_BYTES = 1 << 30
"""No weights file is larger; what claims to be is refused before it is fetched or read."""

SourceKind = Literal["https", "huggingface"]
ScoreOrigin = Literal["published", "measured"]
ScoreMetric = Literal["psnr", "psnr_y", "ssim", "ssim_y"]
ContextKind = Literal["global", "local", "mixed"]
Speed = Literal["fast", "medium", "slow"]

Fact = TypeVar("Fact")

CLASSIFY = "classify"
"""What stands as the task of networks that tell what an image shows: `restore bench` measures them, none restores."""

_COMMIT = r"[0-9a-f]{40}"
_MAX_PIXELS = 1 << 16
_FAST_BELOW = 100_000
_MEDIUM_BELOW = 1_000_000

_NESTED = ("context", "sources", "scores")
_KINDS = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "object": "an object",
    "array": "a list",
}  # fmt: skip

Text = Annotated[str, Meta(pattern=r"\S")]
Kebab = Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.(pth|pt|safetensors)$")]
Commit = Annotated[str, Meta(pattern=rf"^{_COMMIT}$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Scale = Annotated[int, Meta(ge=1, le=16)]
Pixels = Annotated[int, Meta(ge=1, le=_MAX_PIXELS)]
Level = Annotated[float, Meta(ge=0.0, le=255.0)]
Finite = Annotated[float, Meta(ge=-1e9, le=1e9)]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place a file can be fetched from.

    Attributes:
        kind: "https" for a plain address, "huggingface" for a file of a repository on the Hub.
        url: The address; None for the Hub.
        repo: Repository on the Hub ("owner/name"), else None.
        revision: Full commit of that repository, else None.
        filename: Path of the file in that repository, else None.
    """

    kind: SourceKind
    url: Text | None = None
    repo: Annotated[str, Meta(pattern=r"^\w[\w.-]*/\w[\w.-]*$")] | None = None
    revision: Commit | None = None
    filename: Annotated[str, Meta(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")] | None = None

    @property
    def is_pinned(self) -> bool:
        """Return whether the place names a commit, so that what lies there cannot be exchanged quietly."""
        if self.kind == "huggingface":
            return True
        return re.search(rf"/{_COMMIT}/", self.url or "") is not None

    def __str__(self) -> str:
        if self.kind == "huggingface":
            return f"https://huggingface.co/{self.repo}/resolve/{self.revision}/{self.filename}"
        return self.url or ""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One reported quality figure.

    Attributes:
        dataset: Test set, as people write it ("Set5").
        protocol: Name of the protocol (`restore eval --protocol`), then what else matters, after a comma.
        metric: "psnr_y", "ssim_y", "psnr" or "ssim"; decibels for the PSNRs.
        value: The mean over the set's images.
        scale: Factor of super-resolution, None elsewhere.
        sigma: Noise level on the 0..255 scale, None elsewhere.
        quality: Of the JPEG, None elsewhere.
        origin: "published" by the authors or "measured" by this project.
    """

    dataset: Text
    protocol: Text
    metric: ScoreMetric
    value: Finite
    scale: Scale | None = None
    sigma: Finite | None = None
    quality: Annotated[int, Meta(ge=1, le=100)] | None = None
    origin: ScoreOrigin


@dataclass(frozen=True, kw_only=True)
class BestContext:
    """Where the channel attention of some weights is best to take its statistics, as measured.

    Attributes:
        kind: The whole image, cells, or a share of both.
        cell: Side of a cell in input pixels, None for "global".
        share: Share of the whole image's statistics in "mixed", 0..1, else None: their weight, means a position as the
            cell's own, before both are normalised as one. A cell of weaker features than the image follows it more.
        measured: On what, how, and with which numbers, in one line.
    """

    kind: ContextKind
    cell: Annotated[int, Meta(ge=8, le=_MAX_PIXELS)] | None = None
    share: Annotated[float, Meta(gt=0.0, lt=1.0)] | None = None
    measured: Text


@dataclass(frozen=True, kw_only=True)
class WeightsEntry:
    """Everything that must be known of one weights file.

    Attributes:
        id: Full name, arch-task-detail ("ramit-sr-x4").
        model: The -m name it is reached by together with its task ("ramit-slim").
        arch: File in models/ that builds the network.
        config: JSON object of that architecture's Config, mean and std included.
        task: Command name of the task; "classify" for networks that restore nothing.
        scale: Factor from input to output size, 1 for the same size.
        channels: Image channels in, 1 (gray) or 3 (RGB).
        sigma_range: Noise levels it was trained for, 0..255 scale; None where noise is not the task.
        variant: Special form of the task ("photo", "motion", ...), None for the plain one.
        generative: Whether it was trained to look sharp rather than to come near the truth: it invents detail.
        training_patch: Side of the training patches in input pixels (the last, where they grew).
        context: What `--context auto` is for these weights, None for the whole image, unmeasured.
        margin: Pixels that an image is continued by on all four sides before the network sees it, since the zeros that
            its convolutions meet at a border darken or colour what lies there; None where that was measured harmless.
            It costs work in proportion: 8 pixels are 3 % of a megapixel.
        file: File name, the same wherever the file lies.
        bytes: Size of the file, None where not known.
        sha256: Digest of the file in hexadecimal, None where not known.
        git_blob_sha1: SHA-1 of "blob <bytes>", a zero byte and the content, as git names it; None where not known.
        trust_on_first_use: No digest is published: the one seen first is recorded and held to.
        sources: Where it can be fetched from, tried in this order.
        shared_at: Page on which its authors share it in a way that nothing can fetch by itself, None where there is
            none; it is given by --weights.
        bundled: Whether it comes with the package, in weights/bundled.
        state_dict_key: Key of the checkpoint under which the tensors lie, None where they lie at the top.
        drop_keys: Keys of the state dict that the network does not have.
        licence: Licence of the weights, as their authors state it.
        origin: Who trained them, repository@commit.
        citation: What to cite.
        notes: Anything else to know, None for nothing.
        scores: Reported quality.
        mult_adds: Multiply-adds for each pixel of the result, as `models.mult_adds_a_pixel` counts them, from which its
            `speed` follows; None where not known.
        training: How weights of our own were made (recipe, seed, steps, commit, data), None for others'.
        made_from: Digest of the file that `restore export` made this one of, None for all others.
    """

    id: Kebab
    model: Kebab
    arch: str
    config: Mapping[str, Any] = field(hash=False)
    task: str
    scale: Scale
    channels: Annotated[int, Meta(ge=1, le=3)]
    sigma_range: tuple[Level, Level] | None = None
    variant: Kebab | None = None
    generative: bool = False
    training_patch: Pixels
    context: BestContext | None = None
    margin: Annotated[int, Meta(ge=1, le=64)] | None = None
    file: FileName
    bytes: Annotated[int, Meta(ge=1, le=MAX_WEIGHTS_BYTES)] | None = None
    sha256: Sha256 | None = None
    git_blob_sha1: Commit | None = None
    trust_on_first_use: bool = False
    sources: tuple[Source, ...] = ()
    shared_at: Text | None = None
    bundled: bool = False
    state_dict_key: Text | None = None
    drop_keys: tuple[Text, ...] = ()
    licence: Text
    origin: Text
    citation: Text
    notes: Text | None = None
    scores: tuple[Score, ...] = ()
    mult_adds: Annotated[int, Meta(ge=1)] | None = None
    training: Mapping[str, Any] | None = field(default=None, hash=False)
    made_from: Text | None = None

    def __repr__(self) -> str:
        """Return what tells it from others; all of it fills a page."""
        factor = f" x{self.scale}" if self.scale > 1 else ""
        variant = "" if self.variant is None else f" {self.variant}"
        gray = " gray" if self.channels == 1 else ""
        origin = "bundled" if self.bundled else "downloaded"
        return f"<WeightsEntry {self.id}: {self.task}{factor}{gray}{variant}, {origin}>"

    @property
    def speed(self) -> Speed | None:
        """Return "fast" below 100,000 multiply-adds a pixel of the result, "medium" below a million, else "slow"."""
        if self.mult_adds is None:
            return None
        return "fast" if self.mult_adds < _FAST_BELOW else "medium" if self.mult_adds < _MEDIUM_BELOW else "slow"


def entry_from_json(values: object, where: str) -> WeightsEntry:
    """Check one entry field by field and return it.

    Args:
        values: The entry as `json.loads` gave it.
        where: What to call it in messages until its id is known ("entry 3").

    Raises:
        ManifestError: If a field is unknown, missing or wrong; entry, field and known names are in the message.
    """
    if isinstance(values, dict) and isinstance(values.get("id"), str):
        where = f"entry {values['id']!r}"
    if isinstance(values, dict):
        values = {**values, **{name: _nested(name, values, where) for name in _NESTED if name in values}}
    entry = read_fact(WeightsEntry, values, where)
    _require_known(entry.arch, "arch", architecture_names(), where)
    _require_known(entry.task, "task", (*task_names(), CLASSIFY), where)
    if entry.channels == 2:
        raise ManifestError(f"{where}: field 'channels' is 2 (known: 1 for gray, 3 for RGB)")
    low, high = entry.sigma_range or (0.0, 0.0)
    if low > high:
        raise ManifestError(f"{where}: field 'sigma_range' is [{low:g}, {high:g}], which is not a rising range")
    if entry.shared_at is not None and not is_allowed_address(entry.shared_at):
        raise ManifestError(f"{where}: field 'shared_at' is {entry.shared_at!r}, which is no https address")
    return entry


def entry_to_json(entry: WeightsEntry) -> dict[str, Any]:
    """Return the JSON object that `entry_from_json` takes; fields that hold nothing are left out."""
    return _to_json(entry)


def require_obtainable(entry: WeightsEntry) -> None:
    """Check that a listed entry says where its file comes from and what its bytes must be.

    A file that a user hands over (its entry in its own header) needs neither: nobody fetches it, and no file can hold
    its own digest.

    Raises:
        ManifestError: If the digest or every source is missing, or if the policy for missing digests is broken.
    """
    where = f"entry {entry.id!r}"
    has_digest = entry.sha256 is not None or entry.git_blob_sha1 is not None
    if not has_digest and not entry.trust_on_first_use:
        msg = f"{where}: field 'sha256' is missing, and so is 'git_blob_sha1': nothing would hold the file to its bytes"
        raise ManifestError(msg)
    if entry.trust_on_first_use:
        if has_digest:
            raise ManifestError(f"{where}: field 'trust_on_first_use' contradicts the digest that is given")
        if entry.bundled or not all(source.is_pinned for source in entry.sources):
            msg = f"{where}: field 'trust_on_first_use' needs sources that are pinned to a commit, and no bundled file"
            raise ManifestError(msg)
    if entry.shared_at is not None and (entry.bundled or entry.sources):
        raise ManifestError(f"{where}: field 'shared_at' contradicts a file that is bundled or has sources")
    if not entry.bundled and not entry.sources and entry.shared_at is None:
        raise ManifestError(f"{where}: field 'sources' is missing: a file that is not bundled must come from somewhere")
    if entry.bundled and not entry.file.endswith(".safetensors"):
        raise ManifestError(f"{where}: field 'file' must end in .safetensors: nothing else is bundled")


def is_allowed_address(url: str) -> bool:
    """Return whether a file may be fetched from an address: https, or http to this very machine (a mirror, a test)."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "http":
        return is_loopback(host)
    return parts.scheme == "https" and bool(host)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return ", did you mean 'x'?" for the nearest known name, or nothing where none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def strict_json(data: bytes | str) -> object:
    """Parse JSON, refusing what `json.loads` lets pass: doubled keys, NaN and infinities, endless nesting.

    Raises:
        ManifestError: If it is not JSON in that sense.
    """
    try:
        return json.loads(data, object_pairs_hook=_once_each, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise ManifestError(f"not valid JSON: {error}") from error


def read_fact(fact: type[Fact], values: object, where: str) -> Fact:
    """Build a fact from a JSON object whose fields are all known, all there, and within what the fact declares.

    Args:
        fact: A dataclass whose fields say what they may hold.
        values: The object, as `strict_json` gave it; null counts as absent.
        where: What the object is, for messages: "entry 'ramit-sr-x4'".

    Raises:
        ManifestError: If that fails; every missing field is named at once.
    """
    if not isinstance(values, dict):
        raise ManifestError(f"{where} must be an object, not {_kind(values)}")
    declared = {item.name: item for item in fields(fact)}  # type: ignore[arg-type]
    for name in values:
        if name not in declared:
            known = ", ".join(sorted(declared))
            raise ManifestError(f"{where}: unknown field {name!r}{did_you_mean(name, declared)} (known: {known})")
    given = {name: value for name, value in values.items() if value is not None}
    missing = [repr(name) for name, item in declared.items() if item.default is MISSING and name not in given]
    if missing:
        subject = f"field {missing[0]} is" if len(missing) == 1 else f"fields {', '.join(missing)} are"
        raise ManifestError(f"{where}: {subject} missing")
    for name, value in given.items():
        if isinstance(value, str) and value.strip() and not value.isprintable():  # they reach terminals
            raise ManifestError(f"{where}: field {name!r} is {value!r}, which is not one line of printable text")
    try:
        return msgspec.convert(given, fact)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{where}: {_in_our_words(str(error), given, fact)}") from error


def _in_our_words(complaint: str, values: Mapping[str, Any], fact: type[Fact]) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.scale`" into a sentence about the field and its value."""
    complaint, _, path = complaint.partition(" - at `$.")
    path = path.rstrip("`")
    name, _, index = path.rstrip("]").partition("[")
    value = values[name][int(index)] if index else values[name]
    if complaint.startswith("Invalid enum value"):
        known = get_args(get_type_hints(fact)[name])
        return f"field {path!r} is {value!r}{did_you_mean(value, known)} (known: {', '.join(sorted(known))})"
    if complaint.startswith("Expected `str` matching") and value.strip():
        return f"field {path!r} is {value!r}, which does not match {complaint.partition('regex ')[2]}"
    if (limit := re.fullmatch(r"Expected `\w+` ([<>]=? .*)", complaint)) is not None:
        return f"field {path!r} is {value}, but must be {limit[1]}"
    if (length := re.search(r"of length (\d+), got (\d+)", complaint)) is not None:
        return f"field {path!r} must hold {length[1]} values, not {length[2]}"
    wanted = re.match(r"Expected `(\w+)", complaint)
    return f"field {path!r} must be {_KINDS.get(wanted[1] if wanted else '', complaint)}, not {_kind(value)}"


def _nested(name: str, values: Mapping[str, Any], where: str) -> object:
    """Return a field that holds objects with facts in their place; what is no object or list is left to `read_fact`."""
    value = values[name]
    if name == "context":
        return None if value is None else _context_from_json(value, f"{where}: context")
    if not isinstance(value, list):
        return value
    read = _source_from_json if name == "sources" else _score_from_json
    return [read(item, f"{where}: {name}[{index}]") for index, item in enumerate(value)]


def _source_from_json(values: object, where: str) -> Source:
    source = read_fact(Source, values, where)
    needed = {"https": ("url",), "huggingface": ("repo", "revision", "filename")}[source.kind]
    _require_only(source, needed, ("url", "repo", "revision", "filename"), where)
    if source.url is not None and not is_allowed_address(source.url):
        raise ManifestError(f"{where}: field 'url' is {source.url!r}, which is no https address")
    return source


def _context_from_json(values: object, where: str) -> BestContext:
    context = read_fact(BestContext, values, where)
    needed = {"global": (), "local": ("cell",), "mixed": ("cell", "share")}[context.kind]
    _require_only(context, needed, ("cell", "share"), where)
    return context


def _score_from_json(values: object, where: str) -> Score:
    return read_fact(Score, values, where)


def _require_only(fact: Source | BestContext, needed: Collection[str], of: Collection[str], where: str) -> None:
    """Require the fields that a kind needs, and none of the others."""
    for name in of:
        if (getattr(fact, name) is None) == (name in needed):
            fault = "is missing" if name in needed else f"has no meaning for kind {fact.kind!r}"
            raise ManifestError(f"{where}: field {name!r} {fault}")


def _require_known(value: str, name: str, known: Collection[str], where: str) -> None:
    if value not in known:
        listed = ", ".join(sorted(known))
        raise ManifestError(f"{where}: field {name!r} is {value!r}{did_you_mean(value, known)} (known: {listed})")


def _kind(value: object) -> str:
    """Say in JSON's words what a value is."""
    if isinstance(value, str):
        return "text" if value.strip() else "blank text"
    kinds = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), f"the number {value}")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ManifestError(f"field {doubled!r} is given twice")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ManifestError(f"{name} is not a JSON number")


def _to_json(fact: WeightsEntry | Source | Score | BestContext) -> dict[str, Any]:
    """Return a fact's fields that differ from nothing, tuples as lists."""
    values = {item.name: getattr(fact, item.name) for item in fields(fact)}
    return {name: _plain(value) for name, value in values.items() if not _is_nothing(value)}


def _is_nothing(value: object) -> bool:
    return value is None or value is False or value == ()  # a sigma of 0 is something


def _plain(value: object) -> object:
    if isinstance(value, Source | Score | BestContext):
        return _to_json(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
