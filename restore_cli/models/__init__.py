"""The networks, a file or a folder each; this folder is the registry.

Stage 5, RUN. A network is a plain `torch.nn.Module` built from its `Config` alone: RGB (or gray) in [0, 1], shape
(N, C, H, W) with H and W multiples of `Arch.multiple_of`, to (N, C, scale * H, scale * W). It knows nothing of files,
tiles or weights. A new file `models/<arch>.py` with a `Config` and an `ARCH`, or a folder whose `arch.py` holds it, is
found by itself; nothing here changes. It can be trained where it, or `presets.py` in its folder, has `PRESETS` and a
`Network`. Networks are islands: what several are made of lies in `layers`.

This module imports no torch and no network until one is asked for, so that `restore --help` stays fast.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, cast

if TYPE_CHECKING:
    from torch import Tensor, nn

    from restore_cli.layers.bands import Execution


Shapes = Mapping[str, tuple[int, ...]]
"""Names and shapes of all tensors of a file."""

ENTRY_POINTS = "restore_cli.networks"
"""Group in which an installed package names its networks: name of the architecture = module with its `ARCH`."""

_COUNTED_SIDE = 768  # a multiple of most networks' units and factors

OTHERS = "spandrel"
"""Architecture of the files that only spandrel knows: not listed, since without a file nothing can be built of it."""


class Config(Protocol):
    """What every network's frozen configuration offers: JSON both ways, and a tiny form for tests.

    `channels` and `scale` are attributes (or properties) so that callers need not know the network.
    """

    @property
    def channels(self) -> int:
        """Return the number of image channels in, 1 (gray) or 3 (RGB)."""
        ...

    @property
    def scale(self) -> int:
        """Return the factor from input to output size, 1 for the same size."""
        ...

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        ...

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from a JSON object; unknown or missing fields raise ValueError with the known names."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `from_json` takes."""
        ...


class JsonConfig:
    """Give a frozen dataclass whose fields all have defaults, of numbers, texts and tuples of them, a JSON form.

    Attributes:
        NETWORK: Name of the network, for messages.
        LATER: Fields that came when files had been written already; where one is absent its default holds.
    """

    NETWORK: ClassVar[str]
    LATER: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from a JSON object as `to_json` returns it.

        Raises:
            ValueError: If a field is unknown, missing, of the wrong type or impossible.
        """
        defaults = {field.name: field.default for field in fields(cast("Any", cls))}
        unknown, missing = sorted(values.keys() - defaults), sorted(defaults.keys() - values - cls.LATER)
        if unknown or missing:
            known = ", ".join(sorted(defaults))
            msg = f"{cls.NETWORK}: unknown fields {unknown}, missing fields {missing}; known: {known}"
            raise ValueError(msg)
        given = {name: default for name, default in defaults.items() if name in values}
        return cls(**{name: cls._field(name, values[name], default) for name, default in given.items()})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `from_json` takes."""
        return {name: _listed(value) for name, value in asdict(cast("Any", self)).items()}

    def _require(self, *checks: tuple[bool, str]) -> None:
        """Raise ValueError with the message of the first check that does not hold."""
        for holds, message in checks:
            if not holds:
                msg = f"{self.NETWORK}: {message}"
                raise ValueError(msg)

    @classmethod
    def _field(cls, name: str, value: Any, default: Any) -> Any:
        """Return a JSON value as the field's type, which is the type of its default."""
        if isinstance(default, tuple) and isinstance(value, list | tuple):
            return tuple(cls._field(name, item, default[0]) for item in value)
        if isinstance(default, float) and type(value) is int:
            return float(value)
        if type(value) is not type(default):
            msg = f"{cls.NETWORK}: {name} must be {type(default).__name__}, not {value!r}"
            raise ValueError(msg)
        return value


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class Arch:
    """One architecture: how to build it and what a runner must know of it.

    Attributes:
        name: The file's name, as manifest entries write it.
        config: Its configuration class.
        build: Network from configuration, randomly initialised.
        multiple_of: Height and width must be multiples of this many pixels.
        unit: Takes a configuration, returns the same for it; None where it follows from none. See `of`.
        exported_unit: Takes a configuration, returns what height and width must be multiples of in a program that is
            exported; None where that is `multiple_of`. For networks that pad their maps, which no program of open sizes
            can. See `exported_unit_of`.
        whole: Takes a configuration, returns `global_attention` for it; None where it follows from none. See `of`.
        build_from: Network from all tensors of a file and filled with them, None where it knows no such network; for
            those that no configuration describes. Raises ValueError where it cannot be used.
        global_attention: Whether its channel attention takes statistics over the whole input, so that a tile gives
            other results than the image.
        infer: Form for inference, faster on the CPU or in less memory: takes the network, a batch as its forward does
            and an `Execution`, None for the usual one. None where there is the plain form alone.
        in_bands: Whether `infer` takes the rows of a band, so that an image stays whole in little memory, and any
            context of its channel attention where it has one. Without it a network still runs, in tiles where memory
            is short.
        takes_level: Whether its forward takes the noise levels of a batch beside it, (N,) on the scale of the pixels.
        scene: Takes the network and whole images (N, C, H, W), returns (N, K) facts of them that its forward takes
            behind the levels when it sees but a tile, or None where this one takes none. For networks with levels.
        restores: Whether it maps images to images (False for a classifier or backbone).
        dtypes: Names of the dtypes measured to be good, "float32" first.
        paper: Title and arXiv id.
        views: Takes a configuration, returns how many views of a scene go in, stacked in channels; None for one.
        footprint: Takes a configuration, returns what a float32 run on the CPU holds at its peak: bytes whatever the
            size, bytes an input pixel, and bytes an input pixel of a band. None where small runs tell it.
        mult_adds: Multiply-adds in the paper's own convention for an input of (height, width) pixels before padding,
            or None where the paper states none.
        block: Class of the block that a network repeats, which training compiles one by one; None where there is none.
        convert_state_dict: Official checkpoint keys to ours; None where they are equal.
        recognise: Takes the shapes of a file's tensors and the task it is for, None where nobody says it; returns the
            configuration of the network they are of, None if it is no network of this kind. None where files must say
            it themselves.
        task: What every network of the kind is for, where that follows from its form.
    """

    name: str
    config: type[Config]
    build: Callable[[Any], nn.Module]
    multiple_of: int
    unit: Callable[[Any], int] | None = None
    exported_unit: Callable[[Any], int] | None = None
    whole: Callable[[Any], bool] | None = None
    build_from: Callable[[Mapping[str, Tensor]], nn.Module | None] | None = None
    global_attention: bool
    infer: Callable[[nn.Module, Tensor, Execution | None], Tensor] | None = None
    in_bands: bool = False
    takes_level: bool = False
    scene: Callable[[Any, Tensor], Tensor | None] | None = None
    restores: bool = True
    dtypes: tuple[str, ...] = ("float32",)
    paper: str
    views: Callable[[Any], int] | None = None
    footprint: Callable[[Any], tuple[float, float, float]] | None = None
    mult_adds: Callable[[Any, int, int], int] | None = None
    block: type[nn.Module] | None = None
    convert_state_dict: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    recognise: Callable[[Shapes, str | None], Any] | None = None
    task: str | None = None

    def run(self, network: nn.Module, x: Tensor) -> Tensor:
        """Run a network on a batch in the form that is fastest there and gives the same pixels, see `infer`."""
        from restore_cli.layers.bands import wants_bands

        if self.infer is not None and wants_bands(x):
            return self.infer(network, x, None)
        restored: Tensor = network(x)
        return restored

    def of(self, config: Config) -> Arch:
        """Return what is to be known of networks of that configuration: `multiple_of`, `global_attention`."""
        return replace(
            self,
            multiple_of=self.multiple_of if self.unit is None else self.unit(config),
            global_attention=self.global_attention if self.whole is None else self.whole(config),
        )

    def exported_unit_of(self, config: Config) -> int:
        """Return what height and width must be multiples of in a program exported of such a network, in pixels."""
        return self.of(config).multiple_of if self.exported_unit is None else self.exported_unit(config)

    def views_of(self, config: Config) -> int:
        """Return how many views of a scene a network of that configuration takes, 1 for all but a few."""
        return 1 if self.views is None else self.views(config)

    def channels_in(self, config: Config) -> int:
        """Return how many channels go in: those of the image, for each view."""
        return config.channels * self.views_of(config)


class NetworkChoice(Protocol):
    """What a recipe chooses of a network: a frozen dataclass of numbers, texts and tuples of them."""

    @property
    def arch(self) -> str:
        """Return the name of the architecture."""
        ...

    def config(self, *, task: str, scale: int, channels: int) -> Config:
        """Return the whole configuration for a task."""
        ...


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A network of a certain size and how it is trained, from which a recipe for every task is made.

    Attributes:
        family: Name of the networks, "ramit-lite".
        network: Which network.
        batch: Samples a step.
        patch: Side of the patches in degraded pixels.
        enlarging_patch: The same where the output is larger; None for the same side.
        rate: Highest learning rate.
        steps: Usual length.
        deblurring: Which network deblurs, if not the same: blur reaches far.
        tasks: Names of the tasks it is for; None for all.
        noise: Variant of denoising that its denoisers are trained on, and its highest level.
        is_default: Whether a task's own recipe is of this family.
    """

    family: str
    network: NetworkChoice
    batch: int
    patch: int
    enlarging_patch: int | None = None
    rate: float
    steps: int
    deblurring: NetworkChoice | None = None
    tasks: tuple[str, ...] | None = None
    noise: tuple[str, float] = ("mixed", 50.0)
    is_default: bool = False


def presets(*, of_files: bool = False) -> tuple[Preset, ...]:
    """Return the training presets of every network, the default's first.

    Args:
        of_files: Look into networks of one file too, which imports them and torch.
    """
    found: list[Preset] = []
    for name in architecture_names():
        module = presets_module(name) if of_files or _is_folder(name) else None
        found.extend(() if module is None else module.PRESETS)
    return tuple(sorted(found, key=lambda preset: not preset.is_default))


def presets_module(name: str) -> Any:
    """Return the module that holds `PRESETS` and `Network` of an architecture: its file, or `presets` in its folder.

    None if it cannot be trained.

    Raises:
        ValueError: If there is no such architecture.
    """
    _check_known(name)
    module = f"{_modules()[name]}.presets" if _is_folder(name) else _modules()[name]
    if importlib.util.find_spec(module) is None:
        return None
    found = importlib.import_module(module)
    return found if hasattr(found, "PRESETS") else None


def _is_folder(name: str) -> bool:
    spec = importlib.util.find_spec(_modules()[name])
    return spec is not None and spec.submodule_search_locations is not None


def _check_known(name: str) -> None:
    if name not in architecture_names():
        msg = f"unknown architecture {name!r}; known: {', '.join(architecture_names())}"
        raise ValueError(msg)


def architecture_names() -> tuple[str, ...]:
    """List the architectures, of this folder and of installed packages, without importing any of them."""
    return tuple(sorted(_modules()))


@cache
def _modules() -> dict[str, str]:
    """Return the module of each architecture: of this folder, then what installed packages offer by entry points."""
    own = {m.name: f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")}
    others = {point.name: point.value for point in metadata.entry_points(group=ENTRY_POINTS)}
    return others | own


def get_architecture(name: str) -> Arch:
    """Import one architecture (and torch).

    Raises:
        ValueError: If nothing of that name is known; the known names are in the message.
    """
    if name == OTHERS:
        others: Arch = importlib.import_module(f"{__name__}._spandrel").ARCH
        return others
    _check_known(name)
    module = importlib.import_module(_modules()[name])
    if not hasattr(module, "ARCH"):
        module = importlib.import_module(f"{_modules()[name]}.arch")
    arch: Arch = module.ARCH
    return arch


def mult_adds_a_pixel(arch: Arch, config: Config) -> int:
    """Return the multiply-adds for each pixel of the result, of convolutions and matrix products as torch counts them.

    Args:
        arch: An architecture that restores; needs torch.
        config: Its configuration.
    """
    import torch

    unit, scale = arch.of(config).multiple_of, config.scale
    side = -(-_COUNTED_SIDE // (scale * unit)) * unit
    network = arch.build(config).eval().to("meta")
    flops = count_flops(network, torch.empty((1, arch.channels_in(config), side, side), device="meta"))
    return round(flops / 2 / (scale * side) ** 2)


def count_flops(network: nn.Module, image: Tensor) -> int:
    """Count the floating point operations of one forward pass, two a multiply-add.

    Attention is forced through plain matrix products: torch 2.13 counts 0 for its fused attention on the CPU.

    Args:
        network: On the device of `image`.
        image: (N, C, H, W), on the meta device if nothing is to be computed.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), counter:
        network(image)
    return int(counter.get_total_flops())


def count_of(shapes: Shapes, prefix: str) -> int:
    """Return how many numbered parts begin with a name, as "body.0", "body.1", ... begin with "body."."""
    rests = (key.removeprefix(prefix) for key in shapes if key.startswith(prefix))
    return len({number for rest in rests if (number := rest.partition(".")[0]).isdecimal()})


def network_name(arch: Arch) -> str:
    """Return a network's name as people write it."""
    return str(getattr(arch.config, "NETWORK", arch.name))


def known_networks() -> str:
    """Return the networks whose files are recognised, as a list in words; imports them, and torch."""
    others = importlib.import_module(f"{__name__}._spandrel")
    names = [network_name(arch) for arch in _recognisable()]
    more = "those of spandrel" if others.is_installed() else f"more with spandrel ({others.INSTALL})"
    return f"{', '.join(names)} and {more}"


def _recognisable() -> tuple[Arch, ...]:
    return tuple(arch for arch in map(get_architecture, architecture_names()) if arch.recognise is not None)


def recognise(shapes: Shapes, task: str | None = None) -> tuple[Arch, Config] | None:
    """Find the network that a file's tensors are of, None where none is known.

    Args:
        shapes: Names and shapes of all tensors, without what is wrapped around them.
        task: Command name of what it is for, None where nobody says it.
    """
    for arch in _recognisable():
        try:
            config = None if arch.recognise is None else arch.recognise(shapes, task)
        except (ValueError, ArithmeticError, LookupError):  # shapes of nothing that could be built
            continue
        if config is not None:
            return arch, config
    return None
