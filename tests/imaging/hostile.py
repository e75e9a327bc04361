"""Files made to hurt, small themselves, and a way to measure what each costs.

`python -m tests.imaging.hostile` decodes each in a process of its own and prints a JSON line: name, what came of it,
seconds and the memory it took beyond the process as it was before.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

from restore_cli.errors import DecodeError
from restore_cli.imaging.containers.png import dissect_png
from restore_cli.imaging.decode import decode_bytes
from tests.children import children_seen
from tests.imaging.files import chunk, pattern, png, saved

Maker = Callable[[], bytes]
HOSTILE: dict[str, tuple[str, Maker]] = {}


def hostile(outcome: str) -> Callable[[Maker], Maker]:
    """Register a maker of one file; `outcome` is "refused", "read" or "either"."""

    def register(maker: Maker) -> Maker:
        HOSTILE[maker.__name__] = (outcome, maker)
        return maker

    return register


def png_header(width: int, height: int, bits: int = 8, color: int = 2, interlace: int = 0) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlace))


END = chunk(b"IEND", b"")


@hostile("refused")
def png_of_billions_of_pixels() -> bytes:
    return png_header(60000, 60000) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + END


@hostile("refused")
def png_of_two_giga_by_two_giga() -> bytes:
    return png_header(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + END


@hostile("refused")
def png_just_within_the_limit_with_hardly_any_data() -> bytes:
    return png_header(9400, 9400) + chunk(b"IDAT", zlib.compress(b"\0" * 100_000)) + END


@hostile("refused")
def deep_png_within_the_limit_with_hardly_any_data() -> bytes:
    return png_header(6000, 6000, 16, 6, 1) + chunk(b"IDAT", zlib.compress(b"\0" * 50_000_000)) + END


@hostile("either")
def png_whose_pixels_inflate_beyond_its_size() -> bytes:
    return png_header(1, 1) + chunk(b"IDAT", zlib.compress(b"\0" * 300_000_000)) + END


@hostile("read")
def png_of_a_thousand_inflating_texts() -> bytes:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 1_000_000))
    return png(1, 1, 8, 0, [b"\0"], *[text] * 1000)


@hostile("read")
def png_with_an_inflating_profile() -> bytes:
    return png(1, 1, 8, 0, [b"\0"], chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 400_000_000)))


@hostile("either")
def png_of_a_million_empty_chunks() -> bytes:
    return png_header(1, 1) + chunk(b"teSt", b"") * 1_000_000 + chunk(b"IDAT", zlib.compress(bytes(4))) + END


@hostile("either")
def png_of_empty_pixel_chunks() -> bytes:
    return png_header(1, 1) + chunk(b"IDAT", b"") * 200_000 + chunk(b"IDAT", zlib.compress(bytes(4))) + END


def overlapping_exif(size: int = 65000, entries: int = 4000) -> bytes:
    """Build a block whose every entry claims the same bytes, all of them."""
    table = b"".join(struct.pack(">HHII", 40000 + i, 7, size - 1, 8) for i in range(entries))
    block = b"MM\0*\0\0\0\x08" + struct.pack(">H", entries) + table + bytes(4)
    return b"Exif\0\0" + block.ljust(size, b"\0")


@hostile("read")
def jpeg_with_overlapping_exif() -> bytes:
    return saved(pattern(), "JPEG", exif=overlapping_exif())


@hostile("read")
def png_with_overlapping_exif_of_megabytes() -> bytes:
    return png(1, 1, 8, 0, [b"\0"], chunk(b"eXIf", overlapping_exif(20_000_000).removeprefix(b"Exif\0\0")))


@hostile("read")
def webp_with_overlapping_exif() -> bytes:
    return saved(pattern(), "WEBP", exif=overlapping_exif(5_000_000))


@hostile("read")
def avif_with_overlapping_exif() -> bytes:
    return saved(pattern(), "AVIF", exif=overlapping_exif(5_000_000))


def resized_jpeg(width: int, height: int, **options: object) -> bytes:
    data = bytearray(saved(pattern(64, 64), "JPEG", **options))
    start = next(data.index(bytes([0xFF, sof])) for sof in (0xC0, 0xC2) if bytes([0xFF, sof]) in data)
    struct.pack_into(">HH", data, start + 5, height, width)
    return bytes(data)


@hostile("refused")
def jpeg_of_billions_of_pixels() -> bytes:
    return resized_jpeg(65500, 65500)


@hostile("refused")
def jpeg_just_within_the_limit_without_data() -> bytes:
    return resized_jpeg(65500, 1300)


@hostile("refused")
def progressive_jpeg_just_within_the_limit_without_data() -> bytes:
    return resized_jpeg(65500, 1300, progressive=True)


@hostile("either")
def jpeg_of_thousands_of_scans() -> bytes:
    data = saved(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * 3000 + b"\xff\xd9"


@hostile("refused")
def jpeg_of_a_size_told_later() -> bytes:
    return resized_jpeg(64, 0)


@hostile("refused")
def gif_of_a_huge_screen() -> bytes:
    data = bytearray(saved(pattern(), "GIF"))
    struct.pack_into("<HH", data, 6, 65535, 65535)
    return bytes(data)


@hostile("refused")
def gif_whose_first_image_is_larger_than_its_screen() -> bytes:
    data = bytearray(saved(pattern(), "GIF"))
    place = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    struct.pack_into("<HHHH", data, place + 1, 0, 0, 65535, 65535)
    return bytes(data)


@hostile("read")
def gif_of_a_hundred_thousand_images() -> bytes:
    data = saved(Image.new("P", (1, 1)), "GIF")
    place = data.index(b"\x2c", 13)
    return data[:place] + data[place:-1] * 100_000 + data[-1:]


@hostile("either")
def gif_of_an_endless_comment() -> bytes:
    data = saved(pattern(), "GIF")
    place = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:place] + b"\x21\xfe" + (b"\xff" + b"c" * 255) * 100_000 + b"\0" + data[place:]


@hostile("either")
def gif_of_blocks_of_one_byte() -> bytes:
    data = saved(pattern(), "GIF")
    place = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:place] + b"\x21\xfe" + b"\1c" * 5_000_000 + b"\0" + data[place:]


def tiff_of(entries: list[tuple[int, int, int, int]], size: int = 4096) -> bytes:
    table = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4)).ljust(size, b"\0")


def plain_tiff(width: int, height: int, **more: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    tags = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 8),
            277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, width * height & 0xFFFFFFFF)}  # fmt: skip
    tags |= {int(tag[1:]): value for tag, value in more.items()}
    return [(tag, *value) for tag, value in tags.items()]


@hostile("refused")
def tiff_of_billions_of_pixels() -> bytes:
    return tiff_of(plain_tiff(60000, 60000))


@hostile("refused")
def tiff_just_within_the_limit_without_data() -> bytes:
    return tiff_of(plain_tiff(9400, 9400))


@hostile("refused")
def tiff_of_one_gigantic_tile() -> bytes:
    tiles = {"_322": (4, 1, 60000), "_323": (4, 1, 60000), "_324": (4, 1, 8), "_325": (4, 1, 100), "_259": (3, 1, 5)}
    return tiff_of([e for e in plain_tiff(10, 10, **tiles) if e[0] not in (273, 278, 279)])


@hostile("refused")
def tiff_of_thousands_of_samples() -> bytes:
    return tiff_of(plain_tiff(100, 100, _277=(3, 1, 65535)), 1 << 20)


@hostile("refused")
def tiff_of_sixty_thousand_entries() -> bytes:
    return tiff_of([(i, 1, 1, 0) for i in range(60_000)], 1 << 20)


@hostile("either")
def tiff_whose_entries_overlap() -> bytes:
    extra = [(50_000 + i, 7, 9_000_000, 8) for i in range(4000)]
    return tiff_of(plain_tiff(10, 10) + extra, 10_000_000)


@hostile("either")
def tiff_of_pages_in_a_circle() -> bytes:
    data = bytearray(tiff_of(plain_tiff(10, 10)))
    struct.pack_into("<I", data, 10 + 12 * 9, 8)
    return bytes(data)


@hostile("either")
def tiff_of_a_hundred_thousand_pages() -> bytes:
    pages = b"".join(struct.pack("<HI", 0, 4096 + 6 * (i + 1)) for i in range(100_000))
    data = bytearray(tiff_of(plain_tiff(10, 10)))
    struct.pack_into("<I", data, 10 + 12 * 9, 4096)
    return bytes(data) + pages + bytes(6)


@hostile("either")
def tiff_that_inflates() -> bytes:
    packed = zlib.compress(b"\0" * 80_000_000, 9)
    tags = plain_tiff(4000, 4000, _259=(3, 1, 8), _273=(4, 1, 4096), _279=(4, 1, len(packed)))
    return tiff_of(tags) + packed


@hostile("refused")
def webp_of_a_huge_canvas() -> bytes:
    data = bytearray(saved(pattern(), "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"))
    data[24:30] = b"\xff\x3f\0\xff\x3f\0"
    return bytes(data)


@hostile("either")
def webp_of_a_thousand_images() -> bytes:
    frames = [Image.new("L", (16, 16), level % 256) for level in range(1000)]
    return saved(frames[0], "WEBP", save_all=True, append_images=frames[1:])


@hostile("refused")
def avif_that_declares_billions_of_pixels() -> bytes:
    data = bytearray(saved(pattern(), "AVIF"))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, 60000, 60000)
    return bytes(data)


@hostile("refused")
def bmp_of_billions_of_pixels() -> bytes:
    data = bytearray(saved(pattern(), "BMP"))
    struct.pack_into("<ii", data, 18, 60000, 60000)
    return bytes(data)


@hostile("refused")
def bmp_just_within_the_limit_without_data() -> bytes:
    data = bytearray(saved(pattern(), "BMP"))
    struct.pack_into("<ii", data, 18, 9400, -9400)
    return bytes(data)


def run_length_bmp(width: int, height: int, runs: bytes) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 14 + len(head) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + head + bytes(1024) + runs


@hostile("refused")
def bmp_of_millions_of_runs() -> bytes:
    return run_length_bmp(9000, 9000, b"\1\0" * 2_900_000 + b"\0\1")


@hostile("refused")
def bmp_of_as_many_runs_as_are_read() -> bytes:
    return run_length_bmp(9000, 9000, b"\1\0" * 490_000 + b"\0\1")


@hostile("either")
def bmp_whose_runs_jump() -> bytes:
    return run_length_bmp(3000, 3000, b"\0\2\xff\xff" * 300_000 + b"\0\1")


@hostile("refused")
def ppm_of_billions_of_pixels() -> bytes:
    return b"P6 99999 99999 255\n" + bytes(100)


@hostile("refused")
def ppm_just_within_the_limit_without_data() -> bytes:
    return b"P6 9400 9400 255\n" + bytes(100)


@hostile("refused")
def plain_ppm_just_within_the_limit_without_data() -> bytes:
    return b"P3 9400 9400 255\n" + b"1 " * 100


@hostile("either")
def plain_pgm_of_spaces() -> bytes:
    return b"P2 1 1 255\n" + b" " * 30_000_000 + b"7"


@hostile("either")
def ppm_of_an_endless_comment() -> bytes:
    return b"P6\n#" + b"c" * 30_000_000 + b"\n1 1 255\nabc"


@hostile("either")
def ppm_of_endless_comments() -> bytes:
    return b"P6\n" + b"#\n" * 5_000_000 + b"1 1 255\nabc"


@hostile("refused")
def jxl_of_billions_of_pixels() -> bytes:
    # size header: not small; height and width as 30-bit numbers
    bits = "0" + format(3, "02b")[::-1] + format(59999, "030b")[::-1] + "000" + "11" + format(59999, "030b")[::-1]
    bits = bits.ljust(80, "0")
    return b"\xff\x0a" + bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, 80, 8)) + bytes(1000)


def measured() -> Iterator[dict[str, object]]:
    """Decode each file in a process of its own; yield what came of it and what it cost."""
    for kind in ("PNG", "TIFF", "AVIF", "GIF"):
        decode_bytes(saved(pattern(), kind), "x")  # whatever is loaded once is loaded before
    dissect_png(saved(pattern(), "PNG"))
    for name, (expected, maker) in HOSTILE.items():
        data = maker()
        before = resident_bytes()
        started = time.monotonic()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            outcome = outcome_of(data)
            os.write(writer, (children_seen() or outcome).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            outcome = pipe.read().decode()
        _, status, usage = os.wait4(child, 0)
        yield {
            "name": name,
            "expected": expected,
            "outcome": outcome or f"died with status {status}",
            "seconds": round(time.monotonic() - started, 2),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "megabytes": round(max(0, usage.ru_maxrss * 1024 - before) / 1e6),
        }


def outcome_of(data: bytes) -> str:
    try:
        image = decode_bytes(data, "x")
    except DecodeError as error:
        return f"refused: {error}"
    except BaseException as error:  # noqa: BLE001 - what must not happen is what is looked for
        return f"fault: {type(error).__name__} {error}"
    return f"read: {image.width}x{image.height} {image.warnings}"


def resident_bytes() -> int:
    """Return the memory this process has in use, which a forked one begins with."""
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no file of ours
            return int(file.read().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    warnings.simplefilter("ignore")  # Pillow's, in making the files
    for row in measured():
        print(json.dumps(row), flush=True)  # noqa: T201 - a program of its own


if __name__ == "__main__":
    main()
