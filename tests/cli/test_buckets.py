"""Images in buckets, from argv to objects, with a real S3 server on this machine."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from restore_cli.errors import TargetExistsError
from restore_cli.jobs import addresses, bucket_results
from restore_cli.jobs.bucket_attempts import BucketAttempts
from restore_cli.jobs.ledger import digest_of_bytes
from restore_cli.storage import buckets
from restore_cli.training import images
from tests.cli.conftest import Ran, Run, image
from tests.cli.test_status import run_deadly
from tests.cli.test_workers import is_worker, killed_at_random
from tests.cli.unsteady import Unsteady, unsteady
from tests.weights.server import serving

Tiny = Callable[..., Path]
Denoise = Callable[..., Ran]

# It ends when nobody holds its standard input any more. Moto looks whether an object is there and puts it in two steps,
# between which others put; S3 promises one, which it is here.
_SERVER = """
import sys
import threading
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer
put_object, one_at_a_time = S3Response.put_object, threading.Lock()
def put_in_one_step(self):
    with one_at_a_time:
        return put_object(self)
S3Response.put_object = put_in_one_step
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


def settings_for(endpoint: str) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    return {**keys, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    pytest.importorskip("obstore")
    pytest.importorskip("moto")
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVER], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()


@pytest.fixture
def bucket(endpoint: str, here: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty bucket of the test's own, by its address."""
    for name, value in settings_for(endpoint).items():
        monkeypatch.setenv(name, value)
    name = f"b{abs(hash(request.node.name))}"
    make = urllib.request.Request(f"{endpoint}/{name}", method="PUT")  # noqa: S310 -- our own server
    urllib.request.urlopen(make).close()  # noqa: S310
    buckets._store.cache_clear()
    yield f"s3://{name}"
    buckets._store.cache_clear()


@pytest.fixture
def denoise(run: Run, tiny: Tiny) -> Denoise:
    return lambda *arguments: run("denoise", "--weights", tiny("denoise", scale=1), "--threads", "1", *arguments)


def delete(url: str) -> None:
    obstore, store, key = buckets._opened(url)
    obstore.delete(store, key)


def put(url: str, data: bytes) -> None:
    buckets.put_object(url, data, {}, overwrite=True)


def objects(url: str) -> dict[str, bytes]:
    """Return the objects below a folder, its ledger left out."""
    names = [one.name for one in buckets.listed(url, recursive=True) if not one.name.startswith(".restore-ledger/")]
    return {name: buckets.read_object(f"{url}/{name}", 1 << 30)[0] for name in names}


def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with the objects that are read or asked for their metadata from now on."""
    urls: list[str] = []
    for module, name in ((addresses, "read_object"), (bucket_results, "find_object")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda url, *rest, real=real: (urls.append(url), real(url, *rest))[1])
    return urls


def records(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def statuses(ran: Ran) -> list[str]:
    return [record["status"] for record in records(ran) if record["type"] == "image"]


def by_name(ran: Ran) -> dict[str, str]:
    return {Path(record["source"]).name: record["status"] for record in records(ran) if record["type"] == "image"}


def test_a_bucket_gives_and_takes_what_folders_do(denoise: Denoise, bucket: str):
    put(f"{bucket}/in/notes.txt", b"no image")
    for index, name in enumerate(("a.png", "b.png", "deep/c.png", ".hidden.png")):
        put(f"{bucket}/in/{name}", image(f"in/{name}.png", size=(6 + index, 5)).rename(f"in/{name}").read_bytes())
    assert denoise("-r", "in", "out").code == 0
    ran = denoise("-r", f"{bucket}/in", f"{bucket}/out", "--json")
    assert ran.code == 0
    expected = {str(path.relative_to("out")): path.read_bytes() for path in Path("out").rglob("*.png")}
    assert objects(f"{bucket}/out") == expected
    assert [record["target"] for record in records(ran)[:-1]] == [f"{bucket}/out/{name}" for name in sorted(expected)]
    assert denoise(f"{bucket}/in/a.png", "here.png").code == 0
    assert Path("here.png").read_bytes() == expected["a.png"]

    found = buckets.find_object(f"{bucket}/out/a.png")
    assert found is not None
    assert found.metadata["restore-input"] == digest_of_bytes(Path("in/a.png").read_bytes())
    assert found.metadata["restore-output"] == digest_of_bytes(expected["a.png"])


def test_what_is_proved_done_is_left_alone_and_nothing_of_others_is_lost(denoise: Denoise, bucket: str):
    for index, name in enumerate(("a.png", "b.png", "c.png")):
        put(f"{bucket}/in/{name}", image(name, size=(6 + index, 5)).read_bytes())
    put(f"{bucket}/out/b.png", b"mine")
    ran = denoise(f"{bucket}/in", f"{bucket}/out")
    assert (ran.code, f"{bucket}/out/b.png: it exists already" in ran.err) == (1, True)
    ran = denoise(f"{bucket}/in", f"{bucket}/out", "--resume", "--json")
    assert by_name(ran) == {"a.png": "skipped", "b.png": "failed", "c.png": "skipped"}
    assert objects(f"{bucket}/out")["b.png"] == b"mine"

    put(f"{bucket}/in/a.png", image("a.png", size=(9, 9)).read_bytes())
    ran = denoise(f"{bucket}/in", f"{bucket}/out", "--resume", "--existing", "skip", "--json")
    assert by_name(ran) == {"a.png": "ok", "b.png": "skipped", "c.png": "skipped"}
    assert statuses(denoise(f"{bucket}/in", f"{bucket}/out", "--existing", "overwrite", "--json")) == ["ok"] * 3
    assert objects(f"{bucket}/out")["b.png"] != b"mine"


def test_a_run_leaves_parts_of_a_ledger_by_which_the_next_reads_no_image(
    denoise: Denoise, run: Run, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bucket_results, "_MOST_LINES", 2)
    for index, name in enumerate(("a.png", "b.png", "deep/c.png", "d.png", "e.png")):
        put(f"{bucket}/in/{name}", image(f"in/{name}", size=(6 + index, 5)).read_bytes())
    assert denoise("-r", f"{bucket}/in", f"{bucket}/out").code == 0
    names = [one.name for one in buckets.listed(f"{bucket}/out/.restore-ledger", recursive=True)]
    assert len(names) == 3
    assert len({name.split("/")[0] for name in names}) == 1

    seen = asked(monkeypatch)
    ran = denoise("-r", f"{bucket}/in", f"{bucket}/out", "--resume", "--json")
    assert (statuses(ran), seen) == (["skipped"] * 5, [])
    assert "5 to skip" in denoise("-r", f"{bucket}/in", f"{bucket}/out", "--resume", "--dry-run").err
    assert statuses(denoise("-r", "in", f"{bucket}/out", "--resume", "--json")) == ["skipped"] * 5  # the same bytes
    assert seen == []

    put(f"{bucket}/in/a.png", image("a.png", size=(9, 9)).read_bytes())
    put(f"{bucket}/out/b.png", b"somebody else's")
    put(f"{bucket}/in/new.png", b"broken")
    ran = denoise("-r", f"{bucket}/in", f"{bucket}/out", "--resume", "--json", "--existing", "overwrite")
    expected = {"a.png": "ok", "b.png": "ok", "c.png": "skipped", "d.png": "skipped", "e.png": "skipped"}
    assert by_name(ran) == {**expected, "new.png": "failed"}
    assert {url for url in seen if "/in/" in url} == {f"{bucket}/in/{name}" for name in ("a.png", "b.png", "new.png")}

    counted = json.loads(run("status", "--json", f"{bucket}/out").out)
    assert (counted["done"], counted["failed"], counted["begun"]) == (5, 1, 0)
    assert [failure["target"] for failure in counted["failures"]] == ["new.png"]
    ran = run("status", f"{bucket}/in")
    assert (ran.code, "has no ledger" in ran.err) == (2, True)


def test_weights_and_reports_may_lie_in_a_bucket(run: Run, tiny: Tiny, bucket: str):
    image("a.png")
    put(f"{bucket}/mine.safetensors", tiny("denoise", scale=1).read_bytes())
    denoise = ("denoise", "--threads", "1", "--weights", f"{bucket}/mine.safetensors")
    assert run("denoise", "--threads", "1", "--weights", tiny("denoise", scale=1), "a.png", "-o", "here.png").code == 0
    report = ("--report", f"{bucket}/run.jsonl")
    assert run(*denoise, "a.png", "-o", "there.png", *report).code == 0
    assert Path("there.png").read_bytes() == Path("here.png").read_bytes()
    lines = objects(bucket)["run.jsonl"].splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["image", "summary"]
    ran = run(*denoise, "a.png", "-o", "other.png", *report)
    assert (ran.code, f"the report {bucket}/run.jsonl exists already" in ran.err) == (2, True)
    assert run(*denoise, "--offline", "a.png", "-o", "x/", *report, "--resume").code == 0
    assert objects(bucket)["run.jsonl"].splitlines()[:2] == lines
    assert len(objects(bucket)["run.jsonl"].splitlines()) == 4
    ran = run("denoise", "--weights", f"{bucket}/none.safetensors", "a.png", "-o", "y.png")
    assert (ran.code, f"{bucket}/none.safetensors: there is no such object" in ran.err) == (3, True)


def test_a_network_is_trained_on_images_of_a_bucket(run: Run, bucket: str, monkeypatch: pytest.MonkeyPatch):
    for index, name in enumerate(("a.png", "deep/b.png", ".hidden.png", "notes.txt")):
        put(f"{bucket}/in/{name}", image(f"{index}.png", size=(70 + index, 66)).read_bytes())
    train = ("train", "--task", "denoise", "--data", f"{bucket}/in", "--dry-run", "--patch", "32", "--batch", "1")
    ran = run(*train)
    assert ran.code == 0, ran.err
    (folder,) = {path.parent for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("a.png")}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.png")} == {"a.png", "deep/b.png"}
    read: list[str] = []
    real = buckets.read_object
    monkeypatch.setattr(images, "read_object", lambda url, most: (read.append(url), real(url, most))[1])
    put(f"{bucket}/in/c.png", image("c.png", size=(80, 80)).read_bytes())
    delete(f"{bucket}/in/deep/b.png")
    assert run(*train).code == 0
    assert read == [f"{bucket}/in/c.png"]
    assert {path.name for path in folder.rglob("*.png")} == {"a.png", "c.png"}


def test_without_the_parts_each_object_proves_itself_and_is_written_into_a_new_part(
    denoise: Denoise, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    for index in range(2):
        put(f"{bucket}/in/{index}.png", image(f"in/{index}.png", size=(6 + index, 5)).read_bytes())
    assert denoise(f"{bucket}/in", f"{bucket}/out").code == 0
    for one in buckets.listed(f"{bucket}/out/.restore-ledger", recursive=True):
        put(f"{bucket}/out/.restore-ledger/{one.name}", gzip.compress(b'[]\n{"target": 3}\nno line\n'))
    seen = asked(monkeypatch)
    assert statuses(denoise(f"{bucket}/in", f"{bucket}/out", "--resume", "--json")) == ["skipped"] * 2
    assert len(seen) == 4
    assert statuses(denoise(f"{bucket}/in", f"{bucket}/out", "--resume", "--json")) == ["skipped"] * 2
    assert len(seen) == 4


def test_an_image_that_ends_its_process_twice_fails_and_the_others_arrive(run: Run, tiny: Tiny, bucket: str):
    for name, width in (("a", 9), ("b", 13), ("c", 9)):
        put(f"{bucket}/in/{name}.png", image(f"{name}.png", size=(width, 7)).read_bytes())
    options = ("--threads", "1", "--jobs", "1", "--resume", "--json")
    command = ("denoise", "--weights", tiny("denoise", scale=1), f"{bucket}/in", f"{bucket}/out", *options)
    assert run_deadly(*command).code == -9
    counted = json.loads(run("status", "--json", f"{bucket}/out").out)
    assert (counted["failed"], "b.png" in counted["unfinished"]) == (0, True)
    assert run_deadly(*command).code == -9
    ran = run(*command)
    assert (ran.code, by_name(ran)) == (1, {"a.png": "skipped", "b.png": "failed", "c.png": "ok"})
    assert f"{bucket}/in/b.png: it ended its process twice; say --retry-failed" in ran.err
    counted = json.loads(run("status", "--json", f"{bucket}/out").out)
    assert (counted["done"], counted["failed"], counted["begun"]) == (2, 1, 0)
    assert counted["failures"] == [{"target": "b.png", "error": "it ended its process twice"}]

    assert run(*command).code == 1  # nobody has asked to try it again
    assert run(*command, "--retry-failed").code == 0
    assert run("status", f"{bucket}/out").out == "3 done, 0 failed, 0 begun\n"
    assert run(*command).code == 0


def test_images_are_named_together_before_they_meet_the_network(bucket: str):
    def begun() -> list[list[str]]:
        urls = [f"{bucket}/{one.name}" for one in buckets.listed(bucket, recursive=True)]
        return sorted(json.loads(buckets.read_object(url, 1 << 20)[0])["targets"] for url in urls)

    names = [f"{index:03}.png" for index in range(40)]
    killed = BucketAttempts(bucket)
    killed.read()
    killed.expect(names)
    puts = []
    for name in names:
        killed.begin(name, "sha256:1")
        puts.append(begun())
        assert name in puts[-1][0]
    assert len({str(put) for put in puts}) == 3  # 16 by 16

    after = BucketAttempts(bucket)
    after.read()
    after.expect(names)
    assert after.is_open("039.png")
    assert not after.ended_twice("039.png", "sha256:1")
    after.begin("000.png", "sha256:0")
    after.begin("039.png", "sha256:1")
    assert begun() == [names[32:], ["039.png"]]
    third = BucketAttempts(bucket)
    third.read()
    assert [name for name in names if third.ended_twice(name, "sha256:1")] == ["039.png"]
    assert not third.ended_twice("039.png", "sha256:2")  # another image has come in its place
    for name in names:
        third.end(name, "sha256:1")
    after.close()
    assert begun() == []


@pytest.fixture
def proxy(bucket: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Unsteady]:
    """Have requests to the bucket pass through a proxy that can be made to fail."""
    with unsteady(endpoint) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        buckets._store.cache_clear()
        yield server


def results_put(proxy: Unsteady) -> list[int]:
    """Return how often each result was put."""
    return [count for path, count in proxy.put.items() if "/out/" in path and path.endswith(".png")]


def test_a_slow_server_that_fails_and_loses_answers_gets_each_result_once(
    denoise: Denoise, bucket: str, proxy: Unsteady, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bucket_results, "_MOST_LINES", 2)
    for index in range(12):
        put(f"{bucket}/in/{index}.png", image(f"in/{index}.png", size=(6 + index, 5)).read_bytes())
    assert denoise("in", "out").code == 0
    proxy.delay_s, proxy.refused, proxy.lost = 0.02, 3, 8
    ran = denoise(f"{bucket}/in", f"{bucket}/out")
    assert ran.code == 0, ran.err
    assert proxy.faults > 4
    assert results_put(proxy) == [1] * 12
    proxy.refused = proxy.lost = None
    assert objects(f"{bucket}/out") == {path.name: path.read_bytes() for path in Path("out").glob("*.png")}


def test_credentials_that_expire_end_the_run_and_resume_finishes_it(denoise: Denoise, bucket: str, proxy: Unsteady):
    for index in range(8):
        put(f"{bucket}/in/{index}.png", image(f"in/{index}.png", size=(6 + index, 5)).read_bytes())
    proxy.expires_after = proxy.asked + 12
    ran = denoise(f"{bucket}/in", f"{bucket}/out", "--json")
    assert (ran.code, "ExpiredToken, The provided token has expired" in ran.err) == (4, True)
    assert "Traceback" not in ran.err
    done = statuses(ran).count("ok")
    assert 0 < done < 8
    proxy.expires_after = None
    ran = denoise(f"{bucket}/in", f"{bucket}/out", "--json", "--resume")
    assert (ran.code, statuses(ran).count("skipped"), results_put(proxy)) == (0, done, [1] * 8)


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_workers_that_are_killed_put_each_result_once(denoise: Denoise, tiny: Tiny, bucket: str, proxy: Unsteady):
    for index in range(12):
        put(f"{bucket}/in/{index}.png", image(f"in/{index}.png", size=(120 + index, 90)).read_bytes())
    assert denoise("in", "out").code == 0
    options = ("--weights", tiny("denoise", scale=1), "--threads", "1", "--workers", "2", "--retry-failed")
    ran = killed_at_random(
        ("denoise", *options, f"{bucket}/in", f"{bucket}/out"), is_worker=is_worker, workers=2, drivers=1
    )
    if ran.code:  # an image that met with both kills
        ran = denoise(f"{bucket}/in", f"{bucket}/out", "--resume")
    assert ran.code == 0, ran.err
    assert results_put(proxy) == [1] * 12
    assert objects(f"{bucket}/out") == {path.name: path.read_bytes() for path in Path("out").glob("*.png")}


@pytest.mark.exhaustive
def test_workers_share_a_bucket(denoise: Denoise, bucket: str):
    for index in range(12):
        put(f"{bucket}/in/{index}.png", image(f"in/{index}.png", size=(6 + index, 5)).read_bytes())
    assert denoise("in", "out").code == 0
    assert denoise(f"{bucket}/in", f"{bucket}/out", "--workers", "2").code == 0
    assert objects(f"{bucket}/out") == {path.name: path.read_bytes() for path in Path("out").glob("*.png")}


def test_of_eight_writers_of_one_name_one_wins(bucket: str):
    def write(index: int) -> bool:
        try:
            buckets.put_object(f"{bucket}/one", bytes([index]), {})
        except TargetExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as writers:
        won = list(writers.map(write, range(8)))
    assert sum(won) == 1
    assert objects(bucket) == {"one": bytes([won.index(True)])}


def test_machines_that_begin_at_one_time_do_not_meet_in_their_probes(bucket: str):
    with ThreadPoolExecutor(8) as machines:
        list(machines.map(lambda _: buckets.require_bucket(f"{bucket}/out"), range(24)))
    assert objects(bucket) == {}


def test_a_missing_object_fails_alone_and_a_missing_bucket_ends_the_run(denoise: Denoise, bucket: str):
    put(f"{bucket}/a.png", image("a.png").read_bytes())
    ran = denoise(f"{bucket}/gone.png", f"{bucket}/a.png", "-o", "out/")
    assert (ran.code, f"{bucket}/gone.png: there is no such object" in ran.err) == (1, True)
    assert Path("out/a.png").exists()
    for arguments in ((f"{bucket}-not/in", "out2/"), ("a.png", f"{bucket}-not/a.png")):
        ran = denoise(*arguments)
        (line,) = [line for line in ran.err.splitlines() if "error" in line]
        assert (ran.code, "NoSuchBucket" in line or "ContainerNotFound" in line) == (4, True)


def test_servers_that_fail_are_asked_again_with_limits(denoise: Denoise, here: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("obstore")
    data = image("a.png").read_bytes()
    answers = [503, 200]
    with serving() as server:
        server.answers["/b/a.png"] = lambda request: request.whole(data) if answers.pop(0) == 200 else request.page(503)
        server.answers["/b/c.png"] = lambda request: request.page(503)
        server.answers["/b/d.png"] = lambda request: (
            request.head(403, Content_Length=85),
            request.wfile.write(
                b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
            ),
        )
        for name, value in settings_for(server.url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(buckets, "_RETRIES", {"max_retries": 2})
        buckets._store.cache_clear()
        assert denoise("s3://b/a.png", "-o", "out/").code == 0
        ran = denoise("s3://b/c.png", "-o", "out/")
        assert (ran.code, "503" in ran.err, len(server.gets())) == (4, True, 5)
        ran = denoise("s3://b/d.png", "-o", "out/")
        assert (ran.code, "ExpiredToken, The provided token has expired" in ran.err) == (4, True)
    buckets._store.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["s3://b/in"], "name an output with -o"),
        (["s3:///in", "-o", "out/"], "names no bucket"),
        (["s3://b/a.png", "--in-place"], "name an output with -o"),
        (["a.png", "-o", "s3://b/", "--existing", "rename"], "--existing rename"),
        (["a.png", "-o", "s3://b/", "--keep-times"], "--keep-times"),
    ],
)
def test_what_does_not_go_with_a_bucket_is_refused(denoise: Denoise, arguments: list[str], fault: str):
    image("a.png")
    ran = denoise(*arguments)
    assert (ran.code, fault in ran.err) == (2, True)
