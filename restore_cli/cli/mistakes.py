"""What to type instead, for a first word that is no command: an image, another program's word, or a slip.

Stage 1, ASK. Imported only when somebody has made the mistake.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Collection, Sequence

from restore_cli.errors import UsageError
from restore_cli.imaging.formats import SUFFIXES

_OTHER_WORDS = {
    "sr": (
        "upscale",
        "upscaling",
        "enlarge",
        "super-resolution",
        "superres",
        "super",
        "resize",
        "x2",
        "x4",
        "2x",
        "4x",
    ),
    "denoise": ("denoising", "noise", "clean"),
    "dejpeg": ("jpeg", "jpg", "artifacts", "artefacts", "deblock", "decompress"),
    "derain": ("deraining", "rain"),
    "lowlight": ("low-light", "light", "lighten", "brighten", "dark", "night", "relight"),
    "deblur": ("deblurring", "blur", "sharpen", "sharp", "unblur"),
    "models": ("list", "weights", "download", "pull"),
    "bench": ("benchmark", "measure", "profile"),
    "eval": ("evaluate", "evaluation", "score", "test"),
    "serve": ("server", "web", "gui", "ui"),
    "train": ("training", "finetune", "fine-tune"),
    "doctor": ("check", "info", "system", "env"),
}
"""Our commands, and what others call them."""


def no_command(words: Sequence[str], commands: Collection[str]) -> UsageError:
    """Return the error for words whose first is no command.

    Args:
        words: All that was typed behind `restore`.
        commands: The commands there are.
    """
    first, *rest = words
    if first in {"version", "ver"}:
        return UsageError(f"there is no command {first!r}", hint="type `restore --version`")
    if _is_image(first):
        kind = "a folder" if os.path.isdir(first) else "an image"  # noqa: PTH112 -- takes any text
        hint = f"type `restore sr {shlex.join(words)}` to enlarge it; or denoise, dejpeg, derain, lowlight or deblur it"
        return UsageError(f"{first} is {kind}, not a command", hint=hint)
    meant = next((command for command, others in _OTHER_WORDS.items() if first.lower() in others), None)
    if meant is None and first.lower() in commands:
        meant = first.lower()
    if meant is not None:
        return UsageError(f"there is no command {first!r}", hint=f"type `{shlex.join(['restore', meant, *rest])}`")
    near = difflib.get_close_matches(first, sorted(commands), n=1)
    typed = f"type `{shlex.join(['restore', near[0], *rest])}`, or " if near else ""
    return UsageError(f"there is no command {first!r}", hint=f"{typed}see `restore --help` for all commands")


def _is_image(word: str) -> bool:
    return os.path.exists(word) or "://" in word or os.path.splitext(word)[1].lower() in SUFFIXES  # noqa: PTH110, PTH122
