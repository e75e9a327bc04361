"""The images to train on, decoded once and kept in memory as far as a stated budget goes.

First stage of training, READ. Random crops touch every image again and again, so decoding a file for each crop would
starve the network; a folder of photographs fits into memory as uint8. What does not fit is decoded again when a crop
needs it. All files are read once before training starts: a broken one is named then and not three hours later.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from restore_cli.errors import ImageError, TrainingError
from restore_cli.imaging.decode import MOST_BYTES, SUFFIXES, decode
from restore_cli.imaging.resize import downscale_matlab
from restore_cli.storage.buckets import listed, read_object
from restore_cli.storage.files import replacing
from restore_cli.weights.store import cache_dir

Uint8Image = npt.NDArray[np.uint8]

MEBIBYTE = 2**20
_LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114])
_NAMED_AT_MOST = 5


def copied(url: str) -> Path:
    """Return a folder here with the images of a folder in a bucket; what was copied before and is the same is kept.

    Raises:
        StorageError: If the bucket cannot be read, or the folder not be written.
    """
    folder = cache_dir() / "data" / hashlib.sha256(url.encode()).hexdigest()[:16]
    kept = set()
    for one in listed(url, recursive=True):
        name = PurePosixPath(one.name)
        if name.suffix.lower() not in SUFFIXES or str(name) != one.name or any(part[0] == "." for part in name.parts):
            continue
        path, modified = folder / name, one.modified.timestamp()
        kept.add(path)
        if not path.is_file() or path.stat().st_mtime != modified:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(read_object(f"{url.rstrip('/')}/{one.name}", MOST_BYTES)[0])
            os.utime(path, (modified, modified))
    for path in folder.rglob("*"):
        if path.is_file() and path not in kept:  # it is no more in the bucket
            path.unlink(missing_ok=True)
    return folder


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One image of the training or validation set.

    Attributes:
        clean: The truth.
        degraded: The input that belongs to it, or None where inputs are made from the truth.
    """

    clean: Path
    degraded: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Hold one decoded image.

    Attributes:
        clean: uint8 (scale * h, scale * w, C).
        degraded: uint8 (h, w, C), or None where crops are degraded on the fly.
    """

    clean: Uint8Image
    degraded: Uint8Image | None = None

    @property
    def nbytes(self) -> int:
        """Return the memory both arrays take, in bytes."""
        return self.clean.nbytes + (0 if self.degraded is None else self.degraded.nbytes)


@dataclass(frozen=True, kw_only=True)
class ImageForm:
    """Say in which form images are kept.

    Attributes:
        channels: 1 for gray (rounded luma), 3 for RGB.
        scale: Factor from degraded to clean.
        reduce: Make the degraded image once, by MATLAB's bicubic: the plain degradation of super-resolution, which
            draws nothing and must see the whole image to be right at the borders of a crop.
    """

    channels: int
    scale: int = 1
    reduce: bool = False


class ImageStore:
    """Give out decoded images by number; safe to use from several threads.

    Args:
        files: At least one image.
        form: In which form they are kept.
        budget: Bytes of memory for decoded images.

    Raises:
        TrainingError: From `scan` or `get`, if a file cannot be read or a pair does not fit together.
    """

    def __init__(self, files: Sequence[ImageFile], form: ImageForm, budget: int) -> None:
        if not files:
            msg = "an image store needs at least one image"
            raise ValueError(msg)
        self.files = tuple(files)
        self.form = form
        self.budget = budget
        self._kept: OrderedDict[int, Pixels] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self.left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def scan(self, threads: int = 2) -> tuple[tuple[int, int], ...]:
        """Read every image once, keep what the budget allows, and return the (height, width) of the clean ones.

        Images that cannot be read or do not fit their partners are left out of `files`, and `left_out` says why.

        Raises:
            TrainingError: If these are half of the images or more; the first few are named.
        """

        def look(index: int) -> tuple[int, int] | TrainingError:
            try:
                height, width = self.get(index).clean.shape[:2]
            except TrainingError as error:
                return error
            return height, width

        with ThreadPoolExecutor(threads) as pool:
            found = tuple(pool.map(look, range(len(self.files))))
        wrong = [item for item in found if isinstance(item, TrainingError)]
        if len(wrong) == len(found) == 1:
            raise wrong[0]
        if 2 * len(wrong) >= len(found):
            raise TrainingError(
                f"{len(wrong)} of {len(found)} images cannot be trained on: "
                + named([error.message for error in wrong], separator="; "),
                hint="remove or replace them",
            )
        if wrong:
            self._leave_out([index for index, item in enumerate(found) if isinstance(item, TrainingError)])
            self.left_out = tuple(error.message for error in wrong)
        return tuple(item for item in found if not isinstance(item, TrainingError))

    def _leave_out(self, indices: Sequence[int]) -> None:
        """Take images out of the store; the others keep their order and move up."""
        usable = [index for index in range(len(self.files)) if index not in set(indices)]
        with self._lock:
            places = {old: new for new, old in enumerate(usable)}
            self._kept = OrderedDict((places[old], pixels) for old, pixels in self._kept.items())
            self.files = tuple(self.files[index] for index in usable)

    def get(self, index: int) -> Pixels:
        """Return image number `index`, decoding it if it is not in memory."""
        with self._lock:
            kept = self._kept.get(index)
            if kept is not None:
                self._kept.move_to_end(index)
                return kept
        pixels = self._read(self.files[index])
        with self._lock:
            if index not in self._kept:
                self._kept[index] = pixels
                self._kept_bytes += pixels.nbytes
            # The newest stays even where it alone is larger than the budget: the crop at hand needs it.
            while self._kept_bytes > self.budget and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= dropped.nbytes
        return pixels

    @property
    def kept(self) -> int:
        """Return how many images are in memory now."""
        return len(self._kept)

    @property
    def kept_bytes(self) -> int:
        """Return how much memory they take."""
        return self._kept_bytes

    def _read(self, file: ImageFile) -> Pixels:
        scale = self.form.scale
        clean = read_8bit(file.clean, self.form.channels)
        if file.degraded is not None:
            degraded = read_8bit(file.degraded, self.form.channels)
            height, width = degraded.shape[0] * scale, degraded.shape[1] * scale
            spare = (clean.shape[0] - height, clean.shape[1] - width)
            if min(spare) < 0 or max(spare) >= max(scale, 2):
                raise TrainingError(
                    f"{file.degraded} is {degraded.shape[1]}x{degraded.shape[0]}, which is not {file.clean} "
                    f"({clean.shape[1]}x{clean.shape[0]}) reduced {scale} times"
                )
            return Pixels(clean=clean[:height, :width], degraded=degraded)
        clean = np.ascontiguousarray(clean[: clean.shape[0] // scale * scale, : clean.shape[1] // scale * scale])
        return Pixels(clean=clean, degraded=downscale_matlab(clean, scale) if self.form.reduce else None)


def read_8bit(path: Path, channels: int) -> Uint8Image:
    """Decode a file to 8 bit with the wanted number of channels.

    Returns:
        uint8 (H, W, channels); gray is the rounded luma that gray test sets were made with.

    Raises:
        TrainingError: If the file cannot be decoded.
    """
    try:
        pixels = decode(path).pixels
    except ImageError as error:
        raise TrainingError(error.message, hint="remove or replace it") from error
    image: Uint8Image = np.rint(pixels * np.float32(255.0)).astype(np.uint8)
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    luma: npt.NDArray[np.float64] = image.astype(np.float64) @ _LUMA_WEIGHTS
    gray: Uint8Image = np.rint(luma).astype(np.uint8)[..., np.newaxis]
    return gray


def find_images(folders: Iterable[Path]) -> tuple[Path, ...]:
    """List the images of folders and all folders below them, in an order that does not depend on the file system.

    Raises:
        TrainingError: If a folder is missing or holds no image.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise TrainingError(f"{folder} is not a folder")
        inside = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        )
        if not inside:
            raise TrainingError(f"{folder} holds no images")
        found.extend(inside)
    return tuple(dict.fromkeys(found))


def pair_images(clean: Sequence[Path], degraded: Sequence[Path], scale: int) -> tuple[ImageFile, ...]:
    """Pair clean and degraded images by name; a degraded name may carry the scale ("babyx4", "baby_x4").

    Raises:
        TrainingError: If an image has no partner or two; some are named.
    """
    partners: dict[str, list[Path]] = {}
    for path in degraded:
        stem = path.stem
        partners.setdefault(stem, []).append(path)
        for ending in (f"_x{scale}", f"x{scale}"):
            if scale > 1 and stem.endswith(ending):
                partners.setdefault(stem.removesuffix(ending), []).append(path)
                break
    wrong = [path for path in clean if len(partners.get(path.stem, [])) != 1]
    if wrong:
        raise TrainingError(
            f"{len(wrong)} clean images have no degraded image of their name, or several: {named(wrong)}",
            hint="pairs are found by file name",
        )
    return tuple(ImageFile(clean=path, degraded=partners[path.stem][0]) for path in clean)


def named(items: Sequence[object], *, separator: str = ", ") -> str:
    """List the first few items, and say so where there are more."""
    shown = separator.join(str(item) for item in items[:_NAMED_AT_MOST])
    return shown if len(items) <= _NAMED_AT_MOST else f"{shown}{separator}and {len(items) - _NAMED_AT_MOST} more"
