"""MATLAB's imresize: against its own output files, and against the definition written out as a dense matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from restore_cli.imaging.resize import downscale_matlab, matlab_bicubic

SCALES = (2, 3, 4)


def keys(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def dense_matrix(inputs: int, outputs: int) -> npt.NDArray[np.float64]:
    """Write the definition out: every input, mirrored often enough, weighs in on every output."""
    stretch = min(1.0, outputs / inputs)
    matrix = np.zeros((outputs, inputs))
    for out in range(outputs):
        centre = (out + 0.5) * inputs / outputs - 0.5
        for position in range(-4 * inputs - 40, 5 * inputs + 40):
            mirrored = position % (2 * inputs)
            mirrored = min(mirrored, 2 * inputs - 1 - mirrored)
            matrix[out, mirrored] += keys(stretch * (centre - position))
    return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((12, 18), (6, 9)),
        ((12, 9), (4, 3)),
        ((7, 5), (28, 20)),
        ((9, 14), (27, 7)),
        ((10, 11), (7, 13)),
        ((1, 1), (4, 3)),
    ],
)
def test_resizing_equals_the_definition_written_out(size: tuple[int, int], target: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((*size, 3))
    expected = np.einsum("ah,hwc,bw->abc", dense_matrix(size[0], target[0]), image, dense_matrix(size[1], target[1]))
    np.testing.assert_allclose(matlab_bicubic(image, *target), expected, atol=1e-12)


def test_the_dtype_comes_back_and_float32_is_computed_in_float64() -> None:
    image = np.random.default_rng(1).random((20, 30, 1)).astype(np.float32)
    small = matlab_bicubic(image, 5, 10)
    assert small.dtype == np.float32
    assert np.array_equal(small, matlab_bicubic(image.astype(np.float64), 5, 10).astype(np.float32))


def test_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(2).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    assert np.array_equal(matlab_bicubic(image, 6, 7), image)


def test_a_flat_image_stays_flat() -> None:
    assert np.array_equal(downscale_matlab(np.full((12, 12, 1), 255, np.uint8), 3), np.full((4, 4, 1), 255, np.uint8))


def test_8_bit_passes_are_clipped_and_rounded_half_up_each() -> None:
    image = np.random.default_rng(3).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    down = np.einsum("ah,hwc->awc", dense_matrix(24, 12), image.astype(np.float64))
    down = np.floor(np.clip(down, 0, 255) + 0.5)
    both = np.floor(np.clip(np.einsum("bw,awc->abc", dense_matrix(16, 8), down), 0, 255) + 0.5)
    assert np.array_equal(downscale_matlab(image, 2), both.astype(np.uint8))


@pytest.mark.shared
@pytest.mark.parametrize("scale", SCALES)
def test_set5_is_reproduced_bit_for_bit(shared: Path, scale: int) -> None:
    folder = shared / "data" / "test" / "set5"
    truths = sorted((folder / "HR").glob("*.png"))
    assert len(truths) == 5
    for path in truths:
        truth = np.asarray(Image.open(path).convert("RGB"))
        expected = np.asarray(Image.open(folder / f"LR_bicubic/X{scale}/{path.stem}x{scale}.png").convert("RGB"))
        height, width = truth.shape[0] // scale * scale, truth.shape[1] // scale * scale
        assert np.array_equal(downscale_matlab(truth[:height, :width], scale), expected), path.stem


def test_arguments_that_make_no_sense_are_named() -> None:
    image = np.zeros((6, 7, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(6, 7, 3\).*multiple"):
        downscale_matlab(image, 2)
    with pytest.raises(ValueError, match="float32"):
        downscale_matlab(image.astype(np.float32), 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="uint16"):
        matlab_bicubic(image.astype(np.uint16), 3, 3)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="0x3"):
        matlab_bicubic(image, 0, 3)
    with pytest.raises(ValueError, match=r"\(6, 7\)"):
        matlab_bicubic(image[..., 0], 3, 3)
