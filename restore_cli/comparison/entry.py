"""One image before and after, as small as a page needs it: two views of it, the numbers, and where the files lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from restore_cli.comparison.change import CELL_PIXELS, Change, measure_change, place_before
from restore_cli.imaging.decoded_image import DecodedImage, FloatImage
from restore_cli.imaging.encode import encode
from restore_cli.imaging.resize import matlab_bicubic
from restore_cli.metrics.psnr import psnr
from restore_cli.metrics.ssim import ssim

# Of the reduced view; the place that changed most is kept without loss.
_QUALITY = 85
_SMALLEST_SIDE_OF_SSIM = 11


@dataclass(frozen=True, kw_only=True)
class Sides:
    """How large views are, in pixels of their longer side: fewer pixels where there are many images.

    Attributes:
        whole: Of the reduced view of the whole image.
        place: Of the place that changed most, a multiple of `CELL_PIXELS`.
    """

    whole: int
    place: int

    @classmethod
    def of(cls, count: int) -> Sides:
        """Choose for so many images on a page, which stays below some 30 MB."""
        if count <= 12:
            return cls(whole=1280, place=8 * CELL_PIXELS)
        if count <= 60:
            return cls(whole=640, place=4 * CELL_PIXELS)
        return cls(whole=256, place=2 * CELL_PIXELS)


@dataclass(frozen=True, kw_only=True)
class ImageView:
    """The same part of an image before and after, as the bytes of WebP files.

    Attributes:
        before: At its own resolution or reduced.
        after: At its own resolution or reduced.
        size: (height, width) that the part has in the image after.
        reduced: Whether `after` has fewer pixels than that.
    """

    before: bytes
    after: bytes
    size: tuple[int, int]
    reduced: bool


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How near two images are to the truth.

    Attributes:
        before: PSNR in dB and SSIM of the image before.
        after: PSNR in dB and SSIM of the image after.
    """

    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image before and after.

    Attributes:
        name: What the page calls it.
        before: The file before, None where none lies there any more.
        after: The file after, None where none was written.
        size_before: (height, width).
        size_after: (height, width).
        change: What was changed.
        whole: The whole image.
        place: The place that changed most, None where that is the whole image.
        weights: Id of the weights that restored it, None where that is unknown.
        seconds: How long it took to restore, None where that is unknown.
        scores: How near both are to the truth, None without one.
        notes: What was decided or lost on the way, a line each.
    """

    name: str
    before: Path | None
    after: Path | None
    size_before: tuple[int, int]
    size_after: tuple[int, int]
    change: Change
    whole: ImageView
    place: ImageView | None
    weights: str | None = None
    seconds: float | None = None
    scores: Scores | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, before: DecodedImage, after: DecodedImage, sides: Sides) -> Entry:
        """Measure two images and keep small views of them.

        Args:
            name: What the page calls them.
            before: Of any size.
            after: Of any size.
            sides: How large views are.

        Raises:
            EncodeError: If an image holds values that are no numbers.
        """
        change = measure_change(before.pixels, after.pixels, side=sides.place)
        size_after = (after.height, after.width)
        return cls(
            name=name,
            before=None,
            after=None,
            size_before=(before.height, before.width),
            size_after=size_after,
            change=change,
            whole=_whole(before, after, sides.whole, lossless=change.box[2:] == size_after),
            place=None if change.box[2:] == size_after else _place(before, after, change),
        )


def scores_of(before: DecodedImage, after: DecodedImage, truth: DecodedImage) -> Scores:
    """Score two images by the truth; the one before is brought to its size by bicubic enlargement.

    Raises:
        ValueError: If the image after has another size than the truth.
    """
    if (after.height, after.width) != (truth.height, truth.width):
        msg = f"it is {truth.width}x{truth.height} pixels, and the image after {after.width}x{after.height}"
        raise ValueError(msg)
    enlarged = matlab_bicubic(before.pixels, truth.height, truth.width)
    channels = max(before.channels, after.channels, truth.channels)
    clean = _levels(truth.pixels, channels)

    def score(pixels: FloatImage) -> tuple[float, float]:
        levels = _levels(pixels, channels)
        similar = ssim(levels, clean) if min(clean.shape[:2]) >= _SMALLEST_SIDE_OF_SSIM else float("nan")
        return psnr(levels, clean), similar

    return Scores(before=score(enlarged), after=score(after.pixels))


def _levels(pixels: FloatImage, channels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    levels = np.rint(pixels.clip(0.0, 1.0) * 255.0).astype(np.uint8)
    return levels if levels.shape[2] == channels else np.repeat(levels, channels, axis=2)


def _whole(before: DecodedImage, after: DecodedImage, side: int, *, lossless: bool) -> ImageView:
    return ImageView(
        before=_webp(_reduced(before, side), lossless=lossless),
        after=_webp(_reduced(after, side), lossless=lossless),
        size=(after.height, after.width),
        reduced=max(after.height, after.width) > side,
    )


def _place(before: DecodedImage, after: DecodedImage, change: Change) -> ImageView:
    top, left, height, width = change.box
    shown = after.pixels[top : top + height, left : left + width]
    return ImageView(
        before=_webp(_plain(place_before(before.pixels, change.box, after.height, after.width)), lossless=True),
        after=_webp(_plain(shown), lossless=True),
        size=(height, width),
        reduced=False,
    )


def _plain(pixels: FloatImage) -> DecodedImage:
    return DecodedImage(pixels=np.ascontiguousarray(pixels))


def _webp(image: DecodedImage, *, lossless: bool) -> bytes:
    return encode(image, format="WEBP", quality=_QUALITY, lossless=lossless)


def _reduced(image: DecodedImage, side: int) -> DecodedImage:
    """Return an image whose longer side is at most so long; only pixels and alpha of it."""
    bare = DecodedImage(pixels=image.pixels, alpha=image.alpha)
    longest = max(image.height, image.width)
    if longest <= side:
        return bare
    height, width = (max(1, round(length * side / longest)) for length in (image.height, image.width))
    alpha = None if image.alpha is None else _shrunk(image.alpha[..., np.newaxis], height, width)[..., 0]
    return replace(bare, pixels=_shrunk(image.pixels, height, width), alpha=alpha)


def _shrunk(pixels: FloatImage, height: int, width: int) -> FloatImage:
    """Shrink by means over whole squares as far as they go, then by the bicubic filter, which is far slower."""
    factor = max(1, min(pixels.shape[0] // height, pixels.shape[1] // width) // 2)
    if factor > 1:
        rows, columns = (length - length % factor for length in pixels.shape[:2])
        squares = pixels[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor, -1)
        pixels = squares.mean(axis=(1, 3), dtype=np.float32)
    return matlab_bicubic(pixels, height, width).clip(0.0, 1.0)
