"""Restore the sample images with the bundled weights: beside the truth for the model card, before and after for README.

`python -m tests.model_card.make_restored` writes restored.jpg and strip.jpg beside this file; `python -m tests.readme`
does so if the bundled weights are no longer those that made them, which the comment in each file says.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from restore_cli.weights.manifest import WeightsEntry, load_manifest
from tests.samples.make_samples import HEIGHT, WIDTH, rain, render, shaken

Pixels = npt.NDArray[np.uint8]

FOLDER = Path(__file__).resolve().parent
SAMPLES = FOLDER.parent / "samples"
RESTORED = FOLDER / "restored.jpg"
STRIP = FOLDER / "strip.jpg"

_SCALE = 4
_GAP = 6
_QUALITY = 80


def entries() -> tuple[WeightsEntry, ...]:
    """Return the weights whose work is shown."""
    manifest = load_manifest()
    return (
        manifest.select(task="sr", scale=_SCALE, variant="photo"),
        manifest.select(task="denoise"),
        manifest.select(task="dejpeg"),
        manifest.select(task="derain"),
        manifest.select(task="lowlight"),
        manifest.select(task="deblur", variant="motion"),
    )


def stamp() -> str:
    """Name the weights and the digests of their files."""
    return "\n".join(f"{entry.id} {entry.sha256}" for entry in entries())


def is_fresh() -> bool:
    """Report whether both images were made with the weights of the manifest."""
    for path in (RESTORED, STRIP):
        if not path.is_file():
            return False
        with Image.open(path) as image:
            if image.info.get("comment", b"") != stamp().encode():
                return False
    return True


def make() -> None:
    """Write both images: a row for each of the weights, what it was given, what it made of it, and the truth."""
    truth = sample("still_life.png")
    photo, denoise, dejpeg, derain, lowlight, deblur = entries()
    random = np.random.RandomState(0)
    given: dict[str, Pixels | bytes] = {
        "grain": jpeg(truth + 20 * random.standard_normal(truth.shape[:2])[..., None], quality=90),
        "jpeg": jpeg(truth, quality=12),
        "rain": sample("still_life_rain.png"),
        "dark": sample("still_life_dark.png"),
        "shaken": sample("still_life_shaken.png"),
        "downpour": np.clip(truth + 255 * rain(random, streaks=700)[..., None], 0, 255).astype(np.uint8),
        "blurred": np.clip(shaken(truth, reach=30), 0, 255).astype(np.uint8),
    }
    served = zip((denoise, dejpeg, derain, lowlight, deblur, derain, deblur), given.values(), strict=True)
    rows = [_enlarged_row(photo), *((seen(image), restored(entry, image), truth) for entry, image in served)]
    _lay_out(rows, RESTORED)
    best = [rows[place] for place in (1, 3, 4, 5)]
    _lay_out([tuple(row[0] for row in best), tuple(row[1] for row in best)], STRIP)


def jpeg(pixels: npt.NDArray[np.float64] | Pixels, *, quality: int) -> bytes:
    """Return a JPEG file of halved chroma of pixels (H, W, 3), 0..255."""
    file = BytesIO()
    rounded = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    Image.fromarray(rounded).save(file, "JPEG", quality=quality, subsampling=2)
    return file.getvalue()


def _lay_out(rows: Sequence[Sequence[Pixels]], path: Path) -> None:
    """Write images of one size as one, row by row, with white between them."""
    height, width = len(rows) * (HEIGHT + _GAP) - _GAP, len(rows[0]) * (WIDTH + _GAP) - _GAP
    sheet = np.full((height, width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        for place, pixels in enumerate(row):
            top, left = number * (HEIGHT + _GAP), place * (WIDTH + _GAP)
            sheet[top : top + HEIGHT, left : left + WIDTH] = pixels
    Image.fromarray(sheet).save(path, quality=_QUALITY, subsampling=0, optimize=True, comment=stamp())


def sample(name: str) -> Pixels:
    """Return a sample image, uint8 (HEIGHT, WIDTH, 3)."""
    return seen((SAMPLES / name).read_bytes())


def seen(given: Pixels | bytes) -> Pixels:
    """Return the pixels of an image, (H, W, 3) in 0..255."""
    if not isinstance(given, bytes):
        return given
    with Image.open(BytesIO(given)) as image:
        return np.asarray(image.convert("RGB"))


def restored(entry: WeightsEntry, given: Pixels | bytes) -> Pixels:
    """Return what weights make of an image; a file's header says how strongly it was compressed."""
    from restore_cli import load_restorer

    return np.asarray(load_restorer(entry.id)(given))


def _enlarged_row(entry: WeightsEntry) -> tuple[Pixels, Pixels, Pixels]:
    """Enlarge a reduced JPEG of twice the samples' size, and show a part of it."""
    from restore_cli.imaging.resize import downscale_matlab

    truth = render(2 * HEIGHT, 2 * WIDTH)
    small = jpeg(downscale_matlab(truth, _SCALE), quality=75)
    large = np.repeat(np.repeat(seen(small), _SCALE, axis=0), _SCALE, axis=1)
    part = np.s_[HEIGHT // 2 + 30 : HEIGHT // 2 + 30 + HEIGHT, WIDTH // 2 + 40 : WIDTH // 2 + 40 + WIDTH]
    return large[part], restored(entry, small)[part], truth[part]


if __name__ == "__main__":
    make()
