"""Draw the page of a run again, finished or not: after a kill, or to look at a run from another machine.

Stage of training, WRITE. Curves come from the log; the held-out images are restored with the best weights there are,
where the images still are where they were.
"""

from __future__ import annotations

from pathlib import Path

from restore_cli.errors import TrainingError
from restore_cli.models import get_architecture
from restore_cli.training.checkpoint import BEST, LAST, read_checkpoint
from restore_cli.training.page import write_page
from restore_cli.training.request import TrainRequest
from restore_cli.training.run_file import TrainingFacts, read_run
from restore_cli.training.session import Machine, held_out
from restore_cli.training.validation import View


def redraw(folder: Path, machine: Machine) -> tuple[Path, str | None]:
    """Draw the page of the run in a folder.

    Returns:
        The page, and why it shows no images; None where it does, or where nothing was held out.

    Raises:
        TrainingError: If the folder holds no run, or its checkpoint is damaged.
        StorageError: If the page cannot be written.
    """
    request, facts = read_run(folder)
    best = next((folder / name for name in (BEST, LAST) if (folder / name).is_file()), None)
    missing: str | None = None
    shown: tuple[View, ...] = ()
    if request.val and best is not None:
        try:
            shown = _views(request, facts, best, machine)
        except TrainingError as error:
            missing = error.message
    return write_page(folder, request, facts, shown), missing


def _views(request: TrainRequest, facts: TrainingFacts, weights: Path, machine: Machine) -> tuple[View, ...]:
    arch = get_architecture(facts.recipe.network.arch)
    validation = held_out(request, facts.recipe, machine)
    if validation is None:
        return ()
    network = arch.build(arch.config.from_json(facts.config)).to(machine.device)
    content = read_checkpoint(weights)
    network.load_state_dict(content["averaged"] if "averaged" in content else content["network"], strict=True)
    return validation.views(network)
