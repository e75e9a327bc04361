"""What a runner must know of a CrossFormer.

Stage 5, RUN.
"""

from __future__ import annotations

from restore_cli.models import Arch
from restore_cli.models.crossformer.config import Config, mult_adds
from restore_cli.models.crossformer.network import Block, from_config, without_old_buffers

ARCH = Arch(
    name="crossformer",
    config=Config,
    build=from_config,
    multiple_of=1,
    global_attention=False,
    restores=False,
    paper="CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention, arXiv 2108.00154",
    mult_adds=mult_adds,
    block=Block,
    convert_state_dict=without_old_buffers,
)
