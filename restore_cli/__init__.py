"""Restore degraded images with pretrained networks, from the command line or from Python.

A function for every command, which the command itself calls: `restore` for one image, `restore_files` for many,
`load_restorer` to keep a network, `list_weights`, `evaluate`, `bench`, `train`, `export`, `compare` and `serve`.
Each is imported when it is first asked for, and torch with the first network.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from restore_cli._version import __version__

if TYPE_CHECKING:
    from restore_cli.benchmark.run import bench
    from restore_cli.comparison.files import compare
    from restore_cli.exporting.run import export
    from restore_cli.inference.restorer import Restorer
    from restore_cli.jobs.files import restore_files
    from restore_cli.jobs.image import load_restorer, restore
    from restore_cli.scoring.run import evaluate
    from restore_cli.server.run import serve
    from restore_cli.training.run import train
    from restore_cli.weights.manifest import list_weights

__all__ = [
    "Restorer",
    "__version__",
    "bench",
    "compare",
    "evaluate",
    "export",
    "list_weights",
    "load_restorer",
    "restore",
    "restore_files",
    "serve",
    "train",
]

_MODULES = {
    "Restorer": "inference.restorer",
    "bench": "benchmark.run",
    "compare": "comparison.files",
    "evaluate": "scoring.run",
    "export": "exporting.run",
    "list_weights": "weights.manifest",
    "load_restorer": "jobs.image",
    "restore": "jobs.image",
    "restore_files": "jobs.files",
    "serve": "server.run",
    "train": "training.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, whether they are imported or not."""
    return sorted({*globals(), *__all__})
