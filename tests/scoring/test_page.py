"""The page shows the worst and best places, needs no other file, and trusts no name."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from restore_cli.scoring.crops import CropGallery
from restore_cli.scoring.page import report_page
from restore_cli.scoring.protocol import ScoringRequest, choose_protocol
from restore_cli.scoring.report import CandidateFacts, Failure, ImageScore, ScoreReport
from restore_cli.scoring.sample import Sample, as_float
from restore_cli.scoring.score import Outcome

Uint8 = npt.NDArray[np.uint8]
FLAT = np.full((200, 300, 3), 100, np.uint8)


def outcome_of(name: str, *, bad: tuple[int, int] | None = None, good: tuple[int, int] | None = None) -> Outcome:
    """A flat truth whose floor is 20 levels off; the network is exact at `good`, 60 off at `bad`, 19 off elsewhere."""
    restored = FLAT + np.uint8(19)
    for place, levels in ((good, 0), (bad, 60)):
        if place is not None:
            restored[place[0] : place[0] + 96, place[1] : place[1] + 96] = 100 + levels
    sample = Sample(name=name, degraded=as_float(FLAT[::2, ::2] + np.uint8(20)), clean=FLAT)
    return Outcome(name=name, sample=sample, restored={"bicubic": FLAT + np.uint8(20), "net": restored})


def gallery_of(*outcomes: Outcome, keep: int = 2) -> CropGallery:
    gallery = CropGallery(chooser="net", floor="bicubic", scale=2, keep=keep)
    for outcome in outcomes:
        gallery.consider(outcome)
    return gallery


def report_with(*images: str, label: str = "net") -> ScoreReport:
    protocol = choose_protocol(ScoringRequest(task="sr", paired=True, scale=2))
    values = {"psnr_y": 30.0, "ssim_y": 0.9}
    return ScoreReport(
        protocol=protocol,
        dataset="Set <5>",
        candidates=(CandidateFacts(label="bicubic", floor=True), CandidateFacts(label=label, run={"device": "cpu"})),
        scores=tuple(
            ImageScore(image=image, candidate=who, values=values, seconds=1.0)
            for image in images
            for who in ("bicubic", label)
        ),
        failures=(Failure(image="<script>alert(1)</script>", candidate="net", reason="it is <b>empty</b>"),),
        seconds=1.0,
    )


def test_the_worst_crop_is_where_the_error_is_and_the_best_where_it_left() -> None:
    gallery = gallery_of(outcome_of("a", bad=(96, 192), good=(48, 0)))
    (worst,), (best,) = gallery.crops("worst"), gallery.crops("best")
    assert worst.box == (96, 192, 96, 96)
    assert worst.squared_error("net") == 60**2
    assert best.box == (48, 0, 96, 96)
    assert best.squared_error("net") == 0
    assert best.squared_error("bicubic") == 20**2
    assert worst.degraded.shape == (48, 48, 3)
    assert worst.clean.shape == (96, 96, 3)


def test_crops_are_ranked_over_images_and_only_a_few_are_kept() -> None:
    outcomes = [outcome_of("none"), outcome_of("bad", bad=(0, 0)), outcome_of("good", good=(0, 0))]
    gallery = gallery_of(*outcomes, keep=1)
    assert [crop.image for crop in gallery.crops("worst")] == ["bad"]
    assert [crop.image for crop in gallery.crops("best")] == ["good"]


def test_an_image_smaller_than_a_crop_is_shown_whole() -> None:
    outcome = outcome_of("small")
    assert outcome.sample is not None
    small = replace(
        outcome,
        sample=replace(outcome.sample, clean=FLAT[:40, :60], degraded=outcome.sample.degraded[:20, :30]),
        restored={label: image[:40, :60] for label, image in outcome.restored.items()},
    )
    (crop,) = gallery_of(small).crops("worst")
    assert crop.box == (0, 0, 40, 60)


def test_an_image_that_the_chooser_failed_on_has_no_crops() -> None:
    outcome = outcome_of("a")
    gallery = gallery_of(replace(outcome, restored={"bicubic": FLAT}), Outcome(name="unread"))
    assert gallery.crops("worst") == ()


def test_the_page_holds_its_images_and_asks_for_no_other_file() -> None:
    outcome = outcome_of("a", bad=(0, 96))
    page = report_page(report_with("a"), gallery_of(outcome), "net")
    sources = re.findall(r'<img [^>]*src="([^"]*)"', page)
    assert len(sources) == 2 * 4
    images = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,")))))
        for source in sources
    ]
    degraded, restored, truth, difference = images[:4]
    np.testing.assert_array_equal(degraded, np.full((48, 48, 3), 120))
    np.testing.assert_array_equal(restored, np.full((96, 96, 3), 160))
    np.testing.assert_array_equal(truth, FLAT[:96, :96])
    assert difference.shape == (96, 96, 3)
    assert not re.search(r"https?:|<script|<link|@import|url\(", page)


def test_every_name_is_escaped_and_every_element_closed() -> None:
    page = report_page(report_with("<i>a", label="n<e>t"), gallery_of(outcome_of("<i>a")), "n<e>t")
    assert "<i>a" not in page
    assert "n<e>t" not in page
    assert "alert(1)&lt;" in page
    assert "Set &lt;5&gt;" in page
    Balance().check(page)


class Balance(HTMLParser):
    """Raise where an element is closed that is not open, or an attribute has no value."""

    VOID = frozenset({"meta", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert all(value is not None for _, value in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def check(self, page: str) -> None:
        self.feed(page)
        assert not self.open


def test_the_page_says_protocol_and_scores() -> None:
    page = report_page(report_with("a"), gallery_of(outcome_of("a")), "net")
    assert "protocol paper" in page
    assert "2 px border cut" in page
    assert "30.000" in page


def test_the_style_is_part_of_the_package() -> None:
    import restore_cli.pages

    assert (Path(restore_cli.pages.__file__).parent / "style.css").is_file()
