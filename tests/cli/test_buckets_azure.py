"""Images in Azure's containers: what holds for S3 holds there, with Azurite, the emulator (npm install azurite)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from restore_cli.storage import buckets
from tests.cli.test_buckets import (  # noqa: F401 -- these tests run here too, with the containers below
    denoise,
    test_a_bucket_gives_and_takes_what_folders_do,
    test_a_missing_object_fails_alone_and_a_missing_bucket_ends_the_run,
    test_a_run_leaves_parts_of_a_ledger_by_which_the_next_reads_no_image,
    test_an_image_that_ends_its_process_twice_fails_and_the_others_arrive,
    test_machines_that_begin_at_one_time_do_not_meet_in_their_probes,
    test_of_eight_writers_of_one_name_one_wins,
    test_what_is_proved_done_is_left_alone_and_nothing_of_others_is_lost,
    test_without_the_parts_each_object_proves_itself_and_is_written_into_a_new_part,
    test_workers_share_a_bucket,
)

pytestmark = pytest.mark.slow

# The emulator's account and key, which are the same everywhere and published.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_VERSION = "2021-08-06"


def _make_container(endpoint: str, name: str) -> None:
    """Make a container, with a request signed as Azure's documentation says ("Shared Key")."""
    date = formatdate(usegmt=True)
    resource = f"/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
    text = "\n".join(["PUT", *[""] * 11, f"x-ms-date:{date}", f"x-ms-version:{_VERSION}", resource])
    signature = base64.b64encode(hmac.digest(base64.b64decode(_KEY), text.encode(), hashlib.sha256)).decode()
    headers = {
        "x-ms-date": date, "x-ms-version": _VERSION, "Content-Length": "0",
        "Authorization": f"SharedKey {_ACCOUNT}:{signature}",
    }  # fmt: skip
    url = f"{endpoint}/{_ACCOUNT}/{name}?restype=container"
    request = urllib.request.Request(url, method="PUT", headers=headers)  # noqa: S310 -- our own server
    urllib.request.urlopen(request).close()  # noqa: S310


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("obstore")
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("needs Azurite: npm install azurite")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("azurite")
    options = ["--blobPort", str(port), "--location", str(folder), "--silent", "--skipApiVersionCheck"]
    with subprocess.Popen([program, *options, "--disableTelemetry"], stdout=subprocess.DEVNULL) as server:
        try:
            end = time.monotonic() + 60
            while True:
                assert time.monotonic() < end
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture
def bucket(azurite: str, here: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty container of the test's own, by its address."""
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", azurite)
    name = f"c{abs(hash(request.node.name))}"
    _make_container(azurite, name)
    buckets._store.cache_clear()
    yield f"az://{name}"
    buckets._store.cache_clear()
