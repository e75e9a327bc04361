"""The page of `--compare`: filled while images are restored, written when they are done.

Stage 1, ASK, on its way back.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from restore_cli.cli.output import Output
from restore_cli.comparison.files import write_page
from restore_cli.comparison.gallery import Gallery
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.targets import ImageJob, JobResult

if TYPE_CHECKING:
    from restore_cli.imaging.decoded_image import DecodedImage


class ComparisonPage:
    """Collect each image of a run for its page.

    Args:
        page: Where the page goes.
        plan: What is restored.
        out: Where to say that it is written.
    """

    def __init__(self, page: Path, plan: JobPlan, out: Output) -> None:
        self._page = page
        self._plan = plan
        self._out = out
        self._gallery = Gallery(len(plan.jobs))

    def __enter__(self) -> ComparisonPage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gallery.close()

    def observe(self, job: ImageJob, before: DecodedImage, after: DecodedImage) -> None:
        """Look at an image before and after; called by the thread of the network."""
        self._gallery.observe(str(job.source), before, after)

    def take(self, result: JobResult) -> None:
        """Keep an image that was written, forget one that was not."""
        job = result.job
        if result.status != "ok":
            self._gallery.drop(str(result.source))
            return
        self._gallery.take(
            str(result.source),
            before=None if job.is_in_place else job.file,
            after=None if job.to_stdout else result.target,
            name="standard input" if job.from_stdin else job.source.name,
            weights=result.weights,
            seconds=result.seconds,
            notes=(*result.warnings, *(advice.text for advice in result.advice)),
        )

    def write(self, *facts: str) -> None:
        """Write the page, if there is anything to show.

        Args:
            facts: What holds for all images.

        Raises:
            UsageError: If something else has come to lie there meanwhile.
            StorageError: If it cannot be written.
        """
        if not self._gallery.taken:
            self._out.warn(f"{self._page} is not written: no image was restored to show on it")
            return
        write_page(self._gallery, self._page, facts=(self._plan.task, *facts))
        self._out.note(f"before and after: {self._page}")
