"""One image in memory through the network of one weights file.

Stage 5, RUN. What a network of RGB or of gray means for an image of the other kind, and what becomes of alpha, is
settled here; how an image of any size gets through a network is `engine`'s business.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace
from typing import Any, overload

import numpy as np
import torch

from restore_cli.errors import ImageError, UsageError
from restore_cli.imaging.convert import ImageFile, KeptImage, PilImage, converted
from restore_cli.imaging.decoded_image import DecodedImage, FloatImage
from restore_cli.imaging.resize import matlab_bicubic
from restore_cli.inference.conditioned import ConditionedNetwork
from restore_cli.inference.engine import Engine, Restored
from restore_cli.inference.report import NetworkFacts, OnProgress, RunFacts
from restore_cli.models import get_architecture
from restore_cli.settings import RunSettings
from restore_cli.tasks import get_task
from restore_cli.weights.load import LoadedWeights

# BT.601, as Pillow and most tools turn RGB into gray.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# How far beyond [0, 1] pixels may be: five standard deviations of sigma 50 are 1.0, an image in 0..255 reaches 254.
_NOISE_REACH = 2.0


class Restorer:
    """Restore images with one network, loaded once; one image at a time.

    Args:
        weights: The network and what it was trained for.
        settings: How to run it; None lets everything be decided here.

    Raises:
        UsageError: If the settings do not exist or contradict themselves.
        DeviceError: If the device is not there.

    """

    def __init__(self, weights: LoadedWeights, settings: RunSettings | None = None) -> None:
        self._weights = weights
        self._settings = settings or RunSettings()
        entry, arch = weights.entry, get_architecture(weights.entry.arch).of(weights.config)
        if self._settings.strength != 1.0 and entry.scale != 1:
            msg = f"{entry.id} enlarges: its results cannot be blended with their inputs"
            raise UsageError(msg, hint="leave the strength out")
        self._views = arch.views_of(weights.config)
        self._conditioned = ConditionedNetwork(weights.network, arch) if arch.takes_level else None
        self._engine = Engine(
            weights.network if self._conditioned is None else self._conditioned,
            arch,
            channels=entry.channels,
            views=self._views,
            scale=entry.scale,
            settings=self._settings,
            best=entry.context,
            patch=entry.training_patch,
            margin=entry.margin or 0,
        )
        if self._settings.threads is not None:
            torch.set_num_threads(self._settings.threads)

    def __repr__(self) -> str:
        facts = self.describe()
        return f"<{type(self).__name__} {self.weights.entry.id} on {facts.device} in {facts.dtype}>"

    @overload
    def __call__(self, image: ImageFile, *, progress: OnProgress | None = ...) -> PilImage: ...
    @overload
    def __call__(self, image: KeptImage, *, progress: OnProgress | None = ...) -> KeptImage: ...
    @overload
    def __call__(self, image: list[KeptImage], *, progress: OnProgress | None = ...) -> list[KeptImage]: ...
    @overload
    def __call__(self, image: list[Any], *, progress: OnProgress | None = ...) -> list[Any]: ...
    def __call__(self, image: Any, *, progress: OnProgress | None = None) -> Any:
        """Restore an image and return the same kind; what a person should know comes as Python warnings.

        Args:
            image: A file (its path, its bytes, or one that is open for reading bytes), which gives a PIL image; a PIL
                image; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), gray, RGB or RGBA, uint8, uint16, or floats
                in [0, 1]; a tensor of these dtypes, (H, W), (C, H, W) or (N, C, H, W); or a list of any of these, one
                after the other.
            progress: Called with how far the network is, as in `lambda p: print(f"{p.done} of {p.total}")`.

        Raises:
            DecodeError: If a file is no image.
            TypeError: If it is none of these.
            ValueError: If its shape, dtype or range are not as above, or the network does not take its channels.
            RestoreError: As in `restore_pixels`.
        """
        lines: list[str] = []

        def restore_one(one: DecodedImage) -> DecodedImage:
            restored = self.restore_image(one, progress=progress)
            lines.extend(restored.warnings)
            return restored

        result = converted(image, restore_one)
        for line in lines:
            warnings.warn(line, stacklevel=2)
        return result

    @property
    def weights(self) -> LoadedWeights:
        """Return the network and its facts: entry, digest, path."""
        return self._weights

    @property
    def scale(self) -> int:
        """Return the factor from input to output size, 1 for the same size."""
        return self._weights.entry.scale

    @property
    def note(self) -> str | None:
        """Return what a person should know of weights and settings before the first image, None for nothing."""
        entry = self._weights.entry
        invents = (
            f"{entry.id} invents detail: it was trained to look sharp, not to be true" if entry.generative else None
        )
        return "; ".join(filter(None, (invents, self._engine.note))) or None

    def describe(self, size: tuple[int, int] | None = None) -> RunFacts:
        """Return how images are run: as it was requested, or as it comes out for one size.

        Args:
            size: (height, width) of an image in pixels; None for no image in particular.
        """
        engine = self._engine
        tile, context = str(self._settings.tile), str(self._settings.context)
        execution = None
        if size is not None:
            layout = engine.layout(*size)
            tile, context, execution = (
                "off" if layout.tile is None else str(layout.tile),
                layout.context,
                layout.execution,
            )
        return RunFacts(
            device=str(engine.device.device),
            dtype=engine.dtype.name,
            reason=f"{engine.device.device}: {engine.device.reason}; {engine.dtype.name}: {engine.dtype.reason}",
            tile=tile,
            context=context,
            cell=execution.cell if execution is not None and context in {"mixed", "local"} else None,
            share=execution.share if execution is not None and context == "mixed" else None,
        )

    def facts(self) -> NetworkFacts:
        """Return what there is to say of the network before its first image."""
        weights = self.weights
        return NetworkFacts(
            entry=weights.entry,
            digest=weights.digest,
            path=weights.path,
            notes=(*weights.notes, *(() if self.note is None else (self.note,))),
            run=self.describe(),
        )

    def restore_pixels(
        self, pixels: FloatImage, *, stop: threading.Event | None = None, progress: OnProgress | None = None
    ) -> FloatImage:
        """Restore pixels of the network's own kind.

        Args:
            pixels: float32 (H, W, C) in [0, 1], any H and W from 1, C as the network's entry says, and twice that for
                a network that takes two views, the left one first. Noise that was not clipped may reach beyond, as in
                the protocol of papers on denoising.
            stop: Set it to leave the work within moments.
            progress: Called with how far the network is.

        Returns:
            float32 (scale * H, scale * W, C) in [0, 1].

        Raises:
            ValueError: If shape, dtype or range are not as above.
            ImageError: If memory does not suffice on any device, or the result is not finite.
            DeviceError: If the device fails.
            StopRequestedError: If `stop` was set.
        """
        return self._restore(pixels, stop, progress=progress).pixels

    def restore_image(
        self,
        image: DecodedImage,
        *,
        stop: threading.Event | None = None,
        sigma: float | None = None,
        progress: OnProgress | None = None,
    ) -> DecodedImage:
        """Restore an image; everything but size and pixels stays, warnings are added.

        A gray image goes through an RGB network as three equal channels and comes back as their BT.601 luma; an RGB
        image of equal channels goes through a gray network as one of them. Alpha never enters a network: it is
        enlarged bicubically.

        Args:
            image: Any image whose channels the network takes.
            stop: As in `restore_pixels`.
            sigma: Level of this image's noise on the 0..255 scale, for networks that take one; None for the level of
                the settings, or what follows from the image's own compression, or none.
            progress: As in `restore_pixels`.

        Raises:
            ImageError: If the image is in colour and the network gray, and as in `restore_pixels`.
            DeviceError: As in `restore_pixels`.
            StopRequestedError: As in `restore_pixels`.
        """
        if sigma is None and self._settings.sigma is None:
            sigma = self._sigma_of(image)
        restored = self._restore(self._views_of(image), stop, sigma, progress)
        pixels = restored.pixels
        if pixels.shape[2] > image.channels:
            pixels = _luma(pixels)
        elif pixels.shape[2] < image.channels:
            pixels = np.repeat(pixels, image.channels, axis=2)
        return replace(
            image,
            pixels=pixels,
            jpeg=None,  # what comes out is no JPEG any more, whatever a next network would be told of it
            right=None,
            alpha=None if image.alpha is None else self._enlarge_alpha(image.alpha),
            warnings=(*image.warnings, *restored.warnings),
        )

    def _sigma_of(self, image: DecodedImage) -> float | None:
        """Return the noise level that follows from how strongly an image was compressed, None where none does."""
        if image.jpeg is None:
            return None
        rule = get_task(self._weights.entry.task).sigma_of_jpeg
        return None if rule is None else rule(image.jpeg.quality)

    def _views_of(self, image: DecodedImage) -> FloatImage:
        """Return what goes in of an image: its pixels, and behind them those of the other view where there are two."""
        entry = self._weights.entry
        if self._views == 1 and image.right is None:
            return self._in_channels_of_the_network(image.pixels)
        if image.right is None:
            msg = f"{entry.id} restores two views of a scene, and this is one"
            raise ImageError(msg, hint="name the other with `restore deblur --kind dual-pixel --right PATH`")
        if self._views == 1:
            raise ImageError(f"{entry.id} restores one image, not two views", hint="leave --right out")
        if image.right.shape != image.pixels.shape:
            sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (image.pixels, image.right)]
            kinds = ["color" if pixels.shape[2] == 3 else "gray" for pixels in (image.pixels, image.right)]
            msg = f"its views are not of one scene: {sizes[0]} in {kinds[0]}, {sizes[1]} in {kinds[1]}"
            raise ImageError(msg, hint="look at --right")
        both = [self._in_channels_of_the_network(pixels) for pixels in (image.pixels, image.right)]
        return np.concatenate(both, axis=2)

    def _in_channels_of_the_network(self, pixels: FloatImage) -> FloatImage:
        """Return an image's pixels in as many channels as the network takes, if nothing is lost by it."""
        wanted = self._weights.entry.channels
        if wanted < pixels.shape[2]:
            gray = pixels[..., :1]
            if not (pixels == gray).all():
                msg = f"it is in colour, and {self._weights.entry.id} is for gray images"
                raise ImageError(msg, hint="leave --gray out, or choose weights for colour")
            return np.ascontiguousarray(gray)
        return np.repeat(pixels, wanted, axis=2) if wanted > pixels.shape[2] else pixels

    def _restore(
        self,
        pixels: FloatImage,
        stop: threading.Event | None,
        sigma: float | None = None,
        progress: OnProgress | None = None,
    ) -> Restored:
        channels = self._weights.entry.channels * self._views
        if pixels.ndim != 3 or pixels.shape[2] != channels or 0 in pixels.shape:
            msg = f"{self._weights.entry.id} takes (H, W, {channels}), not {pixels.shape}"
            raise ValueError(msg)
        low, high = -_NOISE_REACH, 1.0 + _NOISE_REACH
        if pixels.dtype != np.float32 or not (pixels.min() >= low and pixels.max() <= high):  # false for NaN too
            msg = f"pixels must be float32 in [0, 1], not {pixels.dtype} in [{pixels.min()}, {pixels.max()}]"
            raise ValueError(msg)
        if self._conditioned is not None:
            self._conditioned.look_at(pixels, self._settings.sigma if sigma is None else sigma)
        restored = self._engine.restore(pixels, stop=stop, progress=progress)
        if self._settings.strength == 1.0:
            return restored
        return replace(restored, pixels=self._blended(pixels[..., : restored.pixels.shape[2]], restored.pixels))

    def _blended(self, pixels: FloatImage, restored: FloatImage) -> FloatImage:
        """Return what the strength asks for, not rounded; at 0 it is the input in every bit."""
        blended: FloatImage = pixels + np.float32(self._settings.strength) * (restored - pixels)
        return blended.clip(0.0, 1.0)  # noise that was not clipped may reach beyond

    def _enlarge_alpha(self, alpha: FloatImage) -> FloatImage:
        if self.scale == 1:
            return alpha
        height, width = (length * self.scale for length in alpha.shape)
        if alpha.min() == alpha.max():
            return np.full((height, width), alpha[0, 0], dtype=np.float32)
        return matlab_bicubic(alpha[..., None], height, width)[..., 0].clip(0.0, 1.0)


def _luma(pixels: FloatImage) -> FloatImage:
    gray: FloatImage = np.minimum(pixels @ _LUMA, np.float32(1.0))  # rounding may pass 1 by a hair
    return gray[..., None]
