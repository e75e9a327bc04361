"""Where weights lie that a person added to the list: a folder of their own, with a manifest beside the files.

Stage 2, PLAN. The folder is the person's, never the one a command happens to run in: a manifest that came with a
downloaded archive lists nothing. Imports no torch.
"""

from __future__ import annotations

import os
from pathlib import Path

from restore_cli.weights.entry import WeightsEntry

MANIFEST_NAME = "weights_manifest.json"


def own_folder() -> Path | None:
    """Return the folder: XDG_DATA_HOME/restore-cli, else ~/.local/share/restore-cli; it may not exist.

    None where there is neither XDG_DATA_HOME nor a home.
    """
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    if base.is_absolute():  # the rule of XDG: a relative one does not count
        return base / "restore-cli"
    try:
        return Path.home() / ".local" / "share" / "restore-cli"
    except RuntimeError:
        return None


def own_manifest() -> Path | None:
    """Return the manifest of what was added, None where nothing was."""
    folder = own_folder()
    return folder / MANIFEST_NAME if folder is not None and (folder / MANIFEST_NAME).is_file() else None


def own_file(entry: WeightsEntry) -> Path | None:
    """Return where the file of an entry that was added lies, None for any other entry; it may be gone."""
    folder = own_folder()
    is_own = not (entry.bundled or entry.sources or entry.shared_at)
    return folder / entry.file if folder is not None and is_own else None
