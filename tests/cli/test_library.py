"""Every command has a function that gives what the command gives, for whatever a program holds its images in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch
from PIL import Image

import restore_cli
from restore_cli import bench, compare, evaluate, load_restorer, restore, restore_files, train
from restore_cli.benchmark.cases import BenchSettings
from restore_cli.errors import DecodeError, UsageError, WeightsError
from restore_cli.jobs.files import FilesProgress
from restore_cli.scoring.protocol import Protocol
from restore_cli.scoring.run import ScoringWatcher
from restore_cli.scoring.score import Outcome
from restore_cli.settings import RunSettings, WriteSettings
from restore_cli.training.checkpoint import read_checkpoint
from restore_cli.training.journal import Interval
from restore_cli.training.run import TrainingWatcher
from tests.cli.conftest import Run, environment, image

Tiny = Callable[..., Path]
CPU = RunSettings(device="cpu")


def pixels(name: str, *, mode: str = "RGB", size: tuple[int, int] = (9, 7)) -> np.ndarray:
    return np.asarray(Image.open(image(name, mode=mode, size=size)))


def files_below(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if not path.name.startswith(".")}


class TestOneImage:
    def test_each_task_has_its_usual_form_and_size(self, here: Path):
        del here
        array = pixels("a.png")

        assert restore(array, task="deblur", device="cpu").shape == array.shape
        assert restore(array, task="sr", device="cpu").shape == (28, 36, 3)
        assert restore(array, task="sr", model="ramit-lite-sr-x2", device="cpu").shape == (14, 18, 3)

    def test_a_gray_image_reaches_the_gray_network_unless_the_other_is_asked_for(self, here: Path):
        del here
        gray = pixels("a.png", mode="L")

        through_gray = load_restorer("unet-denoise-gray", device="cpu")(gray)
        np.testing.assert_array_equal(restore(gray, task="denoise", device="cpu"), through_gray)
        through_color = restore(gray, task="denoise", gray=False, device="cpu")
        assert through_color.shape == gray.shape
        assert (through_color != through_gray).any()

    def test_special_forms_of_a_task_can_be_asked_for(self, here: Path):
        del here
        array = pixels("a.png")

        photo = load_restorer("unet-sr-x4-photo", device="cpu")(array)
        np.testing.assert_array_equal(restore(array, task="sr", variant="photo", device="cpu"), photo)
        with pytest.raises(WeightsError, match="no weights are bundled for denoise real"):
            restore(array, task="denoise", variant="real")

    def test_a_noise_level_reaches_networks_that_take_one_and_is_estimated_on_request(self, here: Path):
        del here
        array = pixels("a.png", size=(40, 32))
        levels = [restore(array, task="denoise", sigma=sigma, device="cpu") for sigma in (5, 50, "auto")]

        assert (levels[0] != levels[1]).any()
        assert (levels[2] != levels[0]).any()

    def test_files_bytes_open_files_arrays_and_tensors_give_the_same_pixels(self, tiny: Tiny, here: Path):
        del here
        array, enlarge = pixels("a.png"), load_restorer(tiny(), device="cpu")
        expected = enlarge(array)
        planes = torch.from_numpy(array.transpose(2, 0, 1).copy())

        with Path("a.png").open("rb") as file:
            opened = enlarge(file)
        for given in (enlarge("a.png"), enlarge(Path("a.png").read_bytes()), opened, enlarge(Image.open("a.png"))):
            assert isinstance(given, Image.Image)
            np.testing.assert_array_equal(np.asarray(given), expected)
        np.testing.assert_array_equal(enlarge(planes).numpy(), expected.transpose(2, 0, 1))
        np.testing.assert_array_equal(enlarge(planes[None]).numpy()[0], expected.transpose(2, 0, 1))
        assert enlarge(planes[0]).shape == (14, 18)
        half = enlarge((planes / 255).to(torch.float16))
        assert (half.dtype, tuple(half.shape)) == (torch.float16, (3, 14, 18))

    def test_a_list_gives_a_list_of_the_same_kinds(self, tiny: Tiny, here: Path):
        del here
        array = pixels("a.png")

        one, other, nothing = restore([array, "a.png", []], task="sr", weights=tiny(), device="cpu")
        assert nothing == []
        assert isinstance(other, Image.Image)
        np.testing.assert_array_equal(one, np.asarray(other))

    def test_what_cannot_be_an_image_says_what_can(self, tiny: Tiny, here: Path):
        del here
        enlarge = load_restorer(tiny(), device="cpu")
        with pytest.raises(TypeError, match="expected a path, bytes, an open file, a PIL image, a numpy array"):
            enlarge(3)  # type: ignore[call-overload]
        with pytest.raises(DecodeError, match="the bytes: it is"):
            enlarge(b"no image")
        with pytest.raises(ValueError, match=r"of 1, 3 or 4 channels, got \(7, 9, 3\)"):
            enlarge(torch.zeros(7, 9, 3))
        with pytest.raises(UsageError, match="did you mean 'denoise'"):
            restore(np.zeros((4, 4, 3), np.uint8), task="denoize")

    def test_a_restorer_shows_what_is_loaded(self, tiny: Tiny):
        assert repr(load_restorer(tiny(), device="cpu")) == "<Restorer ramit-tiny-sr on cpu in float32>"

    @pytest.mark.parametrize(
        ("arguments", "options"),
        [
            (("sr", "--scale", 2), {"task": "sr", "scale": 2}),
            (("denoise", "--sigma", 25), {"task": "denoise", "sigma": 25}),
            (("deblur",), {"task": "deblur"}),
        ],
    )
    def test_the_command_writes_the_pixels_that_the_function_returns(
        self, run: Run, arguments: tuple[object, ...], options: dict[str, object]
    ):
        for mode in ("RGB", "L"):
            image(f"{mode}.png", mode=mode)
            existing = ("-o", "out.png", "--existing", "overwrite", "--device", "cpu")
            assert run(*arguments, f"{mode}.png", *existing).code == 0
            restored = restore(f"{mode}.png", device="cpu", **options)  # type: ignore[call-overload]
            np.testing.assert_array_equal(np.asarray(Image.open("out.png")), np.asarray(restored))


class TestManyFiles:
    def test_the_command_and_the_function_write_the_same_bytes(self, run: Run):
        image("in/color.png", size=(20, 16))
        image("in/gray.png", mode="L", size=(20, 16))
        image("in/photo.jpg", size=(20, 16))

        ran = run("denoise", "--sigma", 25, "--quality", 80, "in", "out/", "--device", "cpu", "--tta")
        report = restore_files(
            "in",
            "own/",
            task="denoise",
            sigma=25,
            write=WriteSettings(quality=80),
            run=RunSettings(device="cpu", tta=True),
        )

        assert (ran.code, report.exit_code, report.ok) == (0, 0, 3)
        assert set(report.weights) == {"unet-denoise-color", "unet-denoise-gray"}
        assert files_below("out") == files_below("own")

    def test_several_tasks_run_one_after_the_other_as_in_the_command(self, run: Run):
        image("a.png")

        assert run("run", "denoise:25,sr:2", "a.png", "-o", "one.png", "--device", "cpu").code == 0
        report = restore_files("a.png", "two.png", task="denoise:25,sr:2", run=CPU)

        assert report.task == "denoise:25,sr:2"
        assert Path("one.png").read_bytes() == Path("two.png").read_bytes()

    def test_a_batch_that_was_done_is_skipped_and_what_changed_is_done_again(self, tiny: Tiny, here: Path):
        del here
        for name in "abc":
            image(f"in/{name}.png")

        def again() -> tuple[int, int]:
            report = restore_files("in", "out", task="sr", weights=tiny(), resume=True, run=CPU)
            return report.ok, report.skipped

        assert again() == (3, 0)
        assert again() == (0, 3)
        image("in/a.png", size=(5, 5))
        assert again() == (1, 2)

    def test_progress_names_each_image_and_counts_all(self, tiny: Tiny, here: Path):
        del here
        image("in/a.png")
        Path("in/b.png").write_bytes(Path("in/a.png").read_bytes()[:60])
        seen: list[FilesProgress] = []

        report = restore_files("in", "out", task="sr", weights=tiny(), run=CPU, progress=seen.append)

        assert (report.ok, report.failed, report.exit_code) == (1, 1, 1)
        ended = [(p.done, p.total, p.source.name, p.result.status) for p in seen if p.result is not None]
        assert ended == [(1, 2, "a.png", "ok"), (2, 2, "b.png", "failed")]
        assert all(0.0 <= p.share <= 1.0 for p in seen)
        assert any(p.result is None for p in seen)

    def test_results_go_beside_or_in_place_of_their_inputs_and_never_over_others_unasked(self, tiny: Tiny, here: Path):
        del here
        before = image("a.png").read_bytes()
        denoised = tiny("denoise", scale=1)

        assert restore_files("a.png", task="denoise", weights=denoised, run=CPU).ok == 1
        assert Path("a_denoised.png").is_file()
        with pytest.raises(UsageError, match=r"a_denoised\.png exists already"):
            restore_files("a.png", task="denoise", weights=denoised, run=CPU)
        assert restore_files(["a.png"], task="denoise", weights=denoised, run=CPU, in_place=True).ok == 1
        assert Path("a.png").read_bytes() != before

    def test_a_batch_ends_early_when_asked_to(self, tiny: Tiny, here: Path):
        del here
        image("in/a.png")
        stop = threading.Event()
        stop.set()
        assert restore_files("in", "out", task="sr", weights=tiny(), run=CPU, stop=stop).stopped == 1


class TestOtherVerbs:
    def test_scores_are_those_of_the_command(self, run: Run, tiny: Tiny):
        image("clean/a.png", size=(24, 22))
        shown: list[str] = []

        class Watcher(ScoringWatcher):
            def scored(self, outcome: Outcome, protocol: Protocol) -> None:
                shown.append(f"{outcome.name} under {protocol.name}")

        ran = run("eval", "sr", "--scale", 2, "--weights", tiny(), "--clean", "clean", "--json", "--device", "cpu")
        report = evaluate(
            "sr", "clean", scale=2, weights=[tiny()], run=CPU, csv="scores.csv", html="scores.html", watcher=Watcher()
        )

        network = json.loads(ran.out.splitlines()[-1])["candidates"][1]
        assert report.mean(network["candidate"], "psnr_y") == network["mean"]["psnr_y"]
        assert shown == ["a under paper"]
        assert all(Path(f"scores.{suffix}").stat().st_size for suffix in ("csv", "html"))
        with pytest.raises(UsageError, match=r"scores\.csv exists"):
            evaluate("sr", "clean", scale=2, weights=[tiny()], csv="scores.csv")
        with pytest.raises(UsageError, match="--sigma belongs to denoise, not to sr"):
            evaluate("sr", "clean", sigma=25)

    def test_networks_are_counted_without_being_run(self):
        report = bench("ramit-lite-sr-x4", settings=BenchSettings(runs=0, device="cpu"))
        (row,) = report.rows
        network = load_restorer("ramit-lite-sr-x4", device="cpu").weights.network
        assert row.counts.params == sum(parameter.numel() for parameter in network.parameters())
        with pytest.raises(UsageError, match="no network was named"):
            bench()

    @pytest.mark.slow
    def test_a_training_stops_when_asked_and_goes_on_to_what_it_would_have_been(self, here: Path):
        del here
        for index in range(2):
            image(f"images/{index}.png", size=(80, 80))
        settings = {"task": "sr", "scale": 2, "steps": 4, "batch": 1, "patch": 32, "log_every": 1, "device": "cpu"}
        stop = threading.Event()

        class Watcher(TrainingWatcher):
            def interval(self, interval: Interval) -> None:
                if interval.step == 2:
                    stop.set()

        halted = train("images", "run", watcher=Watcher(), stop=stop, **settings)
        assert (halted.stopped, halted.step < 4) == (True, True)
        with pytest.raises(UsageError, match="holds a run already"):
            train("images", "run", **settings)
        done = train("images", "run", resume=True, **settings)
        assert (done.stopped, done.step, done.steps) == (False, 4, 4)
        whole = train("images", "other", **settings)
        states = [read_checkpoint(run.folder / "last.pt")["network"] for run in (done, whole)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])

    def test_a_page_of_two_images_says_what_changed(self, here: Path):
        del here
        Image.new("RGB", (8, 8), "black").save("a.png")
        Image.new("RGB", (8, 8), (51, 51, 51)).save("b.png")

        compared = compare("a.png", "b.png", "page.html")

        assert (compared.page, compared.failures) == (Path("page.html"), ())
        assert compared.entries[0].change.mean == pytest.approx(51)
        assert Path("page.html").is_file()

    def test_a_server_says_where_it_is_and_ends_with_the_process(self):
        pytest.importorskip("uvicorn")
        code = "import restore_cli; restore_cli.serve(port=0, started=lambda address, _: print(address, flush=True))"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert httpx2.get(f"{address}healthz", timeout=30).status_code == 200
        finally:
            os.kill(process.pid, signal.SIGINT)
            process.communicate(timeout=60)


@pytest.mark.exhaustive
def test_a_script_without_a_main_guard_may_start_processes(here: Path, tiny: Tiny):
    for name in "ab":
        image(f"in/{name}.png")
    (here / "script.py").write_text(
        f"""
from restore_cli import bench, restore_files
from restore_cli.benchmark.cases import BenchSettings

report = restore_files("in", "out/", task="sr", weights={str(tiny())!r}, workers=2)
rows = bench("ramit-lite-sr-x4", settings=BenchSettings(runs=1, warmup=1, sizes=((32, 32),), device="cpu")).rows
print(report.ok, [row.error for row in rows])
"""
    )
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, env=environment(), timeout=240)
    assert done.stdout == "2 [None]\n", done.stderr


def test_verbs_stay_functions_whatever_is_imported():
    code = "import restore_cli, pkgutil; [__import__(m.name) for m in pkgutil.iter_modules(restore_cli.__path__, 'restore_cli.') if m.ispkg]; import sys; sys.exit(not all(callable(getattr(restore_cli, name)) for name in restore_cli.__all__ if name != '__version__'))"  # noqa: E501
    assert subprocess.run([sys.executable, "-c", code], env=environment()).returncode == 0
    assert set(restore_cli.__all__) <= set(dir(restore_cli))
