"""Products with a layer's weights over the positions of a band, each position by itself.

Stage 5, RUN. On the CPU through oneDNN where torch reaches it: bias and GELU then cost no pass of their own, and a
position's result does not depend on how many threads share the work, as torch's own GELU does in its last bits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """Multiply the channels of every position.

    Args:
        x: (..., in), contiguous.
        weight: (out, in), contiguous.
        bias: (out,) or None.
        gelu: Apply the exact GELU to the result.

    Returns:
        (..., out).
    """
    if not _reaches_onednn(x):
        result = F.linear(x, weight, bias)
        return F.gelu(result) if gelu else result
    flat = x.view(-1, x.shape[-1])
    name, algorithm = ("gelu", "none") if gelu else ("none", "")
    product: Tensor = torch.ops.mkldnn._linear_pointwise(flat, weight, bias, name, [], algorithm)
    return product.view(*x.shape[:-1], weight.shape[0])


def _reaches_onednn(x: Tensor) -> bool:
    """Tell whether torch's private way to oneDNN is there and takes such a tensor."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    return bool(torch._C._has_mkldnn) and hasattr(torch.ops.mkldnn, "_linear_pointwise")
