"""Steps of a chain are read as typed, and what makes no sense is refused before anything is loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from restore_cli.errors import UsageError
from restore_cli.jobs.steps import parse_steps, suffix_of_steps


def test_results_are_named_after_all_steps() -> None:
    assert suffix_of_steps(parse_steps("derain, denoise:5, sr:3")) == "_derained_denoised_x3"


def test_what_stands_behind_colons_has_no_order() -> None:
    assert replace(parse_steps("denoise:strength=0.5:25")[0], text="") == replace(
        parse_steps("denoise:25:strength=0.5")[0], text=""
    )


def test_a_step_may_be_of_a_special_form() -> None:
    ids = [step.entry().id for step in parse_steps("sr:2:photo,sr:photo:2,sr@unet-sr-x2-photo")]
    assert ids == ["unet-sr-x2-photo"] * 3


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
        ("denoise:x", "takes no 'x'; write denoise:25, denoise:auto, denoise:real"),
        ("derain:photo", "takes no 'photo'; write derain:strength=0.5"),
        ("deblur:motion:defocus", "says one thing twice"),
        ("denoise:auto:25", "says one thing twice"),
        ("derain:3", "takes no number"),
        ("sr:4,sr:4,sr:2", "enlarges 32 times"),
        ("derain:strength=2", "no strength from 0 to 1"),
        ("derain:strength=", "no strength from 0 to 1"),
        ("sr:2:3", "says one thing twice"),
        ("sr:2:strength=0.5", "takes no strength"),
    ],
)
def test_steps_that_make_no_sense_are_refused(text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        parse_steps(text)
