"""Degradations are functions of the image and the generator's state, of the stated strength and range."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from restore_cli.tasks import DegradeOptions, get_task, task_names
from restore_cli.tasks._jpeg import Sampling, compress_jpeg
from restore_cli.tasks._kernels import (
    disc_kernels,
    filter_each,
    gaussian_kernels,
    line_kernels,
    trajectory_kernels,
)

FORMS = [(name, variant) for name in task_names() for variant in (None, *get_task(name).variants)]


def degraded(name: str, variant: str | None, clean: torch.Tensor, seed: int = 1, **options: object) -> torch.Tensor:
    scale = 2 if name == "sr" else 1
    chosen = DegradeOptions(scale=scale, variant=variant, **options)  # type: ignore[arg-type]
    return get_task(name).degrade(clean, chosen, torch.Generator().manual_seed(seed))


def smooth_images(count: int = 4, side: int = 64) -> torch.Tensor:
    small = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(small, size=(side, side), mode="bilinear")


@pytest.mark.parametrize(("name", "variant"), FORMS)
def test_the_same_generator_state_gives_the_same_images(name: str, variant: str | None):
    clean = smooth_images()
    assert torch.equal(degraded(name, variant, clean), degraded(name, variant, clean))


@pytest.mark.parametrize(("name", "variant"), [form for form in FORMS if form != ("sr", None)])
def test_another_generator_state_gives_other_images(name: str, variant: str | None):
    clean = smooth_images()
    assert not torch.equal(degraded(name, variant, clean), degraded(name, variant, clean, seed=2))


@pytest.mark.parametrize(("name", "variant"), FORMS)
def test_every_image_of_a_batch_is_degraded_in_its_own_way(name: str, variant: str | None):
    if (name, variant) == ("sr", None):
        pytest.skip("the plain reduction draws nothing")
    clean = smooth_images(1).repeat(3, 1, 1, 1)
    results = degraded(name, variant, clean)
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[1], results[2])


@pytest.mark.parametrize(("name", "variant"), FORMS)
def test_size_and_range_are_kept(name: str, variant: str | None):
    clean = smooth_images()
    result = degraded(name, variant, clean)
    side = 32 if name == "sr" else 64
    assert result.shape == (4, 3, side, side)
    assert result.dtype == torch.float32
    if (name, variant) not in {("denoise", None), ("denoise", "mixed"), ("denoise", "chain")}:
        assert result.min() >= 0.0
        assert result.max() <= 1.0


@pytest.mark.parametrize(
    ("name", "variant"), [form for form in FORMS if form[0] == "denoise" or form == ("sr", "photo")]
)
def test_gray_images_are_degraded_too(name: str, variant: str | None):
    assert degraded(name, variant, smooth_images()[:, :1].contiguous()).shape[1] == 1


@pytest.mark.parametrize("name", task_names())
def test_an_unknown_variant_is_refused_where_a_task_has_variants(name: str):
    if not get_task(name).variants:
        pytest.skip("has no variants")
    with pytest.raises(ValueError, match="unknown variant"):
        degraded(name, "martian", smooth_images())


def test_noise_has_the_level_asked_for_and_is_neither_clipped_nor_rounded():
    clean = torch.zeros(1, 3, 256, 256)
    noise = degraded("denoise", None, clean, sigma_range=(25.0, 25.0))
    assert abs(float(noise.std()) * 255 - 25.0) < 0.3
    assert abs(float(noise.mean()) * 255) < 0.3
    assert noise.min() < -0.2


def test_noise_levels_fill_their_range():
    clean = torch.zeros(200, 1, 32, 32)
    levels = degraded("denoise", None, clean, sigma_range=(0.0, 50.0)).std(dim=(1, 2, 3)) * 255
    assert levels.min() < 4
    assert levels.max() > 46
    assert abs(float(levels.mean()) - 25.0) < 3


def test_8bit_noise_is_the_plain_noise_as_a_file_holds_it():
    clean = smooth_images()
    plain, filed = degraded("denoise", None, clean), degraded("denoise", "8bit", clean)
    assert torch.equal(filed, (plain.clamp(0, 1) * 255).round() / 255)


def test_real_noise_grows_with_the_light():
    options = {"sigma_range": (20.0, 20.0)}
    spread = [
        degraded("denoise", "real", torch.full((16, 3, 64, 64), level), **options).std(dim=(1, 2, 3)).mean()
        for level in (0.3, 0.7)
    ]
    # The level is fixed, and so is the mean variance: what differs is the share of each brightness within an image.
    ramp = torch.linspace(0.2, 0.8, 64).expand(16, 3, 64, 64)
    noise = degraded("denoise", "real", ramp, **options) - ramp
    assert noise[..., 48:].std() > 1.15 * noise[..., :16].std()
    assert all(0.5 < float(level) * 255 / 20 < 1.5 for level in spread)


def test_rain_only_adds_light_and_only_to_few_pixels_unless_there_is_mist():
    clean = torch.full((64, 3, 128, 128), 0.4)
    rain = degraded("derain", None, clean) - clean
    assert rain.min() >= -0.5 / 255 - 1e-6
    wet = (rain > 8 / 255).float().mean(dim=(1, 2, 3))
    misty = rain.flatten(1).quantile(0.1, dim=1) > 2 / 255
    assert 2 <= int(misty.sum()) <= 20
    assert wet[~misty].quantile(0.9) < 0.6
    assert 0.03 < float(wet[~misty].mean()) < 0.35
    assert float(rain.amax(dim=(1, 2, 3)).median()) > 0.2


def test_rain_is_not_seen_before_what_is_as_bright():
    assert torch.equal(degraded("derain", None, torch.ones(16, 3, 64, 64)), torch.ones(16, 3, 64, 64))
    before_dark, before_sky = (
        (degraded("derain", None, torch.full((32, 3, 64, 64), level)) - level).mean() for level in (0.2, 0.9)
    )
    assert before_sky < 0.4 * before_dark


def test_rain_is_gray_and_falls_in_one_direction():
    clean = torch.full((8, 3, 128, 128), 0.3)
    rain = degraded("derain", None, clean) - clean
    assert (rain - rain.mean(dim=1, keepdim=True)).abs().max() < 1e-5
    vertical = (rain[..., 4:, :] - rain[..., :-4, :]).abs().mean()
    horizontal = (rain[..., :, 4:] - rain[..., :, :-4]).abs().mean()
    assert vertical < 0.8 * horizontal


def test_low_light_is_dark_and_keeps_what_is_bright_brighter():
    ramp = torch.linspace(0.1, 1.0, 64).expand(64, 3, 64, 64)
    dark = degraded("lowlight", None, ramp)
    levels = dark.mean(dim=(1, 2, 3)) / ramp.mean()
    assert levels.quantile(0.1) < 0.15
    assert levels.median() < 0.45
    brighter = dark[..., 48:].mean(dim=(1, 2, 3)) > dark[..., :16].mean(dim=(1, 2, 3))
    assert brighter.float().mean() > 0.75, "a lamp may stand where the ramp is dark"


def test_lamps_and_windows_stay_bright_in_some_images_of_low_light():
    gray = torch.full((256, 3, 64, 64), 0.4)
    dark = degraded("lowlight", None, gray).mean(dim=1).flatten(1)
    contrast = dark.quantile(0.999, dim=1) / dark.median(dim=1).values.clamp_min(1 / 255)
    assert 0.15 < float((contrast > 2.5).float().mean()) < 0.5
    assert dark.max() < 0.55, "no lamp is brighter than it was in the good image, but for casts"


def test_some_images_of_low_light_are_normal_and_some_have_a_cast():
    clean = smooth_images(1).repeat(200, 1, 1, 1)
    dark = degraded("lowlight", "mixed", clean)
    change = (dark - clean).abs().mean(dim=(1, 2, 3))
    assert 0.04 < float((change < 1.5 / 255).float().mean()) < 0.18  # JPEG and rounding are all that happened to them
    colors = dark.mean(dim=(2, 3)).clamp_min(1 / 255) / clean.mean(dim=(2, 3))
    casts = colors.amax(dim=1) / colors.amin(dim=1)
    assert casts.quantile(0.3) < 1.2
    assert casts.quantile(0.9) > 1.25


def test_blur_is_of_light_or_of_encoded_values():
    """Of black and white stripes blurred away encoded values leave the middle, and linear light more than it."""
    stripes = (torch.arange(64) % 2).float().expand(64, 3, 64, 64)
    flat = degraded("deblur", "defocus", stripes)
    washed_out = flat[flat.std(dim=(1, 2, 3)) < 0.05].mean(dim=(1, 2, 3))
    encoded = (washed_out - 0.5).abs() < 0.02
    assert 0.1 < float(encoded.float().mean()) < 0.5
    assert washed_out[~encoded].min() > 0.6


@pytest.mark.parametrize("variant", ["motion", "defocus"])
def test_blur_keeps_flat_images_and_smooths_detail(variant: str):
    flat = torch.full((4, 3, 64, 64), 0.5)
    assert (degraded("deblur", variant, flat) - flat).abs().mean() < 2 / 255
    detail = (torch.arange(64) % 2).float().expand(4, 3, 64, 64)
    assert degraded("deblur", variant, detail).std() < 0.8 * detail.std()


@pytest.mark.parametrize("name", ["deblur", "derain", "lowlight"])
def test_a_few_images_of_a_mixture_are_left_as_they_are(name: str):
    detail = (torch.arange(64) % 2).float().expand(64, 3, 64, 64)
    left, usual = (
        float(((degraded(name, variant, detail) - detail).abs().amax((1, 2, 3)) < 0.05).float().mean())
        for variant in ("mixed", None)
    )
    assert usual + 0.02 < left < 0.3


def test_super_resolution_inputs_are_matlabs_when_plain():
    from restore_cli.imaging.resize import downscale_matlab

    clean = torch.randint(0, 256, (1, 3, 24, 36), generator=torch.Generator().manual_seed(0))
    lr = degraded("sr", None, clean / 255)
    expected = downscale_matlab(clean[0].permute(1, 2, 0).numpy().astype(np.uint8), 2)
    assert np.array_equal((lr[0] * 255).round().permute(1, 2, 0).numpy().astype(np.uint8), expected)


def test_sizes_that_the_scale_does_not_divide_are_refused():
    with pytest.raises(ValueError, match="no multiple"):
        degraded("sr", "photo", torch.zeros(1, 3, 33, 32))


@pytest.mark.parametrize("quality", [40, 75, 95])
@pytest.mark.parametrize(("sampling", "pillows"), [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)])
def test_jpeg_loses_what_a_real_encoder_loses(quality: int, sampling: Sampling, pillows: int):
    """Pillow's libjpeg is the reference: our result is far nearer to its result than to the original."""
    generator = torch.Generator().manual_seed(0)
    image = (smooth_images(1, 80) + 0.05 * torch.randn(1, 3, 80, 80, generator=generator)).clamp(0, 1)
    original = (image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(original).save(file, "JPEG", quality=quality, subsampling=pillows)
    reference = np.asarray(Image.open(file)).astype(float)
    ours = compress_jpeg(
        torch.from_numpy(original.copy()).permute(2, 0, 1)[None] / 255,
        torch.tensor([float(quality)]),
        sampling=sampling,
    )
    ours_8bit = (ours[0] * 255).round().permute(1, 2, 0).numpy()
    distance = math.sqrt(((ours_8bit - reference) ** 2).mean())
    loss = math.sqrt(((original - reference) ** 2).mean())
    assert distance < 0.35 * loss + 0.7
    assert abs(math.sqrt(((ours_8bit - original) ** 2).mean()) / loss - 1) < 0.05


def test_jpeg_of_lower_quality_loses_more():
    image = smooth_images(1).repeat(2, 1, 1, 1) + 0.1 * torch.rand(
        2, 3, 64, 64, generator=torch.Generator().manual_seed(0)
    )
    image = image.clamp(0, 1)
    result = compress_jpeg(image, torch.tensor([30.0, 95.0]))
    errors = ((result - image) ** 2).mean(dim=(1, 2, 3))
    assert errors[0] > 1.5 * errors[1]


def test_kernels_sum_to_one_and_are_centred():
    generator = torch.Generator().manual_seed(0)
    value, angle = torch.tensor([0.8, 3.0]), torch.tensor([0.3, 2.0])
    axis = torch.arange(31.0) - 15
    for kernels in (
        gaussian_kernels(value, value / 2, angle, 31),
        line_kernels(4 * value, value / 2, angle, 31),
        disc_kernels(value, 31),
        trajectory_kernels(4 * value, 31, generator),
    ):
        assert torch.allclose(kernels.sum(dim=(1, 2)), torch.ones(2), atol=1e-5)
        assert ((kernels.sum(dim=2) * axis).sum(dim=1).abs() < 0.5).all()
        assert ((kernels.sum(dim=1) * axis).sum(dim=1).abs() < 0.5).all()


def test_each_image_is_filtered_with_its_own_kernel():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    identity, shift = torch.zeros(3, 3), torch.zeros(3, 3)
    identity[1, 1], shift[1, 2] = 1.0, 1.0
    result = filter_each(images, torch.stack([identity, shift]))
    torch.testing.assert_close(result[0], images[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(result[1, :, :, :-1], images[1, :, :, 1:], atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (37, 61)])
def test_filtering_by_spectra_is_filtering_place_by_place(size: tuple[int, int]):
    generator = torch.Generator().manual_seed(0)
    images, kernels = torch.rand(2, 3, *size, generator=generator), torch.rand(2, 31, 31, generator=generator)
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    for image, kernel, result in zip(images, kernels, filter_each(images, kernels), strict=True):
        padded = torch.nn.functional.pad(image[:, None], (15, 15, 15, 15), mode="reflect")
        expected = torch.nn.functional.conv2d(padded, kernel[None, None])[:, 0]
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_compressed_images_are_of_every_quality_asked_for_and_gray_stays_gray():
    generator = torch.Generator().manual_seed(0)
    clean = (smooth_images(1) + 0.08 * torch.randn(1, 3, 64, 64, generator=generator)).clamp(0, 1)
    batch = clean.repeat(64, 1, 1, 1)

    def losses(low: int, high: int) -> torch.Tensor:
        return (degraded("dejpeg", None, batch, quality_range=(low, high)) - batch).std(dim=(1, 2, 3)) * 255

    assert losses(10, 10).min() > losses(95, 95).median()
    every = losses(5, 100)
    assert every.min() < losses(95, 95).median()
    assert every.max() > losses(10, 10).median()
    gray = clean[:, :1].expand(-1, 3, -1, -1).contiguous()
    result = degraded("dejpeg", None, gray)
    assert torch.equal(result[:, 0], result[:, 2])
    assert torch.equal(degraded("dejpeg", None, gray[:, :1])[:, 0], result[:, 0])


def test_some_images_were_compressed_before():
    clean = (smooth_images(1) + 0.05).clamp(0, 1).repeat(64, 1, 1, 1)
    loss = (degraded("dejpeg", None, clean, quality_range=(100, 100)) - clean).std(dim=(1, 2, 3))
    # One image compressed once at one quality comes out in three ways, one for each sampling of its chroma.
    levels, counts = loss.mul(1e5).round().unique(return_counts=True)
    once = sorted(zip(counts.tolist(), levels.tolist(), strict=True), reverse=True)[:3]
    assert 0.6 < sum(count for count, _ in once) / 64 < 0.9
    assert float(loss.max()) * 1e5 > 2 * max(level for _, level in once)


def test_photos_tell_half_of_their_last_qualities_and_none_where_they_are_no_jpeg():
    clean = torch.rand((512, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    options = DegradeOptions(scale=2, variant="photo")
    degraded, level = get_task("sr").degrade_and_measure(clean, options, torch.Generator().manual_seed(1))
    assert torch.equal(degraded, get_task("sr").degrade(clean, options, torch.Generator().manual_seed(1)))
    told = level[level >= 0]
    assert 0.3 < len(told) / len(level) < 0.5, "85 % are JPEG, some of them edited since, and half of these are told"
    assert 0.1 < float((255.0 * told > 5.0).float().mean()) < 0.5, "qualities of 25 to 98"


def test_plain_reductions_have_no_level():
    clean = torch.rand((8, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    _, level = get_task("sr").degrade_and_measure(clean, DegradeOptions(scale=2), torch.Generator().manual_seed(1))
    assert (level == -1.0).all()
