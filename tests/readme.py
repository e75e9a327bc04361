"""Generate the parts of the README files that come from the manifest: tables of weights, scores, and commands.

`python -m tests.readme` rewrites them in place, and draws the restored samples again if the bundled weights changed;
tests/test_readme.py fails while they differ.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from restore_cli.training.provenance import training_command
from restore_cli.weights import manifest
from restore_cli.weights.entry import CLASSIFY
from restore_cli.weights.manifest import Score, WeightsEntry, package_manifest
from restore_cli.weights.store import locate
from tests.datasets import EVALUATED, FOLDERS
from tests.model_card import make_restored

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def load_manifest() -> manifest.Manifest:
    """Return what comes with the package, without what a person has added."""
    return manifest.load_manifest(package_manifest())


def models_table() -> str:
    """List the weights by model: for which commands, how large, where they come from."""
    lines = ["| `-m` | commands | size of a file | from |", "|---|---|---|---|"]
    models: dict[str, list[WeightsEntry]] = {}
    classifiers = [entry.model for entry in load_manifest().entries if entry.task == CLASSIFY]
    for entry in load_manifest().entries:
        name = f"{classifiers[0]}` to `{classifiers[-1]}" if entry.model in classifiers else entry.model
        models.setdefault(name, []).append(entry)
    for model, entries in models.items():
        sizes = sorted(entry.bytes / 1e6 for entry in entries if entry.bytes)
        size = (
            ""
            if not sizes
            else f"{sizes[0]:.1f} MB"
            if sizes[0] == sizes[-1]
            else f"{sizes[0]:.1f} to {sizes[-1]:.1f} MB"
        )
        source = "bundled" if entries[0].bundled else "by hand" if entries[0].shared_at else "downloaded"
        lines.append(f"| `{model}` | {', '.join(dict.fromkeys(map(_purpose, entries)))} | {size} | {source} |")
    return "\n".join(lines)


def _purpose(entry: WeightsEntry) -> str:
    """Name the command that weights are for, with what sets it apart from others of the model."""
    if entry.task == CLASSIFY:
        return "`bench`"
    words = [entry.task]
    words += [f"x{entry.scale}"] if entry.task == "sr" else []
    words += [entry.variant] if entry.variant else []
    words += ["gray"] if entry.channels == 1 else []
    return " ".join(words)


def weights_table() -> str:
    """List every entry of the manifest: id, command, size, where it comes from, licence."""
    lines = ["| id | command | file | licence |", "|---|---|---|---|"]
    entries = load_manifest().entries
    lines.extend(f"| `{entry.id}` | `{command(entry)}` | {_file(entry)} | {entry.licence} |" for entry in entries)
    return "\n".join(lines)


def scores_table() -> str:
    """List the measured scores of the bundled weights, as the manifest holds them."""
    lines = ["| weights | images | protocol | PSNR | SSIM |", "|---|---|---|---|---|"]
    for entry in load_manifest().entries:
        if not entry.bundled:
            continue
        evaluated = [score for score in entry.scores if score.protocol in EVALUATED]
        values = {(_named(score), score.protocol, score.metric): score.value for score in evaluated}
        for named, protocol in dict.fromkeys(key[:2] for key in values):
            cells = [
                " / ".join(f"{value:.{digits}f}" for key, value in values.items()
                           if key[:2] == (named, protocol) and key[2].startswith(kind))
                for kind, digits in (("psnr", 2), ("ssim", 4))
            ]  # fmt: skip
            lines.append(f"| `{entry.id}` | {named} | {protocol} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _named(score: Score) -> str:
    sigma = None if score.sigma is None else f"sigma {score.sigma:g}"
    quality = None if score.quality is None else f"quality {score.quality}"
    return ", ".join(word for word in (score.dataset, sigma, quality) if word)


def training_lines() -> str:
    """Write how the bundled weights were trained, as the manifest tells it."""
    lines = ["```text"]
    for entry in load_manifest().entries:
        trained = training_command(entry)
        if not entry.bundled or trained is None or entry.training is None:
            continue
        minutes, images = entry.training["seconds"] / 60, entry.training["data"]["pictures"]
        lines.append(f"# {entry.id}: {_parameters(entry):,} parameters, {images} images, {minutes:.0f} minutes")
        lines.append(trained)
    return "\n".join([*lines, "```"])


def eval_lines() -> str:
    """Write the command that takes each score of the bundled weights again."""
    asked = dict.fromkeys(
        eval_command(entry, score)
        for entry in load_manifest().entries
        if entry.bundled
        for score in entry.scores
        if score.protocol in EVALUATED
    )
    return "\n".join(["```text", *asked, "```"])


def eval_command(entry: WeightsEntry, score: Score, root: Path = Path()) -> str:
    """Write the command that scores weights on a dataset.

    Args:
        entry: The weights.
        score: One of its scores, which names the dataset and what its inputs are.
        root: Where the folders of the datasets lie.
    """
    folder = FOLDERS[score.dataset]
    words = ["restore", "eval", entry.task, *option_words(entry), "-m", entry.id, "--dataset", score.dataset]
    words += ["--clean", str(root / folder.clean)]
    if folder.degraded is not None:
        words += ["--degraded", str(root / folder.degraded.format(scale=entry.scale))]
    if score.sigma is not None:
        words += ["--sigma", f"{score.sigma:g}"]
    if score.quality is not None:
        words += ["--quality", str(score.quality)]
    return shlex.join(words)


def option_words(entry: WeightsEntry) -> list[str]:
    """Return the options that make a command mean weights of this purpose."""
    words = ["--scale", str(entry.scale)] if entry.task == "sr" else []
    words += ["--photo"] if entry.variant == "photo" else []
    words += ["--kind", str(entry.variant)] if entry.task == "deblur" else []
    return [*words, *(["--gray"] if entry.task in {"denoise", "dejpeg"} and entry.channels == 1 else [])]


def command(entry: WeightsEntry) -> str:
    """Write the command line that uses an entry."""
    if entry.task == CLASSIFY:
        return f"restore bench -m {entry.model}"
    words = ["restore", entry.task]
    if entry.task == "sr":
        words.append(f"--scale {entry.scale}")
    if entry.variant == "photo":
        words.append("--photo")
    if entry.task == "denoise" and entry.channels == 1:
        words.append("--gray")
    if entry.variant == "real":
        words.append("--real")
    if entry.sigma_range is not None and entry.sigma_range[0] == entry.sigma_range[1]:
        words.append(f"--sigma {entry.sigma_range[0]:g}")
    if entry.task == "deblur":
        words.append(f"--kind {entry.variant}")
    if entry.variant == "dual-pixel":
        words.append("--right PATH")
    if not entry.bundled or not _is_default(entry):
        words.append(f"-m {entry.model}")
    return " ".join(words)


def _is_default(entry: WeightsEntry) -> bool:
    """Report whether a bundled entry is what its command takes where no model is named."""
    default = load_manifest().select(task=entry.task, scale=entry.scale, channels=entry.channels, variant=entry.variant)
    return default.id == entry.id


def render(file: Path) -> str:
    """Return the text of a README file with each generated block of it renewed."""
    text = file.read_text(encoding="utf-8")
    for name, generate in BLOCKS[file].items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        found = pattern.search(text)
        if found is None:
            msg = f"{file} has no block <!-- {name} --> ... <!-- end {name} -->"
            raise ValueError(msg)
        text = text[: found.end(1)] + generate() + "\n" + text[found.start(2) :]
    return text


def _parameters(entry: WeightsEntry) -> int:
    """Count the numbers in a bundled file, by its header: its length in 8 bytes, then JSON with the tensors' shapes."""
    path = locate(entry)
    assert path is not None
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    del header["__metadata__"]
    return sum(math.prod(tensor["shape"]) for tensor in header.values() if tensor["dtype"] in {"F16", "F32"})


def _file(entry: WeightsEntry) -> str:
    size = f", {entry.bytes / 1e6:.1f} MB" if entry.bytes else ""
    by_hand = f", shared at {entry.shared_at}" if entry.shared_at else ""
    return f"bundled{size}" if entry.bundled else f"{entry.file}{size}{by_hand}"


BLOCKS: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"models": models_table},
    ROOT / "restore_cli/weights/README.md": {"weights": weights_table},
    ROOT / "restore_cli/weights/bundled/README.md": {
        "scores": scores_table,
        "eval": eval_lines,
        "training": training_lines,
    },
}

if __name__ == "__main__":
    if not make_restored.is_fresh():
        make_restored.make()
    for file in BLOCKS:
        file.write_text(render(file), encoding="utf-8")
