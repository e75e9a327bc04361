"""Which network a recipe trains, read back from the file of a run.

First stage of training, ASK; the networks' own numbers lie beside them, in `models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restore_cli.models import NetworkChoice, presets_module

_FIRST_ARCH = "ramit"  # of runs begun before networks named their architecture


def network_from_json(values: Mapping[str, Any]) -> NetworkChoice:
    """Build from the object that `dataclasses.asdict` made, read back from JSON; RAMiT where no `arch` is named.

    Raises:
        TypeError: If a field is unknown.
        ValueError: If the architecture is unknown or cannot be trained.
    """
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    arch = plain.get("arch", _FIRST_ARCH)
    module = presets_module(arch)
    if module is None:
        msg = f"architecture {arch!r} has no presets to train it with"
        raise ValueError(msg)
    choice: NetworkChoice = module.Network(**plain)
    return choice
