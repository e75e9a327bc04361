"""The options of `restore train`, in groups as its help shows them.

Stage 1, ASK. A module of its own because there are many; `train` turns them into a `TrainRequest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from restore_cli.cli.options import COMMON, NETWORK, Device, Threads
from restore_cli.cli.registration import option
from restore_cli.training.recipes import Optimiser

IMAGES = "Images"
RECIPE = "Recipe"


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of what is learnt from."""

    data: Annotated[
        list[str] | None,
        option(COMMON, "--data", "Folder of clean images, or of a bucket; give it again for several.", metavar="DIR"),
    ] = None
    degraded: Annotated[
        list[str] | None,
        option(
            IMAGES,
            "--degraded",
            "Folder of their degraded partners, of the same names. By default they are made on the fly.",
            metavar="DIR",
        ),
    ] = None
    val: Annotated[
        list[str] | None,
        option(COMMON, "--val", "Folder of clean images to validate on; give it again for several.", metavar="DIR"),
    ] = None
    val_degraded: Annotated[
        list[str] | None,
        option(IMAGES, "--val-degraded", "Folder of degraded partners of the images to validate on.", metavar="DIR"),
    ] = None
    cache_budget: Annotated[
        int,
        option(
            IMAGES,
            "--cache-budget",
            "Memory for decoded images; what does not fit is decoded again.",
            metavar="MIB",
            min=1,
        ),
    ] = 2048


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Options of what is learnt."""

    task: Annotated[
        str | None,
        option(COMMON, "--task", "Train for sr, denoise, dejpeg, derain, lowlight or deblur.", metavar="NAME"),
    ] = None
    scale: Annotated[int | None, option(COMMON, "--scale", "Factor of sr.", metavar="N", min=2, max=4)] = None
    gray: Annotated[bool, option(RECIPE, "--gray", "Train for gray images.")] = False
    photo: Annotated[bool, option(RECIPE, "--photo", "Train sr for real photos: with blur, noise and JPEG.")] = False
    recipe: Annotated[
        str | None,
        option(
            RECIPE,
            "--recipe",
            "Ours: unet-, ramit-lite-, crossformer-lite- or crossformer-ir- with sr-x2 to sr-x4, sr-x4-photo, "
            "denoise-color, denoise-gray, dejpeg-color, derain, lowlight or deblur-motion; edsr-lite- with sr alone. "
            "The paper's: ramit-sr-x2. Default: ramit-lite's for the task.",
            metavar="NAME",
        ),
    ] = None
    steps: Annotated[int | None, option(RECIPE, "--steps", "Train for so many steps.", metavar="N", min=1)] = None
    minutes: Annotated[
        float | None,
        option(
            COMMON,
            "--minutes",
            "Train for so long: as many steps as fit, the learning rate reaching 0 at the end.",
            metavar="M",
            min=0.01,
        ),
    ] = None
    batch: Annotated[
        int | None, option(RECIPE, "--batch", "Patches in a step, of all processes together.", metavar="N", min=1)
    ] = None
    patch: Annotated[
        int | None,
        option(RECIPE, "--patch", "Side of a patch in input pixels, a multiple of 32 for RAMiT.", metavar="N", min=8),
    ] = None
    lr: Annotated[float | None, option(RECIPE, "--lr", "Highest learning rate.", metavar="RATE", min=0.0)] = None
    optimiser: Annotated[
        Optimiser | None,
        option(RECIPE, "--optimiser", "How weights follow gradients: adam, adamw or muon. By default the recipe's."),
    ] = None
    seed: Annotated[int, option(RECIPE, "--seed", "Seed of weights, crops and noise.", metavar="N", min=0)] = 0
    warm_start: Annotated[
        str | None,
        option(
            COMMON,
            "--warm-start",
            "Start from a .safetensors of ours, a run's folder or a weights id, of another scale too.",
            metavar="FROM",
        ),
    ] = None
    freeze: Annotated[
        list[str] | None,
        option(
            RECIPE,
            "--freeze",
            "Hold the parameters with this prefix still; give it again for several.",
            metavar="PREFIX",
        ),
    ] = None
    freeze_until: Annotated[
        float,
        option(
            RECIPE,
            "--freeze-until",
            "Share of the training after which everything is trained.",
            metavar="SHARE",
            min=0.0,
            max=1.0,
        ),
    ] = 1.0


@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """Options of where and how the steps run."""

    device: Device = "auto"
    threads: Threads = None
    bf16: Annotated[bool, option(NETWORK, "--bf16", "Run under bfloat16 autocast; weights stay float32.")] = False
    compile: Annotated[
        bool,
        option(
            NETWORK,
            "--compile",
            "Run the blocks through torch.compile: minutes at the start, then about 1.5 times the steps.",
        ),
    ] = False
    accumulate: Annotated[
        int,
        option(NETWORK, "--accumulate", "Cut a batch into N parts: less memory, the same step.", metavar="N", min=1),
    ] = 1
    checkpoint_activations: Annotated[
        bool,
        option(
            NETWORK,
            "--checkpoint-activations",
            "Compute blocks again in the backward pass: much less memory, steps a third longer, the same result.",
        ),
    ] = False
    log_every: Annotated[
        int, option(NETWORK, "--log-every", "Steps between lines of the log.", metavar="STEPS", min=1)
    ] = 50
    validate_every: Annotated[
        int | None,
        option(
            NETWORK,
            "--validate-every",
            "Lines of the log between validations. By default some 25 validations in all.",
            metavar="LINES",
            min=1,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunFolderOptions:
    """Options of where the result goes."""

    out: Annotated[
        Path | None, option(COMMON, "--out", "-o", "Folder of the run, made if it does not exist.", metavar="DIR")
    ] = None
    resume: Annotated[bool, option(COMMON, "--resume", "Go on with the run in --out, as it was begun.")] = False
    dry_run: Annotated[
        bool, option(COMMON, "--dry-run", "-n", "Show the plan and what it would take, and train nothing.")
    ] = False
    samples: Annotated[
        Path | None,
        option(
            IMAGES,
            "--samples",
            "Write a page of what the network will be shown, beside what it is to make of it.",
            metavar="PAGE",
        ),
    ] = None
