"""`restore serve`: a local page to drop images on, and the same over HTTP.

Stage 1, ASK. Needs the extra `serve`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from restore_cli.cli.options import ByteSize, MessageOptions, NetworkOptions
from restore_cli.cli.registration import command, option
from restore_cli.cli.signals import interruption_exit_code, raise_on_signals
from restore_cli.server.run import DEFAULT_PORT, DEFAULT_UPLOAD_BYTES
from restore_cli.server.run import serve as run_server
from restore_cli.settings import MAX_PIXELS

app = typer.Typer()

SERVER = "Server"


@command(
    app,
    "serve",
    examples="""
    restore serve                                  opens http://127.0.0.1:7860
    restore serve --port 8000 --max-upload 20M     takes smaller images only
    restore serve --host 0.0.0.0                   serves other machines too, with a token
    curl -F image=@photo.jpg -F task=sr localhost:7860/v1/restore -o large.jpg
    """,
)
def serve(
    host: Annotated[
        str,
        option(
            SERVER,
            "--host",
            "Listen here; any but this machine's own address needs a token.",
            metavar="ADDRESS",
            show_default=True,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, option(SERVER, "--port", "Listen on this port; 0 is a free one.", metavar="N", min=0, max=65535)
    ] = DEFAULT_PORT,
    token: Annotated[
        str | None,
        option(
            SERVER,
            "--token",
            "Refuse requests without this. By default none on this machine, a new one elsewhere.",
            metavar="TEXT",
            envvar="RESTORE_TOKEN",
        ),
    ] = None,
    max_upload: Annotated[
        ByteSize | None,
        option(
            SERVER,
            "--max-upload",
            "Refuse images of more bytes. [default: 100M]",
            metavar="SIZE",
            parser=ByteSize.parse,
        ),
    ] = None,
    max_pixels: Annotated[
        int, option(SERVER, "--max-pixels", "Refuse images with more pixels.", metavar="N", min=1)
    ] = MAX_PIXELS,
    queue: Annotated[
        int, option(SERVER, "--queue", "Images that may be sent and wait at once.", metavar="N", min=1)
    ] = 16,
    *,
    network: NetworkOptions,
    messages: MessageOptions,
) -> None:
    """Serve a page to drop images on, and the same over HTTP."""
    out = messages.open()

    def started(address: str, token: str | None) -> None:
        # The token is behind the #, which no server or log ever sees.
        out.data(address if token is None else f"{address}#token={token}")
        if token is not None:
            out.note("programs send the token as `Authorization: Bearer TOKEN`; it travels unencrypted over http")

    try:
        with raise_on_signals():
            run_server(
                host,
                port,
                token=token,
                max_upload=DEFAULT_UPLOAD_BYTES if max_upload is None else max_upload.size,
                max_pixels=max_pixels,
                queue=queue,
                run=network.settings(),
                log_requests=messages.verbose,
                started=started,
            )
    except KeyboardInterrupt as error:  # uvicorn raises the signal again once it has stopped
        out.note("stopped")
        raise typer.Exit(interruption_exit_code()) from error
