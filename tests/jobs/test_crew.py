"""Who gets which images: a crew that does no work of its own, so that each step can be looked at."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path

import pytest

from restore_cli.errors import RestoreError
from restore_cli.jobs.choose import WeightsRequest
from restore_cli.jobs.crew import Batch, Died, Done, Finished, Foreman, Message, Order, Ready
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.targets import ImageJob, JobResult
from restore_cli.jobs.worker import require_version
from restore_cli.settings import Workers


class InstantCrew:
    """Workers that have a place or wait for one, and are done with a batch as soon as they have it.

    Args:
        places: How many find one.
        dies_of: A worker dies of this image, whenever.
    """

    def __init__(self, places: int, dies_of: str = "") -> None:
        self.places = places
        self.dies_of = dies_of
        self.asked_for: list[int] = []
        self.batches: list[tuple[int, Batch]] = []
        self._said: deque[tuple[int, Message]] = deque()

    def start(self, order: Order, count: int) -> None:
        assert len(order.plan.jobs) == 0
        for worker in range(count):
            self.revive(worker)

    def revive(self, worker: int) -> None:
        self.asked_for.append(worker)
        if worker < self.places:
            self._said.append((worker, Ready()))

    def hand_out(self, worker: int, batch: Batch) -> None:
        self.batches.append((worker, batch))
        for job in batch.jobs:
            if job.source.name == self.dies_of:
                self._said.append((worker, Died(reason="signal 9")))
                return
            self._said.append((worker, Done(result=JobResult(job=job, status="ok"), facts=None)))
        self._said.append((worker, Finished(fatal=None)))

    def messages(self, seconds: float) -> Iterable[tuple[int, Message]]:  # noqa: ARG002 -- as the others
        return [self._said.popleft()] if self._said else []

    def stop(self) -> None:
        """Nothing is in hand."""

    def close(self) -> None:
        """Nobody is left."""


def restored(crew: InstantCrew, workers: Workers, count: int = 400) -> list[JobResult]:
    jobs = tuple(ImageJob(source=Path(f"in/{index}.png"), target=Path(f"out/{index}.png")) for index in range(count))
    plan = JobPlan(weights=WeightsRequest(task="denoise"), jobs=jobs, workers=workers)
    results: list[JobResult] = []
    foreman = Foreman(
        crew, on_load=lambda _: None, on_result=lambda result, _: results.append(result), on_progress=None
    )
    foreman.prepare(plan, (), jobs[:1])
    summary = foreman.run(plan, None)
    assert sorted(str(result.source) for result in results) == sorted(str(job.source) for job in jobs)
    assert (summary.ok + summary.failed, summary.stopped) == (count, 0)
    return results


def test_a_range_grows_by_as_many_as_there_are_while_images_wait():
    crew = InstantCrew(places=64)
    restored(crew, Workers(count=1, most=6))
    assert crew.asked_for == [0, 1, 2, 3, 4, 5]
    assert {worker for worker, _ in crew.batches} == set(range(6))


def test_no_more_workers_are_asked_for_than_wait_for_a_place():
    crew = InstantCrew(places=3)
    restored(crew, Workers(count=1, most=64))
    assert crew.asked_for == [0, 1, 2, 3]


def test_no_more_workers_than_images_are_asked_for():
    crew = InstantCrew(places=64)
    restored(crew, Workers(count=2, most=64), count=3)
    assert max(crew.asked_for) < 3


def test_an_image_that_ends_workers_is_tried_apart_and_named():
    crew = InstantCrew(places=2, dies_of="7.png")
    results = restored(crew, Workers(count=2), count=40)
    assert [str(result.source) for result in results if result.status == "failed"] == ["in/7.png"]
    tries = [batch for _, batch in crew.batches if "7.png" in {job.source.name for job in batch.jobs}]
    assert [batch.one_by_one for batch in tries] == [False, True, True]


def test_another_version_is_not_worked_for():
    with pytest.raises(RestoreError, match="the run was begun by 9"):
        require_version("9")
