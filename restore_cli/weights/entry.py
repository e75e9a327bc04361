"""One entry of the manifest: everything a checkpoint needs, as a frozen fact and as JSON.

Stage 2, PLAN: `manifest` reads entries from weights_manifest.json, `load` carries them in the header of the files we
write. Imports no torch; which architectures and tasks exist is asked of their folders.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from restore_cli.errors import ManifestError
from restore_cli.models import architecture_names
from restore_cli.tasks import task_names
from restore_cli.weights.fields import Fields

MAX_WEIGHTS_BYTES = 1 << 30
"""No weights file is larger; what claims to be is refused before it is fetched or read."""

SourceKind = Literal["https", "huggingface"]
ScoreOrigin = Literal["published", "measured"]
ContextKind = Literal["global", "local", "mixed"]

CLASSIFY = "classify"
"""What stands as the task of networks that tell what an image shows: `restore bench` measures them, none restores."""

_KEBAB = r"[a-z0-9]+(-[a-z0-9]+)*"
_FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*\.(pth|pt|safetensors)"
_COMMIT = r"[0-9a-f]{40}"
_SHA256 = r"[0-9a-f]{64}"
_GIT_SHA1 = r"[0-9a-f]{40}"
_MAX_PIXELS = 1 << 16


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
    url: str | None = None
    repo: str | None = None
    revision: str | None = None
    filename: str | None = None

    @property
    def is_pinned(self) -> bool:
        """Tell whether the place names a commit, so that what lies there cannot be exchanged quietly."""
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
        origin: "published" by the authors or "measured" by this project.
    """

    dataset: str
    protocol: str
    metric: str
    value: float
    scale: int | None = None
    sigma: float | None = None
    origin: ScoreOrigin


@dataclass(frozen=True, kw_only=True)
class BestContext:
    """Where the channel attention of some weights is best to take its statistics, as measured.

    Attributes:
        kind: The whole image, cells, or a share of both.
        cell: Side of a cell in input pixels, None for "global".
        share: Share of the whole image's statistics in "mixed", 0..1, else None: their weight, means a position as the
            cell's own, before both are normalised as one. A cell of weaker features than the image follows it more.
        measured: On what, how, and with which figures, in one line.
    """

    kind: ContextKind
    cell: int | None = None
    share: float | None = None
    measured: str


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
        training_patch: Side of the training patches in input pixels (the last, where they grew).
        context: What `--context auto` is for these weights, None for the whole image, unmeasured.
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
        training: How weights of our own were made (recipe, seed, steps, commit, data), None for others'.
    """

    id: str
    model: str
    arch: str
    config: Mapping[str, Any] = field(hash=False)
    task: str
    scale: int
    channels: int
    sigma_range: tuple[float, float] | None = None
    variant: str | None = None
    training_patch: int
    context: BestContext | None = None
    file: str
    bytes: int | None = None
    sha256: str | None = None
    git_blob_sha1: str | None = None
    trust_on_first_use: bool = False
    sources: tuple[Source, ...] = ()
    shared_at: str | None = None
    bundled: bool = False
    state_dict_key: str | None = None
    drop_keys: tuple[str, ...] = ()
    licence: str
    origin: str
    citation: str
    notes: str | None = None
    scores: tuple[Score, ...] = ()
    training: Mapping[str, Any] | None = field(default=None, hash=False)


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
    known = Fields(values, where, _names(WeightsEntry))
    return WeightsEntry(
        id=known.text("id", pattern=_KEBAB),
        model=known.text("model", pattern=_KEBAB),
        arch=known.text("arch", known=architecture_names()),
        config=known.mapping("config"),
        task=known.text("task", known=(*task_names(), CLASSIFY)),
        scale=known.integer("scale", low=1, high=16),
        channels=_channels(known),
        sigma_range=known.optional_range("sigma_range", low=0.0, high=255.0),
        variant=known.optional_text("variant", pattern=_KEBAB),
        training_patch=known.integer("training_patch", low=1, high=_MAX_PIXELS),
        context=_context_from_json(known.raw("context"), f"{where}: context") if known.has("context") else None,
        file=known.text("file", pattern=_FILE_NAME),
        bytes=known.optional_integer("bytes", low=1, high=MAX_WEIGHTS_BYTES),
        sha256=known.optional_text("sha256", pattern=_SHA256),
        git_blob_sha1=known.optional_text("git_blob_sha1", pattern=_GIT_SHA1),
        trust_on_first_use=known.flag("trust_on_first_use"),
        sources=tuple(
            _source_from_json(source, f"{where}: sources[{index}]")
            for index, source in enumerate(known.items("sources"))
        ),
        shared_at=_shared_at(known),
        bundled=known.flag("bundled"),
        state_dict_key=known.optional_text("state_dict_key"),
        drop_keys=known.texts("drop_keys"),
        licence=known.text("licence"),
        origin=known.text("origin"),
        citation=known.text("citation"),
        notes=known.optional_text("notes"),
        scores=tuple(
            _score_from_json(score, f"{where}: scores[{index}]") for index, score in enumerate(known.items("scores"))
        ),
        training=known.mapping("training") if known.has("training") else None,
    )


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
    """Tell whether a file may be fetched from an address: https, or http to this very machine (a mirror, a test)."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "http":
        return is_loopback(host)
    return parts.scheme == "https" and bool(host)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _channels(known: Fields) -> int:
    channels = known.integer("channels", low=1, high=3)
    if channels == 2:
        raise known.fault("channels", "is 2 (known: 1 for gray, 3 for RGB)")
    return channels


def _shared_at(known: Fields) -> str | None:
    page = known.optional_text("shared_at")
    if page is not None and not is_allowed_address(page):
        raise known.fault("shared_at", f"is {page!r}, which is no https address")
    return page


def _source_from_json(values: object, where: str) -> Source:
    known = Fields(values, where, _names(Source))
    kind = cast("SourceKind", known.text("kind", known=("https", "huggingface")))
    foreign: tuple[str, ...]
    if kind == "https":
        foreign = ("repo", "revision", "filename")
        source = Source(kind=kind, url=known.text("url"))
        if not is_allowed_address(str(source)):
            raise known.fault("url", f"is {str(source)!r}, which is no https address")
    else:
        foreign = ("url",)
        source = Source(
            kind=kind,
            repo=known.text("repo", pattern=r"\w[\w.-]*/\w[\w.-]*"),
            revision=known.text("revision", pattern=_COMMIT),
            filename=known.text("filename", pattern=r"\w[\w.-]*(/\w[\w.-]*)*"),
        )
    for name in foreign:
        if known.has(name):
            raise known.fault(name, f"has no meaning for kind {kind!r}")
    return source


def _context_from_json(values: object, where: str) -> BestContext:
    known = Fields(values, where, _names(BestContext))
    kind = cast("ContextKind", known.text("kind", known=get_args(ContextKind)))
    needed = {"global": (), "local": ("cell",), "mixed": ("cell", "share")}[kind]
    for name in ("cell", "share"):
        if known.has(name) and name not in needed:
            raise known.fault(name, f"has no meaning for kind {kind!r}")
    share = known.number("share") if "share" in needed else None
    if share is not None and not 0.0 < share < 1.0:
        raise known.fault("share", f"is {share:g}, which is no share between 0 and 1")
    return BestContext(
        kind=kind,
        cell=known.integer("cell", low=8, high=_MAX_PIXELS) if "cell" in needed else None,
        share=share,
        measured=known.text("measured"),
    )


def _score_from_json(values: object, where: str) -> Score:
    known = Fields(values, where, _names(Score))
    return Score(
        dataset=known.text("dataset"),
        protocol=known.text("protocol"),
        metric=known.text("metric", known=("psnr", "psnr_y", "ssim", "ssim_y")),
        value=known.number("value"),
        scale=known.optional_integer("scale", low=1, high=16),
        sigma=known.optional_number("sigma"),
        origin=cast("ScoreOrigin", known.text("origin", known=("published", "measured"))),
    )


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


def _names(fact: type[WeightsEntry | Source | Score | BestContext]) -> tuple[str, ...]:
    return tuple(item.name for item in fields(fact))
