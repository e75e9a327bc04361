"""A protocol is chosen by task and input, says what it is, and refuses what makes no sense."""

from __future__ import annotations

import pytest

from restore_cli.errors import UsageError
from restore_cli.scoring.protocol import Protocol, ProtocolName, ScoringRequest, choose_protocol


def test_super_resolution_is_scored_on_luma_with_the_factor_cut_off() -> None:
    protocol = choose_protocol(ScoringRequest(task="sr", paired=False, scale=3))
    assert protocol.name == "paper"
    assert protocol.metrics == ("psnr_y", "ssim_y")
    assert protocol.crop_border == 3
    assert protocol.statement == (
        "MATLAB bicubic input; Y channel (BT.601); 3 px border cut; 8-bit comparison; "
        "mean of per-image scores, PSNR in dB"
    )


@pytest.mark.parametrize(
    ("request_", "name", "input_kind"),
    [
        (ScoringRequest(task="sr", paired=True, scale=2), "paper", "files"),
        (ScoringRequest(task="sr", paired=False, scale=4, variant="photo"), "synthetic", "synthetic"),
        (ScoringRequest(task="denoise", paired=False, sigma=25.0), "paper", "float-noise"),
        (ScoringRequest(task="denoise", paired=False, sigma=25.0, protocol="8bit"), "8bit", "8bit-noise"),
        (ScoringRequest(task="denoise", paired=False, sigma=25.0, variant="real"), "synthetic", "synthetic"),
        (ScoringRequest(task="denoise", paired=True), "paper", "files"),
        (ScoringRequest(task="derain", paired=True), "paper", "files"),
        (ScoringRequest(task="derain", paired=False), "synthetic", "synthetic"),
        (ScoringRequest(task="lowlight", paired=False), "synthetic", "synthetic"),
        (ScoringRequest(task="deblur", paired=False, variant="motion"), "synthetic", "synthetic"),
    ],
)
def test_the_usual_protocol_follows_from_task_and_input(
    request_: ScoringRequest, name: ProtocolName, input_kind: str
) -> None:
    protocol = choose_protocol(request_)
    assert (protocol.name, protocol.input) == (name, input_kind)


@pytest.mark.parametrize(
    ("request_", "hint"),
    [
        (ScoringRequest(task="sr", paired=False, scale=4, protocol="8bit"), "use paper"),
        (ScoringRequest(task="denoise", paired=True, protocol="8bit"), "use paper"),
        (ScoringRequest(task="derain", paired=False, protocol="paper"), "use synthetic"),
        (ScoringRequest(task="denoise", paired=False, sigma=25.0, protocol="synthetic"), "use paper or 8bit"),
    ],
)
def test_a_protocol_that_does_not_fit_is_refused_with_those_that_do(request_: ScoringRequest, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        choose_protocol(request_)


def test_making_noise_needs_its_level() -> None:
    with pytest.raises(UsageError, match="--sigma"):
        choose_protocol(ScoringRequest(task="denoise", paired=False))


def test_the_subject_names_task_and_parameters() -> None:
    def subject(request_: ScoringRequest) -> str:
        return choose_protocol(request_).subject

    assert subject(ScoringRequest(task="sr", paired=True, scale=4)) == "sr x4"
    assert subject(ScoringRequest(task="denoise", paired=False, sigma=25.0, channels=1)) == "denoise gray sigma 25"
    assert subject(ScoringRequest(task="deblur", paired=True, variant="motion")) == "deblur motion"


def test_lpips_comes_after_the_tasks_own_metrics() -> None:
    protocol: Protocol = choose_protocol(ScoringRequest(task="derain", paired=True, lpips=True))
    assert protocol.metrics == ("psnr_y", "ssim_y", "lpips")
