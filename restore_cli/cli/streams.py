"""An image through standard input, as in `curl ... | restore denoise - - > out.png`.

Stage 1, ASK: it is read whole before anything heavy is loaded, so that a pipe that brings nothing ends the run early.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from restore_cli.errors import ImageError, UsageError
from restore_cli.imaging.decode import MOST_BYTES
from restore_cli.jobs.targets import ImageJob

_CHUNK_BYTES = 1 << 20


def with_standard_input(job: ImageJob) -> ImageJob:
    """Return a job that comes through standard input, with its bytes.

    Raises:
        UsageError: If standard input is closed or a terminal.
        ImageError: If it is empty, cannot be read, or longer than any image.
    """
    stream = sys.stdin
    if stream is None or stream.closed:
        raise UsageError("standard input is closed", hint="name a file, or pipe an image in")
    if stream.isatty():
        raise UsageError("standard input is a terminal", hint="pipe an image in, or name a file")
    data = bytearray()
    try:
        while chunk := stream.buffer.read(_CHUNK_BYTES):
            data += chunk
            if len(data) > MOST_BYTES:
                raise ImageError(f"standard input: it is longer than any image that is read ({MOST_BYTES} bytes)")
    except OSError as error:
        raise ImageError(f"standard input: it cannot be read: {error.strerror or error}") from error
    if not data:
        raise ImageError("standard input: it is empty", hint="look at the command before the pipe")
    return replace(job, data=bytes(data))
