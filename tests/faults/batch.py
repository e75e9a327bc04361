"""The batch that faults are tried on: small images, the program in a fork of this process, and what it left behind.

Starting Python and loading torch takes seconds, and a fault is tried hundreds of times; so both are done once, and each
run is a fork that is handed a command line and runs the program's own `run` on it. Only the network is a stand-in (it
turns pixels into their negative), unless a file of weights is named: what is tried here happens around it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from restore_cli.jobs.ledger import LEDGER_NAME

_UNFINISHED = ".restore-"
# Forked with these blocked, so that none comes before the program listens.
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a run of the program ended.

    Attributes:
        code: Exit code, negative for the signal that killed it.
        seconds: From its start, or from the signal that was sent to it, to its end.
        records: The JSON Lines it wrote.
        errors: What it wrote on stderr.
    """

    code: int
    seconds: float
    records: tuple[Mapping[str, Any], ...]
    errors: str

    def count(self, status: str) -> int:
        """Return how many images ended so."""
        return sum(record.get("status") == status for record in self.records)


class Child:
    """The program on a command line, in a fork.

    Args:
        arguments: Without the program's own name.
        log: Where its streams go, `log`.out and `log`.err.
        settings: Environment variables to add.
    """

    def __init__(self, arguments: Sequence[object], log: Path, settings: Mapping[str, str] | None = None) -> None:
        self._out, self._err = log.with_suffix(".out"), log.with_suffix(".err")
        for stale in (self._out, self._err):
            stale.unlink(missing_ok=True)  # else a child that is killed at once would speak in another's words
        self.started = time.monotonic()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self.pid = os.fork()
        if self.pid == 0:
            _become_the_program([str(argument) for argument in arguments], self._out, self._err, settings or {})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def send(self, number: int) -> None:
        """Send a signal; the clock of `wait` starts anew."""
        self.started = time.monotonic()
        os.kill(self.pid, number)

    def wait(self) -> Run:
        """Wait for its end."""
        _, status = os.waitpid(self.pid, 0)
        seconds = time.monotonic() - self.started
        lines = self._out.read_text().splitlines() if self._out.exists() else []
        errors = self._err.read_text() if self._err.exists() else ""
        whole = [line for line in lines if line.endswith("}")]  # a kill may cut the last
        code = os.waitstatus_to_exitcode(status)
        return Run(code=code, seconds=seconds, records=tuple(map(json.loads, whole)), errors=errors)


def _become_the_program(arguments: list[str], out: Path, err: Path, settings: Mapping[str, str]) -> None:
    from restore_cli.cli import app

    code = 99
    try:
        for stream, path in ((1, out), (2, err)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, stream)
            os.close(descriptor)
        os.environ.update(settings)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as `__main__` does
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        code = app.run(arguments)
    finally:
        os._exit(code)


class Bench:
    """A folder of small images, the command that restores them, and the results that are right.

    Args:
        root: An empty folder to work in.
        images: How many.
        side: Of each, in pixels.
        weights: A file to run in earnest; None for the stand-in.
        options: Further options of every run.
        checked: Find out first what is right, and how long it takes.
    """

    def __init__(
        self,
        root: Path,
        images: int,
        weights: Path | None = None,
        *,
        side: int = 16,
        options: Sequence[str] = (),
        checked: bool = True,
    ) -> None:
        self.root = root
        self.images = images
        self.source, self.target = root / "in", root / "out"
        _import_all()
        self._weights = weights or stand_in(root)
        self._options = ["--threads", 1, "--json", *options]
        self.source.mkdir(parents=True)
        shuffle = np.random.default_rng(0)
        for index in range(images):
            pixels = shuffle.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.source / f"{index:05}.png")
        if not checked:
            return
        whole = self.run()
        assert whole.code == 0, whole.errors
        self.seconds = whole.seconds
        self.right = results(self.target)
        assert len(self.right) == images
        self.clear()

    def clear(self) -> None:
        """Empty the output folder."""
        shutil.rmtree(self.target, ignore_errors=True)

    def begin(self, *options: object, target: Path | None = None, log: str = "run", **settings: str) -> Child:
        """Start the program on the batch."""
        return Child(self._arguments(*options, self.source, target or self.target), self.root / log, settings)

    def run_on(self, paths: Sequence[Path], *options: object) -> Run:
        """Run the program on some images, in their order."""
        return Child(self._arguments(*options, *paths, "--output", self.target), self.root / "run").wait()

    def _arguments(self, *options: object) -> list[object]:
        return ["denoise", "--weights", self._weights, *self._options, *options]

    def command_line(self) -> list[str]:
        """Return the command line of the program on the batch, as a process of its own."""
        return [sys.executable, "-m", "restore_cli", *map(str, self._arguments(self.source, self.target))]

    def run(self, *options: object, target: Path | None = None, **settings: str) -> Run:
        """Run the program on the batch."""
        return self.begin(*options, target=target, **settings).wait()

    def cost(self, *options: object) -> float:
        """Return the seconds of CPU that the program takes on the batch, its start included: no fork of this process.

        The stand-in is no part of that program, so nothing may be left for a network to do.
        """
        arguments = self._arguments(*options, self.source, self.target)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "restore_cli", *map(str, arguments)], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    def make_old_results(self, target: Path) -> dict[str, bytes]:
        """Put results of an earlier time where the new ones go; return them."""
        target.mkdir(parents=True, exist_ok=True)
        old = {name: b"an older result of " + name.encode() for name in self.right}
        for name, data in old.items():
            (target / name).write_bytes(data)
        return old


def _import_all() -> None:
    """Import here what the program imports when it needs it, so that no fork has to."""
    import restore_cli.inference.device
    import restore_cli.jobs.pipeline
    import restore_cli.models.ramit.arch
    import restore_cli.weights.load
    import restore_cli.weights.store  # noqa: F401 - for those to come


def stand_in(root: Path) -> Path:
    """Write the tiniest weights, and let their network be replaced in all processes forked from now on."""
    from restore_cli.inference.restorer import Restorer
    from restore_cli.models import get_architecture
    from restore_cli.weights.load import save_weights
    from restore_cli.weights.manifest import WeightsEntry

    def negative(self: Restorer, image: Any, **settings: Any) -> Any:  # whatever else it is told
        return replace(image, pixels=1 - image.pixels)

    Restorer.restore_image = negative  # type: ignore[method-assign]
    arch = get_architecture("ramit")
    config = arch.config.from_json({**arch.config.tiny().to_json(), "scale": 1})
    entry = WeightsEntry(
        id="ramit-tiny", model="ramit-tiny", arch="ramit", config=config.to_json(), task="denoise", scale=1, channels=3,
        training_patch=32, file="tiny.safetensors", licence="MIT", origin="random numbers",
        citation="none",
    )  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    path = root / "tiny.safetensors"
    save_weights(path, arch.build(config).state_dict(), entry)
    return path


def results(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder that are neither hidden nor folders."""
    if not folder.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def leftovers(folder: Path) -> list[str]:
    """Return the names of unfinished files."""
    if not folder.is_dir():
        return []
    return [path.name for path in folder.iterdir() if path.name.startswith(_UNFINISHED) and path.name != LEDGER_NAME]
