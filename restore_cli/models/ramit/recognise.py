"""Which RAMiT the tensors of a file are of, by their names and shapes.

Stage 2, PLAN, for files that do not say it themselves. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from restore_cli.models import Shapes, count_of
from restore_cli.models.ramit.config import STAGES, Config, expanded_channels, published_like

_BLOCK = "stage1.blocks.block0"
_FACTORS = tuple(number / 100 for number in range(100, 401))


def recognise(shapes: Shapes, task: str | None) -> Config | None:
    """Return the configuration of the RAMiT that a file's tensors are of; None for another network.

    What leaves no trace in the tensors (the statistics of the training images, whether blocks help each other) is that
    of the published network for the same task and factor, or of the one most like it.

    Args:
        shapes: Names and shapes of all tensors.
        task: What the file is for, None where nobody says it.
    """
    first, image = shapes.get("shallow.conv.weight", ()), shapes.get("to_target.final_conv.weight", ())
    if len(first) != 4 or not image or f"{_BLOCK}.ch_attn.logit_scale" not in shapes:
        return None
    dim, channels = first[0], image[0]
    fold = math.isqrt(first[1] // channels)
    scale = math.isqrt(shapes["to_target.conv.weight"][0] // channels) // fold
    spatial, channel = (shapes[f"{_BLOCK}.{kind}_attn.logit_scale"][0] for kind in ("sp", "ch"))
    own = published_like("sr" if scale > 1 else task or "denoise", scale, channels)
    values = {
        **own.to_json(),
        "dim": dim,
        "depths": [count_of(shapes, f"stage{stage}.blocks.block") for stage in range(1, STAGES + 1)],
        "num_heads": spatial + channel,
        "chsa_head_ratio": channel / (spatial + channel),
        "window_size": (math.isqrt(shapes[f"{_BLOCK}.sp_attn.relative_position_bias_table"][0]) + 1) // 2,
        "mv_ver": 1,
        "hidden_ratio": shapes[f"{_BLOCK}.ffn.hidden.weight"][0] / dim,
        "qkv_bias": f"{_BLOCK}.qkv_proj.qkv.bias" in shapes,
        "scale": scale,
        "fold": fold,
    }
    if f"{_BLOCK}.mobivari.exp_conv.weight" in shapes:
        joined = dim + dim // 4 + dim // 16
        narrow, wide = (
            {f"{_BLOCK}.mobivari": dim, "down1.reduction": 4 * dim},
            {
                "bottleneck.mobivari": joined,
                "attn_mix.mobivari": joined + dim,
            },
        )
        for name, modules in (("exp", narrow), ("mix_exp", wide)):
            widths = {inside: shapes[f"{module}.exp_conv.weight"] for module, inside in modules.items()}
            sizes = [(inside, shape[0], shape[1]) for inside, shape in widths.items()]
            values[f"{name}_factor"], values[f"{name}_groups"] = _expansion(sizes)
        values["mv_ver"] = 2
    return Config.from_json(values)


def _expansion(sizes: Iterable[tuple[int, int, int]]) -> tuple[float, int]:
    """Return factor and groups of expanding convolutions.

    Args:
        sizes: Channels in, channels out and channels in a group of each.

    Raises:
        ValueError: If no factor of two decimals gives these.
    """
    known = [(inside, expanded, inside // of_group) for inside, expanded, of_group in sizes]
    # The published factors come first: several may round to the same width.
    for factor in (1.2, 2.0, *_FACTORS):
        if all(expanded_channels(inside, factor, groups) == expanded for inside, expanded, groups in known):
            return factor, known[0][2]
    raise ValueError("the widths of the expanding convolutions follow from no factor")
