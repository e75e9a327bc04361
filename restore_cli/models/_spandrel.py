"""Networks of others that this folder has no file for, built by spandrel where it is installed.

Stage 5, RUN. spandrel (MIT) finds an architecture from a file's tensors and builds it. Its own loader is never called:
what it gets was read and judged by `weights`. It is no extra in pip's sense, since it asks for torchvision, which would
replace torch: people install it alone, and the two of its networks that need torchvision are refused where that lacks.

Nothing here imports spandrel before a file asks for it.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from restore_cli.errors import UsageError
from restore_cli.models import OTHERS, Arch, JsonConfig

INSTALL = "pip install --no-deps spandrel"

_LARGEST_SCALE = 16
_TORCHVISION = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
_NEED_TORCHVISION = ("LaMa", "RestoreFormer")


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe what must be known of a network beside its file, which alone it can be built from.

    Attributes:
        network: What spandrel calls the architecture.
        scale: Factor from input to output size.
        channels: Image channels, 1 or 3.
        unit: Height and width must be multiples of this many pixels.
        whole: spandrel advises against tiles, which see less than the image would show them.
    """

    NETWORK: ClassVar[str] = OTHERS

    network: str = "unknown"
    scale: int = 1
    channels: int = 3
    unit: int = 1
    whole: bool = False

    @classmethod
    def tiny(cls) -> Self:
        """Return the configuration of nothing in particular."""
        return cls()


class Network(nn.Module):
    """A network of spandrel's in the form of ours.

    Args:
        descriptor: What spandrel found: the network, and all that it asks of an image.
    """

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.model = descriptor.model
        self._descriptor = descriptor
        required = descriptor.size_requirements
        self.config = Config(
            network=str(descriptor.architecture.id),
            scale=descriptor.scale,
            channels=descriptor.input_channels,
            unit=required.multiple_of,
            whole=descriptor.tiling.name != "SUPPORTED",
        )

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch; one smaller than the network takes is mirrored up to that and cut again.

        Args:
            x: (N, channels, H, W) in [0, 1], H and W multiples of `Config.unit`.

        Returns:
            (N, channels, scale * H, scale * W) in [0, 1].
        """
        restored: Tensor = self._descriptor(x)
        return restored


def is_installed() -> bool:
    """Return whether spandrel is there, without importing it."""
    return importlib.util.find_spec("spandrel") is not None


def build_from(tensors: Mapping[str, Tensor]) -> Network | None:
    """Find and build the network of some tensors, None where there is none or spandrel is not installed.

    Args:
        tensors: All that a file holds, named as in the file.

    Raises:
        ValueError: If it is one that cannot be built, or that restores no image of one or three channels.
    """
    if not is_installed():
        return None
    with torchvision_or_none() as has_torchvision:
        from spandrel import MAIN_REGISTRY, UnsupportedModelError
    as_float32 = {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of theirs to themselves: of what torch will change, of empty tensors
            descriptor = MAIN_REGISTRY.load(as_float32)
    except UnsupportedModelError:
        return None
    except Exception as error:  # its detectors look at few names only; then shapes raise whatever they stumble over
        msg = f"spandrel cannot build it: {(str(error).splitlines() or [type(error).__name__])[0][:200]}"
        raise ValueError(msg) from error
    name = descriptor.architecture.id
    if name in _NEED_TORCHVISION and not has_torchvision:
        raise ValueError(f"a {name} needs torchvision, which is not installed")
    if descriptor.purpose == "Inpainting":
        raise ValueError(f"a {name} fills holes and wants a mask, which nothing here makes")
    if descriptor.input_channels != descriptor.output_channels or descriptor.input_channels not in (1, 3):
        raise ValueError(
            f"a {name} that turns {descriptor.input_channels} channels into {descriptor.output_channels} restores no "
            "gray or RGB image"
        )
    if descriptor.size_requirements.square:
        raise ValueError(f"a {name} takes square images only")
    if not 1 <= descriptor.scale <= _LARGEST_SCALE:
        raise ValueError(f"a {name} that enlarges {descriptor.scale} times is none of restoration")
    return Network(descriptor).eval()


@contextmanager
def torchvision_or_none() -> Iterator[bool]:
    """Let spandrel be imported where torchvision is missing or does not fit torch; yields whether it is usable.

    Modules without content stand in for it meanwhile, and are gone afterwards, so that nobody else takes them for it.
    """
    if _is_usable(_TORCHVISION[-1]):
        yield True
        return
    before = {name: sys.modules.pop(name) for name in _TORCHVISION if name in sys.modules}
    stand_ins = {name: ModuleType(name) for name in _TORCHVISION}
    for name in ("InterpolationMode", "rotate", "normalize"):
        setattr(stand_ins[_TORCHVISION[-1]], name, None)
    sys.modules.update(stand_ins)
    try:
        yield False
    finally:
        for name in _TORCHVISION:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def _is_usable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except Exception:  # noqa: BLE001  (one that does not fit torch raises RuntimeError, and others)
        return False
    return True


def _build(config: Config) -> nn.Module:
    msg = f"a {config.network} of spandrel can only be built from its file"
    raise UsageError(msg, hint="restore images with it: --weights FILE")


ARCH = Arch(
    name=OTHERS,
    config=Config,
    build=_build,
    build_from=build_from,
    multiple_of=1,
    unit=lambda config: config.unit,
    whole=lambda config: config.whole,
    global_attention=False,
    paper="the architecture as spandrel builds it, https://github.com/chaiNNer-org/spandrel",
)
