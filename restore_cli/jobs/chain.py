"""Several networks one after the other, as one: an image is read once, goes through all of them, and is written once.

Stage 5, RUN. Between two networks pixels stay float32, so nothing is rounded to 8 bits on the way.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from math import prod

from restore_cli.imaging.decoded_image import DecodedImage, FloatImage
from restore_cli.inference.device import keep_freed_memory
from restore_cli.inference.report import OnProgress, RunFacts, part_of
from restore_cli.inference.restorer import Restorer
from restore_cli.jobs.choose import Choice, estimated_noise
from restore_cli.jobs.ledger import digest_of_bytes
from restore_cli.jobs.networks import Transfer
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.steps import Step
from restore_cli.weights.load import LoadedWeights, load_weights


class Chain(Restorer):
    """Restore images with one network after the other.

    Args:
        steps: What each does.
        restorers: Their networks, as many.
    """

    def __init__(self, steps: Sequence[Step], restorers: Sequence[Restorer]) -> None:
        self._steps = tuple(steps)
        self._restorers = tuple(restorers)
        parts = [
            f"{step.text}: {one.weights.entry.id} {one.weights.digest}"
            for step, one in zip(steps, restorers, strict=True)
        ]
        last = restorers[-1].weights
        # What the ledger knows the chain by: all its networks and what they were asked for.
        entry = replace(
            last.entry,
            id=", ".join(one.weights.entry.id for one in restorers),
            scale=prod(one.scale for one in restorers),
            config={"steps": parts, "configs": [dict(one.weights.entry.config) for one in restorers]},
        )
        digest = digest_of_bytes("\n".join(parts).encode())
        self._weights = replace(last, entry=entry, digest=digest)

    @property
    def weights(self) -> LoadedWeights:
        """Return the last network under the chain's own name, with a digest of all of them."""
        return self._weights

    @property
    def scale(self) -> int:
        """Return the factor from input to output size."""
        return self._weights.entry.scale

    @property
    def note(self) -> str | None:
        """Return what a person should know of the settings, None for nothing."""
        notes = dict.fromkeys(one.note for one in self._restorers if one.note is not None)
        return "; ".join(notes) or None

    def describe(self, size: tuple[int, int] | None = None) -> RunFacts:
        """Return how the last network runs, which has the most to do where images grow.

        Args:
            size: (height, width) of an image in pixels, as the chain takes it; None for none in particular.
        """
        before = prod(one.scale for one in self._restorers[:-1])
        return self._restorers[-1].describe(None if size is None else (size[0] * before, size[1] * before))

    def restore_pixels(
        self, pixels: FloatImage, *, stop: threading.Event | None = None, progress: OnProgress | None = None
    ) -> FloatImage:
        """Restore pixels, all networks taking the same channels; as in `Restorer`."""
        for one, report in zip(self._restorers, self._parts(pixels.shape[0] * pixels.shape[1], progress), strict=True):
            pixels = one.restore_pixels(pixels, stop=stop, progress=report)
        return pixels

    def restore_image(
        self,
        image: DecodedImage,
        *,
        stop: threading.Event | None = None,
        sigma: float | None = None,
        progress: OnProgress | None = None,
    ) -> DecodedImage:
        """Restore an image; as in `Restorer`."""
        parts = self._parts(image.height * image.width, progress)
        for step, one, report in zip(self._steps, self._restorers, parts, strict=True):
            level = (
                Choice(entry=one.weights.entry, noise=estimated_noise(image)).level if step.sigma == "auto" else sigma
            )
            image = one.restore_image(image, stop=stop, sigma=level, progress=report)
        return image

    def _parts(self, pixels: int, progress: OnProgress | None) -> list[OnProgress | None]:
        """Return who takes each network's progress on an image of so many pixels, by the pixels that go into it."""
        if progress is None:
            return [None] * len(self._restorers)
        own = [pixels * prod(one.scale for one in self._restorers[:i]) ** 2 for i in range(len(self._restorers))]
        return [part_of(progress, before=sum(own[:i]), own=units, total=sum(own)) for i, units in enumerate(own)]


def load_chain(plan: JobPlan, transfer: Transfer) -> Chain:
    """Load the networks of a plan's steps, fetched if need be.

    Args:
        plan: What to do.
        transfer: Called with the name of a file before it is fetched.

    Raises:
        WeightsError: If a file cannot be had or is not what it claims.
        DeviceError: If the device is not there.
    """
    keep_freed_memory()
    restorers = []
    for step in plan.steps:
        entry = step.entry()
        with transfer(entry.file) as progress:
            weights = load_weights(entry, offline=plan.weights.offline, progress=progress)
        restorers.append(Restorer(weights, replace(plan.run, sigma=step.level, strength=step.strength)))
    return Chain(plan.steps, restorers)
