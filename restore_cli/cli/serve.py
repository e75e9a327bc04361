"""`restore serve`: a local page to drop images on, and the same over HTTP.

Stage 1, ASK. Needs the extra `serve`.
"""

from __future__ import annotations

import importlib.util
import secrets
import socket
from typing import Annotated

import typer

from restore_cli.cli.options import ByteSize, MessageOptions, NetworkOptions
from restore_cli.cli.output import Output
from restore_cli.cli.registration import command
from restore_cli.cli.signals import interruption_exit_code, raise_on_signals
from restore_cli.errors import DeviceError, UsageError
from restore_cli.settings import MAX_PIXELS, ReadSettings

app = typer.Typer()

SERVER = "Server"
_DEFAULT_UPLOAD = 100 << 20
_STOP_SECONDS = 10


@command(
    app,
    "serve",
    examples="""
    restore serve                                  opens http://127.0.0.1:7860 to this machine
    restore serve --port 8000 --max-upload 20M     takes smaller images only
    restore serve --host 0.0.0.0                   to other machines too, with a token that it prints
    curl --data-binary @photo.jpg 'http://127.0.0.1:7860/v1/restore?task=denoise' -o clean.jpg
    curl -F image=@photo.jpg -F task=sr -F scale=2 http://127.0.0.1:7860/v1/restore -o large.jpg
    """,
)
def serve(
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            rich_help_panel=SERVER,
            help="Where to listen; any but this machine's own address needs a token.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, rich_help_panel=SERVER, help="0 takes a free one.")
    ] = 7860,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="RESTORE_TOKEN",
            metavar="TEXT",
            rich_help_panel=SERVER,
            help="What requests must bring. Default: none on this machine, a new one elsewhere.",
        ),
    ] = None,
    max_upload: Annotated[
        ByteSize | None,
        typer.Option(
            "--max-upload",
            parser=ByteSize.parse,
            metavar="SIZE",
            rich_help_panel=SERVER,
            help="Refuse larger images. [default: 100M]",
        ),
    ] = None,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, metavar="N", rich_help_panel=SERVER, help="Refuse larger images.")
    ] = MAX_PIXELS,
    queue: Annotated[
        int,
        typer.Option(
            "--queue", min=1, metavar="N", rich_help_panel=SERVER, help="Images that may be sent and wait at once."
        ),
    ] = 16,
    *,
    network: NetworkOptions,
    messages: MessageOptions,
) -> None:
    """Open a page to drop images on, and the same over HTTP, on this machine."""
    out = messages.open()
    run = network.settings()
    for module in ("starlette", "uvicorn", "python_multipart"):
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"the server needs {module}", hint="pip install 'restore-cli[serve]'")
    from restore_cli.server.app import ServeSettings, create_app
    from restore_cli.server.guard import LOOPBACK
    from restore_cli.server.worker import Networks

    if not token and host not in LOOPBACK:
        token = secrets.token_urlsafe(24)
    settings = ServeSettings(
        token=token or None, most_bytes=_DEFAULT_UPLOAD if max_upload is None else max_upload.size, places=queue
    )
    program = create_app(settings, Networks(ReadSettings(max_pixels=max_pixels), run).restore)
    with _listening(host, port) as listener:
        _tell(listener, host, settings.token, out)
        import uvicorn

        config = uvicorn.Config(
            program,
            log_level="warning",
            access_log=messages.verbose,
            server_header=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        try:
            with raise_on_signals():
                uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt as error:  # uvicorn raises the signal again once it has stopped
            out.note("stopped")
            raise typer.Exit(interruption_exit_code()) from error


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        msg = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise DeviceError(msg, hint="choose another --port or --host") from error
    return listener


def _tell(listener: socket.socket, host: str, token: str | None, out: Output) -> None:
    """Say where the page is; its token stands behind the #, which no server or log ever sees."""
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listener.getsockname()[1]}/"
    out.data(address if token is None else f"{address}#token={token}")
    if token is not None:
        out.note("programs send the token as `Authorization: Bearer TOKEN`; it travels unencrypted over http")
