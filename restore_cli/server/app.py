"""The routes of the server, and how results and errors become answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from restore_cli._version import __version__
from restore_cli.errors import ImageError, RestoreError, UsageError
from restore_cli.pages.document import read_text
from restore_cli.server.guard import Guard, refusal
from restore_cli.server.openapi import openapi_document
from restore_cli.server.page import page_markup, page_text
from restore_cli.server.request import in_parameters, list_tasks, parse_request
from restore_cli.server.upload import UploadError, read_upload, require_length
from restore_cli.server.worker import ImageQueue, RestoredFile, Ticket, Work

_MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "PPM": "image/x-portable-anymap",
    "HEIF": "image/heic",
    "JXL": "image/jxl",
}
_LOOK_SECONDS = 0.25
_ALIVE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Say how the server treats those who ask.

    Attributes:
        token: What every request must bring; None for this machine only.
        most_bytes: Of one upload.
        places: How many images may be uploaded, waiting or worked on at once.
        upload_seconds: How long an upload may take.
        ending_seconds: How long the image in work has once the server is asked to end.
    """

    token: str | None = None
    most_bytes: int = 100 * 1024 * 1024
    places: int = 16
    upload_seconds: float = 60.0
    ending_seconds: float = 5.0


def create_app(settings: ServeSettings, work: Work, ending: threading.Event | None = None) -> Guard:
    """Return the server as an ASGI program.

    Args:
        settings: How it treats those who ask.
        work: Restores one image; called in a thread of its own, for one image at a time.
        ending: Set when the server is asked to end: what waits is sent away, what is worked on has a few seconds.
    """
    routes = _Routes(settings, work, ending or threading.Event())
    app = Starlette(
        routes=[
            Route("/", routes.page),
            Route("/page.css", routes.style),
            Route("/page.js", routes.script),
            Route("/healthz", routes.health),
            Route("/openapi.json", routes.openapi),
            Route("/v1/tasks", routes.tasks),
            Route("/v1/restore", routes.restore, methods=["POST"]),
            Route("/v1/jobs", routes.begin, methods=["POST"]),
            Route("/v1/jobs/{id}/events", routes.events),
            Route("/v1/jobs/{id}/result", routes.result),
            Route("/v1/jobs/{id}", routes.cancel, methods=["DELETE"]),
        ],
        lifespan=routes.lifespan,
        exception_handlers={404: _unknown, 405: _unknown},
    )
    return Guard(app=app, token=settings.token)


class _Routes:
    """What each address answers."""

    def __init__(self, settings: ServeSettings, work: Work, ending: threading.Event) -> None:
        self._settings = settings
        self._ending = ending
        self._work = work

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Work as long as the server runs."""
        self._worker = ImageQueue(self._work, places=self._settings.places)
        tasks = [asyncio.create_task(self._worker.run()), asyncio.create_task(self._end_in_time())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            self._worker.close()

    async def _end_in_time(self) -> None:
        while not self._ending.is_set():
            await asyncio.sleep(_LOOK_SECONDS)
        await self._worker.end(self._settings.ending_seconds)

    async def page(self, _request: Request) -> Response:
        return HTMLResponse(page_markup())

    async def style(self, _request: Request) -> Response:
        return Response(read_text("style.css") + read_text("viewer.css") + page_text("page.css"), media_type="text/css")

    async def script(self, _request: Request) -> Response:
        return Response(read_text("viewer.js") + page_text("page.js"), media_type="text/javascript")

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def openapi(self, _request: Request) -> Response:
        return JSONResponse(openapi_document())

    async def tasks(self, _request: Request) -> Response:
        offered = await asyncio.to_thread(list_tasks)
        return JSONResponse({"tasks": offered, "max_upload": self._settings.most_bytes})

    async def restore(self, request: Request) -> Response:
        """Restore an image and answer with it; who hangs up has it cancelled."""
        ticket = await self._submitted(request)
        if isinstance(ticket, Response):
            return ticket
        while not ticket.is_over:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ticket.changed.wait(), _LOOK_SECONDS)
            if await request.is_disconnected():
                self._worker.cancel(ticket)
                break
        answer = self._answer_of(ticket)
        self._worker.cancel(ticket)
        return answer

    async def begin(self, request: Request) -> Response:
        """Queue an image and answer at once with where to look."""
        ticket = await self._submitted(request)
        if isinstance(ticket, Response):
            return ticket
        place = f"/v1/jobs/{ticket.id}"
        state_json = {"id": ticket.id, "events": f"{place}/events", "result": f"{place}/result"}
        return JSONResponse(state_json, status_code=202, headers={"Location": place})

    async def events(self, request: Request) -> Response:
        """Tell what becomes of an image, as server-sent events."""
        ticket = self._worker.find(request.path_params["id"])
        return _gone() if ticket is None else StreamingResponse(self._reported(ticket), media_type="text/event-stream")

    async def result(self, request: Request) -> Response:
        """Answer with an image that was queued, once it is done."""
        ticket = self._worker.find(request.path_params["id"])
        if ticket is None:
            return _gone()
        return self._answer_of(ticket) if ticket.is_over else refusal(409, "the image is not done yet")

    async def cancel(self, request: Request) -> Response:
        """Stop an image, or forget its result."""
        ticket = self._worker.find(request.path_params["id"])
        if ticket is None:
            return _gone()
        self._worker.cancel(ticket)
        return Response(status_code=204)

    async def _submitted(self, request: Request) -> Ticket | Response:
        """Queue what a request sends, or answer why not; a place is taken before the body is read."""
        try:
            require_length(request, self._settings.most_bytes)
        except UploadError as error:
            return refusal(error.status, str(error))
        if self._ending.is_set() or not self._worker.reserve():
            return self._busy()
        ticket: Ticket | None = None
        try:
            settings = self._settings
            data, fields = await read_upload(request, settings.most_bytes, settings.upload_seconds)
            ticket = self._worker.submit(parse_request(fields), data)
        except UploadError as error:
            return refusal(error.status, str(error))
        except RestoreError as error:
            return answer_of_error(error)
        finally:
            if ticket is None:
                self._worker.give_back()
        return ticket

    def _answer_of(self, ticket: Ticket) -> Response:
        if ticket.error is not None:
            return answer_of_error(ticket.error)
        if ticket.result is not None:
            return _image_answer(ticket.result)
        return self._busy() if self._ending.is_set() else refusal(410, "the image was cancelled")

    def _busy(self) -> Response:
        """Return the answer that asks to come back."""
        if self._ending.is_set():
            return refusal(503, "the server is being stopped", "send the image again once it runs")
        answer = refusal(503, "the server has its hands full", "try again in a while")
        answer.headers["Retry-After"] = str(self._worker.retry_seconds)
        return answer

    async def _reported(self, ticket: Ticket) -> AsyncIterator[str]:
        while True:
            changed, state = ticket.changed, ticket.state
            state_json: dict[str, object] = {"state": state, "ahead": self._worker.ahead_of(ticket)}
            if state == "running":
                state_json["share"] = round(ticket.share, 3)
            if ticket.error is not None:
                state_json |= _error_json(ticket.error)
            yield f"event: {state}\ndata: {json.dumps(state_json)}\n\n"
            if ticket.is_over:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _ALIVE_SECONDS)


def _image_answer(result: RestoredFile) -> Response:
    height, width = result.size
    noise = {} if result.noise is None else {"X-Restore-Noise": f"{result.noise:.1f}"}
    return Response(
        result.data,
        media_type=_MEDIA_TYPES[result.format],
        headers={
            "X-Restore-Weights": result.weights,
            "X-Restore-Seconds": f"{result.seconds:.3f}",
            "X-Restore-Size": f"{width}x{height}",
            "X-Restore-Warnings": json.dumps(result.warnings),
            **noise,
        },
    )


def answer_of_error(error: RestoreError) -> JSONResponse:
    """Return an error in the command line's words; faults of this machine are told without its paths."""
    status = 400 if isinstance(error, UsageError) else 422 if isinstance(error, ImageError) else 500
    return JSONResponse(_error_json(error), status_code=status)


def _error_json(error: RestoreError) -> dict[str, object]:
    if not isinstance(error, UsageError | ImageError):
        return {"error": {"message": "the server cannot restore images now", "hint": "look at `restore doctor` there"}}
    message = in_parameters(error.message.removeprefix("standard input: "))
    return {"error": {"message": message, "hint": None if error.hint is None else in_parameters(error.hint)}}


def _gone() -> JSONResponse:
    return refusal(404, "there is no such image", "send it again")


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    status = getattr(error, "status_code", 404)
    return refusal(status, f"{request.method} {request.url.path} is nothing this server knows", "see /openapi.json")
