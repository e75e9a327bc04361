"""Steps of a chain are read as typed, and what makes no sense is refused before anything is loaded."""

from __future__ import annotations

import pytest

from restore_cli.errors import UsageError
from restore_cli.jobs.steps import parse_steps, suffix_of_steps


def test_results_are_named_after_all_steps() -> None:
    assert suffix_of_steps(parse_steps("derain, denoise:5, sr:3")) == "_derained_denoised_x3"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "unknown step ''"),
        ("denoise,", "unknown step ''"),
        ("paint", "unknown step 'paint'"),
        ("sr:5", "enlarges by no factor"),
        ("sr:2.5", "enlarges by no factor"),
        ("sr:", "ends too early"),
        ("denoise@", "ends too early"),
        ("denoise:nan", "no noise level from 0 to 50"),
        ("denoise:x", "no number behind its colon"),
        ("derain:3", "takes no number"),
        ("sr:4,sr:4,sr:2", "enlarges 32 times"),
        ("derain:strength=2", "no strength from 0 to 1"),
        ("derain:strength=", "no strength from 0 to 1"),
        ("denoise:strength=0.5:25", "no number behind its colon"),
        ("sr:2:strength=0.5", "takes no strength"),
    ],
)
def test_steps_that_make_no_sense_are_refused(text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        parse_steps(text)
