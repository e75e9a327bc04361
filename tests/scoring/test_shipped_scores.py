"""Every score that the manifest states of a bundled checkpoint comes out of README's `restore eval` lines again."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from restore_cli.cli import app
from restore_cli.weights.manifest import Score, WeightsEntry, load_manifest
from tests.cli.conftest import run_apart
from tests.datasets import EVALUATED
from tests.readme import ROOT, eval_command, option_words

SAMPLES = ROOT / "tests" / "samples"
# `python -m pytest -m exhaustive` reproduces the scores of the others, for minutes; CI looks at what each of them makes
# of one small image.
IN_CI = "ramit-lite-sr-x4"
# Of the still life, in dB above bicubic or above the input itself.
# What a photo went through is drawn for each image anew: one draw may be all but clean, another beyond help.
DRAWS = 4
GAIN_LEAST = {"sr": 0.2, "denoise": 3.0, "dejpeg": 0.5, "derain": 0.5, "lowlight": 3.0, "deblur": 0.3}


def stated() -> list[tuple[WeightsEntry, Score]]:
    found = {
        (entry.id, score.dataset, score.sigma, score.quality): (entry, score)
        for entry in load_manifest().entries
        if entry.bundled
        for score in entry.scores
        if score.protocol in EVALUATED
    }
    return list(found.values())


def test_every_bundled_checkpoint_states_a_score_that_eval_takes():
    assert {entry.id for entry, _ in stated()} == {entry.id for entry in load_manifest().entries if entry.bundled}


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("entry", "named"),
    [
        pytest.param(
            entry,
            score,
            marks=[] if entry.id == IN_CI else [pytest.mark.exhaustive],
            id=f"{entry.id}-{score.dataset}-{score.sigma}-{score.quality}".replace(" ", ""),
        )
        for entry, score in stated()
    ],
)
def test_a_stated_score_is_reproduced(entry: WeightsEntry, named: Score, shared: Path):
    line = shlex.split(eval_command(entry, named, shared / "data"))
    ran = run_apart([*line[1:], "--offline", "--json", "--quiet"], OMP_NUM_THREADS="2")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out.splitlines()[-1])
    measured = next(candidate["mean"] for candidate in summary["candidates"] if not candidate["floor"])
    for score in entry.scores:
        same = (score.dataset, score.sigma, score.quality) == (named.dataset, named.sigma, named.quality)
        if same and score.protocol == summary["protocol"]:
            assert measured[score.metric] == pytest.approx(score.value, abs=0.005 if "psnr" in score.metric else 5e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry", [entry for entry in load_manifest().entries if entry.bundled], ids=lambda entry: entry.id
)
def test_bundled_weights_beat_doing_nothing_on_an_image_nobody_trained_on(
    entry: WeightsEntry, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    for number in range(DRAWS if entry.variant == "photo" else 1):
        shutil.copy(SAMPLES / "still_life.png", tmp_path / f"{number}.png")
    made = {"denoise": ["--sigma", "25"], "dejpeg": ["--quality", "20"]}.get(entry.task, [])
    asked = ["eval", entry.task, *option_words(entry), *made, "-m", entry.id, "--clean", str(tmp_path)]
    assert app.run([*asked, "--offline", "--json"]) == 0
    candidates = json.loads(capfd.readouterr().out.splitlines()[-1])["candidates"]
    network, floor = sorted(candidates, key=lambda candidate: bool(candidate["floor"]))
    metric = next(name for name in network["mean"] if name.startswith("psnr"))
    assert network["mean"][metric] > floor["mean"][metric] + GAIN_LEAST[entry.task], (network, floor)
