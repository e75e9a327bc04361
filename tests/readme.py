"""Generate the parts of README.md that would otherwise grow stale: the tree and the table of weights.

`python tests/readme.py` rewrites them in place; tests/test_readme.py fails while they differ.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from restore_cli.weights.entry import CLASSIFY
from restore_cli.weights.manifest import WeightsEntry, load_manifest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def tree() -> str:
    """Draw restore_cli with the first line of each module's docstring."""
    rows: list[tuple[str, str]] = [("restore_cli/", "")]
    rows.extend((f"  {path.name}", _summary(path)) for path in sorted(ROOT.glob("restore_cli/*.py")))
    for folder in sorted(p.parent for p in ROOT.glob("restore_cli/*/__init__.py")):
        rows.append((f"  {folder.name}/", _summary(folder / "__init__.py")))
        rows.extend(
            (f"    {path.name}", _summary(path)) for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"
        )
    lines = [f"{name:<30}{summary}".rstrip() for name, summary in rows if not name.endswith("__init__.py") or summary]
    return "```text\n" + "\n".join(lines) + "\n```"


def weights_table() -> str:
    """List every entry of the manifest: id, command, size, where it comes from, licence."""
    lines = ["| id | command | file | licence |", "|---|---|---|---|"]
    entries = load_manifest().entries
    lines.extend(f"| `{entry.id}` | `{command(entry)}` | {_file(entry)} | {entry.licence} |" for entry in entries)
    return "\n".join(lines)


def scores_table() -> str:
    """List the measured scores of the bundled weights, as the manifest holds them."""
    lines = ["| weights | pictures | protocol | PSNR | SSIM |", "|---|---|---|---|---|"]
    for entry in load_manifest().entries:
        if not entry.bundled:
            continue
        evaluated = [score for score in entry.scores if score.protocol in {"paper", "8bit", "synthetic"}]
        values = {(score.dataset, score.sigma, score.protocol, score.metric): score.value for score in evaluated}
        for dataset, sigma, protocol in dict.fromkeys(key[:3] for key in values):
            named = dataset if sigma is None else f"{dataset}, sigma {sigma:g}"
            cells = [
                " / ".join(f"{value:.{digits}f}" for key, value in values.items()
                           if key[:3] == (dataset, sigma, protocol) and key[3].startswith(kind))
                for kind, digits in (("psnr", 2), ("ssim", 4))
            ]  # fmt: skip
            lines.append(f"| `{entry.id}` | {named} | {protocol} | {' | '.join(cells)} |")
    return "\n".join(lines)


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
    if not entry.bundled:
        words.append(f"-m {entry.model}")
    return " ".join(words)


def render(text: str) -> str:
    """Return README's text with every generated block renewed."""
    for name, block in (("tree", tree()), ("weights", weights_table()), ("scores", scores_table())):
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            msg = f"README.md has no block <!-- {name} --> ... <!-- end {name} -->"
            raise ValueError(msg)
        text = pattern.sub(lambda match, block=block: match.group(1) + block + "\n" + match.group(2), text)
    return text


def _summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def _file(entry: WeightsEntry) -> str:
    size = f", {entry.bytes / 1e6:.1f} MB" if entry.bytes else ""
    by_hand = f", shared at {entry.shared_at}" if entry.shared_at else ""
    return f"bundled{size}" if entry.bundled else f"{entry.file}{size}{by_hand}"


if __name__ == "__main__":
    README.write_text(render(README.read_text(encoding="utf-8")), encoding="utf-8")
