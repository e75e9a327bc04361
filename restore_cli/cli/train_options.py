"""The options of `restore train`, in groups as its help shows them.

Stage 1, ASK. A module of its own because there are many; `train` turns them into a `TrainRequest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from restore_cli.cli.options import NETWORK, Device, Threads
from restore_cli.training.recipes import Optimiser

IMAGES = "Images"
RECIPE = "Recipe"


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Options of what is learnt from."""

    data: Annotated[
        list[Path] | None,
        typer.Option("--data", metavar="DIR", rich_help_panel=IMAGES, help="Clean images; again for several."),
    ] = None
    degraded: Annotated[
        list[Path] | None,
        typer.Option(
            "--degraded",
            metavar="DIR",
            rich_help_panel=IMAGES,
            help="Their degraded partners, of the same names; without, they are made on the fly.",
        ),
    ] = None
    val: Annotated[
        list[Path] | None,
        typer.Option(
            "--val", metavar="DIR", rich_help_panel=IMAGES, help="Clean images to validate on; again for several."
        ),
    ] = None
    val_degraded: Annotated[
        list[Path] | None,
        typer.Option("--val-degraded", metavar="DIR", rich_help_panel=IMAGES, help="Their degraded partners."),
    ] = None
    cache_budget: Annotated[
        int,
        typer.Option(
            "--cache-budget",
            min=1,
            metavar="MIB",
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
            "--task", metavar="NAME", rich_help_panel=RECIPE, help="sr, denoise, dejpeg, derain, lowlight, deblur."
        ),
    ] = None
    scale: Annotated[
        int | None, typer.Option("--scale", min=2, max=4, metavar="N", rich_help_panel=RECIPE, help="Factor of sr.")
    ] = None
    gray: Annotated[bool, typer.Option("--gray", rich_help_panel=RECIPE, help="Gray images.")] = False
    photo: Annotated[
        bool, typer.Option("--photo", rich_help_panel=RECIPE, help="sr of real photos: blur, noise and JPEG too.")
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
        int | None, typer.Option("--steps", min=1, metavar="N", rich_help_panel=RECIPE, help="Length in steps.")
    ] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            min=0.01,
            metavar="M",
            rich_help_panel=RECIPE,
            help="Length in time: as many steps as fit, the learning rate reaching 0 at the end.",
        ),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, metavar="N", rich_help_panel=RECIPE, help="Patches a step, all processes."),
    ] = None
    patch: Annotated[
        int | None,
        typer.Option(
            "--patch",
            min=8,
            metavar="N",
            rich_help_panel=RECIPE,
            help="Side of a patch, input pixels, by 32 for RAMiT.",
        ),
    ] = None
    lr: Annotated[
        float | None,
        typer.Option("--lr", min=0.0, metavar="RATE", rich_help_panel=RECIPE, help="Highest learning rate."),
    ] = None
    optimiser: Annotated[
        Optimiser | None,
        typer.Option(
            "--optimiser",
            rich_help_panel=RECIPE,
            show_default=False,
            help="How weights follow gradients. Default: the recipe's, muon of ours and adam of the paper's.",
        ),
    ] = None
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", rich_help_panel=RECIPE, help="Of weights, crops and noise.")
    ] = 0
    warm_start: Annotated[
        str | None,
        typer.Option(
            "--warm-start",
            metavar="FROM",
            rich_help_panel=RECIPE,
            help="Start from a .safetensors of ours, a run's folder or a weights id, of another scale too.",
        ),
    ] = None
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            "--freeze",
            metavar="PREFIX",
            rich_help_panel=RECIPE,
            help="Hold the parameters of this prefix still; again for several.",
        ),
    ] = None
    freeze_until: Annotated[
        float,
        typer.Option(
            "--freeze-until",
            min=0.0,
            max=1.0,
            metavar="SHARE",
            rich_help_panel=RECIPE,
            help="Of the training, after which everything is trained.",
        ),
    ] = 1.0


@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """Options of where and how the steps run."""

    device: Device = "auto"
    threads: Threads = None
    bf16: Annotated[
        bool, typer.Option("--bf16", rich_help_panel=NETWORK, help="bfloat16 autocast; weights stay float32.")
    ] = False
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            rich_help_panel=NETWORK,
            help="torch.compile of its blocks: minutes at the start, then about 1.5 times the steps.",
        ),
    ] = False
    accumulate: Annotated[
        int,
        typer.Option(
            "--accumulate",
            min=1,
            metavar="N",
            rich_help_panel=NETWORK,
            help="Work a batch off in N parts: less memory, the same step.",
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
        typer.Option("--log-every", min=1, metavar="STEPS", rich_help_panel=NETWORK, help="Steps between log lines."),
    ] = 50
    validate_every: Annotated[
        int | None,
        typer.Option(
            "--validate-every",
            min=1,
            metavar="LINES",
            rich_help_panel=NETWORK,
            help="Log lines between validations. Default: some 25 in all.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunFolderOptions:
    """Options of where the result goes."""

    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", rich_help_panel=IMAGES, help="Folder of the run, made if absent."),
    ] = None
    resume: Annotated[
        bool,
        typer.Option("--resume", rich_help_panel=IMAGES, help="Go on with the run in --out, as it was begun."),
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", rich_help_panel=IMAGES, help="Show the plan, train nothing.")
    ] = False
    samples: Annotated[
        Path | None,
        typer.Option(
            "--samples",
            metavar="PAGE.html",
            rich_help_panel=IMAGES,
            help="Draw what the network will be shown, beside what it is to make of it.",
        ),
    ] = None
