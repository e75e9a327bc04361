"""The noise and the compression of people's images are what they claim: spectra, covariances, shares, limits."""

from __future__ import annotations

import pytest
import torch

from restore_cli.tasks import DegradeOptions, get_task
from restore_cli.tasks._camera import camera_noise, demosaiced, from_light, to_light
from restore_cli.tasks._grain import grain
from restore_cli.tasks._jpeg import compress_at_random


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


def flat(count: int, level: float = 0.5, side: int = 64) -> torch.Tensor:
    return torch.full((count, 3, side, side), level)


@pytest.mark.parametrize("curved", [False, True])
def test_a_tone_curve_and_its_inverse_cancel(curved: bool):
    encoded = torch.linspace(0.0, 1.0, 257).view(1, 1, 1, -1)
    gamma, bent = torch.full((1, 1, 1, 1), 2.2), torch.full((1, 1, 1, 1), curved)
    torch.testing.assert_close(from_light(to_light(encoded, gamma, bent), gamma, bent), encoded, atol=2e-3, rtol=0)


def test_demosaicing_keeps_flat_colours_and_the_pixels_of_each_colour():
    colours = torch.tensor([0.2, 0.5, 0.8]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    for row in (0, 1):
        for column in (0, 1):
            torch.testing.assert_close(demosaiced(colours, row, column), colours)
    image = torch.rand(1, 3, 8, 8, generator=generator())
    kept = demosaiced(image, 0, 1)
    assert torch.equal(kept[:, 0, ::2, 1::2], image[:, 0, ::2, 1::2])
    assert torch.equal(kept[:, 2, 1::2, ::2], image[:, 2, 1::2, ::2])
    assert torch.equal(kept[:, 1, ::2, ::2], image[:, 1, ::2, ::2])


def test_a_cameras_noise_lies_in_the_low_frequencies_and_has_no_offset():
    noise = camera_noise(flat(64), generator())
    spectrum = torch.fft.rfft2(noise[:, 0]).abs().square().mean(0)
    assert spectrum[1:8, 1:8].mean() > 2.0 * spectrum[24:32, 24:32].mean()
    deviations = noise.flatten(1).std(1)
    assert deviations.max() > 5 * deviations.min()
    assert noise.mean().abs() < 0.02


def test_a_clean_image_keeps_its_detail_under_a_cameras_noise():
    """What demosaicing would blur is no part of the noise: without noise nothing is added."""
    stripes = torch.rand(32, 3, 32, 32, generator=generator(1))
    noise = camera_noise(stripes, generator())
    wanted = stripes - stripes.mean((2, 3), keepdim=True)
    assert abs(correlation(noise, wanted)) < 0.1


def test_grain_is_shared_by_the_colours_in_some_images_and_not_in_others():
    noise = grain(flat(200), torch.full((200,), 0.1), generator())
    between = [correlation(image[0], image[2]) for image in noise]
    shared = sum(value > 0.99 for value in between) / len(between)
    separate = sum(abs(value) < 0.05 for value in between) / len(between)
    assert 0.3 < shared < 0.6
    assert 0.15 < separate < 0.5


def test_grain_has_the_level_asked_for_and_is_coarse_in_some_images():
    noise = grain(flat(200), torch.full((200,), 0.1), generator())
    assert noise.std() == pytest.approx(0.1, rel=0.1)
    beside = torch.tensor([correlation(image[:, :, 1:], image[:, :, :-1]) for image in noise])
    assert 0.1 < (beside > 0.15).float().mean() < 0.5


@pytest.mark.parametrize("quality", [10.0, 60.0])
def test_compression_at_random_draws_samplings_and_grids(quality: int):
    image = torch.rand(1, 3, 48, 48, generator=generator(2)).expand(24, -1, -1, -1)
    levels = torch.full((24,), quality)
    one, two = (compress_at_random(image, levels, generator(seed)) for seed in (0, 1))
    assert one.shape == image.shape
    assert len({tuple(result.flatten().tolist()) for result in one}) == 3
    assert not torch.equal(one, two)


def test_the_chain_leaves_gray_gray_and_keeps_the_papers_noise_beyond_white():
    levels = torch.randint(0, 256, (256, 1, 16, 16), generator=generator(3))
    clean = (levels / 255.0).expand(-1, 3, -1, -1).contiguous()
    options = DegradeOptions(variant="chain", sigma_range=(0.0, 55.0))
    degraded = get_task("denoise").degrade(clean, options, generator())
    assert torch.equal(degraded, degraded[:, :1].expand_as(degraded))
    beyond = (degraded.flatten(1).amax(1) > 1.0).float().mean()
    assert 0.2 < beyond < 0.4
    changed = (degraded - clean).abs().flatten(1).amax(1)
    assert 0.0 < (changed == 0.0).float().mean() < 0.1


TASK = get_task("denoise")


def test_the_level_of_half_of_the_images_is_known_and_is_that_of_their_noise():
    clean = torch.full((256, 3, 32, 32), 0.5)
    options = DegradeOptions(sigma_range=(0.0, 50.0))
    noisy, level = TASK.degrade_and_measure(clean, options, torch.Generator().manual_seed(0))
    assert torch.equal(noisy, TASK.degrade(clean, options, torch.Generator().manual_seed(0)))
    known = level >= 0
    assert 0.4 < float(known.float().mean()) < 0.6
    torch.testing.assert_close(level[known], (noisy - clean)[known].flatten(1).std(1))


def test_what_was_only_compressed_has_the_level_of_its_quality_and_a_clean_image_any():
    clean = torch.full((256, 3, 32, 32), 0.5)
    options = DegradeOptions(sigma_range=(30.0, 50.0), variant="chain")
    degraded, level = TASK.degrade_and_measure(clean, options, torch.Generator().manual_seed(0))
    quiet = (degraded - clean).flatten(1).std(1) < 0.001
    assert 0.15 < float(quiet.float().mean()) < 0.4
    told = 255.0 * level[quiet & (level >= 0)]
    falsely = told >= 30.0  # to what nothing was done to, any level of the range is told
    assert 0.1 < float(falsely.float().mean()) < 0.4, "6 of the 26 in a hundred that have no noise"
    compressed = told[~falsely]
    assert (compressed < 29.0).all(), "quality 5 stands for noise of 28 levels"
    assert 0.2 < float((compressed > 5.0).float().mean()) < 0.7, "of qualities of 5 to 99, the lower half"


def test_the_level_that_stands_for_a_jpeg_falls_with_its_quality():
    clean = torch.rand((64, 3, 32, 32), generator=generator())
    levels = []
    for quality in (1, 10, 30, 50, 75, 90, 100):
        options = DegradeOptions(quality_range=(quality, quality))
        degraded, level = get_task("dejpeg").degrade_and_measure(clean, options, generator())
        assert torch.equal(degraded, get_task("dejpeg").degrade(clean, options, generator()))
        known = level >= 0
        assert 0.3 < float(known.float().mean()) < 0.7
        one = float(level[known][0])
        assert (level[known] == one).all()
        levels.append(255.0 * one)
    assert levels == sorted(levels, reverse=True)
    assert levels[0] < 50.1, "the strongest noise that a network is trained on"
    assert levels[-1] == 0.0
