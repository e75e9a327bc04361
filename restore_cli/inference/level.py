"""A network that takes noise levels, held to one at a time: what the rest of a run treats as any other network.

Stage 5, RUN.
"""

from __future__ import annotations

from torch import Tensor, nn


class NetworkAtLevel(nn.Module):
    """Run a network with one noise level for every image.

    Args:
        network: Its forward takes a batch and (N,) noise levels.
        level: Standard deviation of the noise on the scale of the pixels (sigma / 255); None leaves it to the network.
            May be set anew between two images.
    """

    def __init__(self, network: nn.Module, level: float | None = None) -> None:
        super().__init__()
        self.network = network
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        """Restore (N, C, H, W) in [0, 1]."""
        level = None if self.level is None else x.new_full((x.shape[0],), self.level)
        restored: Tensor = self.network(x, level)
        return restored
