"""`restore eval`: how good are weights, in numbers that compare with papers, under a protocol that is named.

Stage 1, ASK: options to a call of `scoring.run.evaluate`, whose progress and results `scores` shows.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from restore_cli.cli.options import COMMON, NETWORK, RESULTS, MessageOptions, NetworkOptions, Offline, complete_model
from restore_cli.cli.registration import command, option
from restore_cli.errors import UsageError

IMAGES = "Images"

app = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class ScoredOptions:
    """Options of what is scored."""

    clean: Annotated[Path, option(COMMON, "--clean", "Folder of the truth: good images.", metavar="FOLDER")]
    degraded: Annotated[
        Path | None,
        option(
            COMMON,
            "--degraded",
            "Folder of inputs of the same names (babyx4.png fits baby.png). By default they are made from the clean "
            "ones.",
            metavar="FOLDER",
        ),
    ] = None
    pair: Annotated[
        str | None,
        option(
            IMAGES,
            "--pair",
            "Words by which the names of a pair differ, such as norain=rain, normal=low, GT=NOISY or HR=LR.",
            metavar="CLEAN=DEGRADED",
        ),
    ] = None
    scale: Annotated[
        int | None, option(COMMON, "--scale", "Factor of sr. [default: 4]", metavar="2|3|4", min=2, max=4)
    ] = None
    sigma: Annotated[
        float | None,
        option(
            COMMON,
            "--sigma",
            "Level of the noise that is added for denoise, on the 0..255 scale.",
            metavar="0..50",
            min=0,
            max=50,
        ),
    ] = None
    quality: Annotated[
        int | None,
        option(
            IMAGES,
            "--quality",
            "Quality of the JPEGs that are made for dejpeg, chroma halved both ways. By default any, drawn by name.",
            metavar="1..100",
            min=1,
            max=100,
        ),
    ] = None
    gray: Annotated[bool, option(IMAGES, "--gray", "Turn the images to gray first (denoise, dejpeg).")] = False
    photo: Annotated[bool, option(IMAGES, "--photo", "Make inputs with blur, noise and compression (sr).")] = False
    real: Annotated[bool, option(IMAGES, "--real", "Score the noise of real cameras (denoise).")] = False
    kind: Annotated[
        Literal["motion", "defocus"] | None,
        option(IMAGES, "--kind", "Cause of the blur (deblur): motion or defocus. [default: motion]", metavar="KIND"),
    ] = None
    protocol: Annotated[
        Literal["paper", "8bit", "synthetic"] | None,
        option(
            IMAGES,
            "--protocol",
            "How inputs are made: paper (noise neither clipped nor rounded), 8bit (as 8-bit files hold them) or "
            "synthetic (as in training). By default paper where there is one.",
            metavar="NAME",
        ),
    ] = None
    dataset: Annotated[
        str | None,
        option(
            IMAGES,
            "--dataset",
            "Compare with reported scores of this data set (Set5, ...). By default the folders' names tell it.",
            metavar="NAME",
        ),
    ] = None

    def words(self) -> tuple[str, str] | None:
        """Return the words by which names of a pair differ, the clean one's first.

        Raises:
            UsageError: If they cannot be read, or there are no degraded images to pair.
        """
        if self.pair is None:
            return None
        clean, _, degraded = self.pair.partition("=")
        if not clean or not degraded:
            raise UsageError(f"cannot read --pair {self.pair!r}", hint="write CLEAN=DEGRADED, such as norain=rain")
        if self.degraded is None:
            raise UsageError("--pair needs images to pair", hint="name their folder with --degraded")
        return clean, degraded


@dataclass(frozen=True, kw_only=True)
class CandidateOptions:
    """Options of which weights are compared."""

    model: Annotated[
        list[str] | None,
        option(
            COMMON,
            "--model",
            "-m",
            "Score this network or weights id; give it again for several side by side.",
            autocompletion=complete_model,
            metavar="NAME",
        ),
    ] = None
    weights: Annotated[
        list[str] | None,
        option(
            NETWORK,
            "--weights",
            "Score your own weights; NAME=FILE where its tensors do not tell of which network it is. Give it again "
            "for several.",
            metavar="FILE",
        ),
    ] = None
    offline: Offline = False


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """Options of what becomes of the scores."""

    csv: Annotated[Path | None, option(RESULTS, "--csv", "Write all scores as CSV too.", metavar="FILE")] = None
    html: Annotated[
        Path | None,
        option(
            COMMON,
            "--html",
            "Write a page with the tables and the worst and best crops beside the truth.",
            metavar="FILE",
        ),
    ] = None
    save_images: Annotated[
        Path | None,
        option(
            RESULTS,
            "--save-images",
            "Write the restored images as PNG, in a folder for each candidate.",
            metavar="FOLDER",
        ),
    ] = None
    existing: Annotated[
        Literal["error", "overwrite"],
        option(RESULTS, "--existing", "For existing files: error or overwrite.", metavar="WHAT"),
    ] = "error"
    lpips: Annotated[
        bool,
        option(
            RESULTS,
            "--lpips",
            "Score LPIPS too, which needs pip install 'restore-cli[lpips]' (BSD-2-Clause) and, once, a download of "
            "233 MB.",
        ),
    ] = False


@command(
    app,
    "eval",
    examples="""
    restore eval sr --scale 4 --clean photos/                       the bundled weights against bicubic
    restore eval sr --scale 4 --clean Set5/HR --degraded Set5/LR    inputs from files, paired by name
    restore eval sr --clean HR/ -m ramit-1 -m ramit-slim --html report.html
    restore eval sr --clean HR/ -m ramit-lite-sr-x4 -m unet-sr-x4-photo     plain weights beside those for photos
    restore eval denoise --sigma 25 --clean McMaster/ --pad symmetric
    restore eval dejpeg --quality 40 --clean McMaster/
    restore eval derain --clean HQ/ --degraded LQ/ --csv scores.csv
    """,
)
def evaluate(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="What is scored: sr, denoise, dejpeg, derain, lowlight or deblur.")
    ],
    *,
    images: ScoredOptions,
    candidates: CandidateOptions,
    results: ResultOptions,
    run: NetworkOptions,
    messages: MessageOptions,
) -> None:
    """Score weights on images whose truth is known, beside a baseline without a network.

    The baseline is bicubic enlarging for sr, the degraded image itself elsewhere. Every number carries the name of the
    protocol it was taken under; figures that were reported of the weights stand beside ours.
    """
    from restore_cli.cli.scores import ShownScoring, conclude
    from restore_cli.scoring.run import evaluate as evaluate_images

    out = messages.open()
    with ExitStack() as bar:
        report = evaluate_images(
            task,
            images.clean,
            images.degraded,
            scale=images.scale,
            sigma=images.sigma,
            quality=images.quality,
            gray=images.gray,
            variant="photo" if images.photo else "real" if images.real else images.kind,
            protocol=images.protocol,
            dataset=images.dataset,
            words=images.words(),
            models=candidates.model or (),
            weights=candidates.weights or (),
            lpips=results.lpips,
            run=run.settings(),
            offline=candidates.offline,
            csv=results.csv,
            html=results.html,
            save_images=results.save_images,
            overwrite=results.existing == "overwrite",
            watcher=ShownScoring(out, bar),
        )
    conclude(report, out)
    for file in (results.csv, results.html):
        if file is not None:
            out.note(f"wrote {file}")
    if report.failures:
        raise typer.Exit(1)
