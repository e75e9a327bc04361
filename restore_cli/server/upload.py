"""Read an upload, raw or as a form, and no more of it than is allowed."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

_FORM = "multipart/form-data"
_MOST_FIELDS = 20
_FORM_BYTES = 64 * 1024  # of a form beside its image
_FORM_CHUNK = 256 * 1024


class UploadError(Exception):
    """Refuse an upload.

    Args:
        status: Of the answer.
        message: Why.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def require_length(request: Request, most_bytes: int) -> None:
    """Refuse an upload that says itself that it is too long, before a byte of it is read.

    Raises:
        UploadError: If it is so.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes + _FORM_BYTES:
        raise _too_long(most_bytes)


def _too_long(most_bytes: int) -> UploadError:
    return UploadError(413, f"the image is larger than the {most_bytes / 2**20:.4g} MiB this server takes")


async def read_upload(request: Request, most_bytes: int, seconds: float) -> tuple[bytes, dict[str, str]]:
    """Return an image and the fields beside it.

    Args:
        request: Its body is the image itself, or a form with one file in it.
        most_bytes: Of the image.
        seconds: How long it may take.

    Raises:
        UploadError: If it is too long, too slow, empty, broken off, or a form without exactly one file.
    """
    require_length(request, most_bytes)
    body = await _read_body(request, most_bytes, seconds)
    fields = dict(request.query_params)
    data = bytes(body)
    if request.headers.get("content-type", "").startswith(_FORM):
        data, named = await _read_form(request, data)
        fields |= named
    if not data:
        raise UploadError(400, "no image was sent")
    if len(data) > most_bytes:
        raise _too_long(most_bytes)
    return data, fields


async def _read_body(request: Request, most_bytes: int, seconds: float) -> bytearray:
    body = bytearray()
    started = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes + _FORM_BYTES:
                    raise _too_long(most_bytes)
    except TimeoutError as error:
        raise UploadError(408, f"the image did not arrive in {time.monotonic() - started:.0f} seconds") from error
    except ClientDisconnect as error:
        raise UploadError(400, "the upload broke off") from error
    return body


async def _read_form(request: Request, body: bytes) -> tuple[bytes, dict[str, str]]:
    starts = iter(range(0, len(body) or 1, _FORM_CHUNK))

    async def receive() -> Message:  # the body was read already, as far as is allowed
        await asyncio.sleep(0)  # others are answered in between
        start = next(starts)
        end = start + _FORM_CHUNK
        return {"type": "http.request", "body": body[start:end], "more_body": end < len(body)}

    try:
        async with Request(request.scope, receive).form(max_files=1, max_fields=_MOST_FIELDS) as form:
            files = [value for value in form.values() if isinstance(value, UploadFile)]
            if len(files) != 1:
                raise UploadError(400, "a form needs one file: the image")
            fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
            return await files[0].read(), fields
    except HTTPException as error:
        raise UploadError(400, f"the form cannot be read: {error.detail}") from error
