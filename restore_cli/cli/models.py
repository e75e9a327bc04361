"""`restore models`: which weights there are, where they lie, and whether they are whole.

Stage 1, ASK. What is known comes from weights/manifest, what is on this machine from weights/store; nothing here loads
torch. A name may be a full id, or the name of a model for all its weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from restore_cli.cli.options import COMMON, MessageOptions, Offline, complete_model
from restore_cli.cli.output import Output
from restore_cli.cli.registration import SectionedGroup, command, option
from restore_cli.errors import DigestError, UsageError, WeightsError

if TYPE_CHECKING:
    from restore_cli.weights.manifest import Manifest, Score, WeightsEntry

_ABSENT = "-"

app = typer.Typer(
    name="models",
    cls=SectionedGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List, fetch, check and add weights.",
    epilog="\b\nExamples:\n"
    "  restore models list                     what there is, and where it lies\n"
    "  restore models pull ramit-slim-sr-x4    fetches it, for use offline",
)


def _ids(metavar: str, text: str) -> Any:
    return typer.Argument(autocompletion=complete_model, metavar=metavar, show_default=False, help=text)


Name = Annotated[str, _ids("ID", "A weights id.")]
Names = Annotated[list[str], _ids("ID...", "Weights ids, or a model's name for all of its weights.")]
NamesOrFiles = Annotated[
    list[str], _ids("ID|FILE...", "Weights ids, a model's name for all of its weights, or weights files.")
]
OptionalNames = Annotated[list[str] | None, _ids("[ID...]", "Weights ids; without any, all that are on this machine.")]


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What became of one file, as --json shows it."""

    id: str
    status: Literal["fetched", "at hand", "ok", "failed"]
    path: Path | None = None
    digest: str | None = None
    error: str | None = None

    def record(self) -> dict[str, Any]:
        """Return the JSON object."""
        path = None if self.path is None else str(self.path)
        return {"id": self.id, "status": self.status, "path": path, "digest": self.digest, "error": self.error}


@command(
    app, "list", examples="restore models list\nrestore models list --task sr --json | jq -r 'select(.path) | .id'"
)
def list_weights(
    messages: MessageOptions,
    *,
    task: Annotated[str | None, option(COMMON, "--task", "Those of one task: sr, denoise, ...", metavar="TASK")] = None,
) -> None:
    """List all weights that are known, by task: size, speed, where they lie, licence.

    The speed is that of the arithmetic: fast below 100,000 multiply-adds for each pixel of the result, medium below a
    million, else slow.
    """
    out = messages.open()
    entries = _by_task(_known().entries)
    if task is not None:
        _require_task(task, {entry.task for entry in entries})
        entries = [entry for entry in entries if entry.task == task]
    rows = []
    for entry in entries:
        path, place = _at_hand(entry)
        size = entry.bytes if path is None else path.stat().st_size
        rows.append(
            (
                entry.id,
                " ".join(word for word in (entry.task, entry.variant) if word),
                f"x{entry.scale}",
                "?" if size is None else f"{size / 1e6:.1f}",
                entry.speed or "?",
                place or _ABSENT,
                entry.licence,  # the longest, so that it may run over without parting the others
            )
        )
        out.record(_facts(entry))
    if not out.wants_json:
        headers = ("id", "task", "scale", "MB", "speed", "where", "licence")
        out.table(headers, rows, title="Weights", numeric=("scale", "MB"))


@command(
    app,
    "add",
    examples="restore models add 4x-UltraSharp.pth --task sr\n"
    "restore models add net.pth --id my-denoiser --task denoise --licence MIT",
)
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A weights file, .safetensors or .pth.")],
    messages: MessageOptions,
    *,
    weights_id: Annotated[
        str | None, option(COMMON, "--id", "Its id. Default: the file's name.", metavar="NAME")
    ] = None,
    task: Annotated[
        str | None,
        option(COMMON, "--task", "What it is for: sr, denoise, ... Default: what the file tells.", metavar="TASK"),
    ] = None,
    name: Annotated[
        str | None, option(COMMON, "--name", "Name for -m, where several share one. Default: the id.", metavar="NAME")
    ] = None,
    variant: Annotated[
        str | None, option(COMMON, "--variant", "Special form of the task: photo, real, motion, ...", metavar="WORD")
    ] = None,
    licence: Annotated[
        str | None, option(COMMON, "--licence", "Its licence, as its authors state it.", metavar="TEXT")
    ] = None,
) -> None:
    """Add a weights file to the list, to be used with -m.

    Its network is recognised by its tensors. The file is checked and copied into a folder of your own, with a list
    beside it; nothing is ever listed that lies in the folder a command runs in.
    """
    from restore_cli.models import get_architecture, network_name
    from restore_cli.weights.adding import Adding, add_weights

    out = messages.open()
    if task is not None:
        from restore_cli.tasks import task_names

        _require_task(task, task_names())
    entry = add_weights(Adding(path=file, id=weights_id, model=name, task=task, variant=variant, licence=licence))
    path, _ = _at_hand(entry)
    out.data(f"added  {entry.id}  {path}")
    factor = f" x{entry.scale}" if entry.scale > 1 else ""
    network = network_name(get_architecture(entry.arch))
    out.note(f"{network} for {entry.task}{factor}, licence {entry.licence}, sha256:{entry.sha256}")
    out.note(f"to use it: restore {entry.task} -m {entry.id} IMAGE")
    out.record(_facts(entry))


@command(app, "remove", examples="restore models remove my-denoiser")
def remove(
    name: Name,
    messages: MessageOptions,
) -> None:
    """Take weights that were added out of the list, and remove their copy."""
    from restore_cli.weights.adding import remove_weights

    out = messages.open()
    remove_weights(name)
    out.data(f"removed  {name}")
    out.record({"id": name, "status": "removed"})


@command(app, "info", examples="restore models info ramit-slim-sr-x4\nrestore models info mine.safetensors --json")
def info(names: NamesOrFiles, messages: MessageOptions) -> None:
    """Show all that is known of weights, or of a weights file.

    Config, reported scores, licence, citation, digest and sources; of a file what it says of itself, or what its
    tensors tell.
    """
    out = messages.open()
    files = [name for name in names if _is_file(name)]
    listed = [(entry, _facts(entry)) for entry in _chosen([name for name in names if name not in files])]
    for index, (entry, facts) in enumerate([*listed, *map(_file_facts, files)]):
        out.record(facts)
        if index:
            out.data("")
        width = max(map(len, facts))
        for name, value in facts.items():
            for number, line in enumerate(_lines(name, value, entry)):
                out.data(f"{'' if number else name:<{width}}  {line}")


@command(app, "pull", examples="restore models pull ramit-slim-sr-x4\nrestore models pull ramit-1 --json")
def pull(names: Names, messages: MessageOptions, *, offline: Offline = False) -> None:
    """Fetch weights into the cache.

    What is there already is checked; a damaged copy in the cache is fetched anew.
    """
    out = messages.open()
    _for_each(_chosen(names), lambda entry: _pulled(entry, out, offline=offline), out)


@command(app, "verify", examples="restore models verify\nrestore models verify ramit-1-sr-x4")
def verify(messages: MessageOptions, names: OptionalNames = None) -> None:
    """Check files at hand against their digests.

    Exit code 3 if one differs or is missing.
    """
    out = messages.open()
    entries = _chosen(names) if names else [entry for entry in _known().entries if _at_hand(entry)[0] is not None]
    if not entries:
        out.note("no weights are on this machine; `restore models pull ID` fetches them")
    _for_each(entries, lambda entry: _verified(entry, out), out)


@command(app, "path", examples="restore models path ramit-slim-sr-x4")
def path(
    name: Name,
    messages: MessageOptions,
) -> None:
    """Print where a weights file lies on this machine."""
    out = messages.open()
    entry = _known().get(name)
    found, place = _at_hand(entry)
    if found is None:
        raise _missing(entry)
    out.data(str(found))
    out.record({"id": entry.id, "path": str(found), "place": place})


def _known() -> Manifest:
    from restore_cli.weights.manifest import load_manifest

    return load_manifest()


def _by_task(entries: Iterable[WeightsEntry]) -> list[WeightsEntry]:
    """Return entries with those of a task together, tasks in the order of their first entry."""
    entries = list(entries)
    order = list(dict.fromkeys(entry.task for entry in entries))
    return sorted(entries, key=lambda entry: order.index(entry.task))


def _require_task(task: str, known: Collection[str]) -> None:
    from restore_cli.weights.entry import did_you_mean

    if task not in known:
        msg = f"unknown task {task!r}{did_you_mean(task, known)} (known: {', '.join(sorted(known))})"
        raise UsageError(msg)


def _chosen(names: Sequence[str]) -> list[WeightsEntry]:
    """Return the entries of ids and model names, each once, in the order they were named."""
    known = _known()
    chosen: dict[str, WeightsEntry] = {}
    for name in names:
        of_model = [entry for entry in known.entries if entry.model == name]
        for entry in of_model or [known.get(name)]:
            chosen[entry.id] = entry
    return list(chosen.values())


def _at_hand(entry: WeightsEntry) -> tuple[Path | None, str | None]:
    """Return the file of an entry on this machine and what kind of place it lies in."""
    from restore_cli.weights import store

    found = store.find(entry)
    return (None, None) if found is None else (found.path, found.place)


def _facts(entry: WeightsEntry) -> dict[str, Any]:
    """Return the JSON object of an entry, the command that trained it if that was ours, and where its file lies."""
    from restore_cli.training.provenance import training_command
    from restore_cli.weights.entry import entry_to_json

    path, place = _at_hand(entry)
    trained = training_command(entry)
    own_training = {} if trained is None else {"trained_with": trained}
    own_training |= {} if entry.speed is None else {"speed": entry.speed}
    where = {"path": None if path is None else str(path), "place": place}
    return {**entry_to_json(entry), "speed": entry.speed, **own_training, **where}


def _is_file(name: str) -> bool:
    return Path(name).suffix.lower() in {".pth", ".pt", ".safetensors"}


def _file_facts(name: str) -> tuple[WeightsEntry | None, dict[str, Any]]:
    """Return the entry of a file, if it carries one or is listed, and all that is known of it as a JSON object."""
    from restore_cli.training.provenance import training_command
    from restore_cli.weights.entry import entry_to_json
    from restore_cli.weights.file import facts_of

    facts = facts_of(Path(name))
    entry = facts.entry or next((entry for entry in _known().entries if entry.sha256 == facts.sha256), None)
    own: dict[str, Any] = {} if entry is None else entry_to_json(entry)
    trained = None if entry is None else training_command(entry)
    if trained is not None:
        own["trained_with"] = trained
    kind = {"torch": "PyTorch checkpoint", "safetensors": "safetensors"}[facts.kind]
    seen = {"path": name, "kind": kind, "bytes": facts.bytes, "sha256": facts.sha256, "tensors": facts.tensors}
    return entry, {**own, **seen, **({} if facts.entry is not None else _recognised_facts(Path(name)))}


def _recognised_facts(path: Path) -> dict[str, Any]:
    """Return what the tensors of a file of others tell."""
    from restore_cli.models import known_networks
    from restore_cli.weights.file import read_content
    from restore_cli.weights.foreign import recognised

    found = recognised(read_content(path))
    if found is None:
        return {"network": f"not recognised; known are {known_networks()}"}
    return {
        "network": found.network,
        "arch": found.arch.name,
        "config": found.config.to_json(),
        "task": found.task or "that of the command it is used with",
        "scale": found.config.scale,
        "channels": found.config.channels,
        "tensors": found.tensors,
        "numbers": found.numbers,
        "dtype": ", ".join(found.dtypes),
        "citation": found.arch.paper,
    }


def _lines(name: str, value: Any, entry: WeightsEntry | None) -> list[str]:
    """Return one field of `_facts` as a person reads it."""
    if name == "sources" and entry is not None:
        return [str(source) for source in entry.sources]
    if name == "scores" and entry is not None:
        return [_score_line(score) for score in entry.scores]
    if isinstance(value, dict):
        return [f"{key} {json.dumps(item)}" for key, item in value.items()]
    if isinstance(value, list):
        return [", ".join(str(item) for item in value)]
    return ["-" if value is None else str(value)]


def _score_line(score: Score) -> str:
    scale = None if score.scale is None else f"x{score.scale}"
    sigma = None if score.sigma is None else f"sigma {score.sigma:g}"
    quality = None if score.quality is None else f"q{score.quality}"
    what = " ".join(word for word in (score.dataset, scale, sigma, quality) if word)
    return f"{what}: {score.metric} {score.value:g} ({score.origin}; {score.protocol})"


def _for_each(entries: Iterable[WeightsEntry], work: Callable[[WeightsEntry], _Outcome], out: Output) -> None:
    """Work on one entry after the other and tell of each; a fault in one does not stop the others."""
    failed = False
    for entry in entries:
        try:
            outcome = work(entry)
        except WeightsError as error:
            failed = True
            out.error(error)
            outcome = _Outcome(id=entry.id, status="failed", error=str(error))
        else:
            out.data(f"{outcome.status}  {outcome.id}  {outcome.path}")
        out.record(outcome.record())
    if failed:
        raise typer.Exit(WeightsError.exit_code)


def _missing(entry: WeightsEntry) -> WeightsError:
    hint = f"fetch it with `restore models pull {entry.id}`"
    if entry.shared_at is not None:
        hint = f"download it from {entry.shared_at} and give it with --weights PATH"
    return WeightsError(f"{entry.file} of {entry.id} is not on this machine", hint=hint)


def _pulled(entry: WeightsEntry, out: Output, *, offline: bool) -> _Outcome:
    """Bring one file here and check it.

    Raises:
        WeightsError: If that cannot be done.
    """
    from restore_cli.weights import store

    found = store.find(entry)
    if found is not None:
        try:
            checked = store.verify(entry, found.path)
        except DigestError as error:
            if offline or not store.discard(entry):
                raise WeightsError(error.message, hint="remove it from there first") from error
            out.warn(f"{error.message}; it is fetched anew")
        else:
            _show_note(checked.note, out)
            return _Outcome(id=entry.id, status="at hand", path=found.path, digest=checked.digest)
    with out.transfer_progress(entry.file) as progress:
        path = store.fetch(entry, offline=offline, progress=progress)
    checked = store.verify(entry, path)
    _show_note(checked.note, out)
    return _Outcome(id=entry.id, status="fetched", path=path, digest=checked.digest)


def _verified(entry: WeightsEntry, out: Output) -> _Outcome:
    """Check one file.

    Raises:
        WeightsError: If it is not here or not what it should be.
    """
    from restore_cli.weights import store

    path = store.locate(entry)
    if path is None:
        raise _missing(entry)
    checked = store.verify(entry, path)
    _show_note(checked.note, out)
    return _Outcome(id=entry.id, status="ok", path=path, digest=checked.digest)


def _show_note(note: str | None, out: Output) -> None:
    if note is not None:
        out.note(note)
