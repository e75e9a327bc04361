"""The options of `restore train`, in groups as its help shows them.

Stage 1, ASK. A module of its own because there are many; `train` turns them into a `TrainRequest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from restore_cli.cli.image_options import COMMON
from restore_cli.cli.options import NETWORK, Device, Threads
from restore_cli.training.recipes import Optimiser

IMAGES = "Images"
RECIPE = "Recipe"


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of what is learnt from."""

    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data", metavar="DIR", rich_help_panel=COMMON, help="Folder of clean images; give it again for several."
        ),
    ] = None
    degraded: Annotated[
        list[Path] | None,
        typer.Option(
            "--degraded",
            metavar="DIR",
            rich_help_panel=IMAGES,
            help="Folder of their degraded partners, of the same names. By default they are made on the fly.",
        ),
    ] = None
    val: Annotated[
        list[Path] | None,
        typer.Option(
            "--val",
            metavar="DIR",
            rich_help_panel=COMMON,
            help="Folder of clean images to validate on; give it again for several.",
        ),
    ] = None
    val_degraded: Annotated[
        list[Path] | None,
        typer.Option(
            "--val-degraded",
            metavar="DIR",
            rich_help_panel=IMAGES,
            help="Folder of degraded partners of the images to validate on.",
        ),
    ] = None
    cache_budget: Annotated[
        int,
        typer.Option(
            "--cache-budget",
            metavar="MIB",
            min=1,
            rich_help_panel=IMAGES,
            help="Memory for decoded images; what does not fit is decoded again.",
        ),
    ] = 2048


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Options of what is learnt."""

    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="NAME",
            rich_help_panel=COMMON,
            help="Train for sr, denoise, dejpeg, derain, lowlight or deblur.",
        ),
    ] = None
    scale: Annotated[
        int | None, typer.Option("--scale", metavar="N", min=2, max=4, rich_help_panel=COMMON, help="Factor of sr.")
    ] = None
    gray: Annotated[bool, typer.Option("--gray", rich_help_panel=RECIPE, help="Train for gray images.")] = False
    photo: Annotated[
        bool,
        typer.Option("--photo", rich_help_panel=RECIPE, help="Train sr for real photos: with blur, noise and JPEG."),
    ] = False
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            rich_help_panel=RECIPE,
            help="Ours: ramit-lite-, crossformer-lite- or crossformer-ir- with sr-x2, sr-x3, sr-x4, sr-x4-photo, "
            "denoise-color, denoise-gray, dejpeg-color, derain, lowlight or deblur-motion. The paper's: ramit-sr-x2. "
            "Default: ramit-lite's for the task.",
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, rich_help_panel=RECIPE, help="Train for so many steps.")
    ] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            metavar="M",
            min=0.01,
            rich_help_panel=COMMON,
            help="Train for so long: as many steps as fit, the learning rate reaching 0 at the end.",
        ),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", metavar="N", min=1, rich_help_panel=RECIPE, help="Patches in a step, of all processes together."
        ),
    ] = None
    patch: Annotated[
        int | None,
        typer.Option(
            "--patch",
            metavar="N",
            min=8,
            rich_help_panel=RECIPE,
            help="Side of a patch in input pixels, a multiple of 32 for RAMiT.",
        ),
    ] = None
    lr: Annotated[
        float | None,
        typer.Option("--lr", metavar="RATE", min=0.0, rich_help_panel=RECIPE, help="Highest learning rate."),
    ] = None
    optimiser: Annotated[
        Optimiser | None,
        typer.Option(
            "--optimiser",
            rich_help_panel=RECIPE,
            show_default=False,
            help="How weights follow gradients: adam, adamw or muon. By default the recipe's.",
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="N", min=0, rich_help_panel=RECIPE, help="Seed of weights, crops and noise."),
    ] = 0
    warm_start: Annotated[
        str | None,
        typer.Option(
            "--warm-start",
            metavar="FROM",
            rich_help_panel=COMMON,
            help="Start from a .safetensors of ours, a run's folder or a weights id, of another scale too.",
        ),
    ] = None
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            "--freeze",
            metavar="PREFIX",
            rich_help_panel=RECIPE,
            help="Hold the parameters with this prefix still; give it again for several.",
        ),
    ] = None
    freeze_until: Annotated[
        float,
        typer.Option(
            "--freeze-until",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            rich_help_panel=RECIPE,
            help="Share of the training after which everything is trained.",
        ),
    ] = 1.0


@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """Options of where and how the steps run."""

    device: Device = "auto"
    threads: Threads = None
    bf16: Annotated[
        bool, typer.Option("--bf16", rich_help_panel=NETWORK, help="Run under bfloat16 autocast; weights stay float32.")
    ] = False
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            rich_help_panel=NETWORK,
            help="Run the blocks through torch.compile: minutes at the start, then about 1.5 times the steps.",
        ),
    ] = False
    accumulate: Annotated[
        int,
        typer.Option(
            "--accumulate",
            metavar="N",
            min=1,
            rich_help_panel=NETWORK,
            help="Cut a batch into N parts: less memory, the same step.",
        ),
    ] = 1
    checkpoint_activations: Annotated[
        bool,
        typer.Option(
            "--checkpoint-activations",
            rich_help_panel=NETWORK,
            help="Compute blocks again in the backward pass: much less memory, steps a third longer, the same result.",
        ),
    ] = False
    log_every: Annotated[
        int,
        typer.Option(
            "--log-every", metavar="STEPS", min=1, rich_help_panel=NETWORK, help="Steps between lines of the log."
        ),
    ] = 50
    validate_every: Annotated[
        int | None,
        typer.Option(
            "--validate-every",
            metavar="LINES",
            min=1,
            rich_help_panel=NETWORK,
            help="Lines of the log between validations. By default some 25 validations in all.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunFolderOptions:
    """Options of where the result goes."""

    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", rich_help_panel=COMMON, help="Folder of the run, made if it does not exist."
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option("--resume", rich_help_panel=COMMON, help="Go on with the run in --out, as it was begun."),
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", "-n", rich_help_panel=COMMON, help="Show the plan and what it would take, and train nothing."
        ),
    ] = False
    samples: Annotated[
        Path | None,
        typer.Option(
            "--samples",
            metavar="PAGE",
            rich_help_panel=IMAGES,
            help="Write a page of what the network will be shown, beside what it is to make of it.",
        ),
    ] = None
