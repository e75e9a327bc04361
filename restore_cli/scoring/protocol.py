"""Name how scores are taken: what the input is, on which channels, with how much border cut.

Stage 2 of scoring, PLAN: facts only. A number without its protocol compares with nothing, so every score travels with
one of these, and `Protocol.statement` says it in words:

    paper      as publications do. sr: MATLAB's bicubic, Y channel, `scale` pixels cut. denoise: float Gaussian noise
               from seed 0 for every image, neither clipped nor rounded. dejpeg: libjpeg's file of one quality, chroma
               halved both ways, its header handed on. Pairs of files: the files as they are
    8bit       denoise only: the same noise, clipped and rounded to 8 bit, as a file would hold it
    synthetic  the task's own degradation, seeded by the image's name, clipped and rounded to 8 bit
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from restore_cli.errors import UsageError
from restore_cli.tasks import get_task

ProtocolName = Literal["paper", "8bit", "synthetic"]
InputKind = Literal["files", "matlab-bicubic", "float-noise", "8bit-noise", "jpeg", "synthetic"]

_INPUT_STATEMENTS: dict[InputKind, str] = {
    "files": "degraded images from files",
    "matlab-bicubic": "MATLAB bicubic input",
    "float-noise": "Gaussian noise, seed 0, neither clipped nor rounded",
    "8bit-noise": "Gaussian noise, seed 0, clipped and rounded to 8 bit",
    "jpeg": "JPEG of libjpeg, 4:2:0, of the quality named",
    "synthetic": "synthetic input seeded by name, 8 bit",
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Say how one run of scores is taken.

    Attributes:
        name: "paper", "8bit" or "synthetic".
        task: Command name of the task.
        input: Where the degraded images come from.
        metrics: Names of the scores, the first decides.
        crop_border: Pixels cut off each side of restored and clean before scoring.
        scale: Factor of super-resolution, 1 elsewhere.
        channels: 1 scores gray images, 3 RGB.
        sigma: Noise level on the 0..255 scale, or None.
        quality: Of the JPEG, 1..100, or None.
        variant: The task's special form, or None.
    """

    name: ProtocolName
    task: str
    input: InputKind
    metrics: tuple[str, ...]
    crop_border: int
    scale: int = 1
    channels: int = 3
    sigma: float | None = None
    quality: int | None = None
    variant: str | None = None

    @property
    def subject(self) -> str:
        """Name the task with its parameters, "sr x4" or "denoise gray sigma 25", "dejpeg q40"."""
        words = [self.task]
        if self.scale > 1:
            words.append(f"x{self.scale}")
        if self.variant is not None:
            words.append(self.variant)
        if self.channels == 1:
            words.append("gray")
        if self.sigma is not None:
            words.append(f"sigma {self.sigma:g}")
        if self.quality is not None:
            words.append(f"q{self.quality}")
        return " ".join(words)

    @property
    def statement(self) -> str:
        """Say in one line what stands behind the name."""
        colours = "gray" if self.channels == 1 else "RGB"
        channels = "Y channel (BT.601)" if self.metrics[0] == "psnr_y" else colours
        border = f"{self.crop_border} px border cut" if self.crop_border else "no border cut"
        scores = "8-bit comparison; mean of per-image scores, PSNR in dB"
        return f"{_INPUT_STATEMENTS[self.input]}; {channels}; {border}; {scores}"


@dataclass(frozen=True, kw_only=True)
class ScoringRequest:
    """What the command line asked to have scored.

    Attributes:
        task: Command name of the task.
        paired: Whether degraded images are given as files.
        protocol: The requested protocol, or None for the task's usual one.
        scale: Factor of super-resolution, 1 elsewhere.
        channels: 1 for gray, 3 for RGB.
        sigma: Noise level on the 0..255 scale, or None.
        quality: Of the JPEG, 1..100, or None.
        variant: The task's special form, or None.
        lpips: Whether LPIPS is wanted beside the task's metrics.
    """

    task: str
    paired: bool
    protocol: ProtocolName | None = None
    scale: int = 1
    channels: int = 3
    sigma: float | None = None
    quality: int | None = None
    variant: str | None = None
    lpips: bool = False


def choose_protocol(request: ScoringRequest) -> Protocol:
    """Settle the protocol of a request.

    Raises:
        UsageError: If the requested protocol does not exist for this task and input; the possible ones are named.
    """
    task = get_task(request.task)
    possible = _possible_inputs(request)
    name = request.protocol if request.protocol is not None else next(iter(possible))
    if name not in possible:
        given = "with --degraded" if request.paired else "without --degraded"
        raise UsageError(
            f"{request.task} {given} is not scored under protocol {name!r}", hint=f"use {' or '.join(possible)}"
        )
    if possible[name] in ("float-noise", "8bit-noise") and request.sigma is None:
        raise UsageError("denoising needs a noise level to make its inputs", hint="give --sigma 25, or --degraded")
    return Protocol(
        name=name,
        task=request.task,
        input=possible[name],
        metrics=(*task.metrics, "lpips") if request.lpips else task.metrics,
        crop_border=task.crop_border(request.scale),
        scale=request.scale,
        channels=request.channels,
        sigma=request.sigma,
        quality=request.quality,
        variant=request.variant,
    )


def _possible_inputs(request: ScoringRequest) -> dict[ProtocolName, InputKind]:
    """List the protocols of a request, the usual one first, with the inputs they use."""
    if request.paired:
        return {"paper": "files"}
    if request.variant is None and request.task == "sr":
        return {"paper": "matlab-bicubic"}
    if request.variant is None and request.task == "denoise":
        return {"paper": "float-noise", "8bit": "8bit-noise"}
    if request.quality is not None:
        return {"paper": "jpeg"}
    return {"synthetic": "synthetic"}
