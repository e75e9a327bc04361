"""Candidates are scored on the same pixels, and what fails is told and left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restore_cli.errors import ImageError
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.scoring.candidates import Candidate, floor_candidate
from restore_cli.scoring.pairs import find_pairs
from restore_cli.scoring.protocol import ScoringRequest, choose_protocol
from restore_cli.scoring.report import CandidateFacts
from restore_cli.scoring.sample import as_8bit
from restore_cli.scoring.score import Outcome, score_images


def folder_of(path: Path, *names: str, height: int = 40, width: int = 52) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        ramp = np.add.outer(np.arange(height) * 4, np.arange(width) * 2)[..., np.newaxis] % 256
        texture = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
        Image.fromarray(np.clip(ramp + texture, 0, 255).astype(np.uint8)).save(path / name)
    return path


def half_the_way(label: str = "mean") -> Candidate:
    """A candidate that pulls every value half the way to middle gray."""

    def restore(image: DecodedImage) -> DecodedImage:
        return replace(image, pixels=(image.pixels + 0.5) / 2)

    return Candidate(facts=CandidateFacts(label=label), restore=restore)


def test_scores_agree_with_an_independent_reference(tmp_path: Path) -> None:
    pairs = find_pairs(folder_of(tmp_path, "a.png"))
    protocol = choose_protocol(ScoringRequest(task="denoise", paired=False, sigma=25.0))
    (outcome,) = score_images(pairs, protocol, [floor_candidate(protocol), half_the_way()], {})
    assert outcome.sample is not None
    clean = outcome.sample.clean
    for score in outcome.scores:
        restored = outcome.restored[score.candidate]
        _, similarity = structural_similarity(
            restored, clean, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
            channel_axis=2,
        )  # fmt: skip
        assert score.values["psnr"] == pytest.approx(peak_signal_noise_ratio(clean, restored), abs=1e-6)
        assert score.values["ssim"] == pytest.approx(similarity[5:-5, 5:-5].mean(), abs=1e-6)


def test_the_floor_of_a_task_of_equal_size_is_the_input_as_an_image_would_hold_it(tmp_path: Path) -> None:
    pairs = find_pairs(folder_of(tmp_path, "a.png"))
    protocol = choose_protocol(ScoringRequest(task="denoise", paired=False, sigma=50.0))
    (outcome,) = score_images(pairs, protocol, [floor_candidate(protocol)], {})
    assert outcome.sample is not None
    np.testing.assert_array_equal(outcome.restored["identity"], as_8bit(outcome.sample.degraded))


def test_an_exact_result_scores_infinity(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a.png")
    protocol = choose_protocol(ScoringRequest(task="derain", paired=True))
    (outcome,) = score_images(find_pairs(folder, folder), protocol, [floor_candidate(protocol)], {})
    assert outcome.scores[0].values == {"psnr_y": np.inf, "ssim_y": pytest.approx(1.0)}


def test_a_file_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a.png", "c.png")
    (folder / "b.png").write_bytes(b"no image")
    protocol = choose_protocol(ScoringRequest(task="derain", paired=False))
    outcomes = list(score_images(find_pairs(folder), protocol, [floor_candidate(protocol)], {}))
    assert [outcome.name for outcome in outcomes] == ["a", "b", "c"]
    assert [len(outcome.scores) for outcome in outcomes] == [1, 0, 1]
    (failure,) = outcomes[1].failures
    assert "b.png" in failure.reason


def test_a_candidate_that_fails_leaves_the_others_their_scores(tmp_path: Path) -> None:
    def refuse(_: DecodedImage) -> DecodedImage:
        raise ImageError("too much for me")

    broken = Candidate(facts=CandidateFacts(label="broken"), restore=refuse)
    protocol = choose_protocol(ScoringRequest(task="derain", paired=False))
    pairs = find_pairs(folder_of(tmp_path, "a.png"))
    (outcome,) = score_images(pairs, protocol, [floor_candidate(protocol), broken, half_the_way()], {})
    assert [score.candidate for score in outcome.scores] == ["identity", "mean"]
    assert [(failure.candidate, failure.reason) for failure in outcome.failures] == [("broken", "too much for me")]


def test_an_extra_metric_stands_after_the_tasks_own(tmp_path: Path) -> None:
    protocol = choose_protocol(ScoringRequest(task="sr", paired=False, scale=2, lpips=True))
    borders: list[int] = []

    def distance(restored: np.ndarray, clean: np.ndarray, border: int) -> float:
        borders.append(border)
        return float(np.abs(restored.astype(int) - clean).mean())

    pairs = find_pairs(folder_of(tmp_path, "a.png"))
    (outcome,) = score_images(pairs, protocol, [floor_candidate(protocol)], {"lpips": distance})
    assert list(outcome.scores[0].values) == ["psnr_y", "ssim_y", "lpips"]
    assert borders == [2]


def test_an_outcome_without_its_pixels_keeps_its_scores(tmp_path: Path) -> None:
    protocol = choose_protocol(ScoringRequest(task="lowlight", paired=False))
    (outcome,) = score_images(find_pairs(folder_of(tmp_path, "a.png")), protocol, [floor_candidate(protocol)], {})
    light: Outcome = outcome.without_pixels()
    assert (light.scores, light.sample, light.restored) == (outcome.scores, None, {})


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(("scale", "published"), [(2, 33.64), (3, 30.39), (4, 28.42)])
def test_published_bicubic_figures_are_ours_with_the_luma_rounded_to_8_bit(
    shared: Path, scale: int, published: float
) -> None:
    folder = shared / "data" / "test" / "set5"
    protocol = replace(choose_protocol(ScoringRequest(task="sr", paired=True, scale=scale)), metrics=("psnr_y",))
    pairs = find_pairs(folder / "HR", folder / "LR_bicubic" / f"X{scale}", scale=scale)
    ours, rounded = [], []
    for outcome in score_images(pairs, protocol, [floor_candidate(protocol)], {}):
        assert outcome.sample is not None
        lumas = [
            np.rint(16 + image[scale:-scale, scale:-scale].astype(float) @ np.array([65.481, 128.553, 24.966]) / 255)
            for image in (outcome.restored["bicubic"], outcome.sample.clean)
        ]
        rounded.append(peak_signal_noise_ratio(*lumas, data_range=255))
        ours.append(outcome.scores[0].values["psnr_y"])
    assert np.mean(rounded) == pytest.approx(published, abs=0.01)
    assert np.mean(ours) == pytest.approx(published, abs=0.04)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(("sigma", "published"), [(15.0, 25.11), (25.0, 20.89), (50.0, 15.37)])
def test_noisy_inputs_of_mcmaster_have_the_published_figures(shared: Path, sigma: float, published: float) -> None:
    protocol = replace(choose_protocol(ScoringRequest(task="denoise", paired=False, sigma=sigma)), metrics=("psnr",))
    outcomes = score_images(
        find_pairs(shared / "data" / "test" / "mcmaster"), protocol, [floor_candidate(protocol)], {}
    )
    values = [outcome.scores[0].values["psnr"] for outcome in outcomes]
    assert len(values) == 18
    assert np.mean(values) == pytest.approx(published, abs=0.006)


@pytest.mark.slow
@pytest.mark.shared
def test_rainy_inputs_of_rain100l_have_the_published_figure(shared: Path) -> None:
    protocol = replace(choose_protocol(ScoringRequest(task="derain", paired=True)), metrics=("psnr_y",))
    folder = shared / "data" / "test" / "rain100l"
    outcomes = score_images(find_pairs(folder / "HQ", folder / "LQ"), protocol, [floor_candidate(protocol)], {})
    values = [outcome.scores[0].values["psnr_y"] for outcome in outcomes]
    assert len(values) == 20
    assert np.mean(values) == pytest.approx(26.18, abs=0.006)
