"""Choose the context of an entry's channel attention by measurement: `python -m tests.contexts ID --clean FOLDER`.

Images that are neither trained nor tested on are degraded as the entry's task is scored, restored with the whole
image's statistics and with every other context, and compared. Of the contexts that lose no more than `--worst` on any
image, the best in the mean is printed as the manifest takes it (field `context`). Centres of `--crop` pixels a side
make large images quick; much smaller than real images are, they say little.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from restore_cli.inference.restorer import Restorer
from restore_cli.scoring.candidates import Candidate
from restore_cli.scoring.pairs import Pair, find_pairs
from restore_cli.scoring.protocol import Protocol, ScoringRequest, choose_protocol
from restore_cli.scoring.report import CandidateFacts
from restore_cli.scoring.score import score_images
from restore_cli.settings import RunSettings
from restore_cli.weights.entry import BestContext, WeightsEntry, entry_to_json
from restore_cli.weights.load import LoadedWeights, load_weights
from restore_cli.weights.manifest import load_manifest

# Half-overlapping cells of a network that takes multiples of 32 are no smaller.
_LEAST_CELL = 64
WHOLE = BestContext(kind="global", measured="not yet")


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a context adds to the whole image's statistics, in dB: a figure for each image."""

    context: BestContext
    each: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.each) / len(self.each)

    def __str__(self) -> str:
        return f"{label(self.context)} {self.mean:+.3f}, {min(self.each):+.3f} to {max(self.each):+.3f}"


def label(context: BestContext) -> str:
    """Write a context shortly: "global", "local 64", "mixed 64/0.75"."""
    share = "" if context.share is None else f"/{context.share:g}"
    return context.kind if context.cell is None else f"{context.kind} {context.cell}{share}"


def contexts(cells: Sequence[int], shares: Sequence[float]) -> list[BestContext]:
    """Cross cells with shares of the whole image; a share of 0 is cells alone."""
    return [
        BestContext(kind="mixed" if share else "local", cell=cell, share=share or None, measured="not yet")
        for cell, share in itertools.product(cells, shares)
    ]


def measure(weights: LoadedWeights, protocol: Protocol, pairs: Sequence[Pair], tried: Sequence[BestContext],
            settings: RunSettings) -> list[Gain]:  # fmt: skip
    """Restore and score every image in every context, and subtract what the whole image's gives."""
    outcomes = [
        outcome.without_pixels()
        for outcome in score_images(pairs, protocol, [candidate(weights, c, settings) for c in (WHOLE, *tried)], {})
    ]
    lost = [str(failure) for outcome in outcomes for failure in outcome.failures]
    if lost:
        sys.exit("\n".join(lost))
    metric = protocol.metrics[0]
    scores = {(score.image, score.candidate): score.values[metric] for o in outcomes for score in o.scores}
    return [
        Gain(context=c, each=tuple(scores[p.name, label(c)] - scores[p.name, label(WHOLE)] for p in pairs))
        for c in tried
    ]


def candidate(weights: LoadedWeights, context: BestContext, settings: RunSettings) -> Candidate:
    """Return the weights as they run in a context."""
    restorer = Restorer(replace(weights, entry=replace(weights.entry, context=context)), settings)
    return Candidate(facts=CandidateFacts(label=label(context)), restore=restorer.restore_image)


def best_of(gains: Sequence[Gain], worst: float, what: str) -> BestContext:
    """Return the context to record: the best mean of those that lose at most `worst` dB anywhere, or the whole."""
    good = [gain for gain in gains if gain.mean > 0 and min(gain.each) >= -worst]
    if not good:
        return replace(WHOLE, measured=f"{what}: no better context; {'; '.join(map(str, gains))}")
    best = max(good, key=lambda gain: gain.mean)
    others = "; ".join(str(gain) for gain in gains if gain is not best)
    found = f"{what}: {best.mean:+.3f} dB in the mean, {min(best.each):+.3f} to {max(best.each):+.3f}"
    return replace(best.context, measured=found + (f"; {others}" if others else ""))


def images(folders: Sequence[Path], most: int | None, crop: int | None, into: Path) -> Iterator[Pair]:
    """Find images, evenly spread where there are more than wanted, and cut their centres where that is wanted."""
    for folder in folders:
        pairs = find_pairs(folder)
        for pair in pairs if most is None else pairs[:: -(-len(pairs) // most)]:
            if crop is None:
                yield pair
                continue
            with Image.open(pair.clean) as image:
                left, top = (max(0, (side - crop) // 2) for side in image.size)
                box = (left, top, min(left + crop, image.width), min(top + crop, image.height))
                image.convert("RGB").crop(box).save(into / f"{pair.name}.png")
            yield Pair(name=pair.name, clean=into / f"{pair.name}.png")


def protocol_of(entry: WeightsEntry, sigma: float | None) -> Protocol:
    """Return how the entry's task is scored."""
    wanted = sigma if entry.sigma_range is not None else None
    return choose_protocol(
        ScoringRequest(
            task=entry.task,
            paired=False,
            scale=entry.scale,
            channels=entry.channels,
            sigma=wanted,
            variant=entry.variant,
        )
    )


def main() -> None:
    """Measure, print a line for each context, then the field of the manifest."""
    parser = argparse.ArgumentParser(description="Choose the context of channel attention by measurement.")
    parser.add_argument("id", help="entry of the manifest")
    parser.add_argument("--clean", type=Path, action="append", required=True, help="images; again for several folders")
    parser.add_argument("--weights", type=Path, help="a file in place of the entry's own")
    parser.add_argument("--cell", type=int, action="append", help="default: the training patch, at least 64")
    parser.add_argument("--share", type=float, action="append", help="0 is cells alone; default: 0, 0.67, 0.75, 0.8")
    parser.add_argument("--sigma", type=float, default=25.0, help="noise of a denoiser's inputs")
    parser.add_argument("--crop", type=int, help="cut the centres of the images")
    parser.add_argument("--most", type=int, help="images of a folder")
    parser.add_argument("--worst", type=float, default=0.15, help="dB that an image may lose")
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    entry = load_manifest().get(asked.id)
    weights = load_weights(entry, asked.weights)
    tried = contexts(asked.cell or [max(_LEAST_CELL, entry.training_patch)], asked.share or [0.0, 0.67, 0.75, 0.8])
    protocol = protocol_of(entry, asked.sigma)
    with tempfile.TemporaryDirectory() as folder:
        pairs = list(images(asked.clean, asked.most, asked.crop, Path(folder)))
        gains = measure(weights, protocol, pairs, tried, RunSettings(threads=asked.threads))
    for gain in gains:
        print(gain, flush=True)  # noqa: T201 - a program of its own
    names = ", ".join(pair.name for pair in pairs)
    cut = f" cut to {asked.crop}x{asked.crop}" if asked.crop else ""
    what = f"{protocol.metrics[0]} against global, {protocol.subject}, {len(pairs)} images{cut} ({names})"
    chosen = best_of(gains, asked.worst, what)
    print(json.dumps({"context": entry_to_json(replace(entry, context=chosen))["context"]}, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
