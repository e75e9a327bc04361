"""Try faults on the program, by hand and in full: `python -m tests.faults --kills 200 --signals 100 ...`.

Prints a JSON object an experiment and ends with 1 if anything came out wrong. Nothing is tried that is not asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

PRELOAD_SOURCE = Path(__file__).with_name("preload.c")
_PRELOADED = "FAULT_PRELOADED"


def main() -> int:
    # A shell without job control has what runs in its background ignore Ctrl-C, and a program hands that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    wanted = _parse()
    if wanted.calls and _PRELOADED not in os.environ:
        return _run_preloaded()
    import torch

    from tests.faults import experiments
    from tests.faults.batch import Bench

    torch.set_num_threads(1)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="restore-faults-", dir=wanted.folder) as folder:
        shuffle = random.Random(wanted.seed)

        def bench(name: str, images: int, *, checked: bool = True) -> Bench:
            options = shlex.split(wanted.options)
            place = Path(folder) / name
            return Bench(place, images, wanted.weights, side=wanted.side, options=options, checked=checked)

        def until() -> float:
            return time.monotonic() + 60 * wanted.minutes

        plans: list[tuple[int, Callable[[int], experiments.Outcome]]] = [
            (wanted.kills, lambda n: experiments.kills(bench("kills", wanted.images), n, shuffle, until())),
            (wanted.signals, lambda n: experiments.signals(bench("signals", wanted.images), n, shuffle, until())),
            (wanted.starts, lambda n: experiments.starts(bench("starts", wanted.images, checked=False), n, until())),
            (wanted.sizes, lambda n: experiments.full_disks(bench("sizes", wanted.small), n, until())),
            (wanted.calls, lambda n: experiments.failing_calls(bench("calls", wanted.small), n, until())),
            (wanted.processes, lambda n: experiments.processes(bench("shared", wanted.small), n, shuffle, until())),
            (wanted.same, lambda n: experiments.same_bytes(bench("same", wanted.small), n, until())),
            (wanted.many, lambda n: experiments.many(bench("many", n, checked=False))),
        ]
        for count, experiment in plans:
            if count:
                outcome = experiment(count)
                wrong += len(outcome.wrong)
                sys.stdout.write(json.dumps({k: v for k, v in asdict(outcome).items() if k != "until"}) + "\n")
                sys.stdout.flush()
    return int(wrong > 0)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, what in (
        ("kills", "kill -9 at so many moments, then resume"),
        ("signals", "SIGINT and SIGTERM at so many moments each"),
        ("starts", "SIGINT and SIGTERM at so many moments from the first instruction on, the machine busy"),
        ("sizes", "full disks of so many sizes (as root)"),
        ("calls", "let each of so many first renames, links, fsyncs and writes fail (needs a C compiler)"),
        ("processes", "four processes on one folder, one killed, so often"),
        ("same", "so many runs, then other threads, orders and resumes, to the same bytes"),
        ("many", "so many images in one run"),
    ):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N", help=what)
    parser.add_argument("--images", type=int, default=200, help="of a batch that is interrupted")
    parser.add_argument("--small", type=int, default=40, help="of a batch that meets storage faults")
    parser.add_argument("--side", type=int, default=16, help="of each image, in pixels")
    parser.add_argument("--options", default="", help="of every run besides: --options='--tile 64 --overlap 16'")
    parser.add_argument("--minutes", type=float, default=1e6, help="end each experiment after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, help="run these for denoising in earnest, in place of a stand-in")
    parser.add_argument("--folder", type=Path, help="where to work; the default is the system's folder for such files")
    return parser.parse_args()


def _run_preloaded() -> int:
    """Run all of it in another process, with a library before all others that makes calls fail."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("no C compiler here")
    with tempfile.TemporaryDirectory(prefix="restore-preload-") as folder:
        library = Path(folder) / "preload.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, PRELOAD_SOURCE, "-ldl"], check=True)
        settings = {**os.environ, "LD_PRELOAD": str(library), _PRELOADED: "1"}
        return subprocess.run([sys.executable, "-m", "tests.faults", *sys.argv[1:]], env=settings).returncode


if __name__ == "__main__":
    sys.exit(main())
