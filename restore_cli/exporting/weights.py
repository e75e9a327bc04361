"""Weights as .safetensors that `--weights` reads back, in float32, float16 or int8.

Stage 5, RUN, of `restore export`. Index tables that a network builds for itself are left out: a sixth of RAMiT's file.
"""

from __future__ import annotations

from dataclasses import replace

from restore_cli.errors import WeightsError
from restore_cli.exporting.request import StoredAs
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.load import LoadedWeights, weights_file
from restore_cli.weights.quantised import stored


def smaller_file(weights: LoadedWeights, entry: WeightsEntry, dtype: StoredAs) -> bytes:
    """Return the bytes of a .safetensors file.

    Args:
        weights: What to store.
        entry: What the file is to say of itself.
        dtype: How its numbers are stored.

    Raises:
        WeightsError: If a number is too large for float16.
    """
    state_dict = {name: tensor for name, tensor in weights.network.state_dict().items() if tensor.is_floating_point()}
    try:
        return weights_file(stored(state_dict, dtype), entry)
    except ValueError as error:
        raise WeightsError(f"{weights.path}: {error}", hint="export it in float32") from error


def entry_of_copy(weights: LoadedWeights, dtype: StoredAs, file: str) -> WeightsEntry:
    """Return the entry of a file made of some weights: their own, and the digest of what it was made of.

    Scores are dropped where rounding could have moved them.
    """
    entry = weights.entry
    return replace(
        entry,
        id=entry.id if dtype == "float32" else f"{entry.id}-{dtype}",
        file=file,
        scores=() if dtype == "int8" else entry.scores,
        made_from=weights.digest,
    )
