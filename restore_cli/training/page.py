"""The page of a run: its curves, and what the network makes of held-out images by now.

Stage of training, WRITE. The page is drawn anew at each look back, from the log alone, so that a resumed run's curves
begin where the run did; it can be left open in a browser and reloaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.pages.document import document, table
from restore_cli.pages.images import Uint8Image, decibels, figure, views
from restore_cli.pages.places import squared_error
from restore_cli.pages.plot import Axis, Level, Point, Series, plot
from restore_cli.storage.files import publish
from restore_cli.tasks import get_task
from restore_cli.training.journal import read_journal
from restore_cli.training.recipes import Recipe
from restore_cli.training.request import TrainRequest
from restore_cli.training.run_file import TrainingFacts
from restore_cli.training.validation import View

NAME = "report.html"

# A curve has no more points than its plot has pixels, whatever the run's length.
_POINTS_MOST = 500
_SMOOTHED_SHARE = 0.04
_SMOOTHED_FEWEST = 12

_STEPS = Axis(title="steps", text="{:,.0f}".format)

Line = Mapping[str, Any]
"""One interval as the log holds it."""


def write_page(folder: Path, request: TrainRequest, facts: TrainingFacts, shown: Sequence[View]) -> Path:
    """Draw the page of a run from its log into its folder and return its path.

    Args:
        folder: The run's folder.
        request: What was asked for.
        facts: What the run was begun with.
        shown: Places of held-out images as restored now.

    Raises:
        StorageError: If it cannot be written; the old page stays.
    """
    path = folder / NAME
    page = run_page(folder.name, request, facts, read_journal(folder), shown)
    publish(page.encode("utf-8"), path, overwrite=True)
    return path


def run_page(
    name: str, request: TrainRequest, facts: TrainingFacts, lines: Sequence[Line], shown: Sequence[View] = ()
) -> str:
    """Return the page as text.

    Args:
        name: Of the run.
        request: What was asked for.
        facts: What the run was begun with.
        lines: Its log, in order.
        shown: Places of held-out images as restored now.
    """
    body = "".join(
        [
            _header(name, facts, lines),
            _curves(facts, lines),
            _views(shown, lines),
            _settings(request, facts),
        ]
    )
    return document(f"{name}: {facts.recipe.name}", body)


def _header(name: str, facts: TrainingFacts, lines: Sequence[Line]) -> str:
    last = lines[-1] if lines else None
    done, steps = (0, 0) if last is None else (int(last["step"]), int(last["steps"]))
    share = done / steps if steps else 0.0
    shown = [("steps", f"{done:,}", f"of {steps:,}, {share:.0%}" if steps else "")]
    best = max((line for line in lines if "score" in line), key=lambda line: float(line["score"]), default=None)
    if best is not None:
        gain = "" if facts.floor is None else f"{float(best['score']) - facts.floor:+.3f}, "
        shown.append(("best validation", f"{float(best['score']):.3f} dB", f"{gain}step {int(best['step']):,}"))
    if last is not None:
        shown.append(("loss", f"{float(last['loss']):.5f}", ""))
        shown.append(("throughput", f"{float(last['images_per_second']):.3g}", "patches/s"))
        shown.append(("time", _duration(float(last["seconds"])), ""))
    items = "".join(
        f"<div><dt>{escape(title)}</dt><dd>{escape(value)} <small>{escape(detail)}</small></dd></div>"
        for title, value, detail in shown
    )
    return (
        f"<header><h1>{escape(name)}</h1><p class='faint'>{escape(_subject(facts.recipe))}</p>"
        f"<dl class='facts'>{items}</dl><div class='progress'><i style='width:{100 * share:.1f}%'></i></div></header>"
    )


def _subject(recipe: Recipe) -> str:
    words = [recipe.name, recipe.task, f"x{recipe.scale}" if recipe.scale > 1 else "", recipe.variant or ""]
    return " ".join([f"recipe {words[0]}:", *filter(None, words[1:]), "of gray images" if recipe.channels == 1 else ""])


def _curves(facts: TrainingFacts, lines: Sequence[Line]) -> str:
    """Draw loss, validation, rate and throughput; a curve without a point is left out."""
    recipe = facts.recipe
    losses = _points(lines, "loss", above_zero=True)
    scores = _thinned(_points(lines, "score"))
    rates, speeds = _thinned(_points(lines, "rate")), _thinned(_points(lines, "images_per_second"))
    plots: list[str] = []
    if losses:
        plots.append(_loss(losses))
    if scores:
        levels = [] if facts.floor is None else [Level(label=f"{recipe.floor} {facts.floor:.3f} dB", value=facts.floor)]
        axis = Axis(title=f"{get_task(recipe.task).metrics[0]}, dB", text="{:.2f}".format)
        validated = [Series(label="", points=scores, marked=len(scores) <= _POINTS_MOST // 5)]
        plots.append(plot(validated, title="Validation", x=_STEPS, y=axis, levels=levels))
    if rates:
        axis = Axis(title="learning rate", text="{:.2g}".format, from_zero=True)
        plots.append(plot([Series(label="", points=rates, marked=False)], title="Rate", x=_STEPS, y=axis))
    if speeds:
        axis = Axis(title="patches a second", text="{:.4g}".format, from_zero=True)
        plots.append(plot([Series(label="", points=speeds, marked=False)], title="Throughput", x=_STEPS, y=axis))
    return f'<div class="plots">{"".join(plots)}</div>' if plots else "<p>Nothing was logged yet.</p>"


def _loss(points: tuple[Point, ...]) -> str:
    axis = Axis(title="mean absolute error, 0..1", text="{:.3g}".format, logarithmic=True)
    series = [Series(label="", points=_thinned(points), marked=False, colour=0)]
    if len(points) >= _SMOOTHED_FEWEST:
        smooth = Series(label="smoothed", points=_thinned(_smoothed(points)), marked=False, colour=0)
        series = [Series(label="each interval", points=_thinned(points), marked=False, faint=True, colour=0), smooth]
    return plot(series, title="Loss", x=_STEPS, y=axis)


def _views(shown: Sequence[View], lines: Sequence[Line]) -> str:
    if not shown:
        return ""
    step = int(lines[-1]["step"]) if lines else 0
    return (
        f"<h2>Held-out images</h2><p class='note'>As restored behind step {step:,}, always the same places: where "
        "doing nothing is farthest from the truth.</p>" + "".join(map(_view, shown))
    )


def _view(view: View) -> str:
    enlarged = view.degraded.shape != view.floor.shape
    figures = [figure(view.degraded, view.box, "degraded", "" if enlarged else _psnr(view.floor, view.clean))]
    if enlarged:
        figures.append(figure(view.floor, view.box, "bicubic", _psnr(view.floor, view.clean)))
    figures.append(figure(view.restored, view.box, "restored", _psnr(view.restored, view.clean)))
    figures.append(figure(view.clean, view.box, "truth", ""))
    return views(view.name, view.box, figures, columns=len(figures))


def _settings(request: TrainRequest, facts: TrainingFacts) -> str:
    recipe = facts.recipe
    batches = ", ".join(
        f"{phase.batch} patches of {phase.patch}x{phase.patch} from {phase.start:.0%}" for phase in recipe.phases
    )
    rows_of_facts = [
        ("parameters", f"{facts.parameters:,}"),
        ("images", f"{facts.images:,}"),
        ("batches", batches),
        (
            "optimiser",
            f"{recipe.optimisation.optimiser}, rate {recipe.optimisation.rate:g}, {recipe.optimisation.decay}",
        ),
        ("seed", str(request.seed)),
        ("warm start", "none" if request.warm_start is None else Path(request.warm_start).name),
        ("code", facts.commit or "not from a checkout"),
    ]
    rows = "".join(f"<tr><td>{escape(title)}</td><td>{escape(value)}</td></tr>" for title, value in rows_of_facts)
    return f"<h2>Settings</h2>{table((), rows, kind='settings')}"


def _points(lines: Sequence[Line], field: str, *, above_zero: bool = False) -> tuple[Point, ...]:
    found = ((float(line["step"]), float(line[field])) for line in lines if field in line)
    return tuple((x, y) for x, y in found if math.isfinite(y) and (y > 0 or not above_zero))


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return at most `_POINTS_MOST` points, each the mean of neighbours that fall together."""
    if len(points) <= _POINTS_MOST:
        return tuple(points)
    parts = np.array_split(np.array(points), _POINTS_MOST)
    return tuple((float(x), float(y)) for x, y in (part.mean(axis=0) for part in parts))


def _smoothed(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points with each value replaced by the mean of those around it."""
    values = np.array([y for _, y in points])
    reach = max(1, round(_SMOOTHED_SHARE * len(values)))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, last = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    means = (sums[last] - sums[first]) / (last - first)
    return tuple((x, float(mean)) for (x, _), mean in zip(points, means, strict=True))


def _psnr(image: Uint8Image, clean: Uint8Image) -> str:
    return decibels(float(squared_error(image, clean).mean()))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
