"""The experiments: each does something terrible to a batch, many times, and lists what came out wrong."""

from __future__ import annotations

import errno
import itertools
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.faults.batch import Bench, Run, leftovers, results

ERRNOS = (errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)
CALLS = ("rename", "link", "fsync", "write")
STOP_SECONDS = 5.0
# Read ahead, in the net, waiting and being written when the storage fails, at the default of two jobs in flight.
_MOST_FAILURES = 5
_PAGE_BYTES = 4096
_SECONDS_BETWEEN_LOOKS = 0.01
_MOST_TRIES_TO_SEE = 10
_FAULTS_OF_PYTHONS_START = (b"Fatal Python error: init_", b"Could not import runpy module")


@dataclass(kw_only=True)
class Outcome:
    """What an experiment found.

    Attributes:
        name: Which.
        until: When to stop trying, on the monotonic clock.
        tries: How often the fault was tried.
        wrong: What came out wrong, a line each.
        figures: What was measured.
    """

    name: str
    until: float = math.inf
    tries: int = 0
    wrong: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def has_time(self) -> bool:
        """Tell whether there is time for another try, and count it."""
        in_time = time.monotonic() < self.until
        self.tries += in_time
        return in_time

    def expect(self, holds: bool, what: str) -> None:
        """Note what is wrong unless it holds."""
        if not holds:
            self.wrong.append(f"try {self.tries}: {what}")

    def most(self, name: str, value: float) -> None:
        """Keep the largest value of a figure."""
        self.figures[name] = max(self.figures.get(name, 0.0), round(value, 3))

    def add(self, name: str, value: float) -> None:
        """Add to a figure."""
        self.figures[name] = self.figures.get(name, 0) + value


def kills(bench: Bench, count: int, shuffle: random.Random, until: float) -> Outcome:
    """Kill a batch at random moments, then resume it."""
    outcome = Outcome(name="kill -9, then resume", until=until)
    for _ in range(count):
        if not outcome.has_time():
            break
        bench.clear()
        child = bench.begin()
        time.sleep(shuffle.uniform(0, bench.seconds))
        child.send(signal.SIGKILL)
        outcome.add("killed", child.wait().code == -signal.SIGKILL)
        _expect_whole(outcome, bench, bench.target, {})
        outcome.add("left over by kills", len(leftovers(bench.target)))
        before = _identities(bench.target)
        resumed = bench.run("--resume")
        outcome.expect(resumed.code == 0, f"resume ended with {resumed.code}: {resumed.errors[-300:]}")
        after = _identities(bench.target)
        redone = sum(after.get(name) != identity for name, identity in before.items())
        outcome.add("redone", redone)
        outcome.expect(redone == 0, f"{redone} results were done again")
        outcome.expect(resumed.count("skipped") == len(before), "what was there was not taken for done")
        outcome.expect(results(bench.target) == bench.right, "the resumed batch is not that of one run")
        _expect_no_leftovers(outcome, bench.target)
    bench.clear()
    return outcome


def signals(bench: Bench, count: int, shuffle: random.Random, until: float) -> Outcome:
    """Send SIGINT and SIGTERM at random moments, `count` times each."""
    outcome = Outcome(name="SIGINT and SIGTERM", until=until)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)) * count:
        if not outcome.has_time():
            break
        bench.clear()
        child = bench.begin()
        time.sleep(shuffle.uniform(0, 0.9 * bench.seconds))
        child.send(number)
        ran = child.wait()
        too_late = ran.code == 0 and len(results(bench.target)) == bench.images
        outcome.add("finished before the signal", too_late)
        outcome.expect(
            ran.code in {code, -number} or too_late, f"ended with {ran.code}, not {code}: {ran.errors[-300:]}"
        )
        outcome.most("longest stop, s", ran.seconds)
        outcome.expect(ran.seconds < STOP_SECONDS, f"took {ran.seconds:.1f} s to stop")
        outcome.expect("Traceback" not in ran.errors, f"a traceback was shown: {ran.errors[-1500:]}")
        _expect_whole(outcome, bench, bench.target, {})
        _expect_no_leftovers(outcome, bench.target)
    bench.clear()
    return outcome


def starts(bench: Bench, count: int, until: float, *, burners: int = 4) -> Outcome:
    """Send SIGINT and SIGTERM in turn to programs that start, each 10 ms later than the last, on a busy machine.

    From a second behind the first result on the moments begin anew.
    """
    outcome = Outcome(name="signals to programs that start", until=until)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(burners)]
    delay = 0.0
    try:
        for number in (signal.SIGINT, signal.SIGTERM) * -(-count // 2):
            if not outcome.has_time():
                break
            bench.clear()
            with subprocess.Popen(bench.command_line(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                time.sleep(delay)
                works = bool(results_names(bench.target))
                process.send_signal(number)
                _, errors = process.communicate()
            outcome.add("while it started", not works)
            # Before any program's first instruction CPython itself ends with 1.
            if any(fault in errors for fault in _FAULTS_OF_PYTHONS_START):
                outcome.add("in Python's own start", 1)
                delay += 0.01
                continue
            right = {-number, 128 + number}
            said = errors.decode(errors="replace")[-300:]
            outcome.expect(process.returncode in right, f"{delay:.2f} s: {process.returncode}, not {right}: {said}")
            outcome.most("longest start, s", 0.0 if works else delay)
            delay = 0.0 if works and delay > outcome.figures["longest start, s"] + 1 else delay + 0.01
    finally:
        for burner in busy:
            burner.kill()
            burner.wait()
    bench.clear()
    return outcome


def full_disks(bench: Bench, count: int, until: float) -> Outcome:
    """Run the batch onto file systems of `count` sizes, from one that holds nothing to one that holds all."""
    outcome = Outcome(name="full disks", until=until)
    needed = sum(_pages(len(data)) for data in bench.right.values()) + bench.images // 4
    for index in range(count):
        if not outcome.has_time():
            break
        pages = 2 + needed * index // max(1, count - 1)
        with _small_disk(bench.root / "disk", pages * _PAGE_BYTES) as disk:
            target = disk / "out"
            old = _old_results_that_fit(bench, target, pages // 4) if index % 2 else {}
            ran = bench.run("--existing", "overwrite", target=target)
            outcome.add("full", ran.code == 4)
            outcome.expect(ran.code in {0, 4}, f"ended with {ran.code}: {ran.errors[-300:]}")
            if ran.code == 0:
                outcome.expect(results(target) == bench.right, "it ended well, but not all is there")
            else:
                _expect_early_stop(outcome, ran)
            _expect_whole(outcome, bench, target, old)
            _expect_no_leftovers(outcome, target)
    return outcome


def failing_calls(bench: Bench, first: int, until: float) -> Outcome:
    """Let each of the first calls of each kind fail once, with each error; needs the preload."""
    outcome = Outcome(name="failing calls", until=until)
    for at, fault, call in itertools.product(range(1, first + 1), ERRNOS, CALLS):
        if not outcome.has_time():
            break
        bench.clear()
        old = {} if call == "link" else bench.make_old_results(bench.target)
        ran = bench.run(
            "--existing",
            "error" if call == "link" else "overwrite",
            FAULT_CALL=call,
            FAULT_AT=str(at),
            FAULT_ERRNO=str(fault),
            FAULT_UNDER=str(bench.target),
        )
        where = f"{call} {at}, {errno.errorcode[fault]}"
        outcome.expect(ran.code == 4, f"{where}: ended with {ran.code}: {ran.errors[-300:]}")
        outcome.expect(os.strerror(fault) in ran.errors, f"{where}: the reason is not told")
        _expect_early_stop(outcome, ran)
        _expect_whole(outcome, bench, bench.target, old)
        _expect_no_leftovers(outcome, bench.target)
    bench.clear()
    return outcome


def processes(bench: Bench, count: int, shuffle: random.Random, until: float, *, together: int = 4) -> Outcome:
    """Let several processes share one folder, and kill one of them at a random moment."""
    outcome = Outcome(name=f"{together} processes, one killed", until=until)
    for _ in range(count):
        if not outcome.has_time():
            break
        bench.clear()
        children = [bench.begin("--resume", log=f"run{index}") for index in range(together)]
        time.sleep(shuffle.uniform(0, 1.5 * bench.seconds))
        victim = shuffle.randrange(together)
        children[victim].send(signal.SIGKILL)
        runs = [child.wait() for child in children]
        outcome.add("killed", runs[victim].code == -signal.SIGKILL)
        for index, ran in enumerate(runs):
            outcome.expect(index == victim or ran.code == 0, f"ended with {ran.code}: {ran.errors[-300:]}")
        done = [ran.count("ok") for ran in runs]
        outcome.add("done by the least busy survivor", min(n for index, n in enumerate(done) if index != victim))
        outcome.add("done twice", max(0, sum(done) - bench.images))
        outcome.expect(results(bench.target) == bench.right, "the shared batch is not that of one run")
        _expect_no_leftovers(outcome, bench.target)
    bench.clear()
    return outcome


def same_bytes(bench: Bench, count: int, until: float) -> Outcome:
    """Restore the batch `count` times, with 1 to 3 threads, in other orders, and resumed after losses."""
    outcome = Outcome(name="same bytes", until=until)
    sources = sorted(bench.source.iterdir())
    others = random.Random(0).sample(sources, len(sources))
    runs: list[tuple[str, Callable[[], Run]]] = [(f"run {number + 1}", bench.run) for number in range(count)]
    runs += [(f"{threads} threads", partial(bench.run, "--threads", threads)) for threads in (1, 2, 3)]
    runs += [(f"{jobs} jobs", partial(bench.run, "--jobs", jobs)) for jobs in (1, 4)]
    runs += [("backwards", partial(bench.run_on, sources[::-1])), ("shuffled", partial(bench.run_on, others))]
    for name, run in runs:
        if not outcome.has_time():
            break
        bench.clear()
        ran = run()
        outcome.expect(ran.code == 0, f"{name}: ended with {ran.code}: {ran.errors[-300:]}")
        outcome.expect(results(bench.target) == bench.right, f"{name}: other bytes")
    for lost in (sources[::2], sources[1::2]):
        for source in lost:
            (bench.target / source.name).unlink()
        ran = bench.run("--resume")
        outcome.tries += 1
        outcome.expect(ran.count("ok") == len(lost), "resumed: something else was done")
        outcome.expect(results(bench.target) == bench.right, "resumed: other bytes")
    bench.clear()
    return outcome


def many(bench: Bench) -> Outcome:
    """Watch memory and descriptors over one long batch, and resume it when it is done."""
    outcome = Outcome(name=f"{bench.images} images", tries=0)
    tenth = bench.images // 10
    first: list[int] = []
    last: list[int] = []
    while not (first and last) and outcome.tries < _MOST_TRIES_TO_SEE:  # a fast batch may end while nobody looks
        outcome.tries += 1
        bench.clear()
        child = bench.begin()
        seen: list[tuple[int, int, int]] = []
        work = 0.0
        while facts := _facts_of(child.pid):
            memory, descriptors_open, work = facts
            seen.append((len(results_names(bench.target)), memory, descriptors_open))
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        ran = child.wait()
        first = [memory for done, memory, _ in seen if tenth // 10 < done <= 2 * tenth]
        last = [memory for done, memory, _ in seen if bench.images - 2 * tenth < done < bench.images]
    if not (first and last):
        outcome.expect(False, "the batch ended before anyone could look")
        return outcome
    growth = sum(last) / len(last) / (sum(first) / len(first)) - 1
    descriptors = [count for done, _, count in seen if tenth // 10 < done < bench.images]
    outcome.figures = {
        "ms each": round(1000 * ran.seconds / bench.images, 2),
        "ms of CPU each": round(1000 * work / bench.images, 2),
        "memory of the first fifth, MiB": round(sum(first) / len(first) / 2**20, 1),
        "growth to the last fifth, %": round(100 * growth, 2),
        "fewest descriptors": min(descriptors),
        "most descriptors": max(descriptors),
    }
    outcome.expect(ran.code == 0, f"ended with {ran.code}")
    outcome.expect(growth < 0.05, "memory grows")
    outcome.expect(len(results_names(bench.target)) == bench.images, "not all is there")
    resumed = bench.run("--resume")
    outcome.figures["finished resume, s"] = round(resumed.seconds, 2)
    outcome.figures["finished resume as a program of its own, s of CPU"] = round(bench.cost("--resume"), 2)
    outcome.expect(resumed.count("skipped") == bench.images, "what is done was not taken for done")
    return outcome


def results_names(folder: Path) -> list[str]:
    """Return the names of finished results, without reading them."""
    return [name for name in os.listdir(folder) if not name.startswith(".")] if folder.is_dir() else []  # noqa: PTH208 - names only


def _facts_of(pid: int) -> tuple[int, int, float] | None:
    """Return resident memory in bytes, the number of open descriptors and seconds of CPU; None once it has ended."""
    try:
        memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names only
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return (memory, descriptors, sum(map(int, times)) / os.sysconf("SC_CLK_TCK")) if memory else None


def _identities(folder: Path) -> dict[str, tuple[int, int]]:
    return {name: ((folder / name).stat().st_ino, (folder / name).stat().st_mtime_ns) for name in results_names(folder)}


def _expect_whole(outcome: Outcome, bench: Bench, target: Path, old: Mapping[str, bytes]) -> None:
    """Expect each result to be whole: the right one, or the older one."""
    there = results(target)
    broken = [name for name, data in there.items() if data not in (bench.right.get(name), old.get(name))]
    outcome.add("partial files", len(broken))
    outcome.expect(not broken, f"partial: {broken}")
    lost = old.keys() - there.keys()
    outcome.expect(not lost, f"lost: {sorted(lost)}")


def _expect_no_leftovers(outcome: Outcome, target: Path) -> None:
    left = leftovers(target)
    outcome.add("leftovers", len(left))
    outcome.expect(not left, f"left over: {left}")


def _expect_early_stop(outcome: Outcome, ran: Run) -> None:
    outcome.most("most failures of one run", ran.count("failed"))
    outcome.expect(0 < ran.count("failed") <= _MOST_FAILURES, f"{ran.count('failed')} failed before the stop")
    outcome.expect("Traceback" not in ran.errors, "a traceback was shown")


def _old_results_that_fit(bench: Bench, target: Path, pages: int) -> dict[str, bytes]:
    """Put older results of some images on a small disk, as many as that many pages hold."""
    old = bench.make_old_results(bench.root / "old")
    target.mkdir()
    kept = dict(list(old.items())[:pages])
    for name, data in kept.items():
        (target / name).write_bytes(data)
    return kept


def _pages(size: int) -> int:
    return -(-size // _PAGE_BYTES)


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def can_mount(folder: Path) -> bool:
    """Tell whether small disks can be made here, which needs the rights of root."""
    try:
        with _small_disk(folder, 1 << 20):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False
