"""What a runner must know of a Restormer.

Stage 5, RUN.
"""

from __future__ import annotations

from collections.abc import Sequence

from restore_cli.models import Arch, Shapes, count_of
from restore_cli.models.restormer.bands import restore_in_bands
from restore_cli.models.restormer.block import Block
from restore_cli.models.restormer.config import UNIT, Config, footprint, mult_adds
from restore_cli.models.restormer.network import Restormer


def _recognise(shapes: Shapes, task: str | None) -> Config | None:
    """Return the configuration of the Restormer that a file's tensors are of; None for another network."""
    del task
    first, last = shapes.get("patch_embed.proj.weight", ()), shapes.get("output.weight", ())
    if len(first) != 4 or not last or "latent.0.attn.temperature" not in shapes:
        return None
    levels = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
    hidden = [shapes[f"{level}.0.ffn.project_out.weight"][1] for level in levels]
    return Config(
        inp_channels=first[1],
        out_channels=last[0],
        dim=first[0],
        num_blocks=tuple(count_of(shapes, f"{level}.") for level in levels),
        num_refinement_blocks=count_of(shapes, "refinement."),
        heads=tuple(shapes[f"{level}.0.attn.temperature"][0] for level in levels),
        ffn_expansion_factor=_expansion(hidden, [first[0] << level for level in range(len(levels))]),
        bias="latent.0.attn.qkv.bias" in shapes,
        LayerNorm_type="WithBias" if "latent.0.norm1.body.bias" in shapes else "BiasFree",
        dual_pixel_task="skip_conv.weight" in shapes,
    )


def _expansion(hidden: Sequence[int], dims: Sequence[int]) -> float:
    """Return the factor of two decimals at most that gives those hidden widths, which the network rounds down."""
    for factor in (Config.ffn_expansion_factor, *(number / 100 for number in range(100, 801))):
        if all(int(dim * factor) == width for dim, width in zip(dims, hidden, strict=True)):
            return factor
    raise ValueError("the widths of the feed-forward layers follow from no factor")


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
    recognise=_recognise,
)
