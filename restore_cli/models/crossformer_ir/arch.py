"""What a runner must know of a CrossFormer-IR.

Stage 5, RUN.
"""

from __future__ import annotations

from operator import attrgetter

from restore_cli.models import Arch
from restore_cli.models.crossformer_ir.bands import restore_in_parts
from restore_cli.models.crossformer_ir.config import MULTIPLE_OF, Config
from restore_cli.models.crossformer_ir.network import Block, CrossFormerIR

ARCH = Arch(
    name="crossformer_ir",
    config=Config,
    build=CrossFormerIR,
    multiple_of=MULTIPLE_OF,
    exported_unit=attrgetter("region"),
    global_attention=False,
    infer=restore_in_parts,
    paper="CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention, arXiv 2108.00154",
    block=Block,
)
