"""What a runner must know of a Restormer.

Stage 5, RUN.
"""

from __future__ import annotations

from restore_cli.models import Arch
from restore_cli.models.restormer.bands import restore_in_bands
from restore_cli.models.restormer.block import Block
from restore_cli.models.restormer.config import UNIT, Config, footprint, mult_adds
from restore_cli.models.restormer.network import Restormer

ARCH = Arch(
    name="restormer",
    config=Config,
    build=Restormer.from_config,
    multiple_of=UNIT,
    global_attention=True,
    in_bands=True,
    infer=restore_in_bands,
    dtypes=("float32",),
    views=lambda config: 2 if config.dual_pixel_task else 1,
    paper="Restormer: Efficient Transformer for High-Resolution Image Restoration, arXiv 2111.09881",
    footprint=footprint,
    mult_adds=mult_adds,
    block=Block,
)
