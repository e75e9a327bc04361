"""Many images: each gives one result, in order; faults, stops and full disks leave nothing half done."""

from __future__ import annotations

import _thread
import gc
import random
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import DeviceError, ImageError, StorageError
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.inference.report import ImageProgress, OnProgress
from restore_cli.inference.runner import StopRequestedError
from restore_cli.jobs import stages
from restore_cli.jobs.choose import Choice, WeightsRequest
from restore_cli.jobs.pipeline import run_jobs
from restore_cli.jobs.plan import ImageJob, JobPlan
from restore_cli.jobs.targets import JobResult, Summary
from restore_cli.settings import WriteSettings
from restore_cli.storage.files import Like

Restore = Callable[[DecodedImage], DecodedImage]


class FakeRestorer:
    """Stands in for a network; notes how many images it was given and whether two were ever in it at once."""

    scale = 1

    def __init__(self, restore: Restore = lambda image: image) -> None:
        self.restore = restore
        self.seen = 0
        self._inside = threading.Lock()

    def restore_image(
        self,
        image: DecodedImage,
        *,
        sigma: float | None = None,  # noqa: ARG002  (as the real one)
        stop: threading.Event,
        progress: OnProgress | None = None,
    ) -> DecodedImage:
        if progress is not None:
            progress(ImageProgress(done=1, total=2))
        assert self._inside.acquire(blocking=False), "two images in the net"
        try:
            self.seen += 1
            if stop.is_set():
                raise StopRequestedError
            return self.restore(image)
        finally:
            self._inside.release()


class OneNetwork:
    """Gives every image the same network."""

    def __init__(self, restorer: FakeRestorer) -> None:
        self._restorer = restorer

    def choose(self, image: DecodedImage) -> Choice:  # noqa: ARG002  (as the real one)
        return Choice(entry=SimpleNamespace(id="toy", sigma_range=None))

    def restorer(self, entry: object, stop: threading.Event) -> FakeRestorer:  # noqa: ARG002  (as the real one)
        return self._restorer


class WaitsForStop(FakeRestorer):
    """Takes for ever, but looks at the stop event as networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()

    def restore_image(
        self,
        image: DecodedImage,  # noqa: ARG002  (as the real one)
        *,
        sigma: float | None = None,  # noqa: ARG002
        stop: threading.Event,
        progress: OnProgress | None = None,  # noqa: ARG002
    ) -> DecodedImage:
        self.entered.set()
        assert stop.wait(30)
        raise StopRequestedError


def make_images(folder: Path, count: int) -> list[ImageJob]:
    (folder / "in").mkdir()
    jobs = []
    for index in range(count):
        source = folder / "in" / f"{index:03}.png"
        Image.new("RGB", (6, 5), (index, 0, 0)).save(source)
        jobs.append(ImageJob(source=source, target=folder / "out" / source.name))
    return jobs


def plan_of(jobs: list[ImageJob], **changes: object) -> JobPlan:
    plan = JobPlan(weights=WeightsRequest(task="denoise"), jobs=tuple(jobs))
    return replace(plan, **changes)


def run(
    plan: JobPlan, restorer: FakeRestorer | None = None, stop: threading.Event | None = None
) -> tuple[list[JobResult], Summary]:
    results: list[JobResult] = []
    summary = run_jobs(plan, OneNetwork(restorer or FakeRestorer()), on_result=results.append, stop=stop)
    assert [result.source for result in results] == [job.source for job in (*plan.skipped, *plan.jobs)]
    assert (summary.ok, summary.failed) == tuple(
        sum(result.status == status for result in results) for status in ("ok", "failed")
    )
    for result in results:
        assert (result.status == "ok") == result.target.exists() or result.status == "skipped"
        assert (result.status == "failed") == (result.error is not None)
    return results, summary


def pool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(("read", "net", "write"))]


def number_of(image: DecodedImage) -> int:
    return round(float(image.pixels[0, 0, 0]) * 255)


def test_every_image_is_read_restored_and_written_in_order(tmp_path: Path):
    jobs = make_images(tmp_path, 12)

    results, summary = run(
        plan_of(jobs), FakeRestorer(lambda p: replace(p, pixels=p.pixels.repeat(2, axis=0), warnings=("told",)))
    )

    assert {result.status for result in results} == {"ok"}
    assert (summary.ok, summary.skipped, summary.failed, summary.stopped, summary.fatal) == (12, 0, 0, 0, None)
    assert results[3].size_in == (5, 6)
    assert results[3].size_out == (10, 6)
    assert results[3].warnings == ("told",)
    assert results[3].seconds > 0
    with Image.open(jobs[3].target) as image:
        assert image.size == (6, 10)
        assert image.getpixel((0, 0)) == (3, 0, 0)


def test_an_empty_plan_ends_at_once():
    results, summary = run(plan_of([]))

    assert (results, summary.ok) == ([], 0)


def test_skipped_images_are_counted_and_told(tmp_path: Path):
    jobs = make_images(tmp_path, 3)

    results, summary = run(plan_of(jobs[1:], skipped=tuple(jobs[:1])))

    assert [result.status for result in results] == ["skipped", "ok", "ok"]
    assert summary.skipped == 1


def test_twenty_broken_files_of_two_hundred_are_named_and_the_rest_is_done(tmp_path: Path):
    jobs = make_images(tmp_path, 200)
    broken = random.Random(0).sample(jobs, 20)
    for job in broken:
        job.source.write_bytes(job.source.read_bytes()[:40])

    results, summary = run(plan_of(jobs))

    assert (summary.ok, summary.failed) == (180, 20)
    for result in results:
        if result.error is not None:
            assert str(result.source) in str(result.error)


@pytest.mark.parametrize("stage", ["read", "run", "write"])
@pytest.mark.parametrize("failing", [{0}, {7}, {2, 3}, {0, 1, 2, 3, 4, 5, 6, 7}, set()], ids=str)
@pytest.mark.parametrize("in_flight", [1, 2, 5])
def test_a_fault_in_any_stage_of_any_image_costs_that_image_only(
    tmp_path: Path, stage: str, failing: set[int], in_flight: int
):
    jobs = make_images(tmp_path, 8)

    def restore(image: DecodedImage) -> DecodedImage:
        if stage == "run" and number_of(image) in failing:
            raise ImageError("the network gave up", hint="try another")
        return image

    for index in failing:
        if stage == "read":
            jobs[index].source.unlink()
        elif stage == "write":
            jobs[index] = replace(jobs[index], target=jobs[index].source / "below_a_file.png")

    results, summary = run(plan_of(jobs, jobs_in_flight=in_flight), FakeRestorer(restore))

    assert {index for index, result in enumerate(results) if result.status == "failed"} == failing
    assert summary.fatal is None
    assert all(str(result.source) in str(result.error) for result in results if result.error)


def test_an_unforeseen_fault_is_named_kept_as_cause_and_survived(tmp_path: Path):
    jobs = make_images(tmp_path, 3)

    def restore(image: DecodedImage) -> DecodedImage:
        if number_of(image) == 1:
            raise KeyError("a bug")
        return image

    results, _ = run(plan_of(jobs), FakeRestorer(restore))

    assert [result.status for result in results] == ["ok", "failed", "ok"]
    assert "unforeseen KeyError: 'a bug'" in str(results[1].error)
    assert isinstance(results[1].error.__cause__, KeyError)


def test_memory_that_runs_out_in_any_stage_fails_one_image(tmp_path: Path):
    def restore(image: DecodedImage) -> DecodedImage:
        raise MemoryError

    results, _ = run(plan_of(make_images(tmp_path, 1)), FakeRestorer(restore))

    assert "memory does not suffice" in str(results[0].error)


def test_fail_fast_stops_at_the_first_fault(tmp_path: Path):
    jobs = make_images(tmp_path, 30)
    jobs[4].source.write_bytes(b"no image")

    results, summary = run(plan_of(jobs, fail_fast=True, jobs_in_flight=1))

    assert [result.status for result in results[4:]] == ["failed"] + ["stopped"] * 25
    assert {result.status for result in results[:4]} <= {"ok", "stopped"}
    assert summary.fatal is None


@pytest.mark.parametrize("in_flight", [1, 4])
def test_storage_that_is_gone_ends_the_run_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_flight: int
):
    jobs = make_images(tmp_path, 40)
    publish = stages.publish

    def full_from_the_sixth(data: bytes, target: Path, *, overwrite: bool, like: Like | None) -> None:
        if target.stem >= "005":
            raise StorageError(f"{target}: no space left on device", hint="free some space")
        publish(data, target, overwrite=overwrite, like=like)

    monkeypatch.setattr(stages, "publish", full_from_the_sixth)
    results, summary = run(plan_of(jobs, jobs_in_flight=in_flight))

    assert [result.status for result in results[:6]] == ["ok"] * 5 + ["failed"]
    assert isinstance(summary.fatal, StorageError)
    assert summary.failed <= 2 * in_flight + 1
    assert summary.stopped == 40 - summary.ok - summary.failed


def test_a_device_that_is_gone_ends_the_run(tmp_path: Path):
    def restore(image: DecodedImage) -> DecodedImage:
        raise DeviceError("cuda:0 failed: unspecified launch failure")

    results, summary = run(plan_of(make_images(tmp_path, 10)), FakeRestorer(restore))

    assert [result.status for result in results] == ["failed"] + ["stopped"] * 9
    assert isinstance(summary.fatal, DeviceError)
    assert str(results[0].source) in str(summary.fatal)


def test_a_stop_leaves_the_image_in_the_net_within_moments(tmp_path: Path):
    jobs = make_images(tmp_path, 50)
    restorer, stop = WaitsForStop(), threading.Event()

    def ask() -> None:
        restorer.entered.wait(30)
        stop.set()

    asker = threading.Thread(target=ask)
    asker.start()
    started = time.monotonic()
    results, summary = run(plan_of(jobs), restorer, stop)
    asker.join()

    assert time.monotonic() - started < 5
    assert {result.status for result in results} == {"stopped"}
    assert summary.stopped == 50
    assert not (tmp_path / "out").exists()


def test_what_is_restored_when_a_stop_comes_is_still_written(tmp_path: Path):
    stop = threading.Event()

    def restore(image: DecodedImage) -> DecodedImage:
        stop.set()
        return image

    results, _ = run(plan_of(make_images(tmp_path, 6)), FakeRestorer(restore), stop)

    assert [result.status for result in results] == ["ok"] + ["stopped"] * 5


def test_a_stop_before_the_first_image_touches_nothing(tmp_path: Path):
    stop = threading.Event()
    stop.set()
    restorer = FakeRestorer()

    _, summary = run(plan_of(make_images(tmp_path, 5)), restorer, stop)

    assert (summary.stopped, restorer.seen) == (5, 0)


def test_an_interrupt_leaves_the_net_and_no_partial_file(tmp_path: Path):
    restorer = WaitsForStop()

    def interrupt() -> None:
        restorer.entered.wait(30)
        time.sleep(0.1)  # a thread that is only just starting is not yet known to its pool
        _thread.interrupt_main()

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        run_jobs(plan_of(make_images(tmp_path, 20)), OneNetwork(restorer), on_result=lambda _: None)
    interrupter.join()

    assert not (tmp_path / "out").exists()
    assert not pool_threads()


def test_a_listener_that_fails_ends_the_run_and_leaves_no_partial_file(tmp_path: Path):
    def lose_the_terminal(result: JobResult) -> None:
        raise BrokenPipeError

    jobs = make_images(tmp_path, 20)
    with pytest.raises(BrokenPipeError):
        run_jobs(plan_of(jobs), OneNetwork(FakeRestorer()), on_result=lose_the_terminal)

    assert not pool_threads()
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            image.load()


def test_images_in_memory_are_bounded(tmp_path: Path):
    jobs = make_images(tmp_path, 25)
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    def restore(image: DecodedImage) -> DecodedImage:
        nonlocal most
        restored = replace(image, pixels=image.pixels.copy())
        alive.add(restored.pixels)
        most = max(most, len(alive))
        return restored

    run(plan_of(jobs, jobs_in_flight=2), FakeRestorer(restore))

    assert most <= 2 + 2  # two being written, one that waits for a writer, and the one that has just come


def test_results_of_failed_images_do_not_keep_their_pixels(tmp_path: Path):
    pixels: list[weakref.ref[np.ndarray]] = []

    def restore(image: DecodedImage) -> DecodedImage:
        mine = image.pixels.copy()
        pixels.append(weakref.ref(mine))
        raise ImageError("the network gave up")

    results, _ = run(plan_of(make_images(tmp_path, 3)), FakeRestorer(restore))
    gc.collect()

    assert all(result.error.__traceback__ or result.error.__cause__ for result in results)
    assert [reference() for reference in pixels] == [None] * 3


def test_the_last_is_encoded_and_the_next_decoded_while_one_is_in_the_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read_file, encode = stages.read_file, stages.encode
    everyone_busy = threading.Barrier(3)

    def meet_when(number: int, expected: int) -> None:
        if number == expected:
            everyone_busy.wait(timeout=30)

    def meeting_read(path: Path, max_pixels: int) -> bytes:
        meet_when(int(path.stem), 2)
        return read_file(path, max_pixels)

    def meeting_restore(image: DecodedImage) -> DecodedImage:
        meet_when(number_of(image), 1)
        return image

    def meeting_encode(image: DecodedImage, **options: object) -> bytes:
        meet_when(number_of(image), 0)
        return encode(image, **options)

    monkeypatch.setattr(stages, "read_file", meeting_read)
    monkeypatch.setattr(stages, "encode", meeting_encode)
    _, summary = run(plan_of(make_images(tmp_path, 4), jobs_in_flight=1), FakeRestorer(meeting_restore))

    assert summary.ok == 4


def test_a_format_that_holds_less_warns_and_an_impossible_one_fails_that_image(tmp_path: Path):
    source = tmp_path / "clear.png"
    Image.new("RGBA", (4, 4), (1, 2, 3, 128)).save(source)
    jobs = [
        ImageJob(source=source, target=tmp_path / "out" / "clear.jpg"),
        ImageJob(source=source, target=tmp_path / "out" / "clear.psd"),
    ]

    results, _ = run(plan_of(jobs, write=WriteSettings(quality=90)))

    assert "transparency" in results[0].warnings[0]
    assert "not written as .psd" in str(results[1].error)


def test_a_result_too_large_for_its_format_is_refused_before_the_work(tmp_path: Path):
    source = tmp_path / "long.png"
    Image.new("L", (5000, 1)).save(source)
    restorer = FakeRestorer()
    restorer.scale = 4

    results, _ = run(plan_of([ImageJob(source=source, target=tmp_path / "long.webp")]), restorer)

    assert "20000x4 pixels are more than WEBP holds" in str(results[0].error)
    assert restorer.seen == 0


def test_an_existing_file_is_only_replaced_when_asked_for(tmp_path: Path):
    jobs = make_images(tmp_path, 1)
    jobs[0].target.parent.mkdir()
    jobs[0].target.write_bytes(b"mine")
    results: list[JobResult] = []

    run_jobs(plan_of(jobs), OneNetwork(FakeRestorer()), on_result=results.append)
    assert results[0].status == "failed"
    assert jobs[0].target.read_bytes() == b"mine"

    run_jobs(
        plan_of(jobs, write=WriteSettings(existing="overwrite")), OneNetwork(FakeRestorer()), on_result=results.append
    )
    assert results[1].status == "ok"
    assert jobs[0].target.read_bytes() != b"mine"


def test_an_observer_sees_each_image_before_and_after(tmp_path: Path):
    jobs = make_images(tmp_path, 3)
    seen: list[tuple[ImageJob, int, int]] = []

    def brighten(image: DecodedImage) -> DecodedImage:
        return replace(image, pixels=image.pixels + np.float32(10 / 255))

    run_jobs(
        plan_of(jobs),
        OneNetwork(FakeRestorer(brighten)),
        on_result=lambda _: None,
        observe=lambda job, before, after: seen.append((job, number_of(before), number_of(after))),
    )

    assert seen == [(job, index, index + 10) for index, job in enumerate(jobs)]
