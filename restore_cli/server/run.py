"""Run the server until it is interrupted: `restore_cli.serve`, which `restore serve` calls too."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import threading
from collections.abc import Callable
from types import FrameType

from restore_cli.errors import DeviceError, UsageError
from restore_cli.settings import MAX_PIXELS, ReadSettings, RunSettings

DEFAULT_UPLOAD_BYTES = 100 << 20
DEFAULT_PORT = 7860
_STOP_SECONDS = 10


def serve(
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    token: str | None = None,
    max_upload: int = DEFAULT_UPLOAD_BYTES,
    max_pixels: int = MAX_PIXELS,
    queue: int = 16,
    run: RunSettings | None = None,
    log_requests: bool = False,
    started: Callable[[str, str | None], None] | None = None,
) -> None:
    """Serve a page to drop images on, and the same over HTTP, until the process is interrupted.

    Needs the extra `serve`; must be called in the main thread, whose signals end it.

    Args:
        host: Where to listen.
        port: 0 for a free one.
        token: What every request must bring; None for none on this machine, and a new one elsewhere.
        max_upload: Refuse images of more bytes.
        max_pixels: Refuse images of more pixels.
        queue: Images that may be sent and wait at once.
        run: How networks run.
        log_requests: Log each request.
        started: Called with the address, and the token if there is one, once the server listens.

    Raises:
        UsageError: If the extra is not installed.
        DeviceError: If the address cannot be listened on.
        KeyboardInterrupt: If a signal ended it.

    Example:
        >>> from restore_cli import serve
        >>> serve(port=8000, started=lambda address, token: print(address))   # doctest: +SKIP
        http://127.0.0.1:8000/
    """
    for module in ("starlette", "uvicorn", "python_multipart"):
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"the server needs {module}", hint="pip install 'restore-cli[serve]'")
    import uvicorn

    from restore_cli.server.app import ServeSettings, create_app
    from restore_cli.server.guard import LOOPBACK
    from restore_cli.server.worker import RecentNetworks

    if not token and host not in LOOPBACK:
        token = secrets.token_urlsafe(24)
    settings = ServeSettings(token=token or None, most_bytes=max_upload, places=queue)
    networks = RecentNetworks(ReadSettings(max_pixels=max_pixels), run or RunSettings())
    ending = threading.Event()
    program = create_app(settings, networks.restore, ending)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            ending.set()  # the images in hand are ended first, and uvicorn waits for their answers
            super().handle_exit(sig, frame)

    with _listening(host, port) as listener:
        if started is not None:
            name = f"[{host}]" if ":" in host else host
            started(f"http://{name}:{listener.getsockname()[1]}/", settings.token)
        config = uvicorn.Config(
            program,
            log_level="warning",
            access_log=log_requests,
            server_header=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()  # who is told the address may use it at once
        except OSError:
            listener.close()
            raise
    except OSError as error:
        msg = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise DeviceError(msg, hint="choose another --port or --host") from error
    return listener
