"""`restore doctor`: what this machine has, what would be chosen on it and why, and whether it works.

Stage 1, ASK. Facts are gathered one by one; a fault in one of them is told and counted, and the others still come.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import typer

from restore_cli import __version__
from restore_cli.cli.options import MessageOptions
from restore_cli.cli.output import Output
from restore_cli.cli.registration import command
from restore_cli.errors import DeviceError, RestoreError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from restore_cli.models import Arch

app = typer.Typer()

PACKAGES = ("torch", "pillow", "numpy", "huggingface_hub", "safetensors", "einops", "typer", "rich")
ENVIRONMENT = ("RESTORE_WEIGHTS_DIR", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES")
_LARGEST_DIFFERENCE = 1e-3  # of a random network's output in float32; a right device stays below 1e-5


@dataclass(kw_only=True)
class Findings:
    """What was found.

    Attributes:
        versions: Of this program, Python and the packages it stands on, by name.
        platform: Operating system and machine.
        devices: All that can be chosen, best first.
        device: The one that is chosen without --device.
        reason: Why.
        dtype: The precision RAMiT runs in there, and why.
        threads: CPU threads of one operation.
        free_memory_bytes: On the chosen device.
        cache: Folder of fetched weights.
        environment: Variables that are set and have a say here.
        weights: Where each file at hand lies, by weights id; those not at hand are None.
        reads: Formats that are read, with the extras that are installed.
        writes: Formats that are written, with them.
        largest_difference: Of a small network on the chosen device from the CPU in float64; None where it did not run.
        faults: What is broken, a line each.
    """

    versions: dict[str, str] = field(default_factory=dict)
    platform: str = ""
    devices: tuple[str, ...] = ()
    device: str = ""
    reason: str = ""
    dtype: str = ""
    threads: int = 0
    free_memory_bytes: int = 0
    cache: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str | None] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    largest_difference: float | None = None
    faults: list[str] = field(default_factory=list)


@command(app, "doctor", examples="restore doctor\nrestore doctor --json | jq .reason")
def doctor(messages: MessageOptions) -> None:
    """Show what this machine has, what would be chosen, and whether it works."""
    out = messages.open()
    found = Findings()
    codes = [
        code
        for look in (_look_at_versions, _look_at_weights, _look_at_devices, _try_a_network)
        if (code := _guarded(look, found))
    ]
    if out.wants_json:
        out.json(asdict(found))
    else:
        _show(found, out)
    for fault in found.faults:
        out.error(fault)
    if codes:
        raise typer.Exit(codes[0])


def _guarded(look: Callable[[Findings], None], found: Findings) -> int:
    """Run one look; note its fault and return that fault's exit code, 0 for none."""
    try:
        look(found)
    except RestoreError as error:
        found.faults.append(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 -- a broken installation fails in any way, and this is to tell how
        found.faults.append(f"{type(error).__name__}: {error}; install restore-cli and torch again")
        return RestoreError.exit_code
    return 0


def _look_at_versions(found: Findings) -> None:
    from restore_cli.imaging.formats import EXTRA_BY_FORMAT, READABLE_FORMATS, WRITABLE_FORMATS
    from restore_cli.imaging.pillow import has_plugin

    found.versions = {"restore": __version__, "python": platform.python_version()}
    found.versions |= {name: _version(name) for name in PACKAGES}
    found.platform = f"{platform.platform()}, {sys.executable}"
    found.environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    absent = {name for name in EXTRA_BY_FORMAT if not has_plugin(name)}
    found.reads = (*READABLE_FORMATS, *(name for name in EXTRA_BY_FORMAT if name not in absent))
    found.writes = tuple(name for name in WRITABLE_FORMATS if name not in absent)


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _look_at_weights(found: Findings) -> None:
    from restore_cli.weights import store
    from restore_cli.weights.manifest import load_manifest

    found.cache = str(store.cache_dir())
    for entry in load_manifest().entries:
        at_hand = store.find(entry)
        found.weights[entry.id] = None if at_hand is None else str(at_hand.path)
        if at_hand is not None and at_hand.place == "bundled":
            store.verify(entry, at_hand.path)


def _look_at_devices(found: Findings) -> None:
    import torch

    from restore_cli.inference.device import available_devices, choose_device, choose_dtype, free_memory
    from restore_cli.models import get_architecture

    choice = choose_device("auto")
    dtype = choose_dtype("auto", choice.device, get_architecture("ramit").dtypes)
    found.devices = available_devices()
    found.device, found.reason = str(choice.device), choice.reason
    found.dtype = f"{dtype.name}: {dtype.reason}"
    found.threads = torch.get_num_threads()
    found.free_memory_bytes = free_memory(choice.device)


def _try_a_network(found: Findings) -> None:
    """Compare a small random network on the chosen device with the CPU in float64."""
    import torch

    from restore_cli.inference.device import choose_device
    from restore_cli.models import get_architecture

    device = choose_device("auto").device
    arch = get_architecture("ramit")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = arch.build(arch.config.tiny()).eval()
        image = torch.rand(1, 3, arch.multiple_of, arch.multiple_of)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a network gains nothing from more, and on a busy machine waits for them
    try:
        here = _output(arch, network.to(device), image.to(device))
        exact = _output(arch, network.to("cpu", torch.float64), image.double())
    finally:
        torch.set_num_threads(threads)
    found.largest_difference = float((here - exact).abs().max())
    if not found.largest_difference <= _LARGEST_DIFFERENCE:  # nor if it is no number
        msg = f"a test network on {device} is off by {found.largest_difference:.2g}"
        raise DeviceError(msg, hint="run with --device cpu, and update the driver or torch")


def _output(arch: Arch, network: nn.Module, image: Tensor) -> Tensor:
    import torch

    with torch.inference_mode():
        return arch.run(network, image).double().cpu()


def _show(found: Findings, out: Output) -> None:
    at_hand = {name: path for name, path in found.weights.items() if path is not None}
    versions = dict(found.versions)
    lines = {
        "restore": versions.pop("restore"),
        "python": f"{versions.pop('python')} on {found.platform}",
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "device": f"{found.device} ({found.reason})",
        "devices": ", ".join(found.devices),
        "precision": found.dtype,
        "threads": str(found.threads),
        "free memory": f"{found.free_memory_bytes / 2**30:.1f} GiB",
        "self-test": _verdict(found),
        "reads": ", ".join(found.reads),
        "writes": ", ".join(found.writes),
        "cache": found.cache,
        "environment": ", ".join(f"{name}={value}" for name, value in found.environment.items()) or "nothing set",
        "weights": f"{len(at_hand)} of {len(found.weights)} at hand" + (":" if at_hand else ""),
    }
    for name, value in lines.items():
        out.data(f"{name:<12} {value}")
    width = max(map(len, at_hand), default=0)
    for name, path in at_hand.items():
        out.data(f"{'':<12} {name:<{width}}  {path}")


def _verdict(found: Findings) -> str:
    if found.largest_difference is None:
        return "did not run"
    verdict = "ok" if found.largest_difference <= _LARGEST_DIFFERENCE else "FAILED"
    return f"{verdict}, a test network on {found.device} is within {found.largest_difference:.1g} of the CPU in float64"
