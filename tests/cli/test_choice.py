"""Which weights an image gets: those named by id or file, and the gray ones where it is gray."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from restore_cli.imaging import decode
from tests.cli.conftest import Run, image, json_lines
from tests.conftest import ROOT

Tiny = Callable[..., Path]


class TestWeights:
    def test_weights_that_are_not_there_are_code_3(self, run: Run):
        image("a.png")
        ran = run("sr", "--weights", "gone.safetensors", "a.png")
        assert (ran.code, ran.err) == (3, "restore: error: gone.safetensors is no file; look at --weights\n")

    def test_damaged_weights_are_code_3(self, run: Run):
        image("a.png")
        Path("w.safetensors").write_bytes(b"\0" * 100)
        ran = run("sr", "--weights", "w.safetensors", "a.png")
        assert ran.code == 3
        assert ran.err.startswith("restore: error: w.safetensors ")

    def test_offline_weights_that_are_not_at_hand_are_code_3(self, run: Run):
        image("a.png")
        ran = run("sr", "-m", "ramit", "--offline", "a.png")
        assert ran.code == 3
        assert "--offline" in ran.err
        assert not Path("a_x4.png").exists()

    def test_weights_of_another_task_are_refused(self, run: Run, tiny: Tiny):
        image("a.png")
        ran = run("denoise", "--weights", tiny(), "a.png")
        assert ran.code == 2
        assert "is for sr, not for denoise; say `restore sr`" in ran.err

    def test_weights_of_another_scale_are_refused(self, sr: Run):
        image("a.png")
        ran = sr("--scale", "4", "a.png")
        assert ran.code == 2
        assert "enlarges 2 times, not 4" in ran.err

    def test_a_file_of_no_known_network_is_refused_with_those_that_are(self, run: Run):
        import torch

        image("a.png")
        torch.save({"x": torch.zeros(1)}, "w.pth")
        ran = run("sr", "--weights", "w.pth", "a.png")
        assert ran.code == 2
        assert "w.pth does not say of which network it is, and is of none that is known here" in ran.err
        assert "RRDBNet, " in ran.err
        assert "add --model" in ran.err

    def test_a_file_of_others_is_recognised_and_its_digest_shown(self, run: Run):

        import torch

        from restore_cli.models import rrdbnet

        config = rrdbnet.Config(dim=8, growth=4, blocks=1)
        torch.save({"params_ema": rrdbnet.RRDBNet(config).half().state_dict()}, "4x_Mine.pth")
        image("a.png", size=(9, 7))
        ran = run("sr", "--weights", "4x_Mine.pth", "a.png", "b.png", "--verbose")
        assert ran.code == 0, ran.err
        assert hashlib.sha256(Path("4x_Mine.pth").read_bytes()).hexdigest()[:12] in ran.err
        with Image.open("b.png") as restored:
            assert restored.size == (36, 28)
        assert run("denoise", "--weights", "4x_Mine.pth", "a.png", "c.png").err.count("is for sr, not for denoise") == 1
        assert run("sr", "--scale", "2", "--weights", "4x_Mine.pth", "a.png").code == 2

    def test_a_file_that_does_not_fit_its_model_is_code_3(self, run: Run, tiny: Tiny):
        image("a.png")
        ran = run("sr", "--scale", "2", "-m", "ramit", "--weights", tiny(), "a.png")
        assert ran.code == 3
        assert "does not fit ramit-sr-x2" in ran.err

    def test_an_unknown_model_names_the_nearest(self, run: Run):
        image("a.png")
        ran = run("sr", "-m", "raimt", "a.png")
        assert ran.code == 2
        assert "did you mean 'ramit'" in ran.err

    def test_a_model_without_the_task_says_what_it_has(self, run: Run):
        image("a.png")
        ran = run("deblur", "-m", "ramit", "--kind", "defocus", "a.png")
        assert ran.code == 2
        assert "model 'ramit' has no weights for deblur defocus; it has sr x2" in ran.err

    def test_a_noise_level_that_was_not_trained_is_told(self, run: Run, tiny: Tiny):
        image("a.png")
        weights = tiny("denoise", scale=1, sigma_range=(15.0, 25.0))
        assert "warning" not in run("denoise", "--weights", weights, "--sigma", "20", "-n", "a.png").err
        ran = run("denoise", "--weights", weights, "--sigma", "40", "-n", "a.png")
        assert "warning: ramit-tiny-denoise was trained at sigma 15 to 25, the nearest there is to 40" in ran.err

    def test_the_noise_of_an_image_is_estimated_and_told(self, run: Run, tiny: Tiny):
        weights = tiny("denoise", scale=1, sigma_range=(0.0, 5.0))
        noisy = ROOT / "tests" / "samples" / "still_life_noisy.png"
        ran = run("denoise", "--weights", weights, "--sigma", "auto", "-n", noisy, "out/")
        told = re.search(r"still_life_noisy.png: noise of about sigma ([0-9.]+)", ran.err)
        assert told is not None, ran.err
        assert float(told[1]) == pytest.approx(25, abs=2.5)
        assert "was trained at sigma 0 to 5" in ran.err

    @pytest.mark.parametrize("sigma", ["-1", "51", "nan", "much"])
    def test_a_noise_level_that_does_not_exist_is_refused(self, run: Run, sigma: str):
        ran = run("denoise", "--sigma", sigma, "a.png")
        assert ran.code == 2
        assert "is neither a number from 0 to 50 nor auto" in ran.err


class TestGray:
    def chosen(self, run: Run, *arguments: str) -> list[str | None]:
        ran = run("denoise", "-m", "ramit", "--dry-run", "--json", *arguments)
        return [line["weights"] for line in json_lines(ran)[:-1]]

    def test_each_gray_image_gets_the_gray_network_whatever_lies_beside_it(self, run: Run):
        image("in/gray.png", mode="L")
        Path("in/broken.png").touch()
        image("in/color.png")
        equal = Image.open("in/gray.png").convert("RGB")
        equal.save("in/equal.png")
        assert self.chosen(run, "in", "out") == [
            None, "ramit-denoise-color", "ramit-denoise-gray", "ramit-denoise-gray",
        ]  # fmt: skip
        summary = json_lines(run("denoise", "-m", "ramit", "--dry-run", "--json", "in", "out"))[-1]
        assert summary["weights"] is None

    def test_a_dry_run_decodes_no_pixels_for_people(self, run: Run, monkeypatch: pytest.MonkeyPatch):
        image("in/gray.png", mode="L")
        image("in/color.png")
        decoded: list[str] = []
        real = decode.decode_bytes
        monkeypatch.setattr(decode, "decode_bytes", lambda *given: (decoded.append(given[1]), real(*given))[1])
        ran = run("denoise", "-m", "ramit", "--dry-run", "in", "out")
        assert (ran.code, decoded) == (0, [])
        assert "ramit-denoise-color: would be fetched first" in ran.err
        assert "ramit-denoise-gray: would be fetched first" in ran.err
        run("denoise", "-m", "ramit", "--dry-run", "--json", "in", "out")
        assert decoded == ["in/color.png"]

    def test_an_image_comes_out_of_a_folder_as_it_does_alone_and_resume_knows_it(self, run: Run):
        image("in/gray.png", mode="L")
        image("in/color.png", size=(12, 11))
        Image.open("in/gray.png").convert("RGB").save("in/equal.png")
        ran = run("denoise", "in", "out", "--json")
        assert ran.code == 0, ran.err
        used = {line["source"]: line["weights"] for line in json_lines(ran)[:-1]}
        assert used == {
            "in/color.png": "unet-denoise-color",
            "in/equal.png": "unet-denoise-gray",
            "in/gray.png": "unet-denoise-gray",
        }
        for name in ("gray", "color", "equal"):
            assert run("denoise", f"in/{name}.png", "-o", f"{name}.png").code == 0
            assert Path(f"{name}.png").read_bytes() == Path(f"out/{name}.png").read_bytes()
        lines = [json.loads(line) for line in Path("out/.restore-ledger.jsonl").read_text().splitlines()]
        weights = {line["target"]: line["weights"] for line in lines}
        assert weights["gray.png"] == weights["equal.png"] != weights["color.png"]
        assert "3 skipped" in run("denoise", "in", "out", "--resume").err
        Path("out/gray.png").unlink()
        assert "1 restored, 2 skipped" in run("denoise", "in", "out", "--resume").err
        assert Path("gray.png").read_bytes() == Path("out/gray.png").read_bytes()
        assert "3 restored" in run("denoise", "in", "out", "--resume", "--color").err

    def test_what_is_said_outright_holds(self, run: Run):
        image("gray.png", mode="L")
        image("color.png")
        assert self.chosen(run, "--color", "gray.png") == ["ramit-denoise-color"]
        assert self.chosen(run, "--gray", "color.png") == ["ramit-denoise-gray"]
        assert self.chosen(run, "-m", "ramit-denoise-gray", "color.png") == ["ramit-denoise-gray"]

    def test_a_color_image_is_never_made_gray(self, run: Run, tiny: Tiny):
        image("a.png")
        ran = run("denoise", "--weights", tiny("denoise", scale=1, channels=1), "a.png")
        assert ran.code == 1
        assert "a.png: it is in colour, and ramit-tiny-denoise is for gray images; leave --gray out" in ran.err

    def test_a_gray_image_stays_gray_through_a_network_for_color(self, run: Run, tiny: Tiny):
        image("a.png", mode="L")
        assert run("denoise", "--weights", tiny("denoise", scale=1), "a.png").code == 0
        with Image.open("a_denoised.png") as pixels:
            assert pixels.mode == "L"
