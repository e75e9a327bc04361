"""All that only a GPU can show, in one run of at most twelve minutes: `python -m tests.gpu --data photos/`.

In this order, so that what matters most is there if the run is cut short: the tests marked `gpu`; frames a second and
peak memory of networks at 720p in every precision, as they are, as CUDA graphs and compiled; a folder of JPEGs of two
megapixels and the share of the time in which the GPU was busy; and in all time that is left, training (bf16, compiled).
Trainings keep their checkpoints below `--out` and go on from there in the next run. The page, gpu.html, is written anew
after every part. `--device cpu --seconds 90` tries it on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from restore_cli.benchmark.cases import BenchSettings, Case, select_entries
from restore_cli.benchmark.energy import find_meter
from restore_cli.benchmark.machine import describe_environment
from restore_cli.benchmark.measure import Measurement, run_and_report
from restore_cli.benchmark.workloads import Workload, prepare
from restore_cli.inference.device import choose_device
from restore_cli.pages.document import document, table
from restore_cli.training.run_file import NAME
from restore_cli.weights.manifest import load_manifest

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = "ramit-lite-sr-x4,unet-sr-x4-photo,unet-denoise-color"
RECIPES = "ramit-lite-sr-x4,unet-denoise-color"
# Of all the time, after which no further row and no further image is begun.
_ROWS_UNTIL, _FOLDER_UNTIL = 0.45, 0.6
_GRACE_SECONDS = 20.0  # for a training to save and leave
_LOOKS_PER_SECOND = 10


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Tell how much of the time is left.

    Attributes:
        begun: When the run began, on the monotonic clock.
        seconds: How long it may take.
    """

    begun: float = field(default_factory=time.monotonic)
    seconds: float

    def until(self, share: float) -> float:
        """Return the seconds that are left of a share of the time, 0 if it is over."""
        return max(0.0, self.begun + share * self.seconds - time.monotonic())


@dataclass(kw_only=True)
class Part:
    """One part of the page: a heading, lines of text, and a table."""

    title: str
    lines: list[str] = field(default_factory=list)
    headings: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def markup(self) -> str:
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        lines = "".join(f"<p>{escape(line)}</p>" for line in self.lines)
        return f"<h2>{escape(self.title)}</h2>{lines}" + (table(self.headings, rows, kind="figures") if rows else "")


def run_tests(wanted: argparse.Namespace, limits: Limits) -> Part:
    """Run the tests that need a GPU; without one they say that they were left out."""
    part = Part(title="Tests marked gpu")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-rs", *wanted.tests]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limits.until(0.25))
        part.lines = [f"ended with {done.returncode}", *done.stdout.strip().splitlines()[-8:]]
    except subprocess.TimeoutExpired:
        part.lines = ["not finished in a quarter of the time"]
    return part


def measure_networks(wanted: argparse.Namespace, limits: Limits) -> Part:
    """Measure networks alone at an output of 720p, in every precision and form, as long as there is time."""
    part = Part(title=f"Frames of {wanted.size}", headings=("network", "form", "dtype", "ms", "frames/s", "peak MiB"))
    context = multiprocessing.get_context("spawn")  # a process of its own, as nobody knows how long a compiler takes
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_rows, args=(wanted, sender))
    process.start()
    sender.close()
    try:
        while receiver.poll(limits.until(_ROWS_UNTIL)):
            part.rows.append(receiver.recv())
        part.lines = ["Rows that are missing had no time left."]
    except EOFError:
        part.lines = [f"{len(part.rows)} rows, all that there are."]
    finally:
        process.kill()
        process.join()
    return part


def _measure_rows(wanted: argparse.Namespace, sender: Connection) -> None:
    width, height = map(int, wanted.size.split("x"))
    forms: tuple[tuple[str, Callable[[Case], Measurement]], ...] = (
        ("as it is", partial(_measured, wanted, compile=False)),
        ("CUDA graph", partial(_measured, wanted, compile=False, graph=True)),
        ("compiled", partial(_measured, wanted, compile=True)),
    )
    on_cuda = choose_device(wanted.device).device.type == "cuda"
    entries = select_entries(load_manifest(), wanted.networks.split(","))
    for (form, measured), entry, dtype in product(forms if on_cuda else forms[:1], entries, wanted.dtypes.split(",")):
        try:
            figures = _figures(measured(Case(entry=entry, size=(height, width), dtype=dtype)))
        except Exception as error:  # noqa: BLE001 - a row that fails is a result too
            figures = (f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", "", "")
        sender.send((entry.id, form, dtype, *figures))


def _measured(wanted: argparse.Namespace, case: Case, *, compile: bool, graph: bool = False) -> Measurement:  # noqa: A002
    settings = BenchSettings(device=wanted.device, compile=compile, seconds=1.0)
    workload = prepare(case, settings)
    if graph:
        workload = _as_graph(workload)
    return run_and_report(workload, settings, find_meter(workload.device), lambda *_step: None)


def _as_graph(workload: Workload) -> Workload:
    """Capture a run as a CUDA graph, warmed up on another stream as capturing wants it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            workload.run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        workload.run()
    return replace(workload, run=graph.replay)


def _figures(measured: Measurement) -> tuple[str, str, str]:
    median, memory = measured.timing.median, measured.memory
    peak = "" if memory is None else f"{memory.peak_bytes / 2**20:.0f}"
    return f"{1e3 * median:.2f}", f"{1 / median:.1f}", peak


def restore_folder(wanted: argparse.Namespace, limits: Limits) -> Part:
    """Take the noise off a folder of JPEGs by the command that people type, and look how busy the device is."""
    part = Part(title=f"A folder of {wanted.images} JPEGs of {wanted.photo}")
    with TemporaryDirectory(prefix="restore-gpu-") as folder:
        source = Path(folder, "in")
        source.mkdir()
        _draw_photos(source, wanted.photo, wanted.images)
        command = [sys.executable, "-m", "restore_cli", "denoise", "--device", wanted.device, "-q"]
        begun, cpu = time.monotonic(), os.times()
        with busy_looks(wanted.device) as looks:
            try:
                done = subprocess.run(
                    [*command, "-o", str(Path(folder, "out")), str(source)],
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    timeout=max(10.0, limits.until(_FOLDER_UNTIL)),
                )
                part.lines = done.stderr.strip().splitlines()[-3:]
            except subprocess.TimeoutExpired:
                part.lines = ["cut off: there was no more time"]
        seconds, after = time.monotonic() - begun, os.times()
        count = len(list(Path(folder, "out").glob("*.jp*g")))
        spent = after.children_user + after.children_system - cpu.children_user - cpu.children_system
        part.lines.append(f"{count} images in {seconds:.1f} s, {count / seconds:.2f} a second, the start included.")
        part.lines.append(f"{spent:.1f} s of CPU, {spent / seconds:.2f} cores in the mean.")
        busy = f"{np.mean(looks):.0f} % in the mean of {len(looks)} looks" if looks else "not known here"
        part.lines.append(f"GPU busy: {busy}.")
    return part


def _draw_photos(folder: Path, size: str, count: int) -> None:
    """Draw noisy images with structure at all scales."""
    width, height = map(int, size.split("x"))
    random = np.random.default_rng(0)
    for number in range(count):
        noise = (random.random((max(2, height >> level), max(2, width >> level), 3)) for level in range(2, 8))
        layers = [np.asarray(Image.fromarray((255 * one).astype(np.uint8)).resize((width, height))) for one in noise]
        noisy = np.mean(layers, axis=0) + random.normal(0.0, 12.0, (height, width, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:04d}.jpg", quality=92)


@contextmanager
def busy_looks(device: str) -> Iterator[list[float]]:
    """Yield a list that holds, afterwards, the per cent of the time in which the GPU was busy, look by look."""
    looks: list[float] = []
    if choose_device(device).device.type != "cuda" or shutil.which("nvidia-smi") is None:
        yield looks
        return
    question = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
    watch = subprocess.Popen([*question, f"-lms={1000 // _LOOKS_PER_SECOND}"], stdout=subprocess.PIPE, text=True)
    try:
        yield looks
    finally:
        watch.terminate()
        looks += [float(line) for line in watch.communicate()[0].splitlines() if line.strip().isdecimal()]


def train(wanted: argparse.Namespace, limits: Limits) -> Part:
    """Train each recipe for its part of the time that is left, from where an earlier run stopped."""
    part = Part(title="Training", headings=("recipe", "what the log says last"))
    recipes = wanted.recipes.split(",")
    on_cuda = choose_device(wanted.device).device.type == "cuda"
    for number, recipe in enumerate(recipes):
        seconds = (limits.until(1.0) - _GRACE_SECONDS) / (len(recipes) - number)
        if seconds <= 0:
            part.lines = ["Recipes that are missing had no time left."]
            break
        folder = Path(wanted.out, recipe)
        asked = ["--resume"]
        if not (folder / NAME).is_file():
            asked = ["--recipe", recipe, *_repeated("--data", wanted.data), *_repeated("--val", wanted.val)]
            asked += ["--bf16"] if on_cuda else []
            asked += [] if wanted.steps is None else ["--steps", str(wanted.steps)]
        asked += ["--compile"] if on_cuda else []
        command = [sys.executable, "-m", "restore_cli", "train", "--out", str(folder), "--device", wanted.device]
        log = folder.parent / f"{recipe}.log"
        with log.open("a", encoding="utf-8") as stream:
            begun = subprocess.Popen(
                [*command, *asked, "--no-progress"], cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT
            )
            _end_in_time(begun, seconds)
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        part.rows.append((recipe, *(last or ["nothing"])))
    return part


def _end_in_time(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask a training to save and leave after so many seconds; end it if it does not."""
    for wait, end in ((seconds, lambda: process.send_signal(signal.SIGINT)), (_GRACE_SECONDS, process.kill)):
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            end()
    process.wait()


def _repeated(flag: str, folders: Sequence[str]) -> list[str]:
    return [word for folder in folders for word in (flag, str(Path(folder).absolute()))]


PARTS: tuple[Callable[[argparse.Namespace, Limits], Part], ...] = (
    run_tests,
    measure_networks,
    restore_folder,
    train,
)


def main(arguments: Sequence[str] | None = None) -> Path:
    """Run all parts and return the page."""
    wanted = _parse(arguments)
    wanted.out = Path(wanted.out).absolute()
    wanted.out.mkdir(parents=True, exist_ok=True)
    limits = Limits(seconds=wanted.seconds)
    choice = choose_device(wanted.device)
    environment = describe_environment(choice.device, choice.reason).to_json()
    parts = [Part(title="Machine", headings=("", ""), rows=[(name, str(value)) for name, value in environment.items()])]
    page = wanted.out / "gpu.html"
    for work in PARTS:
        if work is train and not wanted.data:
            continue
        try:
            parts.append(work(wanted, limits))
        except Exception as error:  # noqa: BLE001 - the other parts are worth having
            parts.append(Part(title=work.__name__, lines=[f"{type(error).__name__}: {error}"]))
        body = f"<header><h1>{escape(environment['device_name'])}</h1></header>" + "".join(p.markup() for p in parts)
        page.write_text(document("What the GPU does", body), encoding="utf-8")
    return page


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="gpu", help="folder of the page and the runs")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=690.0, help="how long everything may take")
    parser.add_argument("--data", action="append", default=[], help="folder of images to train on; without, none is")
    parser.add_argument("--val", action="append", default=[], help="folder of images to validate on")
    parser.add_argument("--recipes", default=RECIPES)
    parser.add_argument("--steps", type=int, help="of each training, in place of the recipe's")
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--dtypes", default="float32,float16,bfloat16")
    parser.add_argument("--size", default="1280x720", help="of the output that is a frame")
    parser.add_argument("--photo", default="1632x1224", help="of the folder's images")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--tests", nargs="*", default=["tests"], help="where tests are looked for")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.stdout.write(f"{main()}\n")
