"""The page of samples: what a training shows its network, beside what the network is to make of it.

Stage of training, WRITE, before the first step: whether rain looks like rain is seen in a minute and learnt in hours.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from restore_cli.pages.document import document
from restore_cli.pages.images import decibels, figure, views
from restore_cli.storage.files import publish
from restore_cli.training.batches import Batch, BatchShape
from restore_cli.training.session import Session
from restore_cli.training.validation import to_8bit

SAMPLES = 24


def write_samples(session: Session, path: Path) -> None:
    """Draw samples of a training into a page, its first ones.

    Args:
        session: A training that is ready to start.
        path: Where the page goes.

    Raises:
        TrainingError: If an image cannot be read.
        TargetExistsError: If the file exists.
        StorageError: If the page cannot be written.
    """
    publish(samples_page(session).encode("utf-8"), path, overwrite=False)


def samples_page(session: Session) -> str:
    """Return the page as HTML."""
    maker, recipe = session.maker, session.recipe
    shape = BatchShape(batch=maker.processes, patch=recipe.phases[0].patch)
    shown = [_sample(step, maker.make(step, shape)) for step in range(SAMPLES)]
    title = f"What {recipe.name} is trained on"
    return document(title, f"<h1>{escape(title)}</h1>{''.join(shown)}")


def _sample(number: int, batch: Batch) -> str:
    degraded, clean = to_8bit(batch.degraded), to_8bit(batch.clean)
    height, width = clean.shape[:2]
    detail = ""
    if degraded.shape == clean.shape:
        detail = decibels(float(((degraded.astype(np.float64) - clean) ** 2).mean()))
    if batch.level is not None:
        level = float(batch.level[0])
        detail += ", level not told" if level < 0 else f", level {255 * level:.0f} told"
    box = (0, 0, height, width)
    figures = [figure(degraded, box, "given", detail), figure(clean, box, "wanted", "")]
    return views(f"sample {number + 1}", box, figures, columns=2)
