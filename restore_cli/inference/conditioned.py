"""A network that takes facts of the whole image, held to those of one image at a time.

Stage 5, RUN. What the rest of a run treats as any other network, whole image or tile: the noise level comes from
outside, the scene is what the network itself sees in the whole image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from restore_cli.imaging.decoded_image import FloatImage
from restore_cli.models import Arch


class ConditionedNetwork(nn.Module):
    """Run a network with one noise level and one scene for every tile.

    Args:
        network: Its forward takes a batch, (N,) noise levels, and (N, K) facts of the scene where `arch` has some.
        arch: What is to be known of it.
    """

    def __init__(self, network: nn.Module, arch: Arch) -> None:
        super().__init__()
        self.network = network
        self._arch = arch
        self._level: float | None = None
        self._scene: Tensor | None = None

    def look_at(self, pixels: FloatImage, sigma: float | None) -> None:
        """Take over what is known of the image whose tiles come next.

        Args:
            pixels: float32 (H, W, C) in [0, 1].
            sigma: Standard deviation of its noise on the 0..255 scale; None leaves it to the network.
        """
        self._level = None if sigma is None else sigma / 255.0
        self._scene = None
        if self._arch.scene is not None:
            whole = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
            with torch.inference_mode():
                self._scene = self._arch.scene(self.network, whole)

    def forward(self, x: Tensor) -> Tensor:
        """Restore (N, C, H, W) in [0, 1]."""
        level = None if self._level is None else x.new_full((x.shape[0],), self._level)
        facts = () if self._scene is None else (self._scene.to(x.device).expand(x.shape[0], -1),)
        restored: Tensor = self.network(x, level, *facts)
        return restored
