"""What a runner must know of a U-Net.

Stage 5, RUN.
"""

from __future__ import annotations

from torch import Tensor

from restore_cli.models import Arch
from restore_cli.models.unet.config import Config
from restore_cli.models.unet.network import ResidualBlock, UNet


def _unit_of(config: Config) -> int:
    return config.unit


def _scene_of(network: UNet, x: Tensor) -> Tensor | None:
    return None if network.curves is None else network.curves.scene(x)


ARCH = Arch(
    name="unet",
    config=Config,
    build=UNet,
    multiple_of=Config().unit,
    unit=_unit_of,
    global_attention=False,
    takes_level=True,
    scene=_scene_of,
    dtypes=("float32", "bfloat16"),
    paper="Plug-and-Play Image Restoration with Deep Denoiser Prior, arXiv 2008.13751",
    block=ResidualBlock,
)
