"""Mutations of our own sample files through planning, header, decoding and encoding, for as long as one likes.

    python -m tests.fuzz --seconds 60 [--seed 7] [--failures folder]

Each input must give a sound image or one line of refusal. Whatever else happens (another exception, a crash of the
process, a process that was started, more than ten seconds of processor time, an image that cannot be written and read
again) is a failure: it is told with its seed, and its input is saved. Exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import io
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from restore_cli.errors import DecodeError, EncodeError
from restore_cli.imaging.decode import decode
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.encode import encode, output_format
from restore_cli.imaging.gray import is_gray
from restore_cli.imaging.pillow import has_plugin
from restore_cli.jobs.plan import plan_images
from restore_cli.settings import PathSettings, ReadSettings, WriteSettings
from tests.children import children_seen
from tests.imaging.files import builtin_srgb, exif_with, packed, pattern, png, saved

MOST_PIXELS = 4_000_000
MOST_CPU_SECONDS = 10
_NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)


def samples() -> dict[str, bytes]:
    """Return files of every format and kind that is read, small so that a mutation hits something."""
    color, gray = pattern(24, 31), pattern(24, 31, channels=1)[..., 0]
    clear = np.dstack([color, gray])
    deep = color.astype(np.uint16) * 257
    exif, icc = exif_with(Orientation=6, Make="Maker"), builtin_srgb()
    frames = [Image.fromarray(pattern(24, 31, seed=seed)) for seed in range(3)]
    made = {
        "rgb.png": saved(color, "PNG", exif=exif, icc_profile=icc, dpi=(300, 300)),
        "palette.png": saved(Image.fromarray(color).quantize(16), "PNG", transparency=3),
        "deep.png": png(31, 24, 16, 2, packed(deep.reshape(24, -1), 16)),
        "animated.png": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "rgb.jpg": saved(color, "JPEG", exif=exif, icc_profile=icc, quality=80),
        "progressive.jpg": saved(color, "JPEG", progressive=True),
        "cmyk.jpg": saved(Image.fromarray(clear, "CMYK"), "JPEG"),
        "pair.mpo": saved(frames[0], "MPO", save_all=True, append_images=frames[1:]),
        "lossy.webp": saved(color, "WEBP", exif=exif, icc_profile=icc),
        "lossless.webp": saved(clear, "WEBP", lossless=True),
        "animated.webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "animated.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "rgb.bmp": saved(color, "BMP"),
        "palette.bmp": saved(Image.fromarray(color).quantize(16), "BMP"),
        "rgb.avif": saved(color, "AVIF", exif=exif, icc_profile=icc),
        "gray.pgm": saved(gray, "PPM"),
        "plain.ppm": b"P3 # plain\n3 2 17\n" + b" ".join(b"%d" % (i % 18) for i in range(18)),
        "rgb.tif": saved(color, "TIFF", exif=exif, icc_profile=icc),
        "fax.tif": saved(Image.fromarray(gray > 128), "TIFF", compression="group4"),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        made[f"{compression}.tif"] = saved(color, "TIFF", compression=compression)
    kinds: dict[str, dict[str, Any]] = {
        "deep": {"compression": "zlib", "predictor": 2},
        "tiled": {"tile": (16, 16), "byteorder": ">"},
        "big": {"bigtiff": True},
        "planar": {"planarconfig": "separate"},
    }
    for name, options in kinds.items():
        stored = np.ascontiguousarray(deep.transpose(2, 0, 1)) if name == "planar" else deep
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, stored, photometric="rgb", **options)
        made[f"{name}.tif"] = buffer.getvalue()
    for suffix, format_name in ((".heic", "HEIF"), (".jxl", "JXL")):
        if has_plugin(format_name):
            made[f"rgb{suffix}"] = saved(color, format_name)
    return made


def flip_bits(data: bytearray, chance: random.Random) -> None:
    """Flip a few bits anywhere."""
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def set_numbers(data: bytearray, chance: random.Random) -> None:
    """Write numbers at the edge of what fits, most of them near the start, where sizes are."""
    for _ in range(chance.randint(1, 3)):
        form, bits = chance.choice((("B", 8), ("<H", 16), (">H", 16), ("<I", 32), (">I", 32)))
        reach = len(data) if chance.random() < 0.5 else min(len(data), 128)
        place = chance.randrange(reach)
        if place + bits // 8 <= len(data):
            struct.pack_into(form, data, place, chance.choice(_NUMBERS) % (1 << bits))


def cut_out(data: bytearray, chance: random.Random) -> None:
    """Remove a part."""
    start = chance.randrange(len(data))
    del data[start : start + chance.randint(1, 64)]


def repeat(data: bytearray, chance: random.Random) -> None:
    """Say a part several times."""
    start = chance.randrange(len(data))
    part = data[start : start + chance.randint(1, 64)]
    data[start:start] = part * chance.choice((1, 2, 50))


def cut_off(data: bytearray, chance: random.Random) -> None:
    """Remove the end."""
    del data[chance.randrange(1, len(data)) :]


def scatter(data: bytearray, chance: random.Random) -> None:
    """Fill a part with noise."""
    start = chance.randrange(len(data))
    count = min(len(data) - start, chance.randint(1, 64))
    data[start : start + count] = chance.randbytes(count)


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip_bits,
    set_numbers,
    set_numbers,
    cut_out,
    repeat,
    cut_off,
    scatter,
)


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Return a file with one to three mutations; now and then with the rest of another, or with checksums mended."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        if len(changed) > 1:
            chance.choice(MUTATIONS)(changed, chance)
    if chance.random() < 0.1:
        other = chance.choice(others)
        changed[chance.randrange(len(changed) + 1) :] = other[chance.randrange(len(other)) :]
    if changed.startswith(b"\x89PNG") and chance.random() < 0.7:
        mend_checksums(changed)
    return bytes(changed)


def mend_checksums(data: bytearray) -> None:
    """Make the checksums of a PNG's chunks right again, so that what is in them is looked at."""
    position = 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            return
        struct.pack_into(">I", data, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4


def fault_of(path: Path, chance: random.Random) -> str | None:
    """Return what went wrong with one file, or None if it was read, or refused in one line."""
    try:
        plan_images(PathSettings(paths=(str(path),), task_suffix="_x2"), WriteSettings(existing="overwrite"))
        is_gray(path)
        lenient = chance.random() < 0.3
        image = decode(path, ReadSettings(max_pixels=MOST_PIXELS, strict=chance.random() < 0.1, allow_damaged=lenient))
        return unsound(image) or not_written(image, path.with_name("again"), chance)
    except DecodeError as error:
        line = str(error)
        return None if line.startswith(f"{path}: ") and len(line.splitlines()) == 1 else f"refusal: {line!r}"
    except BaseException:  # noqa: BLE001 - what must not happen is what is looked for
        return traceback.format_exc()


def unsound(image: DecodedImage) -> str | None:
    """Return what is wrong with an image, or None."""
    pixels, alpha = image.pixels, image.alpha
    sound = pixels.dtype == np.float32 and pixels.ndim == 3 and pixels.shape[2] in (1, 3) and pixels.size > 0
    for plane in (pixels, alpha):
        sound &= plane is None or bool(np.isfinite(plane).all() and plane.min() >= 0 and plane.max() <= 1)
    sound &= alpha is None or alpha.shape == pixels.shape[:2]
    lines = all(warning and len(warning.splitlines()) == 1 for warning in image.warnings)
    return None if sound and lines and image.bit_depth in (8, 16) else f"an unsound image: {image}"


def not_written(image: DecodedImage, place: Path, chance: random.Random) -> str | None:
    """Write an image, its metadata included, and read it again; now and then, since it takes longer than reading."""
    if chance.random() < 0.7 or image.pixels.size > 300_000:
        return None
    written = output_format(image.format, "")
    try:
        data = encode(image, format=written)
    except EncodeError as error:
        return None if "pixels are more than" in str(error) else f"not written: {error}"
    place.write_bytes(data)
    again = decode(place, ReadSettings(max_pixels=MOST_PIXELS))
    return None if again.pixels.shape[:2] == image.pixels.shape[:2] else "another size when read again"


def work(seed: int, seconds: float, folder: Path) -> int:
    """Try inputs until the time is over; return 1 at the first fault, its input left in `folder`."""
    chance = random.Random(seed)
    files = samples()
    names, contents = list(files), list(files.values())
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        name = chance.choice(names)
        path = folder / f"input{Path(name).suffix}"
        (folder / "name").write_text(name, encoding="utf-8")
        path.write_bytes(mutated(files[name], contents, chance))
        started = time.process_time()
        signal.alarm(120)  # a hang kills this process, which the parent tells
        fault = fault_of(path, chance)
        signal.alarm(0)
        count += 1
        fault = fault or children_seen()
        if fault is None and time.process_time() - started > MOST_CPU_SECONDS:
            fault = f"{time.process_time() - started:.1f} s of processor time"
        if fault is not None:
            print(f"seed {seed}, input {count}, a {name}: {fault}", flush=True)  # noqa: T201 - a program of its own
            return 1
        path.unlink()
    print(f"seed {seed}: {count} inputs", flush=True)  # noqa: T201
    return 0


def main() -> int:
    """Run workers one after the other, each until its first fault, and keep the inputs that caused faults."""
    parser = argparse.ArgumentParser(description="Fuzz the reading and writing of images.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("fuzz_failures"))
    parser.add_argument("--work-in", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work_in is not None:
        return work(asked.seed, asked.seconds, asked.work_in)
    end, seed, failures = time.monotonic() + asked.seconds, asked.seed, 0
    while (left := end - time.monotonic()) > 1:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(left), "--seed", str(seed)]
            done = subprocess.run([*command, "--work-in", folder], capture_output=True, text=True, check=False)
            print(done.stdout, end="", flush=True)  # noqa: T201
            if done.returncode or done.stderr:
                failures += 1
                keep(Path(folder), asked.failures, seed, done)
        seed += 1
    print(f"{failures} failures", flush=True)  # noqa: T201
    return 1 if failures else 0


def keep(folder: Path, failures: Path, seed: int, done: subprocess.CompletedProcess[str]) -> None:
    """Save the input that a worker left, with what it said."""
    failures.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("input*"):
        (failures / f"seed{seed}{path.suffix}").write_bytes(path.read_bytes())
    said = f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    (failures / f"seed{seed}.txt").write_text(said, encoding="utf-8")
    print(f"seed {seed}: exit code {done.returncode}, kept in {failures}\n{done.stderr}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
