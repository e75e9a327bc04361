"""What a runner must know of a RAMiT.

Stage 5, RUN.
"""

from __future__ import annotations

from operator import attrgetter

from restore_cli.models import Arch
from restore_cli.models.ramit.bands import restore_in_bands
from restore_cli.models.ramit.block import DRAMiTransformer
from restore_cli.models.ramit.config import Config, mult_adds
from restore_cli.models.ramit.network import RAMiT
from restore_cli.models.ramit.recognise import recognise

ARCH = Arch(
    name="ramit",
    config=Config,
    build=RAMiT,
    multiple_of=32,
    unit=attrgetter("unit"),
    global_attention=True,
    in_bands=True,
    infer=restore_in_bands,
    # On photos under bfloat16 RAMiT-1 x4 in bands lost 0.005 dB at most, 0.24 levels in the mean square's root, 4 in a
    # single pixel; under float16, emulated, single pixels of eight networks moved by 0.2 to 2.3 levels: no loss a PSNR
    # shows, yet bytes that depend on the machine are more than a default may change.
    dtypes=("float32",),
    paper="Reciprocal Attention Mixing Transformer for Lightweight Image Restoration, arXiv 2305.11474",
    mult_adds=mult_adds,
    block=DRAMiTransformer,
    recognise=recognise,
)
