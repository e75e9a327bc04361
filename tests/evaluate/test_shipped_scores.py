"""Every score that the manifest states of a bundled checkpoint comes out of `restore eval` again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from restore_cli.weights.manifest import WeightsEntry, load_manifest
from tests.cli.conftest import run_apart

FOLDERS = {
    "Set5": ("test/set5/HR", "test/set5/LR_bicubic/X{scale}"),
    "McMaster": ("test/mcmaster", None),
    "Set12": ("test/set12", None),
    "Rain100L, 20 pairs": ("test/rain100l/HQ", "test/rain100l/LQ"),
    "val_div2k256": ("train/val_div2k256", None),
}
# Minutes each on two cores: `python -m pytest -m exhaustive` runs them, CI leaves them out.
EXHAUSTIVE = {"McMaster", "Rain100L, 20 pairs"}
# Scores taken while training carry its own protocol's name; `restore eval` does not take them.
EVALUATED = {"paper", "8bit", "synthetic"}


def stated() -> list[tuple[WeightsEntry, str, float | None]]:
    found = [
        (entry, score.dataset, score.sigma)
        for entry in load_manifest().entries
        if entry.bundled
        for score in entry.scores
        if score.protocol in EVALUATED
    ]
    return list(dict.fromkeys(found))


def test_every_bundled_checkpoint_states_a_score_that_eval_takes():
    assert {entry.id for entry, _, _ in stated()} == {entry.id for entry in load_manifest().entries if entry.bundled}


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("entry", "dataset", "sigma"),
    [
        pytest.param(
            entry,
            dataset,
            sigma,
            marks=[pytest.mark.exhaustive] if dataset in EXHAUSTIVE else [],
            id=f"{entry.id}-{dataset}-{sigma}".replace(" ", ""),
        )
        for entry, dataset, sigma in stated()
    ],
)
def test_a_stated_score_is_reproduced(entry: WeightsEntry, dataset: str, sigma: float | None, shared: Path):
    clean, degraded = FOLDERS[dataset]
    data = shared / "data"
    options = ["--clean", data / clean, "--dataset", dataset, "-m", entry.id, "--offline", "--json", "--quiet"]
    if degraded is not None:
        options += ["--degraded", data / degraded.format(scale=entry.scale)]
    if entry.task == "sr":
        options += ["--scale", entry.scale]
    if entry.variant == "photo":
        options.append("--photo")
    if entry.task == "denoise":
        options += ["--sigma", sigma, *(["--gray"] if entry.channels == 1 else [])]
    ran = run_apart(["eval", entry.task, *options], OMP_NUM_THREADS="2")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out.splitlines()[-1])
    measured = next(candidate["mean"] for candidate in summary["candidates"] if not candidate["floor"])
    for score in entry.scores:
        if (score.dataset, score.sigma, score.protocol) == (dataset, sigma, summary["protocol"]):
            assert measured[score.metric] == pytest.approx(score.value, abs=0.005 if "psnr" in score.metric else 5e-4)
