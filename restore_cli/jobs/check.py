"""What can be refused of an image before a network is loaded: by its file's parts, and by what its result would be.

Stage 2, PLAN, asked for each image of a dry run; and asked again by the pipeline once an image is read, so that both
refuse the same.
"""

from __future__ import annotations

from restore_cli.errors import ImageError
from restore_cli.imaging.encode import check_format, check_pages, check_result, check_size, fitted_size, output_format
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.targets import ImageJob
from restore_cli.settings import WriteSettings


def written_format(source_format: str, job: ImageJob, settings: WriteSettings) -> str:
    """Return the format a result is written in, as Pillow names it."""
    return settings.format or output_format(source_format, job.target.suffix)


def check_output(
    height: int, width: int, source_format: str, job: ImageJob, plan: JobPlan, *, scale: int, pages: int = 1
) -> str:
    """Return the format a result is written in, if a result of its size can be.

    Args:
        height: Of the image as it is read.
        width: The same.
        source_format: As Pillow names it.
        job: Where the result goes.
        plan: How it is made.
        scale: The network's factor.
        pages: How many images go into the result.

    Raises:
        ImageError: If it is larger than allowed, or than the format holds, or cannot be written as requested.
    """
    height, width = height * scale, width * scale
    check_result(height, width, plan.read)
    height, width = fitted_size(height, width, plan.write.size)
    check_result(height, width, plan.read)
    format_name = written_format(source_format, job, plan.write)
    check_format(format_name, lossless=plan.write.lossless)
    check_size(height, width, format=format_name)
    check_pages(pages, format=format_name)
    return format_name


def check_image(job: ImageJob, plan: JobPlan, *, scale: int) -> None:
    """Refuse what a run would refuse of an image ahead of the network; its pixels are not decoded.

    Args:
        job: One whose image does not come from a pipe.
        plan: How it is read and written.
        scale: The network's factor.

    Raises:
        ImageError: With the file's name, if it would be refused.
    """
    from restore_cli.imaging.decode import inspect, read_file

    for path in (job.source, job.right):
        if path is None:
            continue
        header = inspect(read_file(path, plan.read.max_pixels), str(path), plan.read)
        if path != job.source:
            continue
        try:
            size = (header.height, header.width)
            check_output(*size, header.format, job, plan, scale=scale, pages=header.pages)
        except ImageError as error:
            raise ImageError(f"{path}: {error.message}", hint=error.hint) from error
